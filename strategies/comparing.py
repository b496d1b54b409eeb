"""SQL's comparisons of two decoded values."""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal

from tenantfuzz.strategies.decoding import (
    UNKNOWN,
    Folded,
    Json,
    Label,
    Mark,
    Untyped,
    decoder_of_base,
)


def align(a: object, b: object) -> tuple[object, object]:
    """The two values made comparable: literals without a type take the other's."""
    if isinstance(a, Untyped) and not isinstance(b, str):
        a = _typed_like(a, b)
    elif isinstance(b, Untyped) and not isinstance(a, str):
        b = _typed_like(b, a)
    if isinstance(a, Folded) or isinstance(b, Folded):
        a = Folded(a.lower()) if isinstance(a, str) else a
        b = Folded(b.lower()) if isinstance(b, str) else b
    if isinstance(a, dt.datetime) and type(b) is dt.date:
        b = dt.datetime.combine(b, dt.time())
    elif isinstance(b, dt.datetime) and type(a) is dt.date:
        a = dt.datetime.combine(a, dt.time())
    return a, b


def _typed_like(text: str, model: object) -> object:
    for kind, base in (
        (bool, "bool"),
        (Decimal, "numeric"),
        (dt.datetime, "timestamptz"),
        (dt.date, "date"),
        (dt.time, "time"),
        (dt.timedelta, "interval"),
        (Json, "jsonb"),
        (bytes, "bytea"),
    ):
        if isinstance(model, kind):
            return decoder_of_base(base)(text)
    return UNKNOWN


def equal(a: object, b: object) -> object:
    """SQL's ``=``."""
    if a is None or b is None:
        return None
    if isinstance(a, Mark) or isinstance(b, Mark):
        return UNKNOWN
    a, b = align(a, b)
    if isinstance(a, Mark) or isinstance(b, Mark):
        return UNKNOWN
    if isinstance(a, str) and isinstance(b, str):
        return a == b
    return a == b if type(a) is type(b) else UNKNOWN


def less(a: object, b: object) -> object:
    """SQL's ``<``; for texts only where every collation agrees."""
    if a is None or b is None:
        return None
    if isinstance(a, Mark) or isinstance(b, Mark):
        return UNKNOWN
    a, b = align(a, b)
    if isinstance(a, Label) or isinstance(b, Label):
        return UNKNOWN
    if isinstance(a, str) and isinstance(b, str):
        plain = ((a + b).isascii() and (a + b).isalnum() and (a + b).islower()) or (a + b).isdigit()
        return a < b if plain or a == b else UNKNOWN
    if type(a) is type(b) and isinstance(a, Decimal | dt.date | dt.time | dt.timedelta | bool):
        return a < b  # type: ignore[operator]  # the types are the same, and ordered
    return UNKNOWN


def negated(value: object) -> object:
    """SQL's NOT, where the value is a truth value."""
    return (not value) if isinstance(value, bool) else value


def quantified(
    compare: Callable[[object, object], object],
    value: object,
    others: list[object],
    *,
    every: bool,
) -> object:
    """``value compare ANY (others)``, or ALL with ``every``."""
    unsure: object = every
    for other in others:
        answer = compare(value, other)
        if isinstance(answer, bool):
            if answer is not every:
                return answer
        elif unsure is not UNKNOWN:
            unsure = answer
    return unsure
