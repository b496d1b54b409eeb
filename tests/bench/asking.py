"""What generated queries are worth: their figures, and what judging them costs.

`python tests/bench/asking.py [TARGET…]`: the share that the server takes, the share to which a
missing policy would have made a difference, distinct plans per 1,000 queries with and without
guidance, the share of time in the database, and wall time against the bare replay of the very same
statements. The ratio is what to compare between versions.
"""

import random
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter

from tenantfuzz.campaign import Options, _Campaign
from tenantfuzz.policies.principals import Freshness, Principal
from tenantfuzz.preparation import prepare
from tenantfuzz.rehearsal import rehearse
from tenantfuzz.results import Outcome
from tenantfuzz.rounds import Rig, Round
from tenantfuzz.stage import Stage
from tenantfuzz.strategies.plan import Plan
from tenantfuzz.strategies.querying.guidance import Guidance, plan_shape
from tenantfuzz.strategies.querying.maker import QueryMaker
from tenantfuzz.strategies.worlds import designed_worlds
from tenantfuzz.target import find_target
from tenantfuzz.wire import Wire

TARGETS = Path(__file__).parents[2] / "corpus" / "targets"
WORLDS, PRINCIPALS, COUNT = 6, 8, 24
PLANNED = 1000

Group = Sequence[str]


def bench(name: str) -> None:
    """Measures one target and prints its lines."""
    with prepare(find_target(TARGETS / name)) as prepared:
        campaign = _Campaign(prepared, Options(seed=1))
        plan = rehearse(prepared, campaign.loader, seed=1)
        rig = campaign._rig(plan)
        with prepared.stage(campaign.loader) as stage:
            wall, database, bare = 0.0, 0.0, 0.0
            for number in range(WORLDS):
                stage.open(designed_worlds(plan, seed=number, count=1)[0])
                sent: list[tuple[Sequence[Group], bool]] = []
                scene = Round(rig, stage, designed_worlds(plan, seed=number, count=1)[0])
                before, begun = prepared.clock.database, perf_counter()
                recording(stage.wire, sent, partial(ask, scene, number))
                wall += perf_counter() - begun
                database += prepared.clock.database - before
                begun = perf_counter()
                for groups, prepare_them in sent:
                    stage.wire.groups(groups, prepare=prepare_them)
                bare += perf_counter() - begun
                stage.close()
            figures = rig.counters.inquiry
            print(
                f"{name:10} {figures.asked:,} queries   valid "
                f"{1 - figures.invalid / figures.asked:.1%}   discriminating "
                f"{figures.discriminating / figures.measured:.0%} of {figures.measured}   "
                f"failing {figures.failed / figures.asked:.1%}"
            )
            print(
                f"{name:10} {figures.asked / wall:,.0f} queries/s, each in three worlds   database "
                f"{database / wall:.0%}   wall / bare {wall / bare:.2f}"
            )
            guided, alone = (plans(rig, plan, stage, enabled=e) for e in (True, False))
            print(f"{name:10} plans in {PLANNED:,} queries: {guided} guided, {alone} without")


def ask(scene: Round, number: int) -> None:
    """All queries of one world, there and in the worlds without its hidden rows."""
    for index, principal in enumerate(chosen(scene)):
        for finding in scene.ask(principal, random.Random(f"{number}/{index}"), count=COUNT):
            raise AssertionError(f"a correct target has no findings: {finding.id}")
    for finding in scene.cut():
        raise AssertionError(f"a correct target has no findings: {finding.id}")


def chosen(scene: Round) -> list[Principal]:
    return [p for p in scene.principals if p.freshness is Freshness.ANY][:PRINCIPALS]


def recording(
    wire: Wire, sent: list[tuple[Sequence[Group], bool]], work: Callable[[], None]
) -> None:
    """Does the work and keeps all statements that it sent."""
    original = Wire.groups

    def groups(self: Wire, groups: Sequence[Group], *, prepare: bool = False) -> list[Outcome]:
        if self is wire:
            sent.append((groups, prepare))
        return original(self, groups, prepare=prepare)

    Wire.groups = groups  # type: ignore[method-assign]  # undone below
    try:
        work()
    finally:
        Wire.groups = original  # type: ignore[method-assign]


def plans(rig: Rig, plan: Plan, stage: Stage, *, enabled: bool) -> int:
    """Distinct shapes of plans among so many queries of one principal."""
    world = designed_worlds(plan, seed=1, count=1)[0]
    stage.open(world)
    scene = Round(rig, stage, world)
    principal = chosen(scene)[0]
    aims = {n: sorted(k) for n, k in scene._judge.cut.hidden(scene.ground, principal).items()}
    guidance = Guidance(enabled=enabled)
    maker = QueryMaker(scene._lexicon(principal), scene._rows, aims, random.Random(1), guidance)
    for _ in range(PLANNED // 20):
        queries = maker.queries(20)
        texts = [f"EXPLAIN (FORMAT JSON, COSTS OFF) {q.sql}" for q in queries]
        for query, outcome in zip(
            queries, stage.read(principal, texts, prepare=False), strict=True
        ):
            if outcome.failure is None:
                guidance.explain(query, plan_shape((outcome.rows[0][0] or b"").decode()))
    stage.close()
    return len(guidance.plans)


if __name__ == "__main__":
    for target in sys.argv[1:] or ["saas-guc", "pinball"]:
        bench(target)
