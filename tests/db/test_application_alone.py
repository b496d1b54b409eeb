"""Applications that isolate tenants by code alone: nobody but they reaches the database."""

from pathlib import Path

import pytest

from tenantfuzz.campaign import Options, replay, run_campaign
from tenantfuzz.errors import ToolError
from tenantfuzz.events import CampaignFinished
from tenantfuzz.target import find_target

SCHEMA = """
CREATE TABLE orgs (id serial PRIMARY KEY, name text NOT NULL);
CREATE TABLE users (id serial PRIMARY KEY, email text NOT NULL UNIQUE);
CREATE TABLE members (
  user_id int NOT NULL REFERENCES users, org_id int NOT NULL REFERENCES orgs,
  PRIMARY KEY (user_id, org_id)
);
CREATE TABLE issues (
  id serial PRIMARY KEY, org_id int NOT NULL REFERENCES orgs, title text NOT NULL
);
CREATE TABLE comments (
  id serial PRIMARY KEY, issue_id int NOT NULL REFERENCES issues, body text NOT NULL
);
CREATE FUNCTION shout(word text) RETURNS text LANGUAGE sql AS 'SELECT upper(word)';
"""
QUERIES = """
-- name: list
SELECT id, title FROM issues WHERE org_id = :tenant;
-- name: open issue
INSERT INTO issues (org_id, title) VALUES (:tenant, :title) RETURNING id;
-- name: comments
SELECT c.id, c.body FROM comments c JOIN issues i ON i.id = c.issue_id
WHERE c.issue_id = :issue {};
"""
CONFIGURATION = """
[target]
schema = ["schema.sql"]
queries = ["queries.sql"]
"""


def target(folder: Path, queries: str) -> Path:
    (folder / "schema.sql").write_text(SCHEMA, encoding="utf-8")
    (folder / "queries.sql").write_text(queries, encoding="utf-8")
    (folder / "tenantfuzz.toml").write_text(CONFIGURATION, encoding="utf-8")
    return folder


def run(folder: Path) -> CampaignFinished:
    options = Options(seed=1, phases=("sweep",), corpus=folder / "corpus")
    *_, finished = run_campaign(find_target(folder), options)
    assert isinstance(finished, CampaignFinished)
    return finished


def test_the_query_that_forgot_the_tenant_is_found_and_nothing_else(tmp_path: Path) -> None:
    finished = run(target(tmp_path, QUERIES.format("")))
    assert [(f.code, f.relation) for f in finished.findings] == [("TF501", "comments")]
    assert "AND i.org_id = :tenant" in finished.findings[0].mend
    assert "permission denied" not in finished.findings[0].explanation
    assert [w.code for w in finished.warnings] == ["", "", "", "TF804"]
    (result,) = replay(find_target(tmp_path), corpus=tmp_path / "corpus")
    assert result.verdict == "still leaks"


def test_it_is_clean_once_it_is_mended(tmp_path: Path) -> None:
    finished = run(target(tmp_path, QUERIES.format("AND i.org_id = :tenant")))
    assert finished.status == "clean"
    coverage = finished.coverage
    assert (coverage.cells, coverage.covered, coverage.closed) == (3, 3, 0)


def test_a_query_of_its_callers_own_needs_a_role(tmp_path: Path) -> None:
    queries = QUERIES.format("").replace("list", "list\n-- as: principal")
    with pytest.raises(ToolError, match="query 'list': as = \"principal\" needs a role"):
        run(target(tmp_path, queries))
