"""The parts of inference that need no database: words, bodies, marks, conventions, drafts."""

import tomllib
from pathlib import Path

import pytest

from tenantfuzz.conventions import find_schema, target_section
from tenantfuzz.errors import ToolError
from tenantfuzz.policies.configuration import parse_configuration
from tenantfuzz.policies.inferring.bodies import body_of, parameter_names
from tenantfuzz.policies.inferring.drafting import draft, merged, toml_value
from tenantfuzz.policies.inferring.guesses import Confidence, Guess, Inference, Question
from tenantfuzz.policies.inferring.marks import extensions_in_text, preset_in_text
from tenantfuzz.policies.inferring.words import is_pointer, names_it, nearly_names_it, words
from tenantfuzz.policies.structure import Function, RelationName


class TestWords:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("organizations", ("organization",)),
            ("org_members", ("organization", "member")),
            ("WorkspaceId", ("workspace", "id")),
            ("companies", ("company",)),
            ("businesses", ("business",)),
            ("statuses", ("status",)),
            ("people", ("person",)),
            ("APIKeys", ("api", "key")),
            ("address", ("address",)),
            ("branches", ("branch",)),
        ],
    )
    def test_names_become_words_in_the_singular(self, name: str, expected: tuple[str, ...]) -> None:
        assert words(name) == expected

    @pytest.mark.parametrize(
        ("column", "relation", "exact", "nearly"),
        [
            ("org_id", "organizations", True, True),
            ("AgencyId", "Agencies", True, True),
            ("account_id", "customer_accounts", False, True),
            ("owner_account_id", "accounts", False, True),
            ("name", "names", False, False),
            ("id", "ids", False, False),
            ("user_id", "organizations", False, False),
            ("stripe_customer_id", "customers", False, True),
        ],
    )
    def test_columns_name_relations(
        self, column: str, relation: str, exact: bool, nearly: bool
    ) -> None:
        assert names_it(column, relation) is exact
        assert nearly_names_it(column, relation) is nearly

    @pytest.mark.parametrize(
        ("column", "expected"),
        [
            ("organization_id", False),
            ("partner_organization_id", True),
            ("current_org_id", True),
            ("owner_org_id", False),
        ],
    )
    def test_pointers_are_no_owners(self, column: str, expected: bool) -> None:
        assert is_pointer(column) is expected


def function(source: str, language: str = "plpgsql", arguments: str = "") -> Function:
    name = RelationName("public", "f")
    return Function(name, 1, arguments, "boolean", language, True, False, "owner", source)


class TestBodies:
    def test_steps_of_plpgsql(self) -> None:
        body = body_of(
            function("""
            DECLARE me uuid := auth.uid(); -- who; asks
            BEGIN
              IF me IS NULL THEN RETURN false; END IF;
              SELECT m.role INTO STRICT found FROM members m WHERE m.user_id = me;
              found := found || ';';
              RETURN found = 'admin';
            EXCEPTION WHEN OTHERS THEN
              RETURN NULL;
            END
            """)
        )
        told = [(s.tree.sql(dialect="postgres"), s.into, s.returns) for s in body.steps]
        assert told == [
            ("auth.uid()", ("me",), False),
            ("me IS NULL", (), False),
            ("FALSE", (), True),
            ("SELECT m.role FROM members AS m WHERE m.user_id = me", ("found",), False),
            ("found || ';'", ("found",), False),
            ("found = 'admin'", (), True),
            ("NULL", (), True),
        ]

    def test_the_last_statement_of_sql_is_returned(self) -> None:
        body = body_of(function("SELECT 1; SELECT 2", "sql"))
        assert [s.returns for s in body.steps] == [False, True]

    def test_other_languages_have_no_steps(self) -> None:
        assert body_of(function("return 1", "plpython3u")).steps == ()

    def test_names_of_parameters(self) -> None:
        assert parameter_names("") == ("",)
        assert parameter_names('org uuid, VARIADIC "Roles" text[]') == ("org", "Roles")
        assert parameter_names("numeric(10,2), n integer") == ("", "n")


class TestMarks:
    def test_supabase_by_what_the_files_use(self) -> None:
        found = preset_in_text(["CREATE POLICY p ON t USING (user_id = auth.uid());"])
        assert found == ("supabase", "the schema uses auth.uid")
        assert preset_in_text(["GRANT SELECT ON t TO authenticated;"]) is not None

    @pytest.mark.parametrize(
        "text",
        [
            "-- as auth.uid() does\nCREATE TABLE t (id int);",
            "CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql AS '…'; SELECT auth.uid();",
            "CREATE SCHEMA auth; CREATE TABLE auth.users (id int);",
            "CREATE TABLE oauth.users (id int);",
        ],
    )
    def test_no_preset_where_the_files_bring_all_along(self, text: str) -> None:
        assert preset_in_text([text]) is None

    def test_extensions_that_nobody_makes(self) -> None:
        assert extensions_in_text(["CREATE TABLE t (e vector(3), m citext);"]) == (
            "vector",
            "citext",
        )
        assert extensions_in_text(["CREATE EXTENSION IF NOT EXISTS vector;", "a vector(3)"]) == ()


class TestConventions:
    def write(self, root: Path, *names: str) -> None:
        for name in names:
            file = root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("CREATE TABLE t (id int);", encoding="utf-8")

    def test_where_a_schema_may_be(self, tmp_path: Path) -> None:
        assert find_schema(tmp_path) == ()
        self.write(tmp_path, "any.sql")
        assert find_schema(tmp_path) == ("any.sql",)
        self.write(tmp_path, "supabase/migrations/1_a.sql")
        assert find_schema(tmp_path) == ("supabase/migrations",)
        self.write(tmp_path, "db/schema.sql")
        assert find_schema(tmp_path) == ("supabase/migrations", "db/schema.sql")

    def test_files_that_are_numbered_have_an_order(self, tmp_path: Path) -> None:
        self.write(tmp_path, "sql/01-tables.sql", "sql/02-policies.sql")
        assert find_schema(tmp_path) == ("sql",)
        self.write(tmp_path, "001.sql", "002.sql")
        assert find_schema(tmp_path) == (".", "sql")
        self.write(tmp_path, "notes.sql")
        assert find_schema(tmp_path) == ("sql",)

    def test_the_folder_that_drizzle_is_told_of(self, tmp_path: Path) -> None:
        config = "export default defineConfig({ out: './sql/out', schema: 's.ts' });"
        (tmp_path / "drizzle.config.ts").write_text(config, encoding="utf-8")
        self.write(tmp_path, "sql/out/0000_a.sql")
        assert find_schema(tmp_path) == ("sql/out",)

    def test_a_folder_of_other_files_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "migrations").mkdir()
        (tmp_path / "migrations" / "0001_initial.py").touch()
        assert find_schema(tmp_path) == ()

    def test_one_place_or_a_question(self, tmp_path: Path) -> None:
        self.write(tmp_path, "schema.sql", "migrations/1.sql")
        with pytest.raises(ToolError, match=r"several places .* migrations, schema\.sql"):
            target_section(tmp_path)
        assert target_section(tmp_path, ("schema.sql",)).section == {"schema": ["schema.sql"]}


class TestDrafts:
    @pytest.mark.parametrize(
        "value",
        [
            "plain",
            'with "quotes"',
            "both ' and \"",
            "back\\slash\nline\ttab",
            "unseen \u200b here",
            ["a", "b"],
            {"column": "org id", "null": "shared"},
            {"app.tenant": True},
            7,
        ],
    )
    def test_values_come_back(self, value: object) -> None:
        assert tomllib.loads(f"x = {toml_value(value)}")["x"] == value

    def test_what_is_given_stays(self) -> None:
        given = {"tenancy": {"tenants": "firms"}, "run": {"seed": 1}}
        guesses = [
            Guess(("tenancy", "tenants"), "orgs", "a reason"),
            Guess(("tenancy", "column"), "org_id", "another"),
        ]
        assert merged(given, guesses) == {
            "tenancy": {"tenants": "firms", "column": "org_id"},
            "run": {"seed": 1},
        }
        assert given == {"tenancy": {"tenants": "firms"}, "run": {"seed": 1}}

    def test_the_whole_file(self) -> None:
        inference = Inference(
            guesses=(
                Guess(("tenancy", "tenants"), "orgs", "3 relations point at it"),
                Guess(("tenancy", "tables", "tags"), "shared", "named so", Confidence.LIKELY),
                Guess(("identity", "settings", "app.org"), "{tenant.id}", "policies read it"),
            ),
            questions=(
                Question(("identity", "role"), "as which role?", ("web", "api"), essential=True),
                Question(("tenancy", "tables", "blobs"), "whose rows?", ("shared", "private")),
                Question(("access", "*", "posts"), "meant?", ({"select": {"any": "p"}},)),
                Question(("principals",), "kinds?", ({"admin": {"where": "x"}},)),
            ),
            remarks=("a remark",),
        )
        text = draft({"target": {"schema": ["a.sql"]}}, inference, heading=["By init."])
        assert (
            text
            == """\
# By init.
# a remark

[target]
schema = ["a.sql"]

[tenancy]
# 3 relations point at it
tenants = "orgs"

[tenancy.tables]
# likely: named so
tags = "shared"
# ASK: whose rows?
# blobs = "shared"
# blobs = "private"

[identity]
# ASK: as which role?
# role = "web"
# role = "api"

[identity.settings]
# policies read it
"app.org" = "{tenant.id}"

# ASK: kinds?
# [principals.admin]
# where = "x"

# ASK: meant?
# [access."*".posts]
# select = { any = "p" }
"""
        )
        parse_configuration(tomllib.loads(text), source="tenantfuzz.toml")

    def test_answers_stand_where_they_are_uncommented(self) -> None:
        """Every answer, with its mark removed, means what the question is about."""
        questions = (
            Question(("tenancy", "tenants"), "which?", ("orgs",), essential=True),
            Question(("tenancy", "tables", "app.blobs"), "whose?", ({"via": "x"},)),
            Question(("identity", "memberships"), "which?", ({"table": "m"},)),
            Question(("identity", "settings", "app.mode"), "what?", ("live",)),
            Question(("principals",), "kinds?", ({"admin": {"where": "x"}},)),
            Question(("access", "*", "posts"), "meant?", ({"select": {"any": "p"}},)),
        )
        text = draft({}, Inference(questions=questions))
        open_lines = [
            line if not line.startswith("# ") or "ASK" in line else line[2:]
            for line in text.splitlines()
        ]
        assert tomllib.loads("\n".join(open_lines)) == {
            "tenancy": {"tenants": "orgs", "tables": {"app.blobs": {"via": "x"}}},
            "identity": {"memberships": {"table": "m"}, "settings": {"app.mode": "live"}},
            "principals": {"admin": {"where": "x"}},
            "access": {"*": {"posts": {"select": {"any": "p"}}}},
        }

    @pytest.mark.parametrize("name", ["pinball", "pinball-leaky", "saas-guc"])
    def test_a_whole_file_comes_back(self, name: str) -> None:
        file = Path(__file__).parents[2] / "corpus" / "targets" / name / "tenantfuzz.toml"
        data = tomllib.loads(file.read_text(encoding="utf-8"))
        assert tomllib.loads(draft(data, Inference())) == data
