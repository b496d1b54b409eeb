"""``tenantfuzz init``, and runs without a file, in processes of their own."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import psycopg

from tenantfuzz.engines import scratch_name, start_embedded
from tenantfuzz.target import find_target

SCHEMA = """
DO $$ BEGIN CREATE ROLE init_app LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
CREATE TABLE orgs (id text PRIMARY KEY, name text);
CREATE TABLE issues (id uuid PRIMARY KEY, org_id text NOT NULL REFERENCES orgs, title text);
CREATE TABLE votes (id uuid PRIMARY KEY, issue_id uuid NOT NULL REFERENCES issues);
ALTER TABLE orgs ENABLE ROW LEVEL SECURITY;
ALTER TABLE issues ENABLE ROW LEVEL SECURITY;
ALTER TABLE votes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON orgs FOR SELECT USING (id = current_setting('app.org', true));
CREATE POLICY own ON issues USING (org_id = current_setting('app.org', true));
CREATE POLICY own ON votes USING (
  issue_id IN (SELECT id FROM issues WHERE org_id = current_setting('app.org', true)));
GRANT SELECT ON orgs TO init_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON issues, votes TO init_app;
"""
HOLE = "CREATE POLICY support ON issues FOR SELECT USING (title IS NOT NULL);\n"
OPEN_QUESTION = SCHEMA.replace("TO init_app", "TO init_app, init_two").replace(
    "DO $$",
    "DO $$ BEGIN CREATE ROLE init_two LOGIN; EXCEPTION WHEN duplicate_object "
    "THEN NULL; END $$;\nDO $$",
    1,
)


def tenantfuzz(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TENANTFUZZ_")}
    environment |= {"COLUMNS": "80", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-m", "tenantfuzz", *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def project(folder: Path, schema: str = SCHEMA) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "schema.sql").write_text(schema, encoding="utf-8")
    return folder


SWEEP = ("--phase", "sweep", "--seed", "1")


def test_a_file_is_written_and_works(tmp_path: Path) -> None:
    shop = project(tmp_path / "shop")
    done = tenantfuzz("init", "shop", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "wrote shop/tenantfuzz.toml: 5 sure, 0 likely, 0 to answer\nnext: tenantfuzz run shop\n"
    )
    data = tomllib.loads((shop / "tenantfuzz.toml").read_text(encoding="utf-8"))
    assert data == {
        "target": {"schema": ["schema.sql"]},
        "tenancy": {
            "tenants": "orgs",
            "column": "org_id",
            "tables": {"votes": {"via": "issue_id"}},
        },
        "identity": {"role": "init_app", "settings": {"app.org": "{tenant.id}"}},
    }
    run = tenantfuzz("run", "shop", *SWEEP, cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    shop = project(tmp_path / "shop")
    written = '[target]\nname = "corner shop"\nschema = ["schema.sql"]\n[run]\nseed = 7\n'
    (shop / "tenantfuzz.toml").write_text(written, encoding="utf-8")
    refused = tenantfuzz("init", "shop", cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[0] == "error: shop/tenantfuzz.toml is there already"
    assert (shop / "tenantfuzz.toml").read_text(encoding="utf-8") == written
    forced = tenantfuzz("init", "shop", "--force", cwd=tmp_path)
    assert forced.returncode == 0, forced.stderr
    configuration = find_target(shop).configuration
    assert configuration.target.name == "corner shop"
    assert configuration.run.seed == 7
    assert configuration.tenancy.tenants == "orgs"


def test_a_run_without_a_file_says_what_it_assumes(tmp_path: Path) -> None:
    project(tmp_path / "shop", SCHEMA + HOLE)
    done = tenantfuzz("run", "shop", *SWEEP, "--corpus", ".", cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "TF101" in done.stdout
    assert 'assumed [tenancy]: tenants = "orgs"; column = "org_id"' in done.stdout
    assert 'assumed [identity]: role = "init_app"; app.org = "{tenant.id}"' in done.stdout
    assert [p.name for p in (tmp_path / "shop").iterdir()] == ["schema.sql"]


def test_a_run_without_a_file_asks_where_it_is_not_sure(tmp_path: Path) -> None:
    project(tmp_path / "shop", OPEN_QUESTION)
    done = tenantfuzz("run", "shop", *SWEEP, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0] == "error: the schema alone does not say:"
    assert lines[1].strip() == (
        'as which role does the application act? (perhaps "init_app" or "init_two")'
    )
    assert lines[2].startswith("hint: tenantfuzz init")
    written = tenantfuzz("init", "shop", cwd=tmp_path)
    assert written.returncode == 3, written.stderr
    file = tmp_path / "shop" / "tenantfuzz.toml"
    text = file.read_text(encoding="utf-8")
    assert '# role = "init_app"\n# role = "init_two"\n' in text
    answered = text.replace('# role = "init_two"\n', 'role = "init_two"\n')
    file.write_text(answered, encoding="utf-8")
    run = tenantfuzz("run", "shop", *SWEEP, cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr


def test_several_schemas_are_asked_about(tmp_path: Path) -> None:
    shop = project(tmp_path / "shop")
    (shop / "migrations").mkdir()
    (shop / "migrations" / "1_first.sql").write_text(SCHEMA, encoding="utf-8")
    done = tenantfuzz("init", "shop", cwd=tmp_path)
    assert done.returncode == 2
    assert "several places" in done.stderr
    assert "migrations, schema.sql" in done.stderr
    chosen = tenantfuzz("init", "shop", "--schema", "migrations", cwd=tmp_path)
    assert chosen.returncode == 0, chosen.stderr
    assert find_target(shop).configuration.target.sources == ("migrations",)


def test_no_schema_at_all(tmp_path: Path) -> None:
    done = tenantfuzz("init", ".", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: no schema found in .")


def test_a_live_database_needs_no_file_either(tmp_path: Path) -> None:
    with start_embedded() as server:
        name = scratch_name("live")
        server.create_database(name)
        with psycopg.connect(server.conninfo(name), autocommit=True) as connection:
            connection.execute(SCHEMA.encode())
        dsn = server.conninfo(name)
        run = tenantfuzz("run", ".", "--dsn", dsn, *SWEEP, cwd=tmp_path)
        assert run.returncode == 0, run.stdout + run.stderr
        assert "assumed [tenancy]" in run.stdout
        doctor = tenantfuzz("doctor", ".", "--dsn", dsn, cwd=tmp_path)
        assert doctor.returncode == 0, doctor.stdout + doctor.stderr
        written = tenantfuzz("init", ".", "--dsn", dsn, cwd=tmp_path)
        assert written.returncode == 0, written.stdout + written.stderr
        text = (tmp_path / "tenantfuzz.toml").read_text(encoding="utf-8")
        assert tomllib.loads(text)["tenancy"]["tenants"] == "orgs"


def test_passwords_stay_out_of_the_file(tmp_path: Path) -> None:
    with start_embedded() as server:
        name = scratch_name("live")
        server.create_database(name)
        with psycopg.connect(server.conninfo(name), autocommit=True) as connection:
            connection.execute(SCHEMA.encode())
        done = tenantfuzz(
            "init", ".", "--dsn", f"{server.conninfo(name)} password=hush", cwd=tmp_path
        )
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "tenantfuzz.toml").read_text(encoding="utf-8")
    assert "hush" not in text + done.stdout
    assert tomllib.loads(text)["target"]["dsn"] == "env:DATABASE_URL"


def test_a_table_in_pyproject_counts_as_a_file(tmp_path: Path) -> None:
    project(tmp_path)
    text = '[tool.tenantfuzz.target]\nschema = "schema.sql"\n'
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    done = tenantfuzz("init", ".", cwd=tmp_path)
    assert done.returncode == 2
    assert "has [tool.tenantfuzz] already" in done.stderr


SHOWN_TO_OTHERS = SCHEMA.replace("title text)", "title text, is_public boolean)") + (
    "CREATE POLICY public ON issues FOR SELECT USING (is_public);\n"
)


def test_what_is_asked_of_a_relation_keeps_it_from_being_judged(tmp_path: Path) -> None:
    folder = project(tmp_path / "p", SHOWN_TO_OTHERS)
    done = tenantfuzz("init", ".", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    text = (folder / "tenantfuzz.toml").read_text(encoding="utf-8")
    assert '\nissues = "unclassified"\n' in text
    run = tenantfuzz("run", ".", *SWEEP, "--format", "json", cwd=folder)
    assert run.returncode == 3, run.stderr
    document = json.loads(run.stdout)
    assert document["findings"] == []
    untested = {(c["relation"], c["reason"]) for c in document["coverage"]["untested"]}
    assert untested == {
        ("public.issues", "unclassified: the configuration leaves it open"),
        (
            "public.votes",
            "unclassified: it leads to public.issues, and the configuration leaves it open",
        ),
    }
    # It is not meant: the line goes.
    answered = text.replace('issues = "unclassified"\n', "")
    (folder / "tenantfuzz.toml").write_text(answered, encoding="utf-8")
    run = tenantfuzz("run", ".", *SWEEP, "--no-shrink", "--format", "json", cwd=folder)
    found = {(f["code"], f["relation"]) for f in json.loads(run.stdout)["findings"]}
    assert (run.returncode, ("TF101", "public.issues") in found) == (1, True)
    # It is: the line goes, and what it asked under [access] comes in.
    head, _, rule = answered.partition("# [access")
    meant = head + "\n".join(line.removeprefix("# ") for line in f"[access{rule}".splitlines())
    (folder / "tenantfuzz.toml").write_text(meant, encoding="utf-8")
    run = tenantfuzz("run", ".", *SWEEP, "--format", "json", cwd=folder)
    assert (run.returncode, run.stderr) == (0, "")


def test_answers_are_kept_and_the_rest_is_asked_again(tmp_path: Path) -> None:
    more = SCHEMA + (
        "CREATE TABLE colours (id int PRIMARY KEY, name text);\n"
        "CREATE TABLE jobs (id int PRIMARY KEY, note text);\n"
        "GRANT ALL ON colours, jobs TO init_app;\n"
    )
    folder = project(tmp_path / "p", more)
    assert tenantfuzz("init", ".", cwd=folder).returncode == 0
    file = folder / "tenantfuzz.toml"
    text = file.read_text(encoding="utf-8")
    assert text.count("# ASK: nothing says whose its rows are") == 2
    file.write_text(text.replace('# colours = "shared"', 'colours = "shared"'), encoding="utf-8")
    assert tenantfuzz("init", "--force", ".", cwd=folder).returncode == 0
    text = file.read_text(encoding="utf-8")
    assert text.count("# ASK: nothing says whose its rows are") == 1
    tables = tomllib.loads(text)["tenancy"]["tables"]
    assert (tables["colours"], "jobs" in tables) == ("shared", False)


def test_while_nobody_knows_the_tenants_nothing_else_is_asked(tmp_path: Path) -> None:
    schema = """
DO $$ BEGIN CREATE ROLE init_app LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
CREATE TABLE accounts (id bigint PRIMARY KEY, name text);
CREATE TABLE companies (id bigint PRIMARY KEY, name text);
CREATE TABLE users (id bigint PRIMARY KEY, account_id bigint NOT NULL REFERENCES accounts);
CREATE TABLE projects (id bigint PRIMARY KEY, account_id bigint NOT NULL REFERENCES accounts);
CREATE TABLE places (id bigint PRIMARY KEY, company_id bigint NOT NULL REFERENCES companies);
CREATE TABLE desks (id bigint PRIMARY KEY, company_id bigint NOT NULL REFERENCES companies);
CREATE TABLE colours (id bigint PRIMARY KEY, name text);
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO init_app;
"""
    folder = project(tmp_path / "p", schema)
    done = tenantfuzz("init", ".", cwd=folder)
    assert done.returncode == 3
    assert "\nASK which table holds the tenants? " in done.stdout
    assert "tenantfuzz init --force . fills in what follows" in " ".join(done.stdout.split())
    file = folder / "tenantfuzz.toml"
    text = file.read_text(encoding="utf-8")
    assert text.count("ASK") == 2  # the heading, and the question
    file.write_text(text.replace('# tenants = "acc', 'tenants = "acc'), encoding="utf-8")
    done = tenantfuzz("init", "--force", ".", cwd=folder)
    assert done.returncode == 3
    assert "ASK how does the session learn who asks?" in done.stdout
    text = file.read_text(encoding="utf-8")
    assert '\n# "app.tenant" = "{tenant.id}"\n' in text
    assert '\n# colours = "shared"\n' in text
    run = tenantfuzz("run", ".", *SWEEP, "--no-shrink", cwd=folder)
    assert run.returncode == 1, run.stderr
    assert "warning: TF804 the database tells no tenants apart: " in run.stdout
