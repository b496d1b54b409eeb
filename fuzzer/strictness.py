"""Strictness: relations of which nobody ever saw a row, though they may be read."""

from collections.abc import Collection, Iterator

from tenantfuzz.codes import title
from tenantfuzz.coverage import Ledger
from tenantfuzz.findings import Finding, PrincipalSummary, Severity
from tenantfuzz.policies.structure import Operation, RelationName

UNSEEN = "no principal ever saw a row of it, not even one of its own tenant"


def unseen(ledger: Ledger, leaking: Collection[str]) -> Iterator[RelationName]:
    """The relations with row security that were read in vain. Of those that are ``leaking``
    somebody saw a row."""
    for name, relation in ledger.catalog.relations.items():
        read = any(c[0] == name and c[1] is Operation.SELECT for c in ledger.tried)
        shown = (name, Operation.SELECT) in ledger.let_through or str(name) in leaking
        if relation.row_security and read and not shown and ledger.is_open(name):
            yield name


def too_strict(ledger: Ledger, name: RelationName) -> Finding:
    """The finding TF803 for an unseen relation."""
    return Finding(
        code="TF803",
        severity=Severity.MEDIUM,
        title=title("TF803", relation=str(name), kind="member"),
        relation=str(name),
        operation="select",
        principal=PrincipalSummary("member", "", None),
        owner_tenants=(),
        explanation=f"{name}: {UNSEEN}.",
        culprits=tuple(p.name for p in ledger.catalog.relations[name].policies),
        statements=(),
        expected="members see rows of their own tenant",
        observed=UNSEEN,
    )
