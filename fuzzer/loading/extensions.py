"""Extensions that the server lacks, and the SQL that stands in for some of them."""

import re
from dataclasses import dataclass
from importlib.resources import files

import psycopg
from psycopg import sql

from tenantfuzz.loading.words import NAME, unquote

_CREATE_EXTENSION = re.compile(
    rf"""^CREATE\s+EXTENSION\s+(?:IF\s+NOT\s+EXISTS\s+)?(?P<name>{NAME})
    (?:\s+WITH\b)?
    (?:.*?\bSCHEMA\s+(?P<schema>{NAME}))?""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)

_LACKS = {
    "pgcrypto": "crypt, gen_salt, hmac, encrypt and pgp_* are missing",
    "uuid-ossp": "versions 1, 3 and 5 are not the standard's",
    "pg_cron": "jobs are noted in cron.job and never run",
    "pg_net": "requests are numbered and never sent",
}
"""What each stand-in (``presets/extensions/NAME.sql``) cannot do."""

_FIXED_SCHEMA = frozenset({"pg_cron", "pg_net"})
"""These make a schema of their own, whatever the statement says."""


@dataclass(frozen=True, slots=True)
class ExtensionRequest:
    """``CREATE EXTENSION name [SCHEMA schema]``."""

    name: str
    schema: str | None


def parse_extension(text: str) -> ExtensionRequest | None:
    """What a ``CREATE EXTENSION`` statement asks for; None for any other statement."""
    match = _CREATE_EXTENSION.match(text)
    if match is None:
        return None
    schema = match["schema"]
    return ExtensionRequest(unquote(match["name"]), unquote(schema) if schema else None)


def is_available(conn: psycopg.Connection, name: str) -> bool:
    """Whether the server of ``conn`` can create the extension ``name``."""
    query = "SELECT FROM pg_catalog.pg_available_extensions WHERE name = %s"
    return conn.execute(query, [name]).fetchone() is not None


def stand_in(request: ExtensionRequest) -> str | None:
    """The SQL that stands in for the extension, or None where there is none."""
    if request.name not in _LACKS:
        return None
    source = files("tenantfuzz.presets") / "extensions" / f"{request.name}.sql"
    return source.read_text(encoding="utf-8")


def install_stand_in(conn: psycopg.Connection, request: ExtensionRequest, body: str) -> None:
    """Run a stand-in with its functions in the schema that ``request`` names.

    Does nothing where it is there already, as a preset may have put it. Raises psycopg.Error, as
    for the statement itself, where that schema does not exist.
    """
    mark = "SELECT FROM pg_catalog.pg_description WHERE description = %s LIMIT 1"
    if conn.execute(mark, [f"stands in for the extension {request.name}"]).fetchone() is not None:
        return
    if request.schema is None or request.name in _FIXED_SCHEMA:
        conn.execute(body.encode())
        return
    conn.execute(
        sql.SQL("SELECT {}::pg_catalog.regnamespace").format(
            sql.Literal(sql.Identifier(request.schema).as_string(conn))
        )
    )
    row = conn.execute("SELECT pg_catalog.current_setting('search_path')").fetchone()
    assert row is not None
    path = sql.SQL("SET search_path TO {}").format(sql.Identifier(request.schema))
    conn.execute(path)
    try:
        conn.execute(body.encode())
    finally:
        if conn.info.transaction_status is not psycopg.pq.TransactionStatus.INERROR:
            conn.execute("SELECT pg_catalog.set_config('search_path', %s, false)", [row[0]])


def missing_warning(place: str, name: str, version: str, *, has_stand_in: bool) -> str:
    """The warning for an extension that the server lacks; ``place`` is ``file:line``."""
    start = f"{place}: PostgreSQL {version} of this engine has no extension {name}"
    if has_stand_in:
        return f"{start}; a stand-in in SQL is used ({_LACKS[name]})"
    return f'{start}; skipped (engine = "server" or "container" may have it)'
