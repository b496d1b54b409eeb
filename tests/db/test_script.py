"""The script of ``tenantfuzz show --sql``, run by the real psql on a fresh database."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from tenantfuzz.counterexample import Counterexample, Step, Witness
from tenantfuzz.engines import Server, scratch_name, start_embedded
from tenantfuzz.findings import Finding, PrincipalSummary, Severity
from tenantfuzz.policies.principals import Freshness, Principal
from tenantfuzz.policies.structure import RelationName
from tenantfuzz.policies.world import Fixup, Row, World
from tenantfuzz.script import psql_script
from tenantfuzz.target import Target, find_target

SCHEMA = """
CREATE ROLE script_app LOGIN;
ALTER DATABASE elsewhere SET work_mem = '8MB';
\\connect elsewhere
CREATE TABLE organizations (id text PRIMARY KEY, lead int);
\\ir more/issues.sql
COPY organizations (id) FROM stdin;
seeded
\\.
SET search_path = nowhere
"""
ISSUES_SQL = """
CREATE TABLE issues (
  id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  organization_id text NOT NULL REFERENCES organizations,
  title text UNIQUE
);
ALTER TABLE organizations ADD FOREIGN KEY (lead) REFERENCES issues;
ALTER TABLE issues ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON issues USING (organization_id = current_setting('app.org', true));
GRANT SELECT, INSERT, UPDATE ON issues TO script_app
"""
LEAK = "CREATE POLICY support ON issues FOR SELECT USING (true);\n"
ORGS = RelationName("public", "organizations")
ISSUES = RelationName("public", "issues")
FINDING = Finding(
    code="TF101",
    severity=Severity.CRITICAL,
    title="A member reads rows of another tenant",
    relation="public.issues",
    operation="select",
    principal=PrincipalSummary("member", "script_app", "a"),
    owner_tenants=("b",),
    explanation="The policy support lets all through.\n\\! echo never run; DROP TABLE x",
    culprits=("policy support",),
    statements=(),
    expected="no row of 'b'",
    observed="1 row of b \\ 'title'",
)
WORLD = World(
    rows=(
        Row(ORGS, {"id": "a"}, "a"),
        Row(ORGS, {"id": "b"}, "b"),
        Row(ISSUES, {"id": "7", "organization_id": "b", "title": "it's \\ :odd"}, "b"),
    ),
    fixups=(Fixup(ORGS, {"id": "b"}, {"lead": "7"}),),
    tenants=("a", "b"),
)
MEMBER = Principal("member", tenant="a", role="script_app", settings=(("app.org", "a"),))
READ = Step(ISSUES, "select", "SELECT title, session_user AS who FROM issues -- all", "scan")
COUNTEREXAMPLE = Counterexample(FINDING, Witness(WORLD, MEMBER, (READ,)), "demo", "00ff", "18.6")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with start_embedded() as started:
        yield started


@pytest.fixture
def run_script(server: Server) -> Iterator[Callable[[str], subprocess.CompletedProcess[str]]]:
    made: list[str] = []

    def run(script: str) -> subprocess.CompletedProcess[str]:
        psql = shutil.which("psql")
        assert psql is not None, "these tests need psql on the PATH (postgresql-client)"
        made.append(scratch_name("script"))
        server.create_database(made[-1])
        return subprocess.run(
            [psql, "-X", "-w", "-d", server.conninfo(made[-1]), "-f", "-"],
            input=script,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    yield run
    for name in made:
        server.drop_database(name)


Run = Callable[[str], subprocess.CompletedProcess[str]]


def make_target(folder: Path, *, leak: str = LEAK, head: str = "", schema: str = SCHEMA) -> Target:
    (folder / "more").mkdir()
    (folder / "more" / "issues.sql").write_text(ISSUES_SQL + ";" + leak)
    (folder / "schema.sql").write_text(schema)
    (folder / "tenantfuzz.toml").write_text(f'[target]\nschema = ["schema.sql"]\n{head}')
    return find_target(folder)


def test_the_script_shows_the_leak(tmp_path: Path, run_script: Run) -> None:
    done = run_script(psql_script(COUNTEREXAMPLE, make_target(tmp_path)))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    shown = done.stdout.partition("step 1 of 1")[2]
    assert "it's \\ :odd | script_app" in shown
    assert "expected: no row of 'b'\n" in shown
    assert "observed: 1 row of b \\ 'title'\n" in shown
    assert "(1 row)" in shown
    assert "never run" not in done.stdout


def test_the_script_shows_nothing_once_mended(tmp_path: Path, run_script: Run) -> None:
    done = run_script(psql_script(COUNTEREXAMPLE, make_target(tmp_path, leak="")))
    assert done.returncode == 0, done.stderr
    shown = done.stdout.partition("step 1 of 1")[2]
    assert "(0 rows)" in shown
    assert ":odd" not in shown


def test_the_world_is_rolled_back_and_the_script_runs_on_a_used_server(
    tmp_path: Path, server: Server, run_script: Run
) -> None:
    script = psql_script(COUNTEREXAMPLE, make_target(tmp_path))
    assert run_script(script).returncode == 0
    assert run_script(script + "SELECT 'left: ' || count(*) FROM issues;").stdout.count("left: 0")
    with psycopg.connect(server.conninfo("postgres")) as conn:
        row = conn.execute("SELECT count(*) FROM pg_roles WHERE rolname = 'script_app'").fetchone()
    assert row == (1,)


def test_a_refused_step_is_an_exit_status(tmp_path: Path, run_script: Run) -> None:
    step = Step(ISSUES, "delete", "DELETE FROM issues", "delete without where")
    witness = replace(COUNTEREXAMPLE.witness, steps=(step,))
    script = psql_script(replace(COUNTEREXAMPLE, witness=witness), make_target(tmp_path))
    done = run_script(script)
    assert done.returncode == 3
    assert "permission denied for table issues" in done.stderr


def test_an_error_that_tells_is_no_failure(tmp_path: Path, run_script: Run) -> None:
    step = Step(
        ISSUES,
        "insert",
        "INSERT INTO issues (organization_id, title) VALUES ('a', E'it''s \\\\ :odd')",
    )
    told = replace(FINDING, code="TF301", severity=Severity.LOW, operation="insert")
    changed = replace(
        COUNTEREXAMPLE, finding=told, witness=replace(COUNTEREXAMPLE.witness, steps=(step,))
    )
    done = run_script(psql_script(changed, make_target(tmp_path)))
    assert done.returncode == 0, done.stderr
    assert "duplicate key value violates unique constraint" in done.stderr


def value_of_setting(freshness: Freshness, folder: Path, run: Run) -> str:
    step = Step(ISSUES, "select", "SELECT coalesce(current_setting('app.org', true), 'NULL') AS v")
    principal = replace(
        MEMBER, kind="residual", settings=(), freshness=freshness, earlier=(("app.org", "b"),)
    )
    changed = replace(COUNTEREXAMPLE, witness=Witness(WORLD, principal, (step,)))
    done = run(psql_script(changed, make_target(folder)))
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("step 1 of 1")[2].splitlines()[5].strip()


def test_a_setting_that_was_never_used_is_null(tmp_path: Path, run_script: Run) -> None:
    assert value_of_setting(Freshness.NEVER_SET, tmp_path, run_script) == "NULL"


@pytest.mark.parametrize("freshness", [Freshness.COMMITTED, Freshness.ROLLED_BACK])
def test_a_setting_that_was_used_before_is_empty(
    tmp_path: Path, run_script: Run, freshness: Freshness
) -> None:
    assert value_of_setting(freshness, tmp_path, run_script) == ""


def test_settings_of_the_login_are_in_force(tmp_path: Path, run_script: Run) -> None:
    schema = SCHEMA.replace("\\ir", "ALTER ROLE script_app SET app.region = 'north=1';\n\\ir")
    step = Step(ISSUES, "select", "SELECT current_setting('app.region') AS region")
    changed = replace(COUNTEREXAMPLE, witness=replace(COUNTEREXAMPLE.witness, steps=(step,)))
    done = run_script(psql_script(changed, make_target(tmp_path, schema=schema)))
    assert done.returncode == 0, done.stderr
    assert "north=1" in done.stdout.partition("step 1 of 1")[2]


def test_a_row_that_a_trigger_makes_first(tmp_path: Path, run_script: Run) -> None:
    schema = """
CREATE ROLE script_app LOGIN;
CREATE TABLE people (id text PRIMARY KEY);
CREATE TABLE profiles (id text PRIMARY KEY REFERENCES people, label text DEFAULT 'by trigger');
CREATE FUNCTION make_profile() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN INSERT INTO public.profiles (id) VALUES (new.id); RETURN new; END $$;
CREATE TRIGGER handle_new_user AFTER INSERT ON people FOR EACH ROW EXECUTE FUNCTION make_profile();
GRANT SELECT ON profiles TO script_app;
"""
    profiles = RelationName("public", "profiles")
    world = World(
        rows=(
            Row(RelationName("public", "people"), {"id": "p"}),
            Row(profiles, {"id": "p", "label": "of the world"}),
        )
    )
    step = Step(profiles, "select", "SELECT label FROM profiles")
    changed = replace(COUNTEREXAMPLE, witness=Witness(world, MEMBER, (step,)))
    done = run_script(psql_script(changed, make_target(tmp_path, schema=schema)))
    assert done.returncode == 0, done.stderr
    assert "of the world" in done.stdout.partition("step 1 of 1")[2]


def test_a_preset_comes_before_the_schema(tmp_path: Path, run_script: Run) -> None:
    schema = """
CREATE TABLE notes (id int PRIMARY KEY, owner uuid NOT NULL REFERENCES auth.users (id));
GRANT SELECT ON notes TO authenticated;
"""
    user = "6c0e15e3-2b6d-48ba-9307-6f02040d333d"
    notes = RelationName("public", "notes")
    world = World(
        rows=(
            Row(RelationName("auth", "users"), {"id": user, "email": "a@example.org"}),
            Row(notes, {"id": "1", "owner": user}),
        )
    )
    principal = Principal(
        "member",
        login="authenticator",
        role="authenticated",
        settings=(("request.jwt.claims", f'{{"sub": "{user}"}}'),),
    )
    step = Step(notes, "select", "SELECT auth.uid() = owner AS own, current_user FROM notes")
    changed = replace(COUNTEREXAMPLE, witness=Witness(world, principal, (step,)))
    target = make_target(tmp_path, schema=schema, head='preset = "supabase"\n')
    done = run_script(psql_script(changed, target))
    assert done.returncode == 0, done.stderr
    assert "t   | authenticated" in done.stdout.partition("step 1 of 1")[2]


def test_passwords_in_texts_are_left_out(tmp_path: Path) -> None:
    finding = replace(FINDING, observed="postgres://u:hunter2@h/d", explanation="password=hunter2")
    script = psql_script(replace(COUNTEREXAMPLE, finding=finding), make_target(tmp_path))
    assert "hunter2" not in script
