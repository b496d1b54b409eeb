"""Which of the relations that a query names weigh in its answers.

That a query answered, and that rows were there that its caller must not reach, says nothing of a
part of it that never held: an outer join whose other side never matched, a sub-select over a time
in which nothing lies. A relation weighs where some answer is another one without its rows.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from tenantfuzz.application.answers import Answer, agree
from tenantfuzz.application.calls import Case
from tenantfuzz.application.queries import LiveQuery
from tenantfuzz.oracles.containment import changes_between
from tenantfuzz.policies.model import Model, OwnershipKind
from tenantfuzz.policies.predictions import State
from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.query_analysis import analyse
from tenantfuzz.policies.query_parts import QueryAnalysis
from tenantfuzz.policies.quoting import qualified
from tenantfuzz.policies.structure import Catalog, RelationKind, RelationName
from tenantfuzz.results import Outcome
from tenantfuzz.stage import Stage
from tenantfuzz.untriggered import untriggered

_OWNERLESS = frozenset({OwnershipKind.SHARED, OwnershipKind.PRIVATE, OwnershipKind.UNCLASSIFIED})
_TABLES = (RelationKind.TABLE, RelationKind.PARTITIONED)
_OF_CALLER = 8  # answers to one caller that are had once more
_OF_QUERY = 60
_OF_CODE = 4, 24  # the same of code
_ANEW = 3  # of these, how many in a process that just started
_NO_VERDICT = frozenset({"57014", "25P02", "26000"})
_CONSTRAINTS = "23"  # the class of errors of constraints: a foreign key misses what was taken away


@dataclass(slots=True)
class Weights:
    """What is known of it, by the name of the query, over all rounds of a campaign."""

    named: dict[str, set[RelationName]] = field(default_factory=dict)
    weighed: dict[str, set[RelationName]] = field(default_factory=dict)
    _heard: dict[str, frozenset[RelationName]] = field(default_factory=dict)  # by statement

    def meet(self, query: LiveQuery, catalog: Catalog, model: Model) -> None:
        """Notes what a query names; code names what it just sent."""
        if query.door or query.outside:
            return  # its queries may go astray; calls of processes are too dear
        named = self.named.setdefault(query.name, set())
        if query.function is None:
            if not named and query.analysis is not None:
                named |= _read_by(query.analysis, catalog, model)
            return
        for sent in query.function.sent():
            if sent.is_query:
                if sent.sql not in self._heard:
                    analysis = analyse(sent.text, catalog)
                    self._heard[sent.sql] = (
                        _read_by(analysis, catalog, model) if analysis else frozenset()
                    )
                named |= self._heard[sent.sql]

    def pending(self, name: str) -> set[RelationName]:
        """What a query names and what was not seen to weigh yet."""
        return self.named.get(name, set()) - self.weighed.get(name, set())

    def weighs(self, name: str, relation: RelationName) -> None:
        """Notes that an answer was another one without the rows of ``relation``."""
        self.weighed.setdefault(name, set()).add(relation)


@dataclass(slots=True)
class Samples:
    """Some of the calls of one round that were answered, by the name of their query: those whose
    answer says something, and as many others, which may say nothing because rows are there."""

    _kept: dict[str, list[Case]] = field(default_factory=dict)
    _counts: Counter[tuple[str, Principal, bool]] = field(default_factory=Counter)

    def add(self, case: Case, *, says: bool) -> None:
        """Keeps a call, unless there are enough of them."""
        of_caller, of_query = _OF_CODE if case.query.function else (_OF_CALLER, _OF_QUERY)
        kept = self._kept.setdefault(case.query.name, [])
        turn = (case.query.name, case.caller, says)
        if len(kept) < of_query and self._counts[turn] < of_caller:
            self._counts[turn] += 1
            kept.append(case)

    def open(self, weights: Weights) -> Iterator[tuple[RelationName, list[Case]]]:
        """The relations that did not weigh yet, with the calls in which they may."""
        waiting: dict[RelationName, list[Case]] = {}
        for name, cases in self._kept.items():
            for relation in sorted(weights.pending(name)):
                waiting.setdefault(relation, []).extend(cases)
        yield from waiting.items()


@dataclass(frozen=True, slots=True)
class Seen:
    """What a call gave, and the rows that it made, changed and removed, as text; ``outline`` is
    the same without values, which may be made up anew each time."""

    outcome: Outcome
    left: Counter[tuple[RelationName, bool, bool, str]]

    @property
    def outline(self) -> tuple[object, ...]:
        """How many rows came back, and how many were made, changed and removed."""
        kinds: Counter[tuple[RelationName, bool, bool]] = Counter()
        for (relation, made, removed, _), count in self.left.items():
            kinds[relation, made, removed] += count
        failure = self.outcome.failure
        return failure and failure.sqlstate, len(self.outcome.rows), self.outcome.affected, kinds


def seen(stage: Stage, perform: Callable[[], Outcome]) -> Seen:
    """What ``perform`` does in the world that stands, undone again."""
    after: State | None = None
    with stage.undone():
        touched = stage.touches()
        outcome = perform()
        if outcome.failure is None and stage.touches() != touched:
            after = stage.state()
    if after is None:
        return Seen(outcome, Counter())
    return Seen(
        outcome,
        Counter(
            (c.relation, c.before is None, c.after is None, c.after.text if c.after else "")
            for c in changes_between(stage.state(), after)
        ),
    )


def tells_apart(case: Case, one: Seen, other: Seen, again: Seen) -> bool:
    """Whether ``again`` is something else than what the call gave twice in another world. Where
    those two differ already, numbers of rows alone count."""
    failure = again.outcome.failure
    if failure is not None and failure.sqlstate in _NO_VERDICT:
        return False
    if failure is not None and one.left and failure.sqlstate.startswith(_CONSTRAINTS):
        return False
    if _alike(case, one, other):
        return not _alike(case, one, again)
    return one.outline == other.outline != again.outline


def _alike(case: Case, one: Seen, other: Seen) -> bool:
    answers = (Answer(s.outcome, Counter(), wrote=False) for s in (one, other))
    alike = agree(*answers, unordered=case.unordered, ordered=case.ordered)
    return alike and one.left == other.left


def of_code(
    answered: Sequence[tuple[Case, Seen, Seen]],
) -> Iterator[tuple[Case, Seen, Seen]]:
    """A few of the answers of each function that can be had in a process that just started."""
    counts: Counter[str] = Counter()
    for case, one, other in sorted(answered, key=lambda a: not a[1].outcome.rows):
        if case.query.anew is not None and counts[case.query.name] < _ANEW:
            counts[case.query.name] += 1
            yield case, one, other


def without(relation: RelationName) -> Sequence[str]:
    """The statements that empty a relation, with no trigger or foreign key acting on it."""
    return untriggered([f"DELETE FROM {qualified(relation)}"])


@contextmanager
def anew(case: Case) -> Iterator[Case]:
    """The call as it is of code that was just imported, or the same one where that cannot be."""
    if case.query.anew is None:
        yield case
        return
    with case.query.anew() as function:
        fresh = replace(case.query, function=function)
        yield case if function is None else replace(case, query=fresh)


def why_unweighed(pending: set[RelationName]) -> str:
    """The reason for a cell of a query that names these."""
    names = ", ".join(sorted(map(str, pending)))
    return (
        f"no answer depended on a row of {names}, which it names: "
        "no world had what that part of it asks for, or it asks for nothing"
    )


def _read_by(analysis: QueryAnalysis, catalog: Catalog, model: Model) -> frozenset[RelationName]:
    """The tables with owners that the query reads. What it only inserts into it does not read."""
    inserted = {
        relation for relation, how in analysis.written if how == "insert" and not analysis.upserts
    }
    return frozenset(
        r.relation
        for r in analysis.references
        if catalog.relations[r.relation].kind in _TABLES
        and model.owner_of(r.relation).kind not in _OWNERLESS
        and not (r.target and r.relation in inserted)
    )
