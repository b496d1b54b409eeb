"""Roles: in which database role the application acts, and how it logs in."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tenantfuzz.policies.inferring.pointers import Surroundings
from tenantfuzz.policies.inferring.words import words
from tenantfuzz.policies.structure import (
    Catalog,
    Operation,
    Privilege,
    Relation,
    RelationName,
    Role,
)

_ANONYMOUS = frozenset({"anon", "anonymous", "guest", "visitor"})
_STAFF = frozenset(
    {
        "admin", "superuser", "service", "migrator", "migration", "migrate", "backup",
        "replication",
        "owner", "deploy", "root", "dba", "monitor", "monitoring", "maintenance", "etl", "system",
        "support", "ops", "job", "worker", "cron", "internal",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Acting:
    """A role that principals may act as, the login that reaches it, and why."""

    role: str
    login: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Cast:
    """All roles that come into question: who acts, who visits, who serves. ``personas`` are several
    roles of one login, one for each kind of member."""

    acting: tuple[Acting, ...] = ()
    anonymous: str | None = None
    service: str | None = None
    personas: tuple[Acting, ...] = ()
    unbound: tuple[str, ...] = ()  # roles that policies do not bind, and why


def cast_roles(around: Surroundings) -> Cast:
    """The roles that have privileges on the tables, by what they may do and how they log in.

    Roles that row security does not bind come only into question where there is no other.
    """
    catalog = around.catalog
    reach = {role.name: _reach(catalog, role, around.tables) for role in catalog.roles.values()}
    owners = {relation.owner for relation in around.tables.values()}
    bound, unbound, anonymous, service = [], [], [], []
    for role in catalog.roles.values():
        if role.superuser or not reach[role.name]:
            continue
        said = set(words(role.name))
        if role.bypass_row_security:
            service.append(role)
        elif _owns(role, around.tables.values(), owners):
            unbound.append(role)
        elif said & _STAFF:
            service.append(role)
        elif said & _ANONYMOUS:
            anonymous.append(role)
        else:
            bound.append(role)
    if not bound and anonymous:
        bound, anonymous = anonymous, []
    chosen = bound or unbound or service
    acting = _with_logins(catalog, _without_shadows(chosen, reach))
    personas = acting if _one_login(acting) else ()
    serving = service[0].name if len(service) == 1 and bound else None
    return Cast(
        acting=acting,
        anonymous=anonymous[0].name if len(anonymous) == 1 else None,
        service=serving,
        personas=personas,
        unbound=tuple(r.name for r in chosen) if not bound and chosen else (),
    )


def reaches(catalog: Catalog, role: Role, relation: Relation, operation: Operation) -> bool:
    """Whether the catalog lets a role try the operation at all: a privilege, and where row security
    binds it, a permissive policy that speaks for it."""
    grant = catalog.grant(role.name, relation.name)
    privilege = Privilege(operation.value)
    if privilege not in grant.privileges and not grant.columns.get(privilege):
        return False
    if not relation.row_security or role.bypass_row_security or role.superuser:
        return True
    if relation.owner in {role.name} | role.inherits_from and not relation.force_row_security:
        return True
    names = {role.name} | role.member_of
    return any(
        policy.permissive
        and policy.applies_to(operation)
        and (not policy.roles or names & set(policy.roles))
        and (policy.using or policy.check or "").strip("() ").lower() != "false"
        for policy in relation.policies
    )


def _reach(
    catalog: Catalog, role: Role, tables: Mapping[RelationName, Relation]
) -> frozenset[RelationName]:
    return frozenset(
        name
        for name in tables
        if (grant := catalog.grants.get((role.name, name))) is not None
        and (grant.privileges or grant.columns)
    )


def _owns(role: Role, tables: Iterable[Relation], owners: set[str]) -> bool:
    """Whether row security leaves a role alone because it owns tables without FORCE."""
    mine = ({role.name} | role.inherits_from) & owners
    return bool(mine) and any(
        relation.owner in mine and relation.row_security and not relation.force_row_security
        for relation in tables
    )


def _without_shadows(roles: list[Role], reach: Mapping[str, frozenset[RelationName]]) -> list[Role]:
    """The roles without those that only lend their privileges to another of them, and without
    those that only log in for another."""
    kept = []
    names = {role.name for role in roles}
    for role in roles:
        lent = any(
            role.name in other.inherits_from
            and other.login
            and reach[other.name] >= reach[role.name]
            for other in roles
        )
        gateway = role.login and not role.inherit and bool(role.member_of & names)
        if not lent and not gateway:
            kept.append(role)
    return kept


def _with_logins(catalog: Catalog, roles: list[Role]) -> tuple[Acting, ...]:
    found = []
    for role in roles:
        if role.login:
            found.append(Acting(role.name, None, "it logs in and has privileges on the tables"))
            continue
        doors = [
            other.name
            for other in catalog.roles.values()
            if other.login
            and not other.superuser
            and role.name in other.member_of
            and role.name not in other.inherits_from
        ]
        if len(doors) == 1:
            reason = f"it has privileges on the tables, and {doors[0]} logs in and switches to it"
            found.append(Acting(role.name, doors[0], reason))
        else:
            found.append(Acting(role.name, None, "it has privileges on the tables"))
    return tuple(sorted(found, key=lambda a: a.role))


def _one_login(acting: tuple[Acting, ...]) -> bool:
    return len(acting) > 1 and len({a.login for a in acting}) == 1 and acting[0].login is not None
