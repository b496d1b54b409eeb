"""The judge of application queries: the one definition of a verdict on them.

A query runs as the application runs it, on behalf of a caller. It leaks where it shows or writes
rows that the model hides from the caller, and where its answer changes although only such rows did.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tenantfuzz.application.answers import Answer, agree, answer_of, steady, undone, world_with
from tenantfuzz.application.calls import Case
from tenantfuzz.application.differences import short_row, told_apart
from tenantfuzz.application.explaining import explained
from tenantfuzz.application.hidden import Hidden, Rows
from tenantfuzz.application.queries import SCHEMA, Application, LiveQuery
from tenantfuzz.application.shifting import Shift
from tenantfuzz.counterexample import Step
from tenantfuzz.findings import Finding
from tenantfuzz.judge import Verdict
from tenantfuzz.observation import row_keys
from tenantfuzz.oracles.containment import Containment, Written, changes_between
from tenantfuzz.oracles.cut import Perturb
from tenantfuzz.oracles.existence import is_natural
from tenantfuzz.oracles.provenance import Provenance, Tokens
from tenantfuzz.oracles.references import References
from tenantfuzz.oracles.violation import Violation
from tenantfuzz.policies.model import OwnershipKind
from tenantfuzz.policies.predictions import Key, Prediction, RowFacts, in_scope, owners_of
from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.queries import Actor
from tenantfuzz.policies.query_parts import QueryAnalysis
from tenantfuzz.policies.structure import Operation, Relation, RelationName
from tenantfuzz.results import Outcome, texts_of
from tenantfuzz.stage import Stage
from tenantfuzz.strategies.arguments import Arguments

_NOT_OURS = frozenset({"TF205", "TF402"})  # codes that a write keeps, whoever made it
_NOTHING_LEFT: Counter[tuple[RelationName, str]] = Counter()


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Another world: what was done to hidden rows, the statements that do it, and the rows."""

    what: str
    statements: Sequence[str]
    rows: Rows
    inside: bool = False  # the rows are of the caller's own tenant, and rules hide them


@dataclass(slots=True)
class QueryJudge:
    """Judges calls of queries in the world that stands on the stage."""

    stage: Stage
    ground: Prediction
    tokens: Tokens
    application: Application
    hidden: Hidden = field(init=False)
    _elsewhere: dict[tuple[Principal, bool, bool, bool], tuple["Elsewhere", ...]] = field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        self.hidden = Hidden(self.stage, self.ground)

    def judge(self, principal: Principal, steps: Sequence[Step], *, cuts: bool = True) -> Verdict:
        """The verdict on the call that the last step is, made by ``principal``; it leaves no trace.

        Without ``cuts`` only what shows in this very world counts.
        """
        step = steps[-1]
        query = self.application.queries.get(step.relation.name)
        if query is None:
            return Verdict((), ())
        query = query.for_caller(principal)
        arguments = dict(step.arguments)
        findings: dict[str, Finding] = {}
        leaked: dict[str, tuple[RelationName, frozenset[Key]]] = {}
        outcomes: list[Outcome] = []
        answers: list[Answer] = []
        for kind, actor in self.application.actors(query, principal):
            case = Case(query, principal, actor, arguments, self, kind)
            answer, found = self.look(case, cuts=cuts)
            answers.append(answer)
            outcomes.append(answer.outcome)
            for violation in found:
                finding = explained(case, violation, answer)
                findings.setdefault(finding.fingerprint, finding)
                leaked[finding.fingerprint] = (violation.relation, violation.keys)
        if query.declared.actor is Actor.BOTH and not findings:
            for violation in self._disagreement(query, principal, arguments, answers):
                case = Case(query, principal, principal, arguments, self, principal.kind)
                finding = explained(case, violation, answers[-1])
                findings[finding.fingerprint] = finding
                leaked[finding.fingerprint] = (violation.relation, violation.keys)
        return Verdict(tuple(findings.values()), tuple(outcomes), (), leaked)

    def look(self, case: Case, *, cuts: bool = True) -> tuple[Answer, list[Violation]]:
        """What the call gave, and all that is wrong with it."""
        found, answer = self._here(case)
        if not found and cuts and not answer.no_verdict:
            found = list(self._influence(case, answer))
        return answer, found

    # In this world

    def _here(self, case: Case) -> tuple[list[Violation], Answer]:
        stage = self.stage
        analysis = case.query.analysis
        written = analysis.written if analysis is not None else ()
        for relation in (*(r for r, _ in written), *case.query.written):
            self.ground.settle(case.caller, relation)
        references = References(stage.catalog, stage.model)
        # What a function writes shows only when it has done it.
        pointed = [r for r, _ in written] or (stage.judged() if case.query.function else ())
        with undone(stage):
            pointing = {r: self._pointing(references, r) for r in pointed}
            stage.wire.notices.clear()
            earlier = stage.touches()
            outcome = case.perform()
            notices = "\n".join(stage.wire.notices)
            wrote = outcome.failure is None and stage.touches() != earlier
            found = list(self._shown(case, outcome, notices))
            if wrote:
                found = list(self._written(case, earlier, references, pointing)) or found
        if wrote:
            return found, answer_of(stage, case.caller, case.perform)
        return found, Answer(outcome, _NOTHING_LEFT.copy(), wrote)

    def _shown(self, case: Case, outcome: Outcome, notices: str) -> Iterator[Violation]:
        yield from self.shown_rows(case.caller, case.query.analysis, outcome)
        text = texts_of(outcome.rows)
        words = "the answer holds"
        hits = list(self._carried(case, text))
        if not hits:
            failure = outcome.failure
            text = notices + "\n" + (failure.texts if failure is not None else "")
            words = "an error or a notice holds"
            hits = list(self._carried(case, text))
        for token, home, row in hits[:1]:
            yield _violation(
                case.caller, home, [row], f"{words} {token!r}, which stands in a row of {home}"
            )

    def shown_rows(
        self, caller: Principal, analysis: QueryAnalysis | None, outcome: Outcome
    ) -> Iterator[Violation]:
        """Rows that are hidden from the caller and known by their keys in the answer."""
        columns = outcome.columns()
        for oid in dict.fromkeys(c.relation for c in columns if c.relation):
            relation = self._relation(oid)
            if relation is None or relation.name not in self.ground.state:
                continue
            if self.stage.model.owner_of(relation.name).kind is OwnershipKind.UNCLASSIFIED:
                continue
            keys = _keys_shown(outcome, relation, analysis, self.stage)
            hidden = sorted(keys & self.ground.hidden(caller, relation.name))
            rows = [self.ground.state[relation.name][k] for k in hidden]
            for inside in (False, True):
                part = [r for r in rows if in_scope(r, caller) is inside]
                if part:
                    yield _violation(caller, relation.name, part, _count(part, relation.name))

    def _relation(self, oid: int) -> Relation | None:
        return next((r for r in self.stage.catalog.relations.values() if r.oid == oid), None)

    def _carried(self, case: Case, text: str) -> Iterator[tuple[str, RelationName, RowFacts]]:
        own = case.sql + repr(case.caller.settings)
        # A colleague's row that rules hide is hidden too.
        caller = replace(case.caller, all_tenants=frozenset())
        for token, home, key in Provenance(self.ground, self.tokens).hidden_in(
            caller, text, own=own
        ):
            yield token, home, self.ground.state[home][key]

    # Writes

    def _written(
        self,
        case: Case,
        earlier: Mapping[RelationName, int],
        references: References,
        pointing: Mapping[RelationName, dict[str, dict[str, str]]],
    ) -> Iterator[Violation]:
        stage, model = self.stage, self.stage.model
        state, touched = stage.state_after(self.ground.state, earlier, whole=True)
        after = stage.prediction(state)
        members = model.memberships
        population = (
            stage.population() if members is not None and members.relation in touched else None
        )
        analysis = case.query.analysis
        named = analysis.written if analysis is not None else self._said(case, after)
        crossed = False
        upserts = analysis.upserts if analysis is not None else False
        door = RelationName(SCHEMA, case.query.name)
        for relation, word in named or ((door, "update"),):
            operation = Operation.UPDATE if word == "merge" else Operation(word)
            written = Written(relation, operation, self.ground, after, population, upsert=upserts)
            found = list(Containment(stage.catalog, model).judge(case.caller, written))
            for pointer in touched & pointing.keys() if not found else ():
                now = self._pointing(references, pointer)
                moved = replace(written, relation=pointer)
                found += references.judge(moved, case.caller, pointing[pointer], now)
            if not named:  # what was there is more telling than what a trigger wrote of it
                found.sort(key=lambda v: (not v.before, not self._refers(v.relation)))
            for violation in found:
                crossed = True
                code = violation.code if violation.code in _NOT_OURS else "TF502"
                yield replace(violation, code=code)
        if not crossed:
            yield from self._copied(case, after)

    def _said(self, case: Case, after: Prediction) -> tuple[tuple[RelationName, str], ...]:
        """What code did to the relations that it says it writes, as far as it did anything."""
        found: list[tuple[RelationName, str]] = []
        changes = changes_between(self.ground.state, after.state)
        for relation in case.query.written:
            here = [c for c in changes if c.relation == relation]
            if any(c.before is None for c in here):
                found.append((relation, "insert"))
            elif here:
                gone = all(c.after is None for c in here)
                found.append((relation, "delete" if gone else "update"))
        return tuple(found)

    def _refers(self, relation: RelationName) -> bool:
        known = self.stage.catalog.relations.get(relation)
        return known is not None and bool(known.foreign_keys)

    def _copied(self, case: Case, after: Prediction) -> Iterator[Violation]:
        """Hidden values that now stand where the caller may read them."""
        for change in changes_between(self.ground.state, after.state):
            row = change.after
            if row is None or row.key not in after.allowed(
                case.caller, change.relation, Operation.SELECT
            ):
                continue
            for token, home, source in self._carried(case, row.text):
                note = f"{token!r} of a row of {home} was copied into {change.relation}"
                yield _violation(case.caller, home, [source], note)
                return

    def _pointing(
        self, references: References, relation: RelationName
    ) -> dict[str, dict[str, str]]:
        keys = references.candidates(relation)
        outcomes = self.stage.wire.pipeline(
            [references.pointing_query(relation, fk) for fk in keys], prepare=True
        )
        return {
            fk.name: {(r[0] or b"").decode(): (r[1] or b"").decode() for r in o.rows}
            for fk, o in zip(keys, outcomes, strict=True)
        }

    # In other worlds

    def worlds(self, case: Case) -> tuple["Elsewhere", ...]:
        """Worlds that must look the same to the caller."""
        under_policies = case.by_policies
        sort = (case.caller, under_policies, case.query.writes, case.query.function is not None)
        if sort not in self._elsewhere:
            self._elsewhere[sort] = tuple(self._worlds(*sort))
        return self._elsewhere[sort]

    def _worlds(
        self, caller: Principal, under_policies: bool, writes: bool, nameless: bool
    ) -> Iterator["Elsewhere"]:
        stage, hidden = self.stage, self.hidden
        gone, changed = hidden.under_policies(caller) if under_policies else hidden.foreign(caller)
        if gone:
            yield Elsewhere("removed", stage.cut().statements(gone), gone)
        if changed:
            perturb = Perturb(stage.catalog, stage.model)
            yield Elsewhere("changed", perturb.statements(changed), changed)
        if changed and not under_policies and not writes:
            shift = Shift(stage.catalog, stage.model)
            for upwards in (False, True):
                moved = shift.statements(changed, upwards=upwards)
                yield Elsewhere("changed", moved, changed)
        if nameless and not under_policies:  # its answers do not say which rows they show
            inside = hidden.inside(caller)
            statements = stage.cut().statements(inside)
            if inside and self._sees_the_same(caller, statements):
                yield Elsewhere("removed", statements, inside, inside=True)

    def _sees_the_same(self, caller: Principal, statements: Sequence[str]) -> bool:
        """Whether the model shows the caller the same rows in that other world."""
        with world_with(self.stage, statements) as done:
            if not done:
                return False
            there = self.stage.prediction()
            return all(
                there.allowed(caller, relation, Operation.SELECT)
                == self.ground.allowed(caller, relation, Operation.SELECT)
                for relation in self.ground.state
            )

    def _influence(self, case: Case, answer: Answer) -> Iterator[Violation]:
        unordered, ordered = case.unordered, case.ordered
        for world in self.worlds(case):
            what = world.what
            with world_with(self.stage, world.statements) as done:
                if not done:
                    continue
                again = answer_of(self.stage, case.caller, case.perform)
                if again.no_verdict or agree(answer, again, unordered=unordered, ordered=ordered):
                    continue
                same_rows = ordered and agree(answer, again, unordered=unordered)
                if same_rows and not self._steady(case, again, ordered=True):
                    ordered = False  # rows that tie come as they are stored
                    continue
                if case.conflicts and answer.outcome.affected != again.outcome.affected:
                    continue  # a key was taken: that is the table's to answer for
                if self._tells_of_an_id(case, (answer, again), world.rows):
                    continue
                if not same_rows and not self._steady(case, again):
                    return
            if not self._steady(case, answer, ordered=same_rows):
                if same_rows:
                    ordered = False
                    continue
                return
            relation, telling = self._telling(case, world, answer)
            written = answer.wrote and answer.left != again.left
            if world.inside:
                code = "TF402" if written else "TF401"
            else:
                code = "TF502" if written else "TF501"
            observed, other = told_apart(answer, again)
            yield Violation(
                code=code,
                relation=relation,
                operation="query",
                observed=observed,
                expected=f"the same answer once rows hidden from its caller are {what}: "
                + (_other_order(again, answer) if same_rows else other),
                before=telling,
                note=f"the {'order of the ' if same_rows else ''}answer changes when only rows "
                f"that are hidden from its caller are {what}",
            )
            return

    def _tells_of_an_id(self, case: Case, answers: Sequence[Answer], rows: Rows) -> bool:
        """Whether code only tells apart that a row is there whose id it was given: "forbidden"
        and "not found". Ids that nobody can guess are no secret that counts."""
        bare = all(
            a.outcome.failure is not None or not (a.wrote or a.outcome.rows) for a in answers
        )
        if case.query.function is None or not bare:
            return False
        given = {value for value in case.arguments.values() if value}
        for name, keys in rows.items():
            relation = self.stage.catalog.relations[name]
            columns = relation.primary_key.columns if relation.primary_key is not None else ()
            ids = [
                i
                for i, column in enumerate(map(relation.column, columns))
                if column is not None and not is_natural(relation, column)
            ]
            if any(json.loads(key)[i] in given for key in keys for i in ids):
                return True
        return False

    def _steady(self, case: Case, answer: Answer, *, ordered: bool = False) -> bool:
        return steady(
            self.stage,
            case.caller,
            case.perform,
            answer,
            unordered=case.unordered,
            ordered=ordered,
        )

    def _telling(
        self, case: Case, world: Elsewhere, answer: Answer
    ) -> tuple[RelationName, tuple[RowFacts, ...]]:
        """A few of the hidden rows that decided: of a relation that the query names, or, of code
        that names none, one whose rows alone make the difference."""
        rows = world.rows
        loose = case.loose()
        names = [r.relation for r in loose if r.relation in rows] or sorted(rows)
        chosen = names[0]
        if not loose and case.query.function is not None:
            chosen = next((n for n in names if self._decides(case, n, rows[n], answer)), chosen)
        state = self.ground.state[chosen]
        return chosen, tuple(state[k] for k in sorted(rows[chosen]))[:3]

    def _decides(self, case: Case, relation: RelationName, keys: set[Key], answer: Answer) -> bool:
        with world_with(self.stage, self.stage.cut().statements({relation: keys})) as done:
            again = answer_of(self.stage, case.caller, case.perform) if done else answer
            same = agree(answer, again, unordered=case.unordered, ordered=case.ordered)
            return not again.no_verdict and not same

    # Both ways

    def _disagreement(
        self,
        query: LiveQuery,
        principal: Principal,
        arguments: Arguments,
        answers: Sequence[Answer],
    ) -> Iterator[Violation]:
        by_application, by_policies = answers
        if any(a.outcome.failure is not None or a.wrote for a in answers):
            return
        unordered = query.analysis is not None and query.analysis.unordered
        if agree(by_application, by_policies, unordered=unordered):
            return
        for (kind, actor), answer in zip(
            self.application.actors(query, principal), answers, strict=True
        ):
            case = Case(query, principal, actor, arguments, self, kind)
            if not self._steady(case, answer):
                return
        references = query.analysis.references if query.analysis is not None else ()
        relation = references[0].relation if references else RelationName("query", query.name)
        one, other = told_apart(by_application, by_policies)
        yield Violation(
            code="TF503",
            relation=relation,
            operation="query",
            observed=f"by its own conditions: {one}; under row security as the same caller: "
            f"{other}",
            expected="the same answer both ways",
        )


def _keys_shown(
    outcome: Outcome, relation: Relation, analysis: QueryAnalysis | None, stage: Stage
) -> frozenset[Key]:
    """The keys of this relation's rows in the answer. libpq names the table behind a column, but
    not which of several references to it."""
    key = relation.primary_key
    if key is None:
        return frozenset()
    columns = outcome.columns()
    if len(key.columns) > 1:
        named = [r for r in analysis.references if r.relation == relation.name] if analysis else []
        once = len(named) == 1
        found = row_keys(outcome.rows, columns, relation, stage.catalog) if once else None
        return frozenset(k for k in found or () if "null" not in k)
    shown: set[Key] = set()
    for position, column in enumerate(columns):
        if column.relation == relation.oid:
            values = [(row[position],) for row in outcome.rows if row[position] is not None]
            shown |= set(row_keys(values, [column], relation, stage.catalog) or ())
    return frozenset(shown)


def _violation(
    caller: Principal, relation: RelationName, rows: Sequence[RowFacts], observed: str
) -> Violation:
    inside = all(in_scope(r, caller) for r in rows)
    return Violation(
        code="TF401" if inside else "TF501",
        relation=relation,
        operation="query",
        observed=observed,
        expected="nothing of rows that are hidden from its caller",
        before=tuple(rows),
    )


def _other_order(there: Answer, here: Answer) -> str:
    """Where the order of two answers with the same rows parts."""
    pairs = zip(there.outcome.rows, here.outcome.rows, strict=True)
    position, row, other = next((n, a, b) for n, (a, b) in enumerate(pairs, 1) if a != b)
    return f"row {position} is {short_row(row)} there, and {short_row(other)} here"


def _count(rows: Sequence[RowFacts], relation: RelationName) -> str:
    owners = ", ".join(owners_of(rows)) or "nobody"
    return f"{len(rows)} hidden row{'' if len(rows) == 1 else 's'} of {relation}, owned by {owners}"
