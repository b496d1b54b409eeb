"""The registry: one hole, one finding, with its smallest witness."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from tenantfuzz.counterexample import Witness
from tenantfuzz.coverage import matches
from tenantfuzz.findings import Finding, rank
from tenantfuzz.policies.configuration import Acceptance

_READS = frozenset({"TF101", "TF104", "TF107", "TF108", "TF109", "TF401"})
_SHADOWED = {
    "TF108": frozenset({"TF101", "TF104"}),
    "TF109": frozenset({"TF101", "TF104"}),
    "TF107": frozenset({"TF101", "TF401"}),
    "TF104": frozenset({"TF101"}),
    "TF207": frozenset({"TF202", "TF203", "TF204"}),
    "TF106": _READS,
    "TF307": _READS,
    "TF301": _READS,
    "TF302": _READS,
    "TF303": _READS,
}
"""Codes that say nothing more once an ordinary member, statement or read gets the same."""
_GAINED = "TF209"
_ANY_CULPRIT = frozenset({"TF106", "TF307", "TF301", "TF302", "TF303"})


@dataclass(slots=True)
class Registry:
    """All findings of a campaign by fingerprint."""

    accepted: Sequence[Acceptance] = ()
    findings: dict[str, Finding] = field(default_factory=dict)
    witnesses: dict[str, Witness] = field(default_factory=dict)
    accepted_findings: dict[str, tuple[Finding, str]] = field(default_factory=dict)
    _gains: set[str] = field(default_factory=set)  # statements that gained a membership or a role

    def add(self, finding: Finding, witness: Witness) -> bool:
        """Takes in a finding; True if it is a new one that counts as found."""
        fingerprint = finding.fingerprint
        if fingerprint in self.accepted_findings:
            return False
        gains = finding.code == _GAINED and not finding.latent and witness.steps
        if gains and self._accepted(finding) is None:
            self._gained(witness.steps[-1].sql)
        if fingerprint in self.findings or self._follows(witness):
            return False
        reason = self._accepted(finding)
        if reason is not None:
            self.accepted_findings[fingerprint] = (finding, reason)
            return False
        if self._is_shadowed(finding):
            return False
        for other in [f for f in self.findings.values() if _shadows(finding, f)]:
            del self.findings[other.fingerprint]
        self.findings[fingerprint] = finding
        self.witnesses[fingerprint] = witness
        return True

    def _gained(self, sql: str) -> None:
        """What a new member of a tenant sees of it is no hole of its own."""
        self._gains.add(sql)
        for name in [n for n in self.findings if self._follows(self.witnesses[n])]:
            del self.findings[name]

    def _follows(self, witness: Witness) -> bool:
        """Whether it takes a membership, or a role, that somebody gave itself before."""
        return any(step.sql in self._gains for step in witness.steps[:-1])

    def improve(self, finding: Finding, witness: Witness) -> None:
        """A smaller witness for a known finding."""
        self.findings[finding.fingerprint] = finding
        self.witnesses[finding.fingerprint] = witness

    def leaking(self) -> frozenset[str]:
        """The relations that something was read from, accepted findings included."""
        accepted = (finding for finding, _ in self.accepted_findings.values())
        found = (*self.findings.values(), *accepted)
        return frozenset(f.relation for f in found if f.operation == "select")

    def knows(self, finding: Finding) -> bool:
        """Whether it would be no news."""
        return (
            finding.fingerprint in self.findings
            or finding.fingerprint in self.accepted_findings
            or self._is_shadowed(finding)
        )

    def _accepted(self, finding: Finding) -> str | None:
        for accept in self.accepted:
            if accept.code is None and accept.fingerprint is None and accept.id is None:
                continue
            named = (
                (accept.code, finding.code),
                (accept.fingerprint, finding.fingerprint),
                (accept.id, finding.id),
            )
            if any(glob is not None and not fnmatchcase(text, glob) for glob, text in named):
                continue
            if matches(accept, finding.relation, finding.operation, finding.principal.kind):
                return accept.reason
        return None

    def _is_shadowed(self, finding: Finding) -> bool:
        accepted = (f for f, _ in self.accepted_findings.values())
        return any(_shadows(f, finding) for f in (*self.findings.values(), *accepted))

    def ordered(self) -> tuple[Finding, ...]:
        """Findings, worst first, causes before what rests on them, then by name."""
        return tuple(sorted(self.findings.values(), key=rank))


def _shadows(plain: Finding, special: Finding) -> bool:
    if plain.code == special.code == _GAINED:
        # Once it is in, policies that ask whether it is are true as well.
        door = (plain.relation, plain.operation)
        inside = set(plain.culprits) < set(special.culprits)
        return inside and door == (special.relation, special.operation)
    if plain.relation != special.relation or plain.code not in _SHADOWED.get(special.code, ()):
        return False
    return special.code in _ANY_CULPRIT or set(special.culprits) <= set(plain.culprits)
