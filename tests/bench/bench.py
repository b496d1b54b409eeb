"""How fast the sweep judges, against the bare replay of the very same statements.

Prints ratios measured in one run: `make bench`. Rates depend on the machine; the ratio of judged to
bare is what to compare between versions.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from tenantfuzz.campaign import Options, _Campaign
from tenantfuzz.identity import identity_statements
from tenantfuzz.policies.principals import Freshness, Principal
from tenantfuzz.preparation import Prepared, prepare
from tenantfuzz.rehearsal import rehearse
from tenantfuzz.rounds import Rig, Round
from tenantfuzz.stage import Stage
from tenantfuzz.strategies.spares import with_spares
from tenantfuzz.strategies.worlds import designed_worlds
from tenantfuzz.strategies.writes import writes
from tenantfuzz.sweep import one_of_each
from tenantfuzz.target import find_target

TARGETS = Path(__file__).parents[2] / "corpus" / "targets"
REPEAT = 8


@dataclass(frozen=True, slots=True)
class Measured:
    """Probes and seconds."""

    probes: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.probes / self.seconds


def measure(work: Callable[[], int]) -> Measured:
    """The best of a few repetitions, the first of which only warms up."""
    work()
    best: Measured | None = None
    for _ in range(REPEAT):
        begun = perf_counter()
        probes = work()
        measured = Measured(probes, perf_counter() - begun)
        if best is None or measured.rate > best.rate:
            best = measured
    assert best is not None
    return best


def bare_reads(stage: Stage, batches: Sequence[tuple[Principal, list[str]]]) -> int:
    """The same reads, pipelined and prepared, with nobody looking at what comes back."""
    for principal, statements in batches:
        head = ["SAVEPOINT bare", *identity_statements(principal, stage.catalog)]
        stage.wire.groups([head], prepare=True)
        stage.wire.pipeline(statements, prepare=True, together=True)
        stage.wire.groups([["ROLLBACK TO bare", "RELEASE bare"]])
    return sum(len(s) for _, s in batches)


def bare_writes(stage: Stage, batches: Sequence[tuple[Principal, list[str]]]) -> int:
    """The same writes, each undone by its savepoint."""
    for principal, statements in batches:
        head = ["SAVEPOINT act", *identity_statements(principal, stage.catalog), "SAVEPOINT w"]
        stage.wire.groups([head], prepare=True)
        groups = [g for s in statements for g in ([s], ["ROLLBACK TO w"])]
        stage.wire.groups(groups, prepare=True)
        stage.wire.groups([["ROLLBACK TO act", "RELEASE act"]])
    return sum(len(s) for _, s in batches)


def bench(name: str) -> None:
    """Measures one target and prints its lines."""
    with prepare(find_target(TARGETS / name)) as prepared:
        campaign = _Campaign(prepared, Options(seed=1))
        plan = rehearse(prepared, campaign.loader, seed=1)
        rig = campaign._rig(plan)
        world = with_spares(plan, designed_worlds(plan, seed=1, count=1)[0])
        with prepared.stage(campaign.loader) as stage:
            stage.open(world)
            scene = Round(rig, stage, world)
            ordinary = [p for p in scene.principals if p.freshness is Freshness.ANY]
            chosen = one_of_each(ordinary, most=2)
            reads = measure(lambda: judged_reads(rig, scene, chosen))
            queries = [(p, _queries(scene, p)) for p in chosen]
            bare = measure(lambda: bare_reads(stage, queries))
            print_line(name, "reads", reads, bare)
            writes = measure(lambda: judged_writes(rig, prepared, stage, scene, chosen))
            commands = [(p, _commands(scene, p)) for p in chosen]
            bare = measure(lambda: bare_writes(stage, commands))
            print_line(name, "writes", writes, bare)
            stage.close()


def judged_reads(rig: Rig, scene: Round, principals: Sequence[Principal]) -> int:
    before = rig.counters.reads
    for principal in principals:
        for _ in scene.read(principal, scene.relations()):
            raise AssertionError("a correct target has no findings")
    for _ in scene.cut():
        raise AssertionError("a correct target has no findings")
    return rig.counters.reads - before


def judged_writes(
    rig: Rig, prepared: Prepared, stage: Stage, scene: Round, principals: Sequence[Principal]
) -> int:
    del prepared, stage
    before = rig.counters.writes
    scene._judged.clear()
    for principal in principals:
        for _ in scene.write(principal, scene.relations()):
            raise AssertionError("a correct target has no findings")
    return rig.counters.writes - before


def _queries(scene: Round, principal: Principal) -> list[str]:
    return [a.sql for name in scene.relations() for a in scene._reads(principal, name)]


def _commands(scene: Round, principal: Principal) -> list[str]:
    relations = (scene.stage.catalog.relations[n] for n in scene.relations())
    found = (
        action
        for r in relations
        for action in writes(scene._scene, principal, r, scene.grants(principal, r))
    )
    return list(dict.fromkeys(action.sql for action in found))


def print_line(name: str, what: str, judged: Measured, bare: Measured) -> None:
    print(
        f"{name:10} {what:7} judged {judged.rate:9,.0f}/s   bare {bare.rate:9,.0f}/s   "
        f"ratio {judged.rate / bare.rate:5.2f}"
    )


if __name__ == "__main__":
    for target in sys.argv[1:] or ["saas-guc", "pinball"]:
        bench(target)
