"""Makes the roles of a live database on the server of the scratch database."""

import contextlib
import re
from typing import Final

import psycopg
from psycopg import sql

from tenantfuzz.engines.properties import privilege_statements, set_statement
from tenantfuzz.errors import ToolError
from tenantfuzz.live.roles import MEMBERSHIPS, Cluster, LiveRole, Membership, Setting

_MARK: Final = "tenantfuzz: copied from a live database"
_EXISTING: Final = """
SELECT r.rolname::text, r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb, r.rolcanlogin,
       r.rolbypassrls, r.rolconnlimit,
       pg_catalog.shobj_description(r.oid, 'pg_authid') IS NOT DISTINCT FROM %s
FROM pg_catalog.pg_roles r
"""
# They load libraries into every session of the role, speak of the log, or end a world's
# transaction, which lasts longer than those of an application.
_NOT_COPIED: Final = re.compile(
    r"^(?:session_preload_libraries|local_preload_libraries|log_\w+|track_\w+|"
    r"default_tablespace|temp_tablespaces|transaction_timeout|idle_\w+_timeout)$"
)
# They would hold for the trusted role as well.
_NOT_FOR_ALL: Final = re.compile(r"^(?:role|default_transaction_\w+|\w+_timeout|row_security)$")


def copy_cluster(connection: psycopg.Connection, cluster: Cluster, database: str) -> list[str]:
    """Make the roles, memberships and settings of ``cluster``, for the scratch ``database``.

    ``connection`` is a superuser's, in autocommit. Roles belong to the whole server, which may
    even be that of the live database: one that somebody else made is never changed, and must have
    the same powers (ToolError); one that an earlier copy made is brought up to date. Returns
    warnings of what could not be done.
    """
    others = _make_roles(connection, cluster)
    warnings = _make_memberships(connection, cluster, others)
    warnings += _make_settings(connection, cluster.settings, database, others)
    warnings += _give_database(connection, cluster, database)
    return warnings


def _make_roles(connection: psycopg.Connection, cluster: Cluster) -> frozenset[str]:
    """The names of the roles that were there already and are not ours."""
    existing = {
        row[0]: (LiveRole(*row[:8]), row[8]) for row in connection.execute(_EXISTING, [_MARK])
    }
    others, clashes = set(), []
    for role in cluster.roles:
        found, ours = existing.get(role.name, (None, True))
        if found is None:
            _try_create(connection, role)
        elif ours:
            name = sql.Identifier(role.name)
            connection.execute(sql.SQL("ALTER ROLE {} WITH ").format(name) + _attributes(role))
        else:
            others.add(role.name)
            if difference := _difference(role, found):
                clashes.append(f"role {role.name} {difference}")
    if clashes:
        raise _clash(clashes)
    return frozenset(others)


def _clash(clashes: list[str]) -> ToolError:
    return ToolError(
        "the scratch server has other roles of the same names than the live database: "
        + "; ".join(clashes),
        hint='use engine = "embedded", or a server for tests without those roles',
    )


def _try_create(connection: psycopg.Connection, role: LiveRole) -> None:
    name = sql.Identifier(role.name)
    # Another copy, at the same time, may be quicker.
    with (
        contextlib.suppress(psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation),
        connection.transaction(),
    ):
        connection.execute(create_role(role))
        connection.execute(sql.SQL("COMMENT ON ROLE {} IS {}").format(name, sql.Literal(_MARK)))


def create_role(role: LiveRole) -> sql.Composed:
    """The statement that makes ``role``, without a password."""
    return sql.SQL("CREATE ROLE {} WITH ").format(sql.Identifier(role.name)) + _attributes(role)


def _attributes(role: LiveRole) -> sql.Composed:
    words = (
        sql.SQL("SUPERUSER" if role.superuser else "NOSUPERUSER"),
        sql.SQL("INHERIT" if role.inherit else "NOINHERIT"),
        sql.SQL("CREATEROLE" if role.create_role else "NOCREATEROLE"),
        sql.SQL("CREATEDB" if role.create_database else "NOCREATEDB"),
        sql.SQL("LOGIN" if role.login else "NOLOGIN"),
        sql.SQL("BYPASSRLS" if role.bypass_row_security else "NOBYPASSRLS"),
    )
    return sql.SQL(" ").join(words)


def _difference(wanted: LiveRole, found: LiveRole) -> str:
    """What matters for who sees what, and differs."""
    pairs = (
        ("SUPERUSER", wanted.superuser, found.superuser),
        ("BYPASSRLS", wanted.bypass_row_security, found.bypass_row_security),
        ("INHERIT", wanted.inherit, found.inherit),
    )
    words = [f"{'' if there else 'NO'}{word}" for word, live, there in pairs if live != there]
    return f"is {' '.join(words)} there" if words else ""


def _make_memberships(
    connection: psycopg.Connection, cluster: Cluster, others: frozenset[str]
) -> list[str]:
    there = {row[0] for row in connection.execute("SELECT rolname::text FROM pg_roles")}
    existing = {
        (found.role, found.member): found
        for row in connection.execute(MEMBERSHIPS.encode())
        for found in [Membership(*row)]
    }
    warnings, clashes = [], []
    wanted = {(m.role, m.member) for m in cluster.memberships}
    superusers = {role.name for role in cluster.roles if role.superuser}
    for membership in cluster.memberships:
        role, member = membership.role, membership.member
        if role not in there:
            warnings.append(f"role {member} is a member of {role}, which this server lacks")
        elif existing.get((role, member)) == membership:
            continue
        elif member not in others:
            version = connection.info.server_version
            connection.execute(grant_membership(membership, version=version))
        elif member not in superusers:  # whose memberships give them nothing
            clashes.append(f"role {member} is not the same member of {role} there")
    for role, member in existing:
        if member in others - superusers and (role, member) not in wanted:
            clashes.append(f"role {member} is a member of {role} there")
        elif member in {r.name for r in cluster.roles} - others and (role, member) not in wanted:
            connection.execute(
                sql.SQL("REVOKE {} FROM {}").format(sql.Identifier(role), sql.Identifier(member))
            )
    if clashes:
        raise _clash(clashes)
    return warnings


def grant_membership(membership: Membership, *, version: int) -> sql.Composed:
    """The statement that grants ``membership`` on a server of ``version``."""
    statement = sql.SQL("GRANT {} TO {}").format(
        sql.Identifier(membership.role), sql.Identifier(membership.member)
    )
    if version < 160000:
        return statement + sql.SQL(" WITH ADMIN OPTION" if membership.admin else "")
    options = sql.SQL(" WITH ADMIN {}, INHERIT {}, SET {}").format(
        sql.Literal(membership.admin),
        sql.Literal(membership.inherit),
        sql.Literal(membership.switch),
    )
    return statement + options


def _make_settings(
    connection: psycopg.Connection,
    settings: tuple[Setting, ...],
    database: str,
    others: frozenset[str],
) -> list[str]:
    warnings = []
    for setting in settings:
        place = f"role {setting.role}" if setting.role else "the database"
        if not is_copied(setting):
            continue
        # What holds for all of the source is set for this database alone where it is not our role.
        here = setting.here or setting.role is None or setting.role in others
        target = sql.SQL("DATABASE {}").format(sql.Identifier(database))
        if setting.role is not None:
            target = sql.SQL("ROLE {}").format(sql.Identifier(setting.role)) + (
                sql.SQL(" IN DATABASE {}").format(sql.Identifier(database)) if here else sql.SQL("")
            )
        statement = set_statement(target, setting.name, setting.value)
        try:
            connection.execute(statement)
        except psycopg.Error as error:
            warnings.append(
                f"{place}: the setting {setting.name} could not be copied:"
                f" {error.diag.message_primary}"
            )
    return warnings


def is_copied(setting: Setting) -> bool:
    """Whether a setting is part of a copy."""
    everybody = setting.role is None and _NOT_FOR_ALL.match(setting.name)
    return not everybody and _NOT_COPIED.match(setting.name) is None


def _give_database(connection: psycopg.Connection, cluster: Cluster, database: str) -> list[str]:
    """The owner of the scratch database is that of the live one: whoever owns a database is in
    pg_database_owner, and may make schemas."""
    warnings = []
    privileges = [(p.grantee, p.privilege, p.grantable) for p in cluster.privileges]
    statements = list(privilege_statements(database, cluster.owner, privileges))
    if not cluster.has_public:
        statements.append(sql.SQL("DROP SCHEMA IF EXISTS public").format())
    for statement in statements:
        try:
            connection.execute(statement)
        except psycopg.Error as error:
            warnings.append(f"privileges of the database: {error.diag.message_primary}")
    return warnings
