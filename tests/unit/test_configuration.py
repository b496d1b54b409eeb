"""The form of tenantfuzz.toml: what parses, and what is said of what does not."""

import tomllib

import pytest

from tenantfuzz.policies.configuration import (
    Attacker,
    Configuration,
    ConfigurationError,
    Engine,
    OperationAccess,
    SqlSection,
    TableEntry,
    TenantValues,
    Widening,
    parse_configuration,
)
from tenantfuzz.policies.model import Context, Scope

CONTRACT = """
[target]
name = "issue-tracker"
schema = ["schema.sql"]
preset = "supabase"
engine = "embedded"
extensions = ["vector"]
queries = ["queries/*.sql"]

[tenancy]
tenants = "organizations"
column = "organization_id"
scope = "memberships"
references = ["machines.model_id -> models.id"]
[tenancy.tables]
comments = { via = "issue_id" }
statuses = { column = "organization_id", null = "shared" }
profiles = { user = "id" }
plans = "shared"
jobs = "private"
ledger = { sql = "SELECT l.id, b.org_id FROM ledger l JOIN books b USING (book_id)" }

[identity]
users = "users"
context = "chosen"
login = "authenticator"
role = "authenticated"
anonymous = "anon"
settings = { "request.jwt.claims" = '{"sub": "{user.id}"}', "app.orgs" = { sql = "SELECT :user" } }
statements = []
service_role = "service_role"
[identity.memberships]
table = "memberships"
user = "user_id"
tenant = "organization_id"
active = "deleted_at IS NULL"

[principals.limited]
where = "membership.role = 'limited'"
[principals.key]
from = "api_keys"
[access.limited]
issues = { select = "assigned_to = :user", update = false }
secrets = false
[access."*"]
issues = { select = { any = "organization_id = :tenant OR is_template" }, insert = true }

[[queries]]
name = "issue list"
sql = "SELECT 1"
as = "principal"
params = { q = "text", n = [1, 2] }

[[adapters]]
name = "drizzle"
command = ["node", "adapter.mjs"]

[[accept]]
code = "TF301"
relation = "public.*"
reason = "on purpose"

[values]
"users.email" = ["a@example.org", 3]
[run]
attacker = "dml"
fail_on = "high"
time = "1m30s"
[audit]
table = "audit_log"
"""


def parse(text: str) -> Configuration:
    return parse_configuration(tomllib.loads(text), source="tenantfuzz.toml")


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as raised:
        parse(text)
    return raised.value.problems


class TestWhatParses:
    def test_target(self) -> None:
        target = parse(CONTRACT).target
        assert (target.name, target.sources) == ("issue-tracker", ("schema.sql",))
        assert (target.preset, target.engine) == ("supabase", Engine.EMBEDDED)
        assert (target.extensions, target.queries) == (("vector",), ("queries/*.sql",))

    def test_tenancy(self) -> None:
        tenancy = parse(CONTRACT).tenancy
        assert (tenancy.tenants, tenancy.column) == ("organizations", ("organization_id",))
        assert tenancy.scope is Scope.MEMBERSHIPS
        assert tenancy.references == ("machines.model_id -> models.id",)
        assert tenancy.tables["plans"] == "shared"
        comments, statuses = tenancy.tables["comments"], tenancy.tables["statuses"]
        assert isinstance(comments, TableEntry)
        assert isinstance(statuses, TableEntry)
        assert comments.via == ("issue_id",)
        assert (statuses.column, statuses.null) == ("organization_id", "shared")

    def test_identity(self) -> None:
        identity = parse(CONTRACT).identity
        assert identity.context is Context.CHOSEN
        assert identity.memberships is not None
        assert identity.memberships.active == "deleted_at IS NULL"
        assert identity.settings["request.jwt.claims"] == '{"sub": "{user.id}"}'
        assert identity.settings["app.orgs"] == SqlSection(sql="SELECT :user")

    def test_principals_keep_the_order_of_the_file(self) -> None:
        principals = parse(CONTRACT).principals
        assert list(principals) == ["limited", "key"]
        assert principals["key"].origin == "api_keys"

    def test_access(self) -> None:
        access = parse(CONTRACT).access
        issues = access["limited"]["issues"]
        assert isinstance(issues, OperationAccess)
        assert (issues.select, issues.update) == ("assigned_to = :user", False)
        assert issues.delete is None
        assert access["limited"]["secrets"] is False
        for_all = access["*"]["issues"]
        assert isinstance(for_all, OperationAccess)
        assert for_all.select == Widening(any="organization_id = :tenant OR is_template")
        assert for_all.insert is True

    def test_queries_adapters_and_acceptances(self) -> None:
        configuration = parse(CONTRACT)
        (query,) = configuration.queries
        assert (query.actor, query.params) == ("principal", {"q": "text", "n": (1, 2)})
        assert configuration.adapters[0].command == ("node", "adapter.mjs")
        assert configuration.accept[0].relation == "public.*"
        assert configuration.values == {"users.email": ("a@example.org", 3)}

    def test_run_and_audit(self) -> None:
        configuration = parse(CONTRACT)
        assert configuration.run.attacker is Attacker.DML
        assert (configuration.run.fail_on, configuration.run.time) == ("high", 90.0)
        assert configuration.audit is not None
        assert configuration.audit.table == "audit_log"

    def test_an_empty_file_says_nothing(self) -> None:
        configuration = parse("")
        assert configuration.tenancy.tenants is None
        assert configuration.run.attacker is None
        assert configuration.run.fail_on == "medium"
        assert configuration.audit is None

    def test_tenants_as_values_and_columns_as_a_list(self) -> None:
        tenancy = parse('[tenancy]\ntenants = {values = ["a", "b"]}\ncolumn = ["x", "y"]').tenancy
        assert tenancy.tenants == TenantValues(values=("a", "b"))
        assert tenancy.column == ("x", "y")

    def test_a_schema_as_one_string(self) -> None:
        assert parse('[target]\nschema = "a.sql"').target.sources == ("a.sql",)

    def test_secrets_stay_references(self) -> None:
        target = parse('[target]\ndsn = "env:DATABASE_URL"\nserver = "env:S"').target
        assert (target.dsn, target.server) == ("env:DATABASE_URL", "env:S")

    @pytest.mark.parametrize(
        ("written", "seconds"),
        [('"60s"', 60.0), ('"5m"', 300.0), ('"1h"', 3600.0), ("90", 90.0), ('"0.5s"', 0.5)],
    )
    def test_times(self, written: str, seconds: float) -> None:
        assert parse(f"[run]\ntime = {written}").run.time == seconds


NO_SUCH_KEY = "[tenancy.tables]\ncomments = { vai = 'issue_id' }"
BOTH = "[tenancy.tables]\nx = { user = 'a', column = 'b' }"


class TestWhatIsSaid:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (NO_SUCH_KEY, "tenancy.tables.comments: unknown key 'vai'; did you mean 'via'?"),
            ("tenency = 1", "unknown key 'tenency'; did you mean 'tenancy'?"),
            ("[audit]\ntable = 'x'\nzzz = 1", "audit: unknown key 'zzz'; known are table"),
            ("[target]\nSchema = 'x'", "target: unknown key 'Schema'; did you mean 'schema'?"),
            ("[audit]", "audit: missing key 'table'"),
            (
                "[target]\nschema = 3",
                "target.schema: expected a string or a list of strings, not the number 3",
            ),
            (
                "[tenancy]\ncolumn = ['a', 2]",
                "tenancy.column[1]: expected a string, not the number 2",
            ),
            (
                "[target]\nengine = 'embeded'",
                "target.engine: expected 'embedded', 'server', 'container' or 'pglite', "
                "not the string 'embeded'; did you mean 'embedded'?",
            ),
            (
                "[tenancy.tables]\nx = 'sharde'",
                "tenancy.tables.x: expected 'shared', 'private', 'members' or 'unclassified', "
                "not the string 'sharde'; did you mean 'shared'?",
            ),
            (
                "[tenancy.tables]\nx = true",
                "tenancy.tables.x: expected 'shared', 'private', 'members', 'unclassified' or a "
                'table such as { via = "issue_id" }, not true',
            ),
            (
                BOTH,
                "tenancy.tables.x: expected one of column, via, user, members or sql; "
                "not column and user",
            ),
            (
                "[tenancy.tables]\nx = { user = 'a', null = 'shared' }",
                "tenancy.tables.x: 'null' goes with column or via, not with user",
            ),
            (
                "[tenancy]\ntenants = { values = [] }",
                "tenancy.tenants.values: must not be empty",
            ),
            (
                "[access.'*'.issues]\nselect = 3",
                'access."*".issues.select: expected true, false, a predicate or '
                '{ any = "a predicate" }, not the number 3',
            ),
            (
                "[access.x.issues]\nselct = false",
                "access.x.issues: unknown key 'selct'; did you mean 'select'?",
            ),
            ("[[accept]]\ncode = 'TF301'", "accept[0]: missing key 'reason'"),
            (
                "[[accept]]\nreason = 'so'",
                "accept[0]: says nothing to accept: name one of code, relation, operation, kind, "
                "fingerprint, id",
            ),
            (
                "[[accept]]\nreason = '  '\ncode = 'TF301'",
                "accept[0]: 'reason' must say why",
            ),
            (
                "[[accept]]\nreason = 'so'\ncode = 'leak'",
                "accept[0]: code: expected a code such as 'TF301', not 'leak'",
            ),
            (
                "[[accept]]\nreason = 'so'\noperation = 'selct'",
                "accept[0]: operation: expected select, insert, update, delete, call, query or "
                "session, not 'selct'; did you mean 'select'?",
            ),
            (
                "[run]\ntime = '6x'",
                "run.time: expected a time such as '60s', '5m' or '1h', not the string '6x'",
            ),
            ("[run]\nstrict = 1", "run.strict: expected true or false, not the number 1"),
            ("[run]\nseed = 'a'", "run.seed: expected a whole number, not the string 'a'"),
            (
                "[run]\nworkers = 0",
                "run.workers: expected a number of at least 1, not the number 0",
            ),
            ("[run]\ntime = 0", "run.time: expected a time longer than none, not the number 0.0"),
            ("[access]\nx = 3", "access.x: expected a table, not the number 3"),
            (
                "[[adapters]]\nname = 'x'",
                "adapters[0]: expected one of 'command', 'python' or 'scoping'",
            ),
            (
                "queries = [{name = 'x', sql = 'a'}, {name = 'x', sql = 'b'}]",
                "queries: the name 'x' is given twice",
            ),
        ],
    )
    def test_one_problem(self, text: str, expected: str) -> None:
        assert problems(text) == (expected,)

    def test_a_setting_with_dots_and_no_quotes(self) -> None:
        said = problems("[identity.settings]\napp.tenant = 'x'")
        assert any("a name with dots needs quotes" in problem for problem in said)

    def test_everything_at_once_each_on_a_line_with_its_source(self) -> None:
        with pytest.raises(ConfigurationError) as raised:
            parse(NO_SUCH_KEY + "\n[run]\nseed = 'a'\n[target]\nschema = 3")
        lines = str(raised.value).splitlines()
        assert len(lines) == 3
        assert all(line.startswith("tenantfuzz.toml: ") for line in lines)
        assert {line.split(": ")[1] for line in lines} == {
            "tenancy.tables.comments",
            "run.seed",
            "target.schema",
        }

    def test_a_section_is_frozen(self) -> None:
        configuration = parse(CONTRACT)
        with pytest.raises(ValueError, match="frozen"):
            configuration.target.name = "other"
