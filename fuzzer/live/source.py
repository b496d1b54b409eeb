"""The connection to a live database: one read-only transaction, rolled back at the end."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import conninfo

from tenantfuzz.engines.server import require_supported, version_text
from tenantfuzz.errors import ToolError
from tenantfuzz.patience import PatientConnection
from tenantfuzz.scrubbing import scrub

Row = tuple[Any, ...]  # Any: psycopg cannot know the columns of a statement

_CONNECT_SECONDS: Final = 15
_STATEMENT_TIMEOUT: Final = "60s"
_SAVEPOINT: Final = "tenantfuzz"

# Everything that a change of the structure or of its privileges leaves a trace in. Statistics and
# vacuum change rows of these in place, and what is temporary comes and goes.
_TRACES: Final = """
SELECT pg_catalog.md5(pg_catalog.string_agg(trace, ' ' ORDER BY trace)) FROM (
  SELECT 'c' || pg_catalog.count(*) || ' ' || pg_catalog.sum(xmin::text::bigint)
    FROM pg_catalog.pg_class WHERE relpersistence <> 't' AND relkind <> 't'
  UNION ALL SELECT 'a' || pg_catalog.count(*) || ' ' || pg_catalog.sum(a.xmin::text::bigint)
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
    WHERE c.relpersistence <> 't' AND c.relkind <> 't'
  UNION ALL SELECT 'n' || pg_catalog.count(*) || ' ' || pg_catalog.sum(xmin::text::bigint)
    FROM pg_catalog.pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_'
  UNION ALL SELECT 'p' || pg_catalog.count(*) || ' ' || pg_catalog.sum(xmin::text::bigint)
    FROM pg_catalog.pg_proc
  UNION ALL SELECT 'y' || pg_catalog.count(*) || ' ' || pg_catalog.sum(xmin::text::bigint)
    FROM pg_catalog.pg_policy
  UNION ALL SELECT 't' || pg_catalog.count(*) || ' ' || pg_catalog.sum(xmin::text::bigint)
    FROM pg_catalog.pg_trigger
  UNION ALL SELECT 'k' || pg_catalog.count(*) || ' ' || pg_catalog.sum(xmin::text::bigint)
    FROM pg_catalog.pg_constraint
  UNION ALL SELECT 'd' || pg_catalog.count(*) || ' ' || pg_catalog.sum(xmin::text::bigint)
    FROM pg_catalog.pg_default_acl
  UNION ALL SELECT 'm' || pg_catalog.count(*) || ' ' || pg_catalog.sum(xmin::text::bigint)
    FROM pg_catalog.pg_auth_members
) AS traces(trace)
"""


@dataclass(frozen=True, slots=True)
class Source:
    """A live database in a read-only transaction; ``place`` names it without its password."""

    connection: psycopg.Connection[Row]
    place: str

    @property
    def version(self) -> int:
        """``server_version_num``."""
        return self.connection.info.server_version

    @property
    def version_text(self) -> str:
        """As people write it, for example ``15.8``."""
        return version_text(self.version)

    def rows(self, query: str, parameters: list[Any] | None = None) -> list[Row]:
        """The rows of a query; ToolError where the server refuses it."""
        try:
            return self.connection.execute(query.encode(), parameters).fetchall()
        except psycopg.Error as error:
            raise ToolError(
                f"{self.place} refused to be read: {_one_line(error)}",
                hint="the role needs CONNECT, and the catalogs as PostgreSQL grants them",
            ) from error

    def traces(self) -> str:
        """A digest that changes when the structure or its privileges do."""
        [[digest]] = self.rows(_TRACES)
        return str(digest)

    def forget(self, prepared: list[bytes]) -> None:
        """Take back what outlives a transaction: a pooler would hand it on to others."""
        self.connection.execute(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}".encode())
        for name in prepared:
            with contextlib.suppress(psycopg.Error):
                self.connection.execute(b"DEALLOCATE " + name)


@contextlib.contextmanager
def open_source(dsn: str) -> Iterator[Source]:
    """Connect to the live database at ``dsn``, in any form that libpq takes.

    All happens in one transaction, read-only, that is rolled back: also where the address is a
    pooler's, no setting outlives it. Nothing is asked for in the connection's options, which
    poolers refuse. ToolError says why there is no way in; the DSN itself is never shown.
    """
    connection = _connect(dsn)
    try:
        source = Source(connection, _place(connection))
        require_supported(source.version, source.place)
        try:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            connection.execute(f"SET LOCAL statement_timeout = '{_STATEMENT_TIMEOUT}'".encode())
            connection.execute("SET LOCAL lock_timeout = '5s'")
            connection.execute("SET LOCAL search_path = ''")
            connection.execute(f"SAVEPOINT {_SAVEPOINT}".encode())
        except psycopg.Error as error:
            raise ToolError(
                f"{source.place} cannot be read: {_one_line(error)}",
                hint="name a PostgreSQL server, version 13 to 18",
            ) from error
        yield source
    finally:
        with contextlib.suppress(psycopg.Error):
            connection.execute("ROLLBACK")
        connection.close()


def _connect(dsn: str) -> psycopg.Connection[Row]:
    try:
        given = conninfo.conninfo_to_dict(dsn)
        defaults = {} if "connect_timeout" in given else {"connect_timeout": _CONNECT_SECONDS}
        text = conninfo.make_conninfo(
            dsn, fallback_application_name="tenantfuzz", client_encoding="UTF8", **defaults
        )
        if "@" in str(given.get("host", "")):
            # What stands before it is the end of a password.
            raise psycopg.ProgrammingError("a host with @")
    except psycopg.ProgrammingError:
        # The text of a parse error quotes the connection string.
        raise ToolError(
            "the connection string of the live database cannot be read",
            hint="write it as postgresql://user@host:port/database, or as key=value words;"
            " what is special in a password is written as %40 for @, or the password goes into"
            " PGPASSWORD or ~/.pgpass",
        ) from None
    try:
        return PatientConnection.open(text)
    except psycopg.Error as error:
        # The chain would show the connection string in a traceback.
        message = scrub(_one_line(error))
        raise ToolError(
            f"cannot connect to the live database: {message}", hint=_connect_hint(message)
        ) from None


def _place(connection: psycopg.Connection[Row]) -> str:
    info = connection.info
    host = "this machine" if info.host.startswith(("/", "@")) or not info.host else info.host
    return f"the live database {info.dbname!r} on {host}"


_HINTS: Final = (
    ("resolve host", "check the name of the host, and that this machine is online"),
    ("password authentication failed", "check user and password (PGPASSWORD, ~/.pgpass)"),
    ("no password supplied", "give the password in the DSN, PGPASSWORD or ~/.pgpass"),
    (
        "could not translate host name",
        "check the name of the host, and that this machine is online",
    ),
    ("does not support ssl", "the server has no TLS: sslmode=disable, if that is what you want"),
    (
        "certificate verify failed",
        "sslrootcert=FILE names the authority that signed for the server",
    ),
    ("root certificate file", "sslrootcert=FILE names the authority that signed for the server"),
    ("does not match host name", "the certificate is another host's: check host, or sslmode"),
    ("no encryption", "the server asks for TLS: sslmode=require"),
    ("ssl off", "the server asks for TLS: sslmode=require"),
    ("connection refused", "check host and port, and that the server runs"),
    ("timeout expired", "check host and port; a firewall may be in between"),
    ("does not exist", "check the names of the database and the role"),
    ("too many", "the server has no free connection: try again"),
    ("definition of service", "check service= and the file that PGSERVICEFILE names"),
)


def _connect_hint(message: str) -> str:
    lowered = message.lower()
    found = (hint for mark, hint in _HINTS if mark in lowered)
    return next(found, "check that the server runs and that this user may connect")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
