"""Soft links: rows share the values that statements compare, inside one tenant, without circles."""

from collections.abc import Sequence

from tenantfuzz.policies.model import Identity, Kind, Model, Ownership, OwnershipKind
from tenantfuzz.policies.structure import (
    Catalog,
    Column,
    DataType,
    ForeignKey,
    Relation,
    RelationKind,
    RelationName,
    Unique,
)
from tenantfuzz.policies.world import World
from tenantfuzz.strategies.dictionary import build_dictionary
from tenantfuzz.strategies.plan import Plan
from tenantfuzz.strategies.population import plan_population
from tenantfuzz.strategies.worlds import designed_worlds

ORGS, PRICES, ORDERS, RATES = (
    RelationName("public", n) for n in ("orgs", "prices", "orders", "rates")
)
TYPES = {"int": DataType("integer", "int4"), "text": DataType("text", "text")}


def table(
    name: RelationName, words: str, *keys: ForeignKey, unique: tuple[str, ...] = ()
) -> Relation:
    pairs = [word.split(":") for word in words.split()]
    own = tuple(Column(c, at, TYPES[t], not_null=True) for at, (c, t) in enumerate(pairs, start=1))
    uniques = [Unique("pk", (own[0].name,), primary=True)]
    uniques += [Unique("u", unique)] if unique else []
    return Relation(
        name, 0, RelationKind.TABLE, "postgres", own, uniques=tuple(uniques), foreign_keys=keys
    )


OF_ORG = ForeignKey("o", ("org",), ORGS, ("id",))
CATALOG = Catalog(
    {
        r.name: r
        for r in (
            table(ORGS, "id:int name:text"),
            table(PRICES, "id:int org:int code:text", OF_ORG, unique=("org", "code")),
            table(ORDERS, "id:int org:int item:text rate:int note:text", OF_ORG),
            table(RATES, "no:int label:text"),
        )
    },
    {},
    {},
    (),
    180000,
    search_path=("public",),
)
MODEL = Model(
    tenants=ORGS,
    tenant_key="id",
    tenant_values=(),
    ownership={
        ORGS: Ownership(OwnershipKind.TENANTS, "id"),
        PRICES: Ownership(OwnershipKind.COLUMN, "org"),
        ORDERS: Ownership(OwnershipKind.COLUMN, "org"),
        RATES: Ownership(OwnershipKind.SHARED),
    },
    identity=Identity(),
    kinds=(Kind("member"),),
)


def plan(queries: Sequence[str]) -> Plan:
    return plan_population(CATALOG, MODEL, dictionary=build_dictionary(CATALOG, queries))


def values(world: World, relation: RelationName, tenant: str | None, column: str) -> list[str]:
    found = [r.values[column] for r in world.rows if (r.relation, r.tenant) == (relation, tenant)]
    return [v for v in found if v is not None]


def test_a_row_takes_the_value_of_a_row_of_its_tenant_that_is_unique_there() -> None:
    made = plan(["SELECT FROM orders o LEFT JOIN prices p ON p.code = o.item WHERE o.org = $1"])
    world = designed_worlds(made, seed=1, count=1)[0]
    first, second = world.tenants[:2]
    for tenant in (first, second):
        items = values(world, ORDERS, tenant, "item")
        assert items
        assert set(items) <= set(values(world, PRICES, tenant, "code"))
    # The same join without the tenant meets rows of others.
    assert set(values(world, ORDERS, first, "item")) & set(values(world, PRICES, second, "code"))
    canaries = {r.canary for r in world.rows if r.canary}
    assert not canaries & set(values(world, PRICES, first, "code"))


def test_what_nothing_compares_is_left_alone() -> None:
    world = designed_worlds(plan(["SELECT FROM orders"]), seed=1, count=1)[0]
    first = world.tenants[0]
    items = set(values(world, ORDERS, first, "item"))
    assert not items & set(values(world, PRICES, first, "code"))


def test_a_shared_list_is_pointed_at() -> None:
    made = plan(["SELECT FROM rates r JOIN orders o ON o.rate = r.no"])
    assert [k.key.target for k in made.links[RATES]] == []
    world = designed_worlds(made, seed=1, count=1)[0]
    rates = set(values(world, RATES, None, "no"))
    assert set(values(world, ORDERS, world.tenants[0], "rate")) <= rates


def test_what_is_taken_from_one_list_is_pointed_at_by_another() -> None:
    made = plan(
        [
            "SELECT FROM orders o JOIN rates r ON r.label = o.item",
            "SELECT FROM orders o LEFT JOIN prices p ON p.code = o.item AND p.org = o.org",
        ]
    )
    soft = {n: [k.key for k in ks if not k.key.declared] for n, ks in made.links.items()}
    assert {n: [(k.columns, k.target) for k in ks] for n, ks in soft.items() if ks} == {
        ORDERS: [(("item",), RATES)],
        PRICES: [(("code",), ORDERS)],
    }


def test_no_circle_and_no_column_twice() -> None:
    made = plan(
        [
            "SELECT FROM orders o JOIN prices p ON p.code = o.item",
            "SELECT FROM orders o JOIN prices p ON p.code = o.note AND p.org = o.org",
            "SELECT FROM orders o JOIN rates r ON r.label = o.item",
            "SELECT FROM prices p JOIN rates r ON r.no = p.id",
        ]
    )
    soft = {n: [k.key for k in ks if not k.key.declared] for n, ks in made.links.items()}
    assert {n: [(k.columns, k.target) for k in ks] for n, ks in soft.items() if ks} == {
        ORDERS: [(("item",), PRICES), (("note",), PRICES)],
        PRICES: [(("id",), RATES)],
    }
