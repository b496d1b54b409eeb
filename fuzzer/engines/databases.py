"""Making and dropping databases over an administrator's connection."""

from typing import Any, LiteralString

import psycopg
from psycopg import sql

from tenantfuzz.engines.properties import copy_properties
from tenantfuzz.errors import ToolError
from tenantfuzz.patience import PatientConnection

Row = tuple[Any, ...]  # Any: psycopg cannot know the columns of a statement

STATEMENT_TIMEOUT = "60s"


def connect_admin(conninfo: str, where: str) -> psycopg.Connection[Row]:
    """An autocommit connection with a statement timeout; ToolError when there is no way in.

    ``where`` names the server in the message; the connection string, which may hold a password,
    is never shown.
    """
    try:
        connection = PatientConnection.open(conninfo)
    except psycopg.ProgrammingError:
        # The text of a parse error quotes the connection string.
        raise ToolError(
            f"the connection string for {where} cannot be read",
            hint="write it as postgresql://user@host:port/database, or as key=value words",
        ) from None
    except psycopg.Error as error:
        raise ToolError(
            f"cannot connect to {where}: {_one_line(error)}",
            hint="check that the server runs, has a free connection, and lets this user in",
        ) from error
    try:
        connection.execute("SELECT set_config('statement_timeout', %s, false)", [STATEMENT_TIMEOUT])
    except psycopg.Error as error:
        connection.close()
        raise ToolError(f"{where} does not answer: {_one_line(error)}") from error
    return connection


def fetch_one(
    connection: psycopg.Connection[Row], query: LiteralString, parameters: list[Any] | None = None
) -> Row:
    """The one row of a query that always has one; ToolError when the server refuses."""
    try:
        row = connection.execute(query, parameters).fetchone()
    except psycopg.Error as error:
        raise ToolError(f"the server refused a question: {_one_line(error)}") from error
    assert row is not None
    return row


def create_database(
    connection: psycopg.Connection[Row],
    name: str,
    template: str | None,
    *,
    copy_files: bool = False,
) -> None:
    """Make ``name``: a copy of ``template``, or empty, in UTF-8.

    A copy has the owner, privileges and settings of its template, too. Empty databases come from
    template0: nobody can be connected to it, and nothing local to the server is in it. Where the
    server's own encoding is another, the C locale goes with UTF-8. ``copy_files`` copies files
    between two checkpoints: a third of the time where nothing is synced to disk, a burden to
    others elsewhere.
    """
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
        sql.Identifier(name), sql.Identifier(template or "template0")
    )
    if template is None:
        [encoding] = fetch_one(
            connection,
            "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'template0'",
        )
        if encoding != "UTF8":
            statement += sql.SQL(" ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'")
    # Before PostgreSQL 15 there is no other way, and no word for it.
    if copy_files and connection.info.server_version >= 150000:
        statement += sql.SQL(" STRATEGY file_copy")
    try:
        connection.execute(statement)
        if template is not None:
            copy_properties(connection, template, name)
    except psycopg.Error as error:
        raise ToolError(
            f"cannot create database {name!r}: {_one_line(error)}",
            hint="close the connections to the template first" if template else None,
        ) from error


def drop_database(connection: psycopg.Connection[Row], name: str, *, force: bool = True) -> None:
    """Drop ``name``; with ``force`` the sessions in it are ended first."""
    statement = sql.SQL("DROP DATABASE {}").format(sql.Identifier(name))
    if force:
        statement += sql.SQL(" WITH (FORCE)")
    try:
        connection.execute(statement)
    except psycopg.Error as error:
        raise ToolError(f"cannot drop database {name!r}: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
