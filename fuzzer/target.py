"""Finds the target: which file says what is tested, and what the environment adds to it."""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tenantfuzz.conventions import find_schema, target_section
from tenantfuzz.errors import ToolError
from tenantfuzz.policies.configuration import (
    Configuration,
    ConfigurationError,
    parse_configuration,
)

FILE_NAME = "tenantfuzz.toml"
PYPROJECT = "pyproject.toml"
_SMALLEST = (
    '[target] schema = ["schema.sql"], [tenancy] tenants = "organizations" and column = '
    '"organization_id", [identity] role and settings; README.md has a whole one'
)

# What the environment may say where the file is silent, and whether it is a number or a switch.
_VARIABLES: Mapping[str, tuple[str, str, type]] = {
    "TENANTFUZZ_DSN": ("target", "dsn", str),
    "TENANTFUZZ_PRESET": ("target", "preset", str),
    "TENANTFUZZ_ENGINE": ("target", "engine", str),
    "TENANTFUZZ_SERVER": ("target", "server", str),
    "TENANTFUZZ_ATTACKER": ("run", "attacker", str),
    "TENANTFUZZ_FAIL_ON": ("run", "fail_on", str),
    "TENANTFUZZ_TIME": ("run", "time", str),
    "TENANTFUZZ_SEED": ("run", "seed", int),
    "TENANTFUZZ_MAX_EXAMPLES": ("run", "max_examples", int),
    "TENANTFUZZ_WORKERS": ("run", "workers", int),
    "TENANTFUZZ_STRICT": ("run", "strict", bool),
}


@dataclass(frozen=True, slots=True)
class Target:
    """What is tested. Paths in ``configuration`` are relative to ``root``, the file's folder;
    ``file`` is None where there is no file and everything is inferred. ``data`` is what the
    configuration was made of, as TOML has it; ``assumed`` says what conventions added to it."""

    name: str
    root: Path
    file: Path | None
    configuration: Configuration
    data: Mapping[str, object] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()


def find_target(
    path: Path, *, environ: Mapping[str, str] | None = None, dsn: str | None = None
) -> Target:
    """The target at ``path``: a folder with a tenantfuzz.toml, or with a pyproject.toml that has
    ``[tool.tenantfuzz]``; or such a file itself.

    ``TENANTFUZZ_*`` variables fill in what the file leaves out (``environ`` is ``os.environ``
    unless given). ``dsn`` names a live database, which takes the place of the file's own source.
    In a folder without such a file the schema is found by convention. Raises ToolError where
    there is neither, or where the file is wrong.
    """
    environment = os.environ if environ is None else environ
    if not has_file(path):
        return _without_file(path, environment, dsn)
    file, data = _read(path)
    if dsn is not None:
        data = _with_dsn(data, dsn)
    source = str(file) if file.name == FILE_NAME else f"{file} [tool.tenantfuzz]"
    if file.name not in (FILE_NAME, PYPROJECT):
        source = str(file)
    data = _with_environment(data, environment, source)
    configuration = _parse(data, source)
    section = configuration.target
    if section.dsn is not None and section.sources:
        raise ToolError(
            f"{source}: target.dsn and target.schema both say what is tested",
            hint="leave one of them out; --dsn takes the place of either for one run",
        )
    root = file.parent.resolve()
    return Target(configuration.target.name or root.name, root, file, configuration, data)


def resolve_reference(text: str, where: str, *, environ: Mapping[str, str] | None = None) -> str:
    """The value of a ``dsn`` or ``server`` as the file gives it: ``env:NAME`` is that variable's.

    ``where`` names the key in the error for a variable that is not set (ToolError).
    """
    if not text.startswith("env:"):
        return text
    name = text.removeprefix("env:")
    value = (os.environ if environ is None else environ).get(name)
    if not value:
        raise ToolError(
            f"{where} refers to the environment variable {name}, which is not set",
            hint=f"set it, as in: export {name}=postgresql://user@host/database",
        )
    return value


def _read(path: Path) -> tuple[Path, dict[str, object]]:
    if path.is_file():
        data = _load(path)
        if path.name == PYPROJECT:
            section = _section(data, path)
            if section is None:
                raise ToolError(
                    f"{path} has no [tool.tenantfuzz]",
                    hint=f"add that table, or write a {FILE_NAME}: {_SMALLEST}",
                )
            return path, section
        return path, data
    if not path.exists():
        raise ToolError(f"{path} does not exist", hint=f"give a folder with a {FILE_NAME}")
    if (file := path / FILE_NAME).is_file():
        return file, _load(file)
    pyproject = path / PYPROJECT
    if pyproject.is_file() and (section := _section(_load(pyproject), pyproject)) is not None:
        return pyproject, section
    raise ToolError(
        f"{path} has no {FILE_NAME}, and no {PYPROJECT} with [tool.tenantfuzz]",
        hint=f"write one: {_SMALLEST}",
    )


def _without_file(path: Path, environ: Mapping[str, str], dsn: str | None) -> Target:
    """A folder without a file: its schema is found by convention, unless a database is named."""
    root = path.resolve()
    data: dict[str, object] = {}
    assumed: tuple[str, ...] = ()
    dsn = dsn or environ.get("TENANTFUZZ_DSN") or None
    if dsn is not None:
        data = {"target": {"dsn": dsn}}
    elif find_schema(path):
        found = target_section(path, preset=environ.get("TENANTFUZZ_PRESET") or None)
        data = {"target": found.section}
        what = "; ".join(f"{key} = {value}" for key, value in found.section.items())
        assumed = (f"no {FILE_NAME}: assumed [target]: {what}",)
    else:
        raise ToolError(
            f"{path} has no {FILE_NAME}, and no {PYPROJECT} with [tool.tenantfuzz]",
            hint=f"write one: {_SMALLEST}",
        )
    source = str(path)
    data = _with_environment(data, environ, source)
    return Target(root.name, root, None, _parse(data, source), data, assumed)


def has_file(path: Path) -> bool:
    """Whether ``path`` is a target's file or a folder with one; what is not there at all counts."""
    if not path.is_dir():
        return True
    pyproject = path / PYPROJECT
    return (path / FILE_NAME).is_file() or (
        pyproject.is_file() and _section(_load(pyproject), pyproject) is not None
    )


def _with_dsn(data: dict[str, object], dsn: str) -> dict[str, object]:
    section = data.get("target", {})
    if not isinstance(section, dict):
        return data  # which parsing complains of
    kept = {key: value for key, value in section.items() if key != "schema"}
    return {**data, "target": {**kept, "dsn": dsn}}


def _section(data: dict[str, object], file: Path) -> dict[str, object] | None:
    tool = data.get("tool")
    section = tool.get("tenantfuzz") if isinstance(tool, dict) else None
    if section is not None and not isinstance(section, dict):
        raise ToolError(f"{file}: tool.tenantfuzz: expected a table")
    return section


def _load(file: Path) -> dict[str, object]:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ToolError(f"{file} cannot be read: {error.strerror}") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ToolError(f"{file}:{line}: not UTF-8 text", hint="save it as UTF-8") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line, column, reason = _position(str(error), text)
        raise ToolError(
            f"{file}:{line}:{column}: not valid TOML: {reason}", hint=_excerpt(text, line)
        ) from error


def _position(message: str, text: str) -> tuple[int, int, str]:
    """Line and column of a TOML error, which its message ends with, and the rest of the message."""
    if match := re.search(r" \(at line (\d+), column (\d+)\)$", message):
        return int(match[1]), int(match[2]), message[: match.start()]
    lines = text.rstrip("\n").split("\n")
    return len(lines), len(lines[-1]) + 1, message.removesuffix(" (at end of document)")


def _excerpt(text: str, line: int) -> str | None:
    lines = text.splitlines()
    return f"the line is: {lines[line - 1].strip()}" if 0 < line <= len(lines) else None


def _parse(data: Mapping[str, object], source: str) -> Configuration:
    try:
        return parse_configuration(data, source=source)
    except ConfigurationError as error:
        raise ToolError(str(error), hint=error.hint) from error


def _with_environment(
    data: Mapping[str, object], environ: Mapping[str, str], source: str
) -> dict[str, object]:
    """``data`` with what the environment says where the file is silent."""
    merged = dict(data)
    for variable, (section, key, kind) in _VARIABLES.items():
        text = environ.get(variable, "")
        present = merged.get(section, {})
        if not text or not isinstance(present, dict) or key in present:
            continue
        if key == "dsn" and "schema" in present:
            continue  # the file names its source already
        value = _typed(variable, text, kind)
        try:
            parse_configuration({section: {key: value}}, source=variable)
        except ConfigurationError as error:
            reason = error.problems[0].removeprefix(f"{section}.{key}: ")
            raise ToolError(f"{variable}: {reason}", hint=f"it stands in for {source}") from error
        merged[section] = {**present, key: value}
    return merged


def _typed(variable: str, text: str, kind: type) -> object:
    if kind is int:
        if not re.fullmatch(r"[+-]?\d+", text):
            raise ToolError(f"{variable}: expected a whole number, not '{text}'")
        return int(text)
    if kind is bool:
        words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
        if text.lower() not in words:
            raise ToolError(f"{variable}: expected true or false, not '{text}'")
        return words[text.lower()]
    return text
