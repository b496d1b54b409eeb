"""The real entry point in a process of its own, at 80 columns: output, files, exit statuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tenantfuzz.engines import scratch_name, start_embedded

SCHEMA = """
DO $$ BEGIN CREATE ROLE cli_app NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
CREATE TABLE orgs (id text PRIMARY KEY, name text);
CREATE TABLE issues (id uuid PRIMARY KEY, org_id text NOT NULL REFERENCES orgs, title text);
ALTER TABLE issues ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON issues USING (org_id = current_setting('app.tenant', true));
GRANT SELECT, INSERT, UPDATE, DELETE ON issues TO cli_app;
"""
HOLE = "CREATE POLICY support ON issues FOR SELECT USING (true);\n"
CONFIGURATION = """
[target]
schema = ["schema.sql"]
[tenancy]
tenants = "orgs"
column = "org_id"
[identity]
role = "cli_app"
settings = { "app.tenant" = "{tenant.id}" }
"""


def target(folder: Path, *, schema: str = SCHEMA, configuration: str = CONFIGURATION) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "schema.sql").write_text(schema, encoding="utf-8")
    (folder / "tenantfuzz.toml").write_text(configuration, encoding="utf-8")
    return folder


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


SWEEP = ("--phase", "sweep", "--seed", "1")


def test_a_clean_target(tmp_path: Path) -> None:
    target(tmp_path / "shop")
    done = tenantfuzz("run", "shop", *SWEEP, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "clean: no findings" in done.stdout
    assert "0 untested" in done.stdout
    assert done.stderr == ""
    assert all(len(line) <= 80 or "tenantfuzz " in line for line in done.stdout.splitlines())
    assert [p.name for p in tmp_path.iterdir()] == ["shop"]
    assert sorted(p.name for p in (tmp_path / "shop").iterdir()) == [
        "schema.sql",
        "tenantfuzz.toml",
    ]


def test_a_leak_is_found_saved_shown_replayed_and_mended(tmp_path: Path) -> None:
    shop = target(tmp_path / "shop", schema=SCHEMA + HOLE)
    done = tenantfuzz("run", "shop", *SWEEP, cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    files = list((shop / "corpus").iterdir())
    assert [f.name[:20] for f in files] == ["TF101-issues-select-"]
    name = files[0].stem
    saved = json.loads(files[0].read_text(encoding="utf-8"))
    assert saved["code"] == "TF101"
    rows = saved["world"]["rows"]
    assert {relation: len(found) for relation, found in rows.items()} == {
        "public.orgs": 2,
        "public.issues": 1,
    }
    assert "culprit    support" in done.stdout

    shown = tenantfuzz("show", name, "--path", "shop", cwd=tmp_path)
    assert shown.returncode == 0
    assert "culprit    support" in shown.stdout

    script = tenantfuzz("show", name, "--path", "shop", "--sql", cwd=tmp_path)
    assert script.returncode == 0
    leaked = rows["public.issues"][0]["id"]
    assert leaked in run_psql(script.stdout)

    again = tenantfuzz("replay", "shop", cwd=tmp_path)
    assert (again.returncode, again.stdout.split()[:2]) == (1, ["still", "leaks"])

    target(shop)
    mended = tenantfuzz("replay", "shop", name, cwd=tmp_path)
    assert (mended.returncode, mended.stdout.split()[0]) == (0, "fixed")

    target(shop, schema="CREATE ROLE cli_app; CREATE TABLE orgs (id text PRIMARY KEY);")
    lost = tenantfuzz("replay", "shop", cwd=tmp_path)
    assert lost.returncode == 3, lost.stdout + lost.stderr
    assert "cannot replay" in lost.stdout


def run_psql(script: str) -> str:
    """What plain psql prints for the script on a fresh database."""
    with start_embedded() as server:
        name = scratch_name("psql")
        server.create_database(name)
        done = subprocess.run(
            ["psql", "-X", server.conninfo(name), "-f", "-"],
            input=script,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return done.stdout.rpartition("step 1 of 1")[2]


def test_json_is_one_document(tmp_path: Path) -> None:
    target(tmp_path / "shop", schema=SCHEMA + HOLE)
    done = tenantfuzz(
        "run", "shop", *SWEEP, "--format", "json", "--report", "out.json", cwd=tmp_path
    )
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document == json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert list(document)[:12] == [
        "schema_version",
        "status",
        "tool",
        "target",
        "server",
        "seed",
        "seconds",
        "checks",
        "timings",
        "coverage",
        "findings",
        "warnings",
    ]
    assert (document["schema_version"], document["status"], document["seed"]) == (1, "leaks", 1)
    (finding,) = document["findings"]
    assert finding["relation"] == "public.issues"
    assert finding["culprits"] == ["support"]
    assert finding["minimal"] is True
    assert finding["id"] == f"TF101-issues-select-{finding['fingerprint']}"


def test_what_was_not_tested_is_no_success(tmp_path: Path) -> None:
    view = "CREATE VIEW titles AS SELECT title FROM issues; GRANT SELECT ON titles TO cli_app;"
    target(tmp_path / "shop", schema=SCHEMA + view)
    done = tenantfuzz("run", "shop", *SWEEP, cwd=tmp_path)
    assert done.returncode == 3
    assert "public.titles" in done.stdout
    accept = '[[accept]]\nrelation = "titles"\nreason = "tested elsewhere"\n'
    target(tmp_path / "shop", schema=SCHEMA + view, configuration=CONFIGURATION + accept)
    done = tenantfuzz("run", "shop", *SWEEP, cwd=tmp_path)
    assert done.returncode == 0
    assert "tested elsewhere" in done.stdout


def test_an_accepted_finding_is_listed_and_does_not_fail(tmp_path: Path) -> None:
    accept = '[[accept]]\ncode = "TF101"\nrelation = "issues"\nreason = "public board"\n'
    target(tmp_path / "shop", schema=SCHEMA + HOLE, configuration=CONFIGURATION + accept)
    done = tenantfuzz("run", "shop", *SWEEP, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "public board" in done.stdout


@pytest.mark.parametrize(
    ("configuration", "schema", "message"),
    [
        (CONFIGURATION.replace("[tenancy]", "[tenancy"), SCHEMA, "tenantfuzz.toml"),
        (CONFIGURATION.replace("column =", "colum ="), SCHEMA, "column"),
        (CONFIGURATION.replace('"orgs"', '"organs"'), SCHEMA, "orgs"),
        (CONFIGURATION.replace('"org_id"', '"org_ix"'), SCHEMA, "org_id"),
        (CONFIGURATION.replace('"cli_app"', '"cli_ap"'), SCHEMA, "cli_app"),
        (CONFIGURATION, SCHEMA + "\nCREATE TABLE broken (;\n", "schema.sql:9"),
        (CONFIGURATION.replace("schema.sql", "nowhere.sql"), SCHEMA, "nowhere.sql"),
        (CONFIGURATION + '\npreset = "supabse"\n', SCHEMA, "preset"),
        (CONFIGURATION.replace("[tenancy]", 'engine = "pglite"\n[tenancy]'), SCHEMA, "pglite"),
        (
            CONFIGURATION.replace("[tenancy]", 'dsn = "postgresql://u:pw@h/d"\n[tenancy]'),
            SCHEMA,
            "dsn",
        ),
    ],
    ids=[
        "broken TOML",
        "unknown key",
        "unknown table",
        "unknown column",
        "unknown role",
        "SQL error",
        "no such file",
        "wrong place",
        "no such engine",
        "live database",
    ],
)
def test_bad_input(tmp_path: Path, configuration: str, schema: str, message: str) -> None:
    target(tmp_path / "shop", schema=schema, configuration=configuration)
    done = tenantfuzz("run", "shop", *SWEEP, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert "pw@" not in done.stderr
    assert "Traceback" not in done.stderr


def test_no_such_target(tmp_path: Path) -> None:
    done = tenantfuzz("run", "nowhere", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "nowhere does not exist" in done.stderr
    (tmp_path / "empty").mkdir()
    done = tenantfuzz("run", "empty", cwd=tmp_path)
    assert done.returncode == 2
    assert "tenantfuzz.toml" in done.stderr


def test_a_corpus_that_cannot_be_written_loses_nothing(tmp_path: Path) -> None:
    shop = target(tmp_path / "shop", schema=SCHEMA + HOLE)
    (shop / "corpus").write_text("a file in its place", encoding="utf-8")
    done = tenantfuzz("run", "shop", *SWEEP, cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "could not be saved" in done.stdout
    assert "culprit    support" in done.stdout


def test_usage(tmp_path: Path) -> None:
    assert tenantfuzz("--version", cwd=tmp_path).stdout == "tenantfuzz 0.1.0\n"
    for command in ("run", "replay", "show", "explain"):
        done = tenantfuzz(command, "--help", cwd=tmp_path)
        assert done.returncode == 0
        assert all(len(line) <= 80 for line in done.stdout.splitlines())
    assert tenantfuzz("run", "--no-such-flag", cwd=tmp_path).returncode == 2
    assert tenantfuzz("run", "--time", "soon", cwd=tmp_path).returncode == 2
    done = tenantfuzz("explain", "TF204", cwd=tmp_path)
    assert done.returncode == 0
    assert "TF204" in done.stdout
    assert tenantfuzz("explain", "TF999", cwd=tmp_path).returncode == 2
