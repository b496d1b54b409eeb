"""Answers of application queries: what one run gave and left behind, and when two are the same."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from tenantfuzz.oracles.containment import changes_between
from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.structure import Operation, RelationName
from tenantfuzz.results import Outcome, RawRow, same_answer
from tenantfuzz.stage import Stage
from tenantfuzz.steadiness import turned
from tenantfuzz.untriggered import untriggered

_PLANNERS = (
    ("enable_hashjoin", "enable_hashagg", "enable_seqscan"),
    ("enable_mergejoin", "enable_nestloop", "enable_indexscan", "enable_bitmapscan"),
)
# How rows are stored anew: last first; then, where an order is asked for, in two that have nothing
# to do with any other, so that rows that tie in it are seen to come as they are stored.
_ORDERS = ("ctid DESC", "md5(t::text)", "md5(t::text || '1') DESC")
_CANCELLED = frozenset({"57014", "25P02", "26000"})


Perform = Callable[[], Outcome]
"""Does something on the stage, and leaves what it did."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, and the rows (as text, by relation) that the caller sees changed by it."""

    outcome: Outcome
    left: Counter[tuple[RelationName, str]]
    wrote: bool

    @property
    def no_verdict(self) -> bool:
        """Whether the tool itself, or a time limit, kept it from answering."""
        failure = self.outcome.failure
        return failure is not None and failure.sqlstate in _CANCELLED

    @property
    def short(self) -> str:
        """The answer in a few words."""
        outcome = self.outcome
        if outcome.failure is not None:
            return f"error {outcome.failure.sqlstate}: {outcome.failure.message}"
        if not outcome.columns() and not outcome.rows:
            called = outcome.tag.startswith("CALL") and not outcome.affected
            return "nothing" if called else f"{outcome.affected} row(s) written"
        if len(outcome.rows) == 1 and len(outcome.rows[0]) == 1:
            value = outcome.rows[0][0]
            return "NULL" if value is None else value.decode(errors="replace")
        return f"{len(outcome.rows)} row(s)"


def agree(one: Answer, other: Answer, *, unordered: bool = False, ordered: bool = False) -> bool:
    """Whether two answers are the same: with their rows in the same order if ``ordered``, else in
    whatever order.

    ``unordered``: an aggregate of the query collects values in no order, so that values count as
    the same where they hold the same characters.
    """
    if one.wrote or other.wrote:
        failed = one.outcome.failure is not None or other.outcome.failure is not None
        if failed:
            return True  # that a write is refused is the business of its table's constraints
        if one.left != other.left:
            return False
    if same_answer(one.outcome, other.outcome):
        if ordered and one.outcome.rows != other.outcome.rows:
            return False
        # How many rows code wrote, and perhaps undid, nobody is told but by what it returns.
        called = one.outcome.tag.startswith("CALL")
        return called or one.outcome.affected == other.outcome.affected
    if not unordered or one.outcome.failure is not None or other.outcome.failure is not None:
        return False
    return Counter(map(_spelled, one.outcome.rows)) == Counter(map(_spelled, other.outcome.rows))


def _spelled(row: RawRow) -> tuple[bytes | None, ...]:
    return tuple(None if value is None else bytes(sorted(value)) for value in row)


def answer_of(stage: Stage, caller: Principal, perform: Perform) -> Answer:
    """What ``perform`` gives, undone again; what it left is what ``caller`` sees of it."""
    with undone(stage):
        earlier = stage.touches()
        outcome = perform()
        now = stage.touches()
        wrote = now != earlier
        if not wrote or outcome.failure is not None:
            return Answer(outcome, Counter(), wrote)
        after = stage.state()
        prediction = stage.prediction(after)
        # Rules must be asked while the rows are as they were left.
        shown = {
            relation: prediction.allowed(caller, relation, Operation.SELECT)
            for relation in _touched(stage, earlier, now)
        }
    left = Counter(
        (c.relation, c.after.text)
        for c in changes_between(stage.state(), after)
        if c.after is not None and c.after.key in shown.get(c.relation, ())
    )
    return Answer(outcome, left, wrote=True)


def _touched(
    stage: Stage, earlier: Mapping[RelationName, int], now: Mapping[RelationName, int]
) -> set[RelationName]:
    """What was written between two readings of ``touches``, and the tables that it is part of."""
    found = {name for name, count in now.items() if count != earlier.get(name)}
    for name in list(found):
        parent = stage.catalog.relations[name].parent
        while parent is not None and parent in stage.catalog.relations:
            found.add(parent)
            parent = stage.catalog.relations[parent].parent
    return found


def undone(stage: Stage) -> AbstractContextManager[None]:
    """Whatever happens inside is undone."""
    return stage.undone()


def world_with(stage: Stage, statements: Sequence[str]) -> AbstractContextManager[bool]:
    """The world after the trusted role ran ``statements``; False where it could not."""
    return stage.altered(statements)


def steady(
    stage: Stage,
    caller: Principal,
    perform: Perform,
    answer: Answer,
    *,
    unordered: bool,
    ordered: bool = False,
) -> bool:
    """Whether the same comes back once more, under other plans, and with the rows stored in
    another order: what does not is decided by chance or by physical order."""

    def again() -> bool:
        now = answer_of(stage, caller, perform)
        return agree(answer, now, unordered=unordered, ordered=ordered)

    if not again():
        return False
    if answer.outcome.failure is not None:
        return True  # which rows a plan looks at first decides no verdict on those it looked at
    for names in _PLANNERS:
        with stage.without(names) as tried:
            if tried and not again():
                return False
    for order in _ORDERS if ordered else _ORDERS[:1]:
        with world_with(stage, untriggered(turned(stage, order))) as done:
            if done and not again():
                return False
    return True
