"""The text of application queries: what is a parameter, and what only looks like one."""

import pytest

from tenantfuzz.policies.queries import Actor, queries_in_file
from tenantfuzz.policies.query_text import cut_text, restored


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("SELECT :a", ("a",)),
        ("SELECT :a, :b, :a", ("a", "b")),
        ("SELECT $2, $1", ("2", "1")),
        ("SELECT %(q)s LIKE 'x%%'", ("q",)),
        ("SELECT x::text, :t::int", ("t",)),
        ("SELECT ':no', E'\\':no', \":no\", $$ :no $$, $f$ $1 $f$", ()),
        ("SELECT 1 -- :no\n, :yes", ("yes",)),
        ("SELECT 1 /* :no /* $1 */ :no */, :yes", ("yes",)),
        ("SELECT tags[1:n], tags[:low]", ("low",)),
        ("SELECT doc -> 'a:b' ? 'c' FROM t WHERE n % 5 = 0", ()),
        ("SELECT f(x := 3), ab$1, '$1'", ()),
    ],
)
def test_parameters_are_told_from_what_looks_like_them(sql: str, names: tuple[str, ...]) -> None:
    assert cut_text(sql).names == names


def test_a_text_takes_untyped_literals_or_typed_ones() -> None:
    text = cut_text("SELECT 1 FROM t WHERE a = :a AND b = :b AND c = :a;")
    values = {"a": "it's", "b": None}
    assert text.bound(values) == "SELECT 1 FROM t WHERE a = 'it''s' AND b = NULL AND c = 'it''s'"
    typed = text.bound(values, {"a": "text", "b": "integer"})
    assert typed == (
        "SELECT 1 FROM t WHERE a = 'it''s'::text AND b = NULL::integer AND c = 'it''s'::text"
    )


def test_a_text_has_the_forms_that_servers_and_parsers_take() -> None:
    text = cut_text("SELECT :b, $1, :b")
    assert text.numbered() == "SELECT $1, $2, $1"
    assert text.indexed() == "SELECT :q0, :q1, :q0"
    assert text.readable() == "SELECT :b, $1, :b"
    again = restored("SELECT %(q1)s, %(q0)s, :tenant", text.names)
    assert again.readable() == "SELECT $1, :b, :tenant"


def test_a_doubled_percent_sign_is_one_where_the_style_has_it() -> None:
    assert cut_text("SELECT %(q)s LIKE '5%%'").bound({"q": "x"}) == "SELECT 'x' LIKE '5%'"
    assert cut_text("SELECT '5%%' LIKE :q").bound({"q": "x"}) == "SELECT '5%%' LIKE 'x'"


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(KeyError):
        cut_text("SELECT :a").bound({})


FILE = """
-- All issues, and the name of each machine.
-- name: GetIssue :one
-- param: q text
-- param: state in open, closed
-- as: principal
-- kinds: admin, member
SELECT 1 -- name of the game
WHERE :q = :state;

-- :name other_query :many
SELECT 2;
-- name: del-it!
DELETE FROM t;
"""


def test_a_file_holds_queries_with_headers() -> None:
    found, problems = queries_in_file(FILE, "stem", "q.sql")
    assert problems == []
    assert [q.name for q in found] == ["GetIssue", "other_query", "del-it"]
    first = found[0]
    assert first.actor is Actor.PRINCIPAL
    assert first.params == {"q": "text", "state": ("open", "closed")}
    assert first.kinds == ("admin", "member")
    assert first.text.names == ("q", "state")
    assert found[1].actor is Actor.SERVICE
    assert found[2].text.readable() == "DELETE FROM t"


def test_a_file_without_a_name_is_one_query() -> None:
    found, problems = queries_in_file("SELECT 1;\n", "issues", "issues.sql")
    assert [q.name for q in found] == ["issues"]
    assert problems == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("-- name: a\n-- as: root\nSELECT 1", "expected one of service, principal, both"),
        ("-- name: a\n-- param: q text\nSELECT 1", "the query has no parameter 'q'"),
        ("-- name: a\n-- param: q\nSELECT :q", "expected 'name type' or 'name in a, b'"),
        ("-- name: a\n-- nothing here\n", "a holds no statement"),
    ],
)
def test_what_is_wrong_in_a_file_is_said(text: str, problem: str) -> None:
    _, problems = queries_in_file(text, "f", "f.sql")
    assert len(problems) == 1
    assert problems[0].startswith("f.sql: ")
    assert problem in problems[0]
