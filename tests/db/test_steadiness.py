"""What hidden rows decide, and what only the plan, the order of rows or chance decides."""

from collections.abc import Iterator

import pytest

from tenantfuzz.policies.principals import Freshness, Principal
from tenantfuzz.preparation import prepare
from tenantfuzz.rehearsal import rehearse
from tenantfuzz.stage import Stage
from tenantfuzz.steadiness import steadily_differs
from tenantfuzz.strategies.worlds import designed_worlds
from tenantfuzz.target import find_target

SCHEMA = """
DO $$BEGIN CREATE ROLE steady_app LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END$$;
CREATE TABLE orgs (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE notes (
  org_id int NOT NULL REFERENCES orgs, id int NOT NULL, title text NOT NULL, stars float8,
  PRIMARY KEY (org_id, id));
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY notes_own ON notes
  USING (org_id = nullif(current_setting('app.org', true), '')::int);
GRANT SELECT ON notes TO steady_app;
CREATE FUNCTION everybody() RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER
  RETURN (SELECT count(*) FROM notes);
CREATE FUNCTION strict_title(title text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE LEAKPROOF
COST 0.1 AS $$ BEGIN
  IF title = 'theirs' THEN RAISE EXCEPTION 'no such title'; END IF;
  RETURN true;
END $$;
"""
CONFIGURATION = """
[target]
schema = ["schema.sql"]
[tenancy]
tenants = "orgs"
column = "org_id"
[identity]
role = "steady_app"
settings = { "app.org" = "{tenant.id}" }
"""
OTHERS_GONE = "DELETE FROM notes WHERE org_id <> {tenant}"
BY_INDEX = "-- script\nSET LOCAL enable_seqscan = off;\n"
# Without an index the cheapest condition comes first.
BY_TABLE = "-- script\nSET LOCAL enable_indexscan = off;\nSET LOCAL enable_bitmapscan = off;\n"


@pytest.fixture(scope="module")
def acted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, Principal]]:
    folder = tmp_path_factory.mktemp("steadiness")
    (folder / "schema.sql").write_text(SCHEMA, encoding="utf-8")
    (folder / "tenantfuzz.toml").write_text(CONFIGURATION, encoding="utf-8")
    with prepare(find_target(folder)) as prepared:
        loader = prepared.loader()
        plan = rehearse(prepared, loader, seed=1)
        with prepared.stage(loader) as stage:
            stage.open(designed_worlds(plan, seed=1, count=1)[0])
            member = next(p for p in stage.principals() if p.freshness is Freshness.ANY)
            others = f"org_id <> {member.tenant}"
            stage.wire.execute(f"UPDATE notes SET title = 'theirs', stars = 1e16 WHERE {others}")
            stage.wire.execute(f"UPDATE notes SET title = id::text WHERE NOT {others}")
            yield stage, member
            stage.close()


def differs(acted: tuple[Stage, Principal], sql: str, *, removing: bool = True) -> bool:
    stage, member = acted
    gone = [OTHERS_GONE.format(tenant=member.tenant)]
    return steadily_differs(stage, member, sql, gone, removing=removing)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM notes",
        "SELECT random()",
        "SELECT * FROM notes ORDER BY random() LIMIT 1",
        "SELECT id FROM notes LIMIT 1",
        "SELECT array_agg(id) FROM notes",
        "SELECT ctid FROM notes",
        "SELECT sum(stars) FROM notes",
        "SELECT * FROM notes TABLESAMPLE BERNOULLI (50)",
        "SELECT * FROM notes TABLESAMPLE SYSTEM (50) REPEATABLE (3)",
        "SELECT title::int FROM notes",
        "SELECT 1 / (id - 1) FROM notes",
        "SELECT * FROM notes AS a JOIN notes AS b USING (org_id) WHERE 1 / (a.id - 1) > b.id",
        "SELECT everybody() + random()",
    ],
)
def test_no_difference_is_made_by_plans_order_and_chance(
    acted: tuple[Stage, Principal], sql: str
) -> None:
    assert differs(acted, sql) is False


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT everybody()",
        "SELECT id FROM notes WHERE id < everybody()",
        "SELECT 1 / (everybody() - (SELECT count(*) FROM notes)) FROM notes",
        f"{BY_TABLE}SELECT id FROM notes WHERE strict_title(title);\n",
    ],
)
def test_hidden_rows_make_a_difference(acted: tuple[Stage, Principal], sql: str) -> None:
    assert differs(acted, sql) is True


def test_an_error_under_one_plan_alone_counts_where_plans_cost_the_same(
    acted: tuple[Stage, Principal],
) -> None:
    sql = f"{BY_TABLE}SELECT id FROM notes WHERE strict_title(title);\n"
    assert differs(acted, sql, removing=False) is False
    assert differs(acted, f"{BY_INDEX}SELECT id FROM notes WHERE strict_title(title);\n") is False


def test_the_world_stands_as_it_did(acted: tuple[Stage, Principal]) -> None:
    stage, _ = acted
    count = "SELECT count(*) FROM notes"
    before = stage.wire.query(count)
    differs(acted, "SELECT everybody()")
    assert stage.wire.query(count) == before
    assert stage.wire.query("SHOW enable_seqscan") == [("on",)]
