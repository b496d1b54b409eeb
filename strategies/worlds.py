"""Worlds: designed ones, drawn ones, and further rows as an attacker would write them."""

import random
import re
from collections.abc import Mapping
from dataclasses import replace

from hypothesis import strategies as st

from tenantfuzz.policies.model import OwnershipKind
from tenantfuzz.policies.structure import ForeignKey, RelationName
from tenantfuzz.policies.world import Fixup, Row, World
from tenantfuzz.strategies.building import NO_PARENTS, Builder
from tenantfuzz.strategies.filling import Wish
from tenantfuzz.strategies.partitions import root_of_partition
from tenantfuzz.strategies.picking import (
    HypothesisPick,
    Pick,
    SeededPick,
    ShiftedPick,
    SimplestPick,
)
from tenantfuzz.strategies.plan import Plan, Unpopulated
from tenantfuzz.strategies.populating import Decision, Populator, Shape
from tenantfuzz.strategies.standing import standing_of

__all__ = [
    "Shape",
    "Unpopulated",
    "build_world",
    "candidate_row",
    "crowded_world",
    "designed_worlds",
    "parents_of",
    "worlds",
]

_SEEDS = 1 << 16
_CROWD = 16  # rows of one relation and tenant
_CROWDED_EVERY = 4
_DRAWN = 32  # decisions of their own; relations beyond share them
_DECISIONS = Decision.MORE * Decision.PARENTS * Decision.VALUES
_BEYOND = 3000  # ordinals of candidate rows, beyond those of a world's own rows
_OF_USER = re.compile(r"(\w+)\"?\s*=\s*:user\b|:user\s*=\s*\"?(\w+)")
_SALTS = 20  # numbers that are tried for one candidate row


def build_world(plan: Plan, pick: Pick, shape: Shape) -> World:
    """One world of this shape. ``pick`` makes one choice for the payload and one for each of at
    most 32 relations; the simplest give the shape's own number of rows."""
    seed = pick(_SEEDS)
    decisions = [Decision.decode(pick(_DECISIONS)) for _ in plan.order[:_DRAWN]]
    places = {name: at % _DRAWN for at, name in enumerate(plan.order)}
    # Seed 0 stands for the simplest payload, so that worlds shrink to plain values.
    payload: Pick = SeededPick(random.Random(seed)) if seed else SimplestPick()
    builder = Builder(plan, payload, number=seed)
    builder.filler.crowded = shape.crowd > 0
    world = Populator(builder, shape, lambda name: decisions[places[name]]).world()
    return _with_hierarchy(plan, world)


def _with_hierarchy(plan: Plan, world: World) -> World:
    """Where tenants may have a parent, the second one is a child of the first."""
    model = plan.model
    if model.tenants is None or model.tenants not in plan.order or model.tenant_key is None:
        return world
    held = {r.tenant for r in world.rows if r.relation != model.tenants}
    tenants = [t for t in world.tenants if t in held]
    if len(tenants) < 2:
        return world
    relation = plan.catalog.relations[model.tenants]
    fixups = [
        Fixup(model.tenants, {model.tenant_key: tenants[1]}, {fk.columns[0]: tenants[0]})
        for fk in model.foreign_keys(plan.catalog, model.tenants)
        if fk.target == model.tenants
        and fk.target_columns == (model.tenant_key,)
        and (column := relation.column(fk.columns[0])) is not None
        and not column.not_null
    ]
    return replace(world, fixups=(*world.fixups, *fixups))


def designed_worlds(plan: Plan, *, seed: int, count: int = 3) -> tuple[World, ...]:
    """The worlds of the sweep: the first of simplest values, the others seeded.

    Same plan and seed: same worlds.
    """
    picks: list[Pick] = [SimplestPick()]
    picks += [SeededPick(random.Random(f"{seed}/{at}")) for at in range(1, count)]
    return tuple(
        build_world(plan, pick, Shape(mixed=at > 0)) for at, pick in enumerate(picks[:count])
    )


def crowded_world(plan: Plan, *, seed: int, number: int = 0) -> World:
    """A world of many rows, to be read: a leak may need one value in a row and another in the row
    that it points at, or in that one's parent. Same plan, seed and number: same world."""
    pick = SeededPick(random.Random(f"{seed}/crowd/{number}"))
    return build_world(plan, pick, Shape(mixed=True, crowd=_CROWD))


def worlds(plan: Plan) -> st.SearchStrategy[World]:
    """Worlds of two or three tenants that shrink toward two tenants and one row each."""
    return _worlds(plan)


@st.composite
def _worlds(draw: st.DrawFn, plan: Plan) -> World:
    pick = HypothesisPick(draw)
    tenants, edges, crowded = 2 + pick(2), pick(1 << 6), pick(_CROWDED_EVERY) == 1
    shape = Shape(
        tenants=tenants,
        empty_tenant=bool(edges & 1),
        rows=1,
        dual=bool(edges & 2),
        outsider=bool(edges & 4),
        former=bool(edges & 8),
        null_owner=bool(edges & 16),
        mixed=bool(edges & 32),
        shared=1,
        crowd=_CROWD if crowded else 0,
    )
    return build_world(plan, pick, shape)


def candidate_row(
    plan: Plan,
    world: World,
    relation: RelationName,
    *,
    tenant: str | None,
    user: str | None = None,
    pick: Pick,
    salt: int,
    fixed: Mapping[str, str | None] = {},
) -> Row:
    """A further row as an attacker would insert it: valid, with keys that no row of ``world`` has
    and parents of ``tenant``; different ``salt`` gives different keys.

    ``user`` fills the columns that hold a row's user (else: some member of the tenant); ``fixed``
    columns are taken as they are, whatever they break. Raises Unpopulated.
    """
    if relation not in plan.catalog.relations:
        raise Unpopulated(f"{relation} was not found in the catalog")
    if relation in plan.unpopulated:
        raise Unpopulated(plan.unpopulated[relation])
    root, bounds = root_of_partition(plan.catalog, relation)
    if root != relation:
        inside = candidate_row(
            plan, world, root, tenant=tenant, user=user, pick=pick, salt=salt,
            fixed={**bounds, **fixed},
        )  # fmt: skip
        return replace(inside, relation=relation)
    standing = standing_of(plan, world)
    owner = _owner_values(plan, relation, tenant, user)
    mine = _user_values(plan, relation, user)
    reason = "no valid row was found"
    # The user's own row first; there may be room for somebody else's only.
    anybody = {c: v for c, v in owner.items() if v != user or user is None}
    for given in ({**owner, **mine, **fixed}, {**owner, **fixed}, {**anybody, **fixed}):
        # A builder of its own for each row: the row then depends on nothing that came before.
        for attempt in range(_SALTS):
            shifted = ShiftedPick(pick, attempt // 2) if attempt > 1 else pick
            builder = Builder(plan, shifted, number=-1, standing=standing)
            number = _BEYOND + salt * _SALTS + attempt
            builder.filler.number_from(relation, number)
            wish = Wish(tenant, number, salt, salt, given)
            draft = builder.draft(relation, wish, closed=True, dictated=fixed)
            if draft is not None:
                return replace(draft.row, tenant=tenant)
            reason = builder.failures[relation]
            if reason == NO_PARENTS:
                break
    raise Unpopulated(reason)


def _owner_values(
    plan: Plan, relation: RelationName, tenant: str | None, user: str | None
) -> dict[str, str | None]:
    """The columns that say to whom a row belongs."""
    model = plan.model
    ownership = model.owner_of(relation)
    memberships = model.memberships
    values: dict[str, str | None] = {}
    if ownership.kind is OwnershipKind.COLUMN and ownership.column is not None:
        values[ownership.column] = tenant
    elif ownership.kind is OwnershipKind.USER and ownership.column is not None and user:
        values[ownership.column] = user
    if memberships is not None and memberships.relation == relation:
        values[memberships.tenant] = tenant
        if user is not None and relation != model.users:
            values[memberships.user] = user
    return values


def _user_values(plan: Plan, relation: RelationName, user: str | None) -> dict[str, str | None]:
    """The columns of a row that name a user, with this one."""
    if user is None:
        return {}
    model, links = plan.model, plan.links.get(relation, ())
    values: dict[str, str | None] = {
        link.key.columns[0]: user
        for link in links
        if model.users is not None
        and link.key.target == model.users
        and link.key.target_columns == (model.user_key,)
    }
    memberships = model.memberships
    for link in links:
        if memberships is not None and link.key.target == memberships.relation:
            pairs = zip(link.key.columns, link.key.target_columns, strict=True)
            values |= {c: user for c, t in pairs if t == memberships.user}
    return values | dict.fromkeys(user_columns(plan, relation), user)


def user_columns(plan: Plan, relation: RelationName) -> tuple[str, ...]:
    """The columns that rules compare with the user: ``created_by = :user``."""
    known = {c.name for c in plan.catalog.relations[relation].columns}
    found: dict[str, None] = {}
    for (_, name, _), rule in plan.model.access.items():
        if name == relation:
            for one, other in _OF_USER.findall(rule.predicate or ""):
                found[one or other] = None
    return tuple(c for c in found if c in known)


def parents_of(
    plan: Plan, world: World, relation: RelationName, fk: ForeignKey, *, tenant: str
) -> tuple[Row, ...]:
    """The rows of the world that belong to ``tenant`` and that ``fk`` of ``relation`` may name."""
    return tuple(standing_of(plan, world).rows_of(fk.target, tenant))
