"""Which statement of application code lets others' rows through, and what would close it: tried by
calling the code once more with that statement changed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tenantfuzz.application.answers import undone
from tenantfuzz.application.calls import Case
from tenantfuzz.application.sending import Sent
from tenantfuzz.oracles.violation import Violation
from tenantfuzz.policies.principals import HostileKind
from tenantfuzz.policies.query_analysis import analyse
from tenantfuzz.policies.query_parts import QueryAnalysis, Reference
from tenantfuzz.policies.query_standing import Callers, Mend, Standing, mends, standings

_MOST_TRIED = 8
_MOST_TRIED_OUTSIDE = 4  # each of which starts a process twice
_LONGEST = 240  # characters of a statement that is shown
_MENDED = frozenset({"TF501", "TF502"})
_NO_MEMBERS = frozenset({HostileKind.FORMER, HostileKind.OUTSIDER})


@dataclass(frozen=True, slots=True)
class Trace:
    """What code sent that let rows through: the statement, why, and what closed it (empty where
    nothing that was tried did). ``mend``: what to do where no condition of it is to blame."""

    statement: str
    reasons: tuple[str, ...]
    conditions: tuple[str, ...] = ()
    mend: str = ""


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
    if _is_no_member(case):  # whose tenant is the one that it names
        tenants = stage.population().tenants
        names["tenant"] |= {n for n, v in sent.values.items() if v in tenants}
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
    admitted = _admitted(case, violation, looked)
    if admitted is not None:
        return admitted
    tries = list(_tries(case, violation, looked))
    # A condition on its tenant closes everything to somebody who has none, and shows nothing.
    tried = violation.code in _MENDED and not case.by_policies and not _is_no_member(case)
    found = _closing(case, tries) if tried else ()
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


def _is_no_member(case: Case) -> bool:
    """Whether the caller is signed in and member of no tenant, or not any more."""
    return case.caller.kind in _NO_MEMBERS and case.caller.tenant is None


def _admitted(case: Case, violation: Violation, looked: Sequence[_Looked]) -> Trace | None:
    """The trace where all statements keep to the tenant that is named: what is wrong is that the
    caller, who is no member of it, gets so far."""
    if violation.code not in _MENDED or not _is_no_member(case):
        return None
    standing = [s for one in looked for s in one.standing]
    if Standing.TIED not in standing or min(standing) < Standing.KEYED:
        return None
    statement = next(
        (
            one
            for one in reversed(looked)
            if any(r.relation == violation.relation for r in one.analysis.references)
        ),
        looked[-1],
    )
    reason = (
        "Its conditions keep to the tenant that is named; but the code lets its caller in although "
        f"{case.caller.note or 'it is no member of that tenant'}."
    )
    return Trace(shown(statement.sent), (reason,), mend=_admission(case))


def _admission(case: Case) -> str:
    """What code has to ask of a caller before it goes on."""
    memberships = case.judge.stage.model.memberships
    if memberships is None:
        return "Check that the caller is a member of the tenant before anything is done."
    active = memberships.active
    text = (
        f"Check the caller's membership before anything is done: a row of {memberships.relation} "
        f"with its {memberships.user} and the {memberships.tenant} that is named"
    )
    return f"{text}, for which {active} holds." if active else f"{text}."


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
