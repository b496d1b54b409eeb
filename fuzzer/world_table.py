"""A minimal world as small tables that people can read."""

import re
import string
import textwrap
from collections.abc import Mapping, Sequence

from tenantfuzz.counterexample import Witness
from tenantfuzz.policies.world import Row, World
from tenantfuzz.scrubbing import scrub

_LONGEST_VALUE = 22
_MOST_ROWS = 6
_MOST_RELATIONS = 10
_FEW_RELATIONS = 4
_MOST_NAMED = 12
_GAP = "  "


def letters_of(world: World) -> dict[str, str]:
    """A letter for each tenant, A for the one whose members attack; too many tenants: numbers."""
    if len(world.tenants) > len(string.ascii_uppercase):
        return {tenant: f"T{number}" for number, tenant in enumerate(world.tenants, 1)}
    return dict(zip(world.tenants, string.ascii_uppercase, strict=False))


def world_lines(witness: Witness, *, width: int) -> list[str]:
    """One table for each relation: keys, owners and what the statements speak of.

    The first column says for which tenant a row was made (a letter; ``-`` for nobody's). Columns
    that do not fit, and rows beyond the first few, are counted, not shown.
    """
    world = witness.world
    letters = letters_of(world)
    lines: list[str] = []
    groups: dict[str, list[Row]] = {}
    for row in world.rows:
        groups.setdefault(str(row.relation), []).append(row)
    if letters:
        legend = ", ".join(f"{letter} = {_shown(tenant)}" for tenant, letter in letters.items())
        lines += textwrap.wrap(
            f"tenants: {legend}", width, subsequent_indent="  ", break_on_hyphens=False
        )
    words = _words(witness)
    told = _told(witness, groups, words)
    for name in told:
        lines += _table(name, groups[name], world, letters, words, width)
    rest = [
        f"{name} ({', '.join(_owner(row, letters) for row in rows[:_MOST_ROWS])}"
        + (", …)" if len(rows) > _MOST_ROWS else ")")
        for name, rows in groups.items()
        if name not in told
    ]
    if len(rest) > _MOST_NAMED:
        rest[_MOST_NAMED:] = [f"and {len(rest) - _MOST_NAMED} more relations"]
    if rest:
        lines += textwrap.wrap(
            f"besides rows of: {', '.join(rest)}",
            width,
            subsequent_indent="  ",
            break_on_hyphens=False,
        )
    return lines


def _told(
    witness: Witness, groups: Mapping[str, Sequence[Row]], words: frozenset[str]
) -> list[str]:
    """The relations to show in full: all of a few; of many, those that the statements name and
    those that hold the acting user. The others are there for rows to refer to."""
    if len(groups) <= _FEW_RELATIONS:
        return list(groups)
    user = witness.principal.user
    told = [
        name
        for name, rows in groups.items()
        if rows[0].relation.name.lower() in words
        or (user is not None and any(user in row.values.values() for row in rows))
    ]
    return told[:_MOST_RELATIONS] or list(groups)[-_FEW_RELATIONS:]


def _owner(row: Row, letters: Mapping[str, str]) -> str:
    return "-" if row.tenant is None else letters.get(row.tenant, _shown(row.tenant))


def _words(witness: Witness) -> frozenset[str]:
    text = " ".join(step.sql for step in witness.steps)
    return frozenset(re.findall(r"\w+", text.lower()))


def _table(
    name: str,
    rows: Sequence[Row],
    world: World,
    letters: dict[str, str],
    words: frozenset[str],
    width: int,
) -> list[str]:
    shown = rows[:_MOST_ROWS]
    columns = _columns(rows, world, words)
    cells = [["of", *columns]]
    for row in shown:
        cells.append([_owner(row, letters), *(_cell(row, column) for column in columns)])
    widths = [max(len(line[n]) for line in cells) for n in range(len(cells[0]))]
    fitting = 1
    used = 2 + widths[0]
    for column_width in widths[1:]:
        used += len(_GAP) + column_width
        if used > width and fitting > 1:
            break
        fitting += 1
    table = [
        "  " + _GAP.join(text.ljust(w) for text, w in zip(line[:fitting], widths, strict=False))
        for line in cells
    ]
    given = {column for row in rows for column in row.values}
    left_out = len(given) - (fitting - 1)
    more = f"  (+{left_out} column{'s' if left_out > 1 else ''})" if left_out > 0 else ""
    lines = [name + more, *(line.rstrip()[: max(width, 20)] for line in table)]
    if len(rows) > len(shown):
        lines.append(f"  … {len(rows) - len(shown)} more rows")
    return lines


def _columns(rows: Sequence[Row], world: World, words: frozenset[str]) -> list[str]:
    """The columns that matter: keys and owners, then what statements name, then the canary."""
    given = list(dict.fromkeys(column for row in rows for column in row.values))
    tenants, users = set(world.tenants), set(world.users)

    def importance(column: str) -> int:
        values = [row.values.get(column) for row in rows]
        found = {v for v in values if v is not None}
        if column == "id" or (found & tenants and column.endswith("id")):
            return 0
        if found & tenants:
            return 1
        if column.lower() in words or (found & users and column.endswith("id")):
            return 2
        if any(row.canary and row.canary in (row.values.get(column) or "") for row in rows):
            return 3
        if column.endswith("_id") and found:
            return 4
        return 5

    ranked = [(importance(column), column) for column in given]
    matter = [(rank, column) for rank, column in ranked if rank < 5]
    chosen = matter or ranked[:3]
    return [column for _, column in sorted(chosen, key=lambda item: item[0])]


def _cell(row: Row, column: str) -> str:
    if column not in row.values:
        return "(default)"
    value = row.values[column]
    if value is None:
        return "NULL"
    return _shown(value) if value else "''"


def _shown(value: str) -> str:
    text = " ".join(scrub(value).split())
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    if len(text) <= _LONGEST_VALUE:
        return text
    # Both ends: ids often differ in one of them only.
    return f"{text[: _LONGEST_VALUE - 7]}…{text[-6:]}"
