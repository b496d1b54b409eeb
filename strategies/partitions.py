"""Values of partition keys that fall into an existing partition, read from partition bounds."""

import datetime
import re
from collections.abc import Iterator, Mapping

from tenantfuzz.policies.structure import Catalog, RelationName

_TERM = re.compile(r"'((?:[^']|'')*)'|([A-Za-z]+)|(-?\d+(?:\.\d+)?)")
_RANGE = re.compile(r"FOR VALUES FROM \((.*)\) TO \((.*)\)", re.DOTALL)
_LIST = re.compile(r"FOR VALUES IN \((.*)\)", re.DOTALL)
_UNBOUNDED = ("MINVALUE", "MAXVALUE")


def partition_leaves(catalog: Catalog, root: RelationName) -> tuple[Mapping[str, str], ...]:
    """For each leaf partition under ``root``, values of key columns that lead a row there.

    A leaf whose bound asks for nothing in particular (DEFAULT, hash) gives an empty mapping, as
    does one whose bound is not understood. A relation without partitions gives an empty tuple.
    """
    return tuple(_leaves(catalog, root, {}))


def root_of_partition(
    catalog: Catalog, relation: RelationName
) -> tuple[RelationName, dict[str, str]]:
    """The partitioned table to which a partition belongs in the end, and values of key columns that
    lead a row into that very partition. A relation that is no partition is its own root."""
    values: dict[str, str] = {}
    here = catalog.relations[relation]
    while here.partition_bound is not None and here.parent is not None:
        parent = catalog.relations.get(here.parent)
        if parent is None:
            break
        values = {**bound_values(here.partition_bound, parent.partition_key), **values}
        here = parent
    return here.name, values


def _leaves(
    catalog: Catalog, parent: RelationName, path: Mapping[str, str]
) -> Iterator[Mapping[str, str]]:
    key = catalog.relations[parent].partition_key
    children = [
        r
        for r in catalog.relations.values()
        if r.parent == parent and r.partition_bound is not None
    ]
    for child in sorted(children, key=lambda r: r.name):
        values = {**path, **bound_values(child.partition_bound or "", key)}
        if any(r.parent == child.name for r in catalog.relations.values()):
            yield from _leaves(catalog, child.name, values)
        elif not child.partition_key:  # a partitioned child without partitions takes no row
            yield values


def bound_values(bound: str, key: tuple[str, ...]) -> dict[str, str]:
    """Values for the columns of ``key`` inside ``bound`` (as ``pg_get_expr`` prints it)."""
    if (found := _LIST.fullmatch(bound.strip())) and len(key) == 1:
        inside = [t for t in _terms(found[1]) if t is not None]
        return {key[0]: inside[0]} if inside else {}
    if found := _RANGE.fullmatch(bound.strip()):
        lower, upper = _terms(found[1]), _terms(found[2])
        if len(lower) != len(key):
            return {}
        values: dict[str, str] = {}
        for column, low, high in zip(key, lower, upper, strict=True):
            if low not in (None, *_UNBOUNDED):
                values[column] = str(low)
            elif high not in (None, *_UNBOUNDED) and (below := _below(str(high))) is not None:
                values[column] = below
        return values
    return {}


def _terms(text: str) -> list[str | None]:
    terms: list[str | None] = []
    for quoted, word, number in _TERM.findall(text):
        if word:
            terms.append(None if word.upper() == "NULL" else word)
        else:
            terms.append(number or quoted.replace("''", "'"))
    return terms


def _below(text: str) -> str | None:
    """A value just below an upper bound: of a whole number, or of something that starts as a
    date does; None for other types, where "below" depends on the collation."""
    if re.fullmatch(r"-?\d+", text):
        return str(int(text) - 1)
    try:
        day = datetime.date.fromisoformat(text[:10])
    except ValueError:
        return None
    return (day - datetime.timedelta(days=1)).isoformat()
