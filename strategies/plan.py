"""A plan: all that is decided about populating a schema before any world is drawn."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tenantfuzz.policies.model import Model
from tenantfuzz.policies.structure import Catalog, ForeignKey, RelationKind, RelationName
from tenantfuzz.policies.world import Values
from tenantfuzz.strategies.dictionary import Dictionary

POPULATED_KINDS = (RelationKind.TABLE, RelationKind.PARTITIONED)
"""The kinds of relation that rows are made for; the others show rows of these."""


class Unpopulated(Exception):  # noqa: N818  (it is a verdict on a relation, no failure)
    """A relation for which no row can be made; ``reason`` completes "untested, because it …"."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Link:
    """A foreign key of one relation as generation sees it.

    ``hard``: no NULL can avoid it. ``owning``: the row belongs to the tenants of the row that it
    points at. ``late``: its target comes later in the order, so it starts as NULL and a fix-up
    sets it. ``ahead``: its target comes later and it cannot be NULL; but nothing checks it before
    the end of the transaction, so the key of a row to come is reserved for it.
    """

    key: ForeignKey
    hard: bool
    owning: bool = False
    late: bool = False
    ahead: bool = False


@dataclass(frozen=True, slots=True)
class Joining:
    """How memberships of one sort look: the values that make them so, and whether in force.

    ``further`` ones are no kind of their own but hold a value that policies ask for.
    """

    kind: str
    values: Values
    active: bool = True
    further: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Which relations are populated, in which order, out of what.

    ``order`` lists the relations that hold generated rows, parents first. ``existing`` are rows
    that the schema itself inserted. ``overrides`` is as configured; ``values`` the same by
    relation and column. ``variants`` counts how often the server refused rows of a relation: each
    count shifts the choices. ``unpopulated`` says why a relation stays empty. ``leaves`` holds for
    each partitioned root one mapping of key columns to values per leaf. ``cycling`` holds the
    values of the columns that decide verdicts. ``joinings`` are the memberships that each tenant
    gets (one per kind), ``formers`` those that do not count, where a predicate can tell.
    ``pointers`` are the columns that hold a tenant's id though no foreign key says so; ``roving``
    those that name some tenant, not the row's own: a partner, somebody who is kept out.
    ``shadowable`` and ``stirring`` are as in ``tenantfuzz.strategies.influence``.
    """

    catalog: Catalog
    model: Model
    order: tuple[RelationName, ...]
    existing: Mapping[RelationName, tuple[Values, ...]]
    dictionary: Dictionary | None
    overrides: Mapping[str, Sequence[str]]
    variants: Mapping[RelationName, int]
    unpopulated: Mapping[RelationName, str]
    links: Mapping[RelationName, tuple[Link, ...]]
    values: Mapping[RelationName, Mapping[str, tuple[str, ...]]]
    leaves: Mapping[RelationName, tuple[Mapping[str, str], ...]]
    cycling: Mapping[RelationName, Mapping[str, tuple[str | None, ...]]]
    joinings: tuple[Joining, ...] = ()
    formers: tuple[Joining, ...] = ()
    pointers: Mapping[RelationName, tuple[str, ...]] = field(default_factory=dict)
    roving: frozenset[tuple[RelationName, str]] = frozenset()
    shadowable: frozenset[RelationName] = frozenset()
    stirring: frozenset[RelationName] = frozenset()

    def preferred(
        self,
        name: RelationName,
        turn: int,
        ordinal: int,
        *,
        chance: str | None = None,
        together: bool = False,
    ) -> dict[str, str | None]:
        """Values that a row with this ``turn`` would rather have, by column.

        Columns that decide verdicts run through their values, each alone; where a ``chance`` is
        given, up to two have values that follow from it and the turn (``together``: mostly two,
        since each alone is shown elsewhere). The others are as they ordinarily are. Rows of a
        partitioned table run through its leaves. Configured values win; those of unique columns
        follow the ``ordinal``. After a refusal every other variant does without the deciding
        values.
        """
        values: dict[str, str | None] = {}
        cycling = self.cycling.get(name, {})
        if self.variants.get(name, 0) % 2:
            pass
        elif chance is not None:
            values |= _by_chance(cycling, f"{chance}/{name}/{turn}", together=together)
        elif singles := singles_of(cycling):
            at = turn % (len(singles) + 1)
            if at:
                column, value = singles[at - 1]
                values[column] = value
        if leaves := self.leaves.get(name):
            values |= leaves[turn % len(leaves)]
        for column, given in self.values.get(name, {}).items():
            unique = any(u.columns == (column,) for u in self.catalog.relations[name].uniques)
            values[column] = given[(ordinal if unique else turn) % len(given)]
        return values

    def decided(self, name: RelationName) -> bool:
        """Whether values of its rows decide verdicts, or those of rows that they point at."""
        memberships = self.model.memberships.relation if self.model.memberships else None
        people = {self.model.tenants, self.model.users, memberships}
        seen, stack = {name}, [name]
        while stack:
            at = stack.pop()
            if self.cycling.get(at):
                return True
            parents = {link.key.target for link in self.links.get(at, ())} - seen - people
            stack += parents
            seen |= parents
        return False

    def pairs(self, name: RelationName) -> int:
        """How many rows it takes to show each value of the deciding columns in rows that point at
        one with each value of its own."""
        parents = {link.key.target for link in self.links.get(name, ())}
        return self.variety(name) * max([1, *(self.variety(p) for p in parents if p != name)])

    def variety(self, name: RelationName) -> int:
        """How many rows it takes to show each value of the deciding columns, and the ordinary."""
        return 1 + len(singles_of(self.cycling.get(name, {})))


def _by_chance(
    cycling: Mapping[str, tuple[str | None, ...]], chance: str, *, together: bool
) -> dict[str, str | None]:
    """Up to two deciding columns with one of their values each."""
    if not cycling:
        return {}
    source = random.Random(chance)
    count = source.choice((1, 2, 2, 2) if together else (0, 1, 1, 2))
    columns = source.sample(sorted(cycling), min(count, len(cycling)))
    return {column: source.choice(cycling[column]) for column in columns}


def singles_of(
    cycling: Mapping[str, tuple[str | None, ...]],
) -> list[tuple[str, str | None]]:
    """Pairs of column and value: the first values of all columns, then the second ones, …"""
    longest = max(map(len, cycling.values()), default=0)
    return [
        (column, options[at])
        for at in range(longest)
        for column, options in cycling.items()
        if at < len(options)
    ]
