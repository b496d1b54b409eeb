"""The account of a run: what every report is made of, once the run is over."""

from collections.abc import Sequence
from dataclasses import dataclass

from tenantfuzz.events import CampaignFinished, CampaignStarted, PhaseFinished
from tenantfuzz.exit_status import ExitStatus
from tenantfuzz.findings import Finding, Severity
from tenantfuzz.outcome import exit_status, fails
from tenantfuzz.summary import plural


@dataclass(frozen=True, slots=True)
class Place:
    """A line (from 1; None: the whole) of a file, whose path is relative to the repository."""

    file: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """A finding as it is told: its story (with the commands that replay and show it) and the place
    in the sources that made the hole. ``accepted`` is the reason of an accept, else None."""

    finding: Finding
    story: str
    place: Place
    accepted: str | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """A run that is over. ``findings`` are worst first and hold the accepted ones too; ``repeat``
    is the command of the run with its seed, ``configuration`` the file that says what is tested.
    """

    finished: CampaignFinished
    findings: tuple[Told, ...]
    fail_on: Severity
    repeat: str
    configuration: Place
    started: CampaignStarted | None = None
    phases: tuple[PhaseFinished, ...] = ()

    @property
    def exit_status(self) -> ExitStatus:
        """The exit status of the run."""
        return exit_status(self.finished, self.fail_on)

    @property
    def standing(self) -> tuple[Told, ...]:
        """The findings that were not accepted."""
        return tuple(t for t in self.findings if t.accepted is None)

    def fails(self, told: Told) -> bool:
        """Whether this finding makes the run fail."""
        return told.accepted is None and fails(told.finding, self.fail_on)


def why_not_clean(account: Account) -> str | None:
    """Why the run says nothing good although no finding fails it; None where it does, or where
    findings fail it."""
    finished = account.finished
    if finished.interrupted is not None:
        return f"the run was cut short: {finished.interrupted}"
    if account.exit_status is not ExitStatus.UNTESTED:
        return None
    if finished.coverage.untested:
        return f"{plural(len(finished.coverage.untested), 'cell')} untested"
    if finished.checks == 0:
        return "nothing was compared"
    return "only a part of the target was tested (--only)"


def in_order(findings: Sequence[Told]) -> tuple[Told, ...]:
    """Worst first, accepted ones last."""
    return tuple(
        sorted(
            findings,
            key=lambda t: (
                t.accepted is not None,
                -t.finding.severity.rank,
                t.finding.code,
                t.finding.id,
            ),
        )
    )
