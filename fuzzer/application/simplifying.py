"""Simpler arguments: those of a call that shows a leak, as plain as they can be."""

from time import monotonic

from tenantfuzz.application.keeping import like
from tenantfuzz.application.trying import call
from tenantfuzz.counterexample import Witness
from tenantfuzz.findings import Finding
from tenantfuzz.stage import Stage
from tenantfuzz.trial import Trial

_SIMPLEST: tuple[str | None, ...] = (None, "", "1", "%")


def with_simpler_arguments(
    trial: Trial, stage: Stage, finding: Finding, witness: Witness, *, seconds: float
) -> tuple[Finding, Witness]:
    """The finding and its witness with each argument that does not matter made NULL, empty, ``1``
    or ``%``, as far as ``seconds`` allow. What is no call of a query comes back as it is."""
    step = witness.steps[-1] if witness.steps else None
    if step is None or step.operation != "query":
        return finding, witness
    query = trial.application().queries.get(step.relation.name)
    deadline = monotonic() + seconds
    for name, _ in step.arguments if query is not None else ():
        for value in _SIMPLEST:
            now = dict(witness.steps[-1].arguments)
            if now[name] == value:
                break  # it is as simple as that already
            if query is None or monotonic() > deadline:
                return finding, witness
            now[name] = value
            simpler = call(query, now, query.bound(witness.principal, now))
            smaller = Witness(witness.world, witness.principal, like(witness.steps, simpler))
            found = trial.shows(stage, smaller, finding)
            if found is not None:
                finding, witness = found, smaller
                break
    return finding, witness
