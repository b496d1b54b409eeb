import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tenantfuzz.console import CampaignConsole
from tenantfuzz.counterexample import Counterexample
from tenantfuzz.errors import ToolError
from tenantfuzz.events import (
    CampaignFinished,
    CampaignStarted,
    Coverage,
    Event,
    FindingFound,
    PhaseStarted,
    Progress,
    ReplayResult,
    Timings,
    UntestedCell,
    Warning,
    WarningRaised,
)
from tenantfuzz.findings import Finding, PrincipalSummary, Severity
from tenantfuzz.outcome import exit_status, fails, follow, replay_status
from tenantfuzz.summary import seconds_text, summary_lines, untested_groups
from tenantfuzz.terminal import open_console

FINDING = Finding(
    code="TF101",
    severity=Severity.HIGH,
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
    status="clean",
    target="demo",
    target_hash="00ff",
    server_version="18.6",
    seed=7,
    seconds=90.0,
    checks=180000,
    timings=Timings(1.0, 2.0, 1.0),
    coverage=Coverage(cells=3, covered=1, closed=2),
    findings=(),
)
STARTED = CampaignStarted("demo", "00ff", "18.6", 7, "embedded", 3, ("member",))


def open_nothing(path: Path) -> Counterexample:
    raise ToolError(f"cannot read {path}")


def shown(*events: Event, width: int = 80, verbose: bool = False) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, markup=False, emoji=False, highlight=False)
    with CampaignConsole(console, path=".", open_file=open_nothing, verbose=verbose) as campaign:
        for event in events:
            campaign.show(event)
    return stream.getvalue()


def many_findings(number: int) -> tuple[Finding, ...]:
    return tuple(replace(FINDING, relation=f"public.t{n}") for n in range(number))


def test_plain_output_has_no_codes_and_no_live_lines() -> None:
    text = shown(
        STARTED,
        PhaseStarted("sweep", 60),
        Progress("sweep", 1, 1, 1, 3, 0),
        FindingFound(FINDING, 1.0),
        replace(FINISHED, status="leaks", findings=(FINDING,)),
    )
    assert "\x1b" not in text
    assert "cells, " not in text
    assert "TF101 high     a title\n" in text
    assert "\nleaks: 1 finding (1 high)\n" in text


def test_markup_and_emoji_codes_in_names_are_shown_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    odd = replace(FINDING, title=":smile: [bold] public.[red]x[/red]")
    assert "TF101 high     :smile: [bold] public.[red]x[/red]\n" in shown(FindingFound(odd, 1.0))
    console = open_console()
    stream = io.StringIO()
    console.file = stream
    console.print("[red]x[/red] :smile:")
    assert stream.getvalue() == "[red]x[/red] :smile:\n"


def test_a_finding_is_one_line_the_moment_it_is_found() -> None:
    text = shown(FindingFound(replace(FINDING, title="long\n" * 50), 1.0))
    assert text.count("\n") == 1


def test_an_unreadable_corpus_file_does_not_stop_the_story() -> None:
    finding = replace(FINDING, corpus_file="corpus/x.json")
    text = shown(replace(FINISHED, status="leaks", findings=(finding,)))
    assert "why        because" in text
    assert "saved 1 counterexample:\n  corpus/x.json\n" in text


def test_many_findings_are_told_shortly() -> None:
    event = replace(FINISHED, status="leaks", findings=many_findings(25))
    text = shown(event)
    assert text.count("why        because") == 10
    assert "15 findings more:" in text
    assert shown(event, verbose=True).count("why        because") == 25


def test_the_worst_finding_comes_first() -> None:
    worst = replace(FINDING, severity=Severity.CRITICAL, relation="public.z")
    mild = replace(FINDING, severity=Severity.LOW, relation="public.a")
    text = shown(replace(FINISHED, status="leaks", findings=(mild, FINDING, worst)))
    positions = [text.index(f"TF101 {word}") for word in ("critical", "high", "low")]
    assert positions == sorted(positions)
    assert "leaks: 3 findings (1 critical, 1 high, 1 low)" in text


def test_warnings_come_once_in_the_summary() -> None:
    warning = Warning("TF901", "not loaded", "public.a")
    text = shown(WarningRaised(warning), replace(FINISHED, warnings=(warning, warning)))
    assert text.count("TF901 public.a: not loaded") == 1


def test_the_summary_of_a_clean_run() -> None:
    assert list(summary_lines(FINISHED, path=".")) == [
        "clean: no findings",
        "3 cells: 1 covered, 2 closed, 0 untested",
        "180,000 checks in 1 min 30 s (2,000 a second)",
        "time: generation 25%, database 50%, oracle 25%",
        "seed 7; to repeat: tenantfuzz run . --seed 7",
    ]


def test_thousands_of_untested_cells_are_a_few_lines() -> None:
    cells = tuple(
        UntestedCell(f"public.t{n}", operation, kind, f"reason {n % 20}")
        for n in range(400)
        for operation in ("select", "insert", "update", "delete")
        for kind in ("member", "admin", "outsider", "former", "anonymous", "unset", "empty")
    )
    finished = replace(FINISHED, coverage=Coverage(len(cells), 0, 0, cells))
    lines = list(summary_lines(finished, path="."))
    assert len(lines) < 130
    assert "11,200 untested" in lines[1]
    assert any("… and 8 relations more" in line for line in lines)
    assert any(line.startswith("  … and 6,720 cells for other reasons") for line in lines)
    assert len(list(summary_lines(finished, path=".", verbose=True))) > 400


def test_untested_cells_are_grouped_by_reason_and_relation() -> None:
    cells = [
        UntestedCell("public.a", "select", "member", "never tried"),
        UntestedCell("public.a", "insert", "member", "never tried"),
        UntestedCell("public.a", "select", "admin", "never tried"),
        UntestedCell("public.a", "insert", "admin", "never tried"),
        UntestedCell("public.b", "select", "outsider", "never tried"),
        UntestedCell("public.c", "select", "outsider", "no rows"),
    ]
    first, second = untested_groups(cells)
    assert (first.reason, first.cells) == ("never tried", 5)
    assert first.lines == (
        "public.a: select, insert (member, admin)",
        "public.b: select (outsider)",
    )
    assert (second.reason, second.cells, second.lines) == (
        "no rows",
        1,
        ("public.c: select (outsider)",),
    )


def test_many_kinds_are_collapsed() -> None:
    cells = [UntestedCell("public.a", "select", f"kind{n}", "never") for n in range(9)]
    cells.append(UntestedCell("public.b", "select", "another", "other"))
    lines = [line for group in untested_groups(cells) for line in group.lines]
    assert "public.a: select (kind0, kind1, kind2, kind3 and 5 more kinds)" in lines
    assert untested_groups(cells[:9])[0].lines == ("public.a: select (all 9 kinds)",)


def test_what_cannot_be_replayed_is_named() -> None:
    replayed = (
        ReplayResult("TF101-a", "fixed"),
        ReplayResult("TF101-b", "cannot replay", "no table b"),
    )
    lines = list(summary_lines(replace(FINISHED, replayed=replayed), path="."))
    assert "replayed 2 counterexamples: 1 fixed, 1 cannot replay" in lines
    assert "  cannot replay TF101-b: no table b" in lines


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0.0 s"), (12.34, "12.3 s"), (60, "1 min 00 s"), (125, "2 min 05 s")]
)
def test_seconds_are_written_for_people(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("changes", "fail_on", "status"),
    [
        ({}, "medium", 0),
        ({"findings": (FINDING,), "status": "leaks"}, "medium", 1),
        ({"findings": (FINDING,), "status": "leaks"}, "high", 1),
        ({"findings": (FINDING,), "status": "leaks"}, "critical", 0),
        ({"findings": (replace(FINDING, latent=True),), "status": "leaks"}, "low", 0),
        ({"findings": (replace(FINDING, origin="server"),), "status": "leaks"}, "low", 0),
        ({"status": "inconclusive"}, "medium", 3),
        ({"interrupted": "Ctrl-C"}, "medium", 2),
        ({"checks": 0}, "medium", 3),
        (
            {"coverage": Coverage(1, 0, 0, (UntestedCell("a", "select", "member", "no"),))},
            "medium",
            3,
        ),
        (
            {
                "findings": (FINDING,),
                "status": "leaks",
                "coverage": Coverage(1, 0, 0, (UntestedCell("a", "select", "member", "no"),)),
            },
            "critical",
            3,
        ),
        ({"findings": (FINDING,), "interrupted": "Ctrl-C", "status": "leaks"}, "medium", 2),
    ],
)
def test_the_exit_status(changes: dict[str, object], fail_on: str, status: int) -> None:
    finished = replace(FINISHED, **changes)  # type: ignore[arg-type]  # a table of changes
    assert exit_status(finished, Severity(fail_on)) == status


def test_warnings_fail_only_a_run_that_asks_for_them() -> None:
    warning = replace(FINDING, code="TF803", severity=Severity.WARNING)
    assert not fails(warning, Severity.LOW)
    assert fails(warning, Severity.WARNING)


@pytest.mark.parametrize(
    ("verdicts", "status"),
    [
        ([], 0),
        (["fixed"], 0),
        (["fixed", "cannot replay"], 3),
        (["cannot replay", "still leaks"], 1),
    ],
)
def test_the_exit_status_of_a_replay(verdicts: list[str], status: int) -> None:
    assert replay_status([ReplayResult("x", v) for v in verdicts]) == status


def test_following_returns_the_last_event() -> None:
    seen: list[Event] = []
    assert follow(iter([STARTED, FINISHED]), seen.append) is FINISHED
    assert seen == [STARTED, FINISHED]


def test_a_stream_that_breaks_off_is_an_error() -> None:
    with pytest.raises(ToolError, match="ended without a result"):
        follow(iter([STARTED]), lambda event: None)


def test_ctrl_c_in_the_campaign_keeps_what_was_found() -> None:
    def events() -> Iterator[Event]:
        yield STARTED
        yield FindingFound(FINDING, 1.0)
        raise KeyboardInterrupt

    shown_events: list[Event] = []
    finished = follow(events(), shown_events.append)
    assert finished.findings == (FINDING,)
    assert (finished.status, finished.interrupted, finished.seed) == ("leaks", "by Ctrl-C", 7)
    assert shown_events[-1] is finished


def test_ctrl_c_while_an_event_is_shown_lets_the_campaign_end_in_order() -> None:
    def events() -> Iterator[Event]:
        yield STARTED
        try:
            yield FindingFound(FINDING, 1.0)
        except KeyboardInterrupt:
            yield replace(FINISHED, interrupted="in the sweep", findings=(FINDING,))

    def show(event: Event) -> None:
        if isinstance(event, FindingFound):
            raise KeyboardInterrupt

    finished = follow(events(), show)
    assert finished.interrupted == "in the sweep"
    assert finished.coverage.cells == 3


def test_a_broken_pipe_ends_the_campaign_quietly() -> None:
    closed: list[bool] = []

    def events() -> Iterator[Event]:
        try:
            yield STARTED
            yield FINISHED
        finally:
            closed.append(True)

    def show(event: Event) -> None:
        raise BrokenPipeError

    finished = follow(events(), show)
    assert closed == [True]
    assert (finished.status, finished.interrupted) == (
        "inconclusive",
        "nobody reads the output any more",
    )
