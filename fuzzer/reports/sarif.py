"""SARIF 2.1.0 for code scanning (OASIS standard; GitHub's further properties are used too).

Each finding is a result at the place that made the hole, with its fingerprint; accepted ones are
suppressed with the reason. What is untested, and warnings, are notifications of the invocation.
"""

from collections.abc import Iterator
from urllib.parse import quote

from tenantfuzz import __version__
from tenantfuzz.codes import Code, all_codes
from tenantfuzz.documents import Document, json_text
from tenantfuzz.findings import Severity
from tenantfuzz.lines import visible
from tenantfuzz.reports.account import Account, Place, Told
from tenantfuzz.scrubbing import scrub
from tenantfuzz.summary import unchanged_sentence, untested_groups

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {
    Severity.CRITICAL: "error",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "note",
    Severity.WARNING: "note",
}
# GitHub's bands: over 9.0 critical, from 7.0 high, from 4.0 medium, below low.
_SCORES = {
    Severity.CRITICAL: "9.5",
    Severity.HIGH: "8.0",
    Severity.MEDIUM: "5.5",
    Severity.LOW: "2.5",
}


def sarif_text(account: Account) -> str:
    """The account as SARIF JSON."""
    return json_text(sarif_document(account))


def sarif_document(account: Account) -> Document:
    """The account as a SARIF log with one run."""
    finished = account.finished
    rules = {code: number for number, code in enumerate(all_codes())}
    run: Document = {
        "tool": {
            "driver": {
                "name": "tenantfuzz",
                "version": __version__,
                "semanticVersion": __version__,
                "rules": [_rule(code) for code in all_codes().values()],
            }
        },
        "automationDetails": {"id": _clean(f"tenantfuzz/{finished.target}/")},
        "columnKind": "unicodeCodePoints",
        "invocations": [
            {
                "executionSuccessful": finished.interrupted is None,
                "exitCode": int(account.exit_status),
                "toolExecutionNotifications": list(_notifications(account, rules)),
            }
        ],
        "results": [_result(told, rules) for told in account.findings],
        "properties": {
            "status": finished.status,
            "targetHash": finished.target_hash,
            "serverVersion": finished.server_version,
            "seed": finished.seed,
            "checks": finished.checks,
            "cells": finished.coverage.cells,
            "untestedCells": len(finished.coverage.untested),
            "repeat": _clean(account.repeat),
        },
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(code: Code) -> Document:
    properties: Document = {"precision": "very-high", "tags": ["tenant-isolation", code.family]}
    if not code.code.startswith(("TF8", "TF9")) and code.severity in _SCORES:
        properties["security-severity"] = _SCORES[code.severity]
        properties["tags"] = ["security", "tenant-isolation", code.family]
    examples = [
        (f"{heading}:", sql) for heading, sql in (("Leaky", code.leaky), ("Mended", code.mended))
    ]
    plain = [code.meaning, f"Cause: {code.cause}", f"Mend: {code.mend}"]
    rich = [code.meaning, f"**Cause:** {code.cause}", f"**Mend:** {code.mend}"]
    for heading, sql in examples:
        if sql:
            plain.append(f"{heading}\n{sql}")
            rich.append(f"{heading}\n```sql\n{sql}\n```")
    return {
        "id": code.code,
        "name": "".join(word.capitalize() for word in code.name.replace("-", " ").split()),
        "shortDescription": {"text": code.name},
        "fullDescription": {"text": code.meaning},
        "help": {"text": "\n\n".join(plain), "markdown": "\n\n".join(rich)},
        "defaultConfiguration": {"level": _LEVELS[code.severity]},
        "properties": properties,
    }


def _result(told: Told, rules: dict[str, int]) -> Document:
    finding = told.finding
    sentences = [finding.title, finding.explanation, finding.mend]
    short = finding.relation.rpartition(".")[2]
    result: Document = {
        "ruleId": finding.code,
        "ruleIndex": rules[finding.code],
        "kind": "fail",
        "level": _LEVELS[finding.severity] if _counts(told) else "note",
        "message": {"text": _clean("\n\n".join(s for s in sentences if s))},
        "locations": [
            {
                "physicalLocation": _physical(told.place),
                "logicalLocations": [
                    {
                        "name": _clean(short),
                        "fullyQualifiedName": _clean(finding.relation),
                        "kind": "resource",
                    }
                ],
            }
        ],
        "partialFingerprints": {"tenantfuzz/v1": finding.fingerprint},
        "properties": {
            "id": _clean(finding.id),
            "severity": finding.severity.value,
            "operation": finding.operation,
            "kind": _clean(finding.principal.kind),
            "culprits": [_clean(c) for c in finding.culprits],
            "expected": _clean(finding.expected),
            "observed": _clean(finding.observed),
            "story": _clean(told.story),
            "minimal": finding.minimal,
            "latent": finding.latent,
            "origin": finding.origin,
        },
    }
    if told.accepted is not None:
        result["suppressions"] = [
            {"kind": "external", "status": "accepted", "justification": _clean(told.accepted)}
        ]
    return result


def _counts(told: Told) -> bool:
    return told.accepted is None and told.finding.counts


def _physical(place: Place) -> Document:
    return {
        "artifactLocation": {"uri": _uri(place.file), "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": place.line or 1},  # code scanning shows nothing without one
    }


def _notifications(account: Account, rules: dict[str, int]) -> Iterator[Document]:
    finished = account.finished
    if finished.interrupted is not None:
        yield _notification("error", f"the run was cut short: {finished.interrupted}")
    if finished.selection is not None:
        yield _notification("note", unchanged_sentence(finished.selection))
    for group in untested_groups(finished.coverage.untested):
        cells = "; ".join(group.lines)
        yield _notification("warning", f"untested: {group.reason} ({cells})")
    for warning in dict.fromkeys(finished.warnings):
        text = f"{warning.relation}: {warning.message}" if warning.relation else warning.message
        notification = _notification("warning", text)
        if warning.code in rules:
            notification["associatedRule"] = {
                "id": warning.code,
                "index": rules[warning.code],
            }
        yield notification


def _notification(level: str, text: str) -> Document:
    return {"level": level, "message": {"text": _clean(text)}}


def _uri(path: str) -> str:
    """A relative URI reference (RFC 3986) of a path with forward slashes."""
    return quote(path)


def _clean(text: str) -> str:
    return visible(scrub(text))
