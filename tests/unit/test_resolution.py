"""From a configuration and a catalog to the model: ownership, identity, kinds, rules, errors."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest

from tenantfuzz.policies.configuration import Attacker, ConfigurationError, parse_configuration
from tenantfuzz.policies.model import (
    Kind,
    Memberships,
    Model,
    Ownership,
    OwnershipKind,
    Rule,
    Scope,
    SqlTemplate,
    Way,
)
from tenantfuzz.policies.resolution import PresetFacts, attacker_of, resolve_model
from tenantfuzz.policies.structure import (
    Catalog,
    Column,
    DataType,
    ForeignKey,
    Operation,
    Relation,
    RelationKind,
    RelationName,
    Role,
    Unique,
)

TEXT = DataType("text", "text")


def named(text: str) -> RelationName:
    schema, _, name = text.rpartition(".")
    return RelationName(schema or "public", name)


def table(
    name: str,
    columns: str,
    *,
    key: str | None = "id",
    keys: Iterable[tuple[str, str]] = (),
    kind: RelationKind = RelationKind.TABLE,
    parent: str | None = None,
) -> Relation:
    """A relation; ``columns`` are words, NOT NULL behind "!"; ``keys`` pairs of texts such as
    ("a b", "target(c d)")."""
    primary = (Unique("pk", tuple(key.split()), primary=True),) if key else ()
    foreign = []
    for own, target in keys:
        where, _, theirs = target.rstrip(")").partition("(")
        foreign.append(
            ForeignKey(f"fk_{own}", tuple(own.split()), named(where), tuple(theirs.split()))
        )
    return Relation(
        name=named(name),
        oid=1,
        kind=kind,
        owner="owner",
        columns=tuple(
            Column(word.rstrip("!"), number, TEXT, not_null=word.endswith("!"))
            for number, word in enumerate(columns.split(), 1)
        ),
        uniques=primary,
        foreign_keys=tuple(foreign),
        parent=named(parent) if parent else None,
    )


BASE = (
    table("orgs", "id! name"),
    table("users", "id! email"),
    table(
        "memberships",
        "id! org_id! user_id! role deleted_at",
        keys=[("org_id", "orgs(id)"), ("user_id", "users(id)")],
    ),
    table("issues", "id! org_id! title assigned_to", keys=[("org_id", "orgs(id)")]),
)
ROLES = ("app", "login", "anon", "service", "pg_monitor")


def catalog(*more: Relation, roles: Iterable[str] = ROLES) -> Catalog:
    return Catalog(
        relations={relation.name: relation for relation in (*BASE, *more)},
        roles={role: Role(role) for role in roles},
        grants={},
        functions=(),
        server_version=160000,
    )


TENANCY = '[tenancy]\ntenants = "orgs"\ncolumn = "org_id"\n'
IDENTITY = (
    '[identity]\nrole = "app"\nusers = "users"\n'
    'memberships = { table = "memberships", user = "user_id", tenant = "org_id", '
    'active = "deleted_at IS NULL" }\n'
)


def resolve(
    text: str,
    *more: Relation,
    tenancy: str = TENANCY,
    identity: str = IDENTITY,
    preset: PresetFacts | None = None,
    roles: Iterable[str] = ROLES,
) -> Model:
    data = tomllib.loads(tenancy + identity + text)
    configuration = parse_configuration(data, source="tenantfuzz.toml")
    return resolve_model(configuration, catalog(*more, roles=roles), preset)


def problems(
    text: str, *more: Relation, tenancy: str = TENANCY, identity: str = IDENTITY
) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as raised:
        resolve(text, *more, tenancy=tenancy, identity=identity)
    return raised.value.problems


def owner(model: Model, name: str) -> Ownership:
    return model.ownership[named(name)]


def way(columns: str, target: str, target_columns: str) -> Way:
    return Way(tuple(columns.split()), named(target), tuple(target_columns.split()))


COMMENTS = table("comments", "id! issue_id! author_id", keys=[("issue_id", "issues(id)")])


class TestLandmarks:
    def test_tenants_users_memberships_and_the_column(self) -> None:
        model = resolve("")
        assert (model.tenants, model.tenant_key) == (named("orgs"), "id")
        assert (model.users, model.user_key) == (named("users"), "id")
        assert model.memberships == Memberships(
            named("memberships"), "user_id", "org_id", "deleted_at IS NULL"
        )
        assert model.scope is Scope.MEMBERSHIPS
        assert (owner(model, "orgs").kind, owner(model, "orgs").column) == ("tenants", "id")
        assert (owner(model, "users").kind, owner(model, "users").column) == ("members", "id")
        assert owner(model, "memberships").column == "org_id"
        assert (owner(model, "issues").kind, owner(model, "issues").column) == ("column", "org_id")

    def test_tenants_as_values(self) -> None:
        model = resolve("", tenancy='[tenancy]\ntenants = {values = ["a", "b"]}\ncolumn="org_id"\n')
        assert (model.tenants, model.tenant_key) == (None, None)
        assert model.tenant_values == ("a", "b")
        assert owner(model, "issues").kind is OwnershipKind.COLUMN

    def test_the_first_column_that_a_relation_has(self) -> None:
        both = table("both", "id! team_id org_id")
        later = table("later", "id! team_id")
        tenancy = '[tenancy]\ntenants = "orgs"\ncolumn = ["org_id", "team_id"]\n'
        model = resolve("", both, later, tenancy=tenancy)
        assert owner(model, "both").column == "org_id"
        assert owner(model, "later").column == "team_id"

    def test_the_user_id_is_what_memberships_refer_to(self) -> None:
        people = table("people", "id! subject!")
        links = table("links", "who! org_id!", key=None, keys=[("who", "people(subject)")])
        identity = (
            '[identity]\nrole = "app"\nusers = "people"\n'
            'memberships = { table = "links", user = "who", tenant = "org_id" }\n'
        )
        model = resolve("", people, links, identity=identity)
        assert model.user_key == "subject"
        assert owner(model, "people").column == "subject"

    def test_a_users_table_that_is_the_memberships_table_carries_its_tenant(self) -> None:
        staff = table("staff", "id! org_id!")
        identity = (
            '[identity]\nrole = "app"\nusers = "staff"\n'
            'memberships = { table = "staff", user = "id", tenant = "org_id" }\n'
        )
        ownership = owner(resolve("", staff, identity=identity), "staff")
        assert (ownership.kind, ownership.column) == (OwnershipKind.COLUMN, "org_id")

    def test_no_users(self) -> None:
        model = resolve("", identity='[identity]\nrole = "app"\n')
        assert (model.users, model.memberships) == (None, None)
        assert model.kinds == (Kind("member"),)

    def test_composite_keys_of_landmarks_are_errors(self) -> None:
        pairs = table("pairs", "a! b!", key="a b")
        tenancy = '[tenancy]\ntenants = "pairs"\ncolumn = "org_id"\n'
        assert problems("", pairs, tenancy=tenancy) == (
            "tenancy.tenants: the tenant id is the primary key of public.pairs, which must be one "
            "column; it is (a, b)",
        )

    def test_no_tenants(self) -> None:
        (problem,) = problems("", tenancy="")
        assert problem.startswith("tenancy: missing key 'tenants'")

    def test_the_audit_table(self) -> None:
        assert resolve('[audit]\ntable = "issues"').audit == named("issues")


class TestDeclared:
    @pytest.mark.parametrize(
        ("entry", "expected"),
        [
            ('"shared"', Ownership(OwnershipKind.SHARED, reason="declared")),
            ('"private"', Ownership(OwnershipKind.PRIVATE, reason="declared")),
            ('"members"', Ownership(OwnershipKind.MEMBERS, column="id", reason="declared")),
            (
                '{ members = "owner" }',
                Ownership(OwnershipKind.MEMBERS, column="owner", reason="declared"),
            ),
            (
                '{ user = "owner" }',
                Ownership(OwnershipKind.USER, column="owner", reason="declared"),
            ),
            (
                '{ column = "team", null = "shared" }',
                Ownership(OwnershipKind.COLUMN, column="team", null_shared=True, reason="declared"),
            ),
            (
                '{ sql = "SELECT id, team FROM things" }',
                Ownership(OwnershipKind.SQL, sql="SELECT id, team FROM things", reason="declared"),
            ),
        ],
    )
    def test_forms(self, entry: str, expected: Ownership) -> None:
        things = table("things", "id! owner team org_id")
        model = resolve(f"[tenancy.tables]\nthings = {entry}\n", things)
        assert owner(model, "things") == expected

    def test_a_name_with_its_schema(self) -> None:
        model = resolve('[tenancy.tables]\n"app.jobs" = "private"\n', table("app.jobs", "id!"))
        assert owner(model, "app.jobs").kind is OwnershipKind.PRIVATE

    def test_twice_is_an_error(self) -> None:
        text = '[tenancy.tables]\nissues = "shared"\n"public.issues" = "private"\n'
        (problem,) = problems(text)
        assert "public.issues is declared twice" in problem

    def test_sql_without_a_primary_key(self) -> None:
        log = table("log", "id org_id", key=None)
        assert problems('[tenancy.tables]\nlog = { sql = "SELECT 1, 2" }\n', log) == (
            "tenancy.tables.log: 'sql' needs a primary key; public.log has none",
        )

    def test_members_without_memberships(self) -> None:
        text = '[tenancy.tables]\nissues = "members"\n'
        assert problems(text, identity='[identity]\nrole = "app"\n') == (
            "tenancy.tables.issues: 'members' needs identity.memberships",
        )


class TestWays:
    def test_a_foreign_key_column(self) -> None:
        model = resolve('[tenancy.tables]\ncomments = { via = "issue_id" }\n', COMMENTS)
        assert owner(model, "comments") == Ownership(
            OwnershipKind.VIA, ways=(way("issue_id", "issues", "id"),), reason="declared"
        )

    def test_null_shared(self) -> None:
        text = '[tenancy.tables]\ncomments = { via = "issue_id", null = "shared" }\n'
        assert owner(resolve(text, COMMENTS), "comments").null_shared

    def test_the_key_with_an_owner_then_the_one_with_few_columns(self) -> None:
        # issue_id is in three keys: to a relation without owner, and twice to one with.
        notes = table(
            "notes",
            "id! issue_id number",
            keys=[
                ("issue_id", "kinds(id)"),
                ("issue_id number", "issues(id title)"),
                ("issue_id", "issues(id)"),
            ],
        )
        text = '[tenancy.tables]\nnotes = { via = "issue_id" }\n'
        model = resolve(text, notes, table("kinds", "id!"))
        assert owner(model, "notes").ways == (way("issue_id", "issues", "id"),)

    def test_a_composite_key_by_one_of_its_columns(self) -> None:
        lines = table("lines", "id! number book", keys=[("book number", "issues(title id)")])
        model = resolve('[tenancy.tables]\nlines = { via = "number" }\n', lines)
        assert owner(model, "lines").ways == (way("book number", "issues", "title id"),)

    def test_columns_of_one_key_are_one_way(self) -> None:
        lines = table("lines", "id! number book", keys=[("book number", "issues(title id)")])
        model = resolve('[tenancy.tables]\nlines = { via = ["number", "book"] }\n', lines)
        assert owner(model, "lines").ways == (way("book number", "issues", "title id"),)

    def test_columns_of_several_keys_are_alternatives(self) -> None:
        links = table(
            "links", "id! one two", keys=[("one", "issues(id)"), ("two", "memberships(id)")]
        )
        model = resolve('[tenancy.tables]\nlinks = { via = ["one", "two"] }\n', links)
        assert owner(model, "links").ways == (
            way("one", "issues", "id"),
            way("two", "memberships", "id"),
        )

    def test_named_columns_become_a_reference_too(self) -> None:
        loose = table("loose", "id! issue")
        model = resolve('[tenancy.tables]\nloose = { via = "issue -> issues.id" }\n', loose)
        assert owner(model, "loose").ways == (way("issue", "issues", "id"),)
        (key,) = model.foreign_keys(catalog(loose), named("loose"))
        assert (key.columns, key.target, key.declared) == (("issue",), named("issues"), False)

    def test_references_are_keys_that_via_can_use(self) -> None:
        machines = table("machines", "id! issue")
        tenancy = TENANCY + 'references = ["machines.issue -> public.issues.id"]\n'
        text = '[tenancy.tables]\nmachines = { via = "issue" }\n'
        model = resolve(text, machines, tenancy=tenancy)
        assert owner(model, "machines").ways == (way("issue", "issues", "id"),)
        ((relation, key),) = model.references
        assert relation == named("machines")
        assert (key.columns, key.target_columns, key.declared) == (("issue",), ("id",), False)

    def test_a_chain(self) -> None:
        votes = table("votes", "id! comment_id", keys=[("comment_id", "comments(id)")])
        text = '[tenancy.tables]\nvotes = { via = "comment_id" }\ncomments = { via = "issue_id" }\n'
        assert owner(resolve(text, votes, COMMENTS), "votes").ways == (
            way("comment_id", "comments", "id"),
        )

    def test_no_key_and_no_name(self) -> None:
        loose = table("loose", "id! issue")
        assert problems('[tenancy.tables]\nloose = { via = "issue" }\n', loose) == (
            "tenancy.tables.loose.via: public.loose.issue is in no foreign key: say where it "
            'leads, as in "issue -> table.column"',
        )

    def test_a_cycle_reaches_no_owner(self) -> None:
        one = table("one", "id! two_id", keys=[("two_id", "two(id)")])
        two = table("two", "id! one_id", keys=[("one_id", "one(id)")])
        text = '[tenancy.tables]\none = { via = "two_id" }\ntwo = { via = "one_id" }\n'
        assert problems(text, one, two) == (
            "tenancy.tables.one.via: never reaches an owner: it leads to public.two (via)",
            "tenancy.tables.two.via: never reaches an owner: it leads to public.one (via)",
        )

    def test_a_cycle_with_a_way_out_is_no_error(self) -> None:
        replies = table(
            "replies",
            "id! parent_id issue_id",
            keys=[("parent_id", "replies(id)"), ("issue_id", "issues(id)")],
        )
        model = resolve(
            '[tenancy.tables]\nreplies = { via = ["parent_id", "issue_id"] }\n', replies
        )
        assert len(owner(model, "replies").ways) == 2

    def test_a_way_to_shared_rows_reaches_no_owner(self) -> None:
        plans = table("plans", "id!")
        subs = table("subs", "id! plan_id", keys=[("plan_id", "plans(id)")])
        text = '[tenancy.tables]\nplans = "shared"\nsubs = { via = "plan_id" }\n'
        assert problems(text, plans, subs) == (
            "tenancy.tables.subs.via: never reaches an owner: it leads to public.plans (shared)",
        )


class TestInferred:
    def test_the_only_required_key(self) -> None:
        # The optional key to the memberships table is no second way.
        notes = table(
            "notes",
            "id! issue_id! by",
            keys=[("issue_id", "issues(id)"), ("by", "memberships(id)")],
        )
        assert owner(resolve("", notes), "notes") == Ownership(
            OwnershipKind.VIA,
            ways=(way("issue_id", "issues", "id"),),
            reason="inferred: issue_id leads to public.issues",
        )

    def test_several_required_keys_are_all_ways(self) -> None:
        links = table(
            "links", "one! two!", key=None, keys=[("one", "issues(id)"), ("two", "issues(id)")]
        )
        assert owner(resolve("", links), "links").ways == (
            way("one", "issues", "id"),
            way("two", "issues", "id"),
        )

    def test_chains_whatever_the_order_of_relations(self) -> None:
        a = table("a", "id! b_id!", keys=[("b_id", "b(id)")])
        b = table("b", "id! c_id!", keys=[("c_id", "c(id)")])
        c = table("c", "id! issue_id!", keys=[("issue_id", "issues(id)")])
        model = resolve("", a, b, c)
        assert [owner(model, name).ways[0].target.name for name in "abc"] == ["b", "c", "issues"]

    def test_a_key_to_users_or_to_shared_rows_says_nothing_of_the_owner(self) -> None:
        notes = table(
            "notes",
            "id! by! kind! issue_id!",
            keys=[("by", "users(id)"), ("kind", "kinds(id)"), ("issue_id", "issues(id)")],
        )
        model = resolve('[tenancy.tables]\nkinds = "shared"\n', notes, table("kinds", "id!"))
        assert owner(model, "notes").ways == (way("issue_id", "issues", "id"),)

    def test_unsure_where_one_key_leads_to_no_owner(self) -> None:
        notes = table(
            "notes",
            "id! kind! issue_id!",
            keys=[("kind", "kinds(id)"), ("issue_id", "issues(id)")],
        )
        assert owner(resolve("", notes, table("kinds", "id!")), "notes") == Ownership(
            OwnershipKind.UNCLASSIFIED,
            reason="no tenant column, and kind leads to public.kinds, which is unclassified",
        )

    def test_unsure_where_rows_without_owner_are_shared(self) -> None:
        models = table("models", "id! org_id")
        parts = table("parts", "id! model_id!", keys=[("model_id", "models(id)")])
        text = '[tenancy.tables]\nmodels = { column = "org_id", null = "shared" }\n'
        assert owner(resolve(text, models, parts), "parts").kind is OwnershipKind.UNCLASSIFIED

    def test_nothing_to_go_by(self) -> None:
        prefs = table("prefs", "id! user_id! parent", keys=[("user_id", "users(id)")])
        assert owner(resolve("", prefs), "prefs") == Ownership(
            OwnershipKind.UNCLASSIFIED,
            reason="no tenant column, and no foreign key to rows of a tenant",
        )

    def test_views_are_not_classified(self) -> None:
        view = table("all_issues", "id org_id", key=None, kind=RelationKind.VIEW)
        for text in ("", '[tenancy.tables]\nall_issues = { column = "org_id" }\n'):
            assert owner(resolve(text, view), "all_issues") == Ownership(
                OwnershipKind.UNCLASSIFIED,
                reason="a view: not tested as a door in this version",
            )

    def test_a_partition_takes_its_parents_ownership_and_rules(self) -> None:
        parent = table("events", "id! team", kind=RelationKind.PARTITIONED)
        middle = table("e2", "id! team", kind=RelationKind.PARTITIONED, parent="events")
        leaf = table("e2a", "id! team", parent="e2")
        text = (
            '[tenancy.tables]\nevents = { column = "team" }\n'
            "[access.member]\nevents = { update = false }\n"
        )
        model = resolve(text, leaf, middle, parent)
        assert owner(model, "e2a") == owner(model, "events")
        assert owner(model, "e2a").column == "team"
        for name in ("events", "e2", "e2a"):
            rule = model.rule("member", named(name), Operation.UPDATE)
            assert rule is not None
            assert rule.closes


class TestIdentity:
    def test_of_the_file(self) -> None:
        identity = (
            '[identity]\nrole = { sql = "SELECT :tenant" }\nlogin = "login"\nanonymous = "anon"\n'
            'service_role = "service"\nstatements = ["SET x.y = 1"]\n'
            'settings = { "app.org" = "{tenant.id}", "app.all" = { sql = "SELECT :user" } }\n'
        )
        found = resolve("", identity=identity).identity
        assert found.role == SqlTemplate("SELECT :tenant")
        assert (found.login, found.anonymous, found.service_role) == ("login", "anon", "service")
        assert found.statements == ("SET x.y = 1",)
        assert found.settings == {
            "app.org": "{tenant.id}",
            "app.all": SqlTemplate("SELECT :user"),
        }
        assert not found.user_claims

    def test_the_preset_fills_and_the_file_wins(self) -> None:
        preset = PresetFacts(
            role="anon",
            login="login",
            anonymous="anon",
            service_role="not_there",
            settings={"claims": '{"sub": "{user.id}"}', "other": "x"},
            users="users",
        )
        identity = '[identity]\nrole = "app"\nsettings = { other = "y" }\n'
        model = resolve("", identity=identity, preset=preset)
        found = model.identity
        assert (found.role, found.login, found.anonymous) == ("app", "login", "anon")
        assert found.service_role is None
        assert found.settings == {"claims": '{"sub": "{user.id}"}', "other": "y"}
        assert model.users == named("users")

    def test_the_presets_classification_goes_behind_the_files(self) -> None:
        facts: Mapping[str, object] = {
            "auth.*": "private",
            "auth.buckets": "shared",
            "auth.sessions": {"user": "user_id"},
            "gone.table": "private",
        }
        more = [table(f"auth.{name}", "id! user_id org_id") for name in ("log", "buckets")]
        more.append(table("auth.sessions", "id! user_id org_id"))
        preset = PresetFacts(classification=facts)
        model = resolve('[tenancy.tables]\n"auth.log" = "shared"\n', *more, preset=preset)
        assert owner(model, "auth.log").kind is OwnershipKind.SHARED
        assert owner(model, "auth.buckets").kind is OwnershipKind.SHARED
        sessions = owner(model, "auth.sessions")
        assert (sessions.kind, sessions.column) == (OwnershipKind.USER, "user_id")
        assert sessions.reason == "classified by the preset"

    def test_claims_of_the_user(self) -> None:
        assert resolve('[target]\npreset = "supabase"\n').identity.user_claims
        text = "[identity.settings]\nclaims = '{\"user_metadata\": {}}'\n"
        assert resolve(text).identity.user_claims

    def test_a_role_is_needed(self) -> None:
        (problem,) = problems("", identity="")
        assert problem.startswith("identity: missing key 'role'")
        resolve("", identity="[identity]\nstatements = ['SET ROLE app']\n")

    @pytest.mark.parametrize(
        ("code", "secured", "needed"),
        [("", False, False), ("", True, True), ('as = "both"', False, True)],
    )
    def test_code_for_all_needs_none(self, code: str, secured: bool, needed: bool) -> None:
        code = f'[[queries]]\nname = "list"\nsql = "SELECT 1"\n{code}\n'
        more = replace(table("drafts", "id! org_id"), row_security=secured)
        if needed:
            (problem,) = problems(code, more, identity="")
            assert problem.startswith("identity: missing key 'role'")
        else:
            assert resolve(code, more, identity="").identity.nobodys

    def test_a_role_per_tenant_is_not_looked_up(self) -> None:
        identity = '[identity]\nrole = "tenant_{tenant.id}"\n'
        assert resolve("", identity=identity).identity.role == "tenant_{tenant.id}"

    def test_unknown_roles(self) -> None:
        identity = '[identity]\nrole = "ap"\nlogin = "zzz"\n'
        assert problems("", identity=identity) == (
            "unknown role 'ap' in identity.role; did you mean app? "
            "existing: app, anon, login, service",
            "unknown role 'zzz' in identity.login; existing: anon, app, login, service",
        )

    def test_the_attacker(self) -> None:
        silent = parse_configuration({}, source="x")
        stated = parse_configuration({"run": {"attacker": "ddl"}}, source="x")
        preset = PresetFacts(attacker="api")
        assert attacker_of(silent, None) is Attacker.DML
        assert attacker_of(silent, preset) is Attacker.API
        assert attacker_of(stated, preset) is Attacker.DDL


class TestKinds:
    def test_order_of_the_file_and_member_last(self) -> None:
        text = (
            "[principals.member]\nrole = 'anon'\n"
            "[principals.zeta]\nwhere = \"membership.role = 'z'\"\nlogin = 'login'\n"
            "[principals.alpha]\nfrom = 'issues'\nsettings = { 'a.b' = '{user.id}' }\n"
        )
        assert resolve(text).kinds == (
            Kind("zeta", where="membership.role = 'z'", login="login"),
            Kind("alpha", settings={"a.b": "{user.id}"}, source="public.issues"),
            Kind("member", role="anon"),
        )

    def test_a_kind_behind_one_that_takes_all(self) -> None:
        text = "[principals.all]\nrole = 'app'\n[principals.some]\nwhere = \"role = 'x'\"\n"
        assert problems(text) == (
            "principals.some: never reached: 'all' before it has no 'where' and takes every "
            "membership",
        )

    def test_where_without_memberships(self) -> None:
        text = "[principals.some]\nwhere = \"role = 'x'\"\n"
        assert problems(text, identity='[identity]\nrole = "app"\n') == (
            "principals.some.where: needs identity.memberships, or 'from'",
        )


class TestAccess:
    def test_forms_of_rules(self) -> None:
        text = (
            "[principals.limited]\nwhere = \"role = 'x'\"\n"
            "[access.limited]\nissues = { select = 'assigned_to = :user', update = false, "
            "delete = true }\n"
            "[access.'*']\nissues = { select = { any = 'title IS NULL' }, delete = false }\n"
            "[access.outsider]\nmemberships = false\n"
        )
        model = resolve(text)
        issues = named("issues")
        assert model.rule("limited", issues, Operation.SELECT) == Rule("assigned_to = :user")
        assert model.rule("member", issues, Operation.SELECT) == Rule("title IS NULL", widens=True)
        assert model.rule("limited", issues, Operation.UPDATE) == Rule(None)
        assert model.rule("limited", issues, Operation.INSERT) is None
        # `true` is the default again, where the entry for all kinds closes.
        assert model.rule("limited", issues, Operation.DELETE) == Rule("true")
        assert model.rule("member", issues, Operation.DELETE) == Rule(None)
        closed = [model.rule("outsider", named("memberships"), op) for op in Operation]
        assert closed == [Rule(None)] * 4

    def test_an_unknown_kind(self) -> None:
        (problem,) = problems("[access.membr]\nissues = false\n")
        assert problem.startswith("unknown kind 'membr' in access; did you mean member?")
