"""The judge: runs a principal's steps on the stage and asks every oracle what it thinks.

This is the one definition of a verdict: sweep, fuzzing, shrinking and replay all end here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tenantfuzz.counterexample import Step
from tenantfuzz.explaining import explain
from tenantfuzz.findings import Finding
from tenantfuzz.observation import keys_by_values, observe
from tenantfuzz.oracles.containment import Containment, Written, memberships_now
from tenantfuzz.oracles.cut import Cut, Perturb, may_be_cut
from tenantfuzz.oracles.existence import Existence
from tenantfuzz.oracles.provenance import Provenance, Tokens
from tenantfuzz.oracles.references import References
from tenantfuzz.oracles.violation import Observation, Violation
from tenantfuzz.oracles.visibility import Visibility, reads_for_update, violations
from tenantfuzz.policies.derivation import names_tenant
from tenantfuzz.policies.model import Context, OwnershipKind
from tenantfuzz.policies.predictions import Key, Prediction, RowFacts, State
from tenantfuzz.policies.principals import Membership, Principal
from tenantfuzz.policies.structure import Operation, Relation, RelationName
from tenantfuzz.results import Outcome, same_answer
from tenantfuzz.stage import Stage
from tenantfuzz.steadiness import steadily_differs
from tenantfuzz.strategies.reads import copied_columns

_ALL_WRITES = frozenset({"insert", "update", "delete"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge says: findings, the outcome of each step, and codes of warnings.

    ``leaked`` has for each finding's fingerprint the rows that show it.
    """

    findings: tuple[Finding, ...]
    outcomes: tuple[Outcome, ...]
    warnings: tuple[tuple[str, str], ...] = ()
    leaked: Mapping[str, tuple[RelationName, frozenset[Key]]] = field(default_factory=dict)


@dataclass(slots=True)
class _Standing:
    """Where a chain stands: the principal as it is now, the state, what it lawfully became."""

    principal: Principal
    prediction: Prediction
    founded: frozenset[str] = frozenset()
    acted: bool = False  # it wrote before, in the same transaction
    violations: list[tuple[Violation, int, Principal]] = field(default_factory=list)


@dataclass(slots=True)
class Judge:
    """Judges steps on one stage. ``ground`` is the prediction over the world as loaded."""

    stage: Stage
    ground: Prediction
    tokens: Tokens
    cuts: bool = True
    chained: bool = False
    cut: Cut = field(init=False)
    vouched: bool = field(init=False)  # the session names a tenant that the caller cannot choose

    def __post_init__(self) -> None:
        self.cut = self.stage.cut()
        model = self.stage.model
        self.vouched = model.identity.context is Context.VERIFIED and names_tenant(model)

    def judge(self, principal: Principal, steps: Sequence[Step], *, cuts: bool = True) -> Verdict:
        """Runs the steps as ``principal``, one after the other, and undoes them all.

        Each later step is predicted on the starting state plus those writes that containment
        accepted.
        """
        stage = self.stage
        self.chained = len(steps) > 1
        stage.wire.execute("SAVEPOINT judge")
        outcomes: list[Outcome] = []
        findings: list[Finding] = []
        warnings: list[tuple[str, str]] = []
        standing = _Standing(principal, self.ground)
        ahead: list[Outcome] = []
        leaked: dict[str, tuple[RelationName, frozenset[Key]]] = {}
        try:
            for index, step in enumerate(steps):
                stage.wire.notices.clear()
                self.cuts = cuts
                done = [s for s in steps[:index] if s.operation in _ALL_WRITES] + [step]
                if not self.cuts and step.operation == "select" and not ahead:
                    later = [s for s in steps[index:] if s.operation == "select"]
                    ahead = self.stage.read(
                        standing.principal,
                        [s.sql for s in later],
                        prepare=True,
                        again=standing.acted,
                    )
                    standing.prediction.foresee(
                        standing.principal, [(s.relation, Operation.SELECT) for s in later]
                    )
                outcome, found = self._step(standing, step, ahead)
                outcomes.append(outcome)
                warnings += _warnings(principal, step, outcome)
                cause = next((f for f in findings if f.code.startswith("TF2")), None)
                for violation in found:
                    finding = explain(stage, standing.principal, violation, done)
                    if cause is not None and len(done) > 1:
                        finding = _resting_on(cause, finding)
                    findings.append(finding)
                    leaked[finding.fingerprint] = (violation.relation, violation.keys)
        finally:
            stage.wire.execute("ROLLBACK TO judge", "RELEASE judge")
        return Verdict(tuple(_distinct(findings)), tuple(outcomes), tuple(warnings), leaked)

    def hidden_home(self, principal: Principal, text: str, *, own: str) -> RelationName | None:
        """The relation of a hidden row whose token stands in ``text``, or None; what stands in the
        principal's ``own`` words tells it nothing."""
        provenance = Provenance(self.ground, self.tokens)
        own += repr(principal.settings)
        return next((r for _, r, _ in provenance.hidden_in(principal, text, own=own)), None)

    def _step(
        self, standing: _Standing, step: Step, ahead: list[Outcome]
    ) -> tuple[Outcome, list[Violation]]:
        stage = self.stage
        relation = stage.catalog.relations.get(step.relation)
        if relation is None or (
            stage.model.owner_of(step.relation).kind is OwnershipKind.UNCLASSIFIED
        ):
            return stage.act(standing.principal, step.sql, again=standing.acted), []
        if step.operation in _ALL_WRITES:
            ahead.clear()
            return self._write(standing, step, relation)
        return self._read(standing, step, relation, ahead.pop(0) if ahead else None)

    # Reads

    def _read(
        self, standing: _Standing, step: Step, relation: Relation, outcome: Outcome | None
    ) -> tuple[Outcome, list[Violation]]:
        principal, prediction = standing.principal, standing.prediction
        if outcome is None:
            outcome = self.stage.read(principal, [step.sql], prepare=False, again=standing.acted)[0]
        seen = self._identified(outcome, relation)
        found = list(Visibility(prediction).judge(principal, relation, step.sql, seen))
        if not found:
            found += self._carried(standing, step, relation, outcome, seen.text)
        if not found and self.cuts and may_be_cut(principal) and not reads_for_update(step.sql):
            found += self._cut(standing, step, relation, outcome)
        return outcome, found

    def _identified(self, outcome: Outcome, relation: Relation) -> Observation:
        """What the outcome shows; rows without their key are known by all their columns, where
        the trusted role finds the same values in hidden rows alone or in one row alone."""
        seen = observe(outcome, relation, self.stage.catalog)
        if seen.identified or not outcome.rows:
            return seen
        shown = _columns_shown(outcome, relation)
        if not shown or len(shown) != len(outcome.rows[0]):
            return seen
        known = keys_by_values(self.stage, relation, shown)
        keys = [known.get(row, frozenset()) for row in outcome.rows]
        return Observation(
            frozenset(k for found in keys if len(found) == 1 for k in found), True, seen.text
        )

    def _carried(
        self,
        standing: _Standing,
        step: Step,
        relation: Relation,
        outcome: Outcome,
        text: str,
    ) -> Iterator[Violation]:
        """Tokens of hidden rows in what came back: values, or the texts of an error or notice."""
        provenance = Provenance(standing.prediction, self.tokens)
        own = step.sql + repr(standing.principal.settings)
        hits = list(provenance.hidden_in(standing.principal, text, own=own))
        of_relation = frozenset(k for _, r, k in hits if r == relation.name)
        carried = ", ".join(repr(t) for t, _, _ in hits[:3])
        note = f"the answer holds {carried}"
        if of_relation and step.operation == "select":
            yield from violations(
                standing.prediction, standing.principal, relation, step.sql, of_relation, note
            )
        elif hits:
            _, home, key = hits[0]
            row = standing.prediction.state[home][key]
            yield Violation(
                code="TF107" if step.operation != "select" else "TF101",
                relation=relation.name,
                operation=step.operation,
                expected="nothing of rows that are hidden from it",
                observed=f"{note}, which stands in a hidden row of {home}",
                before=(row,),
            )
        messages = "\n".join(self.stage.wire.notices)
        if outcome.failure is not None:
            messages += "\n" + outcome.failure.texts
        for token, home, key in provenance.hidden_in(standing.principal, messages, own=own):
            yield Violation(
                code="TF304",
                relation=relation.name,
                operation=step.operation,
                expected="an error or a notice that tells nothing of hidden rows",
                observed=f"its text holds {token!r}, which stands in a hidden row of {home}",
                before=(standing.prediction.state[home][key],),
            )
            return

    def _cut(
        self, standing: _Standing, step: Step, relation: Relation, outcome: Outcome
    ) -> Iterator[Violation]:
        principal = standing.principal
        stage = self.stage
        cut = self.cut
        hidden = cut.hidden(standing.prediction, principal)
        if not hidden:
            return
        for name, statements in (
            ("removed", cut.statements(hidden)),
            ("changed", Perturb(stage.catalog, stage.model).statements(hidden)),
        ):
            again = self._elsewhere(principal, step.sql, statements)
            if again is None or same_answer(outcome, again):
                continue
            here = self.stage.read(principal, [step.sql], prepare=False)[0]
            if not same_answer(outcome, here):
                return  # chance or physical order decides, not hidden data
            removing = name == "removed"
            if not steadily_differs(stage, principal, step.sql, statements, removing=removing):
                continue
            code = "TF307" if _is_aggregate(outcome, relation) else "TF106"
            rows = tuple(
                standing.prediction.state[r][k] for r, ks in hidden.items() for k in sorted(ks)
            )
            yield Violation(
                code=code,
                relation=relation.name,
                operation=step.operation,
                expected=f"the same answer once rows hidden from it are {name}: {_answer(again)}",
                observed=_answer(outcome),
                before=rows[:3],
                note=f"the answer changes when only rows that are hidden from it are {name}",
            )
            return

    def _elsewhere(
        self, principal: Principal, sql: str, statements: Sequence[str]
    ) -> Outcome | None:
        """The same text under the same identity after the trusted role ran ``statements``."""
        wire = self.stage.wire
        wire.execute("SAVEPOINT elsewhere")
        try:
            changed = wire.groups([list(statements)])
            if any(o.failure is not None for o in changed):
                return None
            wire.execute("SAVEPOINT there")
            return self.stage.read(principal, [sql], prepare=False)[0]
        finally:
            wire.execute("ROLLBACK TO elsewhere", "RELEASE elsewhere")

    # Writes

    def _write(
        self, standing: _Standing, step: Step, relation: Relation
    ) -> tuple[Outcome, list[Violation]]:
        stage, principal, before = self.stage, standing.principal, standing.prediction
        references = References(stage.catalog, stage.model)
        existence = Existence(stage.catalog, stage.model)
        before.settle(principal, relation.name)
        found: list[Violation] = []
        if self.cuts and may_be_cut(principal) and existence.hinges_on_parents(relation):
            found += self._exists(existence, standing, step, relation)
        pointing = self._pointing(references, relation.name)
        earlier = stage.touches()
        outcome = stage.act(principal, step.sql, again=standing.acted)
        if outcome.failure is not None or outcome.affected == 0:
            telling = existence.telling(step.operation, outcome)
            if self.cuts and may_be_cut(principal) and telling and not found:
                found += self._exists(existence, standing, step, relation)
        if outcome.failure is not None:
            found += self._carried(standing, step, relation, outcome, "")
            return outcome, found
        standing.acted = True
        truncates = step.sql.lower().startswith("truncate")
        whole = self.chained or truncates  # TRUNCATE counts no rows
        state, touched = stage.state_after(before.state, earlier, whole=whole)
        memberships = stage.model.memberships
        written = Written(
            relation=relation.name,
            operation=Operation(step.operation),
            before=before,
            after=stage.prediction(state),
            population=stage.population()
            if memberships is not None and memberships.relation in touched
            else None,
            founded=standing.founded,
            truncates=truncates,
            upsert="on conflict" in step.sql.lower() or step.sql.lower().startswith("merge"),
        )
        contained = list(Containment(stage.catalog, stage.model).judge(principal, written))
        if not contained:
            after = self._pointing(references, relation.name)
            contained += references.judge(written, principal, pointing, after)
        found += contained
        if _returns(step.sql) and not contained:
            found += self._returned(standing, step, relation, outcome, state)
        if not found:
            found += self._carried(standing, step, relation, outcome, "")
        if not contained:
            self._accept(standing, written, state)
        else:
            standing.prediction = _mixed(written, standing)
        return outcome, found

    def _pointing(
        self, references: References, relation: RelationName
    ) -> dict[str, dict[str, str]]:
        keys = references.candidates(relation)
        if not keys:
            return {}
        outcomes = self.stage.wire.pipeline(
            [references.pointing_query(relation, fk) for fk in keys], prepare=True, together=True
        )
        return {
            fk.name: {(r[0] or b"").decode(): (r[1] or b"").decode() for r in o.rows}
            for fk, o in zip(keys, outcomes, strict=True)
        }

    def _exists(
        self, existence: Existence, standing: _Standing, step: Step, relation: Relation
    ) -> Iterator[Violation]:
        """Whether the write ends differently once the rows hidden from its principal are gone."""
        cut = self.cut
        hidden = cut.hidden(standing.prediction, standing.principal)
        if not hidden:
            return
        here = self.stage.write(standing.principal, [step.sql])[0]
        wire = self.stage.wire
        wire.execute("SAVEPOINT elsewhere")
        try:
            changed = wire.groups([cut.statements(hidden)])
            if any(o.failure is not None for o in changed):
                return
            there = self.stage.write(standing.principal, [step.sql])[0]
        finally:
            wire.execute("ROLLBACK TO elsewhere", "RELEASE elsewhere")
        yield from existence.judge(relation, step.operation, here, there)

    def _returned(
        self,
        standing: _Standing,
        step: Step,
        relation: Relation,
        outcome: Outcome,
        state: State,
    ) -> Iterator[Violation]:
        seen = observe(outcome, relation, self.stage.catalog)
        rows = standing.prediction.state[relation.name]
        hidden = seen.keys & standing.prediction.hidden(standing.principal, relation.name)
        if hidden:
            yield Violation(
                code="TF107",
                relation=relation.name,
                operation=step.operation,
                expected="RETURNING shows no row that is hidden from it",
                observed=f"RETURNING showed {_rows(len(hidden), 'hidden row')}",
                before=tuple(rows[k] for k in sorted(hidden)),
            )
        else:
            yield from self._carried(standing, step, relation, outcome, seen.text)

    def _accept(self, standing: _Standing, written: Written, state: State) -> None:
        """What containment accepted counts for the steps that follow."""
        principal = standing.principal
        now = memberships_now(principal, written.population)
        founded = (
            frozenset(
                t
                for rows in (state.get(self.stage.model.tenants, {}),)
                for key, row in rows.items()
                if key not in written.before.state.get(written.relation, {})
                for t in row.tenants
            )
            if self.stage.model.tenants == written.relation
            else frozenset()
        )
        standing.founded |= founded
        standing.prediction = written.after
        if now is None:
            return
        if principal.user is not None and not principal.hostile:
            # A tenant that was vouched for when the session began stays with it till it ends.
            vouched = {principal.tenant} if self.vouched else set()
            scoped = [m for m in principal.memberships if m.tenant in now or m.tenant in vouched]
            gained = [t for t in now if t not in principal.all_tenants]
            memberships = tuple(
                [Membership(m.tenant, now.get(m.tenant, m.kind)) for m in scoped]
                + [Membership(t, now[t]) for t in gained]
            )
            standing.principal = replace(
                principal,
                memberships=memberships,
                all_tenants=frozenset([*now, *(m.tenant for m in scoped)]),
            )
        elif principal.user is not None:
            kept = [m for m in principal.memberships if m.tenant in now]
            gained = [t for t in now if t in standing.founded - {m.tenant for m in kept}]
            if gained:
                standing.principal = replace(
                    principal,
                    memberships=(*kept, *(Membership(t, now[t]) for t in gained)),
                    all_tenants=principal.all_tenants | set(gained),
                )


def _resting_on(cause: Finding, finding: Finding) -> Finding:
    """A finding of a later step, told as what it is: policies that let a member read are not to
    blame where nobody should have become one."""
    what = f"{cause.code} in {cause.relation}"
    mend = f"Mend what the statement before it did ({what}), and run again: this may be gone then."
    return replace(finding, rests_on=f"{cause.code} {cause.relation}", mend=mend)


def _mixed(written: Written, standing: _Standing) -> Prediction:
    """After a write that was not accepted: what is there now, owned as it was before."""
    state: dict[RelationName, Mapping[Key, RowFacts]] = {}
    for relation, rows in written.after.state.items():
        old = written.before.state.get(relation, {})
        state[relation] = {
            k: replace(r, tenants=old[k].tenants, users=old[k].users, shared=old[k].shared)
            if k in old
            else r
            for k, r in rows.items()
        }
    return replace(written.after, state=state, _allowed={})


def _returns(sql: str) -> bool:
    return " returning " in f" {sql.lower()} "


def _columns_shown(outcome: Outcome, relation: Relation) -> Sequence[str]:
    """The columns of the relation that the outcome's rows hold, where they hold nothing else: by a
    copy, from a temporary table, or because the relation has no key."""
    columns = outcome.columns()
    if outcome.tag.startswith("COPY"):
        return copied_columns(relation)
    elsewhere = {c.relation for c in columns} - {relation.oid}
    if elsewhere and not (len(elsewhere) == 1 and 0 not in elsewhere):
        return ()
    if not elsewhere and relation.primary_key is not None:
        return ()
    names = [relation.column(c.name) for c in columns]
    return [n.name for n in names if n is not None] if None not in names else ()


def _is_aggregate(outcome: Outcome, relation: Relation) -> bool:
    return bool(outcome.rows) and all(c.relation == 0 for c in outcome.columns())


def _answer(outcome: Outcome) -> str:
    if outcome.failure is not None:
        return f"error {outcome.failure.sqlstate}: {outcome.failure.message}"
    if len(outcome.rows) == 1 and len(outcome.rows[0]) == 1:
        value = outcome.rows[0][0]
        return "NULL" if value is None else value.decode(errors="replace")
    return _rows(len(outcome.rows), "row")


def _rows(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _warnings(principal: Principal, step: Step, outcome: Outcome) -> list[tuple[str, str]]:
    failure = outcome.failure
    if failure is None:
        return []
    text = f"{step.operation} on {step.relation}: {failure.message}"
    if failure.sqlstate == "42P17":
        return [("TF801", text)]
    denied = failure.sqlstate in ("42501", "57014")
    if step.operation == "select" and not denied and not principal.hostile:
        return [("TF802", text)]
    return []


def _distinct(findings: Sequence[Finding]) -> Iterator[Finding]:
    seen: set[str] = set()
    for finding in findings:
        if finding.fingerprint not in seen:
            seen.add(finding.fingerprint)
            yield finding
