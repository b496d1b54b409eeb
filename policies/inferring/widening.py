"""Widening: policies that mean to show rows to others than those to whom the rows belong.

Such rows may be public, shared, seen by a parent company or by the platform's staff; or nobody
meant it. A person has to say, so the relation is asked about and not judged. A policy that merely
forgot to ask for the tenant (``USING (true)``, ``deleted_at IS NULL``, any membership at all) is
none of them: that is a leak.
"""

from collections.abc import Iterable

from tenantfuzz.policies.inferring.pointers import Surroundings
from tenantfuzz.policies.inferring.readings import Alternative, Place
from tenantfuzz.policies.inferring.words import PLATFORM_WORDS, PUBLIC_WORDS
from tenantfuzz.policies.structure import RelationName


def widened(
    alternatives: Iterable[Alternative],
    *,
    owners: frozenset[Place],
    usual: frozenset[RelationName],
    tree: str | None,
) -> list[Alternative]:
    """The alternatives that widen on purpose, as far as their words show.

    ``owners`` are the columns that say to whom the rows belong, their parents' included; ``usual``
    are the relations that any policy on them may read: those parents, memberships and users.
    ``tree`` is the column by which tenants have parents.
    """
    return [a for a in dict.fromkeys(alternatives) if _widens(a, owners, usual, tree)]


def _widens(
    alternative: Alternative,
    owners: frozenset[Place],
    usual: frozenset[RelationName],
    tree: str | None,
) -> bool:
    if alternative.opens or (tree is not None and tree in alternative.columns):
        return True
    if not alternative.asks:
        public = bool(alternative.spoken & PUBLIC_WORDS)
        return public or (alternative.plain and alternative.picks)
    if alternative.decided & owners:
        return False
    if alternative.spoken & PLATFORM_WORDS:
        return True
    return bool(alternative.relations - usual)


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
