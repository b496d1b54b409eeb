"""The one stream of events that a campaign yields; console, JSON and reports consume it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tenantfuzz.findings import Finding
from tenantfuzz.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class UntestedCell:
    """A cell that nobody could vouch for, and why. ``accepted`` holds the reason of an accept."""

    relation: str
    operation: str
    kind: str
    reason: str
    accepted: str | None = None


@dataclass(frozen=True, slots=True)
class Coverage:
    """Counts of cells, and the untested ones. ``cells`` counts covered, closed and untested."""

    cells: int = 0
    covered: int = 0
    closed: int = 0
    untested: tuple[UntestedCell, ...] = ()
    accepted: tuple[UntestedCell, ...] = ()
    closed_cells: tuple[tuple[str, str, str], ...] = ()  # relation, operation, kind
    covered_cells: tuple[tuple[str, str, str], ...] = ()
    unchanged: int = 0  # cells of relations that are as they were: not tested, not counted above


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds spent generating, waiting for the database, and judging."""

    generation: float = 0.0
    database: float = 0.0
    oracle: float = 0.0


@dataclass(frozen=True, slots=True)
class Warning:  # noqa: A001 - the word of the result format
    """Something to know that is no finding. ``code`` is TF8xx, TF9xx or ""."""

    code: str
    message: str
    relation: str | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """What a run tests of a target that has changed since a snapshot, the file ``since``.

    ``everything`` says why all is tested, None where only a part is. ``tested`` are relations with
    the reason; ``unchanged`` those of which this run says nothing new. Where nothing changed that
    anybody reaches, ``sample`` is a relation that is tested all the same. ``compared`` are those
    of the unchanged ones where an earlier run compared anything; ``changed`` says whether anything
    is not as it was, functions included.
    """

    since: str
    everything: str | None
    tested: tuple[tuple[str, str], ...]
    unchanged: tuple[str, ...]
    sample: str | None = None
    compared: tuple[str, ...] = ()
    changed: bool = True


@dataclass(frozen=True, slots=True)
class CampaignStarted:
    """The target is loaded and the first phase is about to begin."""

    target: str
    target_hash: str
    server_version: str
    seed: int
    engine: str
    relations: int
    principal_kinds: tuple[str, ...]
    notes: tuple[str, ...] = ()  # what was assumed, what is decoration


@dataclass(frozen=True, slots=True)
class PhaseStarted:
    """``phase`` is replay, sweep, fuzz or shrink; ``budget`` its seconds, or None."""

    phase: str
    budget: float | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the campaign stands; sent several times a second at most."""

    phase: str
    seconds: float
    checks: int
    cells_done: int
    cells_total: int
    findings: int
    examples: int = 0


@dataclass(frozen=True, slots=True)
class FindingFound:
    """A new finding, not yet shrunk."""

    finding: Finding
    seconds: float  # since the campaign started


@dataclass(frozen=True, slots=True)
class FindingShrunk:
    """The same finding (same fingerprint), minimal, explained, saved."""

    finding: Finding
    seconds: float


@dataclass(frozen=True, slots=True)
class PhaseFinished:
    """A phase came to its end: by itself, or because its budget did."""

    phase: str
    seconds: float
    checks: int


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What became of one saved counterexample: "still leaks", "fixed", "cannot replay"."""

    id: str
    verdict: str
    reason: str = ""
    file: str = ""


@dataclass(frozen=True, slots=True)
class WarningRaised:
    """A warning, the moment it is known."""

    warning: Warning


@dataclass(frozen=True, slots=True)
class StructureRead:
    """The structure of the target, for the snapshot that was asked for."""

    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class SelectionMade:
    """What is tested of a target that has changed since a snapshot."""

    selection: Selection


@dataclass(frozen=True, slots=True)
class CampaignFinished:
    """The end: everything that the result document needs.

    ``status`` is clean, leaks or inconclusive. ``findings`` are final, accepted ones left out
    (they stand in ``accepted_findings`` with the reason). ``interrupted`` after Ctrl-C or when
    the server was lost.
    """

    status: str
    target: str
    target_hash: str
    server_version: str
    seed: int
    seconds: float
    checks: int
    timings: Timings
    coverage: Coverage
    findings: tuple[Finding, ...]
    warnings: tuple[Warning, ...] = ()
    accepted_findings: tuple[tuple[Finding, str], ...] = ()
    replayed: tuple[ReplayResult, ...] = ()
    interrupted: str | None = None
    examples: int = 0
    counters: Mapping[str, int] = field(default_factory=dict)  # reads, writes, worlds, …
    selection: Selection | None = None


Event = (
    CampaignStarted
    | PhaseStarted
    | Progress
    | FindingFound
    | FindingShrunk
    | PhaseFinished
    | ReplayResult
    | WarningRaised
    | StructureRead
    | SelectionMade
    | CampaignFinished
)
