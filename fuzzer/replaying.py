"""Replays saved counterexamples: do they still leak?"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tenantfuzz import corpus as corpus_files
from tenantfuzz.counterexample import Counterexample
from tenantfuzz.errors import ToolError
from tenantfuzz.events import ReplayResult
from tenantfuzz.findings import Finding
from tenantfuzz.loading_worlds import WorldLoader
from tenantfuzz.preparation import Prepared
from tenantfuzz.trial import Trial

STILL_LEAKS = "still leaks"
FIXED = "fixed"
CANNOT = "cannot replay"


def corpus_folder(root: Path, given: Path | None) -> Path:
    """Where a target's counterexamples are: ``corpus/`` beside its file, unless given."""
    return given if given is not None else root / "corpus"


def replay_files(
    prepared: Prepared, files: Sequence[Path]
) -> Iterator[tuple[ReplayResult, Counterexample | None, Finding | None]]:
    """What became of each file; with the counterexample and the finding if it still leaks."""
    loader = prepared.loader()
    trial = Trial(prepared, loader)
    for path in files:
        try:
            counterexample = corpus_files.load(path)
        except ToolError as error:
            yield ReplayResult(path.stem, CANNOT, str(error), str(path)), None, None
            continue
        finding, verdict, reason = _replay(prepared, loader, trial, counterexample)
        result = ReplayResult(counterexample.finding.id, verdict, reason, str(path))
        yield result, counterexample, finding


def _replay(
    prepared: Prepared, loader: WorldLoader, trial: Trial, counterexample: Counterexample
) -> tuple[Finding | None, str, str]:
    wanted = counterexample.finding
    missing = [
        str(s.relation)
        for s in counterexample.witness.steps
        if s.relation not in prepared.catalog.relations and s.operation != "query"
    ]
    missing += [
        str(r.relation)
        for r in counterexample.witness.world.rows
        if r.relation not in prepared.catalog.relations
    ]
    if missing:
        return None, CANNOT, f"the target has no relation {missing[0]} any more"
    try:
        with prepared.stage(loader) as stage:
            verdict = trial.verdict(stage, counterexample.witness)
    except ToolError as error:
        return None, CANNOT, str(error).splitlines()[0]
    if isinstance(verdict, str):
        return None, CANNOT, verdict
    for finding in verdict.findings:
        if (finding.code, finding.relation, finding.operation) == (
            wanted.code,
            wanted.relation,
            wanted.operation,
        ):
            return finding, STILL_LEAKS, ""
    if verdict.findings:
        other = verdict.findings[0]
        return other, STILL_LEAKS, f"as {other.code} on {other.relation} now"
    return None, FIXED, ""
