"""The application's part in a campaign: its queries in each world, its cells, its warnings."""

import random
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from tenantfuzz.adapters.calling import CallRound, stranger_to
from tenantfuzz.adapters.running import adapters_of
from tenantfuzz.application.adapters import whole_application
from tenantfuzz.application.judging import QueryJudge
from tenantfuzz.application.queries import Application
from tenantfuzz.application.trying import Cell, Experience, QueryRound
from tenantfuzz.findings import Finding
from tenantfuzz.oracles.provenance import canaries_of
from tenantfuzz.policies.predictions import Prediction
from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.queries import Actor
from tenantfuzz.policies.structure import RelationName
from tenantfuzz.policies.world import World
from tenantfuzz.preparation import Prepared
from tenantfuzz.registry import Registry
from tenantfuzz.rounds import Counters, Round
from tenantfuzz.stage import Stage
from tenantfuzz.strategies.crossing import crossed
from tenantfuzz.strategies.lopsided import lopsided

_LISTENING = 3  # members on whose behalf code is called for a start
_SWEPT = 24  # calls of one query for one principal in a designed world
_FUZZED = 6
_CALLED = 12  # the same for calls of processes, which are a hundred times dearer
_CALLED_IN_FUZZ = 5
_CALL_EVERY = 8  # examples


class ApplicationPlay:
    """The application of one target over all worlds of a campaign.

    Raises ToolError where its queries are declared wrongly.
    """

    def __init__(
        self, prepared: Prepared, registry: Registry, counters: Counters, *, only: str | None
    ) -> None:
        self._registry = registry
        self._counters = counters
        self.application: Application = whole_application(prepared)
        self.experience = Experience()
        names = [*self.application.queries, *self.application.broken]
        self.names = [n for n in names if only is None or fnmatchcase(n, only)]
        queries = self.application.queries
        doors = [queries[n].door or n if n in queries else n for n in self.names]
        self.doors = tuple(dict.fromkeys(doors))  # as findings and cells call them
        self._outside = [n for n in self.names if self._is_outside(n)]
        self._inside = [n for n in self.names if n not in self._outside]
        self._prepared = prepared
        self._proven: set[str] = set()
        self._examples = 0
        self._kinds: set[str] = set()
        self._crossings: set[tuple[RelationName, str]] = set()

    @property
    def code(self) -> frozenset[str]:
        """The names of the calls of code, whose statements only a call can tell."""
        return frozenset(
            name
            for name in self.names
            if (query := self.application.queries.get(name)) and query.function and not query.door
        )

    def warnings(self) -> Iterator[tuple[str, str]]:
        """What its reader must know before: queries that cannot run, and what was assumed."""
        for name in self.names:
            if name in self.application.broken:
                yield name, f"it cannot run: {self.application.broken[name]}"
                continue
            query = self.application.queries[name]
            for parameter in query.assumed:
                sign = "$" if parameter.isdigit() else ":"
                yield (
                    name,
                    f"{sign}{parameter} is taken for the caller's own tenant, because it is "
                    "compared with the tenant column; if a request may choose it, give its type "
                    f'(params = {{ {parameter} = "text" }}), and it is judged so; if not, confirm '
                    f'it: params = {{ {parameter} = "tenant" }}',
                )
            if query.analysis is None and not query.door and query.function is None:
                yield name, "its tables are not told apart: sqlglot does not parse it"

    def listen(self, stage: Stage, world: World) -> tuple[str, ...]:
        """The statements that application code sends, each once: calls it a few times on behalf of
        members, in this world, which stands on the stage afterwards."""
        heard: dict[str, None] = {}
        for outside in (False, True):
            names = [n for n in (self._outside if outside else self._inside) if n in self.code]
            if not names:
                continue
            place = adapters_of(self._prepared).stage if outside else stage
            place.open(world)
            members = [p for p in place.principals() if p.tenant is not None and not p.hostile]
            once = {p.kind: p for p in reversed(members)}
            source = random.Random(len(world.rows))
            round_ = self._round(place, world, place.prediction(), source)
            heard |= dict.fromkeys(round_.listen(list(once.values())[:_LISTENING], names))
        return tuple(heard)

    def sweep(
        self, stage: Stage, scene: Round, principals: Sequence[Principal]
    ) -> Iterator[Finding]:
        """Every query on behalf of these principals, in a designed world."""
        self._meet(scene)
        # The same world gives the same calls, whatever was drawn before.
        source = random.Random(f"{scene.salt}/{len(scene.world.rows)}")
        yield from self._round(stage, scene.world, scene.ground, source).play(
            principals, most=_SWEPT, queries=self._inside
        )
        if scene.salt == 0 and self._inside:
            yield from self._lopsided(stage, scene.world, source)
        if self._inside:
            yield from self._crossed(stage, scene.world, source)
        yield from self._call(scene.world, principals, source, _CALLED)

    def crowd(
        self, stage: Stage, scene: Round, principals: Sequence[Principal]
    ) -> Iterator[Finding]:
        """Statements and functions, a few calls each, in a world of many rows, where conditions
        that seldom hold together do."""
        self._meet(scene)
        source = random.Random(f"{scene.salt}/{len(scene.world.rows)}")
        yield from self._round(stage, scene.world, scene.ground, source).play(
            principals, most=_FUZZED, queries=self._inside
        )

    def _is_outside(self, name: str) -> bool:
        query = self.application.queries.get(name)
        return query is not None and query.outside

    def _call(
        self, world: World, principals: Sequence[Principal], source: random.Random, most: int
    ) -> Iterator[Finding]:
        """The calls of processes: one principal of each kind, in the world once it is committed."""
        if not self._outside:
            return
        adapters = adapters_of(self._prepared)
        stage = adapters.stage
        adapters.stop()  # what they remember is of another world
        stage.open(world)
        once = {(p.kind, p.note): p for p in reversed(principals)}
        callers = list(once.values())[::-1]
        # Somebody else comes last: what code keeps from one caller must not reach the next.
        callers += stranger_to(stage, callers)
        ground = stage.prediction()
        calls = CallRound(*self._parts(stage, world, ground), source, proven=self._proven)
        yield from calls.play(callers, most=most, queries=self._outside)

    def _lopsided(self, stage: Stage, world: World, source: random.Random) -> Iterator[Finding]:
        """The world once more for each relation that a query names besides others, without the
        rows that the first tenant has there. The world on the stage is another one afterwards."""
        for relation, names in self._naming().items():
            other = lopsided(world, stage.catalog, stage.model, relation, world.tenants[0])
            yield from self._other_world(stage, other, names, source)

    def _crossed(self, stage: Stage, world: World, source: random.Random) -> Iterator[Finding]:
        """The world with rows that refer to another tenant's, by each key by which somebody was
        seen to write one (TF205). The world on the stage is another one afterwards."""
        seen = {
            c.removeprefix("foreign key ")
            for f in self._registry.findings.values()
            for c in f.culprits
            if f.code == "TF205"
        }
        naming = self._naming()
        code = [n for n, q in self.application.queries.items() if q.function or q.door]
        code = [n for n in code if n in self.names]  # which may name any relation
        for relation in stage.catalog.relations:
            for key in stage.model.foreign_keys(stage.catalog, relation):
                if key.name not in seen or (relation, key.name) in self._crossings:
                    continue
                self._crossings.add((relation, key.name))
                tenant = world.tenants[0]
                other = crossed(world, stage.catalog, stage.model, relation, key, tenant)
                names = sorted({*naming.get(relation, ()), *naming.get(key.target, ()), *code})
                yield from self._other_world(stage, other, names, source)

    def _naming(self) -> dict[RelationName, list[str]]:
        """The queries that name several relations, by relation."""
        naming: dict[RelationName, list[str]] = {}
        for name in self.names:
            query = self.application.queries.get(name)
            references = query.analysis.references if query and query.analysis else ()
            for relation in dict.fromkeys(r.relation for r in references if len(references) > 1):
                naming.setdefault(relation, []).append(name)
        return naming

    def _other_world(
        self, stage: Stage, world: World | None, names: Sequence[str], source: random.Random
    ) -> Iterator[Finding]:
        if world is None or not names or stage.open(world):
            return
        callers = [p for p in stage.principals() if p.tenant == world.tenants[0]]
        once = {p.kind: p for p in reversed(callers)}
        yield from self._round(stage, world, stage.prediction(), source).play(
            list(once.values()), most=_FUZZED, queries=names
        )

    def fuzz(
        self, stage: Stage, scene: Round, principals: Sequence[Principal], source: random.Random
    ) -> Iterator[Finding]:
        """The same with fewer calls, in a world that was drawn."""
        self._meet(scene)
        yield from self._round(stage, scene.world, scene.ground, source).play(
            principals, most=_FUZZED, queries=self._inside
        )
        self._examples += 1
        if self._examples % _CALL_EVERY == 0:
            yield from self._call(scene.world, principals, source, _CALLED_IN_FUZZ)

    def _meet(self, scene: Round) -> None:
        self._kinds |= {p.kind for p in scene.principals if not p.hostile and p.tenant is not None}

    def _round(
        self, stage: Stage, world: World, ground: Prediction, source: random.Random
    ) -> QueryRound:
        return QueryRound(*self._parts(stage, world, ground), source)

    def _parts(
        self, stage: Stage, world: World, ground: Prediction
    ) -> tuple[Application, Experience, Stage, World, Prediction, QueryJudge, Registry, Counters]:
        origin = {r.canary: r.relation for r in world.rows if r.canary}
        tokens = canaries_of(ground.state, origin)
        return (
            self.application,
            self.experience,
            stage,
            world,
            ground,
            QueryJudge(stage, ground, tokens, self.application),
            self._registry,
            self._counters,
        )

    def cells(self) -> dict[Cell, str | None]:
        """Each query's cells, with the reason where one is untested."""
        cells: dict[Cell, str | None] = {}
        for name in self.names:
            if name in self.application.broken:
                cells[name, "service"] = f"it cannot run: {self.application.broken[name]}"
                continue
            query = self.application.queries[name]
            declared = query.declared
            kinds = ["service"] if declared.actor is not Actor.PRINCIPAL else []
            if declared.actor is not Actor.SERVICE:
                kinds += sorted(k for k in self._kinds if k in (declared.kinds or self._kinds))
            for kind in kinds or ["service"]:
                reason = self.experience.why_untested((name, kind))
                if query.outside and reason is None and name not in self._proven:
                    reason = (
                        "its answers never depended on a row of the world: "
                        "does it connect to TENANTFUZZ_DSN?"
                    )
                if query.function is not None and query.function.fault is not None:
                    reason = query.function.fault
                if query.door:
                    cells[query.door, kind] = _of_door(cells, (query.door, kind), reason)
                else:
                    cells[name, kind] = reason
        return cells


def _of_door(cells: Mapping[Cell, str | None], cell: Cell, reason: str | None) -> str | None:
    """A scoping function is tested where one of the queries was that went through it, unless it
    failed on another."""
    before = cells.get(cell, "it made nothing of any query")
    failing = next((r for r in (reason, before) if r and r.startswith("it fails")), None)
    if failing is not None:
        return failing
    return None if reason is None or before is None else reason
