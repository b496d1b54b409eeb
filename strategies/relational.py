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
_FORMS_AT_LEAST = 8  # queries over one relation that are written in some other form
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
    """A query over a path of relations. ``name`` is stable and readable; ``form`` is empty where
    it selects from joined relations, and else says how it is written."""

    name: str
    root: RelationName
    hops: tuple[Hop, ...]
    sql: str
    form: str = ""


def relational_queries(catalog: Catalog, model: Model, *, most: int) -> tuple[RelationalQuery, ...]:
    """Up to ``most`` queries: every root alone, then with one related relation, then with two;
    by joins of both kinds, sub-selects, and a condition with OR for those who append theirs. Some
    paths are also written in one of the forms that a layer may forget: set operations, CTEs,
    derived tables, EXISTS, LATERAL, pages."""
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
    turns = [max(2, _FORMS_AT_LEAST // max(1, len(roots))), 1, 0]
    written = [0, 0, 0]
    for root, hops in paths:
        found += _shapes(catalog, root, hops)
        forms = list(_forms(catalog, root, hops)) if turns[len(hops)] else []
        for _ in range(min(turns[len(hops)], len(forms))):
            found.append(forms[written[len(hops)] % len(forms)])
            written[len(hops)] += 1
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


def _forms(
    catalog: Catalog, root: RelationName, hops: tuple[Hop, ...]
) -> Iterator[RelationalQuery]:
    """The rows of a path over one or two relations, written in other forms."""
    names = _aliases(root, hops)
    label, mine = " > ".join(names), names[0]
    columns = _columns(catalog, root)
    source, first = _source(root, mine), f"{mine}.{columns[0]}"
    shown = ", ".join(f"{mine}.{c}" for c in columns)
    whole = f"SELECT {shown} FROM {source}"
    forms: dict[str, str] = {}
    if not hops:
        forms = {
            "union": f"{whole} UNION ALL {whole}",
            "sub-select": f"{whole} WHERE {first} IN (SELECT again.{columns[0]} "
            f"FROM {_source(root, 'again')})",
            "CTE": f"WITH seen AS ({whole}) SELECT * FROM seen",
            "derived table": f"SELECT * FROM ({whole}) AS seen",
            "count": f"SELECT count(*) FROM {source}",
            "page": f"{whole} ORDER BY {first} LIMIT 2",
            "window": f"SELECT {first}, count(*) OVER () AS total FROM {source}",
            "intersection": f"{whole} INTERSECT {whole}",
        }
    elif len(hops) == 1:
        other, theirs = names[1], _columns(catalog, hops[0].target)
        joined = _source(hops[0].target, other)
        on = _same(mine, hops[0], other)
        pair = f"{first} AS one, {other}.{theirs[0]} AS other"
        forms = {
            "EXISTS": f"{whole} WHERE EXISTS (SELECT 1 FROM {joined} WHERE {on})",
            "union": f"SELECT {first}::text AS key FROM {source} "
            f"UNION ALL SELECT {other}.{theirs[0]}::text FROM {joined}",
            "LATERAL": f"SELECT {first} AS one, near.* FROM {source} LEFT JOIN LATERAL "
            f"(SELECT {', '.join(f'{other}.{c}' for c in theirs)} FROM {joined} WHERE {on}) "
            "AS near ON true",
            "comma": f"SELECT {pair} FROM {source}, {joined} WHERE {on}",
            "CTE": f"WITH near AS (SELECT * FROM {joined}) SELECT {first} AS one, near.* "
            f"FROM {source} JOIN near ON {_same(mine, hops[0], 'near')}",
            "groups": f"SELECT {first} AS one, count({other}.{theirs[0]}) AS many FROM {source} "
            f"LEFT JOIN {joined} ON {on} GROUP BY {first}",
            "scalar": f"{whole} WHERE (SELECT count(*) FROM {joined} WHERE {on}) > 0",
        }
    for form, sql in forms.items():
        yield RelationalQuery(f"{label} ({form})", root, hops, sql, form)


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
