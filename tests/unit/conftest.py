"""What the tests of reports share: an account of a run that has something of everything."""

from dataclasses import replace

import pytest

from tenantfuzz.events import (
    CampaignFinished,
    CampaignStarted,
    Coverage,
    PhaseFinished,
    ReplayResult,
    Selection,
    Timings,
    UntestedCell,
    Warning,
)
from tenantfuzz.findings import Finding, PrincipalSummary, Severity
from tenantfuzz.reports.account import Account, Place, Told, in_order

# What a database may hold, and what must not get through: markup, mentions, control characters,
# what XML cannot hold, passwords.
NASTY = (
    "]]><script>alert(1)</script> | `` @octocat \x1b[2J\x00\ufffe\u202e postgresql://u:hunter2@h"
)

LEAK = Finding(
    code="TF101",
    severity=Severity.CRITICAL,
    title="A member reads rows of another tenant in public.issues",
    relation="public.issues",
    operation="select",
    principal=PrincipalSummary("member", "app", "t1", "u1"),
    owner_tenants=("t2",),
    explanation=f"The policy lets every row through: {NASTY}",
    culprits=("issues_support",),
    statements=("SELECT id FROM public.issues;",),
    expected="no row of tenant t2",
    observed=f"1 row: {NASTY}",
    minimal=True,
    mend="Drop the policy issues_support.",
)
SECOND = replace(
    LEAK,
    code="TF107",
    severity=Severity.HIGH,
    title="A member reads by RETURNING",
    culprits=("row security is off",),
)
LOW = replace(
    LEAK,
    code="TF301",
    severity=Severity.LOW,
    title="A unique key tells",
    relation="public.users",
    operation="insert",
)
LATENT = replace(
    LEAK,
    code="TF205",
    severity=Severity.MEDIUM,
    title="A reference crosses tenants",
    relation="public.notes",
    operation="update",
    latent=True,
)
KNOWN = replace(
    LEAK,
    code="TF202",
    title="An admin updates rows of another tenant",
    relation="public.notes",
    operation="delete",
)
STARTED = CampaignStarted("demo", "00ff", "18.6", 7, "embedded", 3, ("member", "outsider"))
COVERAGE = Coverage(
    cells=10,
    covered=5,
    closed=2,
    untested=(
        UntestedCell("public.ledger", "select", "member", "unclassified: nobody says"),
        UntestedCell("public.ledger", "select", "outsider", "unclassified: nobody says"),
    ),
    accepted=(UntestedCell("public.audit", "insert", "member", "not tried", "the log is ours"),),
    closed_cells=(("public.users", "delete", "member"), ("public.users", "delete", "outsider")),
    covered_cells=(
        ("public.issues", "select", "member"),
        ("public.issues", "select", "outsider"),
        ("public.issues", "insert", "member"),
        ("public.users", "insert", "member"),
        ("public.notes", "update", "member"),
    ),
)
FINISHED = CampaignFinished(
    status="leaks",
    target="demo",
    target_hash="00ff",
    server_version="18.6",
    seed=7,
    seconds=12.5,
    checks=2500,
    timings=Timings(1.0, 3.0, 1.0),
    coverage=COVERAGE,
    findings=(LEAK, SECOND, LOW, LATENT),
    warnings=(Warning("TF803", f"nobody saw a row {NASTY}", "public.notes"),),
    accepted_findings=((KNOWN, "support may do that"),),
    replayed=(
        ReplayResult(LEAK.id, "still leaks"),
        ReplayResult("TF101-old-select-00000000", "fixed"),
        ReplayResult("TF101-gone-select-11111111", "cannot replay", "no table gone"),
    ),
)


def told(finding: Finding, place: Place, accepted: str | None = None) -> Told:
    return Told(
        finding=finding,
        story=f"{finding.code} {finding.title}\nobserved {finding.observed}\n"
        f"again tenantfuzz replay . {finding.id}",
        place=place,
        accepted=accepted,
    )


@pytest.fixture
def account() -> Account:
    """Two findings at one door that fail the run, a low one, a latent one, an accepted one."""
    schema = Place("db/schema file.sql", 12)
    return Account(
        finished=FINISHED,
        findings=in_order(
            [
                told(KNOWN, schema, "support may do that"),
                told(LOW, Place("tenantfuzz.toml")),
                told(LATENT, schema),
                told(SECOND, schema),
                told(LEAK, schema),
            ]
        ),
        fail_on=Severity.MEDIUM,
        repeat="tenantfuzz run . --seed 7",
        configuration=Place("tenantfuzz.toml"),
        started=STARTED,
        phases=(PhaseFinished("sweep", 2.5, 2000), PhaseFinished("fuzz", 10.0, 500)),
    )


@pytest.fixture
def clean(account: Account) -> Account:
    """Nothing found, nothing untested."""
    finished = replace(
        FINISHED,
        status="clean",
        findings=(),
        accepted_findings=(),
        replayed=(),
        warnings=(),
        coverage=replace(COVERAGE, untested=(), accepted=()),
    )
    return replace(account, finished=finished, findings=())


@pytest.fixture
def partly(clean: Account) -> Account:
    """Clean in what changed."""
    selection = Selection(
        "main.json", None, (("public.issues", "policy p changed"),), ("public.logs",)
    )
    finished = replace(
        clean.finished, selection=selection, coverage=replace(clean.finished.coverage, unchanged=8)
    )
    return replace(clean, finished=finished)
