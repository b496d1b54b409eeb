"""Runs one campaign for the kill table, in a process of its own, and says when what was found.

Reads a job as JSON on stdin; prints one JSON document. Times are counted from ``started``, the
monotonic clock of the caller when it started this process.
"""

import json
import sys
from dataclasses import asdict, replace
from fnmatch import fnmatchcase
from pathlib import Path
from time import monotonic
from typing import Any

from tenantfuzz.campaign import Options, run_campaign
from tenantfuzz.corpus import load
from tenantfuzz.errors import ToolError
from tenantfuzz.events import CampaignFinished, FindingFound, FindingShrunk, Progress
from tenantfuzz.findings import Finding
from tenantfuzz.policies.configuration import Attacker
from tenantfuzz.target import Target, find_target

Job = dict[str, Any]  # JSON


def target_with(folder: Path, extra: tuple[str, ...], attacker: str | None) -> Target:
    """The target in ``folder`` with further files behind its schema, at another level if given."""
    target = find_target(folder)
    configuration = target.configuration
    section = configuration.target.model_copy(
        update={"sources": (*configuration.target.sources, *extra)}
    )
    run = configuration.run
    if attacker is not None:
        run = run.model_copy(update={"attacker": Attacker(attacker)})
    changed = configuration.model_copy(update={"target": section, "run": run})
    return replace(target, configuration=changed)


def expected(finding: Finding, job: Job) -> bool:
    """Whether it is the finding that the planted leak calls for."""
    return (
        finding.code in job["codes"]
        and not finding.latent
        and finding.operation in job["operations"]
        and fnmatchcase(finding.relation, job["relation"])
    )


def run(job: Job) -> Job:
    """Runs the campaign of ``job`` and gives what the table needs."""
    options = Options(
        seed=job["seed"],
        seconds=job["seconds"],
        phases=("sweep", "fuzz") if job["seconds"] else ("sweep",),
        only=job["only"],
        shrink=job["shrink"],
        save=job["shrink"],
        corpus=Path(job["corpus"]) if job["shrink"] else None,
    )
    answer: Job = {"hit": None, "others": [], "shrunk": None, "status": None, "untested": []}
    events = run_campaign(
        target_with(Path(job["folder"]), tuple(job["extra"]), job.get("attacker")), options
    )
    for event in events:
        match event:
            case Progress(checks=checks):
                answer["checks"] = checks
                if answer["hit"] is not None and not job["shrink"] and not job["whole"]:
                    events.close()  # type: ignore[attr-defined]  # a generator
                    break
            case FindingFound(finding=finding) if expected(finding, job):
                if answer["hit"] is None:
                    answer["hit"] = {**_brief(finding), "seconds": monotonic() - job["started"]}
            case FindingFound(finding=finding):
                answer["others"].append(_brief(finding))
            case FindingShrunk(finding=finding) if expected(finding, job):
                answer["shrunk"] = _size(finding)
                events.close()  # type: ignore[attr-defined]  # a generator
                break
            case CampaignFinished() as finished:
                answer["checks"] = finished.checks
                answer["status"] = finished.status
                answer["untested"] = [asdict(c) for c in finished.coverage.untested]
            case _:
                pass
    return answer


def _brief(finding: Finding) -> Job:
    return {
        "code": finding.code,
        "relation": finding.relation,
        "operation": finding.operation,
        "kind": finding.principal.kind,
        "culprits": list(finding.culprits),
        "latent": finding.latent,
    }


def _size(finding: Finding) -> Job | None:
    if finding.corpus_file is None:
        return None
    witness = load(Path(finding.corpus_file)).witness
    return {
        "id": finding.id,
        "minimal": finding.minimal,
        "rows": len(witness.world.rows),
        "tenants": len({row.tenant for row in witness.world.rows if row.tenant is not None}),
        "steps": len(witness.steps),
    }


def main() -> int:
    """The program."""
    job = json.load(sys.stdin)
    try:
        answer = run(job)
    except ToolError as error:
        answer = {"error": str(error)}
    json.dump(answer, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
