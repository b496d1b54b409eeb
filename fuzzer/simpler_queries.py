"""Simpler queries: a generated statement that shows a leak loses all that it does not need."""

from dataclasses import replace
from time import monotonic

from tenantfuzz.counterexample import CODE, Witness
from tenantfuzz.findings import Finding
from tenantfuzz.stage import Stage
from tenantfuzz.strategies.querying.reducing import reductions
from tenantfuzz.trial import Trial

_PLAIN = frozenset({"select", "count", "select by key"})


def with_simpler_query(
    trial: Trial, stage: Stage, finding: Finding, witness: Witness, *, deadline: float
) -> tuple[Finding, Witness]:
    """The finding and its witness with the last statement reduced as far as the finding allows,
    until ``deadline`` (monotonic seconds)."""
    if not witness.steps or witness.steps[-1].operation == "query":
        return finding, witness
    if witness.steps[-1].shape in (*_PLAIN, CODE):
        return finding, witness
    progress = True
    while progress:
        progress = False
        for text in reductions(witness.steps[-1].sql):
            if monotonic() > deadline:
                return finding, witness
            last = replace(witness.steps[-1], sql=text)
            smaller = replace(witness, steps=(*witness.steps[:-1], last))
            found = trial.shows(stage, smaller, finding)
            if found is not None:
                finding, witness, progress = found, smaller, True
                break
    return finding, witness
