"""The result document: what a campaign found, as the JSON that other tools read."""

import json
import os
import tempfile
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from tenantfuzz import __version__
from tenantfuzz.errors import ToolError
from tenantfuzz.events import CampaignFinished, Coverage, ReplayResult, UntestedCell
from tenantfuzz.findings import Finding
from tenantfuzz.scrubbing import scrub_document

SCHEMA_VERSION = 1
_WIDTH = 100

Document = dict[str, object]


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


def json_text(document: Mapping[str, object]) -> str:
    """``document`` as JSON for people too: indent 2, what fits on one line on one line.

    Characters that are not seen, or that reorder what is seen, are escaped.
    """
    return _escape_unseen(_formatted(document, 0)) + "\n"


def write_json(document: Mapping[str, object], path: Path) -> None:
    """Write ``document`` to ``path``, whole or not at all. Raises ToolError."""
    write_text(json_text(document), path)


def write_text(text: str, path: Path) -> None:
    """Write ``text`` to ``path`` as UTF-8, whole or not at all. Raises ToolError."""
    temporary: str | None = None
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=".tenantfuzz-", dir=path.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise ToolError(
            f"cannot write {path}: {error.strerror or error}",
            hint="check that the folder exists, may be written to, and that the disk is not full",
        ) from error


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
    }


def _cell(cell: UntestedCell) -> Document:
    return {
        "relation": cell.relation,
        "operation": cell.operation,
        "kind": cell.kind,
        "reason": cell.reason,
    }


def _formatted(value: object, indent: int, used: int = 0) -> str:
    """``used`` characters stand before ``value`` on its line, after the indent."""
    short = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or not value:
        return short
    if indent and indent + used + len(short) < _WIDTH:
        return short
    inner = " " * (indent + 2)
    if isinstance(value, dict):
        keys = [json.dumps(key, ensure_ascii=False) + ": " for key in value]
        items = [
            key + _formatted(item, indent + 2, len(key))
            for key, item in zip(keys, value.values(), strict=True)
        ]
        left, right = "{", "}"
    else:
        items = [_formatted(item, indent + 2) for item in value]
        left, right = "[", "]"
    body = ",\n".join(inner + item for item in items)
    return f"{left}\n{body}\n{' ' * indent}{right}"


def _escape_unseen(text: str) -> str:
    return "".join(
        json.dumps(char)[1:-1] if char != "\n" and _unseen(char) else char for char in text
    )


def _unseen(char: str) -> bool:
    return not char.isascii() and unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")
