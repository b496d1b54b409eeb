"""Spare rows: rows that nothing refers to, so that a delete of them can succeed at all, and so can
an insert below them where each may have one row below it."""

from dataclasses import replace

from tenantfuzz.policies.model import OwnershipKind
from tenantfuzz.policies.structure import RelationName
from tenantfuzz.policies.world import World
from tenantfuzz.strategies.picking import SimplestPick
from tenantfuzz.strategies.plan import Plan, Unpopulated
from tenantfuzz.strategies.worlds import candidate_row

_SALT = 700
_OWNED = frozenset({OwnershipKind.COLUMN, OwnershipKind.VIA, OwnershipKind.SQL})
_UNOWNED = frozenset({OwnershipKind.SHARED, OwnershipKind.PRIVATE})


def with_spares(plan: Plan, world: World) -> World:
    """The world with one more row for each tenant in every relation that others refer to.

    People and memberships are left as they are: a further one would be a further principal.
    """
    rows = list(world.rows)
    held = {r.tenant for r in world.rows if r.tenant is not None}
    tenants = [t for t in world.tenants if t in held]
    for name in plan.order:
        if not _wanted(plan, name):
            continue
        kind = plan.model.owner_of(name).kind
        owners: list[str | None] = [None] if kind in _UNOWNED else [*tenants]
        if kind is OwnershipKind.COLUMN and _may_lack_owner(plan, name):
            owners.append(None)
        for number, tenant in enumerate(owners):
            try:
                row = candidate_row(
                    plan, world, name, tenant=tenant, pick=SimplestPick(), salt=_SALT + number
                )
            except Unpopulated:
                continue
            rows.append(row)
    return replace(world, rows=tuple(rows))


def _may_lack_owner(plan: Plan, name: RelationName) -> bool:
    column = plan.catalog.relations[name].column(plan.model.owner_of(name).column or "")
    return column is not None and not column.not_null


def _wanted(plan: Plan, name: RelationName) -> bool:
    model = plan.model
    people = {model.users, model.memberships.relation if model.memberships else None}
    if name in people or model.owner_of(name).kind not in _OWNED | _UNOWNED:
        return False
    return any(
        fk.target == name
        and (
            fk.on_delete in ("no action", "restrict")
            or any(u.columns == fk.columns for u in plan.catalog.relations[other].uniques)
        )
        for other in plan.order
        for fk in model.foreign_keys(plan.catalog, other)
    )
