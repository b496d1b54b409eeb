"""Landmarks: which relations hold the tenants, the users and the memberships.

Names and foreign keys propose, and each proposal gets points; what policies compare with the
session decides only between proposals that are close.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tenantfuzz.policies.inferring.guesses import Confidence
from tenantfuzz.policies.inferring.pointers import Pointer, Surroundings
from tenantfuzz.policies.inferring.readings import Match, Place, Reading
from tenantfuzz.policies.inferring.session import opened_relations
from tenantfuzz.policies.inferring.words import (
    MEMBER_WORDS,
    TENANT_WORDS,
    USER_WORDS,
    is_pointer,
    nearly_names_it,
    subject,
    weight,
    words,
)
from tenantfuzz.policies.lookup import single_key
from tenantfuzz.policies.structure import Relation, RelationName

_MARGIN = 3.0  # by how many points a proposal must lead to be sure
_LOGIN = frozenset({"password", "email", "mail", "login", "username"})


@dataclass(frozen=True, slots=True)
class Proposal:
    """A relation for a part, its points, and what speaks for it.

    ``joined``: users are made members of it; ``decided``: the session decides about its key;
    ``named``: its name is one that tenants usually have; ``above``: the relation to whose rows its
    own rows belong.
    """

    relation: RelationName
    points: float
    reasons: tuple[str, ...] = ()
    joined: bool = False
    decided: bool = False
    named: bool = False
    above: RelationName | None = None


@dataclass(frozen=True, slots=True)
class Joining:
    """A relation that may make users members: its columns, points and reasons."""

    relation: RelationName
    user: str
    tenant: str
    users: RelationName
    points: float
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the policies compare with the session, by column: their own words, where they say so,
    or what a query finds in a membership."""

    matches: tuple[Match, ...]
    lookups: Mapping[Place, frozenset[Place]] = field(default_factory=dict)

    def compared(self, place: Place) -> bool:
        """Whether a value of the session is compared with the column."""
        return any(m.place == place for m in self.matches)

    def decides(self, place: Place) -> bool:
        """Whether the session decides about the column, by itself or through a lookup."""
        return self.compared(place) or place in self.lookups


def gather(readings: tuple[Reading, ...], defaults: tuple[Match, ...]) -> Evidence:
    """The evidence of all policies and of the columns' defaults."""
    matches: dict[Match, None] = {}
    lookups: dict[Place, set[Place]] = {}
    for reading in readings:
        matches |= dict.fromkeys(reading.matches)
        opened = opened_relations(reading.matches, reading.lookups)
        for own, other in reading.lookups:
            # What is found in a relation that the session opens: my memberships, my profile.
            if other.relation in opened:
                lookups.setdefault(own, set()).add(other)
    matches |= dict.fromkeys(defaults)
    return Evidence(tuple(matches), {k: frozenset(v) for k, v in lookups.items()})


def confidence_of(proposals: list[Proposal], *, least: float) -> Confidence:
    """How sure the first of several proposals is, by its points and its lead."""
    if not proposals or proposals[0].points < least:
        return Confidence.UNSURE
    second = proposals[1].points if len(proposals) > 1 else 0.0
    lead = proposals[0].points - second
    if lead >= _MARGIN:
        return Confidence.SURE
    return Confidence.LIKELY if lead >= _MARGIN / 2 else Confidence.UNSURE


def is_userlike(relation: Relation) -> bool:
    """Whether the rows of a relation are people who sign in."""
    if weight(relation.name.name, USER_WORDS) >= 3:
        return True
    names = {word for column in relation.columns for word in words(column.name)}
    signs_in = "password" in names or ("email" in names and "username" in names)
    return signs_in or (weight(relation.name.name, USER_WORDS) > 0 and bool(names & _LOGIN))


def propose_users(around: Surroundings, evidence: Evidence) -> list[Proposal]:
    """Relations that may hold the users, the likeliest first."""
    found = []
    relations = [*around.tables.values(), *_platform_users(around)]
    for relation in relations:
        key = single_key(relation)
        if key is None or not is_userlike(relation):
            continue
        name = relation.name
        points = float(weight(name.name, USER_WORDS))
        reasons = []
        pointing = {p.relation for p in around.to(name)}
        if pointing:
            points += 1 + min(len(pointing), 4) / 4
            reasons.append(f"{_count(len(pointing), 'relation')} point at it")
        if evidence.compared(Place(name, key)):
            points += 2
            reasons.append("policies compare its key with the session")
        found.append(Proposal(name, points, tuple(reasons)))
    return _ranked(found)


def propose_tenants(
    around: Surroundings, evidence: Evidence, joinings: Mapping[RelationName, list[Joining]]
) -> list[Proposal]:
    """Relations that may hold the tenants, the likeliest first."""
    others = max(len(around.tables) - 1, 1)
    found: list[Proposal] = []
    owners: dict[RelationName, float] = {}
    for relation in around.tables.values():
        owners[relation.name] = len(_owned_by(around, relation.name)) / others
    for relation in around.tables.values():
        name, key = relation.name, single_key(relation)
        spoken = weight(name.name, TENANT_WORDS)
        coverage = owners[name]
        direct = _owned_by(around, name)
        if key is None or not direct or (not spoken and coverage < 0.4):
            continue
        if is_userlike(relation) and not joinings.get(name):
            continue
        reasons = [f"{_count(len(direct), 'relation')} point at it ({_columns(direct)})"]
        points = 2.0 * spoken + 6 * coverage
        if spoken:
            reasons.append(f"its name says '{words(name.name)[-1]}'")
        best = max((j.points for j in joinings.get(name, [])), default=0.0)
        if best >= 3:
            points += 4
            reasons.append("users are made members of it")
        places = [Place(name, key), *(Place(p.relation, p.column) for p in direct)]
        decided = sum(evidence.decides(place) for place in places)
        if decided:
            points += 2 + 4 * decided / len(places)
            reasons.append("policies compare its key with the session")
        if (above := _above(around, relation, owners)) is not None:
            points -= 3 if spoken else 6
            reasons.append(f"its rows belong to {above}")
        found.append(
            Proposal(name, points, tuple(reasons), best >= 3, decided > 0, spoken > 1, above)
        )
    return _ranked(found)


def is_contested(proposals: list[Proposal]) -> bool:
    """Whether tenants may be at another level than the first proposal says: users are made members
    of both levels, and the session does not tell which of them counts."""
    best, *others = proposals
    return any(
        other.joined
        and best.joined
        and (other.named or not best.named)
        and (other.above == best.relation or best.above == other.relation)
        and (other.decided or not best.decided)
        for other in others
    )


def propose_joinings(
    around: Surroundings, evidence: Evidence, users: list[Proposal]
) -> dict[RelationName, list[Joining]]:
    """For each relation that may hold tenants, the relations that may make users members of it,
    the likeliest first."""
    people = {p.relation: p.points for p in users}
    found: dict[RelationName, list[Joining]] = {}
    for relation in around.tables.values():
        for tenant, user in _pairs(around, relation, people):
            joining = _joining(around, evidence, relation, tenant, user)
            if joining is not None:
                found.setdefault(tenant.target, []).append(joining)
    return {
        target: sorted(joinings, key=lambda j: (-j.points, j.relation))
        for target, joinings in found.items()
    }


def _pairs(
    around: Surroundings, relation: Relation, people: Mapping[RelationName, float]
) -> Iterator[tuple[Pointer, Pointer]]:
    """A pointer to a tenant and one to a user; for a relation of users, its own key."""
    pointers = around.of(relation.name)
    tenants = [
        p
        for p in pointers
        if p.target not in people or weight(p.target.name, TENANT_WORDS) > 0
        if not is_pointer(p.column) and p.target != relation.name
    ]
    persons = [p for p in pointers if p.target in people]
    key = single_key(relation)
    if relation.name in people and key is not None and not any(p.column == key for p in persons):
        persons.append(Pointer(relation.name, key, relation.name, key, True, True))
    for tenant in tenants:
        for person in persons:
            if tenant.target != person.target and tenant.column != person.column:
                yield tenant, person


def _joining(
    around: Surroundings, evidence: Evidence, relation: Relation, tenant: Pointer, user: Pointer
) -> Joining | None:
    name, points, reasons = relation.name, 0.0, []
    said = set(words(name.name))
    both = {tenant.column, user.column}
    key = single_key(relation)
    profile = user.column == key
    if said & MEMBER_WORDS or words(name.name)[-1] in MEMBER_WORDS:
        points += 3
        reasons.append("its name says so")
    elif not profile and said >= {words(tenant.target.name)[-1], words(user.target.name)[-1]}:
        points += 3
        reasons.append("its name joins the two")
    unique = [u for u in relation.uniques if not u.expressions]
    if not profile and any(set(u.columns) == both for u in unique):
        points += 3
        reasons.append("each user is there once in each tenant")
    elif profile or any(set(u.columns) == {user.column} for u in unique):
        points += 1
        reasons.append("each user is there once, with its tenant")
    asked = evidence.decides(Place(name, user.column))
    opened = any(Place(name, tenant.column) in found for found in evidence.lookups.values())
    if asked and opened:
        points += 3
        reasons.append("policies look the session's user up in it")
    elif asked and profile:
        points += 0.5
    elif profile and any(
        evidence.compared(Place(p.relation, p.column)) for p in around.to(user.target)
    ):
        points += 2
        reasons.append("policies compare columns that lead to it with the session")
    if not profile and not nearly_names_it(user.column, user.target.name):
        plain = set(subject(user.column)) & {"user", "member", "person", "profile", "account"}
        if not plain:
            points -= 3  # created_by, invited_by: who made the row, not whom it is about
    if points <= 0:
        return None
    return Joining(name, user.column, tenant.column, user.target, points, tuple(reasons))


def _owned_by(around: Surroundings, target: RelationName) -> list[Pointer]:
    """The pointers that may say to which row of ``target`` a row belongs, one for each relation."""
    found: dict[RelationName, Pointer] = {}
    for pointer in around.to(target):
        if pointer.relation != target and not is_pointer(pointer.column):
            found.setdefault(pointer.relation, pointer)
    return list(found.values())


def _above(
    around: Surroundings, relation: Relation, owners: Mapping[RelationName, float]
) -> RelationName | None:
    """The relation whose tenants a proposed tenant itself belongs to, if there is one."""
    for pointer in around.of(relation.name):
        target = pointer.target
        if target == relation.name or target not in around.tables or is_pointer(pointer.column):
            continue
        if is_userlike(around.tables[target]):
            continue
        if weight(target.name, TENANT_WORDS) or owners[target] > owners[relation.name]:
            return target
    return None


def _platform_users(around: Surroundings) -> list[Relation]:
    name = RelationName("auth", "users")
    return [around.catalog.relations[name]] if name in around.platform else []


def _ranked(found: list[Proposal]) -> list[Proposal]:
    return sorted(found, key=lambda p: (-p.points, p.relation))


def _columns(pointers: list[Pointer]) -> str:
    names = list(dict.fromkeys(p.column for p in pointers))
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _count(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")
