"""How a principal's identity reaches a session, as SQL."""

from collections.abc import Iterable

from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.quoting import identifier, literal, readable_identifier
from tenantfuzz.policies.structure import Catalog, Privilege, Relation, Role

# Ours stay in force: a target's own limits must not cut off the tool's statements.
_OURS = frozenset({"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"})


def identity_statements(principal: Principal, catalog: Catalog) -> list[str]:
    """The statements that make the rest of the (sub)transaction act as ``principal``.

    SET LOCAL ROLE from a superuser is no login: session_user, pg_has_role and the right to SET
    ROLE to strangers would all be the superuser's. So the session authorization is changed first,
    and the settings that a login would have brought (pg_db_role_setting) are applied by hand.
    """
    statements: list[str] = []
    login = principal.login or principal.role
    if login is not None:
        role = catalog.roles.get(login)
        statements += [
            f"SELECT set_config({literal(name)}, {literal(value)}, true)"
            for name, value in (role.settings if role else ())
            if name.lower() not in _OURS
        ]
    statements += return_statements(principal)
    statements += [_set_config(name, value) for name, value in principal.settings]
    statements += principal.statements
    return statements


def return_statements(principal: Principal) -> list[str]:
    """The statements by which ``principal`` acts again in a transaction where it acted before.

    Its settings are those that its own statements left: an application sets them once.
    """
    statements: list[str] = []
    login = principal.login or principal.role
    if login is not None:
        statements.append(f"SET LOCAL SESSION AUTHORIZATION {identifier(login)}")
    if principal.role is not None and principal.role != login:
        statements.append(f"SET LOCAL ROLE {identifier(principal.role)}")
    return statements


def readable_identity(principal: Principal) -> list[str]:
    """The same as a person would type it in psql, to be followed by the principal's statements."""
    statements: list[str] = []
    login = principal.login or principal.role
    if login is not None and login != principal.role:
        statements.append(f"SET LOCAL SESSION AUTHORIZATION {readable_identifier(login)};")
    if principal.role is not None:
        statements.append(f"SET LOCAL ROLE {readable_identifier(principal.role)};")
    statements += [_set_config(name, value) + ";" for name, value in principal.settings]
    statements += [s.rstrip().rstrip(";") + ";" for s in principal.statements]
    return statements


def _set_config(name: str, value: str) -> str:
    return f"SELECT set_config({literal(name)}, {literal(value)}, true)"


def bypasses_row_security(role: Role, relation: Relation) -> str | None:
    """Why policies do not bind ``role`` on ``relation`` although row security is on, or None.

    Manual, section 5.9: superusers, roles with BYPASSRLS, and the table's owner unless FORCE is
    set; whoever inherits the owner's privileges is an owner too.
    """
    if role.superuser:
        return f"role {role.name} is a superuser: policies are not applied"
    if role.bypass_row_security:
        return f"role {role.name} has BYPASSRLS: policies are not applied"
    owns = role.name == relation.owner or relation.owner in role.inherits_from
    if owns and relation.row_security and not relation.force_row_security:
        who = "owns the table" if role.name == relation.owner else "inherits from the table's owner"
        return f"role {role.name} {who} and row security is not forced"
    return None


def permissive_policies(role: Role, relation: Relation, command: str) -> list[str]:
    """Names of the permissive policies that speak for ``role`` and ``command``."""
    names = {role.name} | role.member_of
    return [
        p.name
        for p in relation.policies
        if p.permissive and p.command in ("all", command) and (not p.roles or names & set(p.roles))
    ]


def is_closed(role: Role, relation: Relation, command: str, catalog: Catalog) -> bool:
    """Whether the catalog forbids the command to the role outright.

    No privilege on the table or on any of its columns, or row security in force with no
    permissive policy for that role and command other than a literal ``false``.
    """
    if role.superuser:
        return False
    grant = catalog.grant(role.name, relation.name)
    privilege = Privilege(command)
    if privilege not in grant.privileges and not grant.columns.get(privilege):
        return True
    if not relation.row_security or bypasses_row_security(role, relation):
        return False
    names = {role.name} | role.member_of
    for policy in relation.policies:
        speaks = not policy.roles or names & set(policy.roles)
        if not policy.permissive or policy.command not in ("all", command) or not speaks:
            continue
        expression = policy.check if command == "insert" else policy.using
        if expression is None and command == "insert":
            expression = policy.using
        if (expression or "").strip("() ").lower() != "false":
            return False
    return True


def roles_of(principals: Iterable[Principal]) -> tuple[str, ...]:
    """The roles that principals act in, in order, each once."""
    return tuple(dict.fromkeys(p.acting_role for p in principals if p.acting_role is not None))
