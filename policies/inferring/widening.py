"""Widening: policies that mean to show rows to others than those to whom the rows belong.

Such rows may be public, shared, seen by a parent company or by the platform's staff; or nobody
meant it. A person has to say, so the relation is asked about and not judged. A policy that merely
forgot to ask for the tenant (``USING (true)``, ``deleted_at IS NULL``, any membership at all) is
none of them: that is a leak.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from tenantfuzz.policies.inferring.pointers import Surroundings
from tenantfuzz.policies.inferring.readings import Alternative, Place, Reading
from tenantfuzz.policies.inferring.words import PLATFORM_WORDS, PUBLIC_WORDS
from tenantfuzz.policies.model import Ownership
from tenantfuzz.policies.quoting import readable_identifier
from tenantfuzz.policies.structure import RelationName

_LONGEST = 160  # characters of a condition in a question


@dataclass(frozen=True, slots=True)
class Standing:
    """What is usual for the policies of one relation.

    ``owners`` are the columns that say to whom its rows belong, their parents' included; ``above``
    are the relation and those parents; ``usual`` are what any policy may read besides: memberships,
    users, and how the session is known. ``tree`` is the column by which tenants have parents.
    """

    relation: RelationName
    owners: frozenset[Place]
    above: frozenset[RelationName]
    usual: frozenset[RelationName]
    tree: str | None

    def is_tied(self, alternative: Alternative) -> bool:
        """Whether an alternative asks to whom the row belongs, or leaves that to its parent."""
        to_itself = any(p == Place(self.relation, c) for c, p in alternative.ties)
        for place in alternative.decided & self.owners:
            if place.relation != self.relation or place in alternative.own or to_itself:
                return True
        beyond = self.above - {self.relation}
        return any(place.relation in beyond for _, place in alternative.ties)


@dataclass(frozen=True, slots=True)
class Widening:
    """A relation that policies mean to show to others: what to ask, and the rule that may be the
    answer (``…`` where only a person can write it)."""

    relation: RelationName
    text: str
    predicate: str


def widenings(
    around: Surroundings,
    readings: Sequence[Reading],
    ownership: Mapping[RelationName, Ownership],
    people: Set[RelationName],
    tenants: RelationName | None,
) -> Iterator[Widening]:
    """The relations whose policies widen on purpose. ``people`` are users and memberships."""
    alternatives: dict[RelationName, list[Alternative]] = {}
    for reading in readings:
        alternatives.setdefault(reading.relation, []).extend(reading.alternatives)
    standings = _standings(around, alternatives, ownership, people, tenants)
    for name, standing in standings.items():
        found = [a for a in dict.fromkeys(alternatives.get(name, ())) if _widens(a, standing)]
        if not found:
            continue
        shown = " OR ".join(a.sql if len(found) == 1 else f"({a.sql})" for a in found)
        short = shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…"
        predicate = "…"
        owner = ownership[name].column
        if owner is not None and all(a.plain and not a.asks for a in found):
            column = f"{readable_identifier(name.name)}.{readable_identifier(owner)}"
            predicate = f"{column} = :tenant OR ({shown})"
        text = f"a policy shows rows of {name} to others where {short}: is that meant?"
        yield Widening(name, text, predicate)


def _standings(
    around: Surroundings,
    alternatives: Mapping[RelationName, Sequence[Alternative]],
    ownership: Mapping[RelationName, Ownership],
    people: Set[RelationName],
    tenants: RelationName | None,
) -> dict[RelationName, Standing]:
    """What is usual for each relation; what policies that ask for the owner mostly read besides is
    how the session is known."""
    tree = None
    if tenants is not None:
        tree = next((p.column for p in around.to(tenants) if p.relation == tenants), None)
    standings = {}
    for name in around.tables:
        above = parents(around, name) - (people - {name})
        columns = {n: ownership[n].column for n in above if n in ownership}
        owners = frozenset(Place(n, c) for n, c in columns.items() if c is not None)
        standings[name] = Standing(name, owners, above, frozenset(people), tree)
    read: Counter[RelationName] = Counter()
    asking = 0
    for name, standing in standings.items():
        tied = [a for a in alternatives.get(name, ()) if a.asks and standing.is_tied(a)]
        asking += bool(tied)
        read.update({r for a in tied for r in a.relations - standing.above})
    known = {relation for relation, count in read.items() if 2 * count > asking}
    return {
        name: replace(standing, usual=standing.usual | known)
        for name, standing in standings.items()
    }


def _widens(alternative: Alternative, standing: Standing) -> bool:
    tree = standing.tree
    if alternative.opens or (tree is not None and tree in alternative.columns):
        return True
    if not alternative.asks:
        public = bool(alternative.spoken & PUBLIC_WORDS)
        return public or (alternative.plain and alternative.picks)
    if standing.is_tied(alternative):
        return False
    if alternative.spoken & (PLATFORM_WORDS | PUBLIC_WORDS):
        return True
    return bool(alternative.relations - standing.usual - standing.above)


def parents(around: Surroundings, relation: RelationName) -> frozenset[RelationName]:
    """The relation and all that its rows point at, directly or not."""
    found = {relation}
    waiting = [relation]
    while waiting:
        for pointer in around.of(waiting.pop()):
            if pointer.target not in found:
                found.add(pointer.target)
                waiting.append(pointer.target)
    return frozenset(found)
