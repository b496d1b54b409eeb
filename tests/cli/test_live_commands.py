"""``run --dsn`` and ``dsn =`` from the outside."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tenantfuzz.engines import start_embedded
from tenantfuzz.engines.embedded import EmbeddedServer

SCHEMA = """
CREATE ROLE shop_app NOLOGIN;
CREATE ROLE shop_reader LOGIN;
CREATE TABLE orgs (id text PRIMARY KEY, name text);
CREATE TABLE issues (id uuid PRIMARY KEY, org_id text NOT NULL REFERENCES orgs, title text);
ALTER TABLE issues ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON issues USING (org_id = current_setting('app.tenant', true));
CREATE POLICY support ON issues FOR SELECT USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON issues TO shop_app;
"""
CONFIGURATION = """
[target]
schema = ["not-there.sql"]
[tenancy]
tenants = "orgs"
column = "org_id"
[identity]
role = "shop_app"
settings = { "app.tenant" = "{tenant.id}" }
"""
SWEEP = ("--phase", "sweep", "--seed", "1")


@pytest.fixture(scope="module")
def source() -> Iterator[EmbeddedServer]:
    with start_embedded() as server:
        server.create_database("shop")
        with psycopg.connect(server.conninfo("shop"), autocommit=True) as connection:
            connection.execute(SCHEMA.encode())
        yield server


def tenantfuzz(*arguments: object, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TENANTFUZZ_")}
    environment |= {"COLUMNS": "80", "NO_COLOR": "1", **variables}
    return subprocess.run(
        [sys.executable, "-m", "tenantfuzz", *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_dsn_takes_the_place_of_the_files(source: EmbeddedServer, tmp_path: Path) -> None:
    (tmp_path / "tenantfuzz.toml").write_text(CONFIGURATION)
    # The password is not needed, and must not be seen anywhere.
    dsn = source.conninfo("shop", user="shop_reader") + " password=hush-hush"
    done = tenantfuzz("run", ".", "--dsn", dsn, *SWEEP, cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "TF101" in done.stdout
    assert "--dsn" in done.stdout
    files = list((tmp_path / "corpus").iterdir())
    everything = done.stdout + done.stderr + "".join(f.read_text() for f in files)
    assert "hush-hush" not in everything

    replayed = tenantfuzz("replay", ".", "--dsn", "env:SHOP", cwd=tmp_path, SHOP=dsn)
    assert replayed.returncode == 1, replayed.stdout + replayed.stderr
    assert "still leaks" in replayed.stdout

    answer = tenantfuzz(
        "run", ".", "--dsn", "env:SHOP", "--format", "json", *SWEEP, cwd=tmp_path, SHOP=dsn
    )
    document = json.loads(answer.stdout)
    assert document["status"] == "leaks"
    assert "hush-hush" not in answer.stdout


def test_a_dsn_in_the_file(source: EmbeddedServer, tmp_path: Path) -> None:
    text = CONFIGURATION.replace('schema = ["not-there.sql"]', 'dsn = "env:SHOP"')
    (tmp_path / "tenantfuzz.toml").write_text(text)
    dsn = source.conninfo("shop", user="shop_reader")
    done = tenantfuzz("run", *SWEEP, "--no-shrink", cwd=tmp_path, SHOP=dsn)
    assert done.returncode == 1, done.stdout + done.stderr
    [file] = (tmp_path / "corpus").glob("TF101-issues-select-*")
    script = tenantfuzz("show", file.stem, "--sql", "--path", ".", cwd=tmp_path, SHOP=dsn)
    assert script.returncode == 0, script.stderr
    shown = shows_the_leak(script.stdout, tmp_path)
    assert shown.stderr == ""
    assert shown.returncode == 0, shown.stdout + shown.stderr
    missing = tenantfuzz("run", *SWEEP, cwd=tmp_path)
    assert missing.returncode == 2
    assert "SHOP" in missing.stderr


def shows_the_leak(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What psql says to the script on a server of its own, which knows nothing of the source."""
    psql = shutil.which("psql")
    if psql is None:
        pytest.skip("needs psql")
    (folder / "leak.sql").write_text(script)
    with start_embedded() as server:
        server.create_database("empty")
        return subprocess.run(
            [psql, "-X", "-q", "-d", server.conninfo("empty"), "-f", "leak.sql"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.mark.parametrize(
    ("dsn", "message"),
    [
        ("host=/nowhere dbname=shop password=hush-hush", "cannot connect to the live database"),
        ("postgresql://me:hush@hush@localhost/shop", "connection string"),
        ("env:NOT_SET_AT_ALL", "NOT_SET_AT_ALL"),
    ],
)
def test_databases_that_cannot_be_reached(tmp_path: Path, dsn: str, message: str) -> None:
    (tmp_path / "tenantfuzz.toml").write_text(CONFIGURATION)
    done = tenantfuzz("run", "--dsn", dsn, cwd=tmp_path)
    assert done.returncode == 2, done.stdout
    assert message in done.stderr
    assert "hint:" in done.stderr
    assert "hush" not in done.stdout + done.stderr


def test_a_version_that_cannot_be_had(tmp_path: Path) -> None:
    (tmp_path / "tenantfuzz.toml").write_text(CONFIGURATION.replace("not-there.sql", "s.sql"))
    (tmp_path / "s.sql").write_text(SCHEMA)
    offline = {"NPM_CONFIG_REGISTRY": "http://127.0.0.1:1", "XDG_CACHE_HOME": str(tmp_path / "c")}
    done = tenantfuzz("run", "--postgres", "15.8", cwd=tmp_path, **offline)
    assert done.returncode == 2
    assert "cannot download PostgreSQL" in done.stderr
