"""A target during one pytest session: prepared once, its doors tried as their items come."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from glob import escape
from pathlib import Path

from tenantfuzz import corpus as corpus_files
from tenantfuzz.application.playing import ApplicationPlay
from tenantfuzz.counterexample import Counterexample, Witness
from tenantfuzz.coverage import Ledger
from tenantfuzz.engines import EmbeddedServer
from tenantfuzz.engines.databases import connect_admin
from tenantfuzz.errors import ToolError
from tenantfuzz.findings import Finding, Severity
from tenantfuzz.notes import notes_on
from tenantfuzz.outcome import fails
from tenantfuzz.plugin.doors import Door, Place, Sort, doors_of
from tenantfuzz.plugin.sweeping import SWEPT_WORLDS, Sweep
from tenantfuzz.plugin.tenants import Grounds
from tenantfuzz.plugin.verdicts import Told, Verdict
from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.structure import RelationName
from tenantfuzz.policies.world import World
from tenantfuzz.preparation import Prepared, connect, prepare
from tenantfuzz.registry import Registry
from tenantfuzz.replaying import CANNOT, replay_files
from tenantfuzz.rounds import Counters
from tenantfuzz.shrinking import Shrinker
from tenantfuzz.strategies.worlds import designed_worlds
from tenantfuzz.strictness import UNSEEN, too_strict, unseen
from tenantfuzz.target import Target, find_target, resolve_reference
from tenantfuzz.trial import Trial

_SHRINK_SECONDS = 5.0
_READING = 0.25  # the part of a relation's fuzz budget that goes to reads
_LOCK = 7_402_116_003  # any number: workers on one server load their schemas one by one
_OPEN_CONNECTIONS = 24  # an embedded server takes 40
_OPEN_ELSEWHERE = 6  # a server of others serves others, too


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line asks for. ``save`` is the folder for counterexamples, or None."""

    seed: int | None = None
    seconds: float | None = None
    save: Path | None = None


@dataclass(slots=True)
class _Tried:
    """What was done at a relation, or a query, so far, and what came of it."""

    registry: Registry
    told: dict[str, Told] = field(default_factory=dict)
    read: bool = False
    written: bool = False


@dataclass(frozen=True, slots=True)
class Account:
    """What a session did with one target: ``worlds`` were designed, and the same in every session,
    ``drawn`` were not. Seconds are spent making worlds and statements, and waiting for the
    database."""

    seed: int
    checks: int
    worlds: int
    drawn: int
    generation: float
    database: float
    warnings: tuple[str, ...]


class TargetSession:
    """One target: ``collect`` its doors, ``attempt`` them, ``close`` it at the end."""

    def __init__(self, file: Path, wishes: Wishes) -> None:
        self.file = file
        self.root = file if file.is_dir() else file.parent
        self.wishes = wishes
        self.counters = Counters()
        self.examples = 0
        self.selected = 1  # relations among the selected items: they share the fuzz budget
        self._closing = ExitStack()
        self._target: Target | None = None
        self._prepared: Prepared | None = None
        self._server: str | None = None
        self._ledger: Ledger | None = None
        self._sweep: Sweep | None = None
        self._relations: dict[RelationName, _Tried] = {}
        self._warnings: list[str] = []
        self._database = 0.0
        self._grounds: tuple[Grounds, World, str] | None = None
        self._queries: dict[str, _Tried] = {}
        self._remarks: list[str] = []

    @property
    def target(self) -> Target:
        """The target, its file read. Raises ToolError."""
        if self._target is None:
            self._target = find_target(self.file)
        return self._target

    @property
    def seed(self) -> int:
        """The seed: as asked for, as configured, or 0: the same run each time."""
        if self.wishes.seed is not None:
            return self.wishes.seed
        return self.target.configuration.run.seed or 0

    @property
    def checked(self) -> bool:
        """Whether anything was compared."""
        return self.counters.checks > 0

    @property
    def fail_on(self) -> Severity:
        """The lowest severity that makes an item fail."""
        return Severity(self.target.configuration.run.fail_on)

    @property
    def prepared(self) -> Prepared:
        """The target, ready. Raises ToolError."""
        if self._prepared is None:
            self._prepared = self._closing.enter_context(self._preparing())
        return self._prepared

    @property
    def ledger(self) -> Ledger:
        """The books of cells."""
        if self._ledger is None:
            self._ledger = Ledger(
                self.prepared.catalog,
                self.prepared.model,
                functions=self.prepared.doors,
                missing=self.prepared.missing,
            )
        return self._ledger

    @property
    def sweep(self) -> Sweep:
        """The worlds in which relations are tried."""
        if self._sweep is None:
            embedded = isinstance(self.prepared.server, EmbeddedServer)
            self._sweep = Sweep(
                self.prepared,
                self.ledger,
                self.counters,
                seed=self.seed,
                connections=_OPEN_CONNECTIONS if embedded else _OPEN_ELSEWHERE,
            )
            self._closing.callback(self._sweep.close)
        return self._sweep

    def use_server(self, dsn: str) -> None:
        """Moves to the server at ``dsn``, where worlds live from now on."""
        if dsn != self._server:
            self.close()
            self._server = dsn

    def close(self) -> None:
        """Gives everything back; what was found stays known. May be called twice."""
        self._warnings = self.warnings()
        if self._prepared is not None:
            self._database += self._prepared.clock.database
        self._prepared = self._ledger = self._sweep = self._grounds = None
        self._relations, self._queries = {}, {}
        try:
            self._closing.close()
        except ToolError:
            return  # the server went first, and its databases with it or into the next sweep
        finally:
            self._closing = ExitStack()

    @contextmanager
    def _preparing(self) -> Iterator[Prepared]:
        section = self.target.configuration.target
        dsn = self._server
        if dsn is None and section.engine.value == "server" and section.server is not None:
            dsn = resolve_reference(section.server, "target.server")
        engine = "server" if self._server is not None else None
        preparing = prepare(self.target, engine=engine, server_dsn=dsn)
        with ExitStack() as prepared:
            if dsn is None:
                ready = prepared.enter_context(preparing)
            else:
                with connect_admin(dsn, "the scratch server") as connection:
                    connection.execute("SET statement_timeout = '10min'")
                    connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
                    ready = prepared.enter_context(preparing)
            yield ready

    # Doors

    def collect(self) -> list[Door]:
        """The doors of the target. Raises ToolError where it cannot be loaded."""
        play = self._play("*", Registry())
        known = play.application.queries
        queries = [(known[n].door or n) if n in known else n for n in play.names]
        return doors_of(Place(self.prepared, self.ledger, tuple(dict.fromkeys(queries))))

    def attempt(self, door: Door) -> Verdict:
        """Tries a door; what was tried before is not tried again. Raises ToolError; where the
        server is gone the next door begins with a new one."""
        try:
            return self._attempt(door)
        except ToolError:
            if not self._answers():
                self.close()
            raise

    def _answers(self) -> bool:
        """Whether the server is still there."""
        if self._prepared is None:
            return False
        try:
            connect(self._prepared.server, self._prepared.database).close()
        except ToolError:
            return False
        return True

    def _attempt(self, door: Door) -> Verdict:
        if door.sort is Sort.REPLAY and door.file is not None:
            return self._replayed(door.file)
        self.sweep.open()
        if door.sort is Sort.QUERY:
            return self._queried(door)
        if door.relation is None:
            return self._counted(door)
        tried = self._relations.setdefault(
            door.relation, _Tried(Registry(self.prepared.configuration.accept))
        )
        if door.relation in self.prepared.catalog.relations:
            self._try(door.relation, tried, writing=door.operation != "select")
            if door.operation == "select" and self.target.configuration.run.strict:
                self._too_strict(door.relation, tried)
        return self._judged(door, tried)

    def _judged(self, door: Door, tried: _Tried) -> Verdict:
        """What was found at the door, and what the books say of it."""
        every = door.sort is Sort.QUERY  # nothing else was tried with these books
        ordered = [
            f for f in tried.registry.ordered() if every or _entry(tried, f) == door.operation
        ]
        failing = [f for f in ordered if fails(f, self.fail_on)]
        accepted = tried.registry.accepted_findings.values()
        return replace(
            self._counted(door),
            leaks=tuple(self._told(tried, f) for f in failing),
            mild=tuple(f for f in ordered if f not in failing),
            accepted=tuple(
                (f, why) for f, why in accepted if every or f.operation == door.operation
            ),
        )

    def _try(self, relation: RelationName, tried: _Tried, *, writing: bool) -> None:
        share = (self.wishes.seconds or 0.0) / max(self.selected, 1)
        if not tried.read:
            self.sweep.read(relation, tried.registry)
            if share > 0:
                self._fuzz(relation, tried, share * _READING, writing=False)
            tried.read = True
        if writing and not tried.written:
            self.sweep.write(relation, tried.registry)
            if share > 0:
                self._fuzz(relation, tried, share * (1 - _READING), writing=True)
            tried.written = True

    def _too_strict(self, relation: RelationName, tried: _Tried) -> None:
        """Own rows that nobody ever saw are a finding where the configuration is strict."""
        if relation in unseen(self.ledger, tried.registry.leaking()):
            finding = too_strict(self.ledger, relation)
            if tried.registry.add(finding, Witness(World(()), Principal("member"), ())):
                tried.told[finding.fingerprint] = Told(finding)  # no statement shows it

    def _fuzz(
        self, relation: RelationName, tried: _Tried, seconds: float, *, writing: bool
    ) -> None:
        self.examples += self.sweep.fuzz(relation, tried.registry, seconds=seconds, writing=writing)

    def _play(self, pattern: str, registry: Registry) -> ApplicationPlay:
        """The application's part, as far as names of queries match."""
        return ApplicationPlay(self.prepared, registry, self.counters, only=pattern)

    def _queried(self, door: Door) -> Verdict:
        tried = self._queries.get(door.where)
        if tried is None:
            tried = self._queries[door.where] = _Tried(Registry(self.prepared.configuration.accept))
            play = self._play(escape(door.where), tried.registry)
            if not play.names:  # a scoping function: its queries are named after it
                play = self._play(f"{escape(door.where)}: *", tried.registry)
            self.sweep.query(play)
            self.ledger.query_cells = {**self.ledger.query_cells, **play.cells()}
            self._remarks += [f"{name}: {text}" for name, text in play.warnings()]
        return self._judged(door, tried)

    def _counted(self, door: Door) -> Verdict:
        """What the books say of the door."""
        coverage = self.ledger.summary(self.prepared.configuration.accept)
        place = (door.where, door.operation)
        closed = sum(cell[:2] == place for cell in coverage.closed_cells)
        untested = [c for c in coverage.untested if (c.relation, c.operation) == place]
        accepted = [c for c in coverage.accepted if (c.relation, c.operation) == place]
        cells = sum((str(r), o.value) == place for r, o, _ in self.ledger.cells())
        cells += sum((name, "query") == place for name, _ in self.ledger.query_cells)
        return Verdict(
            untested=tuple(untested),
            accepted_cells=tuple(accepted),
            closed=closed,
            covered=max(cells - closed - len(untested) - len(accepted), 0),
        )

    def _told(self, tried: _Tried, finding: Finding) -> Told:
        if finding.fingerprint not in tried.told:
            witness = tried.registry.witnesses[finding.fingerprint]
            tried.told[finding.fingerprint] = self._shrunk(finding, witness)
        return tried.told[finding.fingerprint]

    def _shrunk(self, finding: Finding, witness: Witness) -> Told:
        """The finding, minimal where it can be had in time, and saved where that is wished."""
        prepared = self.prepared
        shrinker = Shrinker(
            Trial(prepared, self.sweep.loader), prepared.catalog, prepared.model, seed=self.seed
        )
        with prepared.stage(self.sweep.loader) as stage:
            shrunk = shrinker.shrink(stage, finding, witness, seconds=_SHRINK_SECONDS)
        if shrunk is not None:
            finding, witness = shrunk.finding, shrunk.witness
        counterexample = Counterexample(
            finding,
            witness,
            prepared.target.name,
            prepared.hash,
            prepared.server.version_text,
        )
        if self.wishes.save is not None:
            file = corpus_files.save(counterexample, self.wishes.save)
            finding = replace(finding, corpus_file=str(file))
        return Told(finding, counterexample)

    def _replayed(self, file: Path) -> Verdict:
        result, counterexample, finding = next(replay_files(self.prepared, [file]))
        if result.verdict == CANNOT:
            return Verdict(reason=f"{result.verdict}: {result.reason}")
        if finding is None or counterexample is None:
            return Verdict(covered=1)
        finding = replace(finding, minimal=counterexample.finding.minimal, corpus_file=result.file)
        registry = Registry(self.prepared.configuration.accept)
        if not registry.add(finding, counterexample.witness):
            accepted = tuple(registry.accepted_findings.values())
            return Verdict(covered=1, accepted=accepted)
        if not fails(finding, self.fail_on):
            return Verdict(covered=1, mild=(finding,))
        return Verdict(covered=1, leaks=(Told(finding, counterexample),))

    # Tests of the user's own

    def grounds(self) -> tuple[Grounds, World, str]:
        """What the fixture ``tenants`` stands on: the first designed world, and the database in
        which it is committed, for copies. Raises ToolError."""
        if self._grounds is None:
            prepared, sweep = self.prepared, self.sweep
            grounds = Grounds(
                prepared, sweep.plan, lambda world: prepared.committed(world, sweep.loader)
            )
            world = designed_worlds(sweep.plan, seed=self.seed, count=1)[0]
            template = self._closing.enter_context(grounds.commit(world))
            self._grounds = grounds, world, template
        return self._grounds

    # The account

    def account(self) -> Account:
        """What was done so far."""
        prepared = self._prepared
        return Account(
            seed=self.seed,
            checks=self.counters.checks,
            worlds=SWEPT_WORLDS + 1 if self.checked else 0,
            drawn=self.examples,
            generation=self.counters.generation,
            database=self._database + (prepared.clock.database if prepared else 0.0),
            warnings=tuple(self.warnings()),
        )

    def warnings(self) -> list[str]:
        """What to know besides: what was assumed, what is decoration, what is broken."""
        if self._prepared is None:
            return self._warnings
        found = list(self._prepared.warnings)
        for note in notes_on(self._prepared):
            where = f"{note.relation}:" if note.relation else ""
            found.append(" ".join(filter(None, (note.code, where, note.message))))
        if self._sweep is not None:
            unpopulated = self._sweep.plan.unpopulated.items()
            found += [f"TF901 {name}: no rows can be made: {why}" for name, why in unpopulated]
        found += self._remarks
        if self._ledger is not None:
            found += [f"{code} {name}: {text}" for code, text, name in self._ledger.breakages()]
            leaking = {n for t in self._relations.values() for n in t.registry.leaking()}
            found += [f"TF803 {name}: {UNSEEN}" for name in unseen(self._ledger, leaking)]
        return found


def _entry(tried: _Tried, finding: Finding) -> str:
    """The operation that the statement asked for which opened the door: a leak that shows after a
    write is the write's."""
    witness = tried.registry.witnesses.get(finding.fingerprint)
    return witness.steps[0].operation if witness and witness.steps else finding.operation
