"""The stage: principals act in a world, and nothing of what they did stays unless it is kept."""

from collections.abc import Iterator

import psycopg
import pytest

from tenantfuzz.catalog import read_catalog
from tenantfuzz.engines import Server, scratch_name, start_embedded
from tenantfuzz.errors import ToolError
from tenantfuzz.loading_worlds import WorldLoader
from tenantfuzz.policies.model import (
    Identity,
    Kind,
    Memberships,
    Model,
    Ownership,
    OwnershipKind,
    Rule,
)
from tenantfuzz.policies.placeholders import Binding
from tenantfuzz.policies.principals import Freshness, Membership, Principal
from tenantfuzz.policies.structure import Catalog, Operation, RelationName
from tenantfuzz.policies.world import Fixup, Row, World
from tenantfuzz.results import Outcome
from tenantfuzz.stage import Stage
from tenantfuzz.wire import Clock, Wire

SCHEMA = """
CREATE ROLE stage_app LOGIN;
CREATE ROLE stage_other;
GRANT stage_other TO stage_app;
ALTER ROLE stage_app SET app.login = 'brought';
ALTER ROLE stage_app SET statement_timeout = '1ms';
CREATE TABLE orgs (id int PRIMARY KEY, name text);
CREATE TABLE members (user_id text, org_id int REFERENCES orgs, role text, gone boolean,
  PRIMARY KEY (user_id, org_id));
CREATE TABLE issues (id int PRIMARY KEY, org_id int NOT NULL REFERENCES orgs, title text,
  next_id int REFERENCES issues DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE events (id int, org_id int NOT NULL, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE events_low PARTITION OF events FOR VALUES FROM (0) TO (100);
CREATE TABLE log (line text);
CREATE VIEW all_issues AS SELECT * FROM issues;
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
  $$BEGIN INSERT INTO log VALUES (TG_OP || ' by ' || session_user); RETURN NULL; END$$;
CREATE TRIGGER note AFTER UPDATE ON events FOR EACH ROW EXECUTE FUNCTION note();
ALTER TABLE issues ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON issues USING (org_id = nullif(current_setting('app.org', true), '')::int);
GRANT ALL ON ALL TABLES IN SCHEMA public TO stage_app, stage_other;
"""


def named(name: str) -> RelationName:
    return RelationName("public", name)


ISSUES, ORGS, EVENTS, LOW, LOG = map(named, ("issues", "orgs", "events", "events_low", "log"))
MODEL = Model(
    tenants=ORGS,
    tenant_key="id",
    tenant_values=(),
    ownership={
        ORGS: Ownership(OwnershipKind.TENANTS, "id"),
        named("members"): Ownership(OwnershipKind.COLUMN, "org_id"),
        ISSUES: Ownership(OwnershipKind.COLUMN, "org_id"),
        EVENTS: Ownership(OwnershipKind.COLUMN, "org_id"),
        LOW: Ownership(OwnershipKind.COLUMN, "org_id"),
        LOG: Ownership(OwnershipKind.PRIVATE),
        named("all_issues"): Ownership(OwnershipKind.COLUMN, "org_id"),
    },
    identity=Identity(role="stage_app", settings={"app.org": "{tenant.id}"}),
    kinds=(Kind("boss", "membership.role = 'boss'"), Kind("member")),
    access={("member", ISSUES, Operation.SELECT): Rule("id < 20 AND org_id = :tenant")},
    memberships=Memberships(named("members"), "user_id", "org_id", "NOT gone"),
)
WORLD = World(
    rows=(
        Row(ORGS, {"id": "1", "name": "One"}, "1"),
        Row(ORGS, {"id": "2", "name": None}, "2"),
        Row(named("members"), {"user_id": "u1", "org_id": "1", "role": "x", "gone": "f"}, "1"),
        Row(named("members"), {"user_id": "u2", "org_id": "2", "role": "boss", "gone": "f"}, "2"),
        Row(named("members"), {"user_id": "u3", "org_id": "2", "role": "x", "gone": "t"}, "2"),
        Row(ISSUES, {"id": "10", "org_id": "1", "title": "a", "next_id": "20"}, "1"),
        Row(ISSUES, {"id": "20", "org_id": "2", "title": "b"}, "2"),
        Row(EVENTS, {"id": "1", "org_id": "1"}, "1"),
    ),
    fixups=(Fixup(ISSUES, {"id": "20"}, {"next_id": "10"}),),
    tenants=("1", "2"),
    users=("u1", "u2", "u3"),
)
ONE = Principal(
    "member", "u1", "1", (Membership("1"),), role="stage_app", settings=(("app.org", "1"),)
)
TWO = Principal(
    "member", "u2", "2", (Membership("2"),), role="stage_app", settings=(("app.org", "2"),)
)
WHO = "SELECT current_user, session_user, current_setting('app.org', true)"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with start_embedded() as running:
        yield running


@pytest.fixture(scope="module")
def database(server: Server) -> Iterator[str]:
    name = scratch_name("stage")
    server.create_database(name)
    with psycopg.connect(server.conninfo(name), autocommit=True) as connection:
        connection.execute(SCHEMA)
    yield name
    server.drop_database(name)


@pytest.fixture(scope="module")
def catalog(server: Server, database: str) -> Catalog:
    with psycopg.connect(server.conninfo(database), autocommit=True) as connection:
        return read_catalog(connection)


@pytest.fixture
def stage(server: Server, database: str, catalog: Catalog) -> Iterator[Stage]:
    connection = psycopg.connect(server.conninfo(database), autocommit=True)
    made = Stage(Wire(connection, Clock()), catalog, MODEL, WorldLoader(catalog, deferrable=True))
    made.prepare()
    yield made
    connection.close()


@pytest.fixture
def world(stage: Stage) -> Stage:
    """A stage on which the world stands."""
    assert stage.open(WORLD) == []
    return stage


def sqlstates(outcomes: list[Outcome]) -> list[str]:
    return [o.failure.sqlstate if o.failure else "ok" for o in outcomes]


def keys(stage: Stage, relation: RelationName) -> set[str]:
    return set(stage.state([relation])[relation])


def me(stage: Stage) -> list[tuple[str | None, ...]]:
    return stage.wire.query(WHO)


# Loading and leaving


def test_a_world_stands_until_the_stage_is_closed(stage: Stage) -> None:
    assert stage.open(WORLD) == []
    assert keys(stage, ISSUES) == {'["10"]', '["20"]'}
    assert stage.open(World(())) == []
    assert keys(stage, ISSUES) == set()
    stage.close()
    assert stage.wire.query("SELECT count(*) FROM orgs") == [("0",)]


def test_rows_that_the_server_refuses_are_named_and_the_rest_stands(stage: Stage) -> None:
    bad = Row(ISSUES, {"id": "30", "org_id": "9"}, "9")
    refused = stage.open(World((*WORLD.rows, bad), WORLD.fixups))
    assert [(r.row, r.failure.sqlstate) for r in refused] == [(bad, "23503")]
    assert keys(stage, ISSUES) == {'["10"]', '["20"]'}


def test_the_state_has_the_owners_of_every_row(world: Stage) -> None:
    state = world.state()
    # No view, and each row of a partition in both.
    assert set(state) == {ORGS, named("members"), ISSUES, EVENTS, LOW, LOG}
    issue = state[ISSUES]['["20"]']
    assert issue.tenants == {"2"}
    assert issue.users == frozenset()
    assert (issue.shared, issue.text) == (False, "(20,2,b,10)")
    assert set(state[EVENTS]) == set(state[LOW]) == {'["1"]'}
    members = state[named("members")]
    assert set(members) == {'["u1", "1"]', '["u2", "2"]', '["u3", "2"]'}


def test_equal_rows_of_a_relation_without_a_key_are_told_apart(world: Stage) -> None:
    world.wire.execute("INSERT INTO log VALUES ('x'), ('x'), ('y')")
    state = world.state([LOG])[LOG]
    assert set(state) == {"(x)", "(x)'", "(y)"}
    assert all(row.nobodys for row in state.values())


def test_the_population_and_the_principals_of_the_world(world: Stage) -> None:
    people = world.population()
    assert people.tenants == {"1": {"id": "1", "name": "One"}, "2": {"id": "2", "name": None}}
    assert [(m.user, m.tenant, m.kind, m.active) for m in people.memberships] == [
        ("u1", "1", "member", True),
        ("u2", "2", "boss", True),
        ("u3", "2", "member", False),
    ]
    principals = {(p.kind, p.user): p for p in world.principals()}
    assert principals["member", "u1"].settings == (("app.org", "1"),)
    assert ("boss", "u2") in principals
    assert ("former", "u3") in principals


def test_queries_of_the_configuration_are_resolved_in_the_world(world: Stage) -> None:
    sql = "SELECT org_id FROM members WHERE user_id = :user"
    assert world.resolve(sql, Binding(user="u2")) == "2"
    assert world.resolve(sql, Binding(user="nobody")) is None


def test_rules_are_evaluated_by_the_server(world: Stage) -> None:
    prediction = world.prediction()
    assert prediction.allowed(ONE, ISSUES, Operation.SELECT) == {'["10"]'}
    assert prediction.allowed(ONE, ISSUES, Operation.DELETE) == {'["10"]'}
    # id 20 is not below 20.
    assert prediction.allowed(TWO, ISSUES, Operation.SELECT) == frozenset()
    assert prediction.allowed(TWO, ISSUES, Operation.DELETE) == {'["20"]'}


# Reads


def test_a_principal_reads_as_itself_and_its_identity_is_undone(world: Stage) -> None:
    trusted = me(world)
    (who, rows) = world.read(ONE, [WHO, "SELECT id FROM issues"])
    assert who.rows == [(b"stage_app", b"stage_app", b"1")]
    assert rows.rows == [(b"10",)]
    assert trusted[0][0] == trusted[0][1] != "stage_app"
    # A setting that was set and rolled back is there as the empty string.
    assert me(world) == [(*trusted[0][:2], "")]
    assert world.read(TWO, ["SELECT id FROM issues"])[0].rows == [(b"20",)]
    assert keys(world, ISSUES) == {'["10"]', '["20"]'}


def test_a_login_and_a_role(world: Stage) -> None:
    both = Principal("member", login="stage_app", role="stage_other")
    (who, login, limit) = world.read(
        both,
        [WHO, "SELECT current_setting('app.login')", "SELECT current_setting('statement_timeout')"],
    )
    assert who.rows[0][:2] == (b"stage_other", b"stage_app")
    # What the login brings is there, but for the limits of the target.
    assert login.rows == [(b"brought",)]
    assert limit.rows == [(b"10s",)]


def test_a_failed_read_does_not_stop_the_rest(world: Stage) -> None:
    statements = ["SELECT 1 / 0", WHO, "SELECT nope", "SELECT 1 / 0", "SELECT id FROM issues"]
    outcomes = world.read(ONE, statements)
    assert sqlstates(outcomes) == ["22012", "ok", "42703", "22012", "ok"]
    assert outcomes[1].rows == [(b"stage_app", b"stage_app", b"1")]
    assert outcomes[4].rows == [(b"10",)]
    assert me(world)[0][0] != "stage_app"


def test_many_reads_with_failures_each_have_their_own_outcome(world: Stage) -> None:
    statements = [f"SELECT {n} / ({n} % 60)" for n in range(350)]
    outcomes = world.read(ONE, statements)
    assert sqlstates(outcomes) == ["22012" if n % 60 == 0 else "ok" for n in range(350)]
    assert outcomes[349].rows == [(str(349 // 49).encode(),)]


def test_what_a_read_writes_is_undone(world: Stage) -> None:
    (outcome,) = world.read(
        ONE, ["WITH w AS (UPDATE issues SET title = 'z' RETURNING id) SELECT * FROM w"]
    )
    assert outcome.rows == [(b"10",)]
    assert world.wire.query("SELECT title FROM issues ORDER BY id") == [("a",), ("b",)]


def test_an_identity_that_cannot_be_set_is_the_tools_own_error(world: Stage) -> None:
    with pytest.raises(ToolError, match="kind 'member' could not be set") as caught:
        world.read(Principal("member", role="stage_nobody"), ["SELECT 1"])
    assert "22023" in str(caught.value)


# Writes


def test_writes_are_undone_each_before_the_next(world: Stage) -> None:
    outcomes = world.write(
        ONE,
        [
            "DELETE FROM issues",
            "UPDATE issues SET title = 'z'",
            "SELECT 1 / 0",
            "INSERT INTO issues VALUES (11, 2, 'not mine')",
            WHO,
        ],
    )
    # The deletion of 10 leaves 20 pointing nowhere: a deferred key, checked at once.
    assert sqlstates(outcomes) == ["23503", "ok", "22012", "42501", "ok"]
    assert outcomes[1].affected == 1
    assert outcomes[4].rows == [(b"stage_app", b"stage_app", b"1")]
    assert world.wire.query("SELECT id, title FROM issues ORDER BY id") == [
        ("10", "a"),
        ("20", "b"),
    ]
    assert me(world)[0][0] != "stage_app"


def test_a_statement_of_its_own_failure_is_told_from_a_late_one(world: Stage) -> None:
    late, early = world.write(
        ONE,
        ["INSERT INTO issues VALUES (11, 1, 'x', 99)", "INSERT INTO issues VALUES (10, 1, 'x')"],
    )
    assert sqlstates([late, early]) == ["23503", "23505"]


def test_the_trusted_role_passes_by_row_security_and_is_undone_too(world: Stage) -> None:
    outcomes = world.trusted(
        [
            "UPDATE issues SET title = 'z'",
            "DELETE FROM issues WHERE id = 10",
            "DELETE FROM events",
            "SELECT count(*) FROM events",
        ]
    )
    assert sqlstates(outcomes) == ["ok", "23503", "ok", "ok"]
    assert outcomes[0].affected == 2
    assert outcomes[3].rows == [(b"1",)]
    assert world.wire.query("SELECT title FROM issues ORDER BY id") == [("a",), ("b",)]


# Steps that stay


def test_what_a_step_did_stays_and_the_trusted_role_is_back(world: Stage) -> None:
    outcome = world.act(ONE, "INSERT INTO issues VALUES (11, 1, 'x')")
    assert (outcome.failure, outcome.affected) == (None, 1)
    assert keys(world, ISSUES) == {'["10"]', '["11"]', '["20"]'}
    user, session, org = me(world)[0]
    assert user == session != "stage_app"
    assert org == "1"  # the values of settings stay


@pytest.mark.parametrize(
    ("sql", "sqlstate"),
    [
        ("INSERT INTO issues VALUES (11, 2, 'x')", "42501"),
        ("INSERT INTO issues VALUES (11, 1, 'x', 99)", "23503"),
        ("WITH w AS (INSERT INTO issues VALUES (11, 1)) SELECT 1 / 0", "22012"),
    ],
    ids=["denied", "deferred", "halfway"],
)
def test_a_step_that_fails_leaves_no_trace(world: Stage, sql: str, sqlstate: str) -> None:
    trusted = me(world)[0][:2]
    assert sqlstates([world.act(ONE, sql)]) == [sqlstate]
    assert keys(world, ISSUES) == {'["10"]', '["20"]'}
    assert me(world)[0][:2] == trusted
    assert world.act(ONE, "INSERT INTO issues VALUES (12, 1)").failure is None


def test_constraints_that_wait_are_checked_at_once_where_no_load_has_done_so(
    stage: Stage,
) -> None:
    stage.begin()  # as on a world that was committed: the constraint still waits
    stage.wire.execute("INSERT INTO orgs VALUES (1, 'One')", "INSERT INTO issues VALUES (10, 1)")
    dangling = "INSERT INTO issues VALUES (11, 1, 'x', 99)"
    assert sqlstates(stage.write(ONE, [dangling, WHO])) == ["23503", "ok"]
    assert sqlstates(stage.trusted([dangling, WHO])) == ["23503", "ok"]
    assert sqlstates([stage.act(ONE, dangling)]) == ["23503"]
    assert keys(stage, ISSUES) == {'["10"]'}
    assert me(stage)[0][0] != "stage_app"


# What was touched


def test_touches_count_writes_and_only_those(world: Stage) -> None:
    before = world.touches()
    world.read(ONE, ["SELECT * FROM issues", "SELECT * FROM all_issues"])
    world.act(ONE, "UPDATE issues SET title = 'x' WHERE id = 20")  # not its own: no row
    assert world.touches() == before
    world.act(ONE, "UPDATE issues SET title = 'x'")
    now = world.touches()
    assert {n for n in now if now[n] != before[n]} == {ISSUES}
    assert now[ISSUES] == before[ISSUES] + 1


def test_what_was_undone_counts_as_touched(world: Stage) -> None:
    before = world.touches()
    world.write(ONE, ["UPDATE issues SET title = 'x'"])
    assert world.touches()[ISSUES] > before[ISSUES]


def test_the_state_after_a_write_is_read_again_where_it_was_touched(world: Stage) -> None:
    before, earlier = world.state(), world.touches()
    world.act(ONE, "UPDATE issues SET title = 'changed'")
    after, touched = world.state_after(before, earlier, whole=False)
    assert touched == {ISSUES}
    assert after[ISSUES]['["10"]'].text == "(10,1,changed,20)"
    assert after[ISSUES]['["20"]'] == before[ISSUES]['["20"]']
    assert {n for n in after if after[n] is not before[n]} == {ISSUES}
    assert after == world.state()
    assert before[ISSUES]['["10"]'].text == "(10,1,a,20)"


def test_a_write_to_a_partition_touches_its_parent_and_what_triggers_write(world: Stage) -> None:
    before, earlier = world.state(), world.touches()
    world.act(ONE, "UPDATE events_low SET org_id = 2")
    after, touched = world.state_after(before, earlier, whole=False)
    assert touched == {EVENTS, LOW, LOG}
    assert after[EVENTS]['["1"]'].tenants == after[LOW]['["1"]'].tenants == {"2"}
    assert after == world.state()


def test_what_a_trigger_writes_is_seen(world: Stage) -> None:
    before, earlier = world.state(), world.touches()
    world.act(ONE, "UPDATE events SET org_id = 2")
    after, touched = world.state_after(before, earlier, whole=False)
    assert touched == {EVENTS, LOW, LOG}
    assert set(after[LOG]) == {'("UPDATE by stage_app")'}
    assert before[LOG] == {}


def test_the_whole_state_is_read_again_where_that_is_asked_for(world: Stage) -> None:
    before, earlier = world.state(), world.touches()
    after, touched = world.state_after(before, earlier, whole=True)
    assert touched == frozenset()
    assert after == before
    assert all(after[n] is not before[n] for n in after)


# Freshness


UNSET = Principal("unset", role="stage_app", freshness=Freshness.NEVER_SET)


def test_settings_that_were_never_set_are_null_on_a_fresh_connection(stage: Stage) -> None:
    stage.open(WORLD, after=UNSET)
    assert stage.read(UNSET, [WHO])[0].rows == [(b"stage_app", b"stage_app", None)]


def test_a_connection_on_which_they_were_set_is_refused(stage: Stage) -> None:
    stage.open(WORLD)
    stage.read(ONE, ["SELECT 1"])
    with pytest.raises(ToolError, match=r"app\.org can never be unset here"):
        stage.open(WORLD, after=UNSET)


def test_a_setting_that_the_principal_has_need_not_be_unset(stage: Stage) -> None:
    stage.open(WORLD)
    stage.read(ONE, ["SELECT 1"])
    partly = Principal(
        "unset", role="stage_app", settings=(("app.org", "1"),), freshness=Freshness.NEVER_SET
    )
    assert stage.open(WORLD, after=partly) == []


@pytest.mark.parametrize("freshness", [Freshness.COMMITTED, Freshness.ROLLED_BACK])
def test_an_earlier_identity_leaves_an_empty_setting(stage: Stage, freshness: Freshness) -> None:
    residual = Principal(
        "residual", role="stage_app", freshness=freshness, earlier=(("app.org", "1"),)
    )
    stage.open(WORLD, after=residual)
    assert stage.read(residual, [WHO])[0].rows == [(b"stage_app", b"stage_app", b"")]
    assert stage.read(residual, ["SELECT count(*) FROM issues"])[0].rows == [(b"0",)]


MEMBER = Principal("member", role="stage_app", settings=(("app.org", "1"),))
SLEEP = "SELECT pg_sleep(20)"


def test_reads_of_a_door_that_takes_too_long_are_given_up(world: Stage) -> None:
    world.wire.execute("SET LOCAL statement_timeout = '50ms'")
    statements = ["SELECT 1", SLEEP, "SELECT 2", SLEEP, "SELECT 3", SLEEP, "SELECT 4"]
    doors = ["quick", "slow", "quick", "slow", "slow", "slow", "quick"]
    outcomes = world.read(MEMBER, statements, doors=doors)
    assert sqlstates(outcomes) == ["ok", "57014", "ok", "57014", "57014", "57014", "ok"]
    messages = [o.failure.message for o in outcomes if o.failure]
    cancelled = "canceling statement due to statement timeout"
    untried = "not run: others of the same kind took too long"
    assert messages == [cancelled, cancelled, untried, untried]
    assert sqlstates(world.read(MEMBER, ["SELECT 5"], doors=["slow"])) == ["57014"]
    assert sqlstates(world.read(MEMBER, ["SELECT 5"])) == ["ok"]


@pytest.mark.parametrize("trusted", [False, True])
def test_writes_at_a_door_that_takes_too_long_are_given_up(world: Stage, trusted: bool) -> None:
    world.wire.execute("SET LOCAL statement_timeout = '50ms'")
    insert = "INSERT INTO issues (id, org_id, title) VALUES (30, 1, 'x')"
    statements = [insert, *[SLEEP] * 9, insert]
    doors = ["quick", *["slow"] * 9, "quick"]
    if trusted:
        outcomes = world.trusted(statements, doors=doors)
    else:
        outcomes = world.write(MEMBER, statements, doors=doors)
    assert sqlstates(outcomes) == ["ok", *["57014"] * 9, "ok"]
    messages = [o.failure.message for o in outcomes if o.failure]
    assert messages[2:] == ["not run: others of the same kind took too long"] * 7


def test_a_door_that_was_quick_takes_all_at_once_and_may_still_become_slow(world: Stage) -> None:
    world.wire.execute("SET LOCAL statement_timeout = '50ms'")
    update = "UPDATE issues SET title = 'y'"
    assert sqlstates(world.write(MEMBER, [update] * 5, doors=["d"] * 5)) == ["ok"] * 5
    slow = world.write(MEMBER, [update, SLEEP, SLEEP, update], doors=["d"] * 4)
    assert sqlstates(slow) == ["ok", "57014", "57014", "ok"]
    assert sqlstates(world.write(MEMBER, [update], doors=["d"])) == ["57014"]
