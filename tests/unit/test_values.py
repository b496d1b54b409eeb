"""Values of types: exact texts for the first numbers, distinct texts for distinct numbers."""

import re

import pytest

from tenantfuzz.policies.structure import DataType, TypeCategory
from tenantfuzz.strategies.text import compact, padded, shortened, words_for
from tenantfuzz.strategies.values import (
    UnknownType,
    canary_text,
    length_limit,
    maker_of,
    moment,
    numeric_digits,
    uuid_text,
)

INT = DataType("integer", "int4")
STAMP = DataType("timestamp with time zone", "timestamptz")


def numeric(precision: int, scale: int) -> DataType:
    modifier = (precision << 16 | scale & 0x7FF) + 4
    return DataType(f"numeric({precision},{scale})", "numeric", modifier=modifier)


@pytest.mark.parametrize(
    ("type_", "first", "second"),
    [
        (INT, "1", "2"),
        (numeric(4, 2), "1", "2"),
        (numeric(3, 3), "0.001", "0.002"),
        (DataType("boolean", "bool"), "false", "true"),
        (DataType("text", "text"), "value 1", "value 2"),
        (DataType("character varying(4)", "varchar", modifier=8), "val1", "val2"),
        (DataType("character(1)", "bpchar", modifier=5), "1", "2"),
        (
            DataType("uuid", "uuid"),
            "00000000-0000-4000-8000-000000000001",
            "00000000-0000-4000-8000-000000000002",
        ),
        (DataType("date", "date"), "2024-01-10", "2024-01-11"),
        (STAMP, "2024-01-10 09:00:00+00", "2024-01-11 09:00:00+00"),
        (DataType("interval", "interval"), "1 hours", "2 hours"),
        (DataType("jsonb", "jsonb"), '{"n": 1}', '{"n": 2}'),
        (DataType("bytea", "bytea"), "\\x00000001", "\\x00000002"),
        (DataType("inet", "inet"), "10.0.0.0", "10.0.0.1"),
        (DataType("bit(4)", "bit", modifier=4), "0001", "0010"),
        (DataType("vector(3)", "vector", modifier=3), "[1,0,0]", "[2,0,0]"),
        (DataType("sparsevec(5)", "sparsevec", modifier=5), "{1:1}/5", "{1:2}/5"),
        (DataType("ltree", "ltree"), "top.n1", "top.n2"),
        (DataType("hstore", "hstore"), '"n"=>"1"', '"n"=>"2"'),
        (DataType("geometry", "geometry"), "POINT(0 0)", "POINT(1 0)"),
        (
            DataType("geometry(Point,4326)", "geometry", modifier=7),
            "SRID=4326;POINT(0 0)",
            "SRID=4326;POINT(1 0)",
        ),
        (
            DataType("geography(LineStringZ,4326)", "geography", modifier=7),
            "SRID=4326;LINESTRING Z(0 0 0, 1 1 0)",
            "SRID=4326;LINESTRING Z(1 0 0, 2 1 0)",
        ),
        (
            DataType("geometry(MultiPolygon,3857)", "geometry", modifier=7),
            "SRID=3857;MULTIPOLYGON(((0 0, 1 0, 1 1, 0 0)))",
            "SRID=3857;MULTIPOLYGON(((1 0, 2 0, 2 1, 1 0)))",
        ),
        (DataType("mood", "mood", TypeCategory.ENUM, labels=("sad", "ok")), "sad", "ok"),
        (DataType("integer[]", "_int4", TypeCategory.ARRAY, element=INT), '{"1"}', '{"2"}'),
        (DataType("int4range", "int4range", TypeCategory.RANGE, element=INT), "[1,6)", "[11,16)"),
        (
            DataType("tstzrange", "tstzrange", TypeCategory.RANGE, element=STAMP),
            '["2024-01-10 09:00:00+00","2024-01-10 10:00:00+00")',
            '["2024-01-11 09:00:00+00","2024-01-11 10:00:00+00")',
        ),
        (
            DataType("int4multirange", "int4multirange", TypeCategory.MULTIRANGE, element=INT),
            "{[1,6)}",
            "{[11,16)}",
        ),
        (
            DataType("place", "place", TypeCategory.COMPOSITE, fields=(("n", INT), ("m", INT))),
            '("1","1")',
            '("2","2")',
        ),
    ],
    ids=lambda value: value.name if isinstance(value, DataType) else "",
)
def test_first_values(type_: DataType, first: str, second: str) -> None:
    make = maker_of(type_)
    assert (make(0), make(1)) == (first, second)


@pytest.mark.parametrize(
    "base", ["int4", "int8", "text", "uuid", "date", "timestamptz", "inet", "bytea", "macaddr"]
)
def test_distinct_numbers_give_distinct_values(base: str) -> None:
    make = maker_of(DataType(base, base))
    assert len({make(n) for n in range(3000)}) == 3000


def test_limits_are_kept() -> None:
    small = maker_of(DataType("smallint", "int2"))
    assert max(int(small(n)) for n in (0, 32_766, 32_767, 99_999)) == 32_767
    tiny = maker_of(numeric(4, 2))
    assert max(float(tiny(n)) for n in range(500)) == 99
    short = maker_of(DataType("character varying(3)", "varchar", modifier=7), "title")
    assert {len(short(n)) for n in range(5000)} == {3}


def test_all_times_are_past() -> None:
    times = [moment(n) for n in range(2500)]
    assert len(set(times)) == 2500
    assert max(times).year == 2025


def test_an_unknown_type_is_named() -> None:
    with pytest.raises(UnknownType, match=r"type app\.thing is unknown"):
        maker_of(DataType("app.thing", "thing"))
    with pytest.raises(UnknownType, match=r"type app\.thing is unknown"):
        maker_of(DataType("x[]", "_x", TypeCategory.ARRAY, element=DataType("app.thing", "thing")))


def test_modifiers() -> None:
    assert numeric_digits(numeric(10, 2)) == (10, 2)
    assert numeric_digits(DataType("numeric", "numeric")) is None
    assert length_limit(DataType("character varying(20)", "varchar", modifier=24)) == 20
    assert length_limit(DataType("text", "text")) is None


def test_uuids_of_different_columns_differ() -> None:
    assert uuid_text(0, 0xABC) == "00000abc-0000-4000-8000-000000000001"
    assert uuid_text(0, 1) != uuid_text(0, 2)


def test_where_a_canary_fits() -> None:
    text = DataType("text", "text")
    assert canary_text(text, "cnry1") == "cnry1"
    assert canary_text(DataType("varchar(4)", "varchar", modifier=8), "cnry1") is None
    assert canary_text(DataType("jsonb", "jsonb"), "cnry1") == '{"note": "cnry1"}'
    assert canary_text(DataType("bytea", "bytea"), "cnry") == "\\x636e7279"
    array = DataType("text[]", "_text", TypeCategory.ARRAY, element=text)
    assert canary_text(array, "cnry1") == '{"cnry1"}'
    assert canary_text(INT, "cnry1") is None


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("title", "title 3"),
        ("first_name", "first name 3"),
        ("email", "user3@example.org"),
        ("avatar_url", "https://example.org/3"),
        ("slug", "slug-3"),
        ("api_key", "api-key-3"),
        ("currency", "USD"),
        ("status", "active"),
    ],
)
def test_words(column: str, expected: str) -> None:
    assert words_for(column, None)(2) == expected


def test_short_words() -> None:
    assert shortened("long title", 7, 6) == "longt7"
    assert shortened("t", 12345, 3) == "9ix"  # 12345 in base 36
    assert compact(35, 2) == "0z"
    assert padded("ab", 4) == "xxab"
    assert padded("abcd", 2) == "cd"
    assert re.fullmatch(r"user\d+", words_for("email", 8)(1)) is None
    assert words_for("email", 8)(1) == "email 2"
