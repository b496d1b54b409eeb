"""Worlds as values: mirrored, marked, consistent, small when shrunk."""

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

from tenantfuzz.policies.model import (
    Identity,
    Kind,
    Memberships,
    Model,
    Ownership,
    OwnershipKind,
    Way,
)
from tenantfuzz.policies.structure import (
    Catalog,
    Check,
    Column,
    DataType,
    ForeignKey,
    Policy,
    Relation,
    RelationKind,
    RelationName,
    Unique,
)
from tenantfuzz.policies.world import Row, World
from tenantfuzz.strategies.dictionary import build_dictionary
from tenantfuzz.strategies.picking import SeededPick, SimplestPick
from tenantfuzz.strategies.population import Plan, plan_population
from tenantfuzz.strategies.worlds import (
    Shape,
    Unpopulated,
    build_world,
    candidate_row,
    crowded_world,
    designed_worlds,
    parents_of,
    worlds,
)

INT, TEXT = DataType("integer", "int4"), DataType("text", "text")
UUID, BOOL = DataType("uuid", "uuid"), DataType("boolean", "bool")


def name(text: str) -> RelationName:
    return RelationName("public", text)


ORGS, USERS, MEMBERS, TASKS, TAGS, TAGGED, PLANS, NOTES = map(
    name, ("orgs", "users", "members", "tasks", "tags", "tagged", "plans", "notes")
)


def columns(**types: DataType) -> tuple[Column, ...]:
    """Columns by name; those whose names end in ``_`` may be NULL."""
    return tuple(
        Column(text.rstrip("_"), at, type_, not_null=not text.endswith("_"))
        for at, (text, type_) in enumerate(types.items(), start=1)
    )


def to(target: RelationName, *pairs: str) -> ForeignKey:
    """A foreign key; ``column`` or ``column=target_column`` (default ``id``)."""
    split = [pair.partition("=") for pair in pairs]
    return ForeignKey(
        "_".join(s[0] for s in split) + "_fk",
        tuple(s[0] for s in split),
        target,
        tuple(s[2] or "id" for s in split),
    )


def table(
    relation: RelationName,
    own: tuple[Column, ...],
    *keys: ForeignKey,
    unique: tuple[tuple[str, ...], ...] = (("id",),),
    checks: tuple[Check, ...] = (),
    policies: tuple[Policy, ...] = (),
) -> Relation:
    return Relation(
        relation,
        0,
        RelationKind.TABLE,
        "postgres",
        own,
        uniques=tuple(Unique(f"u{at}", u, primary=not at) for at, u in enumerate(unique)),
        foreign_keys=keys,
        checks=checks,
        policies=policies,
    )


RELATIONS = (
    table(PLANS, columns(id=INT, name=TEXT)),
    table(ORGS, columns(id=UUID, name=TEXT, plan=INT), to(PLANS, "plan")),
    table(USERS, columns(id=UUID, email=TEXT), unique=(("id",), ("email",))),
    table(
        MEMBERS,
        columns(org=UUID, person=UUID, role=TEXT, left_=BOOL),
        to(ORGS, "org"),
        to(USERS, "person"),
        unique=(("org", "person"),),
        checks=(Check("role", "role IN ('boss', 'staff')", ("role",)),),
    ),
    table(
        TASKS,
        columns(
            id=INT,
            org=UUID,
            number=INT,
            title=TEXT,
            body_=TEXT,
            parent_=INT,
            doer_=UUID,
            shown=TEXT,
        ),
        to(ORGS, "org"),
        to(TASKS, "org=org", "parent"),
        to(MEMBERS, "org=org", "doer=person"),
        unique=(("id",), ("org", "id"), ("org", "number")),
        policies=(Policy("p", "all", True, (), "shown = 'team' OR shown = 'world'", None),),
    ),
    table(TAGS, columns(id=INT, org_=UUID, word=TEXT), to(ORGS, "org")),
    table(
        TAGGED,
        columns(task=INT, tag=INT),
        to(TASKS, "task"),
        to(TAGS, "tag"),
        unique=(("task", "tag"),),
    ),
    table(NOTES, columns(id=INT, person=UUID, body=TEXT), to(USERS, "person")),
)
CATALOG = Catalog({r.name: r for r in RELATIONS}, {}, {}, (), 180000)
MODEL = Model(
    tenants=ORGS,
    tenant_key="id",
    tenant_values=(),
    ownership={
        PLANS: Ownership(OwnershipKind.SHARED),
        ORGS: Ownership(OwnershipKind.TENANTS, "id"),
        USERS: Ownership(OwnershipKind.MEMBERS, "id"),
        MEMBERS: Ownership(OwnershipKind.COLUMN, "org"),
        TASKS: Ownership(OwnershipKind.COLUMN, "org"),
        TAGS: Ownership(OwnershipKind.COLUMN, "org"),
        TAGGED: Ownership(OwnershipKind.VIA, ways=(Way(("task",), TASKS, ("id",)),)),
        NOTES: Ownership(OwnershipKind.USER, "person"),
    },
    identity=Identity(),
    kinds=(Kind("boss", where="membership.role = 'boss'"), Kind("member")),
    users=USERS,
    user_key="id",
    memberships=Memberships(MEMBERS, "person", "org", '"left" IS NOT TRUE'),
)


def make_plan(**more: object) -> Plan:
    return plan_population(
        CATALOG,
        MODEL,
        dictionary=build_dictionary(CATALOG),
        **more,  # type: ignore[arg-type]  # keyword arguments of one test each
    )


PLAN = make_plan()


def rows(world: World, relation: RelationName, tenant: str | None = "any") -> list[Row]:
    return [r for r in world.rows if r.relation == relation and tenant in ("any", r.tenant)]


def values(found: list[Row], column: str) -> list[str | None]:
    return [r.values[column] for r in found]


@pytest.fixture(scope="module")
def world() -> World:
    return designed_worlds(PLAN, seed=1, count=1)[0]


def test_a_designed_world_has_three_tenants_with_rows_and_one_without(world: World) -> None:
    assert len(world.tenants) == 4
    assert values(rows(world, ORGS), "id") == list(world.tenants)
    assert [len(rows(world, TASKS, t)) for t in world.tenants] == [3, 3, 3, 0]
    assert [len(rows(world, MEMBERS, t)) for t in world.tenants] == [3, 4, 2, 2]
    # Two kinds in each of four tenants, the user of two tenants, the outsider, the former member.
    assert values(rows(world, USERS), "id") == list(world.users)
    assert len(world.users) == 11


def test_tenants_are_mirrored(world: World) -> None:
    first, *others = (rows(world, TASKS, t) for t in world.tenants[:3])
    for other in others:
        for column in ("number", "title", "shown"):
            assert values(other, column) == values(first, column)
        assert set(values(other, "id")).isdisjoint(values(first, "id"))
    assert len(set(values(rows(world, ORGS), "plan"))) == 1


def test_deciding_columns_run_through_the_words_of_the_policies(world: World) -> None:
    shown = values(rows(world, TASKS, world.tenants[0]), "shown")
    assert shown[1:] == ["team", "world"]
    assert shown[0] not in ("team", "world")


def test_every_canary_stands_in_its_own_row_alone(world: World) -> None:
    tokens = [r.canary for r in world.rows if r.canary]
    assert len(rows(world, TASKS)) == sum(bool(r.canary) for r in rows(world, TASKS))
    assert all(len(t) == 10 and t.startswith("cnry") for t in tokens)
    text = Counter(v for r in world.rows for v in r.values.values() if v)
    assert all(text[t] == 1 for t in tokens)
    assert all(r.canary in r.values.values() for r in world.rows if r.canary)


def test_references_stay_inside_a_tenant(world: World) -> None:
    tasks = {r.values["id"]: r.tenant for r in rows(world, TASKS)}
    tags = {r.values["id"]: r.tenant for r in rows(world, TAGS)}
    assert len(rows(world, TAGGED)) == 6
    for row in rows(world, TAGGED):
        assert row.tenant == tasks[row.values["task"]] == tags[row.values["tag"]]
    active = {
        (r.values["org"], r.values["person"])
        for r in rows(world, MEMBERS)
        if r.values["left"] != "true"
    }
    assert all((r.values["org"], r.values["doer"]) in active for r in rows(world, TASKS))


def test_every_kind_has_a_task_of_its_own(world: World) -> None:
    for tenant in world.tenants[:2]:
        doers = values(rows(world, TASKS, tenant), "doer")
        assert len(set(doers)) == 3  # the boss, the member, the user of two tenants


def test_the_first_row_has_no_parent_and_others_have_it(world: World) -> None:
    for tenant in world.tenants[:3]:
        first, *others = rows(world, TASKS, tenant)
        assert first.values["parent"] is None
        assert {r.values["parent"] for r in others} <= {
            r.values["id"] for r in rows(world, TASKS, tenant)
        }


def test_edge_rows_and_people(world: World) -> None:
    assert values(rows(world, TAGS, None), "org") == [None]
    memberships = Counter(
        r.values["person"] for r in rows(world, MEMBERS) if r.values["left"] != "true"
    )
    assert sorted(memberships[u] for u in world.users) == [0, 0, *[1] * 8, 2]
    former = [r for r in rows(world, MEMBERS) if r.values["left"] == "true"]
    assert len(former) == 1
    assert sorted(values(rows(world, NOTES), "person"), key=str) == sorted(world.users)


def test_rows_stand_behind_what_they_refer_to() -> None:
    for made in designed_worlds(PLAN, seed=3, count=4):
        seen: set[tuple[RelationName, str, str | None]] = set()
        for row in made.rows:
            relation = CATALOG.relations[row.relation]
            for key in relation.foreign_keys:
                column, target = key.columns[-1], key.target_columns[-1]
                if row.values[column] is not None:
                    assert (key.target, target, row.values[column]) in seen, row
            seen |= {(row.relation, c, v) for c, v in row.values.items()}
        assert made.fixups == ()


def test_unique_keys_are_unique_in_seeded_worlds() -> None:
    for made in designed_worlds(PLAN, seed=5, count=5):
        for relation in RELATIONS:
            for unique in relation.uniques:
                keys = [
                    tuple(r.values[c] for c in unique.columns) for r in rows(made, relation.name)
                ]
                assert len(keys) == len(set(keys)), unique


def test_the_same_seed_gives_the_same_worlds_and_another_seed_others() -> None:
    assert designed_worlds(PLAN, seed=1) == designed_worlds(make_plan(), seed=1)
    first, other = designed_worlds(PLAN, seed=1), designed_worlds(PLAN, seed=2)
    assert first[0] == other[0]
    assert first[1] != other[1]


def test_rows_that_exist_are_parents_and_their_keys_are_avoided() -> None:
    existing = {
        PLANS: ({"id": "1", "name": "free"}, {"id": "2", "name": "pro"}),
        USERS: ({"id": "9", "email": "user1@example.org"},),
    }
    plan = make_plan(existing=existing)
    made = designed_worlds(plan, seed=1, count=1)[0]
    assert set(values(rows(made, ORGS), "plan")) == {"1"}
    assert {"1", "2"}.isdisjoint(values(rows(made, PLANS), "id"))
    assert "user1@example.org" not in values(rows(made, USERS), "email")


def test_a_variant_gives_other_rows_of_that_relation_only(world: World) -> None:
    other = designed_worlds(replace(PLAN, variants={TASKS: 1}), seed=1, count=1)[0]
    assert rows(other, MEMBERS) == rows(world, MEMBERS)
    assert values(rows(other, TASKS), "shown") != values(rows(world, TASKS), "shown")


def test_configured_values_are_taken() -> None:
    plan = make_plan(overrides={"tasks.title": ["red", "green"]})
    made = designed_worlds(plan, seed=1, count=1)[0]
    assert values(rows(made, TASKS, made.tenants[1]), "title") == ["red", "green", "red"]


def test_drawn_worlds_shrink_to_two_tenants_and_one_row() -> None:
    smallest = find(
        worlds(PLAN),
        lambda w: bool(rows(w, TASKS)),
        settings=settings(database=None, max_examples=20, deadline=None),
    )
    assert len(smallest.tenants) == 2
    assert [len(rows(smallest, TASKS, t)) for t in smallest.tenants] == [1, 1]
    assert rows(smallest, TAGS, None) == []
    assert len(smallest.users) == 4


def test_a_third_row_and_a_policys_word_are_found() -> None:
    found = find(
        worlds(PLAN),
        lambda w: any(
            r.values["number"] == "3" and r.values["shown"] == "world" for r in rows(w, TASKS)
        ),
        settings=settings(database=None, max_examples=2000, deadline=None),
    )
    assert len(found.tenants) == 2


def test_a_world_costs_at_most_forty_choices() -> None:
    spent = 0

    def pick(n: int, /) -> int:
        nonlocal spent
        spent += n > 1
        return n - 1

    many = [
        table(name(f"t{at:02}"), columns(id=INT, org=UUID), to(ORGS, "org")) for at in range(60)
    ]
    catalog = replace(CATALOG, relations={r.name: r for r in (*RELATIONS, *many)})
    owned = {r.name: Ownership(OwnershipKind.COLUMN, "org") for r in many}
    plan = plan_population(catalog, replace(MODEL, ownership={**MODEL.ownership, **owned}))
    made = build_world(plan, pick, Shape())
    assert len(rows(made, name("t59"))) > 0
    assert spent == 33


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10_000), st.integers(0, 50), st.sampled_from([TASKS, TAGS, TAGGED, NOTES]))
def test_a_candidate_collides_with_nothing(seed: int, salt: int, relation: RelationName) -> None:
    made = designed_worlds(PLAN, seed=seed, count=2)[1]
    tenant, user = made.tenants[1], made.users[0]
    try:
        row = candidate_row(
            PLAN, made, relation, tenant=tenant, user=user, pick=SimplestPick(), salt=salt
        )
    except Unpopulated as error:
        assert relation == TAGGED  # all pairs of its tasks and tags may be taken
        assert "unique" in error.reason or "foreign keys" in error.reason
        return
    for unique in CATALOG.relations[relation].uniques:
        taken = {tuple(r.values[c] for c in unique.columns) for r in rows(made, relation)}
        assert tuple(row.values[c] for c in unique.columns) not in taken
    if relation in (TASKS, TAGS):
        assert row.values["org"] == tenant
    if relation == TASKS:
        own = set(values(rows(made, TASKS, tenant), "id")) | {None}
        assert row.values["parent"] in own
    if relation == NOTES:
        assert row.values["person"] == user


def test_candidates_of_different_salt_differ_and_of_the_same_are_equal(world: World) -> None:
    def candidate(salt: int) -> Row:
        pick = SeededPick(random.Random(4))
        return candidate_row(PLAN, world, TASKS, tenant=world.tenants[0], pick=pick, salt=salt)

    assert candidate(1) == candidate(1)
    assert candidate(1).values["id"] != candidate(2).values["id"]
    assert candidate(1).values["number"] != candidate(2).values["number"]
    assert candidate(1).canary != candidate(2).canary


def test_fixed_columns_of_a_candidate_are_kept_whatever_they_break(world: World) -> None:
    foreign = rows(world, TASKS, world.tenants[0])[0].values["id"]
    row = candidate_row(
        PLAN,
        world,
        TASKS,
        tenant=world.tenants[1],
        pick=SimplestPick(),
        salt=0,
        fixed={"parent": foreign, "org": world.tenants[2]},
    )
    assert row.values["parent"] == foreign
    assert row.values["org"] == world.tenants[2]


def test_no_candidate_for_what_is_not_populated(world: World) -> None:
    plan = make_plan(skip={NOTES: "excluded by hand"})
    with pytest.raises(Unpopulated, match="excluded by hand"):
        candidate_row(plan, world, NOTES, tenant=None, pick=SimplestPick(), salt=0)


def test_parents_of_a_tenant(world: World) -> None:
    (key,) = (k for k in CATALOG.relations[TAGGED].foreign_keys if k.target == TASKS)
    for tenant in world.tenants:
        found = parents_of(PLAN, world, TAGGED, key, tenant=tenant)
        assert list(found) == rows(world, TASKS, tenant)
    people = to(USERS, "person")
    members = parents_of(PLAN, world, NOTES, people, tenant=world.tenants[1])
    # Its boss and its member, and the user of two tenants; not the one who left.
    assert len(members) == 3


def plan_with(*relations: Relation, **ownership: Ownership) -> Plan:
    """A plan for the usual relations and some more."""
    catalog = replace(CATALOG, relations={r.name: r for r in (*RELATIONS, *relations)})
    owned = {**MODEL.ownership, **{name(text): given for text, given in ownership.items()}}
    return plan_population(
        catalog, replace(MODEL, ownership=owned), dictionary=build_dictionary(catalog)
    )


def only_one(*columns_: str) -> Check:
    return Check("one", f"num_nonnulls({', '.join(columns_)}) = 1", columns_)


def test_exactly_one_of_many_references_is_set() -> None:
    x = name("x")
    relation = table(
        x,
        columns(id=INT, org=UUID, task_=INT, tag_=INT, writer_=UUID, reader_=UUID),
        to(ORGS, "org"),
        to(TASKS, "task"),
        to(TAGS, "tag"),
        to(USERS, "writer"),
        to(USERS, "reader"),
        checks=(only_one("task", "tag", "writer", "reader"),),
    )
    plan = plan_with(relation, x=Ownership(OwnershipKind.COLUMN, "org"))
    made = rows(designed_worlds(plan, seed=1, count=1)[0], x)
    chosen = ("task", "tag", "writer", "reader")
    assert len(made) == 8  # as many as the tenants have members: three, three and two
    assert all(sum(r.values[c] is not None for c in chosen) == 1 for r in made)
    assert len({c for r in made for c in chosen if r.values[c] is not None}) > 1


def test_a_search_without_an_answer_ends_soon() -> None:
    x = name("x")
    keys = [to(USERS, f"u{at}") for at in range(12)]
    own = {f"u{at}": UUID for at in range(12)}
    relation = table(
        x, columns(id=INT, org=UUID, **own), to(ORGS, "org"), *keys, unique=(("id",), ("org",))
    )
    plan = plan_with(relation, x=Ownership(OwnershipKind.COLUMN, "org"))
    made = designed_worlds(plan, seed=1, count=1)[0]
    # Where no tenant can have two rows, the second has none.
    assert [len(rows(made, x, t)) for t in made.tenants] == [1, 0, 1, 0]


def test_a_generated_column_is_never_written() -> None:
    x = name("x")
    own = columns(id=INT, org=UUID, upper=TEXT)
    relation = table(x, (*own[:2], replace(own[2], generated="stored")), to(ORGS, "org"))
    plan = plan_with(relation, x=Ownership(OwnershipKind.COLUMN, "org"))
    made = rows(designed_worlds(plan, seed=1, count=1)[0], x)
    assert all(sorted(r.values) == ["id", "org"] for r in made)


def test_the_first_two_tenants_and_all_users_are_ordinary_in_the_first_world() -> None:
    hidden = Policy("p", "all", True, (), "state <> 'banned' AND state <> 'deleted'", None)
    orgs = table(
        ORGS,
        columns(id=UUID, name=TEXT, plan=INT, state=TEXT),
        to(PLANS, "plan"),
        policies=(hidden,),
    )
    users = table(USERS, columns(id=UUID, state=TEXT), policies=(hidden,))
    plan = plan_with(orgs, users)
    first, mixed = designed_worlds(plan, seed=1, count=2)
    states = values(rows(first, ORGS), "state")
    assert states[0] == states[1]
    assert states[2:] == ["banned", "deleted"]
    assert {"banned", "deleted"}.isdisjoint(values(rows(first, USERS), "state"))
    assert {"banned", "deleted"} & set(values(rows(mixed, USERS), "state"))


def test_in_a_crowd_every_deciding_value_meets_each_of_the_row_that_it_points_at() -> None:
    x = name("x")
    state = Policy("p", "all", True, (), "state IN ('new', 'old')", None)
    relation = table(x, columns(id=INT, task=INT, state=TEXT), to(TASKS, "task"), policies=(state,))
    plan = plan_with(
        relation, x=Ownership(OwnershipKind.VIA, ways=(Way(("task",), TASKS, ("id",)),))
    )
    for seed in range(3):
        crowd = crowded_world(plan, seed=seed)
        assert crowd == crowded_world(plan, seed=seed)
        for tenant in crowd.tenants[:2]:
            shown = {r.values["id"]: r.values["shown"] for r in rows(crowd, TASKS, tenant)}
            met = {(r.values["state"], shown[r.values["task"]]) for r in rows(crowd, x, tenant)}
            words = {(s, w) for s, w in met if s in ("new", "old") and w in ("team", "world")}
            assert len(words) == 4
            assert any(s in ("new", "old") and w not in ("team", "world") for s, w in met)
            assert any(s not in ("new", "old") and w in ("team", "world") for s, w in met)
    assert crowded_world(plan, seed=1) != crowded_world(plan, seed=2)


def test_drawn_worlds_leave_deciding_columns_alone_but_for_a_few() -> None:
    x = name("x")
    words = [f"c{at} = 'odd'" for at in range(6)]
    own = columns(id=INT, org=UUID, **{f"c{at}": TEXT for at in range(6)})
    relation = table(
        x, own, to(ORGS, "org"), policies=(Policy("p", "all", True, (), " AND ".join(words), None),)
    )
    plan = plan_with(relation, x=Ownership(OwnershipKind.COLUMN, "org"))
    seen: set[int] = set()
    for seed in range(20):
        made = rows(build_world(plan, SeededPick(random.Random(seed)), Shape(rows=4)), x)
        seen |= {sum(r.values[f"c{at}"] == "odd" for at in range(6)) for r in made}
    assert seen == {0, 1, 2}


def test_where_nobody_can_have_two_rows_the_outsider_has_none() -> None:
    x = name("x")
    relation = table(x, columns(person=UUID, bio=TEXT), to(USERS, "person"), unique=(("person",),))
    plan = plan_with(relation, x=Ownership(OwnershipKind.USER, "person"))
    made = designed_worlds(plan, seed=1, count=1)[0]
    outsider = made.users[-2]
    assert set(values(rows(made, x), "person")) == set(made.users) - {outsider}
    row = candidate_row(plan, made, x, tenant=None, user=made.users[0], pick=SimplestPick(), salt=0)
    assert row.values["person"] == outsider


def test_configured_keys_of_users_differ() -> None:
    ids = [f"00000000-0000-4000-8000-0000000000{at:02}" for at in range(40)]
    made = designed_worlds(make_plan(overrides={"users.id": ids}), seed=1, count=1)[0]
    assert len(set(made.users)) == 11
    assert set(made.users) <= set(ids)


def test_a_partial_unique_key_leaves_room_beside_it() -> None:
    x = name("x")
    relation = replace(
        table(
            x,
            columns(id=INT, org=UUID, state=TEXT),
            to(ORGS, "org"),
            checks=(Check("c", "state IN ('draft', 'sent')", ("state",)),),
        ),
        uniques=(
            Unique("x_pkey", ("id",), primary=True),
            Unique("one_draft", ("org",), predicate="state = 'draft'"),
        ),
    )
    plan = plan_with(relation, x=Ownership(OwnershipKind.COLUMN, "org"))
    made = designed_worlds(plan, seed=1, count=1)[0]
    assert values(rows(made, x, made.tenants[0]), "state") == ["draft", "sent"]
    row = candidate_row(plan, made, x, tenant=made.tenants[0], pick=SimplestPick(), salt=0)
    assert row.values["state"] == "sent"
