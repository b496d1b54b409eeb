"""What a database says of itself, and a copy made by CREATE DATABASE does not get: its owner, its
privileges, and the settings that hold in it."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import psycopg
from psycopg import sql

_SETTINGS: Final = """
SELECT r.rolname::text, s.setconfig
FROM pg_catalog.pg_db_role_setting s
JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
WHERE d.datname = %s AND (s.setrole = 0 OR r.oid IS NOT NULL)
"""
_OWNED: Final = """
SELECT pg_catalog.pg_get_userbyid(datdba)::text, datacl IS NOT NULL,
       ARRAY(SELECT ARRAY[coalesce(r.rolname::text, ''), a.privilege_type, a.is_grantable::text]
             FROM pg_catalog.aclexplode(datacl) a
             LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.grantee
             WHERE a.grantee = 0 OR r.oid IS NOT NULL)
FROM pg_catalog.pg_database WHERE datname = %s
"""
_WORDS: Final = {word: sql.SQL(word) for word in ("CREATE", "CONNECT", "TEMPORARY")}

# The catalog keeps these as lists of identifiers, quoted where they need it (GUC_LIST_QUOTE).
_LISTS: Final = frozenset(
    {
        "search_path",
        "temp_tablespaces",
        "session_preload_libraries",
        "local_preload_libraries",
        "shared_preload_libraries",
        "unix_socket_directories",
    }
)
_ELEMENT: Final = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^,"]+?))\s*(?:,|$)')


def set_statement(place: sql.Composable, name: str, value: str) -> sql.Composed:
    """``ALTER place SET name TO value``, with name and value as the catalog has them."""
    words = sql.SQL(".").join(sql.Identifier(part) for part in name.split("."))
    text = (
        sql.SQL(", ").join(sql.Literal(part) for part in _elements(value))
        if name in _LISTS
        else sql.Literal(value)
    )
    return sql.SQL("ALTER {} SET {} TO {}").format(place, words, text)


def privilege_statements(
    database: str, owner: str, privileges: Iterable[tuple[str, str, bool]]
) -> Iterator[sql.Composed]:
    """What gives ``database`` this owner and these privileges, and no others: each with its
    grantee (empty for PUBLIC) and whether it may be passed on."""
    name = sql.Identifier(database)
    yield sql.SQL("ALTER DATABASE {} OWNER TO {}").format(name, sql.Identifier(owner))
    yield sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name)
    for grantee, privilege, grantable in privileges:
        if privilege in _WORDS:
            yield sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(
                _WORDS[privilege],
                name,
                sql.Identifier(grantee) if grantee else sql.SQL("PUBLIC"),
                sql.SQL(" WITH GRANT OPTION" if grantable else ""),
            )


def copy_properties(connection: psycopg.Connection[Any], original: str, copy: str) -> None:
    """Give the database ``copy`` the owner, privileges and settings of ``original``.

    Raises psycopg.Error.
    """
    found = connection.execute(_OWNED, [original]).fetchone()
    if found is not None and found[1]:
        privileges = [(to, word, passed == "true") for to, word, passed in found[2]]
        for statement in privilege_statements(copy, found[0], privileges):
            connection.execute(statement)
    database = sql.SQL("DATABASE {}").format(sql.Identifier(copy))
    for role, settings in connection.execute(_SETTINGS, [original]).fetchall():
        place: sql.Composable = database
        if role is not None:
            place = sql.SQL("ROLE {} IN {}").format(sql.Identifier(role), database)
        for setting in settings or ():
            name, _, value = str(setting).partition("=")
            connection.execute(set_statement(place, name, value))


def _elements(text: str) -> Iterator[str]:
    for match in _ELEMENT.finditer(text):
        yield match[1].replace('""', '"') if match[1] is not None else match[2]
