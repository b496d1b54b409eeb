"""A campaign: a budgeted run of phases over a target, as one stream of events."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from time import monotonic

from tenantfuzz import corpus as corpus_files
from tenantfuzz.application.playing import ApplicationPlay
from tenantfuzz.application.simplifying import with_simpler_arguments
from tenantfuzz.changes import select
from tenantfuzz.counterexample import Counterexample, Witness
from tenantfuzz.coverage import Ledger
from tenantfuzz.errors import ToolError
from tenantfuzz.events import (
    CampaignFinished,
    CampaignStarted,
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
    Warning,
    WarningRaised,
)
from tenantfuzz.findings import Finding, Severity
from tenantfuzz.fuzzing import Fairness, fuzz
from tenantfuzz.listening import rehearse_listening
from tenantfuzz.loading_worlds import WorldLoader
from tenantfuzz.notes import notes_on
from tenantfuzz.policies.principals import Freshness, Principal
from tenantfuzz.policies.structure import RelationName
from tenantfuzz.policies.world import World
from tenantfuzz.preparation import Prepared, prepare
from tenantfuzz.registry import Registry
from tenantfuzz.replaying import corpus_folder, replay_files
from tenantfuzz.rounds import Counters, Rig, Round
from tenantfuzz.shrinking import Shrinker
from tenantfuzz.snapshot_reading import read_snapshot
from tenantfuzz.strategies.influence import influential_relations
from tenantfuzz.strategies.plan import Plan
from tenantfuzz.strictness import UNSEEN, too_strict, unseen
from tenantfuzz.sweep import Sweep, follow, ordinary
from tenantfuzz.target import Target
from tenantfuzz.trial import Trial

_PROGRESS_EVERY = 0.2
_FUZZED_RELATIONS = 5
_FUZZED_PRINCIPALS = 8
_ASKED = 12  # queries by each principal of an example
_WRITTEN = 8  # writes by query of each, where the example writes
_THOROUGH = 0.25  # share of examples that try the costly shapes
_WRITE_EVERY = 3  # examples
_FOLLOW_EVERY = 9  # examples
_FOLLOWED = 3  # lawful writes that a chain goes on from
_FRESH_EVERY = 6  # examples; each fresh connection loads the world once more


@dataclass(frozen=True, slots=True)
class Options:
    """How a campaign is run. ``seconds`` and ``max_examples`` are the budget of the fuzz phase."""

    seconds: float | None = None
    max_examples: int | None = None
    seed: int | None = None
    phases: tuple[str, ...] = ("replay", "sweep", "fuzz")
    only: str | None = None
    shrink: bool = True
    shrink_seconds: float = 5.0  # for each finding
    corpus: Path | None = None
    fail_on: Severity = Severity.MEDIUM
    strict: bool = False
    engine: str | None = None
    server_dsn: str | None = None
    postgres: str | None = None  # the version of an embedded server
    save: bool = True
    changed_since: Path | None = None  # a snapshot: what is as it was then is not tested again
    structure: bool = False  # yield the structure, for a snapshot


def run_campaign(target: Target, options: Options) -> Iterator[Event]:
    """Runs a campaign and yields what happens; the last event is CampaignFinished.

    Raises ToolError where the target cannot be tested at all. Ctrl-C and a lost server end the
    campaign early, with all that was found.
    """
    opened = prepare(
        target,
        engine=options.engine,
        server_dsn=options.server_dsn,
        postgres=options.postgres,
    )
    with opened as prepared:
        yield from _Campaign(prepared, options).run()


def replay(
    target: Target,
    *,
    ids: Sequence[str] = (),
    corpus: Path | None = None,
    engine: str | None = None,
    server_dsn: str | None = None,
    postgres: str | None = None,
) -> Iterator[ReplayResult]:
    """Replays the counterexamples of a target's corpus, or those named by id or its beginning."""
    files = corpus_files.find(corpus_folder(target.root, corpus), ids)
    opened = prepare(target, engine=engine, server_dsn=server_dsn, postgres=postgres)
    with opened as prepared:
        for result, _, _ in replay_files(prepared, files):
            yield result


class _Campaign:
    def __init__(self, prepared: Prepared, options: Options) -> None:
        self.prepared = prepared
        self.options = options
        self.seed = options.seed if options.seed is not None else random.randrange(2**31)
        self.begun = monotonic()
        self.counters = Counters()
        configuration = prepared.configuration
        self.ledger = Ledger(
            prepared.catalog,
            prepared.model,
            functions=prepared.doors,
            missing=prepared.missing,
        )
        self.registry = Registry(configuration.accept)
        self.loader: WorldLoader = prepared.loader()
        self.warnings: list[Warning] = []
        self.replayed: list[ReplayResult] = []
        self.examples = 0
        self.play = ApplicationPlay(prepared, self.registry, self.counters, only=options.only)
        self.only = self.ledger.only = self._only(options.only)
        self.sweep = Sweep(prepared, self.loader, self.play, seed=self.seed)
        self._last_progress = 0.0
        self._shrunk: set[str] = set()
        self.selection: Selection | None = None

    def _only(self, pattern: str | None) -> frozenset[RelationName] | None:
        if pattern is None:
            return None
        chosen = frozenset(
            n
            for n in self.prepared.catalog.relations
            if fnmatchcase(str(n), pattern) or fnmatchcase(n.name, pattern)
        )
        if not chosen and not self.play.names:
            raise ToolError(
                f"--only {pattern}: no relation and no query matches",
                hint="relations are "
                + ", ".join(sorted(str(n) for n in self.prepared.model.ownership)[:8]),
            )
        return chosen

    # The stream

    def run(self) -> Iterator[Event]:
        interrupted: str | None = None
        try:
            yield from self._phases()
        except KeyboardInterrupt as stop:
            interrupted = str(stop) or "by Ctrl-C"
        except ToolError as error:
            if self.counters.checks == 0:
                raise
            interrupted = str(error).splitlines()[0]
            yield self._warn("TF902", f"the run ended early: {error.hint or interrupted}")
        except Exception:
            yield from self._save_as_found()  # a fault of the tool's own costs no finding
            raise
        if interrupted is not None or not self.options.shrink:
            yield from self._save_as_found()
        yield self._finish(interrupted)

    def _save_as_found(self) -> Iterator[Event]:
        """Saves the findings that nobody made smaller: nothing that was found is lost."""
        for finding in self.registry.ordered():
            witness = self.registry.witnesses[finding.fingerprint]
            if finding.fingerprint not in self._shrunk and witness.steps:
                saved, warning = self._saved(finding, witness)
                self.registry.improve(saved, witness)
                if warning is not None:
                    yield warning

    def _phases(self) -> Iterator[Event]:
        for text in self.prepared.warnings:
            yield self._warn("", text)
        begun = monotonic()
        plan = rehearse_listening(self.prepared, self.loader, self.play, seed=self.seed)
        self.counters.generation += monotonic() - begun
        self.ledger.unpopulated = plan.unpopulated
        yield self._started(plan)
        for note in notes_on(self.prepared):
            yield self._warn(note.code, note.message, note.relation)
        if self.only is not None:
            named = [*map(str, self.only), *self.play.doors]
            names = ", ".join(sorted(named))
            yield self._warn("", f"--only: nothing is said of anything but {names}")
        for query, message in self.play.warnings():
            yield self._warn("TF907", message, query)
        yield from self._select()
        for relation, reason in plan.unpopulated.items():
            yield self._warn("TF901", f"no rows can be made: {reason}", str(relation))
        if "replay" in self.options.phases:
            yield from self._phase("replay", self._replay(), None)
        if "sweep" in self.options.phases:
            yield from self._phase(
                "sweep", self._found(self.sweep.run(self._rig(plan)), "sweep"), None
            )
        budgeted = self.options.seconds is not None or self.options.max_examples is not None
        made = self.selection
        sampling = made is not None and made.sample is not None and not made.changed
        sampling = sampling and not self.play.names  # application code may have changed
        if "fuzz" in self.options.phases and budgeted and not sampling:
            yield from self._phase("fuzz", self._fuzz(plan), self.options.seconds)
        yield from self._too_strict()
        if self.options.shrink:
            yield from self._phase("shrink", self._shrink(), None)

    def _select(self) -> Iterator[Event]:
        """What changed since a snapshot, where that is asked for; and what the next one holds."""
        since = self.options.changed_since
        if since is None and not self.options.structure:
            return
        snapshot = read_snapshot(self.prepared, strict=self.options.strict)
        if self.options.structure:
            yield StructureRead(snapshot)
        if since is not None:
            self.selection = select(since, snapshot, seed=self.seed)
            names = {str(n): n for n in self.prepared.catalog.relations}
            self.ledger.unchanged = frozenset(names[n] for n in self.selection.unchanged)
            yield SelectionMade(self.selection)

    def _tested(self) -> frozenset[RelationName] | None:
        """The relations that rounds try; None: all."""
        if not self.ledger.unchanged:
            return self.only
        asked = self.only if self.only is not None else frozenset(self.prepared.catalog.relations)
        return asked - self.ledger.unchanged

    def _phase(self, name: str, events: Iterator[Event], budget: float | None) -> Iterator[Event]:
        begun, checks = monotonic(), self.counters.checks
        yield PhaseStarted(name, budget)
        for event in events:
            yield event
            if monotonic() - self._last_progress >= _PROGRESS_EVERY:
                yield self._progress(name)
        yield self._progress(name)
        yield PhaseFinished(name, monotonic() - begun, self.counters.checks - checks)

    def _started(self, plan: Plan) -> CampaignStarted:
        kinds = [k.name for k in self.prepared.model.kinds]
        return CampaignStarted(
            target=self.prepared.target.name,
            target_hash=self.prepared.hash,
            server_version=self.prepared.server.version_text,
            seed=self.seed,
            engine=self.options.engine or self.prepared.configuration.target.engine.value,
            relations=len(plan.order),
            principal_kinds=tuple(kinds),
        )

    def _progress(self, phase: str) -> Progress:
        self._last_progress = monotonic()
        done, total = self.ledger.progress()
        return Progress(
            phase=phase,
            seconds=monotonic() - self.begun,
            checks=self.counters.checks,
            cells_done=done,
            cells_total=total,
            findings=len(self.registry.findings),
            examples=self.examples,
        )

    def _warn(self, code: str, message: str, relation: str | None = None) -> WarningRaised:
        warning = Warning(code, message, relation)
        self.warnings.append(warning)
        return WarningRaised(warning)

    def _found(self, findings: Iterator[Finding | None], phase: str) -> Iterator[Event]:
        """Turns findings into events; a progress event now and then lets the console breathe."""
        for finding in findings:
            if finding is not None:
                yield FindingFound(finding, monotonic() - self.begun)
            elif monotonic() - self._last_progress >= _PROGRESS_EVERY:
                yield self._progress(phase)

    # Phases

    def _replay(self) -> Iterator[Event]:
        folder = corpus_folder(self.prepared.target.root, self.options.corpus)
        files = corpus_files.find(folder, ()) if folder.is_dir() else []
        for result, counterexample, finding in replay_files(self.prepared, files):
            self.replayed.append(result)
            yield result
            if finding is not None and counterexample is not None:
                finding = replace(
                    finding, minimal=counterexample.finding.minimal, corpus_file=result.file
                )
                if self.registry.add(finding, counterexample.witness):
                    self._shrunk.add(finding.fingerprint)
                    yield FindingFound(finding, monotonic() - self.begun)

    def _rig(self, plan: Plan) -> Rig:
        return Rig(
            plan=plan,
            attacker=self.prepared.attacker,
            ledger=self.ledger,
            registry=self.registry,
            counters=self.counters,
            influential=influential_relations(self.prepared.catalog),
            only=self._tested(),
            platform=self.prepared.platform,
        )

    def _fuzz(self, plan: Plan) -> Iterator[Event]:
        rig = self._rig(plan)
        fairness = Fairness()
        seconds = self.options.seconds
        deadline = monotonic() + seconds if seconds is not None else None
        with self.prepared.stage(self.loader) as stage:

            def found(findings: Iterator[Finding | None]) -> Iterator[Event]:
                return self._found(findings, "fuzz")

            def example(world: World, source: random.Random) -> Iterator[Event]:
                self.examples += 1
                stage.open(world)
                thorough = source.random() < _THOROUGH
                # Reading a world costs a tenth of writing to it: most are read alone.
                writing = self.examples % _WRITE_EVERY == 1
                salt = source.randrange(1, 40)
                scene = Round(rig, stage, world, salt=salt, thorough=thorough)
                able = tuple(ordinary(scene))
                chosen = fairness.principals(able, _FUZZED_PRINCIPALS, source)
                names = scene.relations()
                for principal in chosen:
                    yield from found(scene.read(principal, names))
                    yield from found(scene.ask(principal, source, count=_ASKED))
                    if writing:
                        some = fairness.relations(names, _FUZZED_RELATIONS, source)
                        yield from found(scene.write(principal, some))
                        yield from found(scene.ask_to_write(principal, source, count=_WRITTEN))
                yield from found(scene.cut())
                if writing and self.examples % _FOLLOW_EVERY == 1:
                    yield from found(follow(scene, source.choice(chosen), most=_FOLLOWED))
                yield from found(self.play.fuzz(stage, scene, chosen, source))
                stage.close()
                special = [p for p in scene.principals if p.freshness is not Freshness.ANY]
                if special and self.examples % _FRESH_EVERY == 0:
                    chosen = [source.choice(special)]
                    number = source.randrange(2, 40)
                    yield from found(self.sweep.fresh(rig, world, chosen, number))

            yield from fuzz(
                plan,
                example,
                base_seed=self.seed,
                deadline=deadline,
                max_examples=self.options.max_examples,
                spend=self._spend,
            )
            yield self._progress("fuzz")

    def _spend(self, seconds: float) -> None:
        self.counters.generation += seconds

    def _shrink(self) -> Iterator[Event]:
        trial = Trial(self.prepared, self.loader)
        seconds = self.options.shrink_seconds
        shrinker = Shrinker(trial, self.prepared.catalog, self.prepared.model, seed=self.seed)
        for finding in self.registry.ordered():
            if finding.fingerprint in self._shrunk:
                continue
            witness = self.registry.witnesses[finding.fingerprint]
            with self.prepared.stage(self.loader) as stage:
                finding, witness = with_simpler_arguments(
                    trial, stage, finding, witness, seconds=seconds
                )
                shrunk = shrinker.shrink(stage, finding, witness, seconds=seconds)
            if shrunk is None:
                yield self._warn(
                    "TF903",
                    f"{finding.id} did not show again on a world of its own; it is kept as found",
                    finding.relation,
                )
                small, smaller = finding, witness
            else:
                small, smaller = shrunk.finding, shrunk.witness
            small, warning = self._saved(small, smaller)
            self.registry.improve(small, smaller)
            self._shrunk.add(finding.fingerprint)
            if warning is not None:
                yield warning
            yield FindingShrunk(small, monotonic() - self.begun)

    def _saved(self, finding: Finding, witness: Witness) -> tuple[Finding, Event | None]:
        if not self.options.save:
            return finding, None
        folder = corpus_folder(self.prepared.target.root, self.options.corpus)
        counterexample = Counterexample(
            finding,
            witness,
            self.prepared.target.name,
            self.prepared.hash,
            self.prepared.server.version_text,
        )
        try:
            path = corpus_files.save(counterexample, folder)
        except ToolError as error:
            return finding, self._warn("TF904", f"{finding.id} could not be saved: {error}")
        return replace(finding, corpus_file=str(path)), None

    def _too_strict(self) -> Iterator[Event]:
        """What is broken or too strict: warnings, and own rows that nobody ever saw are a finding
        under ``--strict``."""
        for code, message, broken in self.ledger.breakages():
            yield self._warn(code, message, str(broken))
        for name in unseen(self.ledger, self.registry.leaking()):
            yield self._warn("TF803", UNSEEN, str(name))
            if self.options.strict:
                finding = too_strict(self.ledger, name)
                nothing = Witness(World(()), Principal("member"), ())
                if self.registry.add(finding, nothing):
                    self._shrunk.add(finding.fingerprint)
                    yield FindingFound(finding, monotonic() - self.begun)

    # The end

    def _finish(self, interrupted: str | None) -> CampaignFinished:
        seconds = monotonic() - self.begun
        self.ledger.query_cells = self.play.cells()
        coverage = self.ledger.summary(self.prepared.configuration.accept)
        database = self.prepared.clock.database
        generation = min(self.counters.generation, max(seconds - database, 0.0))
        findings = self.registry.ordered()
        if findings:
            status = "leaks"
        elif coverage.untested or self.counters.checks == 0 or interrupted or self.only:
            status = "inconclusive"
        else:
            status = "clean"
        return CampaignFinished(
            status=status,
            target=self.prepared.target.name,
            target_hash=self.prepared.hash,
            server_version=self.prepared.server.version_text,
            seed=self.seed,
            seconds=seconds,
            checks=self.counters.checks,
            timings=Timings(
                generation=round(generation, 3),
                database=round(database, 3),
                oracle=round(max(seconds - database - generation, 0.0), 3),
            ),
            coverage=coverage,
            findings=findings,
            warnings=tuple(self.warnings),
            accepted_findings=tuple(self.registry.accepted_findings.values()),
            replayed=tuple(self.replayed),
            interrupted=interrupted,
            examples=self.examples,
            counters={
                "reads": self.counters.reads,
                "writes": self.counters.writes,
                "worlds": self.counters.worlds,
                "judged": self.counters.judged,
                "statements": self.prepared.clock.statements,
                **self.counters.inquiry.figures(),
            },
            selection=self.selection,
        )
