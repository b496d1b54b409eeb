"""``tenantfuzz doctor`` in a process of its own: what it says, and its exit statuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

SCHEMA = """
DO $$ BEGIN CREATE ROLE doc_app LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
CREATE TABLE orgs (id text PRIMARY KEY, name text);
CREATE TABLE issues (id uuid PRIMARY KEY, org_id text NOT NULL REFERENCES orgs, title text);
ALTER TABLE orgs ENABLE ROW LEVEL SECURITY;
ALTER TABLE issues ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON orgs FOR SELECT USING (id = current_setting('app.org', true));
CREATE POLICY own ON issues USING (org_id = current_setting('app.org', true));
GRANT SELECT ON orgs TO doc_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON issues TO doc_app;
"""
FILE = """
[target]
schema = ["schema.sql"]
[tenancy]
tenants = "orgs"
column = "org_id"
[identity]
role = "doc_app"
settings = { "app.org" = "{tenant.id}" }
"""


def doctor(folder: Path, schema: str, file: str, *flags: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    (folder / "schema.sql").write_text(schema, encoding="utf-8")
    (folder / "tenantfuzz.toml").write_text(file, encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TENANTFUZZ_")}
    return subprocess.run(
        [sys.executable, "-m", "tenantfuzz", "doctor", folder.name, *flags],
        cwd=folder.parent,
        env=environment | {"COLUMNS": "80", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def checks(done: subprocess.CompletedProcess[str]) -> set[tuple[str, str]]:
    document = json.loads(done.stdout)
    return {(c["topic"], c["level"]) for c in document["checks"]}


def messages(done: subprocess.CompletedProcess[str], level: str) -> str:
    document = json.loads(done.stdout)
    return "\n".join(c["message"] for c in document["checks"] if c["level"] == level)


def test_all_is_well(tmp_path: Path) -> None:
    done = doctor(tmp_path / "shop", SCHEMA, FILE)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("ok      server: PostgreSQL ")
    assert "ok      roles: doc_app is bound by policies; it reaches 2 relations" in lines
    assert "ok      identity: policies read app.org, which is set" in lines
    assert any(line.startswith("time    server and schema ") for line in lines)
    assert lines[-1] == "shop: all is well"
    assert all(len(line) <= 80 for line in lines)


def test_policies_that_are_decoration(tmp_path: Path) -> None:
    schema = SCHEMA + "ALTER TABLE issues OWNER TO doc_app;"
    done = doctor(tmp_path / "shop", schema, FILE, "--format", "json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["status"] == "warning"
    assert "the policies are decoration here: role doc_app owns the table" in messages(
        done, "warning"
    )


def test_an_identity_that_never_takes_effect(tmp_path: Path) -> None:
    file = FILE.replace('"app.org"', '"app.organisation"')
    done = doctor(tmp_path / "shop", SCHEMA, file, "--format", "json")
    assert done.returncode == 2
    assert "the identity never takes effect: a member sees none" in messages(done, "error")
    told = messages(done, "warning")
    assert "the setting app.organisation is read by no policy" in told
    assert "policies read app.org, which [identity] never sets" in told


def test_shared_rows_with_a_way_to_a_tenant_and_rows_of_nobody(tmp_path: Path) -> None:
    schema = (
        SCHEMA
        + """
    CREATE TABLE votes (id int PRIMARY KEY, issue_id uuid REFERENCES issues);
    CREATE TABLE tags (id int PRIMARY KEY, word text);
    GRANT SELECT ON votes, tags TO doc_app;
    """
    )
    file = FILE + '[tenancy.tables]\nvotes = "shared"\n'
    done = doctor(tmp_path / "shop", schema, file, "--format", "json")
    assert done.returncode == 3
    told = messages(done, "warning")
    assert "public.votes is shared, so all may read it; but issue_id leads to public.issues" in told
    assert "untested, since nothing says whose its rows are: public.tags" in told


def test_rows_that_cannot_be_made(tmp_path: Path) -> None:
    schema = (
        SCHEMA
        + """
    CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'no rows today'; END $$;
    CREATE TRIGGER never BEFORE INSERT ON issues FOR EACH ROW EXECUTE FUNCTION never();
    """
    )
    done = doctor(tmp_path / "shop", schema, FILE, "--format", "json")
    assert done.returncode == 3
    assert "no rows can be made for public.issues" in messages(done, "warning")
    assert "no rows today" in messages(done, "warning")


def test_a_target_that_cannot_be_loaded(tmp_path: Path) -> None:
    done = doctor(tmp_path / "shop", "CREATE TABLE oops (", FILE, "--format", "json")
    assert done.returncode == 2
    assert checks(done) == {("target", "error")}
    assert "schema.sql:1" in messages(done, "error")


def test_a_role_without_privileges(tmp_path: Path) -> None:
    schema = SCHEMA.replace("GRANT", "-- GRANT")
    done = doctor(tmp_path / "shop", schema, FILE, "--format", "json")
    assert done.returncode == 2
    assert "doc_app may do nothing on any relation with owners" in messages(done, "error")
