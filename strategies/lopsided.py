"""Lopsided worlds: one tenant has nothing where the others have something.

In a mirrored world a query that asks whether there is any row (EXISTS, NOT IN, an outer join) gets
the same answer with other tenants' rows as without them.
"""

from collections.abc import Sequence
from dataclasses import replace

from tenantfuzz.policies.model import Model
from tenantfuzz.policies.structure import Catalog, RelationName
from tenantfuzz.policies.world import Row, Values, World


def lopsided(
    world: World, catalog: Catalog, model: Model, relation: RelationName, tenant: str
) -> World | None:
    """``world`` without the rows of ``relation`` that were made for ``tenant``, and without all
    that refers to them. None where there are none, or where people would go with them."""
    rows = world.rows
    gone = {i for i, r in enumerate(rows) if r.relation == relation and r.tenant == tenant}
    size = -1
    while size != len(gone):
        size = len(gone)
        gone |= {
            i
            for i, row in enumerate(rows)
            if i not in gone and any(_points_at(row, rows[g], catalog, model) for g in gone)
        }
    members = model.memberships.relation if model.memberships is not None else None
    people = {model.tenants, model.users, members}
    if not gone or any(rows[i].relation in people for i in gone):
        return None
    kept = [row for i, row in enumerate(rows) if i not in gone]
    fixups = tuple(f for f in world.fixups if _stands(f.relation, f.key, kept))
    return replace(world, rows=tuple(kept), fixups=fixups)


def _stands(relation: RelationName, key: Values, rows: Sequence[Row]) -> bool:
    return any(
        r.relation == relation and all(r.values.get(c) == v for c, v in key.items()) for r in rows
    )


def _points_at(row: Row, target: Row, catalog: Catalog, model: Model) -> bool:
    return any(
        fk.target == target.relation
        and all(
            row.values.get(c) is not None and row.values.get(c) == target.values.get(t)
            for c, t in zip(fk.columns, fk.target_columns, strict=True)
        )
        for fk in model.foreign_keys(catalog, row.relation)
    )
