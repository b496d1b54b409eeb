"""A fresh data directory, made once by initdb and kept as one file."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from tenantfuzz.engines.account import Account, as_account
from tenantfuzz.engines.binaries import Binaries, server_environment
from tenantfuzz.errors import ToolError

SUPERUSER: Final = "postgres"
_FORMAT: Final = 1
_KEPT_SECONDS: Final = 60 * 24 * 3600
_NO_SPACE: Final = "No space left on device"
_INITDB: Final = (
    "--no-sync",
    "--locale=C",
    "--encoding=UTF8",
    "--auth=trust",
    f"--username={SUPERUSER}",
    # Small segments: 1 MB to copy at every start instead of 16.
    "--wal-segsize=1",
)


@dataclass(frozen=True, slots=True)
class Template:
    """The contents of a data directory: its directories, its files and their bytes in a row."""

    directories: tuple[str, ...]
    files: tuple[tuple[str, int], ...]
    content: bytes

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Take in everything under ``directory``."""
        directories: list[str] = []
        files: list[tuple[str, int]] = []
        content: list[bytes] = []
        for parent, below, names in os.walk(directory):
            inside = Path(parent).relative_to(directory)
            directories += sorted(str(inside / name) for name in below)
            for name in sorted(names):
                data = (Path(parent) / name).read_bytes()
                files.append((str(inside / name), len(data)))
                content.append(data)
        return cls(tuple(directories), tuple(files), b"".join(content))

    def write(self, directory: Path, account: Account | None) -> None:
        """Make ``directory`` a data directory that belongs to ``account``; raises OSError."""
        base = str(directory)
        made = [base, *(f"{base}/{name}" for name in self.directories)]
        for path in made:
            os.mkdir(path, 0o700)  # noqa: PTH102  # pathlib doubles the time of a start
        rest = memoryview(self.content)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        for name, size in self.files:
            descriptor = os.open(f"{base}/{name}", flags, 0o600)
            try:
                written = 0
                while written < size:
                    written += os.write(descriptor, rest[written:size])
                if account is not None:
                    os.fchown(descriptor, account.uid, account.gid)
            finally:
                os.close(descriptor)
            rest = rest[size:]
        if account is not None:
            for path in made:
                os.chown(path, account.uid, account.gid)

    def save(self, path: Path) -> None:
        """Write one file, whole or not at all; raises OSError."""
        index = {
            "format": _FORMAT,
            "checksum": zlib.crc32(self.content),
            "directories": self.directories,
            "files": self.files,
        }
        descriptor, name = tempfile.mkstemp(prefix=".saving-", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(json.dumps(index).encode() + b"\n")
                stream.write(self.content)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """The saved template, or None when there is none that is whole and ours alone."""
        try:
            with path.open("rb") as stream:
                found = os.fstat(stream.fileno())
                if found.st_uid != os.geteuid() or found.st_mode & 0o022:
                    return None
                index = json.loads(stream.readline())
                content = stream.read()
            template = cls(
                tuple(index["directories"]),
                tuple((name, size) for name, size in index["files"]),
                content,
            )
            whole = sum(size for _, size in template.files) == len(content)
            intact = index["format"] == _FORMAT and index["checksum"] == zlib.crc32(content)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return template if whole and intact else None


def default_cache() -> Path:
    """``$XDG_CACHE_HOME/tenantfuzz``, or ``~/.cache/tenantfuzz``.

    A user without a home has it among the temporary files.
    """
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "tenantfuzz"
    try:
        return Path.home() / ".cache" / "tenantfuzz"
    except RuntimeError:
        return Path(tempfile.gettempdir()) / f"tenantfuzz-{os.geteuid()}"


def template_path(cache: Path, binaries: Binaries) -> Path:
    """Where the template of these programs is kept: by version, path, time of change and user."""
    options = _initdb_options(binaries)
    changed = binaries.postgres.stat().st_mtime_ns
    words = (binaries.version_text, str(binaries.bindir), changed, os.geteuid(), options, _FORMAT)
    key = hashlib.sha256(repr(words).encode()).hexdigest()[:16]
    return cache / f"template-{binaries.version_text}-{key}"


def make_template(path: Path, binaries: Binaries, account: Account | None, work: Path) -> Template:
    """Run initdb below ``work``, keep the outcome at ``path`` and return it.

    A cache that cannot be written costs the next start half a second and is no error. ToolError
    when initdb fails, OSError when ``work`` is too small for it.
    """
    data = work / "initdb"
    try:
        data.mkdir(0o700)
        if account is not None:
            os.chown(data, account.uid, account.gid)
        done = subprocess.run(
            [binaries.initdb, *_initdb_options(binaries), f"--pgdata={data}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            stdin=subprocess.DEVNULL,
            cwd=data,
            env=server_environment(),
            **as_account(account),
        )
        if done.returncode != 0:
            if _NO_SPACE in done.stdout + done.stderr:
                raise OSError(errno.ENOSPC, _NO_SPACE)
            said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
            raise ToolError(
                f"{binaries.initdb} failed with status {done.returncode}:\n{said}",
                hint="the installation may lack files or libraries; try another bin directory",
            )
        template = Template.read(data)
    except (OSError, subprocess.SubprocessError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        raise ToolError(
            f"cannot make a data directory with {binaries.initdb}: {error}",
            hint=f"check the free space of {work.parent}",
        ) from error
    finally:
        shutil.rmtree(data, ignore_errors=True)
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _forget_old(path.parent)
        template.save(path)
    return template


def _forget_old(cache: Path) -> None:
    # Each upgrade of PostgreSQL leaves 30 MB; one still in use costs half a second to make again.
    for saved in cache.glob("template-*"):
        if time.time() - saved.stat().st_mtime > _KEPT_SECONDS:
            saved.unlink()


def _initdb_options(binaries: Binaries) -> tuple[str, ...]:
    # On by default from 18; a world is not read back after a fault of the disk.
    return (*_INITDB, *(("--no-data-checksums",) if binaries.major >= 18 else ()))
