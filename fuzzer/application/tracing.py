"""Which statement of application code lets others' rows through, and what would close it: tried by
calling the code once more with that statement changed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tenantfuzz.application.answers import undone
from tenantfuzz.application.calls import Case
from tenantfuzz.application.sending import Sent
from tenantfuzz.oracles.violation import Violation
from tenantfuzz.policies.query_analysis import analyse
from tenantfuzz.policies.query_parts import QueryAnalysis, Reference
from tenantfuzz.policies.query_standing import Callers, Mend, Standing, mends, standings

_MOST_TRIED = 8
_MOST_TRIED_OUTSIDE = 4  # each of which starts a process twice
_LONGEST = 240  # characters of a statement that is shown
_MENDED = frozenset({"TF501", "TF502"})


@dataclass(frozen=True, slots=True)
class Trace:
    """What code sent that let rows through: the statement, why, and what closed it (empty where
    nothing that was tried did)."""

    statement: str
    reasons: tuple[str, ...]
    conditions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Looked:
    """A statement looked into."""

    sent: Sent
    analysis: QueryAnalysis
    standing: Sequence[Standing]
    tenant: str  # the parameter that stands for the caller's tenant
    user: str
    own: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class _Try:
    looked: _Looked
    mend: Mend
    sql: str

    @property
    def standing(self) -> Standing:
        return self.looked.standing[self.mend.reference.number]


def traced(case: Case, violation: Violation) -> Trace | None:
    """The trace of a call that leaks; None where nothing is known of its statements, or nothing in
    them is loose. It is found out once for each way in which a call leaks."""
    function = case.query.function
    if function is None or case.instead:
        return None
    with undone(case.judge.stage):
        case.perform()
        sent = list({s.sql: s for s in function.sent() if s.is_query}.values())
    if not sent:
        return None
    key = (case.query.name, violation.code, str(violation.relation), *(s.sql for s in sent))
    notes = case.judge.application.notes
    if key not in notes:
        notes[key] = _trace(case, violation, [x for s in sent if (x := _looked(case, s))])
    found = notes[key]
    return found if isinstance(found, Trace) else None


def _looked(case: Case, sent: Sent) -> _Looked | None:
    caller, stage = case.caller, case.judge.stage
    own = {"tenant": caller.tenant, "user": caller.user}
    known = {v: word for word, v in reversed(own.items()) if v is not None}
    analysis = analyse(sent.text, stage.catalog, known)
    if analysis is None:
        return None
    names = {
        word: frozenset(n for n, v in sent.values.items() if v is not None and v == own[word])
        for word in own
    }
    callers = Callers(names["tenant"] | {"tenant"}, names["user"] | {"user"})
    spelled = {w: w if sent.values.get(w, own[w]) == own[w] else f"caller_{w}" for w in own}
    return _Looked(
        sent,
        analysis,
        standings(analysis, stage.catalog, stage.model, callers),
        spelled["tenant"],
        spelled["user"],
        {spelled[w]: own[w] for w in own},
    )


def _trace(case: Case, violation: Violation, looked: Sequence[_Looked]) -> Trace | None:
    tries = list(_tries(case, violation, looked))
    found = _closing(case, tries) if violation.code in _MENDED and not case.by_policies else ()
    if found:
        statement = found[0].looked
        references = [t.mend.reference for t in found if t.looked is statement]
    else:
        loose = [t for t in tries if t.standing is Standing.OPEN or violation.code not in _MENDED]
        near = [t for t in loose if t.mend.reference.relation == violation.relation] or loose
        if not near:
            return None
        statement = near[0].looked
        # Whose rows may be seen inside a tenant is no matter of a condition on the tenant.
        references = [near[0].mend.reference] if violation.code in _MENDED else []
    return Trace(
        shown(statement.sent),
        tuple(why(r, statement.standing[r.number]) for r in references),
        tuple(f"add {t.mend.place}: AND {t.mend.condition}" for t in found),
    )


def _tries(case: Case, violation: Violation, looked: Sequence[_Looked]) -> Iterator[_Try]:
    """What could be added, the likeliest first: to what nothing ties, in the relation that shows
    in the evidence."""
    stage = case.judge.stage
    found: list[_Try] = []
    for one in looked:
        loose = [r for r in one.analysis.references if one.standing[r.number] < Standing.EXEMPT]
        for mend in mends(
            one.analysis,
            one.sent.text,
            stage.catalog,
            stage.model,
            one.tenant,
            one.user,
            loose,
        ):
            sql = one.sent.spelled(mend.text, one.own)
            if sql is not None:
                found.append(_Try(one, mend, sql))
    written = violation.code == "TF502"
    yield from sorted(
        found,
        key=lambda t: (
            t.standing,
            written and not t.mend.reference.target,
            t.mend.reference.relation != violation.relation,
        ),
    )


def _closing(case: Case, tries: Sequence[_Try]) -> tuple[_Try, ...]:
    """The fewest of them that closed the leak."""
    most = _MOST_TRIED_OUTSIDE if case.query.outside else _MOST_TRIED
    sets: list[tuple[_Try, ...]] = [(t,) for t in tries[: most - 1]]
    one_each: dict[str, _Try] = {}
    for t in tries:
        if t.standing is Standing.OPEN:
            one_each.setdefault(t.looked.sent.sql, t)
    if len(one_each) > 1:
        sets.append(tuple(one_each.values()))
    for chosen in sets:
        mended = replace(case, instead={t.looked.sent.sql: t.sql for t in chosen})
        answer, found = case.judge.look(mended)
        if answer.outcome.failure is None and not answer.no_verdict and not found:
            return chosen
    return ()


def why(reference: Reference, standing: Standing) -> str:
    """Why a reference may show or change others' rows."""
    if standing is Standing.KEYED:
        return (
            f"{reference.label} is reached by a key alone, and nothing keeps such a key from "
            "pointing at another tenant's row."
        )
    if standing is Standing.OPEN:
        return (
            f"{reference.label} carries no condition on its tenant, neither directly nor by a "
            "join on the tenant or on a key that implies it."
        )
    return f"{reference.label} is held by conditions that do not hold for all of its rows."


def shown(sent: Sent) -> str:
    """A statement as an explanation shows it."""
    text = " ".join(sent.text.readable().split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
