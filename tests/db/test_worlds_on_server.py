"""Whole worlds are accepted by a real server: cycles, composite keys, partitions, odd tenants."""

import random
from collections.abc import Iterator, Mapping

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import sql

from tenantfuzz.catalog import read_catalog
from tenantfuzz.engines import Server, scratch_name, start_embedded
from tenantfuzz.policies.model import (
    Identity,
    Kind,
    Memberships,
    Model,
    Ownership,
    OwnershipKind,
    Way,
)
from tenantfuzz.policies.structure import RelationName
from tenantfuzz.policies.world import Fixup, Row, World
from tenantfuzz.strategies.dictionary import build_dictionary
from tenantfuzz.strategies.picking import Pick, SeededPick, SimplestPick
from tenantfuzz.strategies.population import Plan, plan_population
from tenantfuzz.strategies.worlds import candidate_row, designed_worlds, parents_of, worlds

TRACKER = """
CREATE TYPE role AS ENUM ('owner', 'member', 'guest');
CREATE TABLE plans (
  code text PRIMARY KEY CHECK (code IN ('free', 'pro', 'team')), price int NOT NULL);
INSERT INTO plans VALUES ('free', 0);
CREATE TABLE countries (code char(2) PRIMARY KEY, name text NOT NULL);
CREATE TABLE orgs (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text NOT NULL, slug text NOT NULL,
  plan text NOT NULL REFERENCES plans, parent_id uuid REFERENCES orgs, owner_id uuid,
  CHECK (slug = lower(slug)));
CREATE UNIQUE INDEX ON orgs (lower(slug));
CREATE TABLE users (
  id uuid PRIMARY KEY, email text NOT NULL UNIQUE, last_org uuid REFERENCES orgs,
  country char(2) NOT NULL REFERENCES countries);
ALTER TABLE orgs ADD FOREIGN KEY (owner_id) REFERENCES users;
CREATE TABLE memberships (
  org_id uuid NOT NULL REFERENCES orgs, user_id uuid NOT NULL REFERENCES users,
  role role NOT NULL, status text NOT NULL CHECK (status IN ('pending', 'active')),
  removed_at timestamptz, PRIMARY KEY (org_id, user_id));
CREATE TABLE projects (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, org_id uuid NOT NULL REFERENCES orgs,
  key varchar(6) NOT NULL CHECK (key ~ '^[A-Z]{2,6}$'), name text NOT NULL, lead uuid,
  is_default boolean NOT NULL DEFAULT false, deleted_at timestamptz,
  visibility text NOT NULL DEFAULT 'private'
    CHECK (visibility IN ('private', 'internal', 'public')),
  UNIQUE (org_id, id), UNIQUE (org_id, key),
  FOREIGN KEY (org_id, lead) REFERENCES memberships (org_id, user_id));
CREATE UNIQUE INDEX ON projects (org_id) WHERE is_default;
CREATE UNIQUE INDEX ON projects (org_id, lower(name)) WHERE deleted_at IS NULL;
ALTER TABLE projects ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON projects USING (visibility = 'internal' AND deleted_at IS NULL);
CREATE TABLE issues (
  id uuid PRIMARY KEY, org_id uuid NOT NULL, project_id bigint NOT NULL, number int NOT NULL,
  title text NOT NULL, parent_id uuid, reporter uuid NOT NULL REFERENCES users, assignee uuid,
  status text NOT NULL CHECK (status IN ('open', 'done')), done_at timestamptz,
  length int GENERATED ALWAYS AS (char_length(title)) STORED,
  CHECK ((status = 'done') = (done_at IS NOT NULL)), CHECK (id <> parent_id),
  UNIQUE (org_id, number), UNIQUE (org_id, id),
  FOREIGN KEY (org_id, project_id) REFERENCES projects (org_id, id),
  FOREIGN KEY (org_id, parent_id) REFERENCES issues (org_id, id),
  FOREIGN KEY (org_id, assignee) REFERENCES memberships (org_id, user_id));
CREATE TABLE labels (id int PRIMARY KEY, org_id uuid REFERENCES orgs, name text NOT NULL,
  UNIQUE NULLS NOT DISTINCT (org_id, name));
CREATE TABLE issue_labels (
  issue_id uuid REFERENCES issues ON DELETE CASCADE, label_id int REFERENCES labels,
  PRIMARY KEY (issue_id, label_id));
CREATE TABLE documents (id int PRIMARY KEY, org_id uuid NOT NULL REFERENCES orgs,
  title text NOT NULL, current_version int);
CREATE TABLE versions (id int PRIMARY KEY, document_id int NOT NULL REFERENCES documents,
  body text NOT NULL, UNIQUE (document_id, id));
ALTER TABLE documents ADD FOREIGN KEY (id, current_version) REFERENCES versions (document_id, id);
CREATE TABLE carts (id int PRIMARY KEY, org_id uuid NOT NULL REFERENCES orgs,
  first_item int NOT NULL);
CREATE TABLE items (id int PRIMARY KEY, cart_id int NOT NULL REFERENCES carts, name text);
ALTER TABLE carts ADD FOREIGN KEY (first_item) REFERENCES items DEFERRABLE INITIALLY DEFERRED;
CREATE TABLE comments (
  id serial PRIMARY KEY, issue_id uuid REFERENCES issues, document_id int REFERENCES documents,
  author uuid REFERENCES users, body text NOT NULL,
  CHECK (num_nonnulls(issue_id, document_id) = 1));
CREATE TABLE roots (id int PRIMARY KEY, org_id uuid NOT NULL REFERENCES orgs,
  root_id int NOT NULL REFERENCES roots);
CREATE TABLE settings (user_id uuid PRIMARY KEY REFERENCES users, theme text NOT NULL);
CREATE TABLE jobs (
  id int PRIMARY KEY, org_id uuid NOT NULL REFERENCES orgs, payload jsonb NOT NULL);
CREATE TABLE events (
  id bigint NOT NULL, org_id uuid NOT NULL REFERENCES orgs, at timestamptz NOT NULL,
  kind text NOT NULL, PRIMARY KEY (id, at, kind)) PARTITION BY RANGE (at);
CREATE TABLE events_2024_02 PARTITION OF events FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');
CREATE TABLE events_2024_03 PARTITION OF events FOR VALUES FROM ('2024-03-01') TO ('2024-04-01')
  PARTITION BY LIST (kind);
CREATE TABLE events_2024_03_a PARTITION OF events_2024_03 FOR VALUES IN ('login', 'logout');
CREATE TABLE stubborn_a (id int PRIMARY KEY, org_id uuid NOT NULL REFERENCES orgs, b int NOT NULL);
CREATE TABLE stubborn_b (id int PRIMARY KEY, a int NOT NULL REFERENCES stubborn_a);
ALTER TABLE stubborn_a ADD FOREIGN KEY (b) REFERENCES stubborn_b;
CREATE TABLE stubborn_c (id int PRIMARY KEY, b int NOT NULL REFERENCES stubborn_b);
"""


def named(name: str, schema: str = "public") -> RelationName:
    return RelationName(schema, name)


def owned(column: str) -> Ownership:
    return Ownership(OwnershipKind.COLUMN, column)


def via(*ways: tuple[str, str, str]) -> Ownership:
    return Ownership(
        OwnershipKind.VIA,
        ways=tuple(Way((column,), named(target), (key,)) for column, target, key in ways),
    )


SHARED, PRIVATE = Ownership(OwnershipKind.SHARED), Ownership(OwnershipKind.PRIVATE)

TRACKER_MODEL = Model(
    tenants=named("orgs"),
    tenant_key="id",
    tenant_values=(),
    ownership={
        named("orgs"): Ownership(OwnershipKind.TENANTS, "id"),
        named("users"): Ownership(OwnershipKind.MEMBERS, "id"),
        named("plans"): SHARED,
        named("jobs"): PRIVATE,
        named("settings"): Ownership(OwnershipKind.USER, "user_id"),
        named("issue_labels"): via(("issue_id", "issues", "id")),
        named("versions"): via(("document_id", "documents", "id")),
        named("items"): via(("cart_id", "carts", "id")),
        named("comments"): via(("issue_id", "issues", "id"), ("document_id", "documents", "id")),
        named("stubborn_b"): via(("a", "stubborn_a", "id")),
        named("stubborn_c"): via(("b", "stubborn_b", "id")),
        **{
            named(name): owned("org_id")
            for name in (
                *("memberships", "projects", "issues", "documents", "carts"),
                *("roots", "events", "stubborn_a"),
            )
        },
        named("labels"): Ownership(OwnershipKind.COLUMN, "org_id", null_shared=True),
    },
    identity=Identity(),
    kinds=(
        Kind("owner", where="membership.role = 'owner'"),
        Kind("guest", where="membership.role = 'guest'"),
        Kind("member"),
    ),
    users=named("users"),
    user_key="id",
    memberships=Memberships(
        named("memberships"), "user_id", "org_id", "status = 'active' AND removed_at IS NULL"
    ),
)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with start_embedded() as running:
        yield running


def connection_to(server: Server, schema: str) -> Iterator[psycopg.Connection]:
    name = scratch_name("worlds")
    server.create_database(name)
    try:
        with psycopg.connect(server.conninfo(name), autocommit=True) as connection:
            connection.execute(schema.encode())
            yield connection
    finally:
        server.drop_database(name)


@pytest.fixture(scope="module")
def tracker(server: Server) -> Iterator[psycopg.Connection]:
    yield from connection_to(server, TRACKER)


@pytest.fixture(scope="module")
def plan(tracker: psycopg.Connection) -> Plan:
    return planned(tracker, TRACKER_MODEL, {named("plans"): ({"code": "free", "price": "0"},)})


def planned(
    connection: psycopg.Connection,
    model: Model,
    existing: Mapping[RelationName, tuple[Mapping[str, str | None], ...]] | None = None,
) -> Plan:
    catalog = read_catalog(connection)
    return plan_population(
        catalog, model, existing=existing or {}, dictionary=build_dictionary(catalog)
    )


def insert(connection: psycopg.Connection, row: Row) -> None:
    statement = sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({})").format(
        sql.Identifier(row.relation.schema, row.relation.name),
        sql.SQL(", ").join(map(sql.Identifier, row.values)),
        sql.SQL(", ").join(sql.Placeholder() * len(row.values)),
    )
    try:
        connection.execute(statement, list(row.values.values()))
    except psycopg.Error as error:
        raise AssertionError(f"{row} was refused: {error}") from error


def fix(connection: psycopg.Connection, fixup: Fixup) -> None:
    statement = sql.SQL("UPDATE {} SET {} WHERE {}").format(
        sql.Identifier(fixup.relation.schema, fixup.relation.name),
        sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(c)) for c in fixup.values),
        sql.SQL(" AND ").join(sql.SQL("{} = %s").format(sql.Identifier(c)) for c in fixup.key),
    )
    done = connection.execute(statement, [*fixup.values.values(), *fixup.key.values()])
    assert done.rowcount == 1, fixup


def load(connection: psycopg.Connection, world: World) -> None:
    for row in world.rows:
        insert(connection, row)
    for fixup in world.fixups:
        fix(connection, fixup)
    connection.execute("SET CONSTRAINTS ALL IMMEDIATE")


def test_each_designed_world_is_accepted(tracker: psycopg.Connection, plan: Plan) -> None:
    for world in designed_worlds(plan, seed=7, count=6):
        with tracker.transaction(force_rollback=True):
            load(tracker, world)
            for name in plan.order:
                count = tracker.execute(
                    sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name.name))
                ).fetchone()
                assert count is not None
                assert count[0] > 0, name


def rows_of(world: World, name: str) -> list[Row]:
    return [r for r in world.rows if r.relation.name == name]


def test_the_server_itself_finds_no_cross_tenant_reference(
    tracker: psycopg.Connection, plan: Plan
) -> None:
    strangers = """
        SELECT 'issue' FROM issues i JOIN users u ON u.id = i.reporter
          WHERE NOT EXISTS (SELECT FROM memberships m WHERE m.user_id = u.id AND m.org_id = i.org_id
                            AND m.removed_at IS NULL)
        UNION ALL SELECT 'label' FROM issue_labels il JOIN issues i ON i.id = il.issue_id
          JOIN labels l ON l.id = il.label_id WHERE l.org_id <> i.org_id
        UNION ALL SELECT 'version' FROM documents d JOIN versions v ON v.id = d.current_version
          WHERE v.document_id <> d.id
        UNION ALL SELECT 'root' FROM roots r JOIN roots s ON s.id = r.root_id
          WHERE r.org_id <> s.org_id
        UNION ALL SELECT 'cart' FROM carts c JOIN items i ON i.id = c.first_item
          JOIN carts d ON d.id = i.cart_id WHERE d.org_id <> c.org_id"""
    for world in designed_worlds(plan, seed=3, count=3):
        with tracker.transaction(force_rollback=True):
            load(tracker, world)
            assert tracker.execute(strangers).fetchall() == []


def test_every_leaf_partition_holds_rows_of_every_tenant(
    tracker: psycopg.Connection, plan: Plan
) -> None:
    world = designed_worlds(plan, seed=1, count=1)[0]
    with tracker.transaction(force_rollback=True):
        load(tracker, world)
        found = tracker.execute(
            "SELECT tableoid::regclass::text, count(DISTINCT org_id) FROM events"
            " GROUP BY 1 ORDER BY 1"
        ).fetchall()
    assert found == [("events_2024_02", 3), ("events_2024_03_a", 3)]


def test_what_cannot_be_populated_says_why(plan: Plan) -> None:
    reasons = {name.name: reason for name, reason in plan.unpopulated.items()}
    assert sorted(reasons) == ["stubborn_a", "stubborn_b", "stubborn_c"]
    assert "form a cycle with public.stubborn_b" in reasons["stubborn_a"]
    assert reasons["stubborn_c"].startswith("needs a row of public.stubborn_b, which is not popu")


@settings(max_examples=25, deadline=None, database=None)
@given(data=st.data())
def test_drawn_worlds_are_accepted(
    tracker: psycopg.Connection, plan: Plan, data: st.DataObject
) -> None:
    world = data.draw(worlds(plan))
    with tracker.transaction(force_rollback=True):
        load(tracker, world)


def test_further_rows_are_accepted_beside_a_world_and_each_other(
    tracker: psycopg.Connection, plan: Plan
) -> None:
    world = designed_worlds(plan, seed=5, count=2)[1]
    other = world.tenants[1]
    made = 0
    with tracker.transaction(force_rollback=True):
        load(tracker, world)
        picks: tuple[Pick, ...] = (SimplestPick(), SeededPick(random.Random(9)))
        for salt, pick in enumerate(picks):
            for name in ("projects", "issues", "labels", "documents", "versions", "comments"):
                row = candidate_row(
                    plan,
                    world,
                    named(name),
                    tenant=other,
                    user=world.users[0],
                    pick=pick,
                    salt=salt,
                )
                assert row.canary not in {r.canary for r in world.rows if r.canary}
                insert(tracker, row)
                made += 1
        assert made == 12
        owner = tracker.execute(
            "SELECT DISTINCT d.org_id::text FROM versions v"
            " JOIN documents d ON d.id = v.document_id WHERE v.id >= 3000"
        ).fetchall()
        assert owner == [(other,)]


PROFILES = """
CREATE SCHEMA auth;
CREATE TABLE auth.users (id uuid PRIMARY KEY, email varchar(255) UNIQUE, meta jsonb);
CREATE TABLE companies (id serial PRIMARY KEY, "displayName" text NOT NULL UNIQUE);
INSERT INTO companies ("displayName") VALUES ('house'), ('name 1');
CREATE TABLE profiles (
  id uuid PRIMARY KEY REFERENCES auth.users ON DELETE CASCADE, company_id int REFERENCES companies,
  role text NOT NULL DEFAULT 'staff' CHECK (role IN ('staff', 'admin')), full_name citextish);
CREATE TABLE visits (
  id uuid PRIMARY KEY, patient_id uuid NOT NULL, company_id int NOT NULL REFERENCES companies,
  doctor uuid NOT NULL REFERENCES profiles, during tstzrange NOT NULL,
  EXCLUDE USING gist (during WITH &&));
CREATE TABLE inbox (id bigserial PRIMARY KEY, recipient uuid NOT NULL REFERENCES auth.users,
  body text NOT NULL);
CREATE MATERIALIZED VIEW busy AS SELECT doctor, count(*) FROM visits GROUP BY 1;
""".replace("citextish", "text")

PROFILES_MODEL = Model(
    tenants=named("companies"),
    tenant_key="id",
    tenant_values=(),
    ownership={
        named("companies"): Ownership(OwnershipKind.TENANTS, "id"),
        named("users", "auth"): Ownership(OwnershipKind.MEMBERS, "id"),
        named("profiles"): Ownership(OwnershipKind.MEMBERS, "id"),
        named("visits"): owned("company_id"),
        named("inbox"): Ownership(OwnershipKind.USER, "recipient"),
    },
    identity=Identity(),
    kinds=(Kind("admin", where="role = 'admin'"), Kind("member")),
    users=named("users", "auth"),
    user_key="id",
    memberships=Memberships(named("profiles"), "id", "company_id"),
)

SITES = """
CREATE TYPE level AS ENUM ('low', 'high');
CREATE TABLE site_users (site text NOT NULL, login int NOT NULL, level level NOT NULL,
  active boolean NOT NULL, PRIMARY KEY (site, login));
CREATE TABLE pages (site text NOT NULL, path text NOT NULL, body text, PRIMARY KEY (site, path))
  PARTITION BY LIST (site);
CREATE TABLE pages_a PARTITION OF pages FOR VALUES IN ('alpha');
CREATE TABLE pages_b PARTITION OF pages FOR VALUES IN ('beta', 'gamma');
CREATE TABLE links (site text, path text, href text NOT NULL CHECK (href ~ '^https://'),
  FOREIGN KEY (site, path) REFERENCES pages MATCH FULL);
"""

SITES_MODEL = Model(
    tenants=None,
    tenant_key=None,
    tenant_values=("alpha", "beta"),
    ownership={
        named("site_users"): owned("site"),
        named("pages"): owned("site"),
        named("links"): owned("site"),
    },
    identity=Identity(),
    kinds=(Kind("high", where="membership.level = 'high'"), Kind("member")),
    memberships=Memberships(named("site_users"), "login", "site", "active"),
)


def test_memberships_that_live_in_a_profile(server: Server) -> None:
    for connection in connection_to(server, PROFILES):
        stocked = {
            named("companies"): (
                {"id": "1", "displayName": "house"},
                {"id": "2", "displayName": "name 1"},
            )
        }
        plan = planned(connection, PROFILES_MODEL, stocked)
        assert plan.unpopulated == {}
        for world in designed_worlds(plan, seed=11, count=3):
            assert not {"1", "2"} & set(world.tenants)
            with connection.transaction(force_rollback=True):
                load(connection, world)
                # One profile and one message for each user of the four companies by two kinds.
                counts = connection.execute(
                    "SELECT (SELECT count(*) FROM auth.users), (SELECT count(*) FROM inbox),"
                    " (SELECT count(*) FROM profiles WHERE company_id IS NOT NULL),"
                    " (SELECT count(DISTINCT (company_id, role)) FROM profiles)"
                ).fetchone()
                assert counts is not None
                assert counts[0] == counts[1] == len(world.users)
                assert counts[2] >= 8
                assert counts[3] >= 8
                assert rows_of(world, "visits")


def test_tenants_that_are_mere_values(server: Server) -> None:
    for connection in connection_to(server, SITES):
        plan = planned(connection, SITES_MODEL)
        assert plan.unpopulated == {}
        for world in designed_worlds(plan, seed=2, count=3):
            assert world.tenants == ("alpha", "beta")
            with connection.transaction(force_rollback=True):
                load(connection, world)
                alphas, betas = (
                    {r.values["path"] for r in rows_of(world, "pages") if r.tenant == tenant}
                    for tenant in world.tenants
                )
                assert alphas == betas
                orphans = [r for r in rows_of(world, "links") if r.tenant is None]
                assert [(r.values["site"], r.values["path"]) for r in orphans] == [(None, None)]


def test_parents_of_a_tenant_are_found_for_a_cross_reference(plan: Plan) -> None:
    world = designed_worlds(plan, seed=4, count=1)[0]
    issues = plan.catalog.relations[named("issues")]
    (key,) = (k for k in issues.foreign_keys if "project_id" in k.columns)
    for tenant in world.tenants[:3]:
        found = parents_of(plan, world, named("issues"), key, tenant=tenant)
        assert found
        assert {r.values["org_id"] for r in found} == {tenant}
    assert parents_of(plan, world, named("issues"), key, tenant=world.tenants[3]) == ()
