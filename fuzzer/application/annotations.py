"""Annotations of Python functions: what they say of an argument's type, and how an input text of
PostgreSQL becomes such an argument."""

import datetime as dt
import enum
import functools
import inspect
import json
import types
import typing
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, get_args, get_origin, get_type_hints

from tenantfuzz.application.specs import array_of
from tenantfuzz.policies.structure import DataType, TypeCategory
from tenantfuzz.strategies.decoding import split_array

Convert = Callable[[str], object]
Several = Callable[[Iterable[object]], object]


@dataclass(frozen=True, slots=True)
class Shape:
    """The form of an argument: the type of it (of its items, where ``several`` makes the list that
    it is), how an input text becomes it, and its only ``values``. ``convert`` is None where only
    the list was said, and not of what."""

    type: DataType
    convert: Convert | None
    several: Several | None = None
    values: tuple[str | None, ...] = ()

    @property
    def drawn(self) -> DataType:
        """The type by which it is drawn."""
        return self.type if self.several is None else array_of(self.type)

    def value(self, text: str | None) -> object:
        """The argument; None where ``text`` is no value of its type."""
        if text is None:
            return None
        convert = self.convert or str
        try:
            if self.several is None:
                return convert(text)
            items = split_array(text) if text.startswith("{") else [text]
            return self.several([None if i is None else convert(i) for i in items])
        except (ValueError, ArithmeticError, TypeError, LookupError):
            return None


TEXT = Shape(DataType("text", "text"), str)


def _flag(text: str) -> bool:
    return text in ("true", "t")


def _day(text: str) -> dt.date:
    return dt.date.fromisoformat(text[:10])


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("\\x"))


_SHAPES: Mapping[object, Shape] = {
    str: TEXT,
    int: Shape(DataType("bigint", "int8"), int),
    float: Shape(DataType("double precision", "float8"), float),
    Decimal: Shape(DataType("numeric", "numeric"), Decimal),
    bool: Shape(DataType("boolean", "bool"), _flag),
    uuid.UUID: Shape(DataType("uuid", "uuid"), uuid.UUID),
    dt.date: Shape(DataType("date", "date"), _day),
    dt.datetime: Shape(
        DataType("timestamp with time zone", "timestamptz"), dt.datetime.fromisoformat
    ),
    dt.time: Shape(DataType("time without time zone", "time"), dt.time.fromisoformat),
    bytes: Shape(DataType("bytea", "bytea"), _bytes),
    dict: Shape(DataType("jsonb", "jsonb"), json.loads),
}
_BY_BASE: Mapping[str, Convert] = {
    **{s.type.base: s.convert for s in _SHAPES.values() if s.convert is not None},
    "int2": int,
    "int4": int,
    "float4": float,
    "json": json.loads,
    "timestamp": dt.datetime.fromisoformat,
}
_LISTS: Mapping[object, Several] = {
    list: list,
    Sequence: list,
    Collection: list,
    Iterable: list,
    tuple: tuple,
    set: set,
    Set: set,
    frozenset: frozenset,
}
# Names that are often imported for annotations alone, where nobody finds them at run time.
_USUAL: Mapping[str, object] = {
    "UUID": uuid.UUID,
    "uuid": uuid,
    "Decimal": Decimal,
    "date": dt.date,
    "datetime": dt.datetime,
    "dt": dt,
    "Sequence": Sequence,
    "Iterable": Iterable,
    "Collection": Collection,
    "Mapping": Mapping,
    "Any": Any,
    "Optional": typing.Optional,
}


def annotations_of(code: Callable[..., object]) -> Mapping[str, object]:
    """The annotations of a function's parameters, resolved; one that cannot be stays a text."""
    while isinstance(code, functools.partial):
        code = code.func
    code = inspect.unwrap(code)
    try:
        return get_type_hints(code, include_extras=True)
    except Exception:  # one name that is missing says nothing of the others
        given: Mapping[str, object] = getattr(code, "__annotations__", {})
        names = {**_USUAL, **getattr(code, "__globals__", {})}
        return {name: _resolved(hint, names) for name, hint in given.items()}


def _resolved(hint: object, names: dict[str, object]) -> object:
    alone = types.SimpleNamespace(__annotations__={"it": hint})
    try:
        return get_type_hints(alone, names)["it"]
    except Exception:  # whatever the target's own annotations raise
        return hint


def shape_of(hint: object) -> Shape | None:
    """What an annotation says; None where it says nothing that counts."""
    if isinstance(hint, typing.NewType):
        return shape_of(hint.__supertype__)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is typing.Annotated:
        return shape_of(arguments[0])
    if origin is typing.Union or origin is types.UnionType:
        return next((s for a in arguments if (s := shape_of(a)) is not None), None)
    if origin is typing.Literal:
        return _one_of({_text(a): a for a in arguments})
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _one_of({_text(m.value): m for m in hint})
    kind = origin or hint
    if kind in (dict, Mapping):
        return _SHAPES[dict]
    if several := _listing(kind):
        item = shape_of(arguments[0]) if arguments else None
        if item is None or item.several is not None:
            return Shape(TEXT.type, None, several)
        return Shape(item.type, item.convert, several, item.values)
    return _SHAPES.get(hint) if isinstance(hint, type) else None


def _listing(kind: object) -> Several | None:
    return _LISTS.get(kind) if isinstance(kind, type) else None


def _one_of(values: Mapping[str | None, object]) -> Shape:
    return Shape(TEXT.type, lambda text: values[text], values=tuple(values))


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def shape_of_type(type_: DataType) -> Shape:
    """The form in which a driver gives values of a type of PostgreSQL."""
    if type_.category is TypeCategory.ARRAY and type_.element is not None:
        inner = shape_of_type(type_.element)
        return Shape(inner.type, inner.convert, list)
    known = _BY_BASE if type_.category is TypeCategory.BASE else {}
    return Shape(type_, known.get(type_.base, str))
