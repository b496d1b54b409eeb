"""--save-snapshot and --changed-since on a real server: what is tested again, and what is said."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCHEMA = """
CREATE ROLE since_app NOLOGIN;
CREATE TABLE orgs (id text PRIMARY KEY, name text);
CREATE TABLE issues (id uuid PRIMARY KEY, org_id text NOT NULL REFERENCES orgs, title text);
CREATE TABLE notes (id uuid PRIMARY KEY, org_id text NOT NULL REFERENCES orgs, body text);
CREATE TABLE secrets (id uuid PRIMARY KEY, org_id text NOT NULL REFERENCES orgs);
ALTER TABLE orgs ENABLE ROW LEVEL SECURITY;
ALTER TABLE issues ENABLE ROW LEVEL SECURITY;
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON orgs USING (id = current_setting('app.tenant', true));
CREATE POLICY own ON issues USING (org_id = current_setting('app.tenant', true));
CREATE POLICY own ON notes USING (org_id = current_setting('app.tenant', true));
GRANT SELECT ON orgs TO since_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON issues, notes TO since_app;
"""
LEAK = "CREATE POLICY support ON notes FOR SELECT USING (true);\n"
CONFIGURATION = """
[target]
schema = ["schema.sql"]
[tenancy]
tenants = "orgs"
column = "org_id"
[identity]
role = "since_app"
settings = { "app.tenant" = "{tenant.id}" }
[[accept]]
code = "TF30*"
reason = "keys are random"
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "schema.sql").write_text(SCHEMA, encoding="utf-8")
    (tmp_path / "tenantfuzz.toml").write_text(CONFIGURATION, encoding="utf-8")
    return tmp_path


def run(shop: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TENANTFUZZ_")}
    done = subprocess.run(
        [sys.executable, "-m", "tenantfuzz", "run", ".", "--seed", "1", "--max-examples", "1",
         "--report", "out.json", *arguments],
        cwd=shop,
        env=kept | {"COLUMNS": "80", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1, 3), done.stderr
    return done.returncode, json.loads((shop / "out.json").read_text()), done.stdout


def again(document: dict[str, Any]) -> dict[str, str]:
    return {t["relation"]: t["reason"] for t in document["changed_since"]["tested"]}


@pytest.mark.slow
def test_from_a_clean_snapshot_over_a_leak_to_its_mend(shop: Path) -> None:
    """One story, for each run starts a server."""
    since = ["--changed-since", "s.json"]
    save = ["--save-snapshot", "s.json"]

    # There is no snapshot yet: everything is tested.
    status, document, text = run(shop, *since, *save)
    assert status == 0, text
    assert document["changed_since"]["everything"] == "there is no s.json yet"
    assert "everything is tested: there is no s.json yet\n" in text
    cells = document["coverage"]["cells"]

    # Nothing changed: a sample, and a sentence that says so.
    status, document, text = run(shop, *since)
    assert status == 0, text
    sample = document["changed_since"]["sample"]
    assert list(again(document)) == [sample]
    assert document["checks"] > 0
    assert document["coverage"]["cells"] + document["coverage"]["unchanged"] == cells
    assert f"3 relations are unchanged since s.json and were not tested again; {sample}" in (
        " ".join(text.split())
    )
    assert "fuzz:" not in text

    # A leak in what changed is found, and nothing else is tested.
    (shop / "schema.sql").write_text(SCHEMA + LEAK, encoding="utf-8")
    status, document, _ = run(shop, *since, "--save-snapshot", "leaky.json")
    assert status == 1
    assert again(document) == {"public.notes": "policy support is new"}
    [finding] = document["findings"]
    assert (finding["code"], finding["relation"]) == ("TF101", "public.notes")

    # A snapshot of a leaky state does not make the leak vanish, without the corpus either.
    for file in (shop / "corpus").iterdir():
        file.unlink()
    status, document, _ = run(shop, "--changed-since", "leaky.json", *save)
    assert status == 1
    assert again(document) == {"public.notes": f"had leaked: {finding['id']}"}
    assert [f["id"] for f in document["findings"]] == [finding["id"]]

    # Mended, and tested again for that.
    (shop / "schema.sql").write_text(SCHEMA, encoding="utf-8")
    status, document, text = run(shop, *since)
    assert status == 0, text
    assert document["status"] == "clean"
    assert "public.notes" in again(document)
    assert [r["verdict"] for r in document["replayed"]] == ["fixed"]

    # A change of the model concerns everything.
    file = shop / "tenantfuzz.toml"
    file.write_text(CONFIGURATION.replace('"{tenant.id}"', '"{tenant.id}", "app.x" = "y"'))
    _, document, _ = run(shop, *since, "--phase", "sweep")
    assert document["changed_since"]["everything"] == "changed: configuration, model"


@pytest.mark.slow
def test_only_a_relation_that_nobody_reaches_changed(shop: Path) -> None:
    run(shop, "--save-snapshot", "s.json")
    with (shop / "schema.sql").open("a") as stream:
        stream.write("ALTER TABLE secrets ADD COLUMN more text;\n")
    status, document, text = run(shop, "--changed-since", "s.json")
    assert status == 0, text
    assert document["checks"] > 0
    assert again(document)["public.secrets"] == "column more is new"


def test_what_only_left_out_is_tested_next_time(shop: Path) -> None:
    sweep = ["--phase", "sweep"]
    status, _, _ = run(shop, "--only", "[in]*s", *sweep, "--save-snapshot", "s.json")
    assert status == 3
    status, document, text = run(shop, "--changed-since", "s.json", *sweep)
    assert status == 0, text
    sample = document["changed_since"]["sample"]
    assert again(document) == {
        "public.orgs": "was not tested",
        "public.secrets": "was not tested",
        sample: "a sample, so that something is compared",
    }
    assert {sample, *document["changed_since"]["unchanged"]} == {"public.issues", "public.notes"}
