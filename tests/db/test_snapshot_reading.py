"""Snapshots of a real schema: which relations are tested again after which change."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tenantfuzz.catalog import read_catalog
from tenantfuzz.changes import select
from tenantfuzz.events import Selection
from tenantfuzz.preparation import Prepared, connect, prepare
from tenantfuzz.snapshot import Part, Snapshot, load_snapshot, save_snapshot
from tenantfuzz.snapshot_reading import read_snapshot
from tenantfuzz.target import find_target

CONFIGURATION = """
[target]
name = "snapshot"
schema = ["schema.sql"]
[tenancy]
tenants = "orgs"
column = "org_id"
[tenancy.tables]
comments = { via = "issue_id" }
plans = "shared"
log = "private"
[identity]
role = "snapshot_app"
settings = { "app.org" = "{tenant.id}" }
"""
SCHEMA = """
CREATE ROLE snapshot_app;
CREATE TYPE state AS ENUM ('open', 'closed');
CREATE DOMAIN short AS text CHECK (length(VALUE) < 100);
CREATE TABLE orgs (id text PRIMARY KEY);
CREATE TABLE members (org_id text REFERENCES orgs ON DELETE CASCADE, user_id text);
CREATE TABLE issues (id int PRIMARY KEY, org_id text REFERENCES orgs, state state, title short);
CREATE TABLE comments (id int PRIMARY KEY, issue_id int REFERENCES issues ON DELETE CASCADE);
CREATE TABLE plans (id int PRIMARY KEY, name text);
CREATE TABLE odd (id int PRIMARY KEY, org_id text, "weird name" text);
CREATE TABLE log (at int, line text);
CREATE TABLE events (id int, org_id text) PARTITION BY RANGE (id);
CREATE TABLE events_low PARTITION OF events FOR VALUES FROM (0) TO (10);
CREATE VIEW open_issues AS SELECT * FROM issues WHERE state = 'open';
CREATE FUNCTION org() RETURNS text LANGUAGE sql STABLE AS
  $$ SELECT nullif(current_setting('app.org', true), '') $$;
CREATE FUNCTION is_member(o text) RETURNS boolean LANGUAGE plpgsql STABLE SECURITY DEFINER AS
  $$ BEGIN RETURN EXISTS (SELECT FROM members m WHERE m.org_id = o AND o = org()); END $$;
CREATE FUNCTION write_log() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
  $$ BEGIN INSERT INTO log VALUES (1, TG_OP); RETURN NULL; END $$;
CREATE FUNCTION dynamic() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN EXECUTE format('SELECT 1 FROM %I', TG_ARGV[0]); RETURN NULL; END $$;
CREATE FUNCTION unused() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;
ALTER TABLE issues ENABLE ROW LEVEL SECURITY;
ALTER TABLE comments ENABLE ROW LEVEL SECURITY;
ALTER TABLE members ENABLE ROW LEVEL SECURITY;
ALTER TABLE plans ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON issues USING (is_member(org_id));
CREATE POLICY by_issue ON comments USING (EXISTS (SELECT FROM issues i WHERE i.id = issue_id));
CREATE POLICY own ON members USING (org_id = org());
CREATE POLICY all_read ON plans FOR SELECT USING (true);
CREATE TRIGGER log AFTER INSERT ON issues FOR EACH ROW EXECUTE FUNCTION write_log();
CREATE TRIGGER dyn AFTER INSERT ON odd FOR EACH ROW EXECUTE FUNCTION dynamic('plans');
GRANT ALL ON ALL TABLES IN SCHEMA public TO snapshot_app;
"""
ALL = {
    "comments", "events", "events_low", "issues", "log", "members", "odd", "open_issues", "orgs",
    "plans",
}  # fmt: skip

Tested = Callable[[str], Selection]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    folder = tmp_path_factory.mktemp("snapshot")
    (folder / "schema.sql").write_text(SCHEMA, encoding="utf-8")
    (folder / "tenantfuzz.toml").write_text(CONFIGURATION, encoding="utf-8")
    with prepare(find_target(folder)) as prepared:
        yield prepared


@pytest.fixture(scope="module")
def before(prepared: Prepared) -> Snapshot:
    snapshot = read_snapshot(prepared)
    return replace(snapshot, covered=frozenset(snapshot.depends))


@pytest.fixture
def after(prepared: Prepared, before: Snapshot, tmp_path: Path) -> Tested:
    """What is tested again after some SQL, which is run on a copy of the schema."""
    file = tmp_path / "before.json"
    save_snapshot(before, file)

    def changed(sql: str) -> Selection:
        name = f"{prepared.database}_c"
        prepared.server.create_database(name, template=prepared.pristine)
        try:
            with connect(prepared.server, name) as connection:
                connection.execute(sql.encode())
                catalog = read_catalog(connection)
            new = read_snapshot(replace(prepared, database=name, catalog=catalog))
        finally:
            prepared.server.drop_database(name)
        return select(file, new, seed=1)

    return changed


def names(selection: Selection) -> set[str]:
    return {relation.removeprefix("public.") for relation, _ in selection.tested}


def test_the_same_schema_is_the_same(prepared: Prepared, before: Snapshot, after: Tested) -> None:
    again = read_snapshot(prepared)
    assert again.objects == before.objects
    assert again.depends == before.depends
    assert {n.removeprefix("public.") for n in before.depends} == ALL
    selection = after("SELECT 1")
    assert (selection.changed, selection.sample is not None) == (False, True)


# What statements are put together from is not known: odd is tested with every change.
@pytest.mark.parametrize(
    ("sql", "tested"),
    [
        ("ALTER POLICY all_read ON plans USING (id > 0)", {"plans", "odd"}),
        ("DROP POLICY all_read ON plans", {"plans", "odd"}),
        ("CREATE POLICY more ON plans FOR INSERT WITH CHECK (true)", {"plans", "odd"}),
        ("ALTER TABLE plans DISABLE ROW LEVEL SECURITY", {"plans", "odd"}),
        ("ALTER TABLE plans FORCE ROW LEVEL SECURITY", {"plans", "odd"}),
        ("REVOKE INSERT ON plans FROM snapshot_app", {"plans", "odd"}),
        ("GRANT SELECT (name) ON plans TO PUBLIC", {"plans", "odd"}),
        ("ALTER TABLE plans ADD COLUMN more int", {"plans", "odd"}),
        ("ALTER TABLE plans ALTER COLUMN name SET DEFAULT 'x'", {"plans", "odd"}),
        ("CREATE UNIQUE INDEX ON plans (name)", {"plans", "odd"}),
        ("ALTER TABLE plans ADD CHECK (id > 0)", {"plans", "odd"}),
        ("CREATE INDEX ON plans (name)", set()),
        ("COMMENT ON TABLE plans IS 'x'", set()),
        # Rows that the schema itself makes.
        ("INSERT INTO plans VALUES (1, 'free')", {"plans", "odd"}),
        ("INSERT INTO members VALUES (NULL, 'u')",
         {"members", "issues", "comments", "open_issues", "orgs", "odd"}),
        # A policy's function, by what it reads; and what is read by policies of that.
        (
            "ALTER POLICY own ON members USING (true)",
            {"members", "issues", "comments", "open_issues", "odd"},
        ),
        (
            "ALTER POLICY own ON issues USING (is_member(org_id) OR id = 3)",
            {"members", "issues", "comments", "open_issues", "odd"},
        ),
        ("ALTER POLICY own ON issues USING (true)", {"issues", "comments", "open_issues", "odd"}),
        (
            "CREATE POLICY more ON comments USING (id = 3)",
            {"comments", "issues", "members", "odd"},
        ),
        (
            "ALTER FUNCTION is_member(text) SECURITY INVOKER",
            {"members", "issues", "comments", "open_issues", "odd"},
        ),
        (
            "CREATE OR REPLACE FUNCTION org() RETURNS text LANGUAGE sql STABLE AS 'SELECT NULL'",
            {"members", "issues", "comments", "open_issues", "odd"},
        ),
        ("ALTER FUNCTION org() SET work_mem = '1MB'",
         {"members", "issues", "comments", "open_issues", "odd"}),
        ("CREATE OR REPLACE FUNCTION unused() RETURNS int LANGUAGE sql AS 'SELECT 2'", {"odd"}),
        # Triggers: of the table, and of what deletes cascade to.
        ("ALTER TABLE issues DISABLE TRIGGER log", {"issues", "members", "odd"}),
        ("CREATE TRIGGER t BEFORE DELETE ON members FOR EACH ROW EXECUTE FUNCTION write_log()",
         {"members", "orgs", "odd"}),
        ("ALTER TABLE log ADD COLUMN more int", {"log", "issues", "odd", "members"}),
        # The trigger writes the log as a superuser: grants do not bind it.
        ("REVOKE ALL ON log FROM snapshot_app", {"log", "odd"}),
        ("CREATE TRIGGER t BEFORE UPDATE ON comments FOR EACH ROW EXECUTE FUNCTION dynamic('x')",
         {"comments", "issues", "members", "odd"}),
        # Types; a delete of an org meets the rows of issues that refer to it.
        ("ALTER TYPE state ADD VALUE 'done'",
         {"issues", "open_issues", "odd", "members", "comments", "orgs"}),
        ("ALTER DOMAIN short DROP CONSTRAINT short_check",
         {"issues", "open_issues", "odd", "members", "comments", "orgs"}),
        # A partition and its parent are one.
        ("ALTER TABLE events_low ADD CHECK (id <> 3)", {"events", "events_low", "odd"}),
        ("ALTER TABLE events ADD COLUMN more int", {"events", "events_low", "odd"}),
        # What is new, and what is new to what it refers to.
        ("CREATE TABLE fresh (id int, plan int REFERENCES plans)", {"fresh", "plans", "odd"}),
        ("DROP TABLE plans", {"odd"}),
        ("DROP VIEW open_issues", {"odd"}),
        # A name that a function's text may mean now.
        (
            "CREATE SCHEMA other; CREATE TABLE other.members (org_id text)",
            {"other.members", "issues", "comments", "open_issues", "odd", "members"},
        ),
    ],
)  # fmt: skip
def test_what_a_change_concerns(after: Tested, sql: str, tested: set[str]) -> None:
    selection = after(sql)
    assert selection.everything is None
    found = names(selection) - ({"odd"} if selection.sample == "public.odd" else set())
    found -= {(selection.sample or "").removeprefix("public.")}
    assert found == tested


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("CREATE CAST (state AS int) WITH INOUT", "changed: casts"),
        ("CREATE OPERATOR === (leftarg = int, rightarg = int, function = int4eq)",
         "changed: operators"),
        ("ALTER ROLE snapshot_app SET app.org = 'x'", "changed: roles"),
        (
            "DO $$ BEGIN EXECUTE format('REVOKE TEMP ON DATABASE %I FROM PUBLIC', "
            "current_database()); END $$",
            "changed: database privileges",
        ),
        ("CREATE FUNCTION e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
         "CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION e()",
         "changed: event triggers"),
    ],
)  # fmt: skip
def test_what_concerns_everything(prepared: Prepared, after: Tested, sql: str, reason: str) -> None:
    try:
        assert after(sql).everything == reason
    finally:
        with connect(prepared.server, prepared.database) as connection:
            connection.execute("ALTER ROLE snapshot_app RESET ALL")


def test_rows_that_hold_the_time_are_the_same_tomorrow(
    prepared: Prepared, before: Snapshot
) -> None:
    """A schema that fills in the time is loaded at another time by each run."""

    def objects(sql: str) -> Mapping[str, str]:
        name = f"{prepared.database}_t"
        prepared.server.create_database(name, template=prepared.pristine)
        try:
            with connect(prepared.server, name) as connection:
                connection.execute(
                    "CREATE TABLE timed (id int, at timestamptz DEFAULT now(), "
                    "u uuid DEFAULT gen_random_uuid(), s varchar(9) DEFAULT 'a', "
                    "n int GENERATED ALWAYS AS IDENTITY)"
                )
                connection.execute(sql.encode())
                catalog = read_catalog(connection)
            new = read_snapshot(replace(prepared, database=name, catalog=catalog))
        finally:
            prepared.server.drop_database(name)
        return new.objects["relation public.timed"][Part.DEFINITION]

    once = objects("INSERT INTO timed VALUES (1), (2)")
    assert objects("INSERT INTO timed VALUES (2), (1)") != once  # n
    assert objects("INSERT INTO timed VALUES (1), (2)") == once
    assert objects("INSERT INTO timed (id, s) VALUES (1, 'a'), (2, 'b')") != once


def test_the_file_holds_names_and_hashes_but_no_text(before: Snapshot, tmp_path: Path) -> None:
    file = tmp_path / "s.json"
    save_snapshot(before, file)
    assert load_snapshot(file) == before
    text = file.read_text(encoding="utf-8")
    assert '"policy by_issue"' in text
    assert "current_setting" not in text and "EXISTS" not in text
