"""Where two answers of one query part, in a few words."""

import json
from collections import Counter
from collections.abc import Iterator

from tenantfuzz.application.answers import Answer
from tenantfuzz.results import RawRow

_LONGEST = 60


def told_apart(here: Answer, there: Answer) -> tuple[str, str]:
    """Both answers in a few words; where these would be the same words, each with the first value
    that differs."""
    one, other = here.short, there.short
    if one != other or here.outcome.failure is not None or there.outcome.failure is not None:
        return one, other
    found = _first_difference(here, there)
    if found is None:
        return one, other
    name, mine, theirs = found
    return f"{one}; {name} is {_cut(mine)}", f"{other}; {name} is {_cut(theirs)}"


def _first_difference(here: Answer, there: Answer) -> tuple[str, str, str] | None:
    mine, theirs = here.outcome.rows, there.outcome.rows
    only_mine = Counter(mine) - Counter(theirs)
    only_theirs = Counter(theirs) - Counter(mine)
    row = next((r for r in mine if r in only_mine), None)
    if row is None or not only_theirs:
        return None
    # What is most like it is most likely the same row with another value.
    like = max(
        (r for r in theirs if r in only_theirs),
        key=lambda r: sum(a == b for a, b in zip(row, r, strict=False)),
    )
    names = [c.name for c in here.outcome.columns()]
    for position, (value, other) in enumerate(zip(row, like, strict=False)):
        if value != other:
            named = names[position] if position < len(names) else ""
            inside = next(_inside(value, other), None) if not named else None
            if inside is not None:
                return inside
            return named or "a row", _text(value), _text(other)
    return None


def _inside(one: bytes | None, other: bytes | None) -> Iterator[tuple[str, str, str]]:
    """The members that differ, where code returned objects."""
    try:
        mine, theirs = json.loads(one or b"null"), json.loads(other or b"null")
    except ValueError:
        return
    if not isinstance(mine, dict) or not isinstance(theirs, dict):
        return
    for name in (n for n in mine if n in theirs and mine[n] != theirs[n]):
        yield name, _json(mine[name]), _json(theirs[name])


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _text(value: bytes | None) -> str:
    return "NULL" if value is None else value.decode(errors="replace")


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def short_row(row: RawRow) -> str:
    """A row in a few words."""
    return f"({_cut(', '.join(map(_text, row)))})"
