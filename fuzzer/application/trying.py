"""Tries the application's queries in one world: every query, on behalf of its callers."""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from tenantfuzz.application.answers import Answer, agree, undone, world_with
from tenantfuzz.application.calls import Case
from tenantfuzz.application.functions import EndedTransactionError
from tenantfuzz.application.judging import Elsewhere, QueryJudge
from tenantfuzz.application.keeping import (
    after_unknown,
    verdicts_anew,
    with_others_first,
    with_unknown_first,
)
from tenantfuzz.application.queries import SCHEMA, Application, LiveQuery
from tenantfuzz.application.weighing import (
    Samples,
    Seen,
    Weights,
    anew,
    of_code,
    seen,
    tells_apart,
    why_unweighed,
    without,
)
from tenantfuzz.counterexample import CODE, Step, Witness
from tenantfuzz.errors import ToolError
from tenantfuzz.findings import Finding
from tenantfuzz.judge import Verdict
from tenantfuzz.oracles.provenance import CANARY
from tenantfuzz.policies.ownership_sql import key_expression
from tenantfuzz.policies.predictions import Key, Prediction, in_scope
from tenantfuzz.policies.principals import Freshness, HostileKind, Principal
from tenantfuzz.policies.quoting import identifier, qualified
from tenantfuzz.policies.structure import Operation, RelationName
from tenantfuzz.policies.world import Values, World
from tenantfuzz.registry import Registry
from tenantfuzz.results import Outcome, texts_of
from tenantfuzz.rounds import Counters
from tenantfuzz.stage import Stage
from tenantfuzz.strategies.arguments import Arguments, Field, argument_lists

_LISTENED = 4  # calls whose statements are looked at
_MOST_JUDGED = 6  # calls of one query by one kind in one round that end before the judge
_TIRED = 1  # of those, once the query has been caught
_NO_VERDICT = frozenset({"57014", "25P02", "26000"})
_DENIED = "42501"
_LESS = 3  # the part of all calls that those make who have no tenant, and so no rows of their own
_CLOSING = (
    (Operation.SELECT, Operation.UPDATE, Operation.DELETE),
    (Operation.UPDATE, Operation.DELETE, Operation.SELECT),
)  # by what rules close of a row, the first that counts
_SIGNED_IN = frozenset({HostileKind.OUTSIDER, HostileKind.FORMER})

Cell = tuple[str, str]
"""A query's name and the kind of its cell: ``service``, or a kind of principal."""


@dataclass(slots=True)
class Experience:
    """What is known of each query's cells, over all rounds of a campaign."""

    ran: Counter[Cell] = field(default_factory=Counter)
    answered: Counter[Cell] = field(default_factory=Counter)
    faced: Counter[Cell] = field(default_factory=Counter)
    failures: dict[Cell, str] = field(default_factory=dict)
    caught: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    weights: Weights = field(default_factory=Weights)

    def why_untested(self, cell: Cell) -> str | None:
        """Why nobody can vouch for a cell, or None where it was tested."""
        if not self.ran[cell]:
            return self.failures.get(cell, "nobody who may call it arose in any world")
        if not self.answered[cell]:
            return "it never returned or changed a row: say by params what it is called with"
        if not self.faced[cell]:
            return "no row was there that its callers must not reach"
        pending = self.weights.pending(cell[0])
        return why_unweighed(pending) if pending else None


@dataclass(slots=True)
class QueryRound:
    """The queries of an application in the world that stands on the stage."""

    application: Application
    experience: Experience
    stage: Stage
    world: World
    ground: Prediction
    judge: QueryJudge
    registry: Registry
    counters: Counters
    source: random.Random
    _field: Field | None = None
    _closings: dict[Principal, list[Field]] = field(default_factory=dict)
    _judged: Counter[tuple[str, str]] = field(default_factory=Counter)
    _samples: Samples = field(default_factory=Samples)

    def play(
        self, principals: Sequence[Principal], *, most: int, queries: Sequence[str] | None = None
    ) -> Iterator[Finding]:
        """Calls the queries (default: all) on behalf of these principals, ``most`` times each."""
        chosen = [q for n, q in self.application.queries.items() if queries is None or n in queries]
        for caller in principals:
            if not _calls(caller):
                continue
            begun = perf_counter()
            cases = [
                (cell, case)
                for query in chosen
                if not query.declared.kinds or caller.kind in query.declared.kinds
                for cell, case in self._cases(query, caller, most)
            ]
            self.counters.generation += perf_counter() - begun
            statements = [c for c in cases if c[1].query.function is None]
            yield from self._reads([c for c in statements if not c[1].query.writes])
            yield from self._writes([c for c in statements if c[1].query.writes])
            yield from self._functions([c for c in cases if c[1].query.function is not None])
        self._weigh()

    def listen(self, callers: Sequence[Principal], queries: Sequence[str]) -> Iterator[str]:
        """The statements, with ``$1`` for parameters, that code behind these queries sends when it
        is called a few times; nothing is judged."""
        for name in queries:
            query = self.application.queries[name]
            if query.function is None:
                continue
            for caller in callers:
                for _, case in self._cases(query, caller, _LISTENED):
                    try:
                        with undone(self.stage):
                            case.perform()
                    except EndedTransactionError:
                        return  # the world is gone; whoever judges it says why
                    yield from (s.text.indexed() for s in query.function.sent() if s.is_query)

    def _cases(self, query: LiveQuery, caller: Principal, most: int) -> Iterator[tuple[Cell, Case]]:
        field_ = self._read_field()
        try:
            query = query.for_caller(caller)
        except ToolError as error:  # the target's own code
            for kind, _ in self.application.actors(query, caller) if not query.may_refuse else ():
                self.experience.failures[query.name, kind] = f"it fails: {error!s}"
            return
        lists = argument_lists(
            query.parameters,
            field_,
            caller,
            self.source,
            most=most if caller.tenant is not None else -(-most // _LESS),
            closed=self._closed(caller) if query.parameters else (),
        )
        for arguments in lists:
            for kind, actor in self.application.actors(query, caller):
                case = Case(query, caller, actor, arguments, self.judge, kind)
                yield (query.name, kind), case

    def _closed(self, caller: Principal) -> Sequence[Field]:
        """The field of the rows of the caller's own tenants that rules hide from it, and of those
        that they let it see and not change."""
        if caller not in self._closings:
            fields = []
            for operations in _CLOSING:
                kept: dict[RelationName, set[Key]] = {}
                for relation, rows in self.ground.state.items():
                    mine = {k for k, row in rows.items() if in_scope(row, caller)}
                    for operation in operations:
                        part = mine - self.ground.allowed(caller, relation, operation)
                        if part and part != mine:
                            kept[relation] = part
                            break
                if kept:
                    fields.append(self._read_field().narrowed(kept))
            self._closings[caller] = fields
        return self._closings[caller]

    def _read_field(self) -> Field:
        """The columns of all rows as text, by relation and key."""
        if self._field is not None:
            return self._field
        stage = self.stage
        rows: dict[RelationName, Mapping[str, Values]] = {}
        names = stage.judged()
        queries = []
        for name in names:
            columns = stage.catalog.relations[name].columns
            texts = ", ".join(f"t.{identifier(c.name)}::text" for c in columns)
            key = key_expression(stage.catalog, name, "t")
            queries.append(f"SELECT {key}, {texts or 'NULL'} FROM {qualified(name)} AS t")
        for name, outcome in zip(
            names, stage.wire.pipeline(queries, prepare=True, together=True), strict=True
        ):
            columns = stage.catalog.relations[name].columns
            rows[name] = {
                (row[0] or b"").decode(): {
                    c.name: None if v is None else v.decode(errors="replace")
                    for c, v in zip(columns, row[1:], strict=False)
                }
                for row in outcome.rows
            }
        self._field = Field(stage.catalog, stage.model, self.ground.state, rows)
        return self._field

    # Reads

    def _reads(self, cases: Sequence[tuple[Cell, Case]]) -> Iterator[Finding]:
        calm: list[tuple[Case, Outcome]] = []
        suspicious: list[Case] = []
        first: dict[tuple[object, ...], Outcome] = {}  # of what runs both ways
        for actor, mine in _by_actor(cases).items():
            earlier = self.stage.touches()
            outcomes = self.stage.read(actor, [c.sql for _, c in mine], prepare=False)
            self.counters.reads += len(mine)
            wrote = self.stage.touches() != earlier  # through a function
            for (cell, case), outcome in zip(mine, outcomes, strict=True):
                self._note(cell, case, outcome, len(outcome.rows))
                call_ = (case.query.name, case.caller, tuple(case.arguments.items()))
                other = first.setdefault(call_, outcome)
                if wrote or self._odd(case, outcome) or not _alike(case, outcome, other):
                    suspicious.append(case)
                else:
                    calm.append((case, outcome))
        for case in suspicious:
            yield from self._judge(case)
        yield from self._elsewhere(calm)

    def _odd(self, case: Case, outcome: Outcome) -> bool:
        if outcome.failure is not None:
            return CANARY.search(outcome.failure.texts) is not None
        analysis = case.query.analysis
        if any(True for _ in self.judge.shown_rows(case.caller, analysis, outcome)):
            return True
        return any(
            token in self.judge.tokens and token not in case.sql
            for token in CANARY.findall(texts_of(outcome.rows))
            if self._hidden(case.caller, token)
        )

    def _hidden(self, caller: Principal, token: str) -> bool:
        home = self.judge.tokens.get(token)
        return home is not None and home[1] in self.ground.hidden(caller, home[0])

    def _elsewhere(self, calm: Sequence[tuple[Case, Outcome]]) -> Iterator[Finding]:
        """What was calm once more, in worlds in which it must be the same."""
        groups: dict[int, tuple[Elsewhere, list[tuple[Case, Outcome]]]] = {}
        for case, outcome in calm:
            for world in self.judge.worlds(case):
                groups.setdefault(id(world), (world, []))[1].append((case, outcome))
                self._face(case)
        differing: list[Case] = []
        for world, members in groups.values():
            with world_with(self.stage, world.statements) as done:
                if done:
                    differing += self._differing(members)
        for case in differing:
            yield from self._judge(case)

    def _face(self, case: Case) -> None:
        self.experience.faced[case.query.name, case.kind] += 1

    def _weigh(self) -> None:
        """Has answers once more without the rows of one relation; code that may have kept its
        answer also as a process has it that just started."""
        weights = self.experience.weights
        known: dict[int, tuple[Case, Seen, Seen]] = {}
        for relation, cases in self._samples.open(weights):
            for case in cases:
                if id(case) not in known:
                    # Twice: what differs by itself (times, made-up keys) says nothing.
                    known[id(case)] = (case, self._seen(case), self._seen(case))
            here = [known[id(case)] for case in cases]
            with world_with(self.stage, without(relation)) as done:
                for case, one, other in here if done else ():
                    pending = relation in weights.pending(case.query.name)
                    if pending and tells_apart(case, one, other, self._seen(case)):
                        weights.weighs(case.query.name, relation)
                for case, one, other in of_code(here) if done else ():
                    if relation in weights.pending(case.query.name):
                        with anew(case) as started:
                            if tells_apart(case, one, other, self._seen(started)):
                                weights.weighs(case.query.name, relation)

    def _seen(self, case: Case) -> Seen:
        self.counters.reads += 1
        try:
            return seen(self.stage, case.perform)
        except ToolError as error:
            raise _first_cause(error) from None

    def _differing(self, members: Sequence[tuple[Case, Outcome]]) -> list[Case]:
        found: list[Case] = []
        by_actor: dict[Principal, list[tuple[Case, Outcome]]] = {}
        for case, outcome in members:
            by_actor.setdefault(case.actor, []).append((case, outcome))
        for actor, mine in by_actor.items():
            if mine[0][0].query.function is not None:
                again = [self._called(case) for case, _ in mine]
            else:
                again = self.stage.read(actor, [c.sql for c, _ in mine], prepare=False)
                self.counters.reads += len(mine)
            for (case, outcome), other in zip(mine, again, strict=True):
                if not _alike(case, outcome, other):
                    found.append(case)
        return found

    # Writes

    def _writes(self, cases: Sequence[tuple[Cell, Case]]) -> Iterator[Finding]:
        for actor, mine in _by_actor(cases).items():
            outcomes = self.stage.write(actor, [c.sql for _, c in mine])
            self.counters.writes += len(mine)
            for (cell, case), outcome in zip(mine, outcomes, strict=True):
                self._note(cell, case, outcome, outcome.affected)
                if self.judge.hidden.foreign(case.caller)[1]:
                    self._face(case)
                failure = outcome.failure
                if failure is None or CANARY.search(failure.texts) is not None:
                    yield from self._judge(case)

    # Functions

    def _functions(self, cases: Sequence[tuple[Cell, Case]]) -> Iterator[Finding]:
        """Functions cannot be sent in a batch: they are called one by one, in each world."""
        calm: list[tuple[Case, Outcome]] = []
        for cell, case in cases:
            outcome = self._called(case)
            self._note(cell, case, outcome, len(outcome.rows) or outcome.affected)
            if outcome.affected or self._odd(case, outcome):
                yield from self._judge(case)
            else:
                calm.append((case, outcome))
        yield from self._elsewhere(calm)

    def _called(self, case: Case) -> Outcome:
        self.counters.reads += 1
        try:
            with undone(self.stage):
                return case.perform()
        except ToolError as error:
            raise _first_cause(error) from None

    # Judging

    def _note(self, cell: Cell, case: Case, outcome: Outcome, count: int) -> None:
        failure = outcome.failure
        if failure is None:
            self.experience.ran[cell] += 1
            self.experience.answered[cell] += bool(count)
            self.experience.weights.meet(case.query, self.stage.catalog, self.stage.model)
            self._samples.add(case, says=bool(count))
            return
        if case.query.may_refuse:
            return
        if failure.sqlstate not in _NO_VERDICT:
            words = "its caller may not run it" if failure.sqlstate == _DENIED else "it fails"
            self.experience.failures.setdefault(cell, f"{words}: {failure.message}")
        else:
            self.experience.failures.setdefault(cell, f"it was not tried: {failure.message}")

    def _judge(self, case: Case) -> Iterator[Finding]:
        if self.judge.worlds(case):
            self._face(case)
        if self._is_enough(case):
            return
        yield from self._news(case, self._verdict(case))

    def _is_enough(self, case: Case) -> bool:
        """Whether the judge has seen enough of such calls, in this round."""
        turn = (case.query.name, case.caller.kind)
        self._judged[turn] += 1
        door = case.query.door or case.query.name
        if any(query == door for query, _ in self.experience.caught):
            return self._judged[turn] > _TIRED
        return self._judged[turn] > _MOST_JUDGED

    def _verdict(self, case: Case) -> Verdict:
        self.counters.judged += 1
        try:
            return self.judge.judge(case.caller, (call(case.query, case.arguments, case.sql),))
        except ToolError as error:
            raise _first_cause(error) from None

    def _news(self, case: Case, verdict: Verdict) -> Iterator[Finding]:
        step = call(case.query, case.arguments, case.sql)
        for finding in verdict.findings:
            caught = self.experience.caught.setdefault((finding.relation, finding.code), set())
            if caught and set(finding.culprits) & caught:
                continue  # the same hole, seen together with others or through another row
            steps: tuple[Step, ...] = (step,)
            if case.query.anew is not None and finding.fingerprint not in self.registry.findings:
                finding, steps = self._anew(case, finding, step)
            if self.registry.add(finding, Witness(self.world, case.caller, steps)):
                caught |= set(finding.culprits)
                yield finding

    def _anew(self, case: Case, finding: Finding, step: Step) -> tuple[Finding, tuple[Step, ...]]:
        """The finding as it shows in a process that just started, with the steps that it takes."""
        anew = False
        try:
            for shown in verdicts_anew(self.judge, case.caller, (step,), sure=False):
                anew = shown.anew
                for found in shown.verdict.findings:
                    if found.fingerprint == finding.fingerprint:
                        return found, with_others_first(step) if shown.others else (step,)
        except ToolError as error:
            raise _first_cause(error) from None
        return (after_unknown(finding), with_unknown_first(step)) if anew else (finding, (step,))


def _calls(caller: Principal) -> bool:
    """Whether somebody like this gets as far as calling: members, and of those who are none whoever
    is signed in (one who left, one who never joined), without a tenant: the one that code is told
    of is vouched for, wherever else callers may pick theirs."""
    if caller.freshness is not Freshness.ANY:
        return False
    if caller.hostile:
        return caller.kind in _SIGNED_IN and caller.user is not None and caller.tenant is None
    return caller.tenant is not None


def _first_cause(error: ToolError) -> ToolError:
    """A function that ended the transaction took the savepoints around it along, which are missed
    in turn: what is told is the cause."""
    at: BaseException | None = error
    while at is not None:
        if isinstance(at, EndedTransactionError):
            return at
        at = at.__context__
    return error


def _alike(case: Case, one: Outcome, other: Outcome) -> bool:
    if one is other:
        return True
    answers = (Answer(o, Counter(), wrote=False) for o in (one, other))
    return agree(*answers, unordered=case.unordered, ordered=case.ordered)


def call(query: LiveQuery, arguments: Arguments, sql: str) -> Step:
    """The step that a call of a query is."""
    return Step(
        RelationName(SCHEMA, query.name),
        "query",
        sql,
        "application query" if query.function is None else CODE,
        tuple(arguments.items()),
    )


def _by_actor(
    cases: Sequence[tuple[Cell, Case]],
) -> dict[Principal, list[tuple[Cell, Case]]]:
    groups: dict[Principal, list[tuple[Cell, Case]]] = {}
    for cell, case in cases:
        groups.setdefault(case.actor, []).append((cell, case))
    return groups
