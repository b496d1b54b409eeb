"""The edits and operators on small, hand-made input."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import expressions
import object_operators
import policy_operators
import pytest
from mutant import Mutant, Subject
from operators import all_mutants

from tenantfuzz.policies.model import Identity, Kind, Memberships, Model, Ownership, OwnershipKind
from tenantfuzz.policies.structure import (
    Catalog,
    Check,
    Column,
    DataType,
    ForeignKey,
    Function,
    Policy,
    Relation,
    RelationKind,
    RelationName,
    Role,
    Trigger,
    Unique,
)

NOTES = RelationName("public", "Notes")
BOOKS = RelationName("public", "books")
MEMBERS = RelationName("public", "members")
PART = RelationName("public", "notes_2025")
TEXT = DataType("text", "text")
SETTING = "current_setting('app.org'::text, true)"


def relation(name: RelationName, *columns: str, **more: object) -> Relation:
    fields: dict[str, object] = {
        "kind": RelationKind.TABLE,
        "owner": "postgres",
        "columns": tuple(Column(c, n, TEXT, not_null=True) for n, c in enumerate(columns, 1)),
        "row_security": True,
        "policies": (Policy("p", "all", True, ("app",), f"(org = {SETTING})", None),),
    }
    return Relation(name=name, oid=1, **{**fields, **more})  # type: ignore[arg-type]


def function(name: str, source: str, *, arguments: str = "") -> Function:
    return Function(
        RelationName("app", name), 77, arguments, "text", "sql", True, False, "postgres", source
    )


@pytest.fixture
def subject() -> Subject:
    notes = relation(
        NOTES,
        "org",
        "id",
        "author",
        "state",
        "body",
        policies=(
            Policy("read", "select", True, ("app",), "((org = app.org()) AND (NOT hidden))", None),
            Policy(
                "write", "all", True, ("app",),
                "((org = app.org()) AND (author = app.user_id()))",
                "((org = app.org()) AND (author = app.user_id()))",
            ),
        ),
        checks=(Check("c", "(state = ANY (ARRAY['new'::text, 'done'::text]))", ("state",)),),
        uniques=(Unique("pk", ("id",), primary=True), Unique("named", ("org", "body"))),
        foreign_keys=(
            ForeignKey("book", ("org", "author"), BOOKS, ("org", "id")),
            ForeignKey("by", ("author",), MEMBERS, ("user_id",)),
        ),
        triggers=(
            Trigger("guard", "after", ("insert",), True, RelationName("app", "g"), True,
                    "BEGIN RAISE EXCEPTION 'no'; END"),
            Trigger("audit", "after", ("insert",), True, RelationName("app", "a"), True, "END"),
        ),
    )  # fmt: skip
    part = relation(PART, "org", parent=NOTES, partition_bound="FOR VALUES IN ('a')", policies=())
    books = relation(BOOKS, "org", "id", uniques=(Unique("pk", ("id",), primary=True),))
    members = relation(MEMBERS, "org", "user_id")
    catalog = Catalog(
        relations={r.name: r for r in (notes, part, books, members)},
        roles={"app": Role("app", login=True)},
        grants={},
        functions=(
            function("org", "SELECT m.org FROM members m WHERE m.user_id = app.user_id()"
                            " AND m.org = current_setting('app.org', true)"),
            function("user_id", "SELECT current_setting('app.user', true)"),
        ),
        server_version=180000,
    )  # fmt: skip
    model = Model(
        tenants=None,
        tenant_key=None,
        tenant_values=("a", "b"),
        ownership={n: Ownership(OwnershipKind.COLUMN, "org") for n in catalog.relations},
        identity=Identity(role="app"),
        kinds=(Kind("member"),),
        memberships=Memberships(MEMBERS, "user_id", "org"),
    )
    return Subject("t", catalog, model)


def made(operator: Callable[[Subject], Iterator[Mutant]], subject: Subject) -> dict[str, str]:
    return {m.name: m.sql for m in operator(subject)}


def test_each_condition_is_lost_once() -> None:
    assert list(expressions.without_conjuncts("((a = 1) AND (b = 2) AND f(c))")) == [
        ("a = 1", "((TRUE) AND (b = 2) AND f(c))"),
        ("b = 2", "((a = 1) AND (TRUE) AND f(c))"),
        ("f(c)", "((a = 1) AND (b = 2) AND TRUE)"),
    ]


def test_the_condition_of_a_join_is_lost_too() -> None:
    lost = [x for x, _ in expressions.without_conjuncts("SELECT 1 FROM a JOIN b ON a.id = b.a")]
    assert lost == ["a.id = b.a"]
    inner = "EXISTS (SELECT 1 FROM a JOIN b ON a.id = b.a AND a.org = b.org WHERE b.x)"
    assert [x for x, _ in expressions.without_conjuncts(inner)] == ["a.id = b.a", "a.org = b.org"]


def test_a_single_condition_cannot_be_lost() -> None:
    assert list(expressions.without_conjuncts("(org = 'a')")) == []


def test_and_becomes_or_at_the_outside_only() -> None:
    assert expressions.and_to_or("(a AND (b AND c OR d))") == "(a) OR (b AND c OR d)"
    assert expressions.and_to_or("a OR b") is None


def test_a_column_is_exchanged_outside_of_sub_selects() -> None:
    text = "org = (SELECT org FROM m WHERE m.org = 'x')"
    assert (
        expressions.with_other_column(text, "org", "id")
        == "\"id\" = (SELECT org FROM m WHERE m.org = 'x')"
    )
    assert expressions.with_other_column("a = b", "org", "id") is None


def test_settings_are_found_by_name() -> None:
    text = f"(org = {SETTING}) OR (x = NULLIF(current_setting('app.other'::text), ''::text))"
    assert sorted(expressions.settings(text)) == ["app.org", "app.other"]
    assert expressions.settings("org = 'app.org'") == []


def test_only_what_is_wanted_is_kept() -> None:
    assert expressions.keeping("((a = 1) AND (b = 2))", lambda t: "b" in t) == "(b = 2)"
    assert expressions.keeping("(a = 1)", lambda t: False) == "true"
    either = "((a OR b) AND (c OR d))"
    assert expressions.keeping(either, lambda t: True) == "(a OR b) AND (c OR d)"


def test_names_are_quoted_and_the_check_stays_where_using_opens(subject: Subject) -> None:
    sql = made(policy_operators.using_true, subject)
    assert sql["t:using_true:Notes:read"] == 'ALTER POLICY "read" ON "public"."Notes" USING (true);'
    assert sql["t:using_true:books:p"] == (
        f'ALTER POLICY "p" ON "public"."books" USING (true) WITH CHECK ((org = {SETTING}));'
    )


def test_partitions_are_no_tables_of_their_own(subject: Subject) -> None:
    assert sorted(made(policy_operators.row_security_off, subject)) == [
        "t:row_security_off:Notes",
        "t:row_security_off:books",
        "t:row_security_off:members",
    ]
    children = list(object_operators.child_granted(subject))
    assert [m.relation for m in children] == ["public.notes_2025"]
    assert "DISABLE" in children[0].sql
    assert children[0].twin_sql is not None
    assert "DISABLE" not in children[0].twin_sql


def test_conditions_are_lost_in_using_in_the_check_and_in_both(subject: Subject) -> None:
    sql = made(policy_operators.lost_conjunct, subject)
    assert sorted(sql) == [
        "t:lost_conjunct:Notes:read:using:1",
        "t:lost_conjunct:Notes:read:using:2",
        *(f"t:lost_conjunct:Notes:write:{p}:{n}" for p in ("both", "check", "using") for n in "12"),
    ]  # fmt: skip
    assert sql["t:lost_conjunct:Notes:write:check:1"] == (
        'ALTER POLICY "write" ON "public"."Notes"'
        " WITH CHECK (((TRUE) AND (author = app.user_id())));"
    )


def test_operations_and_codes_follow_the_command(subject: Subject) -> None:
    found = {m.name: m for m in policy_operators.lost_conjunct(subject)}
    assert found["t:lost_conjunct:Notes:read:using:1"].operations == ("select",)
    assert found["t:lost_conjunct:Notes:write:check:1"].operations == ("insert", "update")
    assert found["t:lost_conjunct:Notes:write:check:1"].codes == ("TF201", "TF202", "TF204")


def test_a_check_that_pins_the_owner_only(subject: Subject) -> None:
    assert made(policy_operators.owner_only_check, subject) == {
        "t:owner_only_check:Notes:write": 'ALTER POLICY "write" ON "public"."Notes"'
        " WITH CHECK ((author = app.user_id()));"
    }


def test_a_verified_setting_is_read_raw(subject: Subject) -> None:
    sql = made(policy_operators.unverified_setting, subject)
    assert sql["t:unverified_setting:Notes:read:org"] == (
        'ALTER POLICY "read" ON "public"."Notes"'
        " USING (((org = current_setting('app.org', true)) AND (NOT hidden)));"
    )


def test_a_claim_of_the_users_own_opens_where_the_session_carries_claims(subject: Subject) -> None:
    assert made(policy_operators.user_claim, subject) == {}
    identity = Identity(role="app", settings={"request.jwt.claims": "{{}}"}, user_claims=True)
    signed = replace(subject, model=replace(subject.model, identity=identity))
    found = {m.name: m for m in policy_operators.user_claim(signed)}
    assert list(found) == ["t:user_claim:Notes:read:org", "t:user_claim:Notes:read:home_base"]
    mutant = found["t:user_claim:Notes:read:home_base"]
    assert mutant.codes == ("TF109", "TF101")
    assert mutant.sql == (
        'ALTER POLICY "read" ON "public"."Notes" USING (((org = app.org()) AND (NOT hidden))'
        " OR \"org\" = (nullif(current_setting('request.jwt.claims', true), '')::jsonb"
        " -> 'user_metadata' ->> 'home_base'));"
    )


def test_a_policy_is_added_for_a_value_that_a_check_lists(subject: Subject) -> None:
    assert made(policy_operators.permissive_added, subject) == {
        "t:permissive_added:Notes:state": 'CREATE POLICY added ON "public"."Notes" FOR SELECT'
        ' TO "app" USING ("state" = \'done\');'
    }
    guessed = sorted(made(policy_operators.guessed_literal, subject))
    assert "t:guessed_literal:Notes:state" not in guessed  # its values are known
    assert "t:guessed_literal:books:id" not in guessed  # a key


def test_the_twin_of_a_dropped_restriction_still_has_it(subject: Subject) -> None:
    first = next(iter(policy_operators.restrictive_dropped(subject)))
    assert first.twin_sql is not None
    assert first.sql == first.twin_sql + '\nDROP POLICY held ON "public"."Notes";'
    assert "AS RESTRICTIVE" in first.twin_sql


def test_a_foreign_key_loses_its_tenant_where_the_rest_is_a_key(subject: Subject) -> None:
    sql = made(object_operators.foreign_key_lost_tenant, subject)
    assert list(sql) == ["t:foreign_key_lost_tenant:Notes:book"]
    assert 'FOREIGN KEY ("author") REFERENCES "public"."books" ("id")' in next(iter(sql.values()))


def test_only_triggers_that_refuse_are_guards(subject: Subject) -> None:
    assert list(made(object_operators.guard_dropped, subject)) == ["t:guard_dropped:Notes:guard"]


def test_a_helper_loses_a_condition_in_its_own_definition(subject: Subject) -> None:
    found = {m.name: m for m in object_operators.function_lost_conjunct(subject)}
    assert list(found) == ["t:function_lost_conjunct:org:1", "t:function_lost_conjunct:org:2"]
    mutant = found["t:function_lost_conjunct:org:1"]
    assert mutant.note == "without m.user_id = app.user_id()"
    assert mutant.sql.startswith("DO 'BEGIN EXECUTE replace((SELECT pg_get_functiondef(p.oid)")
    assert "WHERE TRUE AND m.org = current_setting(''''app.org''''" in mutant.sql


def test_names_are_unique_and_say_their_operator(subject: Subject) -> None:
    mutants = all_mutants(subject)
    assert len(mutants) > 60
    assert {m.operator for m in mutants.values()} >= {"using_true", "owner_view", "bypass"}
    assert all(m.operations and m.codes and m.sql.endswith(";") for m in mutants.values())


def test_two_mutants_of_one_name_are_an_error(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = (policy_operators.using_true, policy_operators.using_true)
    monkeypatch.setattr("operators.OPERATORS", twice)
    with pytest.raises(ValueError, match="two mutants of one name"):
        all_mutants(subject)
