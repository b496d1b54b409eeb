"""Whole rows that hold all constraints that are understood, quickly and without a server."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from tenantfuzz.policies.structure import Column, Relation, TypeCategory
from tenantfuzz.strategies.candidates import TIMES, is_valid, neighbours
from tenantfuzz.strategies.columns import (
    ColumnPlan,
    Constraint,
    constraints_of,
    key_columns,
    plan_column,
)
from tenantfuzz.strategies.decoding import OPAQUE
from tenantfuzz.strategies.dictionary import Dictionary
from tenantfuzz.strategies.picking import Pick
from tenantfuzz.strategies.text import CANARY_FIRST, RESERVED, snake
from tenantfuzz.strategies.values import TEXT_BASES, canary_text, maker_of

Row = dict[str, str | None]
Taken = Mapping[tuple[str, ...], Collection[tuple[str | None, ...]]]
"""For tuples of columns the tuples of values that a row must not have there."""

BUDGET = 20_000
"""Judgements that the search for one row may cost."""
MEMORY = 4096
"""Search results kept for a relation."""
CANARY_LENGTH = 12
"""The longest canary that a column is chosen for, unless told otherwise."""


class Unsolvable(Exception):  # noqa: N818  (a verdict on a relation, no failure)
    """No row can be made that holds all constraints; ``reason`` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, eq=False)
class _Same:
    """A thing as a cache key by identity; it keeps the thing alive, so that ids stay unique."""

    thing: object

    def __hash__(self) -> int:
        return id(self.thing)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.thing is self.thing


@dataclass(frozen=True, slots=True)
class _Layout:
    """What is left to do for a row once it is known which columns are given."""

    steps: tuple[tuple[str, ColumnPlan, bool], ...]  # the name, the plan, whether it is a key
    absent: tuple[str, ...]  # references that were not given: NULL
    constraints: tuple[Constraint, ...]
    reads: tuple[str, ...]  # the columns that the constraints read
    fixed: frozenset[str]
    keys: frozenset[str]
    canary: str | None


@dataclass(frozen=True, slots=True)
class _RelationPlan:
    relation: Relation
    constraints: tuple[Constraint, ...]
    columns: Mapping[str, ColumnPlan]
    quiet: frozenset[str]  # columns that must not hold a canary
    layouts: dict[frozenset[str], _Layout] = field(default_factory=dict)
    settled: dict[tuple[frozenset[str], tuple[str | None, ...]], tuple[str | None, ...]] = field(
        default_factory=dict
    )  # what searches found, by the given columns and the values that they started from

    def layout(self, fixed: Mapping[str, str | None]) -> _Layout:
        names = frozenset(fixed)
        found = self.layouts.get(names)
        if found is None:
            found = self.layouts[names] = self._lay_out(names)
        return found

    def _lay_out(self, fixed: frozenset[str]) -> _Layout:
        keys = key_columns(self.relation, fixed, self.columns)
        links = {c for key in self.relation.foreign_keys for c in key.columns}
        steps, absent = [], []
        for name, plan in self.columns.items():
            if name in fixed:
                continue
            if plan.unknown is not None and not plan.nullable:
                if plan.column.default is not None or plan.column.identity:
                    continue
                raise Unsolvable(f"{plan.unknown} ({self.relation.name}.{name})")
            if name in links and plan.nullable:
                absent.append(name)
            else:
                steps.append((name, plan, name in keys))
        free = {name for name, _, _ in steps}
        left = tuple(
            c
            for c in self.constraints
            if c.columns & free
            and not (len(c.columns) == 1 and self._proven(next(iter(c.columns)), keys))
        )
        reads = tuple(sorted({n for c in left for n in c.columns}))
        canary = _canary_column(self, free - keys, CANARY_LENGTH)
        return _Layout(tuple(steps), tuple(absent), left, reads, fixed, keys, canary)

    def _proven(self, name: str, keys: Collection[str]) -> bool:
        plan = self.columns[name]
        return plan.key_proven if name in keys else plan.proven


@lru_cache(maxsize=4096)
def _plan(
    relation: _Same, dictionary: _Same, overrides: tuple[tuple[str, tuple[str, ...]], ...]
) -> _RelationPlan:
    of, words = relation.thing, dictionary.thing
    if not isinstance(of, Relation):
        raise TypeError(of)
    spoken = words if isinstance(words, Dictionary) else None
    constraints = constraints_of(of)
    given = dict(overrides)
    columns = {
        c.name: plan_column(of, c, constraints, dictionary=spoken, override=given.get(c.name, ()))
        for c in of.columns
        if not c.generated
    }
    quiet = {c for key in of.foreign_keys for c in key.columns} | given.keys()
    quiet |= {c for u in of.uniques for c in (*u.columns, *u.expression_columns)}
    quiet |= {c for x in of.exclusions for c in x.columns} | set(of.partition_key)
    if spoken is not None:
        quiet |= spoken.deciding_columns(of)
    return _RelationPlan(of, constraints, columns, frozenset(quiet))


def _plan_for(
    relation: Relation,
    dictionary: Dictionary | None,
    overrides: Mapping[str, Sequence[str]],
) -> _RelationPlan:
    given: tuple[tuple[str, tuple[str, ...]], ...] = ()
    if overrides:
        columns = {c.name for c in relation.columns}
        prefixes = (f"{relation.name}.", f"{relation.name.name}.")
        found = {}
        for key, values in overrides.items():
            name = next((key.removeprefix(p) for p in prefixes if key.startswith(p)), key)
            if name in columns and values:
                found[name] = tuple(values)
        given = tuple(sorted(found.items()))
    return _plan(_Same(relation), _Same(dictionary), given)


def solve_row(
    relation: Relation,
    fixed: Mapping[str, str | None],
    *,
    pick: Pick,
    ordinal: int,
    natural: int,
    canary: str,
    overrides: Mapping[str, Sequence[str]] = {},
    dictionary: Dictionary | None = None,
    plain: Collection[str] = (),
    avoid: Taken = {},  # noqa: B006  (never changed)
) -> Row:
    """Input texts (None: NULL) for all columns that are not in ``fixed`` and not generated.

    With ``fixed`` they hold NOT NULL, domains and CHECK constraints as far as these are
    understood. References that are not given are NULL where they may be. Columns that must be
    unique over the whole relation follow ``ordinal`` and are distinct for distinct ones; all
    others follow ``natural`` and ``pick`` and are equal for equal ones; ``canary`` (empty for
    none) goes into one column that can hold it. ``overrides`` maps columns (or ``table.column``)
    to the values that they may take; ``plain`` columns take the first of theirs, whatever
    ``pick`` says; ``avoid`` maps columns to the tuples that must not appear
    there. A column of an unknown type is left to its default.
    Raises Unsolvable.
    """
    plan = _plan_for(relation, dictionary, overrides)
    layout = plan.layout(fixed)
    row: Row = dict.fromkeys(layout.absent)
    for name, column, is_key in layout.steps:
        if is_key:
            if column.capacity is not None and ordinal >= column.capacity:
                if not column.nullable:
                    raise Unsolvable(
                        f"column {relation.name}.{name} must be unique and has"
                        f" {column.capacity} values only"
                    )
                row[name] = None
            else:
                row[name] = column.key(ordinal)
        elif column.unknown is not None:
            row[name] = None
        elif column.options:
            first = 0 if name in plain else pick(len(column.options) + column.free)
            choice = first - column.free
            row[name] = column.natural(natural) if choice < 0 else column.options[choice]
        else:
            row[name] = column.natural(natural)
    if canary and layout.canary is not None:
        text = canary_text(plan.columns[layout.canary].column.type, canary)
        if text is not None and _may_hold(plan, layout.canary, text):
            row[layout.canary] = text
    if avoid:
        _Search(plan, layout, fixed, row, avoid, natural).settle()
    elif layout.constraints:
        _settle(plan, layout, fixed, row, natural)
    return row


def _settle(
    plan: _RelationPlan,
    layout: _Layout,
    fixed: Mapping[str, str | None],
    row: Row,
    natural: int,
) -> None:
    """Makes the row hold the constraints, from memory where the same start was seen before."""
    start = tuple([row[n] if n in row else fixed.get(n) for n in layout.reads])
    known = plan.settled.get((layout.fixed, start))
    if known is None:
        _Search(plan, layout, fixed, row, {}, natural).settle()
        end = tuple([row[n] if n in row else fixed.get(n) for n in layout.reads])
        if len(plan.settled) >= MEMORY:
            plan.settled.clear()
        plan.settled[layout.fixed, start] = end
    elif known is not start:
        row.update((n, v) for n, v in zip(layout.reads, known, strict=True) if n in row)


def _may_hold(plan: _RelationPlan, name: str, text: str) -> bool:
    column = plan.columns[name]
    if not column.checked and len(text) <= CANARY_LENGTH:
        return True
    return is_valid(column.column.type, text) and column.judge(text)


class _Search:
    """Changes the free columns of one row until nothing fails."""

    def __init__(
        self,
        plan: _RelationPlan,
        layout: _Layout,
        fixed: Mapping[str, str | None],
        row: Row,
        avoid: Taken,
        natural: int,
    ) -> None:
        self.plan, self.layout, self.fixed, self.row = plan, layout, fixed, row
        self.natural = natural
        self.spent = 0
        self.values: dict[str, object] = {}
        names = layout.reads
        for name in names:
            self.values[name] = self._decoded(name, row[name] if name in row else fixed.get(name))
        self.constraints: list[Constraint] = list(layout.constraints)
        for columns, taken in avoid.items():
            if taken and any(c in row for c in columns):
                self.constraints.append(self._avoiding(columns, taken))

    def _avoiding(
        self, columns: tuple[str, ...], taken: Collection[tuple[str | None, ...]]
    ) -> Constraint:
        def judge(_: Mapping[str, object]) -> object:
            now = tuple(self.row[c] if c in self.row else self.fixed.get(c) for c in columns)
            return None in now or now not in taken

        return Constraint(f"values taken in {', '.join(columns)}", frozenset(columns), judge)

    def _decoded(self, name: str, text: str | None) -> object:
        column = self.plan.columns.get(name)
        return None if text is None or column is None else column.decode(text)

    def _set(self, name: str, text: str | None) -> None:
        self.row[name] = text
        if name in self.values:
            self.values[name] = self._decoded(name, text)

    def failing(self) -> list[Constraint]:
        """The constraints that the row breaks now."""
        self.spent += len(self.constraints)
        return [c for c in self.constraints if c.judge(self.values) is False]

    def settle(self) -> None:
        """Makes the row hold all constraints. Raises Unsolvable."""
        failing = self.failing()
        while failing:
            before = len(failing)
            failing = self._improve(failing)
            if failing and len(failing) >= before:
                self._search(failing)
                return

    def _improve(self, failing: list[Constraint]) -> list[Constraint]:
        """Changes one column so that fewer constraints fail; unchanged where none does.

        What was picked on purpose is changed only if nothing else helps.
        """
        names = self._movable(set().union(*(c.columns for c in failing)))
        for picked in (False, True):
            best, chosen = failing, None
            for name in names:
                if bool(self.plan.columns[name].options) is not picked:
                    continue
                old = self.row[name]
                rest = [c for c in failing if name not in c.columns]
                if len(rest) == len(failing):
                    continue
                affected = [c for c in self.constraints if name in c.columns]
                cause = next(c for c in failing if name in c.columns)
                for text in self._texts(name, cause):
                    self._set(name, text)
                    self.spent += len(affected)
                    now = [*rest, *(c for c in affected if c.judge(self.values) is False)]
                    if len(now) < len(best):
                        best, chosen = now, (name, text)
                        if len(now) == len(rest):
                            break
                self._set(name, old)
                if not best:
                    break
            if chosen is not None:
                self._set(*chosen)
                return best
        return failing

    def _movable(self, columns: Collection[str]) -> list[str]:
        """The columns that may be changed, those first that were not picked on purpose."""
        plans = self.plan.columns
        absent = self.layout.absent
        free = [
            n
            for n in plans
            if n in columns and n in self.row and plans[n].unknown is None and n not in absent
        ]
        return sorted(free, key=lambda n: (n in self.layout.keys, bool(plans[n].options)))

    def _texts(self, name: str, failing: Constraint) -> Iterator[str | None]:
        plan = self.plan.columns[name]
        is_key = name in self.layout.keys
        type_ = plan.column.type
        if is_key and type_.base not in TIMES:
            if plan.nullable:
                yield None
            return  # another value might be that of another row
        for other in sorted(failing.columns - {name}):
            value = self.values.get(other)
            model = self.plan.columns.get(other)
            if value is None or model is None or type_.category is not TypeCategory.BASE:
                continue
            for text in neighbours(type_, value):
                if is_valid(type_, text) and plan.judge(text):
                    yield text
            same = self.row[other] if other in self.row else self.fixed.get(other)
            if not is_key and same is not None and is_valid(type_, same):
                texts = (same, same.lower(), same.upper(), same.strip())
                yield from (
                    t for t in texts[: 4 if type_.base in TEXT_BASES else 1] if plan.judge(t)
                )
        if not is_key:
            yield from plan.alternatives
        elif plan.nullable:
            yield None
        if failing.name.startswith("values taken") and not plan.options:
            yield from (plan.natural(self.natural + more) for more in range(1, 60))

    def _search(self, failing: list[Constraint]) -> None:
        """Tries all combinations within the group of columns that the failing ones touch."""
        touched: set[str] = set().union(*(c.columns for c in failing))
        while True:
            linked = [c for c in self.constraints if c.columns & touched]
            grown = touched.union(*(c.columns for c in linked))
            if grown == touched:
                break
            touched = grown
        names = self._movable(touched)
        names.sort(key=lambda n: not any(n in c.columns for c in failing))
        due = []
        for at in range(len(names)):
            later = set(names[at + 1 :])
            due.append([c for c in linked if names[at] in c.columns and not c.columns & later])
        if not names or not self._descend(names, due, failing[0], 0):
            raise Unsolvable(
                f"no row of {self.plan.relation.name} was found that holds {failing[0].name}"
            )

    def _descend(
        self,
        names: Sequence[str],
        due: Sequence[Sequence[Constraint]],
        failing: Constraint,
        at: int,
    ) -> bool:
        if at == len(names):
            return not self.failing()
        name = names[at]
        old = self.row[name]
        for text in dict.fromkeys((old, *self._texts(name, failing))):
            if self.spent > BUDGET:
                return False
            self._set(name, text)
            self.spent += 1 + len(due[at])
            if any(c.judge(self.values) is False for c in due[at]):
                continue
            if self._descend(names, due, failing, at + 1):
                return True
        self._set(name, old)
        return False


def canary_column(
    relation: Relation,
    *,
    fixed: Collection[str] = (),
    dictionary: Dictionary | None = None,
    overrides: Mapping[str, Sequence[str]] = {},
    length: int = CANARY_LENGTH,
) -> str | None:
    """The column in which ``solve_row`` puts the canary, or None where no column can hold one.

    ``fixed`` are the columns that are given; ``length`` is that of the longest canary.
    """
    plan = _plan_for(relation, dictionary, overrides)
    free = plan.columns.keys() - set(fixed)
    return _canary_column(plan, free - key_columns(relation, fixed, plan.columns), length)


def _canary_column(plan: _RelationPlan, free: Collection[str], length: int) -> str | None:
    probe = ("cnry" + "7f3a2k9d0x1z4b6m" * 4)[:length]
    shared = {n for c in plan.constraints if len(c.columns) > 1 for n in c.columns}
    able = []
    for name, column in plan.columns.items():
        if name not in free or name in plan.quiet or column.unknown is not None or name in shared:
            continue
        text = canary_text(column.column.type, probe)
        if text is None:
            continue
        if column.judge(text) and (not column.checked or not column.options):
            able.append(name)
    return min(able, key=lambda n: _canary_rank(plan.columns[n].column), default=None)


def _canary_rank(column: Column) -> tuple[int, int, int]:
    name, type_ = snake(column.name), column.type
    if type_.category is not TypeCategory.BASE:
        kind = 4
    elif type_.base in TEXT_BASES:
        kind = 0 if name in CANARY_FIRST else 2 if not RESERVED.search(name) else 6
    else:
        kind = 3 if type_.base in ("json", "jsonb") and not RESERVED.search(name) else 5
    preference = CANARY_FIRST.index(name) if name in CANARY_FIRST else len(CANARY_FIRST)
    return kind, preference, column.number


def mutate_value(
    column: Column,
    relation: Relation,
    current: str | None,
    *,
    salt: int,
    dictionary: Dictionary | None = None,
) -> str | None:
    """Another valid value for the column: for UPDATE's SET, and for changing hidden rows.

    It holds NOT NULL, domains and the checks that read this column alone; different ``salt``
    gives different values while there are some. ``current`` comes back where there is no other.
    """
    plan = _plan_for(relation, dictionary, {}).columns.get(column.name)
    if plan is None or plan.unknown is not None:
        return current
    decoded = None if current is None else plan.decode(current)
    pool: list[str | None] = []
    if not plan.options or plan.free:
        made = (plan.natural(9001 + salt), plan.natural(9002 + salt), plan.natural(salt + 1))
        pool += [v for v in made if is_valid(column.type, v) or plan.proven]
        pool = [v for v in pool if plan.judge(v)][:1] or pool[:0]
    listed = plan.options if plan.options and not plan.free else plan.alternatives
    at = salt % len(listed) if listed else 0
    pool += [*listed[at:], *listed[:at]]
    pool.sort(key=lambda v: v is None)  # NULL last
    for text in pool:
        if text != current and (text is None or current is None or plan.decode(text) != decoded):
            return text
        if text != current and text is not None and plan.decode(text) is OPAQUE:
            return text
    if plan.options:  # a default alone says little about what else is valid
        make = maker_of(column.type, column.name)
        for number in (9001 + salt, 9002 + salt):
            text = make(number)
            if text != current and plan.judge(text):
                return text
    return current
