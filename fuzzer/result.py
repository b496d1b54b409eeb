"""The result document: what a campaign found, as the JSON that other tools read."""

from collections.abc import Sequence
from typing import cast

from tenantfuzz import __version__
from tenantfuzz.documents import Document
from tenantfuzz.events import CampaignFinished, Coverage, ReplayResult, Selection, UntestedCell
from tenantfuzz.findings import Finding
from tenantfuzz.scrubbing import scrub_document

SCHEMA_VERSION = 1


def result_document(finished: CampaignFinished) -> Document:
    """The document of DESIGN.md, section 10. What is not named there comes last, at each level."""
    document: Document = {
        "schema_version": SCHEMA_VERSION,
        "status": finished.status,
        "tool": {"name": "tenantfuzz", "version": __version__},
        "target": {"name": finished.target, "hash": finished.target_hash},
        "server": {"version": finished.server_version},
        "seed": finished.seed,
        "seconds": round(finished.seconds, 3),
        "checks": finished.checks,
        "timings": {
            "generation": round(finished.timings.generation, 3),
            "database": round(finished.timings.database, 3),
            "oracle": round(finished.timings.oracle, 3),
        },
        "coverage": _coverage(finished.coverage),
        "findings": [finding_document(f) for f in finished.findings],
        "warnings": [
            {"code": w.code, "message": w.message, "relation": w.relation}
            for w in finished.warnings
        ],
        "accepted": [
            {**finding_document(finding), "reason": reason}
            for finding, reason in finished.accepted_findings
        ],
        "replayed": [replay_document(r) for r in finished.replayed],
        "interrupted": finished.interrupted,
        "examples": finished.examples,
        "counters": dict(finished.counters),
        "changed_since": _selection(finished.selection),
    }
    return cast(Document, scrub_document(document))


def finding_document(finding: Finding) -> Document:
    """One finding, as the result document and the corpus hold it."""
    return {
        "id": finding.id,
        "code": finding.code,
        "severity": finding.severity.value,
        "title": finding.title,
        "relation": finding.relation,
        "operation": finding.operation,
        "principal": {
            "kind": finding.principal.kind,
            "role": finding.principal.role,
            "tenant": finding.principal.tenant,
            "user": finding.principal.user,
        },
        "owner_tenants": list(finding.owner_tenants),
        "explanation": finding.explanation,
        "culprits": list(finding.culprits),
        "statements": list(finding.statements),
        "expected": finding.expected,
        "observed": finding.observed,
        "minimal": finding.minimal,
        "latent": finding.latent,
        "origin": finding.origin,
        "fingerprint": finding.fingerprint,
        "corpus_file": finding.corpus_file,
        "mend": finding.mend,
        "world_rows": list(finding.world_rows),
    }


def replay_document(result: ReplayResult) -> Document:
    """What became of one saved counterexample."""
    return {
        "id": result.id,
        "verdict": result.verdict,
        "reason": result.reason,
        "file": result.file,
    }


def replays_document(target: str, results: Sequence[ReplayResult]) -> Document:
    """The document that ``tenantfuzz replay --format json`` prints; ``status`` is the worst."""
    verdicts = {r.verdict for r in results}
    order = ("still leaks", "cannot replay", "fixed")
    document: Document = {
        "schema_version": SCHEMA_VERSION,
        "status": next((v for v in order if v in verdicts), "fixed"),
        "tool": {"name": "tenantfuzz", "version": __version__},
        "target": {"name": target},
        "replayed": [replay_document(r) for r in results],
    }
    return cast(Document, scrub_document(document))


def _coverage(coverage: Coverage) -> Document:
    return {
        "cells": coverage.cells,
        "covered": coverage.covered,
        "closed": coverage.closed,
        "untested": [_cell(c) for c in coverage.untested],
        "accepted": [{**_cell(c), "accepted": c.accepted} for c in coverage.accepted],
        "closed_cells": [
            {"relation": relation, "operation": operation, "kind": kind}
            for relation, operation, kind in coverage.closed_cells
        ],
        "unchanged": coverage.unchanged,
    }


def _selection(selection: Selection | None) -> Document | None:
    if selection is None:
        return None
    return {
        "snapshot": selection.since,
        "everything": selection.everything,
        "sample": selection.sample,
        "tested": [{"relation": r, "reason": reason} for r, reason in selection.tested],
        "unchanged": list(selection.unchanged),
    }


def _cell(cell: UntestedCell) -> Document:
    return {
        "relation": cell.relation,
        "operation": cell.operation,
        "kind": cell.kind,
        "reason": cell.reason,
    }
