"""JUnit XML: one test case for each relation and operation, as CI servers show them.

A test case fails for a finding that fails the run. It is an error of type ``untested`` where a
cell could not be tested, and skipped where something is accepted or was not asked for. What else
there is to know stands in its system-out. The form is Jenkins' (junit-10.xsd).
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tenantfuzz import __version__
from tenantfuzz.events import ReplayResult
from tenantfuzz.exit_status import ExitStatus
from tenantfuzz.lines import visible
from tenantfuzz.reports.account import Account, Told, why_not_clean
from tenantfuzz.reports.doors import CellState, Door, by_reason, doors
from tenantfuzz.scrubbing import scrub

_FINDINGS = ExitStatus.FINDINGS

# What XML 1.0 can hold (section 2.2); no escape exists for the rest.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class _Case:
    """One test case; ``outcome`` is failure, error, skipped or "" (passed)."""

    name: str
    outcome: str = ""
    type: str = ""
    message: str = ""
    text: str = ""
    output: str = ""


def junit_text(account: Account) -> str:
    """The account as JUnit XML."""
    finished = account.finished
    cases = [_door_case(account, door) for door in doors(account)]
    cases += [_replay_case(account, result) for result in finished.replayed]
    cases += _run_case(account, cases)
    counts = {
        "tests": str(len(cases)),
        "failures": str(sum(c.outcome == "failure" for c in cases)),
        "errors": str(sum(c.outcome == "error" for c in cases)),
    }
    time = f"{finished.seconds:.3f}"
    name = _clean(f"tenantfuzz.{finished.target}")
    root = ET.Element("testsuites", {"name": "tenantfuzz", "time": time, **counts})
    skipped = str(sum(c.outcome == "skipped" for c in cases))
    suite = ET.SubElement(
        root, "testsuite", {"name": name, "time": time, **counts, "skipped": skipped}
    )
    properties = ET.SubElement(suite, "properties")
    for key, value in _properties(account):
        ET.SubElement(properties, "property", {"name": key, "value": _clean(value)})
    for case in cases:
        _put(suite, name, case)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=False).join(
        ('<?xml version="1.0" encoding="UTF-8"?>\n', "\n")
    )


def _properties(account: Account) -> Iterator[tuple[str, str]]:
    finished, coverage = account.finished, account.finished.coverage
    yield "tenantfuzz.version", __version__
    yield "status", finished.status
    yield "target.hash", finished.target_hash
    yield "server.version", finished.server_version
    yield "seed", str(finished.seed)
    yield "checks", str(finished.checks)
    yield "cells", str(coverage.cells)
    yield "cells.untested", str(len(coverage.untested))
    yield "repeat", account.repeat


def _put(suite: ET.Element, classname: str, case: _Case) -> None:
    element = ET.SubElement(suite, "testcase", {"name": _clean(case.name), "classname": classname})
    if case.outcome:
        attributes = {"type": case.type, "message": _line(case.message)}
        ET.SubElement(element, case.outcome, attributes).text = _clean(case.text) or None
    if case.output:
        ET.SubElement(element, "system-out").text = _clean(case.output)


def _door_case(account: Account, door: Door) -> _Case:
    failing = [t for t in door.findings if account.fails(t)]
    untested = _cells(door, CellState.UNTESTED)
    accepted = [f"{t.finding.id}: {t.accepted}" for t in door.findings if t.accepted is not None]
    accepted += _cells(door, CellState.ACCEPTED)
    remarks = [t.story for t in door.findings if t.accepted is None and t not in failing]
    remarks += [f"closed: {', '.join(kinds)}" for kinds in [door.kinds(CellState.CLOSED)] if kinds]
    if failing:
        remarks += [f"untested: {line}" for line in untested]
        remarks += [f"accepted: {line}" for line in accepted]
        return _failure(door, failing, remarks)
    if untested:
        remarks += [f"accepted: {line}" for line in accepted]
        return _Case(
            door.name,
            "error",
            "untested",
            f"untested: {untested[0]}" + _more(untested),
            "\n".join(untested),
            "\n\n".join(remarks),
        )
    if accepted:
        return _Case(
            door.name,
            "skipped",
            "accepted",
            f"accepted: {accepted[0]}" + _more(accepted),
            "\n".join(accepted),
            "\n\n".join(remarks),
        )
    selection = account.finished.selection
    if door.unchanged and selection is not None:
        message = f"unchanged since {selection.since}, not tested again"
        return _Case(door.name, "skipped", "unchanged", message)
    return _Case(door.name, output="\n\n".join(remarks))


def _failure(door: Door, failing: Sequence[Told], remarks: Sequence[str]) -> _Case:
    worst = failing[0].finding
    return _Case(
        door.name,
        "failure",
        worst.code,
        f"{worst.code} {worst.severity.value}: {worst.title}" + _more(failing),
        "\n\n".join(t.story for t in failing),
        "\n\n".join(remarks),
    )


def _replay_case(account: Account, result: ReplayResult) -> _Case:
    name = f"replay[{result.id}]"
    message = f"{result.verdict}: {result.reason}" if result.reason else result.verdict
    if result.verdict == "still leaks":
        told = next((t for t in account.findings if t.finding.id == result.id), None)
        fails = account.fails(told) if told is not None else account.exit_status is _FINDINGS
        if fails:
            text = told.story if told is not None else ""
            return _Case(name, "failure", "still leaks", message, text)
        reason = told.accepted if told is not None else None
        return _Case(name, "skipped", "still leaks", reason or message)
    if result.verdict == "cannot replay":
        return _Case(name, "skipped", "cannot replay", message)
    return _Case(name, output=message)


def _run_case(account: Account, cases: Sequence[_Case]) -> Iterator[_Case]:
    """A case of its own for what no door tells: a file that looks green must mean exit status 0."""
    finished = account.finished
    name = f"run[{finished.target}]"
    reason = why_not_clean(account)
    if finished.interrupted is not None:
        yield _Case(name, "error", "interrupted", reason or "")
    elif not any(c.outcome in ("failure", "error") for c in cases) and (
        account.exit_status is not ExitStatus.CLEAN
    ):
        yield _Case(name, "error", "inconclusive", reason or finished.status)


def _cells(door: Door, state: CellState) -> list[str]:
    return [f"{reason} ({', '.join(kinds)})" for reason, kinds in by_reason(door, state).items()]


def _more(items: Sequence[object]) -> str:
    return f" (and {len(items) - 1} more)" if items[1:] else ""


def _line(text: str) -> str:
    return " ".join(_clean(text).split())


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", visible(scrub(text)))
