"""Application queries on a real server: what is a leak, what is none, and what cannot be judged."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tenantfuzz.application.declared import declared_queries
from tenantfuzz.campaign import Options, replay, run_campaign
from tenantfuzz.errors import ToolError
from tenantfuzz.events import CampaignFinished
from tenantfuzz.findings import Finding
from tenantfuzz.target import find_target

SCHEMA = """
DO $$ BEGIN
  IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'desk_app') THEN
    CREATE ROLE desk_app LOGIN;
  END IF;
END $$;
CREATE TABLE orgs (id text PRIMARY KEY, name text NOT NULL);
CREATE TABLE staff (id text PRIMARY KEY, name text NOT NULL);
CREATE TABLE members (
  org_id text NOT NULL REFERENCES orgs, staff_id text NOT NULL REFERENCES staff,
  role text NOT NULL DEFAULT 'agent' CHECK (role IN ('agent', 'lead')),
  PRIMARY KEY (org_id, staff_id)
);
CREATE TABLE tickets (
  id text PRIMARY KEY, org_id text NOT NULL REFERENCES orgs, number integer NOT NULL,
  title text NOT NULL, assignee text REFERENCES staff, secret boolean NOT NULL DEFAULT false,
  opened timestamptz NOT NULL, weight numeric(8, 2),
  UNIQUE (org_id, number)
);
CREATE TABLE notes (
  id text PRIMARY KEY, ticket_id text NOT NULL REFERENCES tickets, body text NOT NULL
);
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO desk_app;
ALTER TABLE orgs ENABLE ROW LEVEL SECURITY;
ALTER TABLE staff ENABLE ROW LEVEL SECURITY;
ALTER TABLE members ENABLE ROW LEVEL SECURITY;
ALTER TABLE tickets ENABLE ROW LEVEL SECURITY;
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE FUNCTION org() RETURNS text LANGUAGE sql STABLE AS
  $$ SELECT nullif(current_setting('desk.org', true), '') $$;
CREATE POLICY own ON orgs TO desk_app USING (id = org());
CREATE POLICY own ON staff TO desk_app
  USING (EXISTS (SELECT 1 FROM members m WHERE m.staff_id = staff.id AND m.org_id = org()));
CREATE POLICY own ON members TO desk_app USING (org_id = org());
CREATE POLICY own ON tickets TO desk_app USING (org_id = org() AND NOT secret);
CREATE POLICY own ON notes TO desk_app
  USING (EXISTS (SELECT 1 FROM tickets t WHERE t.id = notes.ticket_id AND t.org_id = org()));
CREATE FUNCTION close_all(word text) RETURNS integer LANGUAGE sql AS
  $$ WITH done AS (UPDATE tickets SET title = title || word RETURNING 1)
     SELECT count(*)::integer FROM done $$;
"""
CONFIG = """
[target]
name = "desk"
schema = ["schema.sql"]
queries = ["queries", "more.sql"]
[tenancy]
tenants = "orgs"
column = "org_id"
[tenancy.tables]
notes = { via = "ticket_id" }
[identity]
users = "staff"
memberships = { table = "members", user = "staff_id", tenant = "org_id" }
role = "desk_app"
settings = { "desk.org" = "{tenant.id}" }
[principals.lead]
where = "membership.role = 'lead'"
[access.member]
tickets = { select = "NOT secret" }

[[queries]]
name = "q: from the file"
sql = "SELECT t.id FROM tickets t WHERE t.org_id = :tenant AND t.number = :n"
kinds = "lead"
"""
# What must be found: code and culprit. Everything else in the two files is clean.
LEAKS = {
    "q: notes of a ticket": ("TF501", "notes AS n"),
    "q: secret tickets": ("TF401", "tickets AS t"),
    "q: both ways": ("TF503", "q: both ways"),
    "q: closes all": ("TF502", "q: closes all"),
    "q: greatest number": ("TF501", "tickets AS o"),
    "q: cast of others": ("TF501", "tickets AS o"),
    "q: list of titles": ("TF501", "tickets AS t"),
    "q: moves by number": ("TF502", "tickets"),
    "q: org by request": ("TF501", "tickets AS t"),
}
LEAKY = """
-- name: q: notes of a ticket
SELECT n.body FROM notes n WHERE n.ticket_id = :ticket_id;

-- name: q: secret tickets
SELECT t.id, t.title FROM tickets t WHERE t.org_id = :tenant;

-- name: q: both ways
-- as: both
-- kinds: lead
SELECT t.number FROM tickets t WHERE t.org_id = :tenant;

-- name: q: closes all
-- kinds: lead
SELECT close_all(:word);

-- name: q: greatest number
-- kinds: lead
SELECT t.id, (SELECT max(o.number) FROM tickets o) FROM tickets t WHERE t.org_id = :tenant;

-- name: q: cast of others
-- kinds: lead
SELECT t.id FROM tickets t WHERE t.org_id = :tenant
  AND 1 / (SELECT count(*) - count(o.id) FILTER (WHERE o.org_id <> :tenant) - count(o.id)
           FILTER (WHERE o.org_id = :tenant) + count(*) FILTER (WHERE o.org_id <> :tenant)
           FROM tickets o) >= 0;

-- name: q: list of titles
-- kinds: lead
SELECT json_agg(t.title) FROM tickets t WHERE t.opened BETWEEN :low AND :high;

-- name: q: moves by number
-- kinds: lead
UPDATE tickets SET org_id = :tenant WHERE number = :number;

-- name: q: org by request
-- kinds: lead
-- param: wanted text
SELECT t.title FROM tickets t WHERE t.org_id = :wanted;
"""
CLEAN = """
-- name: q: any one ticket
-- kinds: lead
SELECT t.id, t.title FROM tickets t WHERE t.org_id = :tenant LIMIT 1;

-- name: q: titles in no order
-- kinds: lead
SELECT array_agg(t.title), string_agg(t.id, ',') FROM tickets t WHERE t.org_id = :tenant;

-- name: q: by chance
-- kinds: lead
SELECT t.id, random(), gen_random_uuid(), clock_timestamp() FROM tickets t
WHERE t.org_id = :tenant ORDER BY random();

-- name: q: as the caller
-- as: principal
SELECT t.id, t.title, n.body FROM tickets t LEFT JOIN notes n ON n.ticket_id = t.id;

-- name: q: reads all, shows none
-- kinds: lead
SELECT t.id FROM tickets t LEFT JOIN (SELECT count(*) AS n FROM tickets) o ON o.n < 0
WHERE t.org_id = :tenant;

-- name: q: numbered
-- kinds: lead
SELECT t.id FROM tickets t WHERE t.org_id = $1 AND t.number >= $2 LIMIT $3;

-- name: q: takes note
-- kinds: lead
INSERT INTO notes (id, ticket_id, body)
SELECT :id, t.id, :body FROM tickets t WHERE t.id = :ticket AND t.org_id = :tenant;

-- name: q: takes ticket
-- kinds: lead
INSERT INTO tickets (id, org_id, number, title, opened)
VALUES (:id, :tenant, :number, :title, '2024-01-01') ON CONFLICT DO NOTHING;

-- name: q: merges
-- kinds: lead
MERGE INTO tickets t USING (SELECT :tenant AS org_id, :number::integer AS number) s
ON t.org_id = s.org_id AND t.number = s.number
WHEN MATCHED THEN UPDATE SET title = :title;
"""
BROKEN = """
-- name: q: no such column
SELECT tittle FROM tickets WHERE org_id = :tenant;

-- name: q: no query
SELEC 1;

-- name: q: two statements
SELECT 1; SELECT 2;

-- name: q: never answers
SELECT t.id FROM tickets t WHERE t.org_id = :tenant AND t.number < 0 AND t.number > 0;

-- name: q: never runs
SELECT t.id / 0 FROM (SELECT 1 AS id) t WHERE :tenant IS NOT NULL;
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("desk")
    (root / "queries").mkdir()
    (root / "schema.sql").write_text(SCHEMA)
    (root / "tenantfuzz.toml").write_text(CONFIG)
    (root / "queries" / "leaky.sql").write_text(LEAKY)
    (root / "queries" / "clean.sql").write_text(CLEAN)
    (root / "more.sql").write_text(BROKEN)
    return root


@pytest.fixture(scope="module")
def finished(folder: Path) -> Iterator[CampaignFinished]:
    options = Options(seed=3, phases=("sweep",), only="q: *")
    *_, last = run_campaign(find_target(folder), options)
    assert isinstance(last, CampaignFinished)
    yield last


def of(finished: CampaignFinished, query: str) -> list[Finding]:
    return [f for f in finished.findings if f.relation == query]


@pytest.mark.parametrize("query", LEAKS)
def test_a_leak_is_found_and_blamed(finished: CampaignFinished, query: str) -> None:
    found = [(f.code, f.culprits[0]) for f in of(finished, query)]
    assert found == [LEAKS[query]]


def test_nothing_else_is_found(finished: CampaignFinished) -> None:
    others = [(f.id, f.explanation) for f in finished.findings if f.relation not in LEAKS]
    assert others == []


def test_what_cannot_run_or_answers_nothing_is_untested(finished: CampaignFinished) -> None:
    untested = {c.relation: c.reason for c in finished.coverage.untested}
    assert set(untested) == {
        "q: no such column",
        "q: no query",
        "q: two statements",
        "q: never answers",
        "q: never runs",
    }
    assert 'column "tittle" does not exist' in untested["q: no such column"]
    assert "more.sql" in untested["q: no such column"]
    assert "syntax error" in untested["q: no query"]
    assert "multiple commands" in untested["q: two statements"]
    assert untested["q: never answers"].startswith("it never returned or changed a row")
    assert untested["q: never runs"].startswith("it fails: division by zero")
    assert finished.status == "leaks"


def test_what_was_assumed_is_said(finished: CampaignFinished) -> None:
    said = {w.relation: w.message for w in finished.warnings if w.code == "TF907"}
    assert "$1 is taken for the caller's own tenant" in said["q: numbered"]
    assert "q: org by request" not in said


def test_the_mend_was_tried(finished: CampaignFinished) -> None:
    (found,) = of(finished, "q: notes of a ticket")
    assert found.mend == (
        "Add to WHERE: AND EXISTS (SELECT 1 FROM tickets AS owner WHERE owner.id = n.ticket_id"
        " AND owner.org_id = :tenant). Tried on this world: the leak is gone, and the caller's"
        " own rows still come."
    )
    assert found.minimal
    assert found.statements[-1].startswith("-- :ticket_id = '")
    assert "Under row security, as the caller, it answers 0 row(s)." in found.explanation


def test_arguments_and_worlds_are_small(finished: CampaignFinished) -> None:
    (found,) = of(finished, "q: moves by number")
    assert found.statements[-1].count("-- :") == 2
    assert len(found.owner_tenants) == 1


def test_findings_are_replayed_with_the_query_of_the_day(
    finished: CampaignFinished, folder: Path
) -> None:
    (found,) = of(finished, "q: notes of a ticket")
    (result,) = replay(find_target(folder), ids=[found.id])
    assert result.verdict == "still leaks"
    leaky = folder / "queries" / "leaky.sql"
    text = leaky.read_text()
    mended = text.replace(
        "WHERE n.ticket_id = :ticket_id",
        "JOIN tickets t ON t.id = n.ticket_id WHERE t.org_id = :tenant AND t.id = :ticket_id",
    )
    leaky.write_text(mended)
    try:
        (result,) = replay(find_target(folder), ids=[found.id])
        assert result.verdict == "fixed"
        leaky.write_text(text.replace("q: notes of a ticket", "q: renamed"))
        (result,) = replay(find_target(folder), ids=[found.id])
        assert result.verdict == "cannot replay"
        assert result.reason == "the target has no query 'q: notes of a ticket' any more"
    finally:
        leaky.write_text(text)


def test_declarations_that_are_wrong_are_said_at_once(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "schema.sql").write_text(SCHEMA)
    (tmp_path / "a.sql").write_text("-- name: twice\n-- as: root\nSELECT 1;")
    (tmp_path / "b.sql").write_text("-- name: twice\nSELECT 1;")
    text = CONFIG.replace('["queries", "more.sql"]', '["*.txt", "a.sql", "b.sql"]')
    (tmp_path / "tenantfuzz.toml").write_text(
        text + '\n[[queries]]\nname = "x"\nsql = "SELECT 1"\nparams = { q = "text" }\n'
    )
    with pytest.raises(ToolError) as wrong:
        declared_queries(find_target(tmp_path))
    lines = str(wrong.value).splitlines()
    assert [line.rpartition("/")[2] for line in lines] == [
        "tenantfuzz.toml: queries: 'x' has no parameter 'q'",
        "target.queries: '*.txt' names no file of SQL",
        "a.sql: twice: as: expected one of service, principal, both, not 'root'",
        "queries: the name 'twice' is given twice (a.sql, b.sql)",
    ]
