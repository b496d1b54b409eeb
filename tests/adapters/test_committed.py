"""A world that others can see: whatever they do to it is undone, to the last row."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from tenantfuzz.adapters.committed import CommittedStage
from tenantfuzz.adapters.contents import Contents
from tenantfuzz.adapters.running import Adapters, adapters_of
from tenantfuzz.errors import ToolError
from tenantfuzz.policies.structure import RelationName
from tenantfuzz.policies.world import Row, World
from tenantfuzz.preparation import Prepared, prepare
from tenantfuzz.target import find_target

SCHEMA = """
DO $$ BEGIN
  IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'held_app') THEN
    CREATE ROLE held_app;
  END IF;
END $$;
CREATE TABLE orgs (id text PRIMARY KEY, name text);
CREATE TABLE notes (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  org_id text NOT NULL REFERENCES orgs ON DELETE CASCADE,
  body text NOT NULL, size integer GENERATED ALWAYS AS (length(body)) STORED,
  "Odd name" text DEFAULT 'x', tags text[] NOT NULL DEFAULT '{}'
);
CREATE TABLE events (org_id text NOT NULL, at date NOT NULL, what text) PARTITION BY RANGE (at);
CREATE TABLE events_old PARTITION OF events FOR VALUES FROM (MINVALUE) TO ('2024-01-01');
CREATE TABLE events_new PARTITION OF events FOR VALUES FROM ('2024-01-01') TO (MAXVALUE);
CREATE TABLE loose (org_id text, value serial);
CREATE TABLE plans (id text PRIMARY KEY);
INSERT INTO plans VALUES ('free'), ('team');
CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO loose (org_id) VALUES (NEW.org_id); RETURN NULL; END $$;
CREATE TRIGGER log AFTER INSERT OR UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION log();
"""
CONFIG = """
[target]
name = "held"
schema = ["schema.sql"]
[tenancy]
tenants = "orgs"
column = "org_id"
[tenancy.tables]
plans = "shared"
[identity]
role = "held_app"
"""
ALL = (
    "SELECT (SELECT json_agg(o) FROM orgs o), (SELECT json_agg(n) FROM notes n),"
    " (SELECT json_agg(e) FROM (SELECT tableoid::regclass::text, * FROM events) e),"
    " (SELECT json_agg(l) FROM loose l), (SELECT json_agg(p) FROM plans p)"
)
Other = psycopg.Connection[tuple[object, ...]]


def relation(name: str) -> RelationName:
    return RelationName("public", name)


WORLD = World(
    (
        Row(relation("orgs"), {"id": "a", "name": "A"}),
        Row(relation("orgs"), {"id": "b", "name": None}),
        Row(relation("notes"), {"id": "1", "org_id": "a", "body": "one\ttwo\\\n"}),
        Row(relation("notes"), {"id": "2", "org_id": "b", "body": "", "tags": '{"x y",NULL}'}),
        Row(relation("events"), {"org_id": "a", "at": "2023-05-01", "what": "old"}),
        Row(relation("events"), {"org_id": "b", "at": "2025-05-01", "what": None}),
    ),
    tenants=("a", "b"),
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    folder = tmp_path_factory.mktemp("held")
    (folder / "schema.sql").write_text(SCHEMA)
    (folder / "tenantfuzz.toml").write_text(CONFIG)
    with prepare(find_target(folder)) as ready:
        yield ready


@pytest.fixture
def stage(prepared: Prepared) -> CommittedStage:
    stage = adapters_of(prepared).stage
    assert stage.open(WORLD) == []
    return stage


@pytest.fixture
def other(prepared: Prepared, stage: CommittedStage) -> Iterator[Other]:
    connection = psycopg.connect(prepared.server.conninfo(stage.database), autocommit=True)
    yield connection
    connection.close()
    stage.contents.stale = True


WRITES = [
    "UPDATE notes SET body = 'changed', org_id = 'b'",
    "DELETE FROM orgs",  # and what hangs on it
    "INSERT INTO notes (org_id, body) VALUES ('a', 'new'), ('b', 'new')",
    "UPDATE events SET at = '2030-01-01'",  # from one partition to another
    "TRUNCATE orgs, notes, events, loose, plans",
    "DELETE FROM plans; INSERT INTO plans VALUES ('gold')",
    "UPDATE orgs SET name = upper(name); INSERT INTO orgs VALUES ('c', 'C')",
]


@pytest.mark.parametrize("write", WRITES)
def test_what_others_write_is_undone(stage: CommittedStage, other: Other, write: str) -> None:
    before = other.execute(ALL).fetchone()
    with stage.undone():
        other.execute(write.encode())
        assert stage.is_settled()
        assert other.execute(ALL).fetchone() != before
    assert other.execute(ALL).fetchone() == before


@pytest.mark.parametrize("write", WRITES)
def test_in_another_world_too(stage: CommittedStage, other: Other, write: str) -> None:
    before = other.execute(ALL).fetchone()
    with stage.altered(["DELETE FROM notes WHERE id = 1", "DELETE FROM plans"]) as done:
        assert done
        there = other.execute(ALL).fetchone()
        assert there != before
        with stage.undone():
            other.execute(write.encode())
            assert stage.is_settled()
        assert other.execute(ALL).fetchone() == there
    assert other.execute(ALL).fetchone() == before


def test_a_world_that_cannot_be(stage: CommittedStage, other: Other) -> None:
    before = other.execute(ALL).fetchone()
    with stage.altered(["DELETE FROM plans", "SELECT 1 / 0"]) as done:
        assert not done
        assert other.execute(ALL).fetchone() == before
    assert other.execute(ALL).fetchone() == before


def test_one_world_takes_the_place_of_another(stage: CommittedStage, other: Other) -> None:
    other.execute("INSERT INTO plans VALUES ('gold')")
    stage.contents.stale = True
    stage.open(World((Row(relation("orgs"), {"id": "z", "name": "Z"}),), tenants=("z",)))
    orgs, notes, events, loose, plans = other.execute(ALL).fetchone() or ()
    assert orgs == [{"id": "z", "name": "Z"}]
    assert (notes, events, loose) == (None, None, None)
    assert plans == [{"id": "free"}, {"id": "team"}]


def test_keys_that_the_database_makes_are_the_same_each_time(
    stage: CommittedStage, other: Other
) -> None:
    made = []
    for _ in range(2):
        with stage.undone():
            insert = "INSERT INTO notes (org_id, body) VALUES ('a', 'new') RETURNING id"
            made += other.execute(insert).fetchall()
            assert stage.is_settled()
    assert made[0] == made[1] and made[0] not in [(1,), (2,)]


def test_a_read_touches_nothing_and_a_write_that_came_to_nothing_does(
    stage: CommittedStage, other: Other
) -> None:
    earlier = stage.touches()
    other.execute(ALL)
    other.execute("UPDATE orgs SET name = 'x' WHERE id = 'nobody'")
    assert stage.is_settled()
    assert stage.touches() == earlier
    with pytest.raises(psycopg.errors.UniqueViolation):
        other.execute("INSERT INTO orgs VALUES ('n', 'N'), ('a', 'A')")
    assert stage.is_settled()
    assert stage.touches() != earlier
    assert stage.changed() == 0


def test_a_lock_is_taken_from_whoever_keeps_it(stage: CommittedStage, other: Other) -> None:
    before = other.execute(ALL).fetchone()
    freed = []
    stage.refresh = lambda: freed.append(True)
    stage.wire.execute("SET lock_timeout = '50ms'")
    with stage.undone():
        other.execute("UPDATE orgs SET name = 'committed'")
        other.execute("BEGIN")
        other.execute("SELECT * FROM orgs FOR UPDATE")
        assert not stage.is_settled()
    assert freed == [True]
    with psycopg.connect(stage.wire.connection.info.dsn) as again:
        assert again.execute(ALL).fetchone() == before


def test_triggers_that_always_act(tmp_path: Path) -> None:
    always = "ALTER TABLE notes ENABLE ALWAYS TRIGGER log;"
    (tmp_path / "schema.sql").write_text(SCHEMA + always)
    (tmp_path / "tenantfuzz.toml").write_text(CONFIG)
    with prepare(find_target(tmp_path)) as ready, ExitStack() as closing:
        stage = adapters_of(ready).stage
        stage.open(WORLD)
        other = closing.enter_context(
            psycopg.connect(ready.server.conninfo(stage.database), autocommit=True)
        )
        before = other.execute(ALL).fetchone()
        with stage.undone():
            other.execute("UPDATE notes SET body = 'changed'")
            assert stage.is_settled()
        assert other.execute(ALL).fetchone() == before


def test_there_is_one_database_for_all_and_it_goes_with_the_target(tmp_path: Path) -> None:
    (tmp_path / "schema.sql").write_text(SCHEMA)
    (tmp_path / "tenantfuzz.toml").write_text(CONFIG)
    with prepare(find_target(tmp_path)) as ready:
        adapters: Adapters = adapters_of(ready)
        assert adapters_of(ready) is adapters
        count = "SELECT count(*) FROM pg_database WHERE datname LIKE '%adapters%'"
        assert adapters.stage.wire.query(count) == [("1",)]
    with pytest.raises(ToolError):
        adapters.stage.wire.execute("SELECT 1")


def test_contents_leave_other_sessions_alone(stage: CommittedStage, other: Other) -> None:
    """What is saved is in temporary tables, which nobody else can read."""
    seen = "SELECT count(*) FROM information_schema.tables WHERE table_name LIKE 'tenantfuzz%%'"
    assert other.execute(seen.replace("%%", "%").encode()).fetchall() == [(0,)]
    assert isinstance(stage.contents, Contents) and stage.contents.depth == 2
