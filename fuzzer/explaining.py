"""From a violation to a finding that its reader can act on at once."""

from collections.abc import Sequence

from tenantfuzz.codes import severity, title
from tenantfuzz.counterexample import Step
from tenantfuzz.culprits import find_culprits
from tenantfuzz.findings import Finding, PrincipalSummary
from tenantfuzz.identity import readable_identity
from tenantfuzz.oracles.violation import Violation
from tenantfuzz.policies.predictions import RowFacts, owners_of
from tenantfuzz.policies.principals import Principal
from tenantfuzz.stage import Stage


def explain(
    stage: Stage,
    principal: Principal,
    violation: Violation,
    steps: Sequence[Step],
) -> Finding:
    """The finding for a violation, with culprits. The state must be the one it left behind."""
    relation = stage.catalog.relations[violation.relation]
    culprits = find_culprits(stage, principal, relation, violation)
    if violation.culprits and not violation.side_effect:
        names = violation.culprits if violation.code.startswith("TF30") else culprits.names
    else:
        names = culprits.names
    statements = (*readable_identity(principal), *(s.sql.rstrip(";") + ";" for s in steps))
    return Finding(
        code=violation.code,
        severity=severity(violation.code),
        title=title(violation.code, relation=str(violation.relation), kind=principal.kind),
        relation=str(violation.relation),
        operation=violation.operation,
        principal=summary(principal),
        owner_tenants=owners_of(violation.rows),
        explanation=_explanation(principal, violation, culprits.sentences),
        culprits=tuple(dict.fromkeys(names)),
        statements=statements,
        expected=violation.expected,
        observed=violation.observed + _shown(violation),
        mend=culprits.mend,
    )


def summary(principal: Principal) -> PrincipalSummary:
    """Who acted, as reports name it."""
    return PrincipalSummary(
        kind=principal.kind,
        role=principal.acting_role or "",
        tenant=principal.tenant,
        user=principal.user,
    )


def _explanation(principal: Principal, violation: Violation, sentences: Sequence[str]) -> str:
    who = _who(principal)
    owners = owners_of(violation.rows)
    whose = f"tenant {', '.join(owners)}" if owners else "nobody"
    if violation.rows:
        count = len(violation.rows)
        first = f"{who} reached {count} row(s) of {violation.relation} that belong to {whose}."
    else:
        first = f"{who}: {violation.observed}."
    parts = [first, f"{violation.note[0].upper()}{violation.note[1:]}." if violation.note else ""]
    return " ".join(p for p in (*parts, *sentences) if p)


def _who(principal: Principal) -> str:
    name = f"A principal of kind {principal.kind}"
    if principal.user is not None:
        name += f" (user {principal.user})"
    if principal.memberships:
        tenants = ", ".join(sorted(principal.tenants))
        name += f" of tenant {tenants}"
    if principal.note:
        name += f", {principal.note},"
    return name


def _shown(violation: Violation) -> str:
    lines = [f"\n  {_short(row)}" for row in violation.rows[:3]]
    more = len(violation.rows) - 3
    return "".join(lines) + (f"\n  and {more} more" if more > 0 else "")


def _short(row: RowFacts) -> str:
    return row.text if len(row.text) <= 160 else row.text[:157] + "..."
