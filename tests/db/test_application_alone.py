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
GRANTED = """
DO $$ BEGIN CREATE ROLE alone_one LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
DO $$ BEGIN CREATE ROLE alone_two LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO {};
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


@pytest.mark.parametrize("role", ["alone_one", "alone_one, alone_two"])
def test_whoever_has_privileges_is_not_left_out(role: str, tmp_path: Path) -> None:
    folder = target(tmp_path, QUERIES.format("AND i.org_id = :tenant"))
    (folder / "schema.sql").write_text(SCHEMA + GRANTED.format(role), encoding="utf-8")
    with pytest.raises(ToolError, match="the schema alone does not say"):
        run(folder)


def test_an_anonymous_role_is_somebody(tmp_path: Path) -> None:
    folder = target(tmp_path, QUERIES.format("AND i.org_id = :tenant"))
    (folder / "schema.sql").write_text(SCHEMA + GRANTED.format("alone_one"), encoding="utf-8")
    text = CONFIGURATION + '[tenancy]\ntenants = "orgs"\ncolumn = "org_id"\n'
    text += '[identity]\nanonymous = "alone_one"\n'
    (folder / "tenantfuzz.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ToolError, match="missing key 'role'"):
        run(folder)


def test_keys_count_on_where_the_schema_has_them_begin(tmp_path: Path) -> None:
    folder = target(tmp_path, QUERIES.format("AND i.org_id = :tenant"))
    tickets = """
    CREATE SEQUENCE numbers START 10000;
    CREATE SEQUENCE few MAXVALUE 99;
    CREATE TABLE tickets (
      id int PRIMARY KEY DEFAULT nextval('few'), org_id int NOT NULL REFERENCES orgs,
      number int NOT NULL UNIQUE DEFAULT nextval('numbers') CHECK (number >= 10000)
    );
    """
    (folder / "schema.sql").write_text(SCHEMA + tickets, encoding="utf-8")
    ticket = "-- name: ticket\nINSERT INTO tickets (org_id) VALUES (:tenant) RETURNING number;\n"
    (folder / "queries.sql").write_text(ticket, encoding="utf-8")
    finished = run(folder)
    assert (finished.status, finished.coverage.untested) == ("clean", ())


def test_a_query_of_its_callers_own_needs_a_role(tmp_path: Path) -> None:
    queries = QUERIES.format("").replace("list", "list\n-- as: principal")
    with pytest.raises(ToolError, match="query 'list': as = \"principal\" needs a role"):
        run(target(tmp_path, queries))
