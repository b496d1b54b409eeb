"""A finished world, indexed so that further rows can be made for it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from tenantfuzz.policies.model import OwnershipKind
from tenantfuzz.policies.structure import RelationName
from tenantfuzz.policies.world import Row, World
from tenantfuzz.strategies.conditions import Truth, condition_of
from tenantfuzz.strategies.plan import Plan
from tenantfuzz.strategies.stock import Record, Stock, owners


@dataclass(frozen=True, slots=True)
class Standing:
    """The rows of ``world`` as parents, with all fix-ups done. Nothing is added to it."""

    plan: Plan
    world: World
    stock: Stock
    active: dict[str, frozenset[str]]
    canaries: frozenset[str]

    def rows_of(self, relation: RelationName, tenant: str) -> Sequence[Row]:
        """The world's rows of a relation that belong to a tenant."""
        found = self.stock.of_tenant(relation, tenant)
        return [self.world.rows[r.at] for r in found if r.at is not None]


class _Pair:
    """Plan and world as a cache key by identity: they hold mappings and so have no hash."""

    __slots__ = ("plan", "world")

    def __init__(self, plan: Plan, world: World) -> None:
        self.plan, self.world = plan, world

    def __hash__(self) -> int:
        return hash((id(self.plan), id(self.world)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Pair) and other.plan is self.plan and other.world is self.world


def standing_of(plan: Plan, world: World) -> Standing:
    """The world as it stands; asked again for the same world it answers at once."""
    return _standing(_Pair(plan, world))


@lru_cache(maxsize=8)
def _standing(pair: _Pair) -> Standing:
    plan, world = pair.plan, pair.world
    # All targets exist now, so no reference has to wait.
    links = {
        name: tuple(replace(k, late=False, ahead=False) for k in found)
        for name, found in plan.links.items()
    }
    plan = replace(plan, links=links)
    active = _active(plan, world)
    stock = Stock(plan)
    stock.add_existing(world.tenants)
    changes = {(fix.relation, frozenset(fix.key.items())): fix.values for fix in world.fixups}
    keys = {fix.relation: tuple(fix.key) for fix in world.fixups}
    for at, row in enumerate(world.rows):
        values = dict(row.values)
        if row.relation in keys:
            key = frozenset((c, values.get(c)) for c in keys[row.relation])
            values |= changes.get((row.relation, key), {})
        ownership = plan.model.owner_of(row.relation)
        belongs, shared = owners(
            plan.model, row.relation, values, tenant=row.tenant, parents=(), active=active
        )
        if ownership.kind is OwnershipKind.VIA:
            belongs = frozenset() if row.tenant is None else frozenset((row.tenant,))
            shared = row.tenant is None and ownership.null_shared
        stock.add(Record(row.relation, values, belongs, shared, at))
    canaries = frozenset(row.canary for row in world.rows if row.canary)
    return Standing(plan, world, stock, active, canaries)


def _active(plan: Plan, world: World) -> dict[str, frozenset[str]]:
    """In which tenants each user is a member now, as the world's membership rows say."""
    model = plan.model
    found: dict[str, frozenset[str]] = {}
    memberships = model.memberships
    if memberships is None or memberships.relation not in plan.catalog.relations:
        if model.users is not None and model.user_key is not None:
            for row in world.rows:
                user = row.values.get(model.user_key)
                if row.relation == model.users and user is not None and row.tenant is not None:
                    found[user] = frozenset((row.tenant,))
        return found
    relation = plan.catalog.relations[memberships.relation]
    active = condition_of(relation, memberships.active) if memberships.active else None
    for row in world.rows:
        user, tenant = row.values.get(memberships.user), row.values.get(memberships.tenant)
        if row.relation != memberships.relation or user is None or tenant is None:
            continue
        if active is None or active(row.values) is not Truth.NO:
            found[user] = found.get(user, frozenset()) | {tenant}
    return found
