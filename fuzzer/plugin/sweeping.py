"""The sweep of a session: worlds that stand all the time, tried one relation after the other."""

import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from time import monotonic

from tenantfuzz.application.playing import ApplicationPlay
from tenantfuzz.coverage import Ledger
from tenantfuzz.errors import ToolError
from tenantfuzz.events import Event
from tenantfuzz.fuzzing import Fairness, fuzz
from tenantfuzz.listening import rehearse_listening
from tenantfuzz.loading_worlds import WorldLoader
from tenantfuzz.policies.principals import Freshness, Principal
from tenantfuzz.policies.structure import RelationName
from tenantfuzz.policies.world import World
from tenantfuzz.preparation import Prepared
from tenantfuzz.registry import Registry
from tenantfuzz.rounds import Counters, Rig, Round
from tenantfuzz.stage import Stage
from tenantfuzz.strategies.influence import influential_relations
from tenantfuzz.strategies.plan import Plan
from tenantfuzz.strategies.spares import with_spares
from tenantfuzz.strategies.worlds import crowded_world, designed_worlds
from tenantfuzz.sweep import one_of_each
from tenantfuzz.trial import Trial

SWEPT_WORLDS = 3
_FOLLOWED = 2  # lawful writes of a relation that a chain goes on from
_FUZZED_PRINCIPALS = 8
_ASKED = 12  # queries by each principal of a drawn world
_THOROUGH = 0.25  # share of drawn worlds in which the costly shapes are tried


@dataclass(slots=True)
class _Party:
    """Principals that share a connection: those of freshness any, or one that needs its own."""

    principals: list[Principal]
    after: Principal | None = None
    stage: Stage | None = None
    scene: Round | None = None
    closing: ExitStack = field(default_factory=ExitStack)  # closes its connection


@dataclass(slots=True)
class _Standing:
    """One world, committed in a database of its own, and who acts there."""

    world: World
    number: int
    database: str
    parties: list[_Party] = field(default_factory=list)


class Sweep:
    """The designed worlds of a target, and what is tried in them.

    Reads and writes of one relation depend on nothing that was tried before: a relation's outcome
    is the same whatever else was selected, and in whichever process it runs. ``connections`` is
    how many may stay open; further ones are opened as they are needed.
    """

    def __init__(
        self, prepared: Prepared, ledger: Ledger, counters: Counters, *, seed: int, connections: int
    ) -> None:
        self._prepared = prepared
        self._counters = counters
        self._seed = seed
        self._connections = connections
        self._closing = ExitStack()
        self._standings: list[_Standing] = []
        self.loader: WorldLoader = prepared.loader()
        begun = monotonic()
        registry = Registry(prepared.configuration.accept)
        play = ApplicationPlay(prepared, registry, counters, only=None)
        self.plan: Plan = rehearse_listening(prepared, self.loader, play, seed=seed)
        ledger.unpopulated = self.plan.unpopulated
        self._rig = Rig(
            plan=self.plan,
            attacker=prepared.attacker,
            ledger=ledger,
            registry=registry,
            counters=counters,
            influential=influential_relations(prepared.catalog),
            platform=prepared.platform,
        )
        self._matter = self._rig.influential | self.plan.shadowable | self.plan.stirring
        self._worlds = [
            with_spares(self.plan, world)
            for world in designed_worlds(self.plan, seed=seed, count=SWEPT_WORLDS)
        ]
        self._crowd = crowded_world(self.plan, seed=seed)
        counters.generation += monotonic() - begun

    def open(self) -> None:
        """Makes the worlds stand, and meets everybody in them; once is enough."""
        if self._standings:
            return
        try:
            self._open()
        except BaseException:
            self.close()  # half of the worlds would look like all of them
            raise

    def _open(self) -> None:
        for number, world in enumerate((*self._worlds, self._crowd)):
            database = self._closing.enter_context(self._prepared.committed(world, self.loader))
            standing = _Standing(world, number, database)
            self._standings.append(standing)
            ordinary = _Party([])
            standing.parties.append(ordinary)
            with self._acting(standing, ordinary, self._rig) as scene:
                everybody = scene.principals
            any_time = [p for p in everybody if p.freshness is Freshness.ANY]
            ordinary.principals = one_of_each(any_time, most=2 if number == 0 else 1)
            if number == SWEPT_WORLDS:
                continue  # many rows, to be read
            special = [p for p in everybody if p.freshness is not Freshness.ANY]
            standing.parties += [_Party([p], p) for p in one_of_each(special, most=1)]

    def close(self) -> None:
        """Closes the connections and drops the worlds."""
        for standing in self._standings:
            for party in standing.parties:
                party.closing.close()
        self._standings = []
        self._closing.close()
        self._closing = ExitStack()

    def read(self, relation: RelationName, registry: Registry) -> None:
        """Every read of the relation by everybody; what leaks goes to the registry."""
        for standing, party in self._parties():
            with self._acting(standing, party, replace(self._rig, registry=registry)) as scene:
                for principal in party.principals:
                    _exhaust(scene.read(principal, [relation]))
                _exhaust(scene.cut())

    def write(self, relation: RelationName, registry: Registry) -> None:
        """Every write on the relation by everybody, each undone, and what can be done after it."""
        for standing, party in self._parties():
            if standing.number == SWEPT_WORLDS:
                continue
            if party.after is not None and standing.number == 1:
                continue  # identities that are not there act alike in every world
            with self._acting(standing, party, replace(self._rig, registry=registry)) as scene:
                for principal in party.principals:
                    _exhaust(scene.write(principal, [relation]))
                if standing.number == 1 and relation in self._matter:
                    for principal in one_of_each(party.principals, most=1):
                        _exhaust(scene.follow(principal, [relation], most=_FOLLOWED))
        self._drop_what_shows_without(relation, registry)

    def query(self, play: ApplicationPlay) -> None:
        """The application queries of ``play`` on behalf of everybody, each world on its own."""
        for number, world in enumerate(self._worlds):
            with self._prepared.stage(self.loader) as stage:
                stage.open(world)
                scene = Round(self._rig, stage, world, salt=number)
                everybody = [p for p in scene.principals if p.freshness is Freshness.ANY]
                chosen = one_of_each(everybody, most=2 if number == 0 else 1)
                _exhaust(play.sweep(stage, scene, chosen))
                stage.close()
        with self._prepared.stage(self.loader) as stage:
            stage.open(self._crowd)
            scene = Round(self._rig, stage, self._crowd, salt=SWEPT_WORLDS)
            anybody = [p for p in scene.principals if p.freshness is Freshness.ANY]
            _exhaust(play.crowd(stage, scene, one_of_each(anybody, most=1)))
            stage.close()

    def fuzz(
        self, relation: RelationName, registry: Registry, *, seconds: float, writing: bool
    ) -> int:
        """Reads and generated queries, or writes, of the relation in drawn worlds for some seconds;
        returns how many."""
        rig = replace(self._rig, registry=registry)
        if not writing:
            rig = replace(rig, only=frozenset({relation}))  # what queries may read
        fairness = Fairness()
        examples = 0
        with self._prepared.stage(self.loader) as stage:

            def example(world: World, source: random.Random) -> Iterator[Event]:
                nonlocal examples
                examples += 1
                stage.open(world)
                thorough = source.random() < _THOROUGH
                salt = source.randrange(1, 40)
                scene = Round(rig, stage, world, salt=salt, thorough=thorough)
                ordinary = tuple(p for p in scene.principals if p.freshness is Freshness.ANY)
                for principal in fairness.principals(ordinary, _FUZZED_PRINCIPALS, source):
                    if writing:
                        _exhaust(scene.write(principal, [relation]))
                    else:
                        _exhaust(scene.read(principal, [relation]))
                        _exhaust(scene.ask(principal, source, count=_ASKED))
                _exhaust(scene.cut())
                stage.close()
                yield from ()

            events = fuzz(
                self.plan,
                example,
                base_seed=self._seed,
                deadline=monotonic() + seconds,
                max_examples=None,
                spend=self._spend,
            )
            _exhaust(events)
        if writing:
            self._drop_what_shows_without(relation, registry)
        return examples

    def _spend(self, seconds: float) -> None:
        self._counters.generation += seconds

    def _parties(self) -> Iterator[tuple[_Standing, _Party]]:
        self.open()
        for standing in self._standings:
            for party in standing.parties:
                yield standing, party

    @contextmanager
    def _acting(self, standing: _Standing, party: _Party, rig: Rig) -> Iterator[Round]:
        """The party's round, in a transaction that leaves nothing behind.

        A connection that stays open begins anew each time: an earlier transaction takes place
        again. One on which nothing was ever set is used as long as that is so.
        """
        if party.scene is not None and party.stage is not None:
            try:
                party.stage.begin(after=party.after)
            except ToolError:
                party.stage = party.scene = None
                party.closing.close()
                self._connections += 1
        if party.scene is not None and party.stage is not None:
            party.scene.rig = rig
            try:
                yield party.scene
            finally:
                party.stage.close()
            return
        kept = self._connections > 0
        self._connections -= kept
        with ExitStack() as once:
            closing = party.closing if kept else once
            stage = closing.enter_context(
                self._prepared.stage(self.loader, database=standing.database)
            )
            stage.begin(after=party.after)
            thorough = standing.number == 0 and party.after is None
            scene = Round(rig, stage, standing.world, salt=standing.number, thorough=thorough)
            if kept:
                party.stage, party.scene = stage, scene
            try:
                yield scene
            finally:
                stage.close()

    def _drop_what_shows_without(self, relation: RelationName, registry: Registry) -> None:
        """What shows after a write is the write's finding only if it needs the write: what the
        later steps show by themselves is found where they begin."""
        trial = Trial(self._prepared, self.loader)
        for finding in list(registry.findings.values()):
            witness = registry.witnesses[finding.fingerprint]
            for at in range(len(witness.steps) - 1, 0, -1):
                shorter = replace(witness, steps=witness.steps[at:])
                with self._prepared.stage(self.loader) as stage:
                    shown = trial.shows(stage, shorter, finding)
                if shown is None:
                    continue
                if witness.steps[at].relation == relation:
                    registry.improve(shown, shorter)
                else:
                    del registry.findings[finding.fingerprint]
                break


def _exhaust(events: Iterator[object] | Sequence[object]) -> None:
    for _ in events:
        pass
