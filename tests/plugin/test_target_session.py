"""A target over a session: a campaign's findings, whatever is selected, in any order."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tenantfuzz.campaign import Options, run_campaign
from tenantfuzz.engines import EmbeddedServer
from tenantfuzz.errors import ToolError
from tenantfuzz.events import CampaignFinished
from tenantfuzz.outcome import follow
from tenantfuzz.plugin.doors import Door
from tenantfuzz.plugin.target_session import TargetSession, Wishes

Make = Callable[..., Path]

HOLES = """
CREATE POLICY support ON issues FOR SELECT USING (true);
CREATE POLICY editors ON issues FOR UPDATE USING (true);
CREATE TABLE notes (id uuid PRIMARY KEY, org_id text NOT NULL REFERENCES orgs, body text);
GRANT SELECT, INSERT, DELETE ON notes TO plugin_app;
"""

# Whoever points its profile at another organization reads the documents there.
POINTING = """
DO $$ BEGIN CREATE ROLE plugin_app NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
CREATE TABLE orgs (id text PRIMARY KEY, name text);
CREATE TABLE users (id uuid PRIMARY KEY, email text);
CREATE TABLE memberships (
  user_id uuid REFERENCES users, org_id text REFERENCES orgs, PRIMARY KEY (user_id, org_id)
);
CREATE TABLE profiles (user_id uuid PRIMARY KEY REFERENCES users, at_org text, name text);
CREATE TABLE documents (id uuid PRIMARY KEY, org_id text NOT NULL REFERENCES orgs, body text);
ALTER TABLE memberships ENABLE ROW LEVEL SECURITY;
ALTER TABLE profiles ENABLE ROW LEVEL SECURITY;
ALTER TABLE documents ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON memberships, documents TO plugin_app;
GRANT SELECT, UPDATE ON profiles TO plugin_app;
CREATE POLICY mine ON memberships FOR SELECT
  USING (user_id = current_setting('app.user', true)::uuid);
CREATE POLICY mine ON profiles USING (user_id = current_setting('app.user', true)::uuid);
CREATE POLICY member ON documents FOR SELECT USING (
  org_id IN (SELECT org_id FROM memberships) OR org_id IN (SELECT at_org FROM profiles)
);
"""
POINTING_CONFIGURATION = """
[target]
schema = ["schema.sql"]
[tenancy]
tenants = "orgs"
column = "org_id"
[tenancy.tables]
profiles = { user = "user_id" }
[identity]
role = "plugin_app"
users = "users"
memberships = { table = "memberships", user = "user_id", tenant = "org_id" }
settings = { "app.user" = "{user.id}" }
[values]
"profiles.at_org" = ["nowhere"]
"""


@pytest.fixture
def open_session() -> Iterator[Callable[[Path], TargetSession]]:
    opened: list[TargetSession] = []

    def start(folder: Path) -> TargetSession:
        opened.append(TargetSession(folder / "tenantfuzz.toml", Wishes()))
        return opened[-1]

    yield start
    for session in opened:
        session.close()


Open = Callable[[Path], TargetSession]


def by_door(session: TargetSession, doors: list[Door]) -> dict[str, set[str]]:
    """The ids of what leaks at each door."""
    found = {}
    for door in doors:
        verdict = session.attempt(door)
        found[door.name] = {t.finding.id for t in verdict.leaks} | {f.id for f in verdict.mild}
    return {name: ids for name, ids in found.items() if ids}


def test_findings_are_those_of_a_campaign_in_any_order(
    make_target: Make, open_session: Open
) -> None:
    folder = make_target(HOLES)
    session = open_session(folder)
    doors = session.collect()
    forwards = by_door(session, doors)
    campaign: CampaignFinished = follow(
        run_campaign(session.target, Options(seed=0, phases=("sweep",), shrink=False, save=False)),
        lambda event: None,
    )
    assert set().union(*forwards.values()) == {f.id for f in campaign.findings}
    assert forwards["select[public.issues]"]
    assert forwards["update[public.issues]"]
    assert forwards["delete[public.notes]"]
    assert session.counters.checks == campaign.checks

    backwards = open_session(folder)
    assert by_door(backwards, list(reversed(backwards.collect()))) == forwards

    alone = open_session(folder)
    [door] = [d for d in alone.collect() if d.name == "delete[public.notes]"]
    assert by_door(alone, [door]) == {door.name: forwards[door.name]}


def test_coverage_is_that_of_a_campaign(make_target: Make, open_session: Open) -> None:
    folder = make_target("CREATE VIEW titles AS SELECT title FROM issues;")
    session = open_session(folder)
    verdicts = [session.attempt(door) for door in session.collect()]
    campaign = follow(
        run_campaign(session.target, Options(seed=0, phases=("sweep",), save=False)),
        lambda event: None,
    )
    assert sum(v.covered for v in verdicts) == campaign.coverage.covered
    assert sum(v.closed for v in verdicts) == campaign.coverage.closed
    untested = {replace(c) for v in verdicts for c in v.untested}
    assert untested == set(campaign.coverage.untested)


def test_what_can_be_read_after_a_write_is_the_writes(
    make_target: Make, open_session: Open
) -> None:
    folder = make_target()
    (folder / "schema.sql").write_text(POINTING, encoding="utf-8")
    (folder / "tenantfuzz.toml").write_text(POINTING_CONFIGURATION, encoding="utf-8")
    session = open_session(folder)
    doors = {d.name: d for d in session.collect()}
    verdict = session.attempt(doors["update[public.profiles]"])
    [told] = [t for t in verdict.leaks if t.finding.relation == "public.documents"]
    assert told.counterexample is not None
    assert [s.operation for s in told.counterexample.witness.steps] == ["update", "select"]
    assert session.attempt(doors["select[public.documents]"]).leaks == ()


def test_a_hole_that_shows_by_itself_is_not_the_writes_before_it(
    make_target: Make, open_session: Open
) -> None:
    folder = make_target()
    hole = "CREATE POLICY support ON documents FOR SELECT USING (true);\n"
    (folder / "schema.sql").write_text(POINTING + hole, encoding="utf-8")
    (folder / "tenantfuzz.toml").write_text(POINTING_CONFIGURATION, encoding="utf-8")
    session = open_session(folder)
    doors = {d.name: d for d in session.collect()}
    # The write comes first: nobody has looked at the documents yet.
    written = session.attempt(doors["update[public.profiles]"])
    assert ("support",) not in [t.finding.culprits for t in written.leaks]
    read = session.attempt(doors["select[public.documents]"])
    assert ("support",) in [t.finding.culprits for t in read.leaks]


def test_queries_are_doors(make_target: Make, open_session: Open) -> None:
    queries = """
    [[queries]]
    name = "own issues"
    sql = "SELECT id, title FROM issues WHERE org_id = :tenant"
    [[queries]]
    name = "all issues"
    sql = "SELECT id, title FROM issues"
    """
    folder = make_target(configuration=queries)
    session = open_session(folder)
    doors = {d.name: d for d in session.collect()}
    leaking = session.attempt(doors["query[all issues]"])
    assert {t.finding.code for t in leaking.leaks} == {"TF501"}
    sound = session.attempt(doors["query[own issues]"])
    assert sound.leaks == ()
    assert sound.untested == ()
    assert sound.covered > 0


ADAPTERS = """
[[adapters]]
name = "app"
scoping = "scopes:nothing"
[[adapters]]
name = "app count"
python = "scopes:count"
"""
SCOPES = """
def nothing(query, caller):
    return query

def count(connection, caller):
    query = "SELECT count(*) FROM issues WHERE org_id = %s"
    return connection.execute(query, [caller.tenant]).fetchone()
"""


def test_adapters_are_doors(make_target: Make, open_session: Open) -> None:
    folder = make_target(configuration=ADAPTERS)
    (folder / "scopes.py").write_text(SCOPES, encoding="utf-8")
    session = open_session(folder)
    doors = {d.name: d for d in session.collect() if d.operation == "query"}
    assert set(doors) == {"query[app]", "query[app count]"}
    leaking = session.attempt(doors["query[app]"])
    assert {t.finding.code for t in leaking.leaks} == {"TF501"}
    sound = session.attempt(doors["query[app count]"])
    assert (sound.leaks, sound.untested) == ((), ())
    assert sound.covered > 0


def test_a_server_that_was_killed_is_followed_by_another(
    make_target: Make, open_session: Open
) -> None:
    session = open_session(make_target())
    [door] = [d for d in session.collect() if d.name == "select[public.issues]"]
    server = session.prepared.server
    assert isinstance(server, EmbeddedServer)
    process = (server.directory / "data" / "postmaster.pid").read_text().split("\n", 1)[0]
    os.kill(int(process), signal.SIGKILL)
    with pytest.raises(ToolError):
        session.attempt(door)
    assert session.attempt(door).covered > 0


def test_everything_is_given_back(make_target: Make) -> None:
    with closing(TargetSession(make_target() / "tenantfuzz.toml", Wishes())) as session:
        session.attempt(session.collect()[0])
        server = session.prepared.server
        session.grounds()
    assert not getattr(server, "directory", Path("/")).exists()


def test_rows_that_nobody_ever_saw_are_a_finding_where_it_is_strict(
    make_target: Make, open_session: Open
) -> None:
    shut = """
CREATE TABLE notes (id uuid PRIMARY KEY, org_id text NOT NULL REFERENCES orgs, body text);
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON notes USING (org_id = current_setting('app.tnant', true));
GRANT SELECT ON notes TO plugin_app;
"""
    folder = make_target(shut)
    [door] = [d for d in open_session(folder).collect() if d.name == "select[public.notes]"]
    session = open_session(folder)
    mild = session.attempt(door)
    assert (mild.leaks, len(mild.untested) > 0) == ((), True)
    text = "TF803 public.notes: no principal ever saw a row of it, not even one of its own tenant"
    assert text in session.warnings()
    file = folder / "tenantfuzz.toml"
    file.write_text(file.read_text(encoding="utf-8") + "[run]\nstrict = true\n", encoding="utf-8")
    [told] = open_session(folder).attempt(door).leaks
    assert (told.finding.code, told.finding.culprits) == ("TF803", ("own",))
