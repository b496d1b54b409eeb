"""Rows hold their constraints, are mirrored where they may be, and differ where they must."""

import random
import re
from collections.abc import Callable, Sequence

import pytest

from tenantfuzz.policies.structure import (
    Check,
    Column,
    DataType,
    Exclusion,
    ForeignKey,
    Relation,
    RelationKind,
    RelationName,
    TypeCategory,
    Unique,
)
from tenantfuzz.strategies.dictionary import Dictionary
from tenantfuzz.strategies.picking import SeededPick, SimplestPick
from tenantfuzz.strategies.solving import (
    Taken,
    Unsolvable,
    canary_column,
    mutate_value,
    solve_row,
)

TYPES = {
    "int": DataType("integer", "int4"),
    "text": DataType("text", "text"),
    "varchar8": DataType("character varying(8)", "varchar", modifier=12),
    "uuid": DataType("uuid", "uuid"),
    "bool": DataType("boolean", "bool"),
    "time": DataType("timestamp with time zone", "timestamptz"),
    "jsonb": DataType("jsonb", "jsonb"),
    "mood": DataType("mood", "mood", TypeCategory.ENUM, labels=("sad", "ok", "fine")),
    "range": DataType(
        "int4range", "int4range", TypeCategory.RANGE, element=DataType("integer", "int4")
    ),
    "odd": DataType("app.odd", "odd"),
    "cents": DataType("cents", "int4", domain_checks=("(VALUE >= 500)",)),
}
CANARY = "cnry7f3a2k"
ORG = "00000000-0000-4000-8000-0000000000aa"


def relation(
    columns: str,
    *checks: str,
    uniques: Sequence[tuple[str, ...]] = (("id",),),
    links: Sequence[str] = (),
    exclusions: tuple[Exclusion, ...] = (),
) -> Relation:
    """A relation from ``name type!`` words (``!``: NOT NULL, ``=x``: default)."""
    made = []
    for number, word in enumerate(columns.split(", "), 1):
        name, _, rest = word.partition(" ")
        rest, _, default = rest.partition("=")
        made.append(
            Column(
                name, number, TYPES[rest.rstrip("!")], rest.endswith("!"), default or None,
            )
        )  # fmt: skip
    names = {c.name for c in made}
    target = RelationName("public", "orgs")
    return Relation(
        name=RelationName("public", "things"),
        oid=1,
        kind=RelationKind.TABLE,
        owner="owner",
        columns=tuple(made),
        uniques=tuple(
            Unique(f"u{i}", columns, primary=i == 0) for i, columns in enumerate(uniques)
        ),
        foreign_keys=tuple(ForeignKey(f"f_{c}", (c,), target, ("id",)) for c in links),
        checks=tuple(
            Check(f"c{i}", text, tuple(sorted(n for n in names if re.search(rf"\b{n}\b", text))))
            for i, text in enumerate(checks)
        ),
        exclusions=exclusions,
    )


def solve(
    of: Relation,
    fixed: dict[str, str | None] | None = None,
    *,
    ordinal: int = 0,
    natural: int = 0,
    pick: Callable[[int], int] | None = None,
    canary: str = "",
    dictionary: Dictionary | None = None,
) -> dict[str, str | None]:
    return solve_row(
        of, fixed or {}, pick=pick or SimplestPick(), ordinal=ordinal, natural=natural,
        canary=canary, dictionary=dictionary,
    )  # fmt: skip


def always(choice: int) -> Callable[[int], int]:
    return lambda n: min(choice, n - 1)


ISSUES = relation(
    "id uuid!, org_id uuid!, number int!, title text!, status text!=open, done_at time,"
    " deleted_at time, is_active bool!, is_public bool!",
    "(status = ANY (ARRAY['open'::text, 'done'::text]))",
    uniques=(("id",), ("org_id", "number")),
    links=("org_id",),
)


def test_an_ordinary_live_row() -> None:
    row = solve(ISSUES, {"org_id": ORG}, ordinal=4, natural=1)
    assert row["id"] is not None
    assert row["id"].endswith("-0000-4000-8000-000000000005")
    del row["id"]
    assert row == {
        "number": "2",
        "title": "title 2",
        "status": "open",
        "done_at": "2024-01-11 09:00:00+00",
        "deleted_at": None,
        "is_active": "true",
        "is_public": "false",
    }


def test_mirrored_rows_differ_in_global_keys_and_canary_only() -> None:
    one = solve(ISSUES, {"org_id": ORG}, ordinal=1, natural=3, canary="cnry000001")
    two = solve(ISSUES, {"org_id": ORG}, ordinal=2, natural=3, canary="cnry000002")
    assert {name for name in one if one[name] != two[name]} == {"id", "title"}
    assert (one["title"], two["title"]) == ("cnry000001", "cnry000002")


def test_picks_reach_all_options() -> None:
    rows = [solve(ISSUES, {"org_id": ORG}, pick=SeededPick(random.Random(n))) for n in range(40)]
    assert {r["status"] for r in rows} == {"open", "done"}
    assert {r["deleted_at"] is None for r in rows} == {True, False}
    assert {r["is_public"] for r in rows} == {"true", "false"}


def test_what_was_picked_stays_and_the_rest_follows() -> None:
    things = relation(
        "id int!, status text!, done_at time, reason text",
        "(status = ANY (ARRAY['open'::text, 'done'::text]))",
        "((status = 'done'::text) = (done_at IS NOT NULL))",
        "((reason IS NULL) OR (status = 'done'::text))",
    )
    row = solve(things)
    assert (row["status"], row["done_at"], row["reason"]) == ("open", None, None)
    row = solve(things, pick=always(1))
    assert (row["status"], row["done_at"]) == ("done", "2024-01-10 09:00:00+00")


def test_fixed_values_are_held_to() -> None:
    things = relation("id int!, a int, b int, c text", "(num_nonnulls(a, b, c) = 1)")
    assert solve(things, {"a": None, "b": "7"})["c"] is None
    assert solve(things, {"a": None, "b": None})["c"] == "c 1"
    times = relation("id int!, starts time!, ends time!", "(starts < ends)")
    row = solve(times, {"starts": "2031-05-05 00:00:00+00"})
    assert row["ends"] == "2031-05-05 01:00:00+00"


def test_the_search_keeps_the_checks_of_single_columns() -> None:
    things = relation(
        "id int!, tier text!, seats text!",
        "(tier = ANY (ARRAY['free'::text, 'pro'::text]))",
        "(seats = ANY (ARRAY['x'::text, 'free'::text]))",
        "(tier = seats)",
    )
    row = solve(things, {"seats": "free"}, pick=always(1))
    assert row["tier"] == "free"
    with pytest.raises(Unsolvable):
        solve(things, {"seats": "x"})


def test_a_contradiction_is_unsolvable_and_named() -> None:
    things = relation("id int!, a int!, b int!", "(a < b)", "(b < a)")
    with pytest.raises(Unsolvable, match=r"no row of public\.things was found that holds c"):
        solve(things)


def test_checks_that_are_not_understood_are_left_to_the_server() -> None:
    things = relation("id int!, a int!", "(mystery(a) = 3)", "syntax ( error")
    assert solve(things) == {"id": "1", "a": "1"}


@pytest.mark.parametrize(
    ("column", "check", "first"),
    [
        ("n int!", "(n > 1000)", ["1001", "1002"]),
        ("n int!", "((n >= 1) AND (n <= 5))", ["1", "2"]),
        ("n int!", "((n & 3) = n)", ["1", "2"]),
        ("n int!", "(n = ANY (ARRAY[10, 20]))", ["10", "10"]),
        ("n text!", "((n)::integer > 0)", ["1", "2"]),
        ("n text!", "(n ~ similar_to_escape('x[0-9]{2}'::text))", ["x00", "x01"]),
        ("n jsonb!", """(n @> '{"v": 1}'::jsonb)""", ['{"v": 1}', '{"v": 1}']),
        (
            "n time!",
            "(n < '2020-01-01 00:00:00+00'::timestamp with time zone)",
            ["2019-12-31 23:00:00+00", "2019-12-31 23:00:00+00"],
        ),
    ],
)
def test_single_checks_shape_the_values(column: str, check: str, first: list[str]) -> None:
    things = relation(f"id int!, {column}", check)
    assert [solve(things, natural=n)["n"] for n in (0, 1)] == first


def test_domains_hold() -> None:
    row = solve(relation("id int!, price cents!"))
    assert row["price"] is not None
    assert int(row["price"]) >= 500


@pytest.mark.parametrize(
    ("check", "values"),
    [
        ("(a ~ '^[A-Z]{3}-[0-9]{2}$'::text)", ["AAA-00", "AAA-01"]),
        ("(char_length(a) = 3)", None),
        ("((a = lower(a)) AND (a !~ ' '::text))", ["a-1", "a-2"]),
        ("(a ~~ 'P%'::text)", ["P1", "P2"]),
    ],
)
def test_unique_texts_under_checks(check: str, values: list[str] | None) -> None:
    things = relation("a text!", check, uniques=(("a",),))
    made = [solve(things, ordinal=n, natural=0)["a"] for n in range(50)]
    assert len(set(made)) == 50
    if values is not None:
        assert made[:2] == values


def test_small_unique_columns_run_out() -> None:
    things = relation("m mood!", uniques=(("m",),))
    assert [solve(things, ordinal=n)["m"] for n in range(3)] == ["sad", "ok", "fine"]
    with pytest.raises(Unsolvable, match="must be unique and has 3 values only"):
        solve(things, ordinal=3)


def test_ranges_under_exclusion_do_not_overlap() -> None:
    exclusion = Exclusion("x", ("during",), "EXCLUDE USING gist (during WITH &&)")
    things = relation("id int!, during range!", exclusions=(exclusion,))
    assert [solve(things, ordinal=n, natural=0)["during"] for n in (0, 1)] == ["[1,6)", "[11,16)"]


def test_local_keys_are_natural_unless_nothing_scopes_them() -> None:
    scoped = relation("org_id uuid!, n int!", uniques=(("org_id", "n"),), links=("org_id",))
    assert solve(scoped, {"org_id": ORG}, ordinal=9, natural=2) == {"n": "3"}
    alone = relation("a mood!, n int!", uniques=(("a", "n"),))
    assert solve(alone, ordinal=9, natural=2) == {"a": "sad", "n": "10"}
    assert solve(alone, {"a": "ok"}, ordinal=9, natural=2) == {"n": "10"}  # a mood is no scope
    named = relation("tenant text!, n int!", uniques=(("tenant", "n"),))
    assert solve(named, {"tenant": "acme"}, ordinal=9, natural=2) == {"n": "3"}
    timed = relation("at time!, n int!", uniques=(("n", "at"),))
    assert solve(timed, {"at": "2024-01-01"}, ordinal=9, natural=2) == {"n": "10"}


def test_references_that_are_not_given_are_null() -> None:
    things = relation(
        "id int!, boss_id int, n int", "(num_nonnulls(boss_id, n) = 1)", links=["boss_id"]
    )
    assert solve(things) == {"id": "1", "boss_id": None, "n": "1"}
    assert solve(things, {"boss_id": "7"}) == {"id": "1", "n": None}


def test_unknown_types() -> None:
    assert solve(relation("id int!, x odd"))["x"] is None
    assert "x" not in solve(relation("id int!, x odd!=made()"))
    with pytest.raises(Unsolvable, match=r"type app\.odd is unknown"):
        solve(relation("id int!, x odd!"))


def test_configured_values() -> None:
    things = relation("id int!, a text!, b text!", uniques=(("id",), ("b",)))
    overrides = {"things.a": ["x", "y"], "b": ["p"]}
    rows = [
        solve_row(things, {}, pick=always(n), ordinal=n, natural=n, canary="", overrides=overrides)
        for n in (0, 1)
    ]
    assert [r["a"] for r in rows] == ["x", "y"]
    assert [r["b"] for r in rows] == ["p", "b 2"]  # unique: there must be more than one


def test_taken_values_are_avoided() -> None:
    things = relation("id int!, a text!, m mood!")
    taken: Taken = {("a", "m"): {("a 1", "sad")}}
    row = solve_row(things, {}, pick=SimplestPick(), ordinal=0, natural=0, canary="", avoid=taken)
    assert (row["a"], row["m"]) != ("a 1", "sad")
    assert row["m"] == "sad"  # what was picked stays


def test_words_of_the_schema_are_options() -> None:
    things = relation("id int!, visibility text!")
    words = Dictionary(columns={(things.name, "visibility"): ("internal", "public")})
    rows = [solve(things, pick=always(n), dictionary=words)["visibility"] for n in range(3)]
    assert rows == ["visibility 1", "internal", "public"]


def test_where_the_canary_goes() -> None:
    assert canary_column(relation("id int!, name text!, body text")) == "body"
    assert canary_column(relation("id int!, status text!, label text")) == "label"
    assert canary_column(relation("id int!, short varchar8, data jsonb")) == "data"
    assert canary_column(relation("id int!, n int!")) is None
    limited = relation("id int!, note text", "(char_length(note) <= 5)")
    assert canary_column(limited) is None
    listed = relation("id int!, kind text, x text", "(kind = ANY (ARRAY['a'::text]))")
    assert canary_column(listed) == "x"
    unique = relation("id int!, name text, x text", uniques=(("id",), ("name",)))
    assert canary_column(unique) == "x"
    assert canary_column(relation("id int!, body text"), fixed={"body"}) is None
    read = relation("id int!, body text, x text")
    words = Dictionary(reads={read.name: frozenset({"body"})})
    assert canary_column(read, dictionary=words) == "x"
    row = solve(relation("id int!, data jsonb"), canary=CANARY)
    assert row["data"] == '{"note": "cnry7f3a2k"}'


def test_mutated_values_differ_and_hold_the_column_checks() -> None:
    things = relation(
        "id int!, n int!, s text!, m mood!, b bool!, one text!",
        "(n > 0)",
        "(s = ANY (ARRAY['x'::text, 'y'::text]))",
        "(one = 'only'::text)",
    )

    def mutated(name: str, current: str, salt: int = 0) -> str | None:
        column = things.column(name)
        assert column is not None
        return mutate_value(column, things, current, salt=salt)

    assert mutated("s", "x") == "y"
    assert mutated("s", "y", 1) == "x"
    assert mutated("b", "false") == "true"
    assert {mutated("m", "ok", salt) for salt in range(4)} == {"sad", "fine"}
    assert mutated("one", "only") == "only"
    number = mutated("n", "5")
    assert number is not None
    assert int(number) > 0
    assert number != "5"


def test_the_same_arguments_give_the_same_row() -> None:
    def row(seed: int) -> dict[str, str | None]:
        pick = SeededPick(random.Random(seed))
        return solve(ISSUES, {"org_id": ORG}, ordinal=3, natural=3, pick=pick, canary=CANARY)

    assert [row(n) for n in range(20)] == [row(n) for n in range(20)]
