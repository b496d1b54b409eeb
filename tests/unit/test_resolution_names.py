"""Names and predicates of a configuration that do not fit the catalog."""

import tomllib
from collections.abc import Iterable

import pytest

from tenantfuzz.policies.configuration import ConfigurationError, parse_configuration
from tenantfuzz.policies.model import (
    Model,
    Ownership,
    OwnershipKind,
    Rule,
    Way,
)
from tenantfuzz.policies.resolution import PresetFacts, resolve_model
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


class TestNames:
    def test_an_unknown_table(self) -> None:
        assert problems('[tenancy.tables]\nisues = "shared"\n') == (
            "unknown table 'isues' in tenancy.tables; did you mean public.issues? "
            "existing: public.issues, public.users, public.memberships, public.orgs",
        )

    def test_a_name_in_several_schemas(self) -> None:
        more = (table("a.jobs", "id!"), table("b.jobs", "id!"))
        assert problems('[tenancy.tables]\njobs = "shared"\n', *more) == (
            "table 'jobs' in tenancy.tables is in several schemas: write a.jobs or b.jobs",
        )

    def test_an_unknown_column(self) -> None:
        assert problems('[tenancy.tables]\ncomments = { via = "isue_id" }\n', COMMENTS) == (
            "unknown column 'isue_id' in tenancy.tables.comments.via: public.comments has none; "
            "did you mean issue_id? existing: issue_id, author_id, id",
        )

    def test_everywhere_and_all_at_once(self) -> None:
        tenancy = (
            '[tenancy]\ntenants = "orgz"\ncolumn = "org_id"\nreferences = ["issues.x -> orgs.id"]\n'
        )
        identity = (
            '[identity]\nrole = "app"\nusers = "user"\nmemberships = { table = "memberships", '
            'user = "usr_id", tenant = "org" }\n'
        )
        text = (
            "[access.member]\nisues = false\n[values]\n'issues.titel' = ['x']\nplain = ['x']\n"
            "[audit]\ntable = 'audit'\n[[accept]]\nkind = 'membr'\nreason = 'so'\n"
            "[principals.key]\nfrom = 'api_keys'\n"
        )
        starts = [
            problem.split(";")[0] for problem in problems(text, tenancy=tenancy, identity=identity)
        ]
        assert sorted(starts) == sorted(
            [
                "unknown table 'orgz' in tenancy.tenants",
                "unknown column 'usr_id' in identity.memberships.user: public.memberships has none",
                "unknown column 'org' in identity.memberships.tenant: public.memberships has none",
                "unknown table 'user' in identity.users",
                "unknown column 'x' in tenancy.references[0]: public.issues has none",
                "unknown table 'isues' in access.member",
                "unknown column 'titel' in values: public.issues has none",
                'values.plain: expected "table.column"',
                "unknown table 'audit' in audit.table",
                "unknown kind 'membr' in accept[0].kind",
                "unknown table 'api_keys' in principals.key.from",
            ]
        )

    def test_a_slip_in_the_tenant_column(self) -> None:
        tenancy = '[tenancy]\ntenants = "orgs"\ncolumn = "ogr_id"\n'
        (problem,) = problems("", tenancy=tenancy)
        assert problem.startswith("unknown column 'ogr_id' in tenancy.column; did you mean org_id?")

    def test_a_tenant_column_that_nothing_resembles_is_no_error(self) -> None:
        tenancy = '[tenancy]\ntenants = "orgs"\ncolumn = "workspace"\n'
        assert owner(resolve("", tenancy=tenancy), "issues").kind is OwnershipKind.VIA

    def test_the_source_is_in_front_of_each_line(self) -> None:
        with pytest.raises(ConfigurationError) as raised:
            resolve('[tenancy.tables]\nisues = "shared"\nzzz = "shared"\n')
        lines = str(raised.value).splitlines()
        assert len(lines) == 2
        assert all(line.startswith("tenantfuzz.toml: unknown table '") for line in lines)


class TestPredicates:
    @pytest.mark.parametrize(
        "predicate",
        [
            "assigned_to = :user AND org_id = ANY(:tenants)",
            "org_id::text = :tenant::text",
            "issues.title IS NOT NULL",
            "ISSUES.Title LIKE 'a:nothing%'",
            "public.issues.title = current_user",
            "title = session_user OR title = user",
            "f(issues)",
            "EXISTS (SELECT 1 FROM memberships m WHERE m.nothing = issues.nothing)",
            "title = 'x' -- why",
            "true",
        ],
    )
    def test_right_ones(self, predicate: str) -> None:
        text = f'[access.member]\nissues = {{ select = "{predicate}" }}\n'
        assert resolve(text).rule("member", named("issues"), Operation.SELECT) == Rule(predicate)

    @pytest.mark.parametrize(
        ("predicate", "expected"),
        [
            ("assigned_to = ", "not a predicate: "),
            ("true) OR (true", "not a predicate: "),
            ("true) ORDER BY (title", "not a predicate: "),
            ("true; DROP TABLE issues", "not a predicate: "),
            ("title titel", "not a predicate: title titel"),
            (
                "title = :tennant",
                "unknown placeholder ':tennant'; did you mean :tenant?",
            ),
            (
                "asigned_to = :user",
                "unknown column 'asigned_to' of public.issues; did you mean assigned_to?",
            ),
            ('issues."Title" = 1', "unknown column 'Title' of public.issues; did you mean title?"),
        ],
    )
    def test_wrong_ones(self, predicate: str, expected: str) -> None:
        (problem,) = problems(f"[access.member]\nissues = {{ select = '{predicate}' }}\n")
        assert problem.startswith(f"access.member.issues.select: {expected}")

    def test_active_and_where_speak_of_the_membership(self) -> None:
        identity = IDENTITY.replace("deleted_at", "removed_at")
        text = "[principals.x]\nwhere = \"membership.rol = 'x'\"\n"
        assert [problem.split(";")[0] for problem in problems(text, identity=identity)] == [
            "identity.memberships.active: unknown column 'removed_at' of public.memberships",
            "principals.x.where: unknown column 'rol' of public.memberships",
        ]
