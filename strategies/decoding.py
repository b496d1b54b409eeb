"""PostgreSQL input texts as Python values, for judging checks without a server.

SQL's NULL is None. A value that is there but not understood is ``OPAQUE``; a value of which not
even that is known is ``UNKNOWN``.
"""

import datetime as dt
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import Enum

from tenantfuzz.policies.structure import DataType, TypeCategory
from tenantfuzz.strategies.values import TEXT_BASES


class Mark(Enum):
    """Values that are no values."""

    UNKNOWN = "unknown"
    OPAQUE = "opaque"


UNKNOWN = Mark.UNKNOWN
OPAQUE = Mark.OPAQUE


class Label(str):
    """A label of an enum: equal to its text, but not ordered as text is."""

    __slots__ = ()


class Folded(str):
    """A citext value, in lower case."""

    __slots__ = ()


class Untyped(str):
    """A literal with no type of its own: it takes that of what it meets."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Json:
    """A json or jsonb value; ``value`` is what ``json.loads`` gives, with Decimal numbers."""

    value: object


@dataclass(frozen=True, slots=True)
class Span:
    """A range. ``lower`` and ``upper`` are None where it has no bound there."""

    lower: object
    upper: object
    lower_inclusive: bool
    upper_inclusive: bool
    empty: bool = False


Decoder = Callable[[str], object]


def decoder_of(type_: DataType) -> Decoder:
    """The function from input texts of ``type_`` to values; it never raises."""
    match type_.category:
        case TypeCategory.ENUM:
            return Label
        case TypeCategory.ARRAY if type_.element is not None:
            return _guarded(_array_decoder(decoder_of(type_.element)))
        case TypeCategory.RANGE if type_.element is not None:
            return _guarded(_range_decoder(decoder_of(type_.element)))
        case TypeCategory.BASE:
            return decoder_of_base(type_.base)
        case _:
            return lambda text: OPAQUE


def decoder_of_base(base: str) -> Decoder:
    """The function from input texts of the built-in type ``base`` to values; never raises."""
    if base == "citext":
        return lambda text: Folded(text.lower())
    if base == "bpchar":
        return lambda text: text.rstrip(" ")
    if base in TEXT_BASES:
        return str
    plain = _PLAIN.get(base)
    return _guarded(plain) if plain is not None else lambda text: OPAQUE


def _guarded(decode: Decoder) -> Decoder:
    def guarded(text: str) -> object:
        try:
            return decode(text)
        except (ValueError, InvalidOperation, OverflowError, LookupError):
            return OPAQUE

    return guarded


def _bool(text: str) -> object:
    word = text.strip().lower()
    if word and word in ("true", "yes", "on", "1", "t", "y"):
        return True
    return False if word in ("false", "no", "off", "0", "f", "n") else OPAQUE


def _number(text: str) -> object:
    number = Decimal(text.strip())
    return number if number.is_finite() else OPAQUE


def _date(text: str) -> object:
    text = text.strip()
    match text:
        case "infinity":
            return dt.date.max
        case "-infinity":
            return dt.date.min
    return dt.date.fromisoformat(text[:10])


def _timestamp(text: str) -> object:
    """Times without and with zone alike, in UTC, so that the two can be compared."""
    text = text.strip()
    match text:
        case "infinity":
            return dt.datetime.max
        case "-infinity":
            return dt.datetime.min
    value = dt.datetime.fromisoformat(text)
    return value.astimezone(dt.UTC).replace(tzinfo=None) if value.tzinfo else value


_INTERVAL_PART = re.compile(
    r"([+-]?\d+(?:\.\d+)?)\s*(microsecond|millisecond|second|sec|minute|min|hour|day|week)s?"
)
_INTERVAL_CLOCK = re.compile(r"(-?)(\d+):(\d+)(?::(\d+(?:\.\d+)?))?$")


def _interval(text: str) -> object:
    """Intervals of fixed length; those with months or years are opaque."""
    text, total = text.strip().lower(), dt.timedelta()
    clock = _INTERVAL_CLOCK.search(text)
    if clock:
        sign, hours, minutes, seconds = clock.groups()
        span = dt.timedelta(hours=int(hours), minutes=int(minutes), seconds=float(seconds or 0))
        total += -span if sign else span
        text = text[: clock.start()].strip()
    if re.sub(r"\s+", "", _INTERVAL_PART.sub("", text)):
        return OPAQUE
    for amount, unit in _INTERVAL_PART.findall(text):
        name = {"sec": "second", "min": "minute"}.get(unit, unit) + "s"
        total += dt.timedelta(**{name: float(amount)})
    return total


def _bytes(text: str) -> object:
    return bytes.fromhex(text[2:]) if text.startswith("\\x") else text.encode()


_PLAIN: dict[str, Decoder] = {
    "bool": _bool,
    **dict.fromkeys(("int2", "int4", "int8", "numeric", "float4", "float8", "oid"), _number),
    "uuid": lambda text: text.strip().lower(),
    "date": _date,
    "timestamp": _timestamp,
    "timestamptz": _timestamp,
    "time": lambda text: dt.time.fromisoformat(text.strip()),
    "interval": _interval,
    "json": lambda text: Json(json.loads(text, parse_float=Decimal, parse_int=Decimal)),
    "jsonb": lambda text: Json(json.loads(text, parse_float=Decimal, parse_int=Decimal)),
    "bytea": _bytes,
}


def split_array(text: str) -> list[str | None]:
    """The elements of a one-dimensional array's input text; ValueError for anything else."""
    if not (text.startswith("{") and text.endswith("}")):
        raise ValueError(text)
    items: list[str | None] = []
    current, quoted, inside, i = "", False, False, 1
    while i < len(text):
        char = text[i]
        if inside:
            if char == "\\":
                i += 1
                current += text[i]
            elif char == '"':
                inside = False
            else:
                current += char
        elif char == '"':
            quoted = inside = True
        elif char == "{":
            raise ValueError(text)
        elif char in ",}":
            if quoted or current.strip():
                word = current if quoted else current.strip()
                items.append(None if not quoted and word.upper() == "NULL" else word)
            current, quoted = "", False
        else:
            current += char
        i += 1
    return items


def _array_decoder(element: Decoder) -> Decoder:
    def decode(text: str) -> object:
        return [None if item is None else element(item) for item in split_array(text)]

    return decode


def _range_decoder(element: Decoder) -> Decoder:
    def decode(text: str) -> object:
        text = text.strip()
        if text.lower() == "empty":
            return Span(None, None, False, False, empty=True)
        low, high = text[1:-1].split(",")
        lower = element(low.strip().strip('"')) if low.strip() else None
        upper = element(high.strip().strip('"')) if high.strip() else None
        closed = (text[0] == "[", text[-1] == "]")
        equal = lower is not None and lower == upper and not isinstance(lower, Mark)
        return Span(lower, upper, *closed, empty=equal and closed != (True, True))

    return decode
