"""The console: a campaign's events as a person at a terminal, or the reader of a log, sees them."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from tenantfuzz import __version__
from tenantfuzz.counterexample import Counterexample
from tenantfuzz.errors import ToolError
from tenantfuzz.events import (
    CampaignFinished,
    CampaignStarted,
    Event,
    FindingFound,
    FindingShrunk,
    PhaseFinished,
    PhaseStarted,
    Progress,
    ReplayResult,
    SelectionMade,
    StructureRead,
    WarningRaised,
)
from tenantfuzz.findings import Finding, rank
from tenantfuzz.lines import visible
from tenantfuzz.story import story
from tenantfuzz.summary import plural, seconds_text, selection_lines, summary_lines
from tenantfuzz.terminal import STYLES, put, put_lines, story_width

_MOST_STORIES = 10
_STATUS_STYLES = {"clean": "bold green", "leaks": "bold red", "inconclusive": "bold yellow"}
_VERDICT_STYLES = {"fixed": "green", "still leaks": "bold red", "cannot replay": "yellow"}

Open = Callable[[Path], Counterexample]


def put_replay(console: Console, result: ReplayResult) -> None:
    """What became of one counterexample, on one line."""
    text = Text(result.verdict.ljust(15), style=_VERDICT_STYLES.get(result.verdict, ""))
    text.append(visible(result.id), style="default")
    if result.reason:
        text.append(": " + " ".join(visible(result.reason).split()), style="default")
    console.print(text, soft_wrap=True)


class CampaignConsole:
    """Shows events: two live lines on a terminal, plain lines elsewhere; at the end the stories
    and the summary. ``open_file`` reads a counterexample for its story."""

    def __init__(
        self,
        console: Console,
        *,
        path: str,
        open_file: Open,
        repeat: str | None = None,
        verbose: bool = False,
    ) -> None:
        self._console = console
        self._path = path
        self._open = open_file
        self._repeat = repeat
        self._verbose = verbose
        self._budget: float | None = None
        self._found = 0
        self._shrunk = 0
        self._live: Live | None = None
        if console.is_terminal and not console.is_dumb_terminal and sys.stdout.isatty():
            self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop_live()

    def show(self, event: Event) -> None:
        """Take one event."""
        match event:
            case CampaignStarted():
                self._started(event)
            case PhaseStarted():
                self._budget = event.budget
            case Progress():
                self._progress(event)
            case FindingFound():
                self._finding_found(event.finding)
            case FindingShrunk():
                self._shrunk += 1  # its story comes at the end
            case PhaseFinished():
                self._phase_finished(event)
            case ReplayResult():
                put_replay(self._console, event)
            case SelectionMade():
                lines = selection_lines(
                    event.selection, width=story_width(self._console), verbose=self._verbose
                )
                for line in lines:
                    put(self._console, line)
            case StructureRead():
                pass  # a file's business
            case WarningRaised():
                pass  # repeated in the summary, where it is not scrolled away
            case CampaignFinished():
                self._stop_live()
                self._finished(event)

    def _started(self, event: CampaignStarted) -> None:
        put(
            self._console,
            f"tenantfuzz {__version__}: {event.target} (schema {event.target_hash}) on "
            f"PostgreSQL {event.server_version}, {event.engine}",
            "bold",
        )
        self._wrapped(
            f"seed {event.seed}; {plural(event.relations, 'relation')}; "
            f"kinds: {', '.join(event.principal_kinds)}"
        )
        for note in event.notes:
            self._wrapped(f"note: {note}", "dim")

    def _progress(self, event: Progress) -> None:
        if self._live is None:
            return
        rate = f" ({event.checks / event.seconds:,.0f} a second)" if event.seconds > 0 else ""
        budget = f" of {seconds_text(self._budget)}" if self._budget is not None else ""
        text = Text(f"{event.phase}  {seconds_text(event.seconds)}{budget}", style="bold")
        text.append(f"\n{event.checks:,} checks{rate}", style="not bold")
        text.append(f", {event.cells_done:,} of {event.cells_total:,} cells, ", style="not bold")
        style = "bold red" if event.findings else "not bold"
        text.append(plural(event.findings, "finding"), style=style)
        text.no_wrap, text.overflow = True, "ellipsis"
        self._live.update(text, refresh=True)

    def _finding_found(self, finding: Finding) -> None:
        self._found += 1
        text = Text(f"{finding.code} {finding.severity.value.ljust(8)} ")
        text.stylize(STYLES[finding.severity])
        text.append(" ".join(visible(finding.title).split()), style="default")
        if self._live is not None:
            text.truncate(self._console.width, overflow="ellipsis")
        self._console.print(text, soft_wrap=True)

    def _phase_finished(self, event: PhaseFinished) -> None:
        self._budget = None
        took = seconds_text(event.seconds)
        if event.phase == "shrink":
            put(self._console, f"shrink: {plural(self._shrunk, 'finding')} in {took}")
            return
        put(
            self._console,
            f"{event.phase}: {plural(event.checks, 'check')} in {took}, "
            f"{plural(self._found, 'finding')} so far",
        )

    def _finished(self, event: CampaignFinished) -> None:
        ordered = sorted(event.findings, key=rank)
        told = ordered if self._verbose else ordered[:_MOST_STORIES]
        for finding in told:
            self._console.print()
            self._tell(finding)
        if len(ordered) > len(told):
            self._console.print()
            put(self._console, f"{plural(len(ordered) - len(told), 'finding')} more:")
            for finding in ordered[len(told) :]:
                put(self._console, f"  {finding.id}", STYLES[finding.severity])
        self._console.print()
        width = story_width(self._console)
        lines = summary_lines(
            event, path=self._path, repeat=self._repeat, width=width, verbose=self._verbose
        )
        for number, line in enumerate(lines):
            put(self._console, line, _STATUS_STYLES.get(event.status, "") if number == 0 else "")

    def _tell(self, finding: Finding) -> None:
        counterexample = None
        if finding.corpus_file is not None:
            try:
                counterexample = self._open(Path(finding.corpus_file))
            except ToolError:
                counterexample = None  # the finding itself has all that matters
        lines = story(finding, counterexample, width=story_width(self._console), path=self._path)
        put_lines(self._console, lines, finding.severity)

    def _wrapped(self, text: str, style: str = "") -> None:
        self._console.print(Text(" ".join(visible(text).split()), style=style))

    def _stop_live(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
