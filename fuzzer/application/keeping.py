"""What code keeps between calls: whether a leak shows in a process that just started, by itself or
only once somebody of another tenant was served.

Code in Python runs in the tool's own process, call after call. A leak that shows there may come
from what an earlier call left in a module, and would not show again when it is replayed alone.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from tenantfuzz.application.answers import undone
from tenantfuzz.application.calls import Case
from tenantfuzz.application.judging import QueryJudge
from tenantfuzz.codes import named_kind
from tenantfuzz.counterexample import CODE, Step
from tenantfuzz.findings import Finding
from tenantfuzz.judge import Verdict
from tenantfuzz.policies.principals import Freshness, HostileKind, Membership, Principal
from tenantfuzz.strategies.arguments import own_arguments

OTHERS_FIRST = f"{CODE}, before, for members of other tenants"
"""The shape of a step that is the same call, made first for those of other tenants."""

NOT_KNOWN = f"{CODE}, before"
"""The shape of a step that stands for earlier calls, nobody knows which."""

_MOST_OTHERS = 12
_MEND = (
    "What it keeps between calls was kept for another caller: key what is kept (a cache, a global) "
    "by the tenant too, or do not keep it."
)


@dataclass(frozen=True, slots=True)
class Shown:
    """A verdict on a call. ``others`` are those who were served before it; ``anew`` says that the
    code had kept nothing when that began."""

    verdict: Verdict
    anew: bool
    others: tuple[Principal, ...] = ()


def verdicts_anew(
    judge: QueryJudge, principal: Principal, steps: Sequence[Step], *, sure: bool = True
) -> Iterator[Shown]:
    """The verdicts on the call that the last step is, each as a process that just started gives
    it: by itself, then after the same call for members of the other tenants.

    If ``steps`` say that others come first, only the latter. With ``sure`` somebody is also made
    up for a tenant of the world that has no members.
    """
    step = steps[-1]
    if not needs_others(steps):
        with _started(judge, step) as (fresh, anew):
            yield Shown(fresh.judge(principal, steps), anew)
    others = _others(judge, principal, step, invent=sure)
    if not others:
        return
    with _started(judge, step) as (fresh, anew):
        for other in others:
            _serve(fresh, other, step)
        verdict = fresh.judge(principal, steps)
    findings = tuple(after_others(f, others, step) for f in verdict.findings)
    yield Shown(replace(verdict, findings=findings), anew, others)


def needs_others(steps: Sequence[Step]) -> bool:
    """Whether the call needs that others were served before."""
    return any(s.shape == OTHERS_FIRST for s in steps[:-1])


def is_doubtful(steps: Sequence[Step]) -> bool:
    """Whether the call needs earlier calls that nobody knows."""
    return any(s.shape == NOT_KNOWN for s in steps[:-1])


def with_others_first(step: Step) -> tuple[Step, ...]:
    """The call and before it the same one, for others."""
    sql = f"-- before, for a member of each other tenant:\n{step.sql}"
    return replace(step, sql=sql, shape=OTHERS_FIRST), step


def with_unknown_first(step: Step) -> tuple[Step, ...]:
    """The call and before it others of which nothing is known."""
    sql = "-- before: other calls, nobody knows which"
    return replace(step, sql=sql, shape=NOT_KNOWN, arguments=()), step


def like(steps: Sequence[Step], step: Step) -> tuple[Step, ...]:
    """``steps`` with another last one."""
    if needs_others(steps):
        return with_others_first(step)
    return (*steps[:-1], step)


def after_others(finding: Finding, others: Sequence[Principal], step: Step) -> Finding:
    """The finding, told as one of an answer that was kept from another caller."""
    who = list(dict.fromkeys(f"{named_kind(p.kind)} of tenant {p.tenant}" for p in others))
    names = who[0] if len(who) == 1 else f"{', '.join(who[:-1])} and {who[-1]}"
    told = (
        f"It shows only after {names} had called it with the same arguments: the answer was kept "
        "from another caller."
    )
    earlier = f"-- before, for {names}:\n{step.sql}"
    return replace(
        finding,
        explanation=f"{finding.explanation} {told}",
        statements=(earlier, *finding.statements),
        mend=_MEND,
    )


def after_unknown(finding: Finding) -> Finding:
    """The finding, told as one that needs earlier calls."""
    told = (
        "In a process that just started it shows neither by itself nor after the same call for the "
        "other tenants: what it keeps came from other calls before."
    )
    return replace(finding, explanation=f"{finding.explanation} {told}", mend=_MEND)


@contextmanager
def _started(judge: QueryJudge, step: Step) -> Iterator[tuple[QueryJudge, bool]]:
    """A judge whose code for this step was just imported, if that can be."""
    application = judge.application
    query = application.queries[step.relation.name]
    if query.anew is None:
        yield judge, False
        return
    with query.anew() as function:
        if function is None:
            yield judge, False
            return
        queries = {**application.queries, query.name: replace(query, function=function)}
        yield replace(judge, application=replace(application, queries=queries)), True


def _others(
    judge: QueryJudge, principal: Principal, step: Step, *, invent: bool
) -> tuple[Principal, ...]:
    """The ordinary members of tenants that are not the caller's, who may make the call."""
    kinds = judge.application.queries[step.relation.name].declared.kinds
    theirs = {principal.tenant, *principal.tenants}
    there = [
        p
        for p in judge.stage.principals()
        if not p.hostile
        and p.kind != HostileKind.DUAL
        and p.freshness is Freshness.ANY
        and p.tenant is not None
        and p.tenant not in theirs
        and (not kinds or p.kind in kinds)
    ]
    found = there[:_MOST_OTHERS]
    if invent and not principal.hostile:
        known = {p.tenant for p in there}
        for tenant in sorted(judge.stage.population().tenants.keys() - theirs - known):
            found.append(
                replace(
                    principal,
                    user=None,
                    tenant=tenant,
                    memberships=(Membership(tenant, principal.kind),),
                    all_tenants=frozenset({tenant}),
                )
            )
    return tuple(found[:_MOST_OTHERS])


def _serve(judge: QueryJudge, other: Principal, step: Step) -> None:
    query = judge.application.queries[step.relation.name]
    arguments = {**dict(step.arguments), **own_arguments(query.parameters, other)}
    for kind, actor in judge.application.actors(query, other):
        with undone(judge.stage):
            Case(query, other, actor, arguments, judge, kind).perform()
