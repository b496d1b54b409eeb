"""What is inferred of small schemas, each with the configuration that a person would write."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tenantfuzz.catalog import read_catalog
from tenantfuzz.engines import Server, scratch_name, start_embedded
from tenantfuzz.policies.configuration import parse_configuration
from tenantfuzz.policies.inferring.drafting import draft
from tenantfuzz.policies.inferring.guesses import Confidence, Inference
from tenantfuzz.policies.inferring.inference import infer
from tenantfuzz.policies.model import Model, OwnershipKind
from tenantfuzz.policies.resolution import PresetFacts, resolve_model
from tenantfuzz.policies.structure import Catalog, RelationName
from tenantfuzz.presets.preset import load_preset

CASES = sorted((Path(__file__).parent / "inference").glob("*.toml"))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with start_embedded() as running:
        yield running


class Loaded:
    """A schema in a database of its own, read, and what is inferred of it."""

    def __init__(self, server: Server, schema: str, preset: str | None) -> None:
        chosen = load_preset(preset) if preset is not None else None
        name = scratch_name("inference")
        server.create_database(name)
        try:
            with psycopg.connect(server.conninfo(name), autocommit=True) as connection:
                platform = frozenset[RelationName]()
                if chosen is not None:
                    connection.execute(chosen.sql.encode())
                    platform = frozenset(read_catalog(connection).relations)
                connection.execute(schema.encode())
                self.catalog: Catalog = read_catalog(connection)
        finally:
            server.drop_database(name)
        self.facts = None
        if chosen is not None:
            self.facts = PresetFacts(
                classification=chosen.classification,
                login=chosen.login,
                role=chosen.role,
                anonymous=chosen.anonymous,
                service_role=chosen.service_role,
                settings=chosen.settings,
                users=chosen.users,
                attacker=chosen.attacker,
            )
        self.given: dict[str, object] = {"target": {"preset": preset}} if preset else {}
        self.inference: Inference = infer(
            self.catalog, given=self.given, preset=self.facts, platform=platform
        )

    def drafted(self) -> Model:
        """The model of the file that ``init`` would write."""
        return self.resolved(draft(self.given, self.inference))

    def resolved(self, text: str) -> Model:
        data = {**self.given, **tomllib.loads(text)}
        configuration = parse_configuration(data, source="tenantfuzz.toml")
        return resolve_model(configuration, self.catalog, self.facts)


def shape(model: Model) -> dict[str, Any]:
    """All of a model that matters, without the reasons."""
    identity = model.identity
    return {
        "tenants": (model.tenants, model.tenant_key, model.tenant_values),
        "users": (model.users, model.user_key),
        "memberships": model.memberships,
        "scope": model.scope,
        "references": set(model.references),
        "ownership": {
            name: (o.kind, o.column, o.ways, o.sql, o.null_shared)
            for name, o in model.ownership.items()
        },
        "kinds": {(k.name, k.where, k.role, k.login) for k in model.kinds},
        "identity": (identity.role, identity.login, identity.anonymous, identity.context),
        "settings": dict(identity.settings),
    }


@pytest.mark.parametrize("path", CASES, ids=lambda p: p.stem)
def test_the_model_is_as_a_person_would_write_it(path: Path, server: Server) -> None:
    case = tomllib.loads(path.read_text(encoding="utf-8"))
    loaded = Loaded(server, case["schema"], case.get("preset"))
    assert shape(loaded.drafted()) == shape(loaded.resolved(case["expected"]))
    unsure = {g.path[-1] for g in loaded.inference.guesses if g.confidence is not Confidence.SURE}
    assert unsure == set(case.get("likely", []))
    asked = {q.path[-1] for q in loaded.inference.questions if q.path[:2] == ("tenancy", "tables")}
    assert asked >= set(case.get("asks", []))
    assert [q for q in loaded.inference.questions if q.essential] == []
    assert all(g.reason for g in loaded.inference.guesses)


ORGANIZATIONS = """
CREATE TABLE organizations (id int PRIMARY KEY, name text);
CREATE TABLE users (id int PRIMARY KEY, email text);
CREATE TABLE members (organization_id int REFERENCES organizations, user_id int REFERENCES users,
  PRIMARY KEY (organization_id, user_id));
CREATE TABLE issues (
  id int PRIMARY KEY, organization_id int NOT NULL REFERENCES organizations, t text);
ALTER TABLE issues ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON issues USING (organization_id IN (
  SELECT m.organization_id FROM members m WHERE m.user_id = current_setting('app.user')::int));
"""


def asked(loaded: Loaded) -> dict[str, tuple[object, ...]]:
    """The candidates of the essential questions, by place."""
    questions = [q for q in loaded.inference.questions if q.essential]
    return {".".join(q.path): q.candidates for q in questions}


def doubted(loaded: Loaded) -> set[str]:
    return {name.name for name in loaded.inference.doubts}


def test_two_levels_of_tenants_are_asked_about(server: Server) -> None:
    schema = """
    CREATE ROLE a1_app LOGIN;
    CREATE TABLE organizations (id int PRIMARY KEY, name text);
    CREATE TABLE workspaces (
      id int PRIMARY KEY, organization_id int NOT NULL REFERENCES organizations);
    CREATE TABLE users (id int PRIMARY KEY, email text);
    CREATE TABLE organization_members (organization_id int REFERENCES organizations,
      user_id int REFERENCES users, PRIMARY KEY (organization_id, user_id));
    CREATE TABLE workspace_members (workspace_id int REFERENCES workspaces,
      user_id int REFERENCES users, PRIMARY KEY (workspace_id, user_id));
    CREATE TABLE boards (id int PRIMARY KEY, workspace_id int NOT NULL REFERENCES workspaces);
    CREATE TABLE cards (id int PRIMARY KEY, workspace_id int NOT NULL REFERENCES workspaces);
    CREATE TABLE invoices (
      id int PRIMARY KEY, organization_id int NOT NULL REFERENCES organizations);
    GRANT ALL ON ALL TABLES IN SCHEMA public TO a1_app;
    """
    loaded = Loaded(server, schema, None)
    assert set(asked(loaded)["tenancy.tenants"]) == {"organizations", "workspaces"}
    assert loaded.inference.guess("tenancy", "tenants") is None


def test_two_roles_that_may_do_the_same_are_asked_about(server: Server) -> None:
    schema = f"""
    CREATE ROLE a2_web LOGIN; CREATE ROLE a2_mobile LOGIN;
    {ORGANIZATIONS}
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO a2_web, a2_mobile;
    """
    loaded = Loaded(server, schema, None)
    assert asked(loaded) == {"identity.role": ("a2_mobile", "a2_web")}


def test_no_role_at_all_is_asked_about(server: Server) -> None:
    loaded = Loaded(server, ORGANIZATIONS, None)
    assert asked(loaded) == {"identity.role": ()}


def test_an_owner_that_policies_do_not_bind_is_only_likely(server: Server) -> None:
    schema = "CREATE ROLE a4_owner LOGIN; GRANT CREATE, USAGE ON SCHEMA public TO a4_owner;"
    schema += f"SET ROLE a4_owner; {ORGANIZATIONS} RESET ROLE;"
    loaded = Loaded(server, schema, None)
    role = loaded.inference.guess("identity", "role")
    assert role is not None
    assert (role.value, role.confidence) == ("a4_owner", Confidence.LIKELY)
    assert "decoration" in loaded.inference.remarks[0]


def test_two_tables_of_members_are_asked_about(server: Server) -> None:
    schema = f"""
    CREATE ROLE a5_app LOGIN;
    {ORGANIZATIONS}
    CREATE TABLE collaborators (organization_id int REFERENCES organizations,
      user_id int REFERENCES users, PRIMARY KEY (organization_id, user_id));
    DROP POLICY p ON issues;
    CREATE POLICY p ON issues USING (organization_id IN (
      SELECT m.organization_id FROM members m WHERE m.user_id = current_setting('app.user')::int
      UNION SELECT c.organization_id FROM collaborators c
      WHERE c.user_id = current_setting('app.user')::int));
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO a5_app;
    """
    loaded = Loaded(server, schema, None)
    tables = [c["table"] for c in asked(loaded)["identity.memberships"] if isinstance(c, dict)]
    assert tables == ["collaborators", "members"]


def test_policies_that_read_nothing_of_the_session_are_asked_about(server: Server) -> None:
    schema = f"""
    CREATE ROLE a6_app LOGIN;
    {ORGANIZATIONS}
    DROP POLICY p ON issues;
    CREATE POLICY p ON issues USING (true);
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO a6_app;
    """
    assert list(asked(Loaded(server, schema, None))) == ["identity.settings"]


def test_doubtful_owners_are_left_open(server: Server) -> None:
    schema = f"""
    CREATE ROLE a7_app LOGIN;
    {ORGANIZATIONS}
    CREATE TABLE transfers (
      id int PRIMARY KEY, organization_id int NOT NULL REFERENCES organizations,
      partner_organization_id int NOT NULL REFERENCES organizations);
    CREATE TABLE labels (id int PRIMARY KEY, organization_id int REFERENCES organizations, t text);
    CREATE TABLE label_uses (label_id int NOT NULL REFERENCES labels, n int);
    CREATE TABLE avatars (user_id int PRIMARY KEY REFERENCES users, url text);
    CREATE TABLE reports (id int PRIMARY KEY, issue_id int REFERENCES issues, body text);
    CREATE TABLE blobs (id int PRIMARY KEY, data bytea);
    CREATE TABLE articles (
      id int PRIMARY KEY, organization_id int NOT NULL REFERENCES organizations,
      status text);
    ALTER TABLE labels ENABLE ROW LEVEL SECURITY;
    ALTER TABLE avatars ENABLE ROW LEVEL SECURITY;
    ALTER TABLE articles ENABLE ROW LEVEL SECURITY;
    CREATE POLICY p ON labels USING (organization_id IS NULL OR organization_id IN (
      SELECT m.organization_id FROM members m WHERE m.user_id = current_setting('app.user')::int));
    CREATE POLICY p ON avatars FOR SELECT USING (true);
    CREATE POLICY p ON articles FOR SELECT USING (status = 'published' OR organization_id IN (
      SELECT m.organization_id FROM members m WHERE m.user_id = current_setting('app.user')::int));
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO a7_app;
    """
    loaded = Loaded(server, schema, None)
    assert asked(loaded) == {}
    assert doubted(loaded) == {
        "transfers",  # two columns name a tenant
        "labels",  # rows without a tenant are shown to everybody
        "label_uses",  # belong to the owner of a label
        "avatars",  # shown to others than the user
        "reports",  # lead to an owner only where they point at an issue
        "blobs",  # nothing leads anywhere
        "articles",  # published ones are shown to everybody
    }
    places = {q.path for q in loaded.inference.questions}
    assert ("tenancy", "tables", "transfers") in places
    assert ("access", "*", "articles") in places
    [access] = [q for q in loaded.inference.questions if q.path[0] == "access"]
    assert access.candidates == (
        {"select": {"any": "articles.organization_id = :tenant OR (status = 'published')"}},
    )


def test_a_policy_that_forgot_the_tenant_raises_no_doubt(server: Server) -> None:
    """Ownership is what names and foreign keys say; that a policy shows more is the finding."""
    schema = f"""
    CREATE ROLE a8_app LOGIN;
    {ORGANIZATIONS}
    CREATE POLICY live ON issues FOR SELECT USING (t IS NOT NULL);
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO a8_app;
    """
    loaded = Loaded(server, schema, None)
    assert (asked(loaded), doubted(loaded)) == ({}, set())
    issues = loaded.drafted().owner_of(RelationName("public", "issues"))
    assert (issues.kind, issues.column) == (OwnershipKind.COLUMN, "organization_id")


def test_a_membership_that_ends_unnoticed_is_asked_about(server: Server) -> None:
    schema = f"""
    CREATE ROLE a9_app LOGIN;
    {ORGANIZATIONS}
    ALTER TABLE members ADD removed_at timestamptz;
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO a9_app;
    """
    loaded = Loaded(server, schema, None)
    [question] = [q for q in loaded.inference.questions if q.path == ("identity", "memberships")]
    assert "removed_at" in question.text
    assert not question.essential
    assert question.candidates == (
        {
            "table": "members",
            "user": "user_id",
            "tenant": "organization_id",
            "active": "removed_at IS NULL",
        },
    )


WIDER = """
CREATE TABLE flags (user_id int PRIMARY KEY REFERENCES users, is_platform_admin boolean);
CREATE TABLE shares (issue_id int REFERENCES issues, user_id int REFERENCES users,
  PRIMARY KEY (issue_id, user_id));
ALTER TABLE organizations ADD parent_id int REFERENCES organizations;
ALTER TABLE issues ADD kind text, ADD gone_at timestamptz;
CREATE FUNCTION me() RETURNS int LANGUAGE sql STABLE
RETURN nullif(current_setting('app.user', true), '')::int;
CREATE FUNCTION mine() RETURNS SETOF int LANGUAGE sql STABLE SECURITY DEFINER AS
$$ SELECT m.organization_id FROM public.members m WHERE m.user_id = public.me() $$;
CREATE FUNCTION below() RETURNS SETOF int LANGUAGE sql STABLE SECURITY DEFINER AS
$$ SELECT o.id FROM public.organizations o WHERE o.parent_id IN (SELECT public.mine()) $$;
CREATE FUNCTION staff() RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER AS
$$ SELECT f.is_platform_admin FROM public.flags f WHERE f.user_id = public.me() $$;
"""
TIED = "organization_id IN (SELECT mine())"


@pytest.mark.parametrize(
    ("using", "meant"),
    [
        # Somebody meant these to be seen by others, or nobody did: a person has to say.
        (f"{TIED} OR kind = 'template'", True),
        (f"gone_at IS NULL AND ({TIED} OR kind IN ('news', 'notice'))", True),
        (f"{TIED} OR staff()", True),
        (f"{TIED} OR EXISTS (SELECT 1 FROM shares s WHERE s.issue_id = issues.id"
         " AND s.user_id = me())", True),
        ("organization_id IN (SELECT below())", True),
        # These say nothing of others but forget to ask whose the row is: they are leaks.
        (TIED, False),
        ("true", False),
        ("gone_at IS NULL", False),
        (f"{TIED} OR kind IS NOT NULL", False),
        ("EXISTS (SELECT 1 FROM members m WHERE m.user_id = me())", False),
        ("EXISTS (SELECT 1 FROM members m WHERE m.user_id = me()"
         " AND m.organization_id = m.organization_id)", False),
    ],
)  # fmt: skip
def test_what_policies_mean_to_show_is_told_from_what_they_forgot(
    server: Server, using: str, meant: bool
) -> None:
    schema = f"""
    DO $$ BEGIN CREATE ROLE b1_app LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
    {ORGANIZATIONS}
    {WIDER}
    CREATE POLICY q ON issues FOR SELECT USING ({using});
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO b1_app;
    """
    loaded = Loaded(server, schema, None)
    assert asked(loaded) == {}
    assert ("issues" in doubted(loaded)) is meant


def test_a_list_of_tenants_holds_memberships_in_force_alone(server: Server) -> None:
    schema = f"""
    CREATE ROLE b2_app LOGIN;
    {ORGANIZATIONS}
    ALTER TABLE members ADD left_on date;
    CREATE FUNCTION ids(setting text) RETURNS int[] LANGUAGE sql STABLE
    RETURN string_to_array(nullif(current_setting(setting, true), ''), ',')::int[];
    DROP POLICY p ON issues;
    CREATE POLICY p ON issues USING (organization_id = ANY (ids('app.readable')));
    GRANT SELECT, INSERT, UPDATE, DELETE ON issues TO b2_app;
    """
    loaded = Loaded(server, schema, None)
    # Policies never see memberships: only the application knows which of them count.
    [candidates] = asked(loaded).values()
    assert isinstance(candidates[0], dict)
    assert candidates[0]["active"] == "left_on IS NULL"
    answered = infer(
        loaded.catalog, given={"identity": {"memberships": candidates[0]}}, preset=None
    )
    setting = answered.guess("identity", "settings", "app.readable")
    assert setting is not None
    assert setting.value == {
        "sql": "SELECT string_agg(m.organization_id::text, ',' ORDER BY m.organization_id) "
        "FROM public.members m WHERE m.user_id = :user AND (left_on IS NULL)"
    }


def test_a_column_that_names_another_side_is_no_owner(server: Server) -> None:
    """What leads to the owner by a way of its own belongs to that owner."""
    schema = f"""
    CREATE ROLE b3_app LOGIN;
    {ORGANIZATIONS}
    CREATE TABLE blocks (issue_id int NOT NULL REFERENCES issues,
      blocked_organization_id int NOT NULL REFERENCES organizations,
      PRIMARY KEY (issue_id, blocked_organization_id));
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO b3_app;
    """
    loaded = Loaded(server, schema, None)
    assert "blocks" in doubted(loaded)
    column = loaded.inference.guess("tenancy", "column")
    assert column is not None
    assert column.value == "organization_id"


@pytest.mark.parametrize(("granted", "login"), [("a9_other", None), ("a9_north", "a9_gate")])
def test_a_login_that_switches_to_roles_of_another_application_is_none_of_its_own(
    granted: str, login: str | None
) -> None:
    schema = f"""
    CREATE ROLE a9_north; CREATE ROLE a9_south; CREATE ROLE a9_other;
    CREATE ROLE a9_gate LOGIN NOINHERIT; GRANT {granted} TO a9_gate;
    CREATE TABLE readings (id int PRIMARY KEY, tenant name NOT NULL DEFAULT current_user);
    CREATE TABLE alarms (id int PRIMARY KEY, tenant name NOT NULL DEFAULT current_user);
    ALTER TABLE readings ENABLE ROW LEVEL SECURITY; ALTER TABLE alarms ENABLE ROW LEVEL SECURITY;
    CREATE POLICY p ON readings USING (tenant = current_user);
    CREATE POLICY p ON alarms USING (tenant = current_user);
    GRANT SELECT, INSERT ON readings, alarms TO a9_north, a9_south;
    """
    with start_embedded() as alone:
        guess = Loaded(alone, schema, None).inference.guess("identity", "login")
    assert (guess.value if guess is not None else None) == login
