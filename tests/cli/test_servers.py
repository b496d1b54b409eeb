"""Runs on a server of one's own that crashes, is full, or is kept busy by its target."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tenantfuzz.engines import Server, start_embedded

SCHEMA = """
DO $$ BEGIN CREATE ROLE busy_app NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
CREATE TABLE orgs (id text PRIMARY KEY, name text);
CREATE TABLE issues (id uuid PRIMARY KEY, org_id text NOT NULL REFERENCES orgs, title text);
CREATE TABLE notes (id uuid PRIMARY KEY, org_id text NOT NULL REFERENCES orgs, body text);
ALTER TABLE issues ENABLE ROW LEVEL SECURITY;
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON issues USING (org_id = current_setting('app.tenant', true));
GRANT SELECT, INSERT, UPDATE, DELETE ON issues, notes TO busy_app;
"""
OPEN = "CREATE POLICY support ON notes FOR SELECT USING (true);\n"
CONFIGURATION = """
[target]
schema = ["schema.sql"]
[tenancy]
tenants = "orgs"
column = "org_id"
[identity]
role = "busy_app"
settings = { "app.tenant" = "{tenant.id}" }
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    settings = {"max_connections": "8", "superuser_reserved_connections": "0"}
    with start_embedded(settings=settings) as running:
        yield running


def target(folder: Path, more: str = OPEN) -> Path:
    (folder / "schema.sql").write_text(SCHEMA + more, encoding="utf-8")
    (folder / "tenantfuzz.toml").write_text(CONFIGURATION, encoding="utf-8")
    return folder


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TENANTFUZZ_")}
    return subprocess.Popen(
        [sys.executable, "-m", "tenantfuzz", "run", ".", "--seed", "1", *arguments],
        cwd=folder,
        env=kept | {"COLUMNS": "80", "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def swept(process: "subprocess.Popen[str]") -> None:
    """Returns when the sweep is over."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("sweep: "):
            return
    raise AssertionError("ended before the sweep did")


def session(server: Server) -> int:
    """The process of a session in a scratch database; between two phases there may be none."""
    query = "SELECT pid FROM pg_stat_activity WHERE datname ~ '^tenantfuzz'"
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        while not (row := connection.execute(query).fetchone()):
            threading.Event().wait(0.01)
    return int(row[0])


def scratch_databases(server: Server) -> list[str]:
    with psycopg.connect(server.conninfo("postgres")) as connection:
        query = "SELECT datname FROM pg_database WHERE datname ~ '^tenantfuzz' ORDER BY 1"
        return [name for (name,) in connection.execute(query)]


def test_a_server_that_crashed_and_is_back(server: Server, tmp_path: Path) -> None:
    run = start(target(tmp_path), "--time", "60s", "--server", server.conninfo("postgres"))
    swept(run)
    os.kill(session(server), signal.SIGKILL)  # the server ends all sessions, and recovers
    out, err = run.communicate(timeout=120)
    assert (run.returncode, err) == (2, "")
    assert "interrupted: the connection to the server was lost: " in out
    assert "; under way was " in " ".join(out.split())
    assert "culprit    support" in out
    assert len(list((tmp_path / "corpus").iterdir())) == 1
    again = start(tmp_path, "--phase", "sweep", "--server", server.conninfo("postgres"))
    out, err = again.communicate(timeout=120)
    assert (again.returncode, err) == (1, "")
    assert scratch_databases(server) == []


@pytest.mark.slow
def test_a_server_without_a_free_connection(server: Server, tmp_path: Path) -> None:
    run = start(target(tmp_path), "--time", "60s", "--server", server.conninfo("postgres"))
    swept(run)
    taken: list[psycopg.Connection[tuple[object, ...]]] = []

    def take_all() -> None:
        while run.poll() is None:
            try:
                taken.append(psycopg.connect(server.conninfo("postgres")))
            except psycopg.OperationalError:
                threading.Event().wait(0.01)

    others = threading.Thread(target=take_all)
    others.start()
    out, err = run.communicate(timeout=120)
    others.join()
    for connection in taken:
        connection.close()
    text = " ".join(out.split())
    assert (run.returncode, err) == (2, "")
    assert "interrupted: cannot connect to the scratch " in text
    assert "too many clients already" in text
    assert "culprit support" in text
    assert ("warning: not all was tidied up: " in text) == bool(scratch_databases(server))
    assert len(list((tmp_path / "corpus").iterdir())) == 1
    again = start(tmp_path, "--phase", "sweep", "--server", server.conninfo("postgres"))
    out, err = again.communicate(timeout=120)
    assert (again.returncode, err) == (1, "")
    assert scratch_databases(server) == []


SLEEPS = """
CREATE FUNCTION sleepy(org text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  IF org <> current_setting('app.tenant', true) THEN PERFORM pg_sleep(1000); END IF;
  RETURN true;
END $$;
CREATE POLICY own ON notes USING (sleepy(org_id));
REVOKE EXECUTE ON FUNCTION sleepy FROM PUBLIC; GRANT EXECUTE ON FUNCTION sleepy TO busy_app;
"""
LOOPS = """
CREATE POLICY own ON notes USING (org_id = current_setting('app.tenant', true));
CREATE FUNCTION turn() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN LOOP END LOOP; END $$;
CREATE TRIGGER turns BEFORE UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION turn();
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "operations"),
    [(SLEEPS, {"select", "insert", "update", "delete"}), (LOOPS, {"insert", "update"})],
)
def test_what_takes_for_ever_is_untested_and_the_rest_is_not(
    tmp_path: Path, more: str, operations: set[str]
) -> None:
    run = start(target(tmp_path, more), "--phase", "sweep", "--format", "json")
    out, err = run.communicate(timeout=200)
    assert (run.returncode, err) == (3, "")
    document = json.loads(out)
    slow = [c for c in document["coverage"]["untested"] if "took too long" in c["reason"]]
    assert {(c["relation"], c["operation"]) for c in slow} == {
        ("public.notes", operation) for operation in operations
    }
    assert {c["relation"] for c in document["coverage"]["untested"] if c not in slow} <= {
        "public.sleepy"
    }
    assert document["findings"] == []
    assert document["seconds"] < 120
