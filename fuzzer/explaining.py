"""From a violation to a finding that its reader can act on at once."""

import re
from collections.abc import Sequence

from tenantfuzz.callees import callees_to_blame
from tenantfuzz.codes import named_kind, severity, title
from tenantfuzz.counterexample import Step
from tenantfuzz.culprits import find_culprits
from tenantfuzz.findings import Finding, PrincipalSummary
from tenantfuzz.identity import readable_identity
from tenantfuzz.oracles.violation import Violation
from tenantfuzz.policies.predictions import owners_of
from tenantfuzz.policies.principals import Principal
from tenantfuzz.row_text import readable_row
from tenantfuzz.stage import Stage

_ANOTHERS = re.compile(r"rows (?:of|for) another tenant")


def explain(
    stage: Stage,
    principal: Principal,
    violation: Violation,
    steps: Sequence[Step],
) -> Finding:
    """The finding for a violation, with culprits. The state must be the one it left behind."""
    relation = stage.catalog.relations[violation.relation]
    culprits = find_culprits(stage, principal, relation, violation)
    if not culprits.certain and steps:
        culprits = callees_to_blame(stage, steps[-1].sql) or culprits
    if violation.culprits and not violation.side_effect:
        names = violation.culprits if violation.code.startswith("TF30") else culprits.names
    else:
        names = culprits.names
    statements = (*readable_identity(principal), *(s.sql.rstrip(";") + ";" for s in steps))
    return Finding(
        code=violation.code,
        severity=severity(violation.code),
        title=_title(principal, violation),
        relation=str(violation.relation),
        operation=violation.operation,
        principal=summary(principal),
        owner_tenants=owners_of(violation.rows),
        explanation=_explanation(principal, violation, culprits.sentences),
        culprits=tuple(dict.fromkeys(names)),
        statements=statements,
        expected=violation.expected,
        observed=violation.observed + _shown(violation, [c.name for c in relation.columns]),
        mend=culprits.mend,
    )


def _title(principal: Principal, violation: Violation) -> str:
    text = title(violation.code, relation=str(violation.relation), kind=principal.kind)
    rows = violation.rows
    if not rows or any(r.tenants for r in rows):
        return text
    if all(r.shared for r in rows):
        return _ANOTHERS.sub("shared rows", text)
    return _ANOTHERS.sub("rows of no tenant", text)


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
    if violation.rows:
        first = f"{who} reached {_reached(violation)}."
    else:
        first = f"{who}: {violation.observed}."
    parts = [first, f"{violation.note[0].upper()}{violation.note[1:]}." if violation.note else ""]
    return " ".join(p for p in (*parts, *sentences) if p)


def _who(principal: Principal) -> str:
    name = named_kind(principal.kind)
    tenants = sorted(principal.tenants)
    if len(tenants) == 1:
        name += f" of tenant {tenants[0]}"
    more = [f"user {principal.user}"] if principal.user is not None else []
    if len(tenants) > 1 and not principal.note:
        more.append(f"of tenants {', '.join(tenants)}")
    if principal.note:
        more.append(principal.note)
    if more:
        name += f" ({'; '.join(more)})"
    return name[0].upper() + name[1:]


def _reached(violation: Violation) -> str:
    """How many rows there were, and whose; the state says so of each."""
    count = len(violation.rows)
    text = f"{count} row{'' if count == 1 else 's'} of {violation.relation} that "
    owned = [r for r in violation.rows if r.tenants]
    owners = owners_of(owned)
    tenants = f"tenant{'' if len(owners) == 1 else 's'} {', '.join(owners)}"
    verb = "belongs to" if count == 1 else "belong to"
    if len(owned) == count:
        return f"{text}{verb} {tenants}"
    if not owned:
        return f"{text}{verb} no tenant"
    return f"{text}{verb} {tenants} ({len(owned)}) or to no tenant ({count - len(owned)})"


def _shown(violation: Violation, columns: Sequence[str]) -> str:
    lines = [f"\n  {readable_row(row.text, columns)}" for row in violation.rows[:3]]
    more = len(violation.rows) - 3
    return "".join(lines) + (f"\n  and {more} more" if more > 0 else "")
