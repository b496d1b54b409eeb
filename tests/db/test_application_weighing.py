"""Cells of queries of which some part never held: they are untested, whatever else answered."""

from pathlib import Path

import pytest

from tenantfuzz.campaign import Options, run_campaign
from tenantfuzz.events import CampaignFinished
from tenantfuzz.target import find_target

SCHEMA = """
DO $$ BEGIN CREATE ROLE weighing_app NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
CREATE TABLE orgs (id text PRIMARY KEY, name text NOT NULL);
CREATE TABLE issues (
  id uuid PRIMARY KEY, org_id text NOT NULL REFERENCES orgs, title text NOT NULL,
  opened timestamptz NOT NULL, UNIQUE (org_id, title)
);
CREATE TABLE comments (
  id uuid PRIMARY KEY, issue_id uuid NOT NULL REFERENCES issues, body text NOT NULL,
  posted timestamptz NOT NULL
);
CREATE TABLE log (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, org_id text, word text,
  made uuid DEFAULT gen_random_uuid());
"""
CONFIGURATION = """
[target]
schema = ["schema.sql"]
queries = ["queries.sql"]
[tenancy]
tenants = "orgs"
column = "org_id"
[identity]
role = "weighing_app"
"""
CODE = """
def answered(connection, caller, issue_id):
    query = "SELECT i.title, c.body FROM issues i LEFT JOIN comments c ON c.issue_id = i.id"
    return connection.execute(
        query + " AND {} WHERE i.org_id = %s AND i.id = %s", (caller.tenant, issue_id)
    ).fetchall()
"""
JOINED = "SELECT i.title, c.body FROM issues i LEFT JOIN comments c" + (
    " ON c.issue_id = i.id AND {} WHERE i.org_id = :tenant"
)
ABSENT = "SELECT i.title FROM issues i WHERE i.org_id = :tenant AND NOT EXISTS" + (
    " (SELECT FROM comments c WHERE c.issue_id = i.id AND {})"
)
CLOSED = (
    "UPDATE issues SET opened = '2024-01-01' WHERE org_id = :tenant AND id NOT IN"
    " (SELECT issue_id FROM comments c WHERE {})"
)
COUNTED = (
    "UPDATE issues SET title = id::text || (SELECT count(*) FROM comments c"
    " WHERE c.issue_id = issues.id AND {}) WHERE org_id = :tenant"
)
TIMED = JOINED.replace("i.title", "i.title, clock_timestamp()")
MADE = "INSERT INTO log (org_id, word) " + JOINED.replace("i.title, c.body", "i.org_id, i.title")
NEVER = "length(c.body) = 3127"
SOMETIMES = "c.posted IS NOT NULL"


def reasons(folder: Path, query: str, code: str = "") -> dict[str, str]:
    (folder / "schema.sql").write_text(SCHEMA, encoding="utf-8")
    (folder / "queries.sql").write_text(f"-- name: asked\n{query};\n", encoding="utf-8")
    more = ""
    if code:
        name = f"weighed_{abs(hash(code))}"
        (folder / f"{name}.py").write_text(code, encoding="utf-8")
        more = f'[[adapters]]\nname = "code"\npython = "{name}:answered"\n'
    (folder / "tenantfuzz.toml").write_text(CONFIGURATION + more, encoding="utf-8")
    options = Options(seed=1, phases=("sweep",), only="code" if code else "asked", save=False)
    *_, finished = run_campaign(find_target(folder), options)
    assert isinstance(finished, CampaignFinished)
    assert finished.interrupted is None
    assert [f.code for f in finished.findings] == []
    return {c.relation: c.reason for c in finished.coverage.untested if c.operation == "query"}


@pytest.mark.parametrize("query", [JOINED, ABSENT, CLOSED, COUNTED, TIMED, MADE])
def test_a_part_that_never_held_was_not_tested(query: str, tmp_path: Path) -> None:
    assert reasons(tmp_path, query.format(NEVER)) == {
        "asked": "no answer depended on a row of public.comments, which it names: no world had "
        "what that part of it asks for, or it asks for nothing"
    }


@pytest.mark.parametrize("query", [JOINED, ABSENT, CLOSED, COUNTED])
def test_a_part_that_held_for_some_rows_was_tested(query: str, tmp_path: Path) -> None:
    assert reasons(tmp_path, query.format(SOMETIMES)) == {}


@pytest.mark.parametrize(("words", "named"), [(NEVER, {"code"}), (SOMETIMES, set())])
def test_what_code_names_must_weigh_too(words: str, named: set[str], tmp_path: Path) -> None:
    assert set(reasons(tmp_path, JOINED.format(SOMETIMES), CODE.format(words))) == named


@pytest.mark.parametrize(
    ("title", "named"), [(":title", set()), ("gen_random_uuid()::text", {"asked"})]
)
def test_an_upsert_must_meet_a_row(title: str, named: set[str], tmp_path: Path) -> None:
    query = (
        "INSERT INTO issues (id, org_id, title, opened)"
        f" VALUES (gen_random_uuid(), :tenant, {title}, '2024-01-01')"
        " ON CONFLICT (org_id, title) DO UPDATE SET opened = excluded.opened"
    )
    assert set(reasons(tmp_path, query)) == named


def test_what_is_only_written_to_need_not_weigh(tmp_path: Path) -> None:
    query = "INSERT INTO log (org_id, word) SELECT org_id, title FROM issues WHERE org_id = :tenant"
    assert reasons(tmp_path, query) == {}
