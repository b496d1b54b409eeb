"""The sweep: the designed worlds, in which every cell is tried in a fixed order."""

import random
import re
from collections.abc import Iterator, Sequence
from time import monotonic

from tenantfuzz.application.playing import ApplicationPlay
from tenantfuzz.findings import Finding
from tenantfuzz.loading_worlds import WorldLoader
from tenantfuzz.policies.principals import Freshness, Principal
from tenantfuzz.policies.world import World
from tenantfuzz.preparation import Prepared
from tenantfuzz.rounds import Rig, Round
from tenantfuzz.strategies.spares import with_spares
from tenantfuzz.strategies.worlds import crowded_world, designed_worlds

_TENANT_IN_NOTE = re.compile(r"(?<=its membership) of tenant .*?(?= is not in force)")
_WORLDS = 3
_ASKED = 24  # queries by each principal
_WRITTEN = 16  # writes by query of each
_FOLLOWED = 2  # lawful writes that a chain goes on from

Found = Iterator[Finding | None]
"""Findings as they come; None now and then, for whoever shows how far it is."""


class Sweep:
    """Tries all relations in designed worlds; same seed, same order."""

    def __init__(
        self, prepared: Prepared, loader: WorldLoader, play: ApplicationPlay, *, seed: int
    ) -> None:
        self._prepared = prepared
        self._loader = loader
        self._play = play
        self._seed = seed

    def run(self, rig: Rig) -> Found:
        """The whole sweep."""
        begun = monotonic()
        worlds = [
            with_spares(rig.plan, world)
            for world in designed_worlds(rig.plan, seed=self._seed, count=_WORLDS)
        ]
        rig.counters.generation += monotonic() - begun
        for number, world in enumerate(worlds):
            yield from self._world(rig, world, number)
            if number == 0:
                yield from self._crowd(rig)

    def _world(self, rig: Rig, world: World, number: int) -> Found:
        with self._prepared.stage(self._loader) as stage:
            stage.open(world)
            scene = Round(rig, stage, world, salt=number, thorough=number == 0)
            able = ordinary(scene)
            first = one_of_each(able, most=1)
            chosen = one_of_each(able, most=2) if number == 0 else first
            fresh = [p for p in scene.principals if p.freshness is not Freshness.ANY]
            for party in _parties(first, chosen):
                for principal in party:
                    yield from scene.read(principal, scene.relations())
                    if number == 1:
                        source = random.Random(f"{self._seed}/{principal.kind}")
                        yield from scene.ask(principal, source, count=_ASKED)
                    yield None
                yield from scene.cut()
                for principal in party:
                    yield from scene.write(principal, scene.relations())
                    if number == 1:
                        source = random.Random(f"{self._seed}/writes/{principal.kind}")
                        yield from scene.ask_to_write(principal, source, count=_WRITTEN)
                    yield None
            if number == 1:
                for principal in _one_of_each_kind(able):
                    yield from follow(scene, principal, most=_FOLLOWED)
                    yield None
            yield from self._play.sweep(stage, scene, chosen)
            stage.close()
        yield from self.fresh(rig, world, one_of_each(fresh, most=1), number)

    def _crowd(self, rig: Rig) -> Found:
        """Reads a world of many rows: nothing else shows as much for what it costs."""
        begun = monotonic()
        world = crowded_world(rig.plan, seed=self._seed)
        rig.counters.generation += monotonic() - begun
        with self._prepared.stage(self._loader) as stage:
            stage.open(world)
            scene = Round(rig, stage, world, salt=_WORLDS)
            chosen = one_of_each(ordinary(scene), most=1)
            for principal in chosen:
                yield from scene.read(principal, scene.relations())
                yield None
            yield from scene.cut()
            yield from self._play.crowd(stage, scene, chosen)
            stage.close()

    def fresh(self, rig: Rig, world: World, principals: Sequence[Principal], number: int) -> Found:
        """Principals that each need a connection of their own, on a world that is committed."""
        if not principals:
            return
        with self._prepared.committed(world, self._loader) as database:
            for principal in principals:
                with self._prepared.stage(self._loader, database=database) as stage:
                    stage.begin(after=principal)
                    scene = Round(rig, stage, world, salt=number)
                    yield from scene.read(principal, scene.relations())
                    yield from scene.cut()
                    if number != 1:
                        yield from scene.write(principal, scene.relations())
                    stage.close()
                yield None


def follow(scene: Round, principal: Principal, *, most: int) -> Iterator[Finding]:
    """Chains of three: two writes, then a read."""
    plan = scene.rig.plan
    matter = scene.rig.influential | plan.shadowable | plan.stirring
    return scene.follow(principal, [n for n in scene.relations() if n in matter], most=most)


def ordinary(scene: Round) -> list[Principal]:
    """The principals that need no connection of their own."""
    return [p for p in scene.principals if p.freshness is Freshness.ANY]


def one_of_each(principals: Sequence[Principal], *, most: int) -> list[Principal]:
    """The first few principals of each kind and note, in their order: the same kind acts the same
    way in every tenant of a mirrored world."""
    counts: dict[tuple[str, str], int] = {}
    chosen: list[Principal] = []
    for principal in principals:
        sort = (principal.kind, _TENANT_IN_NOTE.sub("", principal.note))
        counts[sort] = counts.get(sort, 0) + 1
        if counts[sort] <= most:
            chosen.append(principal)
    return chosen


def _parties(
    first: Sequence[Principal], chosen: Sequence[Principal]
) -> tuple[Sequence[Principal], ...]:
    """Who acts before whom: where two of a kind act, the second seldom shows more than the first;
    nor does what is no lawful identity, while those of users show little yet."""
    users = [p for p in first if not p.hostile]
    return users, [p for p in first if p.hostile], [p for p in chosen if p not in first]


def _one_of_each_kind(principals: Sequence[Principal]) -> list[Principal]:
    """The first user of each kind."""
    first: dict[str, Principal] = {}
    for principal in principals:
        if principal.user is not None:
            first.setdefault(principal.kind, principal)
    return list(first.values())
