"""Why an application query leaks, and the smallest condition that closes it, tried out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tenantfuzz.application.answers import Answer, agree, answer_of, world_with
from tenantfuzz.application.calls import Case
from tenantfuzz.application.tracing import Trace, traced, why
from tenantfuzz.codes import named_kind, severity, title
from tenantfuzz.explaining import summary
from tenantfuzz.findings import Finding
from tenantfuzz.identity import readable_identity
from tenantfuzz.oracles.violation import Violation
from tenantfuzz.policies.predictions import owners_of
from tenantfuzz.policies.query_analysis import analyse
from tenantfuzz.policies.query_parts import Reference
from tenantfuzz.policies.query_standing import Mend, Standing, all_mended, mends, standings
from tenantfuzz.policies.quoting import literal
from tenantfuzz.row_text import readable_row

_MOST_TRIED = 8


def explained(case: Case, violation: Violation, answer: Answer) -> Finding:
    """The finding for a violation: culprits, the reason, and a mend that was tried out."""
    mended = _mend(case, violation)
    trace = traced(case, violation)
    culprits = _culprits(case, violation, mended)
    labels = (*violation.culprits, *(r.label for r in culprits)) or (_door(case),)
    told = [f"It sent: {trace.statement}.", *trace.reasons] if trace is not None else []
    sentences = [
        _what(case, violation),
        *_reasons(case, culprits),
        *told,
        *_as_principal(case, violation, answer),
    ]
    relation = case.judge.stage.catalog.relations.get(violation.relation)
    names = [c.name for c in relation.columns] if relation is not None else []
    shown = "".join(f"\n  {readable_row(r.text, names)}" for r in violation.rows[:3])
    return Finding(
        code=violation.code,
        severity=severity(violation.code),
        title=_title(case, violation),
        relation=_door(case),
        operation="query",
        principal=replace(summary(case.caller), role=case.actor.acting_role or ""),
        owner_tenants=owners_of(violation.rows),
        explanation=" ".join(s for s in sentences if s),
        culprits=labels,
        statements=_statements(case),
        expected=violation.expected,
        observed=violation.observed + shown,
        mend=_advice(case, violation, mended, trace),
    )


def _title(case: Case, violation: Violation) -> str:
    if violation.note and violation.code == "TF501":
        return f"the answer of the query {_door(case)} depends on rows of another tenant"
    return title(violation.code, relation=_door(case), kind=case.caller.kind)


def _door(case: Case) -> str:
    return case.query.door or case.query.name


def _what(case: Case, violation: Violation) -> str:
    who = named_kind(case.caller.kind)
    who = who[0].upper() + who[1:]
    if case.caller.tenant is not None:
        who += f" of tenant {case.caller.tenant}"
    how = "by its own conditions" if not case.by_policies else "under row security"
    if violation.code == "TF503":
        return f"{who} gets one answer by the query's own conditions and another under policies."
    if violation.note:
        return f"{who} calls it, and {violation.note}."
    return f"{who} calls it; run {how}, it reached this: {violation.observed}."


def _reasons(case: Case, culprits: Sequence[Reference]) -> Iterator[str]:
    for reference in culprits:
        standing = case.query.standing[reference.number]
        if standing in (Standing.OPEN, Standing.KEYED):
            yield why(reference, standing)


def _as_principal(case: Case, violation: Violation, here: Answer) -> Iterator[str]:
    """What the same statement does under policies, where it ran without them."""
    if case.by_policies or violation.code == "TF503" or not case.caller.acting_role:
        return
    if case.query.outside:
        return  # it logs in as it likes
    stage = case.judge.stage
    answer = answer_of(stage, case.caller, replace(case, actor=case.caller).perform)
    failure = answer.outcome.failure
    if failure is not None:
        yield f"Under row security, as the caller, it fails: {failure.message}."
        return
    leaks = any(case.judge.shown_rows(case.caller, case.query.analysis, answer.outcome))
    # Code's answers do not say which rows they show; the same answer leaks the same.
    leaks = leaks or (case.query.function is not None and agree(here, answer))
    if not leaks and not answer.wrote:
        yield f"Under row security, as the caller, it answers {answer.short}."


# The mend


@dataclass(frozen=True, slots=True)
class Tried:
    """Conditions that closed the leak on this very world; ``same``: where no strangers' rows are,
    the query answers with them as without."""

    conditions: tuple[Mend, ...]
    same: bool


def _mend(case: Case, violation: Violation) -> Tried | None:
    analysis = case.query.analysis
    scoped = case.query.door != ""  # by code, which no condition here would change
    if (
        analysis is None
        or scoped
        or case.text is not None
        or violation.code not in ("TF501", "TF502")
    ):
        return None
    query = case.query
    tenant, user = query.tenant_name, query.user_name
    stage = case.judge.stage
    # Those of the relation that shows in the evidence come first.
    candidates = sorted(
        (r for r in analysis.references if query.standing[r.number] is not Standing.EXEMPT),
        key=lambda r: (query.standing[r.number], r.relation != violation.relation, r.number),
    )
    offered = list(
        mends(
            analysis,
            query.declared.text,
            stage.catalog,
            stage.model,
            tenant,
            user,
            candidates,
        )
    )
    offered.sort(key=lambda m: _left_loose(case, m))
    sets: list[list[Mend]] = [[m] for m in offered]
    for most in (Standing.OPEN, Standing.KEYED):
        loose = [m for m in offered if query.standing[m.reference.number] <= most]
        if len(loose) > 1 and loose not in sets:
            sets.append(loose)
    for chosen in sets[:_MOST_TRIED]:
        text = (
            chosen[0].text
            if len(chosen) == 1
            else all_mended(analysis, query.declared.text, chosen, tenant=tenant, user=user)
        )
        mended = replace(case, text=text)
        answer, found = case.judge.look(mended)
        if answer.outcome.failure is None and not found:
            return Tried(tuple(chosen), _same_without_strangers(case, mended))
    return None


def _left_loose(case: Case, mend: Mend) -> tuple[int, int]:
    """How many references nothing ties, and how many but a key, once this condition is there: one
    on a joined owner ties what it owns as well."""
    stage = case.judge.stage
    analysis = analyse(mend.text, stage.catalog)
    if analysis is None:
        return len(case.query.standing), 0
    after = standings(analysis, stage.catalog, stage.model, case.query.callers)
    return after.count(Standing.OPEN), after.count(Standing.KEYED)


def _same_without_strangers(case: Case, mended: Case) -> bool:
    stage = case.judge.stage
    gone, _ = case.judge.hidden.foreign(case.caller)
    if not gone:
        return False
    with world_with(stage, stage.cut().statements(gone)) as done:
        if not done:
            return False
        one = answer_of(stage, case.caller, case.perform)
        other = answer_of(stage, case.caller, mended.perform)
        return agree(one, other, unordered=case.unordered)


def _culprits(case: Case, violation: Violation, mended: Tried | None) -> tuple[Reference, ...]:
    if mended is not None:
        return tuple(m.reference for m in mended.conditions)
    analysis = case.query.analysis
    if analysis is None:
        return ()
    if case.query.door or violation.code in ("TF401", "TF402", "TF205"):
        of_relation = [r for r in analysis.references if r.relation == violation.relation]
        return tuple(sorted(of_relation, key=lambda r: case.query.standing[r.number]))[:1]
    if violation.code == "TF503":
        return ()
    standing = case.query.standing
    for level in (Standing.OPEN, Standing.KEYED):
        found = tuple(r for r in analysis.references if standing[r.number] is level)
        if found:
            return found
    return ()


def _advice(case: Case, violation: Violation, mended: Tried | None, trace: Trace | None) -> str:
    if violation.code == "TF503":
        return "Decide which of the two is right, and say it in both places."
    if violation.code in ("TF401", "TF402"):
        return (
            f"Let the query follow the rules for {case.caller.kind} on {violation.relation}; or, "
            'if such members cannot call it, say who can: kinds = ["…"].'
        )
    if case.query.door:
        labels = ", ".join(r.label for r in _culprits(case, violation, None))
        return f"Let {case.query.door} scope {labels or 'every table'} too, and not the root alone."
    if trace is not None and trace.mend:
        return trace.mend
    if trace is not None and trace.conditions:
        text = "; ".join(trace.conditions)
        return (
            f"{text[0].upper()}{text[1:]}. Tried by calling it with that statement changed: the "
            "leak is gone."
        )
    if case.query.function is not None:
        return "Compare the tenant at every table that the function reads or writes."
    if mended is None:
        return "Compare the tenant at every table of the query."
    parts = [f"add {m.place}: AND {m.condition}" for m in mended.conditions]
    text = "; ".join(parts)
    proof = "Tried on this world: the leak is gone"
    proof += ", and the caller's own rows still come." if mended.same else "."
    return f"{text[0].upper()}{text[1:]}. {proof}"


def _statements(case: Case) -> tuple[str, ...]:
    if case.query.outside:
        return (case.sql,)
    lines = readable_identity(case.actor)
    values = case.query.values(case.caller, case.arguments)
    used = case.query.declared.text.names
    named = "".join(
        f"-- {'$' if name.isdigit() else ':'}{name} = {literal(values[name])}\n" for name in used
    )
    end = "" if case.query.function is not None else ";"
    return (*lines, f"{named}{case.sql}{end}")
