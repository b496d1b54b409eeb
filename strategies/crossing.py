"""Crossed worlds: a row of one tenant refers to a row of another.

Such rows belong into a world only once some principal was seen to write one.
"""

from dataclasses import replace

from tenantfuzz.policies.model import Model
from tenantfuzz.policies.structure import Catalog, ForeignKey, RelationName
from tenantfuzz.policies.world import Row, World


def crossed(
    world: World,
    catalog: Catalog,
    model: Model,
    relation: RelationName,
    key: ForeignKey,
    tenant: str,
) -> World | None:
    """``world`` in which a row of ``relation`` made for ``tenant`` refers by ``key`` to another
    tenant's row, and one of another tenant to a row of its; None where there are no such rows."""
    mine = _first(world, relation, tenant, own=True)
    theirs = _first(world, relation, tenant, own=False)
    my_target = _first(world, key.target, tenant, own=True)
    their_target = _first(world, key.target, tenant, own=False)
    changed = [
        (row, target)
        for row, target in ((mine, their_target), (theirs, my_target))
        if row is not None and target is not None
    ]
    if not changed:
        return None
    rows = list(world.rows)
    for row, target in changed:
        pairs = zip(key.columns, key.target_columns, strict=True)
        values = {**row.values, **{c: target.values.get(t) for c, t in pairs}}
        rows[rows.index(row)] = replace(row, values=values)
    return replace(world, rows=_in_order(tuple(rows), relation, key.target))


def _in_order(
    rows: tuple[Row, ...], relation: RelationName, target: RelationName
) -> tuple[Row, ...]:
    """Rows that refer stand behind those that they refer to: those of other tenants may follow."""
    if relation == target:
        return rows
    last = max((i for i, r in enumerate(rows) if r.relation == target), default=-1)
    early = [r for r in rows[:last] if r.relation == relation]
    return (
        *(r for r in rows[:last] if r.relation != relation),
        *rows[last : last + 1],
        *early,
        *rows[last + 1 :],
    )


def _first(world: World, relation: RelationName, tenant: str, *, own: bool) -> Row | None:
    return next(
        (
            r
            for r in world.rows
            if r.relation == relation and r.tenant is not None and (r.tenant == tenant) is own
        ),
        None,
    )
