"""Who there is in a world: kinds told apart by their predicates, and the edge cases."""

from dataclasses import replace

import pytest

from tenantfuzz.policies.model import (
    Identity,
    Kind,
    Memberships,
    Model,
    Ownership,
    OwnershipKind,
)
from tenantfuzz.policies.structure import (
    Catalog,
    Check,
    Column,
    DataType,
    Relation,
    RelationKind,
    RelationName,
    TypeCategory,
    Unique,
)
from tenantfuzz.strategies.members import made_up_user, plan_joinings, plan_people
from tenantfuzz.strategies.population import Plan, plan_population

ORGS, USERS, MEMBERS = (RelationName("public", n) for n in ("orgs", "users", "members"))
UUID, TEXT, BOOL = DataType("uuid", "uuid"), DataType("text", "text"), DataType("boolean", "bool")
TIME = DataType("timestamp with time zone", "timestamptz")
ROLE = DataType("role", "role", TypeCategory.ENUM, labels=("owner", "editor", "viewer"))


def table(name: RelationName, *columns: Column, checks: tuple[str, ...] = ()) -> Relation:
    return Relation(
        name,
        0,
        RelationKind.TABLE,
        "postgres",
        columns,
        uniques=(Unique(f"{name.name}_pkey", (columns[0].name,), primary=True),),
        checks=tuple(Check(f"c{at}", text, ("role",)) for at, text in enumerate(checks)),
    )


def column(name: str, type_: DataType, *, null: bool = False, default: str | None = None) -> Column:
    return Column(name, 1, type_, not_null=not null, default=default)


def catalog_of(*relations: Relation) -> Catalog:
    return Catalog({r.name: r for r in relations}, {}, {}, (), 180000)


def members_table(*columns: Column, checks: tuple[str, ...] = ()) -> Relation:
    own = (column("id", UUID), column("user_id", UUID), column("org_id", UUID))
    return table(MEMBERS, *own, *columns, checks=checks)


ORGS_TABLE = table(ORGS, column("id", UUID), column("name", TEXT))
USERS_TABLE = table(USERS, column("id", UUID), column("email", TEXT))


def model_of(*kinds: Kind, active: str | None = None) -> Model:
    return Model(
        tenants=ORGS,
        tenant_key="id",
        tenant_values=(),
        ownership={
            ORGS: Ownership(OwnershipKind.TENANTS, "id"),
            USERS: Ownership(OwnershipKind.MEMBERS, "id"),
            MEMBERS: Ownership(OwnershipKind.COLUMN, "org_id"),
        },
        identity=Identity(),
        kinds=(*kinds, Kind("member")),
        users=USERS,
        user_key="id",
        memberships=Memberships(MEMBERS, "user_id", "org_id", active),
    )


def plan_of(members: Relation, model: Model) -> Plan:
    return plan_population(catalog_of(ORGS_TABLE, USERS_TABLE, members), model)


def test_each_kind_gets_values_that_no_earlier_kind_accepts() -> None:
    catalog = catalog_of(members_table(column("role", ROLE)))
    model = model_of(
        Kind("editor", where="membership.role IN ('owner', 'editor')"),
        Kind("owner", where="membership.role = 'owner'"),
        Kind("viewer", where="role = 'viewer'"),
    )
    joinings, former = plan_joinings(catalog, model)
    # An owner is an editor first, so no membership makes one; and all labels are spoken for, so
    # that nobody is left for the default kind.
    assert [(j.kind, dict(j.values)) for j in joinings] == [
        ("editor", {"role": "owner"}),
        ("viewer", {"role": "viewer"}),
    ]
    assert former == ()


@pytest.mark.parametrize(
    ("active", "columns", "current", "past"),
    [
        (
            "removed_at IS NULL",
            (column("removed_at", TIME, null=True),),
            {"removed_at": None},
            {"removed_at": "2024-01-15 12:00:00+00"},
        ),
        (
            "membership.enabled",
            (column("enabled", BOOL),),
            {"enabled": "true"},
            {"enabled": "false"},
        ),
        (
            "status = 'active'",
            (column("status", TEXT),),
            {"status": "active"},
            {"status": "ordinary"},
        ),
    ],
)
def test_a_former_membership_fails_the_predicate(
    active: str,
    columns: tuple[Column, ...],
    current: dict[str, str | None],
    past: dict[str, str | None],
) -> None:
    joinings, former = plan_joinings(catalog_of(members_table(*columns)), model_of(active=active))
    assert [dict(j.values) for j in joinings] == [current]
    assert [(dict(f.values), f.active) for f in former] == [(past, False)]


def test_values_of_a_check_are_tried_for_the_default_kind() -> None:
    members = members_table(column("role", TEXT), checks=("role IN ('admin', 'staff')",))
    joinings, _ = plan_joinings(
        catalog_of(members), model_of(Kind("admin", where="membership.role = 'admin'"))
    )
    assert [(j.kind, dict(j.values)) for j in joinings] == [
        ("admin", {"role": "admin"}),
        ("member", {"role": "staff"}),
    ]


def test_predicates_that_are_not_understood_give_one_membership_per_value() -> None:
    catalog = catalog_of(members_table(column("role", ROLE)))
    where = "membership.role::text IN (SELECT name FROM roles WHERE strong) AND role = 'owner'"
    joinings, _ = plan_joinings(catalog, model_of(Kind("strong", where=where)))
    assert [dict(j.values) for j in joinings] == [
        {"role": "owner"},
        {"role": "editor"},
        {"role": "viewer"},
    ]


def test_people_are_members_by_kind_then_dual_outsider_and_former() -> None:
    plan = plan_of(members_table(column("role", ROLE)), model_of(Kind("owner", "role = 'owner'")))
    people = plan_people(plan, 2, kinds=True, dual=True, outsider=True, former=True)
    assert [p.active_in for p in people] == [(0,), (0,), (1,), (1,), (0, 1), (), ()]
    assert [p.natural for p in people] == [0, 1, 0, 1, 2, 3, 4]
    assert [j.kind for p in people for _, j in p.memberships] == [
        *("owner", "member") * 2,
        *("member", "member"),
    ]


def test_without_kinds_each_tenant_has_one_member_of_the_default_kind() -> None:
    plan = plan_of(members_table(column("role", ROLE)), model_of(Kind("owner", "role = 'owner'")))
    people = plan_people(plan, 3, kinds=False, dual=False, outsider=False, former=False)
    assert [(p.active_in, p.memberships[0][1].kind) for p in people] == [
        ((0,), "member"),
        ((1,), "member"),
        ((2,), "member"),
    ]


@pytest.mark.parametrize(("null", "outsiders"), [(True, 1), (False, 0)])
def test_a_membership_in_the_users_table_leaves_no_room_for_two(null: bool, outsiders: int) -> None:
    users = table(USERS, column("id", UUID), column("org_id", UUID, null=null))
    base = model_of()
    model = replace(
        base,
        ownership={**base.ownership, USERS: Ownership(OwnershipKind.MEMBERS, "id")},
        memberships=Memberships(USERS, "id", "org_id"),
    )
    plan = plan_population(catalog_of(ORGS_TABLE, users), model)
    people = plan_people(plan, 2, kinds=True, dual=True, outsider=True, former=True)
    assert [p.active_in for p in people] == [(0,), (1,), *[()] * outsiders]


@pytest.mark.parametrize(
    ("type_", "expected"),
    [(DataType("integer", "int4"), "1003"), (TEXT, "user-3")],
)
def test_users_without_a_table_have_ids_of_the_columns_type(type_: DataType, expected: str) -> None:
    members = table(MEMBERS, column("id", UUID), column("user_id", type_), column("org_id", UUID))
    model = replace(model_of(), users=None, user_key=None)
    assert made_up_user(catalog_of(members), model, 2) == expected


def test_values_that_policies_ask_for_make_further_members() -> None:
    catalog = catalog_of(members_table(column("role", ROLE), column("removed_at", TIME, null=True)))
    model = model_of(Kind("owner", where="role = 'owner'"), active="removed_at IS NULL")
    deciding = {
        "removed_at": ("2024-01-20 12:00:00+00",),  # would not be in force
        "role": ("editor", "owner", "viewer"),
        "org_id": ("somebody else's",),  # is no choice of the membership's
    }
    joinings, _ = plan_joinings(catalog, model, deciding)
    assert [(j.kind, j.values["role"], j.further) for j in joinings] == [
        ("owner", "owner", False),
        ("member", "editor", False),
        ("member", "viewer", True),
    ]
    assert all(j.values["removed_at"] is None for j in joinings)


def test_values_that_a_check_rules_out_are_not_combined() -> None:
    members = members_table(
        column("role", TEXT),
        column("active", BOOL),
        checks=("role IN ('boss', 'staff') AND (role <> 'boss' OR active)",),
    )
    members = replace(members, checks=(replace(members.checks[0], columns=("role", "active")),))
    joinings, former = plan_joinings(
        catalog_of(members), model_of(Kind("boss", where="role = 'boss'"), active="active")
    )
    assert [dict(j.values) for j in joinings] == [
        {"role": "boss", "active": "true"},
        {"role": "staff", "active": "true"},
    ]
    assert [dict(f.values) for f in former] == [{"role": "staff", "active": "false"}]
