"""What is said of a target before any verdict."""

from pathlib import Path

import pytest

from tenantfuzz.campaign import Options, run_campaign
from tenantfuzz.events import CampaignFinished
from tenantfuzz.target import find_target

SCHEMA = """
DO $$ BEGIN CREATE ROLE ended_app NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
CREATE TABLE orgs (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE users (id int PRIMARY KEY, email text NOT NULL);
CREATE TABLE members (
  user_id int NOT NULL REFERENCES users, org_id int NOT NULL REFERENCES orgs, {},
  PRIMARY KEY (user_id, org_id)
);
CREATE TABLE issues (id int PRIMARY KEY, org_id int NOT NULL REFERENCES orgs, title text);
ALTER TABLE issues ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON issues USING (EXISTS (
  SELECT FROM members m
  WHERE m.user_id = current_setting('app.user')::int AND m.org_id = issues.org_id
));
GRANT SELECT ON issues, members TO ended_app;
"""
CONFIGURATION = """
[target]
schema = ["schema.sql"]
[tenancy]
tenants = "orgs"
column = "org_id"
tables = {{ members = "unclassified" }}
[identity]
users = "users"
role = "ended_app"
settings = {{ "app.user" = "{{user.id}}" }}
memberships = {{ table = "members", user = "user_id", tenant = "org_id"{} }}
"""


def run(folder: Path, column: str, active: str) -> CampaignFinished:
    (folder / "schema.sql").write_text(SCHEMA.format(column), encoding="utf-8")
    (folder / "tenantfuzz.toml").write_text(CONFIGURATION.format(active), encoding="utf-8")
    options = Options(seed=1, phases=("sweep",), only="public.issues", shrink=False, save=False)
    *_, finished = run_campaign(find_target(folder), options)
    assert isinstance(finished, CampaignFinished)
    return finished


def ended(finished: CampaignFinished) -> list[str]:
    return [w.message for w in finished.warnings if "membership ended" in w.message]


@pytest.mark.parametrize(
    ("column", "predicate"),
    [("left_at timestamptz", "left_at IS NULL"), ("disabled boolean NOT NULL", "NOT disabled")],
)
def test_memberships_that_may_have_ended_are_asked_about(
    column: str, predicate: str, tmp_path: Path
) -> None:
    finished = run(tmp_path, column, "")
    assert finished.findings == ()
    (told,) = ended(finished)
    assert told.startswith(f"{column.split()[0]} seems to say")
    assert f'active = "{predicate}" or active = "true"' in told
    finished = run(tmp_path, column, f', active = "{predicate}"')
    assert ended(finished) == []
    assert [(f.code, f.relation) for f in finished.findings] == [("TF101", "public.issues")]


@pytest.mark.parametrize(
    ("column", "active"),
    [("left_at timestamptz", ', active = "true"'), ("joined_at timestamptz", "")],
)
def test_nothing_is_asked_where_it_is_said_or_nothing_ends(
    column: str, active: str, tmp_path: Path
) -> None:
    finished = run(tmp_path, column, active)
    assert (ended(finished), finished.findings) == ([], ())
