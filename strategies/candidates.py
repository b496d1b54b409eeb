"""Values worth trying for a column: from the literals of checks and policies, and its type."""

import datetime as dt
import json
from collections.abc import Iterable, Iterator
from decimal import Decimal

from tenantfuzz.policies.structure import DataType, TypeCategory
from tenantfuzz.strategies.checks import Literal
from tenantfuzz.strategies.decoding import Mark, decoder_of
from tenantfuzz.strategies.patterns import like_texts, matching_text
from tenantfuzz.strategies.text import padded
from tenantfuzz.strategies.values import (
    INTEGER_TOP,
    TEXT_BASES,
    TypeMaker,
    array_text,
    length_limit,
    maker_of,
    moment,
)

NUMBERS = frozenset({*INTEGER_TOP, "numeric", "float4", "float8", "money", "oid"})
FRACTIONS = frozenset({"numeric", "float4", "float8", "money"})
TIMES = frozenset({"timestamp", "timestamptz", "date"})
FAR = "2099-01-01"
"""When what has an end ends, unless it has ended."""
LONGEST = 5000
"""Longer texts are not made, whatever a check's length bound says."""


def literal_values(type_: DataType, literals: Iterable[Literal], make: TypeMaker) -> Iterator[str]:
    """Input texts of ``type_`` at and around what the literals say (valid ones only)."""
    documents: dict[str, object] = {}
    for literal in literals:
        if literal.how == "value":
            yield from _at(type_, literal)
        elif literal.how == "size":
            yield from _sized(type_, literal.text, make)
        elif literal.how in ("pattern", "ipattern"):
            for extra in (6, 1, 0):
                text = matching_text(literal.text, 0, extra=extra)
                if text is not None:
                    yield text
        elif literal.how == "like":
            yield from like_texts(literal.text)
        elif literal.how == "element" and type_.category is TypeCategory.ARRAY:
            yield array_text([literal.text])
        elif literal.how == "json":
            yield from (t for t in JSON_KINDS if _json_kind(t) == literal.text)
        elif literal.how == "key" and type_.base in ("json", "jsonb"):
            yield literal.text
            documents |= json.loads(literal.text)
    if len(documents) > 1:
        yield json.dumps(documents)


JSON_KINDS = ("{}", "[]", '"text"', "1", "true", "null", "[1]", '["a"]')


def _json_kind(text: str) -> str:
    value = json.loads(text)
    kinds = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number"}
    return kinds.get(type(value), "null")


def _at(type_: DataType, literal: Literal) -> Iterator[str]:
    text = literal.text
    if not is_valid(type_, text):
        return
    yield text
    value = decoder_of(type_)(text) if type_.category is TypeCategory.BASE else None
    if literal.ordered:
        yield from neighbours(type_, value)


def neighbours(type_: DataType, value: object) -> Iterator[str]:
    """Input texts just beside a decoded number or time."""
    if isinstance(value, Decimal):
        step = Decimal(1)
        yield from (str(value + step), str(value - step))
        if type_.base in FRACTIONS:
            yield from (str(value + step / 2), str(value - step / 2))
    elif isinstance(value, dt.datetime | dt.date) and dt.date.min.year + 2 < value.year < 9990:
        zone = "+00" if type_.base == "timestamptz" else ""
        for hours in (24, -24) if type_.base == "date" else (1, -1, 48):
            yield f"{value + dt.timedelta(hours=hours)}{zone}"


def _sized(type_: DataType, size: str, make: TypeMaker) -> Iterator[str]:
    if not size.isdigit():
        return
    limit = length_limit(type_)
    for count in (int(size), int(size) - 1, int(size) + 1):
        if count < 0 or count > LONGEST:
            continue
        if type_.category is TypeCategory.ARRAY and type_.element is not None and count <= 64:
            element = maker_of(type_.element)
            yield array_text([element(n) for n in range(count)])
        elif type_.base in TEXT_BASES and (limit is None or count <= limit):
            yield padded(make(0), count) if count else ""
        elif type_.base == "bytea":
            yield "\\x" + "00" * count
        elif type_.base in ("json", "jsonb") and count <= 64:
            yield json.dumps(list(range(count)))


def general_values(type_: DataType, make: TypeMaker) -> Iterator[str]:
    """Ordinary and extreme input texts of ``type_``, whatever the checks say."""
    yield from (make(n) for n in range(3))
    if type_.category is TypeCategory.ENUM:
        yield from type_.labels
    elif type_.category is TypeCategory.ARRAY:
        yield "{}"
        if type_.element is not None:
            element = maker_of(type_.element)
            yield from (array_text([element(n) for n in range(size)]) for size in (2, 3))
    elif type_.category is TypeCategory.BASE:
        yield from _general_base(type_)


def _general_base(type_: DataType) -> Iterator[str]:
    base = type_.base
    if base == "bool":
        yield from ("false", "true")
    elif base in NUMBERS:
        yield from ("0", "1", "2", "5", "10", "50", "100", "2024", "-1")
        if base in FRACTIONS:
            yield from ("0.5", "0.1")
    elif base in TIMES:
        zone = "+00" if base == "timestamptz" else ""
        clock = "" if base == "date" else f" 00:00:00{zone}"
        yield from (f"{day}{clock}" for day in ("2024-01-01", "2024-02-01", FAR, "1990-01-01"))
        if base != "date":
            yield f"{moment(0, hours=30)}{zone}"
    elif base in ("json", "jsonb"):
        yield from JSON_KINDS
    elif base in TEXT_BASES:
        yield from ("a", "")
    elif base == "interval":
        yield from ("0", "1 hour", "1 day", "30 days")
    elif base == "time":
        yield from ("00:00:00", "18:00:00")


def is_valid(type_: DataType, text: str) -> bool:
    """Whether ``text`` is input that the type takes, as far as that is known here."""
    if type_.category is TypeCategory.ENUM:
        return text in type_.labels
    if type_.category is TypeCategory.ARRAY:
        return text.startswith("{") and text.endswith("}")
    if type_.category is not TypeCategory.BASE:
        return False
    base = type_.base
    if base in TEXT_BASES:
        limit = length_limit(type_)
        return (limit is None or len(text) <= limit) and "\0" not in text
    if base == "uuid":
        digits = text.replace("-", "").strip("{}")
        return len(digits) == 32 and all(c in "0123456789abcdefABCDEF" for c in digits)
    value = decoder_of(type_)(text)
    if isinstance(value, Mark):
        return base not in CHECKABLE and text != ""
    if base in INTEGER_TOP and isinstance(value, Decimal):
        return value == value.to_integral_value() and abs(value) <= INTEGER_TOP[base]
    if base == "numeric" and isinstance(value, Decimal):
        return _fits(type_, value)
    return True


def _fits(type_: DataType, value: Decimal) -> bool:
    if type_.modifier < 4:
        return True
    packed = type_.modifier - 4
    precision, scale = packed >> 16 & 0xFFFF, packed & 0x7FF
    scale = scale - 0x800 if scale >= 0x400 else scale
    return abs(value) < Decimal(10) ** (precision - scale)


CHECKABLE = NUMBERS - {"money"} | TIMES | {"bool", "json", "jsonb", "time", "bytea", "interval"}
"""Types whose texts are decoded here: what cannot be decoded is taken for invalid."""
