"""The targets of one run of pytest, as its command line and ini file name them."""

import os
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tenantfuzz.target import FILE_NAME, PYPROJECT

if TYPE_CHECKING:
    from tenantfuzz.plugin.target_session import TargetSession

_TIME = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|min|h|)\s*")
_SECTION = re.compile(rb"^\s*\[+\s*tool\s*\.\s*[\"']?tenantfuzz\b", re.MULTILINE)
_UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


WANTED = "tenantfuzz_wanted"
KEY: pytest.StashKey["Sessions"] = pytest.StashKey()


class Sessions:
    """The sessions of all targets; a target is prepared when it is first needed."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._sessions: dict[Path, TargetSession] = {}
        self.asked_for: tuple[Path, ...] = tuple(dict.fromkeys(_files(config)))
        self.seconds = _seconds(config.getoption("tenantfuzz_time"))

    @property
    def dsn_fixture(self) -> str | None:
        """The name of the fixture that gives the server, or None."""
        name: str = self._config.getini("tenantfuzz_dsn_fixture")
        return name or None

    def of(self, file: Path) -> "TargetSession":
        """The session of the target whose file this is."""
        if file not in self._sessions:
            from tenantfuzz.plugin.target_session import TargetSession, Wishes

            wishes = Wishes(
                seed=self._config.getoption("tenantfuzz_seed"),
                seconds=self.seconds,
                save=self._folder(file),
            )
            self._sessions[file] = TargetSession(file, wishes)
        return self._sessions[file]

    def first(self) -> "TargetSession":
        """The session of the first target that was asked for, else of the root directory's."""
        if self.asked_for:
            return self.of(self.asked_for[0])
        return self.of(_file(self._config.rootpath))

    def opened(self) -> "list[TargetSession]":
        """The sessions that there are by now."""
        return list(self._sessions.values())

    def close(self) -> None:
        """Closes them all."""
        for session in self._sessions.values():
            session.close()

    def _folder(self, file: Path) -> Path | None:
        """Where counterexamples go: into the source tree only where that is asked for."""
        if self._config.getoption("tenantfuzz_save"):
            return (file if file.is_dir() else file.parent) / "corpus"
        cache: Any = getattr(self._config, "cache", None)  # Any: -p no:cacheprovider has none
        return None if cache is None else Path(os.path.relpath(cache.mkdir("tenantfuzz")))


def is_wanted(config: pytest.Config) -> bool:
    """Whether the targets belong to this run: the flag asks for them in any case, the ini key
    wherever no tests are named. A worker of xdist is told."""
    told: dict[str, object] = getattr(config, "workerinput", {})
    if WANTED in told:
        return bool(told[WANTED])
    named = config.args_source is type(config).ArgsSource.ARGS
    return config.getoption("tenantfuzz") is not None or not named


def worth_adding(file: Path, config: pytest.Config) -> bool:
    """Whether ``file`` must be added to what pytest collects: what is named already, or lies in a
    folder of tests, is found there."""
    given = [Path(config.invocation_params.dir, a.partition("::")[0]) for a in config.args]
    if any(path.resolve() == file for path in given):
        return False
    return not any(path.is_dir() and _walked(path.resolve(), file, config) for path in given)


def _walked(folder: Path, file: Path, config: pytest.Config) -> bool:
    if not file.is_relative_to(folder):
        return False
    skipped: list[str] = config.getini("norecursedirs")
    between = file.relative_to(folder).parts[:-1]
    return not any(fnmatch(part, pattern) for part in between for pattern in skipped)


def _files(config: pytest.Config) -> list[Path]:
    flag: str | None = config.getoption("tenantfuzz")
    if flag:
        return [_file(Path(config.invocation_params.dir, flag))]
    configured: list[Path] = config.getini("tenantfuzz")
    if configured:
        return [_file(path) for path in configured]
    return [] if flag is None else [_file(config.rootpath)]


def _file(path: Path) -> Path:
    """The target's file, or the folder itself where it has none and conventions must do. Raises
    UsageError for what is not there."""
    if not path.exists():
        raise pytest.UsageError(
            f"tenantfuzz: there is no {path}\n"
            "hint: `tenantfuzz = PATH` in the ini file, or --tenantfuzz=PATH, says where it is"
        )
    if not path.is_dir():
        return path.resolve()
    for file in (path / FILE_NAME, path / PYPROJECT):
        if file.is_file() and (file.name == FILE_NAME or _SECTION.search(file.read_bytes())):
            return file.resolve()
    return path.resolve()


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    match = _TIME.fullmatch(text)
    if match is None:
        raise pytest.UsageError(f"--tenantfuzz-time: not a time: {text!r} (as in 60s, 5m, 1h)")
    return float(match[1]) * _UNITS[match[2]]
