"""What is said between tenantfuzz and an adapter: one JSON object a line, one answer a question."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from tenantfuzz.results import Failure, RawRow

_SHOWN = 80  # characters of a line that is shown

Spec = object
"""What an adapter says of a parameter: a type, a column, a list of values, or an object of them."""


class FaultError(Exception):
    """An adapter did what no adapter may do; the message says what."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A call that an adapter offers. ``kinds``: who may make it (empty: everybody who is signed
    in); ``writes``: relations that it writes on its caller's behalf."""

    name: str
    params: Mapping[str, Spec]
    kinds: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()


def message(document: Mapping[str, object]) -> bytes:
    """A question as it is sent."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def parsed(line: bytes) -> dict[str, object]:
    """An answer. Raises FaultError for what is no JSON object."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise FaultError(
            "it wrote a line to stdout that is no JSON object (logs belong to stderr): "
            + shown(line)
        )
    return document


def shown(line: bytes) -> str:
    """A line as a message shows it."""
    text = line.decode(errors="replace").strip()
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


def listed(document: Mapping[str, object]) -> list[Declared]:
    """The calls of an answer to ``list``. Raises FaultError, which says what is wrong with it."""
    error = document.get("error")
    if error is not None:
        raise FaultError(f"it cannot list its calls: {_failure(error).message}")
    calls = document.get("calls")
    if not isinstance(calls, list):
        raise FaultError('it must answer list with {"calls": [{"name": …, "params": {…}}]}')
    found = [_declared(call) for call in calls]
    names = [c.name for c in found]
    for name in sorted({n for n in names if names.count(n) > 1}):
        raise FaultError(f"it lists the call {name!r} twice")
    return found


def _declared(call: object) -> Declared:
    if not isinstance(call, dict) or not isinstance(call.get("name"), str) or not call["name"]:
        raise FaultError(f"it lists a call without a name: {shown(_dumped(call))}")
    name = call["name"]
    params = call.get("params") or {}
    if not isinstance(params, dict):
        raise FaultError(f"the params of {name} must be an object: name to type")
    return Declared(name, params, _names(call, "kinds"), _names(call, "writes"))


def _names(call: Mapping[str, object], key: str) -> tuple[str, ...]:
    given = call.get(key) or []
    if isinstance(given, str):
        return (given,)
    if not isinstance(given, list) or not all(isinstance(n, str) for n in given):
        raise FaultError(f"the {key} of {call['name']} must be a list of names")
    return tuple(given)


def replied(document: Mapping[str, object]) -> list[RawRow] | Failure:
    """The rows of an answer to ``call``, one text for each, or the error that the code raised.

    Raises FaultError for what is neither.
    """
    if "error" in document and document["error"] is not None:
        return _failure(document["error"])
    if "rows" not in document:
        raise FaultError(
            'it must answer call with {"rows": […]} or {"error": …}, not '
            + shown(_dumped(document))
        )
    rows = document["rows"]
    if rows is None:
        return []
    items = rows if isinstance(rows, list) else [rows]
    return [(_dumped(item),) for item in items]


def _failure(error: object) -> Failure:
    if isinstance(error, dict):
        code, text = error.get("code"), error.get("message")
        detail = error.get("detail")
        return Failure(
            str(code) if code is not None else "ERROR",
            str(text) if text is not None else "",
            detail if isinstance(detail, str) else "",
        )
    return Failure("ERROR", str(error))


def _dumped(item: object) -> bytes:
    """One text for all ways to write the same: keys in order, lists in one order too, since a list
    that was collected without one comes in any."""
    return json.dumps(_ordered(item), sort_keys=True, ensure_ascii=False).encode()


def _ordered(item: object) -> object:
    if isinstance(item, dict):
        return {key: _ordered(value) for key, value in item.items()}
    if isinstance(item, list):
        return sorted((_ordered(i) for i in item), key=lambda i: json.dumps(i, sort_keys=True))
    if isinstance(item, float) and not math.isfinite(item):
        return str(item)
    return item
