"""Soft links: columns that statements compare with each other though no foreign key ties them.

A query that joins prices by their code finds none in a world where each row has a code of its own.
Rows of the one relation therefore take the values of rows of the other, of the same tenant.
"""

from collections.abc import Iterable, Mapping

from tenantfuzz.policies.model import Model, OwnershipKind
from tenantfuzz.policies.structure import Catalog, ForeignKey, Relation, RelationName, TypeCategory
from tenantfuzz.strategies.dictionary import Comparison, Dictionary
from tenantfuzz.strategies.plan import Link

_NAMING = frozenset({"text", "varchar", "bpchar", "citext", "uuid", "int2", "int4", "int8"})
"""Types whose values name things; times and amounts that are compared do not."""


def with_soft_links(
    links: Mapping[RelationName, tuple[Link, ...]],
    catalog: Catalog,
    model: Model,
    dictionary: Dictionary | None,
) -> dict[RelationName, tuple[Link, ...]]:
    """``links`` (by relation) with those that the statements of the schema and of the application
    imply; none closes a circle."""
    found = dict(links)
    for comparison in dictionary.comparisons if dictionary is not None else ():
        for one, other, ends in _ways(comparison, found, catalog, model):
            if one in found and other in found and ends and not _reaches(found, other, one):
                columns, targets = zip(*ends, strict=True)
                key = ForeignKey("", columns, other, targets, declared=False)
                found[one] = (*found[one], Link(key, hard=False))
                break
    return found


def _ways(
    comparison: Comparison,
    links: Mapping[RelationName, tuple[Link, ...]],
    catalog: Catalog,
    model: Model,
) -> Iterable[tuple[RelationName, RelationName, list[tuple[str, str]]]]:
    """Who may point at whom with which columns, the best first: those whose values nothing else
    decides, neither a reference nor the row's owner, on either side; then those that point at what
    is decided by a reference: a price at the code that a treatment took from a list of fees."""
    one, other = comparison.one, comparison.other
    alike = [
        (a, b)
        for a, b in comparison.pairs
        if _alike(catalog.relations[one], a, catalog.relations[other], b)
    ]
    mine, theirs = _decided(one, links, model), _decided(other, links, model)
    free = [(a, b) for a, b in alike if a not in mine and b not in theirs]
    yield from _directions(comparison, free, catalog, model)
    forth = [(a, b) for a, b in alike if a not in mine and b != _owner(other, model)]
    back = [(b, a) for a, b in alike if b not in theirs and a != _owner(one, model)]
    for start, end, ends in ((one, other, forth), (other, one, back)):
        if model.owner_of(start).kind is not OwnershipKind.SHARED:  # which is there first
            yield start, end, ends


def _decided(
    name: RelationName, links: Mapping[RelationName, tuple[Link, ...]], model: Model
) -> set[str]:
    decided = {c for link in links.get(name, ()) for c in link.key.columns}
    owner = _owner(name, model)
    return decided | {owner} if owner is not None else decided


def _owner(name: RelationName, model: Model) -> str | None:
    """The column that says whose a row is."""
    ownership = model.owner_of(name)
    return None if ownership.kind is OwnershipKind.TENANTS else ownership.column


def _alike(one: Relation, mine: str, other: Relation, theirs: str) -> bool:
    first, second = one.column(mine), other.column(theirs)
    return (
        first is not None
        and second is not None
        and not first.generated
        and not second.generated
        and first.type.base == second.type.base
        and (first.type.base in _NAMING or first.type.category is TypeCategory.ENUM)
    )


def _directions(
    comparison: Comparison, pairs: list[tuple[str, str]], catalog: Catalog, model: Model
) -> Iterable[tuple[RelationName, RelationName, list[tuple[str, str]]]]:
    """Who points at whom, the likelier first: at what is unique, or shared by all."""
    forth = (comparison.one, comparison.other, pairs)
    back = (comparison.other, comparison.one, [(b, a) for a, b in pairs])
    into_one = _is_list(catalog, model, comparison.one, {a for a, _ in pairs})
    into_other = _is_list(catalog, model, comparison.other, {b for _, b in pairs})
    return (back, forth) if into_one and not into_other else (forth, back)


def _is_list(catalog: Catalog, model: Model, name: RelationName, columns: set[str]) -> bool:
    """Whether values of these columns name one row, of a tenant or of all."""
    if model.owner_of(name).kind is OwnershipKind.SHARED:
        return True
    return any(columns & set(u.columns) for u in catalog.relations[name].uniques)


def _reaches(
    links: Mapping[RelationName, tuple[Link, ...]], start: RelationName, end: RelationName
) -> bool:
    seen, stack = {start}, [start]
    while stack:
        name = stack.pop()
        if name == end:
            return True
        targets = {link.key.target for link in links.get(name, ())} - seen
        seen |= targets
        stack += targets
    return False
