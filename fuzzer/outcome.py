"""What becomes of a campaign: its end, however it came, and the exit status that says it."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace

from tenantfuzz.errors import ToolError
from tenantfuzz.events import (
    CampaignFinished,
    CampaignStarted,
    Coverage,
    Event,
    FindingFound,
    FindingShrunk,
    Progress,
    ReplayResult,
    Timings,
    Warning,
    WarningRaised,
)
from tenantfuzz.exit_status import ExitStatus
from tenantfuzz.findings import Finding, Severity


def fails(finding: Finding, fail_on: Severity) -> bool:
    """Whether ``finding`` makes a run fail: latent and server findings never do."""
    stands = not finding.latent and finding.origin == "target"
    return stands and finding.severity.rank >= fail_on.rank


def exit_status(finished: CampaignFinished, fail_on: Severity) -> ExitStatus:
    """The exit status of ``run``.

    A run that was cut short (Ctrl-C, a lost server) is an error whatever it had found by then: it
    is no verdict on the target. One that compared nothing is never 0.
    """
    if finished.interrupted is not None:
        return ExitStatus.ERROR
    if any(fails(f, fail_on) for f in finished.findings):
        return ExitStatus.FINDINGS
    if finished.status == "inconclusive" or finished.coverage.untested or finished.checks == 0:
        return ExitStatus.UNTESTED
    return ExitStatus.CLEAN


def replay_status(results: Sequence[ReplayResult]) -> ExitStatus:
    """The exit status of ``replay``: the worst of what became of the counterexamples."""
    verdicts = {r.verdict for r in results}
    if "still leaks" in verdicts:
        return ExitStatus.FINDINGS
    return ExitStatus.UNTESTED if verdicts - {"fixed"} else ExitStatus.CLEAN


def follow(events: Iterator[Event], show: Callable[[Event], None]) -> CampaignFinished:
    """Hand each event to ``show``, the last one included, and return the last.

    On Ctrl-C (KeyboardInterrupt) and where nobody reads the output any more (BrokenPipeError)
    the campaign is asked to end, and what it has found so far is the outcome: also where it
    cannot give an account of itself any more. Raises ToolError where the stream breaks off, and
    KeyboardInterrupt where nothing had begun.
    """
    seen = Seen()
    try:
        for event in events:
            seen.take(event)
            if isinstance(event, CampaignFinished):
                finished = _tidied(events, event, show)
                show(finished)
                return finished
            show(event)
    except KeyboardInterrupt as stop:
        if seen.started is None:
            raise  # there is nothing to tell yet
        return _ended(events, seen, show, str(stop) or "by Ctrl-C")
    except BrokenPipeError:
        return _ended(events, seen, _show_nothing, "nobody reads the output any more")
    raise ToolError(
        "the campaign ended without a result", hint="run it again with TENANTFUZZ_DEBUG=1"
    )


def _show_nothing(event: Event) -> None:
    del event


def _ended(
    events: Iterator[Event], seen: "Seen", show: Callable[[Event], None], reason: str
) -> CampaignFinished:
    if seen.finished is not None:
        return seen.finished
    if isinstance(events, Generator):
        # It is suspended where it yielded, and may end in good order.
        try:
            event = events.throw(KeyboardInterrupt(reason))
            seen.take(event)
            for following in events:
                seen.take(following)
        except (KeyboardInterrupt, StopIteration):
            pass
    finished = _tidied(events, seen.finished or seen.account(reason), show)
    show(finished)
    return finished


def _tidied(
    events: Iterator[Event], finished: CampaignFinished, show: Callable[[Event], None]
) -> CampaignFinished:
    """``finished`` when the campaign has given everything back; what it could not is a warning,
    for the verdict stands."""
    if not isinstance(events, Generator):
        return finished
    try:
        events.close()
    except ToolError as error:
        warning = Warning("", f"not all was tidied up: {error}; the next run does")
        show(WarningRaised(warning))
        return replace(finished, warnings=(*finished.warnings, warning))
    return finished


class Seen:
    """What the stream has said so far."""

    def __init__(self) -> None:
        self.started: CampaignStarted | None = None
        self.progress: Progress | None = None
        self.findings: dict[str, Finding] = {}
        self.replayed: list[ReplayResult] = []
        self.warnings: list[WarningRaised] = []
        self.finished: CampaignFinished | None = None

    def take(self, event: Event) -> None:
        """Takes in one event."""
        match event:
            case CampaignStarted():
                self.started = event
            case Progress():
                self.progress = event
            case FindingFound(finding=finding) | FindingShrunk(finding=finding):
                self.findings[finding.fingerprint] = finding
            case ReplayResult():
                self.replayed.append(event)
            case WarningRaised():
                self.warnings.append(event)
            case CampaignFinished():
                self.finished = event
            case _:
                pass

    def account(self, reason: str) -> CampaignFinished:
        """The result as far as it is known from outside; of coverage nothing is claimed."""
        started, progress = self.started, self.progress
        return CampaignFinished(
            status="leaks" if self.findings else "inconclusive",
            target=started.target if started else "",
            target_hash=started.target_hash if started else "",
            server_version=started.server_version if started else "",
            seed=started.seed if started else 0,
            seconds=progress.seconds if progress else 0.0,
            checks=progress.checks if progress else 0,
            timings=Timings(),
            coverage=Coverage(),
            findings=tuple(self.findings.values()),
            warnings=tuple(w.warning for w in self.warnings),
            replayed=tuple(self.replayed),
            interrupted=reason,
            examples=progress.examples if progress else 0,
        )
