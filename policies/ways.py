"""Ways from a row to the row that says who owns it: by foreign keys, declared or in name only."""

import re
from collections.abc import Callable, Sequence

from tenantfuzz.policies.lookup import Lookup
from tenantfuzz.policies.model import Way
from tenantfuzz.policies.structure import ForeignKey, Relation, RelationName


class References:
    """The foreign keys of a catalog and those that the configuration names beside them."""

    def __init__(self) -> None:
        self._named: list[tuple[RelationName, ForeignKey]] = []

    def add(self, relation: RelationName, way: Way) -> None:
        """Adds a foreign key that exists in name only, unless it is there already."""
        name = f"{_columns(relation, way.columns)} -> {_columns(way.target, way.target_columns)}"
        key = ForeignKey(name, way.columns, way.target, way.target_columns, declared=False)
        if (relation, key) not in self._named:
            self._named.append((relation, key))

    def keys(self, relation: Relation) -> tuple[ForeignKey, ...]:
        """All foreign keys of a relation, declared ones first."""
        named = tuple(key for owner, key in self._named if owner == relation.name)
        return relation.foreign_keys + named

    @property
    def named(self) -> tuple[tuple[RelationName, ForeignKey], ...]:
        """Those that exist in name only, with the relation that has them."""
        return tuple(self._named)


def way_of_columns(
    references: References,
    relation: Relation,
    columns: Sequence[str],
    has_owner: Callable[[RelationName], bool],
) -> Way | None:
    """The way by the foreign key that contains all ``columns``, or None.

    Of several: one to a relation with an owner, to another relation than its own, of few columns.
    """
    keys = [k for k in references.keys(relation) if set(columns) <= set(k.columns)]
    if not keys:
        return None
    best = min(
        keys,
        key=lambda k: (not has_owner(k.target), k.target == relation.name, len(k.columns)),
    )
    return Way(best.columns, best.target, best.target_columns)


def named_way(lookup: Lookup, relation: Relation, text: str, where: str) -> Way | None:
    """The way that ``col -> table.col`` names; None (and a problem kept) if it names none."""
    column, arrow, end = (part.strip() for part in text.partition("->"))
    table, dot, target_column = end.rpartition(".")
    if not (column and arrow and dot and table and target_column):
        lookup.problem(where, f'expected "column -> table.column", not "{text}"')
        return None
    target = lookup.relation(table, where)
    known = lookup.column(relation, column, where)
    if target is None or not lookup.column(target, target_column, where) or not known:
        return None
    return Way((column,), target.name, (target_column,))


def read_reference(lookup: Lookup, references: References, text: str, where: str) -> None:
    """Adds what ``table.col -> table.col`` names to ``references``."""
    start, arrow, end = (part.strip() for part in text.partition("->"))
    table, dot, column = start.rpartition(".")
    if not (arrow and dot and table and re.search(r"\S\.\S", end)):
        lookup.problem(where, f'expected "table.column -> table.column", not "{text}"')
        return
    relation = lookup.relation(table, where)
    if relation is None:
        return
    way = named_way(lookup, relation, f"{column} -> {end}", where)
    if way is not None:
        references.add(relation.name, way)


def _columns(relation: RelationName, columns: Sequence[str]) -> str:
    return ", ".join(f"{relation}.{column}" for column in columns)
