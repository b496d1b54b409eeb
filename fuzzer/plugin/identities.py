"""Identities for whole sessions: connections that code under test uses as it likes."""

from typing import Any

import psycopg

from tenantfuzz.errors import ToolError
from tenantfuzz.policies.principals import Freshness, Principal
from tenantfuzz.policies.quoting import identifier, literal
from tenantfuzz.policies.structure import Catalog

_LIMITS = frozenset({"statement_timeout", "lock_timeout"})  # tests have their own


def assume(connection: psycopg.Connection[Any], principal: Principal, catalog: Catalog) -> None:
    """Gives a new connection in autocommit the identity of a principal, and turns autocommit off.

    What is local to a transaction where the tool acts is the session's here. Raises ToolError
    where the identity cannot be set.
    """
    try:
        if principal.freshness in (Freshness.COMMITTED, Freshness.ROLLED_BACK):
            end = "COMMIT" if principal.freshness is Freshness.COMMITTED else "ROLLBACK"
            earlier = [
                f"SELECT set_config({literal(n)}, {literal(v)}, true)" for n, v in principal.earlier
            ]
            for statement in ("BEGIN", *earlier, end):
                connection.execute(statement.encode())
        for statement in session_identity(principal, catalog):
            connection.execute(statement.encode())
        connection.autocommit = False
        for statement in principal.statements:
            connection.execute(statement.encode())
    except psycopg.Error as error:
        raise ToolError(
            f"the identity of a principal of kind {principal.kind!r} could not be set: {error}",
            hint="check [identity]: login, role, settings and statements",
        ) from error


def session_identity(principal: Principal, catalog: Catalog) -> list[str]:
    """The statements that give a session the identity of ``principal``, until it ends."""
    login = principal.login or principal.role
    role = catalog.roles.get(login) if login is not None else None
    brought = [(n, v) for n, v in (role.settings if role else ()) if n.lower() not in _LIMITS]
    statements = [_setting(name, value) for name, value in brought]
    if login is not None:
        statements.append(f"SET SESSION AUTHORIZATION {identifier(login)}")
    if principal.role is not None and principal.role != login:
        statements.append(f"SET ROLE {identifier(principal.role)}")
    return statements + [_setting(name, value) for name, value in principal.settings]


def _setting(name: str, value: str) -> str:
    return f"SELECT set_config({literal(name)}, {literal(value)}, false)"


def assume_service(connection: psycopg.Connection[Any], role: str | None) -> None:
    """Gives a new connection in autocommit the service role, or leaves it the trusted role's."""
    if role is not None:
        connection.execute(f"SET ROLE {identifier(role)}".encode())
    connection.autocommit = False
