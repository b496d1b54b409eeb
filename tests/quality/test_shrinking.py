"""The witnesses of whole campaigns on tiny targets: exactly the rows and statements that a leak
needs, and the same ones each time."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tenantfuzz import corpus
from tenantfuzz.campaign import Options, replay, run_campaign
from tenantfuzz.counterexample import Counterexample
from tenantfuzz.events import CampaignFinished
from tenantfuzz.policies.world import Row
from tenantfuzz.target import find_target

BASE = """
DO $$BEGIN CREATE ROLE q_app; EXCEPTION WHEN duplicate_object THEN NULL; END$$;
CREATE TABLE orgs (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE users (id int PRIMARY KEY, email text NOT NULL UNIQUE);
CREATE TABLE members (
  user_id int NOT NULL REFERENCES users, org_id int NOT NULL REFERENCES orgs,
  role text NOT NULL, PRIMARY KEY (user_id, org_id));
CREATE FUNCTION me() RETURNS int LANGUAGE sql STABLE
  RETURN nullif(current_setting('app.user', true), '')::int;
ALTER TABLE members ENABLE ROW LEVEL SECURITY;
CREATE POLICY members_own ON members FOR SELECT USING (user_id = me());
GRANT SELECT ON members TO q_app;
"""
MINE = "org_id IN (SELECT org_id FROM members WHERE user_id = me())"
CONFIG = """
[target]
name = "tiny"
schema = ["schema.sql"]
[tenancy]
tenants = "orgs"
column = "org_id"
[tenancy.tables]
TABLES
[identity]
users = "users"
memberships = { table = "members", user = "user_id", tenant = "org_id" }
role = "q_app"
settings = { "app.user" = "{user.id}" }
"""

EVERYBODY = (
    BASE
    + """
CREATE TABLE notes (
  id int PRIMARY KEY, org_id int NOT NULL REFERENCES orgs, body text,
  kind text NOT NULL DEFAULT 'plain', author int NOT NULL REFERENCES users);
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY notes_all ON notes USING (true);
GRANT SELECT ON notes TO q_app;
"""
)
SELF_INSERT = (
    BASE
    + f"""
CREATE TABLE notes (id int PRIMARY KEY, org_id int NOT NULL REFERENCES orgs, body text);
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY notes_mine ON notes USING ({MINE});
CREATE POLICY members_join ON members FOR INSERT WITH CHECK (user_id = me());
GRANT SELECT ON notes TO q_app;
GRANT INSERT ON members TO q_app;
"""
)
GUESSED = (
    BASE
    + f"""
CREATE TABLE notes (
  id int PRIMARY KEY, org_id int NOT NULL REFERENCES orgs, body text, status text NOT NULL);
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY notes_mine ON notes USING ({MINE});
CREATE POLICY notes_internal ON notes FOR SELECT USING (status = 'internal');
GRANT SELECT ON notes TO q_app;
"""
)
# No world starts with somebody in a foreign tenant: the trigger sees to that.
CHAIN = (
    BASE
    + """
CREATE TABLE profiles (
  user_id int PRIMARY KEY REFERENCES users, current_org int REFERENCES orgs, motto text);
CREATE FUNCTION at_home() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
  NEW.current_org := (SELECT min(org_id) FROM members m WHERE m.user_id = NEW.user_id);
  RETURN NEW; END$$;
CREATE TRIGGER at_home BEFORE INSERT ON profiles FOR EACH ROW EXECUTE FUNCTION at_home();
CREATE TABLE notes (id int PRIMARY KEY, org_id int NOT NULL REFERENCES orgs, body text);
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY notes_current ON notes FOR SELECT
  USING (org_id = (SELECT p.current_org FROM profiles p WHERE p.user_id = me()));
ALTER TABLE profiles ENABLE ROW LEVEL SECURITY;
CREATE POLICY profiles_own ON profiles USING (user_id = me());
GRANT SELECT, UPDATE ON profiles TO q_app;
GRANT SELECT ON notes TO q_app;
"""
)

Described = tuple[str, dict[str, str | None]]
Found = tuple[CampaignFinished, dict[str, Counterexample]]


def make_target(folder: Path, schema: str, tables: str = "") -> None:
    folder.mkdir(exist_ok=True)
    (folder / "schema.sql").write_text(schema, encoding="utf-8")
    config = CONFIG.replace("TABLES", tables)
    (folder / "tenantfuzz.toml").write_text(config, encoding="utf-8")


def campaign(folder: Path, seed: int = 1) -> Found:
    """Sweeps the target in a folder; the end, and the saved counterexamples by code and door."""
    options = Options(seed=seed, phases=("sweep",), shrink_seconds=120, corpus=folder / "found")
    *_, finished = run_campaign(find_target(folder), options)
    assert isinstance(finished, CampaignFinished)
    saved = [corpus.load(p) for p in corpus.find(folder / "found")]
    assert {c.finding.id for c in saved} == {f.id for f in finished.findings}
    return finished, {f"{c.finding.code} {c.finding.relation}": c for c in saved}


def described(found: Counterexample) -> list[Described]:
    """The rows of the witness, sorted. Keys are written as who or whose they are, literals that
    policies compare as themselves, and all other values as ``*``."""
    principal = found.witness.principal
    (foreign,) = found.finding.owner_tenants
    tenants = {principal.tenant: "own", foreign: "foreign"}
    tenant_columns = {("orgs", "id"), ("members", "org_id"), ("notes", "org_id")}
    tenant_columns |= {("profiles", "current_org")}
    user_columns = {("users", "id"), ("members", "user_id"), ("notes", "author")}
    user_columns |= {("profiles", "user_id")}

    def word(row: Row, column: str) -> str | None:
        value = row.values[column]
        if (row.relation.name, column) in tenant_columns:
            return tenants[value]
        if (row.relation.name, column) in user_columns:
            return "me" if value == principal.user else "other"
        return value if column == "status" else "*"

    rows = [(r.relation.name, {c: word(r, c) for c in r.values}) for r in found.witness.world.rows]
    return sorted(rows, key=lambda r: (r[0], sorted(r[1].items(), key=str)))


OWN_ORG: Described = ("orgs", {"id": "own", "name": "*"})
FOREIGN_ORG: Described = ("orgs", {"id": "foreign", "name": "*"})
ME: Described = ("users", {"id": "me", "email": "*"})
MY_MEMBERSHIP: Described = ("members", {"user_id": "me", "org_id": "own", "role": "*"})
FOREIGN_NOTE: Described = ("notes", {"id": "*", "org_id": "foreign"})
READ_NOTES = ("select", "SELECT * FROM public.notes")


def steps(found: Counterexample) -> list[tuple[str, str]]:
    return [(s.operation, s.sql) for s in found.witness.steps]


def assert_minimal(found: Counterexample) -> None:
    assert found.finding.minimal
    assert found.witness.world.fixups == ()
    assert Counter(found.witness.world.tenants) == {"1": 1, "2": 1}


def test_a_policy_that_is_true_needs_a_member_and_one_foreign_row(tmp_path: Path) -> None:
    make_target(tmp_path, EVERYBODY)
    finished, found = campaign(tmp_path)
    assert finished.status == "leaks"
    assert set(found) == {"TF101 public.notes"}
    leak = found["TF101 public.notes"]
    assert_minimal(leak)
    assert leak.finding.culprits == ("notes_all",)
    assert leak.witness.principal.kind == "member"
    assert steps(leak) == [READ_NOTES]
    # The body may be NULL and the kind has a default: neither is there. The author must be.
    assert described(leak) == [
        MY_MEMBERSHIP,
        ("notes", {"id": "*", "org_id": "foreign", "author": "other"}),
        FOREIGN_ORG,
        OWN_ORG,
        ME,
        ("users", {"id": "other", "email": "*"}),
    ]


def test_a_membership_of_ones_own_making(tmp_path: Path) -> None:
    make_target(tmp_path, SELF_INSERT)
    finished, found = campaign(tmp_path)
    assert finished.status == "leaks"
    # What the new membership shows is no leak of its own.
    assert set(found) == {"TF209 public.members"}

    gained = found["TF209 public.members"]
    assert_minimal(gained)
    assert gained.finding.culprits == ("members_join",)
    assert described(gained) == [MY_MEMBERSHIP, FOREIGN_ORG, OWN_ORG, ME]
    ((operation, sql),) = steps(gained)
    assert operation == "insert"
    assert sql.startswith("INSERT INTO public.members (")


def test_a_literal_that_only_the_policy_knows(tmp_path: Path) -> None:
    make_target(tmp_path, GUESSED)
    finished, found = campaign(tmp_path)
    assert finished.status == "leaks"
    assert set(found) == {"TF101 public.notes"}
    leak = found["TF101 public.notes"]
    assert_minimal(leak)
    assert leak.finding.culprits == ("notes_internal",)
    assert steps(leak) == [READ_NOTES]
    assert described(leak) == [
        MY_MEMBERSHIP,
        ("notes", {"id": "*", "org_id": "foreign", "status": "internal"}),
        FOREIGN_ORG,
        OWN_ORG,
        ME,
    ]


def test_a_leak_that_takes_two_statements(tmp_path: Path) -> None:
    make_target(tmp_path, CHAIN, 'profiles = { user = "user_id" }')
    finished, found = campaign(tmp_path)
    assert finished.status == "leaks"
    assert set(found) == {"TF101 public.notes"}
    leak = found["TF101 public.notes"]
    assert_minimal(leak)
    assert leak.finding.culprits == ("notes_current",)
    me, foreign = leak.witness.principal.user, leak.finding.owner_tenants[0]
    update = f"UPDATE public.profiles SET current_org = '{foreign}' WHERE user_id = '{me}'"
    assert steps(leak) == [("update", update), READ_NOTES]
    rows = described(leak)
    assert [r for r in rows if r[0] != "profiles"] == [
        MY_MEMBERSHIP,
        FOREIGN_NOTE,
        FOREIGN_ORG,
        OWN_ORG,
        ME,
    ]
    ((_, profile),) = [r for r in rows if r[0] == "profiles"]
    assert profile["user_id"] == "me"
    assert "motto" not in profile


@pytest.mark.parametrize(
    ("schema", "mend"),
    [
        (EVERYBODY, lambda s: s.replace("USING (true)", f"USING ({MINE})")),
        (GUESSED, lambda s: s.replace("status = 'internal'", f"status = 'internal' AND {MINE}")),
    ],
    ids=["everybody", "guessed"],
)
def test_a_shrunk_witness_replays_and_is_fixed_by_the_mended_policy(
    tmp_path: Path, schema: str, mend: Callable[[str], str]
) -> None:
    make_target(tmp_path, schema)
    campaign(tmp_path)
    again = list(replay(find_target(tmp_path), corpus=tmp_path / "found"))
    assert [r.verdict for r in again] == ["still leaks"]
    assert mend(schema) != schema
    make_target(tmp_path, mend(schema))
    assert [r.verdict for r in replay(find_target(tmp_path), corpus=tmp_path / "found")] == [
        "fixed"
    ]


def test_the_same_seed_gives_the_same_findings_and_witnesses(tmp_path: Path) -> None:
    runs: list[Found] = []
    for name in ("first", "second"):
        make_target(tmp_path / name, SELF_INSERT)
        runs.append(campaign(tmp_path / name, seed=42))
    (one, found), (two, found_again) = runs
    assert [f.id for f in one.findings] == [f.id for f in two.findings]
    assert found == found_again
    assert one.coverage == two.coverage
    assert (one.checks, one.warnings) == (two.checks, two.warnings)


@pytest.mark.parametrize("seed", [2, 3])
def test_whatever_the_seed_the_same_hole_is_found_with_the_same_rows(
    tmp_path: Path, seed: int
) -> None:
    make_target(tmp_path, GUESSED)
    finished, found = campaign(tmp_path, seed)
    assert [f.code for f in finished.findings] == ["TF101"]
    rows = described(found["TF101 public.notes"])
    assert len(rows) == 5
    assert ("notes", {"id": "*", "org_id": "foreign", "status": "internal"}) in rows


def test_nothing_is_saved_where_that_is_not_asked_for(tmp_path: Path) -> None:
    make_target(tmp_path, EVERYBODY)
    before = sorted(p.name for p in tmp_path.iterdir())
    options = Options(seed=1, phases=("sweep",), shrink_seconds=120, save=False)
    *_, finished = run_campaign(find_target(tmp_path), options)
    assert isinstance(finished, CampaignFinished)
    assert [(f.code, f.minimal, f.corpus_file) for f in finished.findings] == [
        ("TF101", True, None)
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == before
