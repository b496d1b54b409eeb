"""The command line with a campaign that yields events written by hand, run as a program.

SCENARIO in the environment says which: leaks, clean, untested, low, part, interrupted, sleeps,
deaf, breaks, bug.
"""

import os
import sys
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tenantfuzz import corpus
from tenantfuzz.cli import main
from tenantfuzz.counterexample import Counterexample, Step, Witness
from tenantfuzz.errors import ToolError
from tenantfuzz.events import (
    CampaignFinished,
    CampaignStarted,
    Coverage,
    Event,
    FindingFound,
    FindingShrunk,
    PhaseFinished,
    PhaseStarted,
    Progress,
    ReplayResult,
    Selection,
    SelectionMade,
    StructureRead,
    Timings,
    UntestedCell,
    Warning,
)
from tenantfuzz.findings import Finding, PrincipalSummary, Severity
from tenantfuzz.policies.principals import Membership, Principal
from tenantfuzz.policies.structure import RelationName
from tenantfuzz.policies.world import Row, World
from tenantfuzz.snapshot import Snapshot
from tenantfuzz.target import Target

FINDING = Finding(
    code="TF101",
    severity=Severity.CRITICAL,
    title="A member reads rows of another tenant in public.issues",
    relation="public.issues",
    operation="select",
    principal=PrincipalSummary("member", "app", "t1", "u1"),
    owner_tenants=("t2",),
    explanation="The policy issues_support lets every row through, for every role.",
    culprits=("policy issues_support: USING (true)",),
    statements=("SET LOCAL ROLE app;", "SELECT id FROM public.issues;"),
    expected="no row of tenant t2",
    observed="1 row of tenant t2: id = i2",
    minimal=True,
    mend="Drop the policy issues_support, or give it TO support.",
)
LOW = replace(
    FINDING, code="TF301", severity=Severity.LOW, title="A unique key tells", operation="insert"
)
COUNTEREXAMPLE = Counterexample(
    finding=FINDING,
    witness=Witness(
        World(
            rows=(
                Row(RelationName("public", "organizations"), {"id": "t1", "name": "One"}, "t1"),
                Row(RelationName("public", "organizations"), {"id": "t2", "name": "Two"}, "t2"),
                Row(
                    RelationName("public", "issues"),
                    {"id": "i2", "organization_id": "t2", "title": "canary-7"},
                    "t2",
                    "canary-7",
                ),
            ),
            tenants=("t1", "t2"),
            users=("u1",),
        ),
        Principal(
            "member",
            user="u1",
            tenant="t1",
            memberships=(Membership("t1"),),
            role="app",
            settings=(("app.org", "t1"),),
        ),
        (Step(RelationName("public", "issues"), "select", "SELECT id FROM public.issues", "scan"),),
    ),
    target="demo",
    target_hash="0123456789abcdef",
    server_version="18.6",
)
UNTESTED = tuple(
    UntestedCell("public.ledger", operation, kind, "unclassified: no owner is declared")
    for operation in ("select", "insert", "update", "delete")
    for kind in ("member", "outsider")
)

SELECTION = Selection(
    "main.json", None, (("public.issues", "policy own changed"),), ("public.logs", "public.plans")
)
STRUCTURE = Snapshot(
    "demo",
    {},
    {},
    {f"public.{name}": frozenset() for name in ("issues", "ledger", "plans")},
    {},
)


@dataclass(frozen=True)
class Options:
    seconds: float | None
    max_examples: int | None
    seed: int | None
    phases: tuple[str, ...]
    only: str | None
    shrink: bool
    corpus: Path | None
    fail_on: Severity
    strict: bool
    engine: str | None
    server_dsn: str | None
    postgres: str | None = None
    save: bool = True
    changed_since: Path | None = None
    structure: bool = False


def run_campaign(target: Target, options: Options) -> Iterator[Event]:
    scenario = os.environ.get("SCENARIO", "clean")
    if "OPTIONS_FILE" in os.environ:
        Path(os.environ["OPTIONS_FILE"]).write_text(repr(options), encoding="utf-8")
    seed = 42 if options.seed is None else options.seed
    finished = CampaignFinished(
        status="clean",
        target=target.name,
        target_hash="0123456789abcdef",
        server_version="18.6",
        seed=seed,
        seconds=12.5,
        checks=25000,
        timings=Timings(1.0, 3.0, 1.0),
        coverage=Coverage(cells=312, covered=250, closed=62),
        findings=(),
        examples=40,
    )
    kinds = ("member", "outsider")
    yield CampaignStarted(
        target.name, "0123456789abcdef", "18.6", seed, "embedded", 12, kinds, ("roles assumed",)
    )
    if options.structure:
        yield StructureRead(STRUCTURE)
    if scenario == "part":
        finished = replace(finished, selection=SELECTION)
        yield SelectionMade(SELECTION)
    yield PhaseStarted("sweep")
    yield Progress("sweep", 1.0, 2000, 100, 312, 0)
    if scenario == "breaks":
        raise ToolError("the server at postgresql://u:secret@h/db is gone", hint="start it")
    if scenario == "bug":
        raise ValueError("a fault")
    finding = LOW if scenario == "low" else FINDING
    if scenario in ("leaks", "low", "interrupted", "sleeps"):
        yield FindingFound(finding, 1.5)
    yield PhaseFinished("sweep", 2.5, 20000)
    if scenario == "deaf":
        said = "ready"
        while True:
            try:
                print(said, file=sys.stderr, flush=True)
                while True:
                    Path("/dev/null").stat()
            except KeyboardInterrupt:
                said = "not yet"
    if scenario == "sleeps":
        try:
            print("ready", file=sys.stderr, flush=True)
            while True:
                Path("/dev/null").stat()
        except KeyboardInterrupt:
            yield replace(
                finished, status="leaks", findings=(finding,), interrupted="Ctrl-C in the sweep"
            )
            return
    if scenario in ("leaks", "low"):
        saved = None
        if scenario == "leaks":
            saved = str(corpus.save(COUNTEREXAMPLE, target.root / "corpus"))
        finding = replace(finding, corpus_file=saved)
        yield FindingShrunk(finding, 3.0)
        finished = replace(finished, status="leaks", findings=(finding,))
    if scenario == "interrupted":
        raise KeyboardInterrupt
    if scenario == "untested":
        finished = replace(
            finished,
            status="inconclusive",
            coverage=Coverage(
                312, 250, 54, UNTESTED, (replace(UNTESTED[0], relation="public.x", accepted="ok"),)
            ),
            warnings=(Warning("TF901", "rows of public.ledger were refused", "public.ledger"),),
            accepted_findings=((LOW, "e-mail is the login name"),),
        )
    yield finished


def replay(
    target: Target,
    *,
    ids: Sequence[str],
    corpus: Path | None,
    engine: str | None = None,
    server_dsn: str | None = None,
    postgres: str | None = None,
) -> Iterator[ReplayResult]:
    del target, corpus, engine, server_dsn, postgres
    verdict = os.environ.get("SCENARIO", "fixed")
    yield ReplayResult("TF101-a", "fixed")
    if verdict != "fixed":
        yield ReplayResult(",".join(ids) or "all", verdict, "no table issues")


if __name__ == "__main__":
    module = types.ModuleType("tenantfuzz.campaign")
    module.Options = Options  # type: ignore[attr-defined]  # a module made by hand
    module.run_campaign = run_campaign  # type: ignore[attr-defined]  # as above
    module.replay = replay  # type: ignore[attr-defined]  # as above
    sys.modules["tenantfuzz.campaign"] = module
    main()
