"""Conditions are judged as PostgreSQL judges them, and what is not understood is left open."""

import pytest

from tenantfuzz.policies.structure import DataType, TypeCategory
from tenantfuzz.strategies.checks import Literal, literals_of, parse_expression
from tenantfuzz.strategies.decoding import UNKNOWN, Json, Span, decoder_of, split_array
from tenantfuzz.strategies.evaluation import compile_condition
from tenantfuzz.strategies.patterns import matching_text

TEXT = DataType("text", "text")
TYPES = {
    "a": DataType("integer", "int4"),
    "b": DataType("integer", "int4"),
    "price": DataType("numeric", "numeric"),
    "ok": DataType("boolean", "bool"),
    "status": DataType("character varying(20)", "varchar", modifier=24),
    "title": TEXT,
    "email": TEXT,
    "code": DataType("character(4)", "bpchar", modifier=8),
    "handle": DataType("citext", "citext"),
    "mood": DataType("mood", "mood", TypeCategory.ENUM, labels=("sad", "happy")),
    "done_at": DataType("timestamp with time zone", "timestamptz"),
    "starts": DataType("timestamp with time zone", "timestamptz"),
    "day": DataType("date", "date"),
    "data": DataType("jsonb", "jsonb"),
    "tags": DataType("text[]", "_text", TypeCategory.ARRAY, element=TEXT),
    "during": DataType(
        "int4range", "int4range", TypeCategory.RANGE, element=DataType("integer", "int4")
    ),
    "hash": DataType("bytea", "bytea"),
    "spot": DataType("geometry", "geometry"),
}

# expression | column=text, … (~ is NULL) | answer; expressions as pg_get_expr prints them
CASES = r"""
((status)::text = ANY ((ARRAY['open'::character varying, 'closed'::character varying])::text[])) | status=open | T
((status)::text = ANY ((ARRAY['open'::character varying, 'closed'::character varying])::text[])) | status=shut | F
((status)::text = ANY ((ARRAY['open'::character varying, 'closed'::character varying])::text[])) | status=~ | N
((status)::text <> ALL ((ARRAY['x'::character varying])::text[])) | status=x | F
(status = ANY ('{open,closed}'::text[])) | status=closed | T
(char_length(title) <= 5) | title=abcde | T
(char_length(title) <= 5) | title=abcdef | F
(char_length(code) = 2) | code=ab   | T
(length(TRIM(BOTH FROM title)) > 0) | title=   | F
(btrim(title) <> ''::text) | title=x | T
((email)::text ~* '^[^@]+@[^@]+$'::text) | email=A@B | T
((email)::text ~ '^[a-z]+$'::text) | email=A | F
((email)::text !~ '[[:space:]]'::text) | email=a b | F
((title)::text ~~ 'T%'::text) | title=Ta | T
((title)::text !~~ 'T%'::text) | title=Ta | F
(title ~~* 't_'::text) | title=TX | T
(num_nonnulls(a, b) = 1) | a=1 b=~ | T
(num_nonnulls(a, b) = 1) | a=1 b=2 | F
((((a IS NOT NULL))::integer + ((b IS NOT NULL))::integer) = 1) | a=~ b=~ | F
(price >= (0)::numeric) | price=0.00 | T
(price > '-1'::numeric) | price=-1 | F
(((status)::text = 'done'::text) AND (done_at IS NOT NULL)) OR ((status)::text <> 'done'::text) | status=done done_at=~ | F
(((status)::text = 'done'::text) AND (done_at IS NOT NULL)) OR ((status)::text <> 'done'::text) | status=open done_at=~ | T
(((status)::text = 'done'::text) = (done_at IS NOT NULL)) | status=open done_at=2024-01-01 | F
(starts < done_at) | starts=2024-01-01T00:00:00+02 done_at=2023-12-31T22:30:00+00 | T
(done_at > (starts + '01:00:00'::interval)) | starts=2024-01-01 done_at=2024-01-01T00:30:00 | F
(done_at > (starts + '3 days'::interval)) | starts=2024-01-01 done_at=2024-01-05 | T
(done_at <= now()) | done_at=2024-01-01 | T
(done_at > now()) | done_at=2024-01-01 | F
(day <= CURRENT_DATE) | day=2099-01-01 | F
(date_trunc('month'::text, (day)::timestamp with time zone) = day) | day=2024-02-01 | T
(date_trunc('month'::text, (day)::timestamp with time zone) = day) | day=2024-02-02 | F
(EXTRACT(dow FROM day) = (1)::numeric) | day=2024-01-01 | T
(EXTRACT(year FROM day) > (2024)::numeric) | day=2024-01-01 | F
(jsonb_typeof(data) = 'object'::text) | data=[] | F
(jsonb_typeof(data) = 'object'::text) | data={} | T
((data ->> 'k'::text) = 'v'::text) | data={"k":"v"} | T
((data ->> 'k'::text) = '1'::text) | data={"k":1} | T
((data ->> 'k'::text) = 'v'::text) | data={} | N
(data ? 'k'::text) | data={"j":1} | F
(jsonb_array_length(data) > 0) | data=[] | F
(cardinality(tags) <= 1) | tags={a,b} | F
(array_length(tags, 1) >= 1) | tags={} | N
(tags <@ ARRAY['a'::text, 'b'::text]) | tags={b} | T
(tags && ARRAY['a'::text]) | tags={b} | F
('a'::text = ANY (tags)) | tags={b,a} | T
(tags <> '{}'::text[]) | tags={} | F
((title)::text = lower((title)::text)) | title=Ab | F
(a <> b) | a=1 b=1 | F
(a <> b) | a=1 b=~ | N
(NOT (a IS DISTINCT FROM b)) | a=~ b=~ | T
((a >= 1) AND (a <= 5)) | a=6 | F
((a % 7) = 3) | a=10 | T
((a * b) <= 12) | a=4 b=4 | F
(COALESCE(a, 0) > 0) | a=~ | F
(ok IS NOT TRUE) | ok=~ | T
ok | ok=f | F
(NOT ok) | ok=~ | N
CASE WHEN ok THEN (a IS NOT NULL) ELSE true END | ok=t a=~ | F
CASE WHEN ok THEN (a IS NOT NULL) ELSE true END | ok=f a=~ | T
CASE status WHEN 'x'::text THEN false ELSE true END | status=x | F
(handle = 'Bob'::citext) | handle=bOB | T
(mood = 'sad'::mood) | mood=happy | F
(mood > 'happy'::mood) | mood=sad | ?
(lower(during) < upper(during)) | during=[1,5) | T
(NOT isempty(during)) | during=[3,3) | F
(octet_length(hash) = 2) | hash=\x0001 | T
((price)::integer = 3) | price=2.5 | T
(some_function(a) = 1) | a=1 | ?
((a = 2) AND (some_function(a) = 1)) | a=1 | F
((a = 1) AND (some_function(a) = 1)) | a=1 | ?
((a = 1) OR (some_function(a) = 1)) | a=1 | T
(spot IS NOT NULL) | spot=POINT(1 | T
(st_x(spot) > 1) | spot=POINT(1 | ?
(title < 'Zoe'::text) | title=adam | ?
(a IN (SELECT x.y FROM x)) | a=1 | ?
this is no ( expression | a=1 | ?
"""  # noqa: E501
ANSWERS = {"T": True, "F": False, "N": None, "?": UNKNOWN}


def cases() -> list[tuple[str, str, str]]:
    lines = [line for line in CASES.splitlines() if line.strip()]
    parts = [line.rsplit(" | ", 2) for line in lines]
    return [(p[0], p[1], p[2]) for p in parts]


@pytest.mark.parametrize(("expression", "values", "answer"), cases())
def test_condition(expression: str, values: str, answer: str) -> None:
    row: dict[str, object] = {}
    pairs = [values] if values.startswith(("title=", "email=", "code=")) else values.split()
    for pair in pairs:
        name, _, text = pair.partition("=")
        row[name] = None if text == "~" else decoder_of(TYPES[name])(text)
    assert compile_condition(parse_expression(expression), TYPES)(row) is ANSWERS[answer]


def test_the_table_of_cases_is_read() -> None:
    assert len(cases()) == 77


def test_a_wrapped_check_is_the_same_condition() -> None:
    bare, wrapped = parse_expression("(a > 1)"), parse_expression("CHECK ((a > 1)) NOT VALID")
    assert bare is not None
    assert wrapped is not None
    assert compile_condition(wrapped, TYPES)({"a": decoder_of(TYPES["a"])("1")}) is False


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("(visibility = 'internal'::text)", Literal("visibility", "", "internal")),
        ("('x'::text = m.kind)", Literal("kind", "m", "x")),
        ("(a > '-3'::integer)", Literal("a", "", "-3", "value", ordered=True)),
        ("(flag IS TRUE)", Literal("flag", "", "true")),
        ("(flag AND (a = 1))", Literal("flag", "", "true")),
        ("(deleted_at IS NULL)", Literal("deleted_at", "", "", "null")),
        ("((data ->> 'k'::text) = 'v'::text)", Literal("data", "", '{"k": "v"}', "key")),
        ("(char_length(t) <= 9)", Literal("t", "", "9", "size", ordered=True)),
        ("(t ~ '^a+$'::text)", Literal("t", "", "^a+$", "pattern")),
        ("('a'::text = ANY (tags))", Literal("tags", "", "a", "element")),
        ("(a BETWEEN 2 AND 4)", Literal("a", "", "4", "value", ordered=True)),
    ],
)
def test_literals(expression: str, expected: Literal) -> None:
    tree = parse_expression(expression)
    assert tree is not None
    assert expected in list(literals_of(tree))


def test_lists_give_all_their_literals() -> None:
    tree = parse_expression("((s)::text = ANY ((ARRAY['x'::varchar, 'y'::varchar])::text[]))")
    assert tree is not None
    assert [x.text for x in literals_of(tree)] == ["x", "y"]


def test_decoding() -> None:
    assert split_array('{a,"b,c",NULL,"NULL","q\\"q"}') == ["a", "b,c", None, "NULL", 'q"q']
    assert decoder_of(TYPES["data"])('{"a": true}') == Json({"a": True})
    span = decoder_of(TYPES["during"])("[1,)")
    assert isinstance(span, Span)
    assert (str(span.lower), span.upper, span.lower_inclusive) == ("1", None, True)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("^[A-Z]{3}$", "AAA"),
        ("^(on|off)$", "on"),
        ("^v[0-9]+$", "v0000000"),
        (r"^\d{2}-[a-f]{2}$", "00-aa"),
        ("^(?:x|y)?z$", "xz"),
        (r"^a\.b$", "a.b"),
        (r"^(\w)\1$", None),
        ("^(?=9)a$", None),
        ("(a", None),
    ],
)
def test_matching_texts(pattern: str, expected: str | None) -> None:
    assert matching_text(pattern, 0) == expected


def test_matching_texts_differ() -> None:
    assert [matching_text("^k-[0-9]{3}$", n) for n in (0, 1, 12)] == ["k-000", "k-001", "k-012"]
