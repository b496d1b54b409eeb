"""Relational queries: a root with what is related to it, as object mappers write them.

They are what an application's own scoping layer gets to see: nothing in them speaks of tenants.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tenantfuzz.policies.model import Model, OwnershipKind
from tenantfuzz.policies.quoting import qualified, readable_identifier
from tenantfuzz.policies.structure import Catalog, RelationKind, RelationName

_SCOPED = frozenset(
    {OwnershipKind.COLUMN, OwnershipKind.TENANTS, OwnershipKind.VIA, OwnershipKind.SQL}
)
_UNSEEN = frozenset({OwnershipKind.UNCLASSIFIED, OwnershipKind.PRIVATE})
_TABLES = (RelationKind.TABLE, RelationKind.PARTITIONED)


@dataclass(frozen=True, slots=True)
class Hop:
    """From the rows of one relation, by equal columns, to those of ``target``: ``towards`` the row
    that a foreign key refers to, or to the rows that refer."""

    columns: tuple[str, ...]
    target: RelationName
    target_columns: tuple[str, ...]
    towards: bool


@dataclass(frozen=True, slots=True)
class RelationalQuery:
    """A query over a path of relations. ``name`` is stable and readable."""

    name: str
    root: RelationName
    hops: tuple[Hop, ...]
    sql: str


def relational_queries(catalog: Catalog, model: Model, *, most: int) -> tuple[RelationalQuery, ...]:
    """Up to ``most`` queries: every root alone, then with one related relation, then with two;
    by joins of both kinds, sub-selects, and a condition with OR for those who append theirs."""
    roots = [n for n, r in catalog.relations.items() if _is_root(catalog, model, n)]
    paths: list[tuple[RelationName, tuple[Hop, ...]]] = [(root, ()) for root in roots]
    for length in (1, 2):
        paths += [
            (root, (*hops, hop))
            for root, hops in paths
            if len(hops) == length - 1
            for hop in _hops(catalog, model, hops[-1].target if hops else root)
            if not _goes_back(root, hops, hop)
        ]
    # Paths over what tenants have in common come first: there rows of several tenants meet.
    paths.sort(key=lambda p: (len(p[1]), not any(_common(model, h.target) for h in p[1][:-1])))
    found: list[RelationalQuery] = []
    for root, hops in paths:
        found += _shapes(catalog, root, hops)
    return tuple(found[:most])


def _common(model: Model, name: RelationName) -> bool:
    ownership = model.owner_of(name)
    kinds = (OwnershipKind.MEMBERS, OwnershipKind.USER, OwnershipKind.SHARED)
    return ownership.kind in kinds or ownership.null_shared


def _is_root(catalog: Catalog, model: Model, name: RelationName) -> bool:
    relation = catalog.relations[name]
    kind = model.owner_of(name).kind
    return relation.kind in _TABLES and relation.parent is None and kind in _SCOPED


def _hops(catalog: Catalog, model: Model, name: RelationName) -> Iterator[Hop]:
    """The ways along foreign keys, towards the row referred to and towards those that refer."""
    for fk in model.foreign_keys(catalog, name):
        if _seen(catalog, model, fk.target):
            yield Hop(fk.columns, fk.target, fk.target_columns, towards=True)
    for other in catalog.relations:
        for fk in model.foreign_keys(catalog, other):
            if fk.target == name and _seen(catalog, model, other):
                yield Hop(fk.target_columns, other, fk.columns, towards=False)


def _seen(catalog: Catalog, model: Model, name: RelationName) -> bool:
    relation = catalog.relations.get(name)
    if relation is None or relation.kind not in _TABLES or relation.parent is not None:
        return False
    return model.owner_of(name).kind not in _UNSEEN and name != model.tenants


def _goes_back(root: RelationName, hops: tuple[Hop, ...], hop: Hop) -> bool:
    """Whether the hop leads back from a row that refers to the one before: to that very row."""
    if not hops or hops[-1].towards:
        return False
    last = hops[-1]
    before = hops[-2].target if len(hops) > 1 else root
    reverse = (hop.columns, hop.target_columns) == (last.target_columns, last.columns)
    return hop.towards and hop.target == before and reverse


def _shapes(
    catalog: Catalog, root: RelationName, hops: tuple[Hop, ...]
) -> Iterator[RelationalQuery]:
    names = _aliases(root, hops)
    label = " > ".join(names)
    columns = ", ".join(f"{names[0]}.{c}" for c in _columns(catalog, root))
    source = _source(root, names[0])
    if not hops:
        yield RelationalQuery(label, root, hops, f"SELECT {columns} FROM {source}")
        first = _columns(catalog, root)[0]
        either = f"{names[0]}.{first} IS NULL OR {names[0]}.{first} IS NOT NULL"
        text = f"SELECT {columns} FROM {source} WHERE {either}"
        yield RelationalQuery(f"{label}, by a condition with OR", root, hops, text)
        return
    related = ", ".join(
        f"{alias}.{c} AS {readable_identifier(f'{alias}_{c}'.replace(chr(34), ''))}"
        for hop, alias in zip(hops, names[1:], strict=True)
        for c in _columns(catalog, hop.target)
    )
    for word in ("JOIN", "LEFT JOIN") if len(hops) == 1 else ("LEFT JOIN",):
        joins = "".join(
            f" {word} {_source(hop.target, alias)} ON {_same(names[i], hop, alias)}"
            for i, (hop, alias) in enumerate(zip(hops, names[1:], strict=True))
        )
        text = f"SELECT {columns}, {related} FROM {source}{joins}"
        yield RelationalQuery(f"{label} ({word.lower()})", root, hops, text)
    if len(hops) == 1:
        inner = (
            f"FROM {_source(hops[0].target, names[1])} WHERE {_same(names[0], hops[0], names[1])}"
        )
        text = f"SELECT {columns}, (SELECT count(*) {inner}) AS related FROM {source}"
        yield RelationalQuery(f"{label} (count)", root, hops, text)


def _aliases(root: RelationName, hops: tuple[Hop, ...]) -> list[str]:
    names: list[str] = []
    for relation in (root, *(h.target for h in hops)):
        times = sum(1 for n in names if n == relation.name or n.startswith(f"{relation.name}_"))
        plain = relation.name if times == 0 else f"{relation.name}_{times + 1}"
        names.append(readable_identifier(plain))
    return names


def _source(relation: RelationName, alias: str) -> str:
    shown = qualified(relation)
    if relation.schema == "public":
        shown = readable_identifier(relation.name)
    return shown if shown == alias else f"{shown} AS {alias}"


def _columns(catalog: Catalog, relation: RelationName) -> list[str]:
    return [readable_identifier(c.name) for c in catalog.relations[relation].columns]


def _same(alias: str, hop: Hop, other: str) -> str:
    return " AND ".join(
        f"{other}.{readable_identifier(t)} = {alias}.{readable_identifier(c)}"
        for c, t in zip(hop.columns, hop.target_columns, strict=True)
    )
