"""Findings: what an oracle says when something crossed the line."""

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is, mildest first."""

    WARNING = "warning"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for a warning up to 4 for critical."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class PrincipalSummary:
    """Who did it, as a report names it: kind, database role, tenant (None where it has none)."""

    kind: str
    role: str
    tenant: str | None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One leak, with its evidence.

    ``relation`` is the door that the statement names, schema-qualified. ``operation`` is select,
    insert, update, delete, call, query or session. ``culprits`` are policy, view, function or
    query names that let it through, or words such as ``row security is off``. ``statements`` is
    SQL that shows it, identity included. ``explanation`` is prose for the reader who will fix it.
    """

    code: str
    severity: Severity
    title: str
    relation: str
    operation: str
    principal: PrincipalSummary
    owner_tenants: tuple[str, ...]
    explanation: str
    culprits: tuple[str, ...]
    statements: tuple[str, ...]
    expected: str
    observed: str
    minimal: bool = False
    latent: bool = False
    origin: str = "target"
    corpus_file: str | None = None
    mend: str = ""  # a concrete hint at what to change
    rests_on: str = ""  # code and relation of a finding before it, without which it may not be
    world_rows: tuple[str, ...] = field(default=())  # the rows that matter, as INSERT statements

    @property
    def fingerprint(self) -> str:
        """Eight hex digits over code, relation, operation and culprits: one hole, one value."""
        key = "\0".join((self.code, self.relation, self.operation, *sorted(self.culprits)))
        return hashlib.sha256(key.encode()).hexdigest()[:8]

    @property
    def id(self) -> str:
        """``TF101-issues-select-1a2b3c4d``: readable, unique, stable."""
        short = "_".join(self.relation.rpartition(".")[2].split())
        return f"{self.code}-{short}-{self.operation}-{self.fingerprint}"

    @property
    def counts(self) -> bool:
        """Whether it may fail a run: latent and server findings stand apart."""
        return not self.latent and self.origin == "target" and self.severity is not Severity.WARNING


def rank(finding: Finding) -> tuple[int, bool, str, str]:
    """What findings are sorted by: the worst first, causes before what rests on them."""
    return -finding.severity.rank, bool(finding.rests_on), finding.code, finding.id
