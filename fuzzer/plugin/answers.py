"""Answers of code under test: values of any shape, made comparable and searched."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal

from tenantfuzz.policies.predictions import Key, State
from tenantfuzz.policies.structure import RelationName

_SHORTEST = 8  # a key that is shorter may stand anywhere by chance
_DEEPEST = 20


def text_of(value: object) -> str:
    """All texts in a value, one in each line: elements, keys, fields, attributes."""
    return "\n".join(_texts(value, 0, set()))


def _texts(value: object, depth: int, seen: set[int]) -> Iterator[str]:
    if value is None or isinstance(value, bool | int | float):
        if value is not None:
            yield str(value)
        return
    if isinstance(value, bytes | bytearray | memoryview):
        yield bytes(value).decode(errors="replace")
        return
    parts = _parts(value)
    if parts is None or depth >= _DEEPEST:
        yield str(value)
    elif id(value) not in seen:
        seen.add(id(value))
        for part in parts:
            yield from _texts(part, depth + 1, seen)


def _parts(value: object) -> list[object] | None:
    """What a value is made of, or None where it is one thing."""
    if isinstance(value, Mapping):
        return [part for item in value.items() for part in item]
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    if is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, f.name) for f in fields(value)]
    if isinstance(value, str) or not hasattr(value, "__dict__") or isinstance(value, type):
        return None
    return list(vars(value).values()) or None


def comparable(value: object) -> object:
    """A value that equals another where the answers say the same: the order of rows says nothing,
    nor does what identifies an object in memory."""
    if isinstance(value, Mapping):
        items = [(repr(comparable(k)), comparable(v)) for k, v in value.items()]
        return ("mapping", *sorted(items, key=repr))
    if isinstance(value, list | set | frozenset):
        return ("rows", *sorted(repr(comparable(v)) for v in value))
    if isinstance(value, tuple):
        return ("row", *(comparable(v) for v in value))
    parts = _parts(value)
    if parts is None:
        return (type(value).__name__, value if isinstance(value, str | bytes) else repr(value))
    return (type(value).__name__, *(comparable(p) for p in parts))


def is_nothing(value: object) -> bool:
    """Whether a value says nothing: None, or nothing in it. Zero and False are answers too, but
    the same to everybody who has nothing."""
    if isinstance(value, Mapping):
        return all(is_nothing(part) for part in value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return all(is_nothing(part) for part in value)
    if isinstance(value, str | bytes | int | float | Decimal):
        return not value
    return value is None


def tokens_of_keys(
    state: State, tenants: RelationName | None
) -> dict[str, tuple[RelationName, Key]]:
    """Key values that stand for one row of one relation: long ones, tenants' own ids left out,
    for callers hand those in themselves."""
    homes: dict[str, set[tuple[RelationName, Key]]] = {}
    counts: Counter[str] = Counter()
    for relation, rows in state.items():
        for key in rows:
            for value in _key_values(key):
                homes.setdefault(value, set()).add((relation, key))
                counts[value] += relation == tenants
    return {
        value: next(iter(found))
        for value, found in homes.items()
        if len(found) == 1 and not counts[value]
    }


def _key_values(key: Key) -> list[str]:
    try:
        values = json.loads(key)
    except ValueError:
        return []
    long = [v for v in values if isinstance(v, str) and len(v) >= _SHORTEST and not v.isdigit()]
    return long if len(values) == 1 else []
