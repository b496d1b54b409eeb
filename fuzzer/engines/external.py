"""Scratch databases on a server that somebody else runs."""

import contextlib
import os
import re
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psycopg
from psycopg import conninfo, sql

from tenantfuzz.engines import databases
from tenantfuzz.engines.server import SCRATCH_PREFIX, require_supported, version_text
from tenantfuzz.errors import ToolError
from tenantfuzz.patience import CONNECT_SECONDS

_WHERE: Final = "the scratch server"
_APPLICATION: Final = "tenantfuzz"  # application_name of the sessions in scratch databases
_MADE: Final = re.compile(rf"{SCRATCH_PREFIX}[0-9a-z_]*[0-9a-f]{{12}}(_p)?")
_MARKER: Final = re.compile(r"tenantfuzz scratch pid=(\d+) host=(\S+) started=(\S+)")


def connect_server(dsn: str) -> "ExternalServer":
    """Use the server at ``dsn``, a libpq connection string, for scratch databases.

    ToolError when it cannot be reached, is a standby, is too old, or the user is no superuser.
    Scratch databases that a dead process of this machine left there are removed.
    """
    server = ExternalServer(dsn)
    server.sweep_leftovers()
    return server


class ExternalServer:
    """Touches nothing but databases named ``tenantfuzz_scratch_…`` that it made itself.

    ``close`` drops them. In a forked process it drops only those made in that process.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._made: dict[str, int] = {}
        with databases.connect_admin(dsn, _WHERE) as connection:
            user, superuser, standby, version = databases.fetch_one(
                connection,
                "SELECT current_user::text, rolsuper, pg_is_in_recovery(),"
                " current_setting('server_version_num')::int"
                " FROM pg_roles WHERE rolname = current_user",
            )
            self._login: str = connection.info.user
            if not superuser:
                raise ToolError(
                    f"role {user!r} is no superuser on {_WHERE}; the tool must take on the identity"
                    " of other roles there",
                    hint='connect as a superuser of a server for tests, or use engine = "embedded"',
                )
            if standby:
                raise ToolError(
                    f"{_WHERE} is a standby", hint="name its primary, or another server"
                )
            require_supported(version, _WHERE)
            self._identity = _identity(connection)
        self.superuser: str = user
        self.version: int = version
        self.version_text: str = version_text(version)

    def conninfo(self, dbname: str, user: str | None = None) -> str:
        """The DSN with another database, and with another user but then without the password."""
        changed = conninfo.conninfo_to_dict(self._dsn)
        changed["dbname"] = dbname
        changed["application_name"] = _APPLICATION
        changed.setdefault("connect_timeout", CONNECT_SECONDS)
        if user is not None and user != self._login:
            changed["user"] = user
            changed.pop("password", None)
        return conninfo.make_conninfo("", **changed)

    def create_database(self, name: str, *, template: str | None = None) -> None:
        """Make a scratch database; ToolError for any other name."""
        _require_scratch(name)
        if template is not None:
            _require_scratch(template)
        with self._admin() as connection:
            databases.create_database(connection, name, template)
            self._made[name] = os.getpid()
            marker = (
                f"tenantfuzz scratch pid={os.getpid()} host={_host()}"
                f" started={_process_start(os.getpid()) or _now()}"
            )
            try:
                connection.execute(
                    sql.SQL("COMMENT ON DATABASE {} IS {}").format(
                        sql.Identifier(name), sql.Literal(marker)
                    )
                )
            except psycopg.Error as error:
                raise ToolError(f"cannot mark database {name!r}: {error}") from error

    def drop_database(self, name: str) -> None:
        """Drop a database that this server object made; ToolError for any other."""
        if name not in self._made:
            raise ToolError(
                f"database {name!r} was not made by this run, so it is not dropped",
                hint="drop it by hand if it is not needed",
            )
        with self._admin() as connection:
            databases.drop_database(connection, name)
        del self._made[name]

    def sweep_leftovers(self) -> list[str]:
        """Drop the scratch databases of dead processes of this machine; returns their names.

        One that somebody else has a session in is left. The server may not have noticed yet that
        the sessions of a killed process are over: those are ended.
        """
        swept = []
        with self._admin() as connection:
            for name, comment, old in _left_scratch_databases(connection):
                marker = _MARKER.fullmatch(comment or "")
                # A process that is killed right after making a database has not marked it.
                unmarked = comment is None and old and _MADE.fullmatch(name) is not None
                dead = (
                    marker is not None
                    and marker[2] == _host()
                    and not _alive(int(marker[1]), marker[3])
                )
                if dead or unmarked:
                    with contextlib.suppress(ToolError):
                        databases.drop_database(connection, name, force=dead)
                        swept.append(name)
        return swept

    def close(self) -> None:
        """Drop the databases made by this process; ToolError names those that would not go."""
        mine = [name for name, pid in self._made.items() if pid == os.getpid()]
        if not mine:
            return
        stayed = []
        with self._admin() as connection:
            for name in mine:
                try:
                    databases.drop_database(connection, name)
                except ToolError as error:
                    stayed.append(str(error))
                else:
                    del self._made[name]
        if stayed:
            raise ToolError("; ".join(stayed), hint="drop them by hand: they are scratch databases")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _admin(self) -> psycopg.Connection[databases.Row]:
        connection = databases.connect_admin(self._dsn, _WHERE)
        try:
            # A name or a list of hosts may lead elsewhere the second time.
            if _identity(connection) != self._identity:
                raise ToolError(
                    "another server answers at the address of the scratch server",
                    hint="name one host in the connection string; nothing was written",
                )
        except BaseException:
            connection.close()
            raise
        return connection


def _identity(connection: psycopg.Connection[databases.Row]) -> databases.Row:
    return databases.fetch_one(
        connection,
        "SELECT system_identifier, current_setting('data_directory', true)"
        " FROM pg_control_system()",
    )


def _left_scratch_databases(
    connection: psycopg.Connection[databases.Row],
) -> Iterator[tuple[str, str | None, bool]]:
    """Scratch databases with nobody's sessions but our own in them: name, marker, and whether they
    were made more than ten minutes ago."""
    yield from connection.execute(
        "SELECT datname::text, shobj_description(oid, 'pg_database'), coalesce("
        " (pg_stat_file('base/' || oid || '/PG_VERSION', true)).modification"
        "  < now() - interval '10 minutes', false)"
        " FROM pg_database AS d WHERE starts_with(datname::text, %s)"
        " AND NOT EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.datid = d.oid"
        "  AND a.application_name <> %s AND a.backend_type = 'client backend') ORDER BY datname",
        [SCRATCH_PREFIX, _APPLICATION],
    ).fetchall()


def _require_scratch(name: str) -> None:
    if not name.startswith(SCRATCH_PREFIX):
        raise ToolError(
            f"{name!r} is no scratch database: on a server of others only databases named"
            f" {SCRATCH_PREFIX}… are made"
        )


def _host() -> str:
    """This machine and this space of process ids: a container may share the name of its host."""
    name = re.sub(r"\s", "_", socket.gethostname()) or "unknown"
    try:
        space = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return name
    return f"{name}/{space}"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _process_start(pid: int) -> str | None:
    """When a process started, in the kernel's ticks since boot; None where it cannot be known."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
        return f"ticks:{text.rpartition(')')[2].split()[19]}"
    except (OSError, IndexError):
        return None


def _alive(pid: int, started: str) -> bool:
    """Whether the maker still runs: a process with its id that started when it did."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it is there, and not ours
    now = _process_start(pid)
    return now is None or not started.startswith("ticks:") or now == started
