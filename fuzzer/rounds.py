"""A round: one world on the stage, and all that its principals try there."""

import random
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

from tenantfuzz.asking import Asking, Inquiry
from tenantfuzz.control import Control, doors_of, had_effect
from tenantfuzz.counterexample import Step, Witness
from tenantfuzz.coverage import Ledger
from tenantfuzz.elsewhere import Elsewhere
from tenantfuzz.findings import Finding
from tenantfuzz.judge import Judge
from tenantfuzz.observation import keys_by_values
from tenantfuzz.oracles.cut import may_be_cut
from tenantfuzz.oracles.provenance import CANARY, canaries_of
from tenantfuzz.policies.configuration import Attacker
from tenantfuzz.policies.model import OwnershipKind
from tenantfuzz.policies.ownership_sql import key_expression
from tenantfuzz.policies.predictions import Key, Prediction, State
from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.quoting import identifier, qualified
from tenantfuzz.policies.structure import Operation, Privilege, Relation, RelationName
from tenantfuzz.policies.world import World
from tenantfuzz.registry import Registry
from tenantfuzz.results import Outcome, RawRow
from tenantfuzz.stage import Stage
from tenantfuzz.strategies.actions import Action, Grants
from tenantfuzz.strategies.plan import Plan
from tenantfuzz.strategies.querying.lexicon import Lexicon
from tenantfuzz.strategies.reads import WHOLE, copied_columns, key_columns, reads
from tenantfuzz.strategies.scene import Rows, Scene
from tenantfuzz.strategies.writes import writes

_TELLING = frozenset({"23505", "23P01"})  # errors by which hidden rows may make themselves known
_TIRED = 6  # judgements of one relation and operation that found only what was known
_EXHAUSTED = 60
_MOST_JUDGED = 2  # suspicious actions of one relation, operation, shape and kind, in one round
_MOST_LAWFUL = 2
_MOST_ASKED = 4
_FURTHER = 11  # added to the salt: keys of a later round are new again
_NO_VERDICT = frozenset({"57014", "25P02", "26000"})  # cancelled, or the tool's own fault


@dataclass(slots=True)
class Counters:
    """What was done, over all rounds of a campaign."""

    reads: int = 0
    writes: int = 0
    worlds: int = 0
    judged: int = 0
    generation: float = 0.0  # seconds spent on making worlds and statements
    inquiry: Inquiry = field(default_factory=Inquiry)

    @property
    def checks(self) -> int:
        """Actions whose outcome was compared with a prediction."""
        return self.reads + self.writes


@dataclass(frozen=True, slots=True)
class Rig:
    """What all rounds share."""

    plan: Plan
    attacker: Attacker
    ledger: Ledger
    registry: Registry
    counters: Counters
    influential: frozenset[RelationName]
    only: frozenset[RelationName] | None = None
    grants: dict[tuple[str | None, RelationName], Grants] = field(default_factory=dict)
    platform: frozenset[RelationName] = frozenset()
    # What the trusted role could do only as if somebody were signed in.
    signed_in: set[tuple[RelationName, Operation]] = field(default_factory=set)
    stale: Counter[tuple[RelationName, Operation]] = field(default_factory=Counter)


@dataclass(slots=True)
class Round:
    """One world that stands on a stage. ``salt`` makes new keys of this round differ; ``thorough``
    rounds also try the shapes that cost more. ``done`` are the lawful steps by which the state came
    from the world, where it is no longer as it was loaded, and ``earlier`` is what it was."""

    rig: Rig
    stage: Stage
    world: World
    salt: int = 0
    thorough: bool = False
    done: tuple[Step, ...] = ()
    earlier: State | None = None
    ground: Prediction = field(init=False)
    principals: tuple[Principal, ...] = field(init=False)
    _judge: Judge = field(init=False)
    _rows: dict[RelationName, Rows] = field(init=False)
    _scene: Scene = field(init=False)
    _known: dict[tuple[RelationName, tuple[str, ...]], Mapping[RawRow, frozenset[Key]]] = field(
        default_factory=dict
    )
    _control: Control = field(init=False)
    _judged: Counter[tuple[object, ...]] = field(default_factory=Counter)
    _asking: Asking = field(init=False)
    _elsewhere: Elsewhere = field(init=False)

    def __post_init__(self) -> None:
        state = self.stage.state()
        self.ground = self.stage.prediction(state)
        self.principals = self.stage.principals()
        self._control = Control(self.stage, self.principals, self.rig.signed_in)
        origin = {r.canary: r.relation for r in self.world.rows if r.canary}
        self._judge = Judge(self.stage, self.ground, canaries_of(state, origin))
        self._rows = self._read_rows()
        self._asking = Asking(
            self.stage, self.ground, self._judge, self._rows, self.rig.counters.inquiry
        )
        self._elsewhere = Elsewhere(self.stage, self.ground, self._judge.cut, self._asking)
        self._scene = Scene(
            self.rig.plan,
            self.world,
            self.ground,
            self._rows,
            self.rig.influential,
            self.salt,
            self._fresh(state),
        )
        self.rig.ledger.meet(self.principals)
        self.rig.counters.worlds += 1

    def _fresh(self, state: State) -> Mapping[RelationName, Rows]:
        """The rows that were not there earlier."""
        if self.earlier is None:
            return {}
        before = self.earlier
        return {
            name: {k: self._rows[name][k] for k in rows if k not in before.get(name, {})}
            for name, rows in state.items()
            if name in self._rows and rows.keys() - before.get(name, {}).keys()
        }

    def _read_rows(self) -> dict[RelationName, Rows]:
        """The columns of all rows as text, by relation and key."""
        catalog = self.stage.catalog
        names = self.stage.judged()
        queries = []
        for name in names:
            alias = identifier(name.name)
            texts = [f"{alias}.{identifier(c.name)}::text" for c in catalog.relations[name].columns]
            parts = ", ".join([key_expression(catalog, name, alias), *texts])
            queries.append(f"SELECT {parts} FROM {qualified(name)} AS {alias}")
        outcomes = self.stage.wire.pipeline(queries, prepare=True, together=True)
        rows: dict[RelationName, Rows] = {}
        for name, outcome in zip(names, outcomes, strict=True):
            columns = [c.name for c in catalog.relations[name].columns]
            rows[name] = {
                (row[0] or b"").decode(): {
                    c: None if v is None else v.decode(errors="replace")
                    for c, v in zip(columns, row[1:], strict=True)
                }
                for row in outcome.rows
            }
        return rows

    def relations(self) -> tuple[RelationName, ...]:
        """The relations that are tried: all, or those asked for, but none too slow to read; none
        where only the application has a session."""
        if self.stage.model.identity.nobodys:
            return ()
        only, clock = self.rig.only, self.stage.wire.clock
        names = [n for n in self.stage.judged() if only is None or n in only]
        return tuple(n for n in names if not clock.is_given_up((n, Operation.SELECT)))

    def grants(self, principal: Principal, relation: Relation) -> Grants:
        """The columns of the relation that the principal's role may use."""
        memo = (principal.acting_role, relation.name)
        if memo not in self.rig.grants:
            self.rig.grants[memo] = self._grants(principal, relation)
        return self.rig.grants[memo]

    def _grants(self, principal: Principal, relation: Relation) -> Grants:
        role = self.stage.catalog.roles.get(principal.acting_role or "")
        dml = self._attacker(relation.name).has(Attacker.DML)
        names = tuple(c.name for c in relation.columns)
        if role is None or role.superuser:
            writable = tuple(c.name for c in relation.columns if not c.generated)
            return Grants(names, writable, writable, delete=True, truncate=dml, whole=True)
        grant = self.stage.catalog.grant(role.name, relation.name)

        def of(privilege: Privilege) -> tuple[str, ...]:
            allowed = grant.columns.get(privilege, frozenset())
            read_only = privilege is not Privilege.SELECT
            return tuple(
                c.name
                for c in relation.columns
                if c.name in allowed and not (read_only and c.generated)
            )

        return Grants(
            of(Privilege.SELECT),
            of(Privilege.INSERT),
            of(Privilege.UPDATE),
            delete=Privilege.DELETE in grant.privileges,
            truncate=dml and Privilege.TRUNCATE in grant.privileges,
            whole=Privilege.SELECT in grant.privileges,
        )

    # Reads

    def read(self, principal: Principal, relations: Sequence[RelationName]) -> Iterator[Finding]:
        """Every read of these relations as one principal. ``cut`` follows when all have read."""
        self.ground.foresee(principal, [(name, Operation.SELECT) for name in relations])
        begun = perf_counter()
        actions = [a for name in relations for a in self._reads(principal, name)]
        self.rig.counters.generation += perf_counter() - begun
        if not actions:
            return
        outcomes = self.stage.read(principal, [a.sql for a in actions], doors=doors_of(actions))
        self.rig.counters.reads += len(actions)
        visible: dict[RelationName, int] = {}
        suspicious: list[Action] = []
        for action, outcome in zip(actions, outcomes, strict=True):
            if self._suspicious_read(principal, action, outcome, visible):
                suspicious.append(action)
            self._note_read(principal, action, outcome)
        for action in suspicious:
            if self._in_turn(principal, action, _MOST_JUDGED):
                yield from self._try(principal, [action])
        if may_be_cut(principal):
            self._elsewhere.reads[principal] = [
                (a, o)
                for a, o in zip(actions, outcomes, strict=True)
                if a.shape in ("select", "count") and a not in suspicious
            ]

    def _attacker(self, relation: RelationName) -> Attacker:
        """What is sent to a relation. What a platform grants on its own tables is for its own
        services to answer for."""
        return Attacker.API if relation in self.rig.platform else self.rig.attacker

    def _reads(self, principal: Principal, name: RelationName) -> Iterator[Action]:
        relation = self.stage.catalog.relations[name]
        grants = self.grants(principal, relation)
        hidden = sorted(self.ground.hidden(principal, name))
        foreign = next((t for t in self.world.tenants if t not in principal.all_tenants), None)
        ownership = self.stage.model.owner_of(name)
        column = ownership.column if ownership.kind is OwnershipKind.COLUMN else None
        yield from reads(
            relation,
            grants,
            hidden,
            owner_column=column,
            foreign_tenant=foreign,
            attacker=self._attacker(name),
            thorough=self.thorough,
        )

    def _suspicious_read(
        self,
        principal: Principal,
        action: Action,
        outcome: Outcome,
        visible: dict[RelationName, int],
    ) -> bool:
        if outcome.failure is not None:
            return CANARY.search(outcome.failure.texts) is not None
        if action.shape == "count":
            shown = visible.get(action.relation)
            return shown is not None and outcome.rows[0][0] != str(shown).encode()
        if action.shape == "select":
            visible[action.relation] = len(outcome.rows)
        if not outcome.rows or not action.victims:
            return False
        known = self._values_known(principal, action)
        for row in outcome.rows:
            keys = known.get(row)
            if keys is None or keys <= action.victims:
                return True
        return False

    def _values_known(
        self, principal: Principal, action: Action
    ) -> Mapping[RawRow, frozenset[Key]]:
        relation = self.stage.catalog.relations[action.relation]
        grants = self.grants(principal, relation)
        columns = grants.select if action.shape in WHOLE else key_columns(relation, grants)
        if action.shape == "copy":
            columns = copied_columns(relation)
        memo = (action.relation, columns)
        if memo not in self._known:
            self._known[memo] = keys_by_values(self.stage, relation, columns)
        return self._known[memo]

    def _note_read(self, principal: Principal, action: Action, outcome: Outcome) -> None:
        ledger = self.rig.ledger
        if action.shape != "select":
            return
        failure = outcome.failure
        if failure is not None:
            ledger.failed(action.relation, Operation.SELECT, principal, failure)
            if failure.sqlstate in _NO_VERDICT:
                return
        ownership = self.stage.model.owner_of(action.relation)
        open_to_all = ownership.kind is OwnershipKind.SHARED and outcome.rows
        if action.victims or open_to_all:
            ledger.tried.add((action.relation, Operation.SELECT, principal.kind))
        if outcome.failure is None and outcome.rows:
            ledger.let_through.add((action.relation, Operation.SELECT))

    def ask(self, principal: Principal, source: random.Random, *, count: int) -> Iterator[Finding]:
        """So many queries of all shapes as one principal; ``cut`` asks them again.

        Relations that plain reads leak from are left out: every query over them would tell it.
        """
        if not self.relations():
            return
        inquiry, before = self.rig.counters.inquiry, self._asking.generation
        asked = inquiry.asked
        lexicon = self._lexicon(principal)
        shown = list(self._asking.ask(principal, lexicon, source, count=count))
        self.rig.counters.generation += self._asking.generation - before
        self.rig.counters.reads += inquiry.asked - asked
        for action in shown:
            if self._in_turn(principal, action, _MOST_JUDGED):
                yield from self._try(principal, [action])

    def _lexicon(self, principal: Principal) -> Lexicon:
        leaking = self.rig.registry.leaking()
        relations = self.stage.catalog.relations
        return self._asking.lexicon(
            principal.acting_role,
            {
                name: self.grants(principal, relations[name])
                for name in self.relations()
                if str(name) not in leaking
            },
            frozenset(n for n in relations if self._attacker(n).has(Attacker.DML)),
        )

    def ask_to_write(
        self, principal: Principal, source: random.Random, *, count: int
    ) -> Iterator[Finding]:
        """So many writes by query as one principal, each undone."""
        if not self.relations():
            return
        begun = perf_counter()
        actions = self._asking.writes(principal, self._lexicon(principal), source, count=count)
        self.rig.counters.generation += perf_counter() - begun
        self.rig.counters.writes += len(actions)
        for action in self._asking.effective(principal, actions):
            if self._in_turn(principal, action, _MOST_LAWFUL):
                yield from self._try(principal, [action])

    def cut(self) -> Iterator[Finding]:
        """What was read without a finding once more, where hidden rows are gone or changed."""
        elsewhere, before = self._elsewhere, self._elsewhere.count
        for difference in elsewhere.differences():
            principal, read = difference.principal, difference.relations
            for action in difference.actions:
                known = read & self.rig.registry.leaking()
                if known or (read and not self._in_turn(principal, action, _MOST_ASKED)):
                    break
                if (yield from self._try(principal, [action])):
                    break
        self.rig.counters.reads += elsewhere.count - before

    # Writes

    def write(self, principal: Principal, relations: Sequence[RelationName]) -> Iterator[Finding]:
        """Every write on these relations as one principal, each undone."""
        actions: dict[str, Action] = {}
        self.ground.foresee(principal, [(name, o) for name in relations for o in Operation])
        begun = perf_counter()
        for name in relations:
            relation = self.stage.catalog.relations[name]
            grants = self.grants(principal, relation)
            for action in writes(
                self._scene,
                principal,
                relation,
                grants,
                attacker=self._attacker(name),
                thorough=self.thorough,
            ):
                actions.setdefault(action.sql, action)
        self.rig.counters.generation += perf_counter() - begun
        if not actions:
            return
        tried = list(actions.values())
        self._control.ask(principal, tried)
        outcomes = self.stage.write(principal, [a.sql for a in tried], doors=doors_of(tried))
        self.rig.counters.writes += len(tried)
        done = list(zip(tried, outcomes, strict=True))
        for action, outcome in done:
            self._note_write(principal, action, outcome)
        # What ought to have been refused is judged before what may well be lawful.
        for action, outcome in sorted(done, key=lambda d: not d[0].hostile):
            if not self._worth_judging(principal, action, outcome):
                continue
            if action.lasting and had_effect(action, outcome):
                yield from self._chain(principal, action)
            else:
                yield from self._try(principal, [action])

    def _note_write(self, principal: Principal, action: Action, outcome: Outcome) -> None:
        ledger = self.rig.ledger
        door = (action.relation, action.operation)
        cell = (*door, principal.kind)
        if outcome.failure is not None:
            ledger.failed(action.relation, action.operation, principal, outcome.failure)
            if outcome.failure.sqlstate in _NO_VERDICT:
                return
        did, could = had_effect(action, outcome), self._control.could(principal, action)
        # A new tenant is nobody's yet: no row of theirs is forbidden to anybody.
        founds = cell[:2] == (self.stage.model.tenants, Operation.INSERT)
        if (action.hostile or founds) and (could or did):
            ledger.tried.add(cell)
        elif action.hostile and (failure := self._control.refusal(action)) is not None:
            reason = f"the trusted role could not do it either: {failure.message}"
            ledger.refusals.setdefault(door, reason)
        if did:
            ledger.let_through.add(door)

    def _worth_judging(self, principal: Principal, action: Action, outcome: Outcome) -> bool:
        if outcome.failure is None:
            if not had_effect(action, outcome):
                return action.shape == "insert on conflict do nothing"
            most = _MOST_JUDGED if action.hostile else _MOST_LAWFUL
        else:
            told = outcome.failure.sqlstate in _TELLING
            if not told and CANARY.search(outcome.failure.texts) is None:
                return False
            most = 1
        return self._in_turn(principal, action, most)

    def _in_turn(self, principal: Principal, action: Action, most: int) -> bool:
        """Whether the judge has time for it: the same once more is no news. Each relation,
        operation, shape and kind has its turns in a world, fewer once they led to nothing new."""
        door = (action.relation, action.operation)
        turn = (*door, action.shape, principal.kind)
        self._judged[turn] += 1
        tired = self.rig.stale[door] >= _TIRED
        return self._judged[turn] <= (1 if tired else most) and self.rig.stale[door] < _EXHAUSTED

    def _chain(self, principal: Principal, action: Action) -> Iterator[Finding]:
        """After a write that policies may depend on: everything is read once more."""
        later = []
        for name in self.relations():
            plain = next((a for a in self._reads(principal, name) if a.shape == "select"), None)
            if plain is not None:
                later.append(plain)
        yield from self._try(principal, [action, *later], cuts=False)

    def follow(
        self, principal: Principal, relations: Sequence[RelationName], *, most: int
    ) -> Iterator[Finding]:
        """Goes one step further than ``write``: keeps lawful writes on these relations that
        policies may read, and tries after each what the principal could not do before.

        At most so many are followed, other ones each round.
        """
        actions: dict[str, Action] = {}
        for name in relations:
            relation = self.stage.catalog.relations[name]
            grants = self.grants(principal, relation)
            for action in writes(
                self._scene,
                principal,
                relation,
                grants,
                attacker=self._attacker(name),
                thorough=True,
            ):
                if action.lasting:
                    actions.setdefault(action.sql, action)
        tried = list(actions.values())
        outcomes = self.stage.write(principal, [a.sql for a in tried], doors=doors_of(tried))
        self.rig.counters.writes += len(tried)
        effective: dict[tuple[RelationName, str], Action] = {}
        for action, outcome in zip(tried, outcomes, strict=True):
            if had_effect(action, outcome):
                effective.setdefault((action.relation, action.shape), action)
        # What stands in the way of triggers shows only in the write that they judge.
        shadows = [a for a in effective.values() if a.shape.startswith("temporary table")]
        followed = [a for a in effective.values() if a not in shadows]
        start = self.salt % len(followed) if followed else 0
        for action in [*shadows, *[*followed[start:], *followed[:start]][:most]]:
            yield from self._after(principal, action)

    def _after(self, principal: Principal, action: Action) -> Iterator[Finding]:
        stage = self.stage
        step = Step(action.relation, action.operation.value, action.sql, action.shape)
        if self._judge.judge(principal, [step], cuts=False).findings:
            return
        stage.wire.execute("SAVEPOINT after")
        try:
            if not had_effect(action, stage.act(principal, action.sql)):
                return
            later = Round(
                self.rig,
                stage,
                self.world,
                salt=self.salt + _FURTHER,
                thorough=False,
                done=(*self.done, step),
                earlier=self.ground.state,
            )
            me = next((p for p in later.principals if _same_person(p, principal)), None)
            if me is None:
                return
            for finding in later.write(me, self._worth_trying_after(action)):
                yield later.told(finding)
        finally:
            stage.wire.execute("ROLLBACK TO after", "RELEASE after")

    def _worth_trying_after(self, action: Action) -> list[RelationName]:
        """What policies read, what may refer to a new row, and, once something stands in the way
        of what triggers read, everything."""
        if action.shape.startswith("temporary table"):
            return list(self.relations())
        model, catalog = self.stage.model, self.stage.catalog
        return [
            n
            for n in self.relations()
            if n in self.rig.influential
            or any(fk.target == action.relation for fk in model.foreign_keys(catalog, n))
        ]

    def told(self, finding: Finding) -> Finding:
        """The finding with all the steps that lead to it."""
        witness = self.rig.registry.witnesses[finding.fingerprint]
        steps = [s.sql.rstrip(";") + ";" for s in self.done]
        head = len(finding.statements) - (len(witness.steps) - len(self.done))
        statements = (*finding.statements[:head], *steps, *finding.statements[head:])
        told = replace(finding, statements=statements)
        self.rig.registry.improve(told, witness)
        return told

    # Judging

    def _try(
        self, principal: Principal, actions: Sequence[Action], *, cuts: bool = True
    ) -> Generator[Finding, None, bool]:
        """Lets the judge decide; yields findings that are news. True if there are any at all."""
        steps = tuple(Step(a.relation, a.operation.value, a.sql, a.shape) for a in actions)
        self.rig.counters.judged += 1
        verdict = self._judge.judge(principal, steps, cuts=cuts)
        door = (actions[0].relation, actions[0].operation)
        news = False
        for finding in verdict.findings:
            witness = Witness(self.world, principal, (*self.done, *_needed(steps, finding)))
            if self.rig.registry.add(finding, witness):
                news = True
                yield finding
        if news:
            self.rig.stale[door] = 0
        elif verdict.findings:
            self.rig.stale[door] += 1
        return bool(verdict.findings)


def _needed(steps: Sequence[Step], finding: Finding) -> tuple[Step, ...]:
    """Of a chain only the write and the read that showed it."""
    if len(steps) == 1:
        return tuple(steps)
    last = finding.statements[-1].rstrip(";")
    index = next((i for i, s in enumerate(steps) if s.sql.rstrip(";") == last), len(steps) - 1)
    return (steps[0],) if index == 0 else (steps[0], steps[index])


def _same_person(one: Principal, other: Principal) -> bool:
    """Whether both are the same user in the same tenant; memberships may have changed."""
    return (
        one.user == other.user
        and one.tenant == other.tenant
        and one.freshness == other.freshness
        and (one.user is not None or one.kind == other.kind)
    )
