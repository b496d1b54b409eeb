"""SQL functions and pattern operators that CHECK constraints use, over decoded values."""

import datetime as dt
import re
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache

from tenantfuzz.strategies.decoding import UNKNOWN, Folded, Json, Mark, Span

_CLASSES = {
    "alpha": "a-zA-Z", "digit": "0-9", "alnum": "a-zA-Z0-9", "upper": "A-Z", "lower": "a-z",
    "space": r"\s", "xdigit": "0-9A-Fa-f", "blank": r" \t", "word": r"\w",
    "punct": r"!-/:-@\[-`{-~",
}  # fmt: skip


@lru_cache(maxsize=4096)
def python_pattern(pattern: str, *, fold: bool = False) -> re.Pattern[str] | None:
    """PostgreSQL's regular expression as Python's, or None where the two differ too much."""
    flags = re.IGNORECASE if fold else re.NOFLAG
    if pattern.startswith("***"):
        return None
    if opening := re.match(r"\(\?([a-z]+)\)", pattern):
        if set(opening.group(1)) - {"i", "c", "s"}:
            return None
        pattern = pattern[opening.end() :]
        flags |= re.IGNORECASE if "i" in opening.group(1) else re.NOFLAG
    if re.search(r"\\[A-CE-LN-RT-VXZa-ce-ln-qu-vxz]", pattern) and not _understood(pattern):
        return None
    pattern = re.sub(r"\[:(\w+):\]", lambda m: _CLASSES.get(m.group(1), "\0"), pattern)
    if "\0" in pattern or re.search(r"\[([.=])[^\]]+\1\]", pattern):
        return None
    pattern = pattern.replace(r"\m", r"\b").replace(r"\M", r"\b").replace(r"\y", r"\b")
    try:
        return re.compile(pattern, flags)
    except (re.error, OverflowError, ValueError):
        return None


def _understood(pattern: str) -> bool:
    """Whether all letters behind backslashes mean the same to both, or are translated."""
    letters = set(re.findall(r"(?<!\\)(?:\\\\)*\\([A-Za-z])", pattern))
    return letters <= set("dDsSwWntrfvAZmMy")


def match_regex(value: object, pattern: object, *, fold: bool) -> object:
    """``value ~ pattern`` (``~*`` with ``fold``)."""
    if value is None or pattern is None:
        return None
    if not isinstance(value, str) or not isinstance(pattern, str):
        return UNKNOWN
    compiled = python_pattern(str(pattern), fold=fold or isinstance(value, Folded))
    return UNKNOWN if compiled is None else compiled.search(value) is not None


@lru_cache(maxsize=4096)
def like_pattern(pattern: str, *, fold: bool = False) -> re.Pattern[str]:
    """The regular expression, for the whole text, that a LIKE pattern stands for."""
    out, i = "", 0
    while i < len(pattern):
        char = pattern[i]
        if char == "\\" and i + 1 < len(pattern):
            i += 1
            out += re.escape(pattern[i])
        else:
            out += {"%": ".*", "_": "."}.get(char, re.escape(char))
        i += 1
    return re.compile(out, re.DOTALL | (re.IGNORECASE if fold else re.NOFLAG))


def match_like(value: object, pattern: object, *, fold: bool) -> object:
    """``value LIKE pattern`` (ILIKE with ``fold``)."""
    if value is None or pattern is None:
        return None
    if not isinstance(value, str) or not isinstance(pattern, str):
        return UNKNOWN
    fold = fold or isinstance(value, Folded)
    return like_pattern(str(pattern), fold=fold).fullmatch(value) is not None


def similar_pattern(pattern: str) -> str:
    """The regular expression that a SIMILAR TO pattern stands for."""
    inner = re.sub(r"\\.|[%_.^$]", lambda m: _SIMILAR.get(m.group(), m.group()), pattern)
    return f"^(?:{inner})$"


_SIMILAR = {"%": ".*", "_": ".", ".": r"\.", "^": r"\^", "$": r"\$"}


def json_contains(big: object, small: object) -> bool:
    """``big @> small`` for two json values."""
    if isinstance(big, dict) and isinstance(small, dict):
        return all(k in big and json_contains(big[k], v) for k, v in small.items())
    if isinstance(big, list) and isinstance(small, list):
        return all(any(json_contains(b, s) for b in big) for s in small)
    return type(big) is type(small) and big == small


def call(name: str, arguments: list[object]) -> object:
    """The result of the SQL function ``name``; UNKNOWN for those that are not known here."""
    match name:
        case "num_nonnulls" | "num_nulls":
            if any(a is UNKNOWN for a in arguments):
                return UNKNOWN
            missing = sum(a is None for a in arguments)
            return Decimal(missing if name == "num_nulls" else len(arguments) - missing)
        case "coalesce":
            for argument in arguments:
                if argument is not None:
                    return argument
            return None
        case "row":
            return UNKNOWN
    if any(isinstance(a, Mark) for a in arguments):
        return UNKNOWN
    if name in ("greatest", "least"):
        numbers = [a for a in arguments if isinstance(a, Decimal)]
        if len(numbers) != len(arguments) or not numbers:
            return UNKNOWN
        return max(numbers) if name == "greatest" else min(numbers)
    if name == "nullif":
        return UNKNOWN
    if name not in _STRICT:
        return UNKNOWN
    if any(a is None for a in arguments):
        return None
    return _STRICT[name](*arguments)


def _text(function: Callable[[str], object]) -> Callable[..., object]:
    return lambda value, *rest: function(value) if isinstance(value, str) and not rest else UNKNOWN


def _length(value: object, *rest: object) -> object:
    return Decimal(len(value)) if isinstance(value, str | bytes) and not rest else UNKNOWN


def _octets(value: object) -> object:
    if isinstance(value, str):
        return Decimal(len(value.encode()))
    return Decimal(len(value)) if isinstance(value, bytes) else UNKNOWN


def _lower(value: object) -> object:
    if isinstance(value, Span):
        return UNKNOWN if value.empty else value.lower
    return type(value)(value.lower()) if isinstance(value, str) else UNKNOWN


def _upper(value: object) -> object:
    if isinstance(value, Span):
        return UNKNOWN if value.empty else value.upper
    if isinstance(value, Folded):
        return value
    return value.upper() if isinstance(value, str) else UNKNOWN


def _trim(value: object, characters: object = " ") -> object:
    if not isinstance(value, str) or not isinstance(characters, str):
        return UNKNOWN
    return value.strip(characters)


def _array_length(value: object, dimension: object = Decimal(1)) -> object:
    if not isinstance(value, list) or dimension != 1:
        return UNKNOWN
    return Decimal(len(value)) if value else None  # the length of an empty array is NULL


def _json_type(value: object) -> object:
    if not isinstance(value, Json):
        return UNKNOWN
    kinds = {dict: "object", list: "array", str: "string", bool: "boolean", Decimal: "number"}
    return kinds.get(type(value.value), "null")


def _json_size(value: object) -> object:
    if not isinstance(value, Json) or not isinstance(value.value, list):
        return UNKNOWN
    return Decimal(len(value.value))


def _date_trunc(*arguments: object) -> object:
    moment, unit = arguments if isinstance(arguments[0], dt.date) else reversed(arguments)
    if type(moment) is dt.date:
        moment = dt.datetime.combine(moment, dt.time())
    if not isinstance(moment, dt.datetime) or not isinstance(unit, str):
        return UNKNOWN
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    match unit.lower():
        case "hour":
            return moment.replace(minute=0, second=0, microsecond=0)
        case "day":
            return midnight
        case "week":
            return midnight - dt.timedelta(days=midnight.weekday())
        case "month":
            return midnight.replace(day=1)
        case "quarter":
            return midnight.replace(day=1, month=(midnight.month - 1) // 3 * 3 + 1)
        case "year":
            return midnight.replace(day=1, month=1)
    return UNKNOWN


_STRICT: dict[str, Callable[..., object]] = {
    "char_length": _length,
    "character_length": _length,
    "length": _length,
    "octet_length": _octets,
    "lower": _lower,
    "upper": _upper,
    "trim": _trim,
    "btrim": _trim,
    "abs": lambda value: abs(value) if isinstance(value, Decimal) else UNKNOWN,
    "cardinality": lambda v: Decimal(len(v)) if isinstance(v, list) else UNKNOWN,
    "array_length": _array_length,
    "isempty": lambda value: value.empty if isinstance(value, Span) else UNKNOWN,
    "lower_inc": lambda v: v.lower_inclusive and not v.empty if isinstance(v, Span) else UNKNOWN,
    "upper_inc": lambda v: v.upper_inclusive and not v.empty if isinstance(v, Span) else UNKNOWN,
    "lower_inf": lambda v: v.lower is None and not v.empty if isinstance(v, Span) else UNKNOWN,
    "upper_inf": lambda v: v.upper is None and not v.empty if isinstance(v, Span) else UNKNOWN,
    "jsonb_typeof": _json_type,
    "json_typeof": _json_type,
    "jsonb_array_length": _json_size,
    "json_array_length": _json_size,
    "date_trunc": _date_trunc,
    "similar_to_escape": _text(similar_pattern),
    "starts_with": lambda v, p: (
        v.startswith(p) if isinstance(v, str) and isinstance(p, str) else UNKNOWN
    ),
}
