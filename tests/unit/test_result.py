import json
from dataclasses import replace
from pathlib import Path

import pytest

from tenantfuzz import __version__
from tenantfuzz.documents import json_text, write_json
from tenantfuzz.errors import ToolError
from tenantfuzz.events import (
    CampaignFinished,
    Coverage,
    ReplayResult,
    Timings,
    UntestedCell,
    Warning,
)
from tenantfuzz.findings import Finding, PrincipalSummary, Severity
from tenantfuzz.result import replays_document, result_document

FINDING = Finding(
    code="TF101",
    severity=Severity.CRITICAL,
    title="a title",
    relation="public.issues",
    operation="select",
    principal=PrincipalSummary("member", "app", "a"),
    owner_tenants=("b",),
    explanation="because",
    culprits=("policy p",),
    statements=("SELECT 1",),
    expected="nothing",
    observed="a row",
)
FINISHED = CampaignFinished(
    status="leaks",
    target="demo",
    target_hash="00ff",
    server_version="18.6",
    seed=7,
    seconds=1.23456,
    checks=10,
    timings=Timings(0.1, 0.2, 0.3),
    coverage=Coverage(
        cells=4,
        covered=1,
        closed=2,
        untested=(UntestedCell("public.a", "select", "member", "no rows"),),
        closed_cells=(("public.b", "insert", "anonymous"), ("public.b", "delete", "anonymous")),
    ),
    findings=(FINDING,),
    warnings=(Warning("TF901", "not loaded", "public.a"),),
    accepted_findings=((replace(FINDING, code="TF301"), "on purpose"),),
    replayed=(ReplayResult("TF101-x", "fixed"),),
    counters={"reads": 9},
)


def test_the_document_has_the_fixed_keys_first_and_in_order() -> None:
    document = result_document(FINISHED)
    assert list(document)[:12] == [
        "schema_version",
        "status",
        "tool",
        "target",
        "server",
        "seed",
        "seconds",
        "checks",
        "timings",
        "coverage",
        "findings",
        "warnings",
    ]
    assert document["schema_version"] == 1
    assert document["status"] == "leaks"
    assert document["tool"] == {"name": "tenantfuzz", "version": __version__}
    assert document["target"] == {"name": "demo", "hash": "00ff"}
    assert document["server"] == {"version": "18.6"}
    assert (document["seed"], document["seconds"], document["checks"]) == (7, 1.235, 10)
    assert document["timings"] == {"generation": 0.1, "database": 0.2, "oracle": 0.3}


def test_coverage_counts_and_lists() -> None:
    coverage = result_document(FINISHED)["coverage"]
    assert isinstance(coverage, dict)
    assert [coverage[k] for k in ("cells", "covered", "closed")] == [4, 1, 2]
    assert coverage["untested"] == [
        {"relation": "public.a", "operation": "select", "kind": "member", "reason": "no rows"}
    ]
    assert len(coverage["closed_cells"]) == 2


def test_a_finding_has_the_fixed_keys() -> None:
    findings = result_document(FINISHED)["findings"]
    assert isinstance(findings, list)
    [found] = findings
    assert list(found)[:18] == [
        "id",
        "code",
        "severity",
        "title",
        "relation",
        "operation",
        "principal",
        "owner_tenants",
        "explanation",
        "culprits",
        "statements",
        "expected",
        "observed",
        "minimal",
        "latent",
        "origin",
        "fingerprint",
        "corpus_file",
    ]
    assert found["id"] == f"TF101-issues-select-{found['fingerprint']}"
    assert found["principal"] == {"kind": "member", "role": "app", "tenant": "a", "user": None}
    assert found["severity"] == "critical"
    assert found["minimal"] is False


def test_accepted_findings_come_with_their_reason() -> None:
    accepted = result_document(FINISHED)["accepted"]
    assert isinstance(accepted, list)
    assert (accepted[0]["code"], accepted[0]["reason"]) == ("TF301", "on purpose")


def test_passwords_are_left_out_everywhere() -> None:
    finding = replace(
        FINDING,
        explanation="dblink('host=h password=hunter2')",
        statements=("SELECT 'postgresql://app:hunter2@db/x'",),
    )
    finished = replace(
        FINISHED,
        findings=(finding,),
        warnings=(Warning("", "lost postgres://u:hunter2@h:5432/d"),),
        interrupted="password='hunter2'",
    )
    text = json_text(result_document(finished))
    assert "hunter2" not in text
    assert "postgresql://app:***@db/x" in text


def test_the_text_is_json_and_keeps_small_things_on_a_line() -> None:
    document = result_document(FINISHED)
    text = json_text(document)
    assert json.loads(text) == document
    assert '  "target": {"name": "demo", "hash": "00ff"},\n' in text
    assert max(len(line) for line in text.splitlines()) <= 100


def test_what_is_not_seen_is_escaped() -> None:
    document = {"a": "x\u202ey\u200b\x1b[2J\x7f\u2028 é 😀"}
    text = json_text(document)
    assert json.loads(text) == document
    assert "\u202e" not in text
    assert "\\u202e" in text
    assert "é 😀" in text


def test_writing_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")
    write_json({"a": 1}, path)
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_a_folder_that_does_not_exist_is_a_tool_error(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"cannot write .*missing/result\.json"):
        write_json({}, tmp_path / "missing" / "result.json")


@pytest.mark.parametrize(
    ("verdicts", "status"),
    [
        (["fixed"], "fixed"),
        (["fixed", "cannot replay"], "cannot replay"),
        (["cannot replay", "still leaks", "fixed"], "still leaks"),
        ([], "fixed"),
    ],
)
def test_the_status_of_a_replay_is_the_worst_verdict(verdicts: list[str], status: str) -> None:
    document = replays_document("demo", [ReplayResult("x", v) for v in verdicts])
    assert document["status"] == status
