"""The stage: one transaction in which a world stands and principals act."""

import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from tenantfuzz.errors import ToolError
from tenantfuzz.identity import identity_statements, return_statements
from tenantfuzz.loading_worlds import Refusal, WorldLoader
from tenantfuzz.oracles.cut import Cut
from tenantfuzz.policies.derivation import derive_principals
from tenantfuzz.policies.model import Model, OwnershipKind
from tenantfuzz.policies.ownership_sql import (
    OwnershipQuery,
    membership_query,
    ownership_query,
    rows_satisfying,
)
from tenantfuzz.policies.placeholders import Binding, bind_sql
from tenantfuzz.policies.predictions import Key, Prediction, Question, RowFacts, State
from tenantfuzz.policies.principals import Freshness, MembershipFact, Population, Principal
from tenantfuzz.policies.quoting import identifier, literal, qualified
from tenantfuzz.policies.structure import Catalog, RelationKind, RelationName
from tenantfuzz.policies.world import World
from tenantfuzz.results import Outcome, given_up
from tenantfuzz.scripts import is_script
from tenantfuzz.wire import Wire

_SETTINGS = (
    "SET statement_timeout = '10s'",
    "SET lock_timeout = '5s'",
    "SET client_min_messages = 'notice'",
    "SET extra_float_digits = 1",
    "SET plan_cache_mode = 'auto'",
)
_BATCH = 100  # reads in one trip to the server
_DROPPED = -1
_FIRST_FEW = 2  # writes that a door has to stand before all are sent at once
_SWEEP_AFTER = 4000  # statements between two vacuums
_TABLES = frozenset({RelationKind.TABLE, RelationKind.PARTITIONED})


@dataclass(slots=True)
class Stage:
    """A world in an open transaction on one wire.

    Everything that happens under a principal is undone, unless the caller asks to keep it.
    """

    wire: Wire
    catalog: Catalog
    model: Model
    loader: WorldLoader
    _queries: dict[RelationName, OwnershipQuery] = field(default_factory=dict)
    _open: bool = False
    _swept: int = 0
    _cut: Cut | None = None
    _tables: dict[int, RelationName] | None = None

    def prepare(self) -> None:
        """Sets up a fresh connection; call it once."""
        self.wire.execute(*_SETTINGS)

    def open(self, world: World, *, after: Principal | None = None) -> list[Refusal]:
        """Begins a transaction and puts ``world`` there; returns the rows that were refused.

        ``after`` is a principal of freshness committed or rolled back: its earlier transaction
        takes place first.
        """
        self.begin(after=after)
        return self.loader.load(self.wire, world)

    def begin(self, *, after: Principal | None = None) -> None:
        """Begins a transaction on what is committed: a world that stands already, or nothing.

        Raises ToolError if ``after`` must meet settings that were never set and they were.
        """
        self.close()
        if after is not None and after.freshness in (Freshness.COMMITTED, Freshness.ROLLED_BACK):
            end = "COMMIT" if after.freshness is Freshness.COMMITTED else "ROLLBACK"
            earlier = [
                f"SELECT set_config({literal(n)}, {literal(v)}, true)" for n, v in after.earlier
            ]
            self.wire.execute("BEGIN", *earlier, end)
        self.wire.execute("BEGIN")
        self._open = True
        if after is not None and after.freshness is Freshness.NEVER_SET:
            self._check_never_set(after)

    def _check_never_set(self, principal: Principal) -> None:
        given = {name for name, _ in principal.settings}
        for name in self.model.identity.settings:
            if name in given:
                continue
            value = self.wire.query(f"SELECT current_setting({literal(name)}, true)")[0][0]
            if value is not None:
                raise ToolError(
                    f"the setting {name} can never be unset here: every new connection has it "
                    f"as {value!r}",
                    hint="look for ALTER ROLE … SET, ALTER DATABASE … SET or postgresql.conf",
                )

    def close(self) -> None:
        """Rolls everything back."""
        if self._open:
            self.wire.execute("ROLLBACK")
            self._open = False
            if self.wire.clock.statements - self._swept > _SWEEP_AFTER:
                self._swept = self.wire.clock.statements
                self._vacuum()

    def commit(self) -> None:
        """Keeps the world that was loaded."""
        self.wire.execute("COMMIT")
        self._open = False

    def _vacuum(self) -> None:
        """Writes that were undone leave dead rows behind, which slow down every scan."""
        names = ", ".join(qualified(n) for n in self.judged())
        if names:
            self.wire.attempt(f"VACUUM (TRUNCATE) {names}")

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Whatever happens inside is undone."""
        self.wire.execute("SAVEPOINT undone")
        try:
            yield
        finally:
            self.wire.execute("ROLLBACK TO undone", "RELEASE undone")

    @contextmanager
    def altered(self, statements: Sequence[str]) -> Iterator[bool]:
        """The world after the trusted role ran ``statements``; False where it could not."""
        with self.undone():
            done = self.wire.groups([list(statements)])
            yield all(o.failure is None for o in done)

    @contextmanager
    def without(self, settings: Sequence[str]) -> Iterator[bool]:
        """Statements are planned without these ways to run them (``enable_hashjoin``); False
        where that is not tried."""
        with self.altered([f"SET LOCAL {name} = off" for name in settings]) as done:
            yield done

    def cut(self) -> Cut:
        """The cut oracle for this catalog and model."""
        if self._cut is None:
            self._cut = Cut(self.catalog, self.model)
        return self._cut

    # What the trusted role sees

    def judged(self) -> tuple[RelationName, ...]:
        """The tables whose rows are read as the state: all but views and foreign tables."""
        return tuple(
            n
            for n, r in self.catalog.relations.items()
            if r.kind in _TABLES and self.model.owner_of(n).kind is not OwnershipKind.UNCLASSIFIED
        )

    def state(self, relations: Sequence[RelationName] | None = None) -> State:
        """All rows of these relations (default: all that are judged) with their owners."""
        names = tuple(relations if relations is not None else self.judged())
        for name in names:
            if name not in self._queries:
                self._queries[name] = ownership_query(self.catalog, self.model, name)
        outcomes = self.wire.pipeline(
            [self._queries[n].sql for n in names], prepare=True, together=True
        )
        state: dict[RelationName, dict[Key, RowFacts]] = {}
        for name, outcome in zip(names, outcomes, strict=True):
            if outcome.failure is not None:
                raise ToolError(
                    f"the ownership of {name} cannot be read: {outcome.failure.message}",
                    hint="check [tenancy.tables] and the predicates of the configuration",
                )
            state[name] = _facts(outcome)
        return state

    def prediction(self, state: State | None = None) -> Prediction:
        """The model's prediction over the present state."""
        return Prediction(
            self.model, state if state is not None else self.state(), self._satisfying
        )

    def _satisfying(self, questions: Sequence[Question]) -> list[frozenset[Key]]:
        statements = [rows_satisfying(self.catalog, r, predicate) for r, predicate in questions]
        outcomes = self.wire.pipeline(statements, prepare=True, together=True)
        for (relation, predicate), outcome in zip(questions, outcomes, strict=True):
            if outcome.failure is not None and not outcome.skipped:
                raise ToolError(
                    f"a rule on {relation} cannot be evaluated: {outcome.failure.message}\n"
                    f"  {predicate}",
                    hint="rules are SQL over the relation's columns, with :tenant, :tenants and "
                    ":user",
                )
        return [frozenset((row[0] or b"").decode() for row in o.rows) for o in outcomes]

    def touches(self) -> dict[RelationName, int]:
        """How many rows were ever written in this transaction, by relation, undone ones included.

        Two readings that are equal mean that nothing was written to a relation in between
        (pg_stat_get_xact_tuples_*: manual, section 27.2.25). One that is no longer there has -1.
        """
        if self._tables is None:
            self._tables = {
                r.oid: n for n, r in self.catalog.relations.items() if r.kind in _TABLES
            }
        wanted = "{" + ",".join(str(o) for o in self._tables) + "}"
        counts = " + ".join(
            f"pg_stat_get_xact_tuples_{word}(o)" for word in ("inserted", "updated", "deleted")
        )
        outcome = self.wire.pipeline(
            [
                f"SELECT o, CASE WHEN EXISTS (SELECT FROM pg_class WHERE pg_class.oid = o) "
                f"THEN {counts} ELSE {_DROPPED} END FROM unnest('{wanted}'::oid[]) AS o"
            ],
            prepare=True,
        )[0]
        return {self._tables[int(o or 0)]: int(n or 0) for o, n in outcome.rows}

    def state_after(
        self, before: State, earlier: Mapping[RelationName, int], *, whole: bool
    ) -> tuple[State, frozenset[RelationName]]:
        """The present state, given that of ``earlier`` (see ``touches``), and what was touched.

        Only touched relations are read again, unless ``whole`` is asked for because ownership
        elsewhere may follow from them.
        """
        now = self.touches()
        touched = {n for n, count in now.items() if count != earlier.get(n)}
        for name in list(touched):
            parent = self.catalog.relations[name].parent
            while parent is not None and parent in self.catalog.relations:
                touched.add(parent)
                parent = self.catalog.relations[parent].parent
        names = self.judged() if whole else [n for n in self.judged() if n in touched]
        gone = [n for n in names if now.get(n) == _DROPPED]
        state = self.state([n for n in names if n not in gone])
        return {**before, **state, **{n: {} for n in gone}}, frozenset(touched)

    def population(self) -> Population:
        """Who is there: tenants, users and memberships, with their columns as attributes."""
        model = self.model
        if model.tenants is not None:
            tenants = self._attributes(model.tenants, model.tenant_key or "")
        else:
            tenants = {v: {"id": v} for v in model.tenant_values}
        users: dict[str, Mapping[str, str | None]] = {}
        if model.users is not None:
            users.update(self._attributes(model.users, model.user_key or ""))
        facts: list[MembershipFact] = []
        query = membership_query(model)
        for user, tenant, kind, active, columns in self.wire.query(query) if query else ():
            if user is None or tenant is None or kind is None:
                continue
            attributes = _texts(json.loads(columns or "{}"))
            facts.append(MembershipFact(user, tenant, kind, active == "t", attributes))
            users.setdefault(user, {"id": user})
            tenants.setdefault(tenant, {"id": tenant})
        return Population(tenants, users, tuple(facts), has_users=model.memberships is not None)

    def _attributes(self, relation: RelationName, key: str) -> dict[str, Mapping[str, str | None]]:
        source = f"{identifier(relation.schema)}.{identifier(relation.name)}"
        rows = self.wire.query(
            f"SELECT t.{identifier(key)}::text, to_jsonb(t)::text FROM {source} AS t ORDER BY 1"
        )
        return {
            value: {**_texts(json.loads(columns or "{}")), "id": value}
            for value, columns in rows
            if value is not None
        }

    def principals(self) -> tuple[Principal, ...]:
        """All principals of the world that stands here."""
        return derive_principals(self.model, self.population(), resolve=self.resolve)

    def resolve(self, sql: str, binding: Binding) -> str | None:
        """The single value of a query of the configuration, or None."""
        rows = self.wire.query(bind_sql(sql, binding))
        return rows[0][0] if rows else None

    # What principals do

    def read(
        self,
        principal: Principal,
        statements: Sequence[str],
        *,
        prepare: bool = True,
        again: bool = False,
        doors: Sequence[Hashable] = (),
    ) -> list[Outcome]:
        """Runs reads as ``principal`` under one savepoint; what fails does not stop the rest.

        ``again``: it acted in this transaction before, and its settings are as it left them.
        ``doors``: what each statement comes to; where some took too long the rest is not run.

        Scripts come last, each in a batch of its own: they cannot be pipelined, and leave things
        behind until their savepoint goes.
        """
        plain = [i for i, s in enumerate(statements) if not is_script(s)]
        scripts = [i for i, s in enumerate(statements) if is_script(s)]
        outcomes: dict[int, Outcome] = {}
        for part in (plain, *([i] for i in scripts)):
            answers = self._read_batches(
                principal,
                [statements[i] for i in part],
                prepare=prepare and part is plain,
                again=again,
                doors=[doors[i] for i in part] if doors else (),
            )
            outcomes.update(zip(part, answers, strict=True))
        return [outcomes[i] for i in range(len(statements))]

    def _read_batches(
        self,
        principal: Principal,
        statements: Sequence[str],
        *,
        prepare: bool,
        again: bool,
        doors: Sequence[Hashable],
    ) -> list[Outcome]:
        head = ["SAVEPOINT act", *self._identity(principal, again=again)]
        tail = ["ROLLBACK TO act", "RELEASE act"]
        outcomes: list[Outcome] = []
        while len(outcomes) < len(statements):
            start = len(outcomes)
            batch = statements[start : start + _BATCH]
            if doors and self.wire.clock.slow:
                shut = [self.wire.clock.is_given_up(d) for d in doors[start : start + _BATCH]]
                if shut[0]:
                    outcomes.append(given_up())
                    continue
                batch = batch[: shut.index(True)] if True in shut else batch
            results = self.wire.groups([head, batch, tail], prepare=prepare)
            self._enter(principal, results[: len(head)])
            outcomes += [o for o in results[len(head) : len(head) + len(batch)] if not o.skipped]
            if doors:  # only the last of a batch can have failed
                self._note_slow(doors[len(outcomes) - 1], outcomes[-1])
        return outcomes

    def _note_slow(self, door: Hashable, outcome: Outcome) -> None:
        if outcome.cancelled:
            self.wire.clock.slow[door] += 1

    def write(
        self, principal: Principal, statements: Sequence[str], *, doors: Sequence[Hashable] = ()
    ) -> list[Outcome]:
        """Runs writes as ``principal``, each undone before the next. ``doors`` is as for
        ``read``."""
        head = ["SAVEPOINT act", *identity_statements(principal, self.catalog), "SAVEPOINT write"]
        self._enter(principal, self.wire.groups([head]))
        results = self._each_undone(statements, prepare=True, doors=doors)
        self.wire.execute("ROLLBACK TO act", "RELEASE act")
        return results

    def trusted(
        self,
        statements: Sequence[str],
        *,
        settings: Sequence[tuple[str, str]] = (),
        doors: Sequence[Hashable] = (),
    ) -> list[Outcome]:
        """Runs statements as the trusted role, without row security, each undone. With
        ``settings`` triggers take it for the principal whose settings these are. ``doors`` is as
        for ``read``."""
        told = [f"SELECT set_config({literal(n)}, {literal(v)}, true)" for n, v in settings]
        self.wire.execute("SAVEPOINT trusted", *told, "SAVEPOINT write")
        results = self._each_undone(statements, prepare=False, doors=doors)
        self.wire.execute("ROLLBACK TO trusted", "RELEASE trusted")
        return results

    def _each_undone(
        self, statements: Sequence[str], *, prepare: bool, doors: Sequence[Hashable]
    ) -> list[Outcome]:
        """The outcome of each statement, undone by the savepoint ``write``.

        All go out at once, but those that come to a door for the first time in this run: of these
        only a few, so that a door where all take too long is given up soon.
        """
        clock = self.wire.clock
        results: list[Outcome] = []
        while len(results) < len(statements):
            start = len(results)
            most = len(statements)
            if doors:
                ahead = doors[start:]
                if clock.is_given_up(ahead[0]):
                    results.append(given_up())
                    continue
                wary = ahead[0] not in clock.quick or clock.slow
                same = next((i for i, d in enumerate(ahead) if d != ahead[0]), len(ahead))
                known = next((i for i, d in enumerate(ahead) if d not in clock.quick), len(ahead))
                most = min(same, _FIRST_FEW) if wary else known
            part = self._batch_undone(statements[start : start + most], prepare=prepare)
            results += part
            if doors:
                clock.quick.add(doors[start])
                for door, outcome in zip(doors[start:], part, strict=False):
                    self._note_slow(door, outcome)
        return results

    def _batch_undone(self, statements: Sequence[str], *, prepare: bool) -> list[Outcome]:
        """The outcome of each statement, undone by the savepoint ``write``; constraints that may
        wait are checked at once, and what they say counts as the statement's own failure."""
        checks = ["SET CONSTRAINTS ALL IMMEDIATE"] if self.loader.deferrable else []
        groups = [g for s in statements for g in ([s, *checks], ["ROLLBACK TO write"])]
        outcomes = self.wire.groups(groups, prepare=prepare)
        size = 2 + len(checks)
        results: list[Outcome] = []
        for start in range(0, len(outcomes), size):
            first, *others = outcomes[start : start + size]
            failed = next((o for o in others if o.failure is not None and not o.skipped), None)
            results.append(failed if failed is not None and first.failure is None else first)
        return results

    def act(self, principal: Principal, sql: str, *, again: bool = False) -> Outcome:
        """Runs one statement as ``principal`` and keeps what it did; a failure leaves no trace.
        ``again`` is as for ``read``.

        Constraints that may wait are checked at once, still in the principal's role. Afterwards
        the trusted role is back; the values of settings stay.
        """
        head = ["SAVEPOINT step", *self._identity(principal, again=again)]
        checks = ["SET CONSTRAINTS ALL IMMEDIATE"] if self.loader.deferrable else []
        outcomes = self.wire.groups([head, [sql, *checks]])
        self._enter(principal, outcomes[: len(head)])
        outcome = outcomes[len(head)]
        late = next((o for o in outcomes[len(head) + 1 :] if o.failure and not o.skipped), None)
        if late is not None:
            outcome = late
        end = "ROLLBACK TO step" if outcome.failure else "SET LOCAL SESSION AUTHORIZATION DEFAULT"
        self.wire.execute(end, "RELEASE step")
        return outcome

    def _identity(self, principal: Principal, *, again: bool) -> list[str]:
        if again:
            return return_statements(principal)
        return identity_statements(principal, self.catalog)

    def _enter(self, principal: Principal, outcomes: Sequence[Outcome]) -> None:
        failure = next((o.failure for o in outcomes if o.failure is not None), None)
        if failure is None:
            return
        raise ToolError(
            f"the identity of a principal of kind {principal.kind!r} could not be set: "
            f"{failure.message} ({failure.sqlstate})",
            hint="check [identity]: login, role, settings and statements; the login must be a "
            "member of the role",
        )


def _facts(outcome: Outcome) -> dict[Key, RowFacts]:
    facts: dict[Key, RowFacts] = {}
    for key, tenants, users, shared, text in outcome.rows:
        name = (key or b"").decode()
        while name in facts:  # a relation without a key may hold equal rows
            name += "'"
        facts[name] = RowFacts(
            name,
            _array(tenants),
            _array(users),
            shared == b"t",
            (text or b"").decode(errors="replace"),
        )
    return facts


def _array(value: bytes | None) -> frozenset[str]:
    text = (value or b"{}").decode()
    if text == "{}":
        return frozenset()
    if '"' not in text and "\\" not in text:
        return frozenset(text[1:-1].split(","))
    parts: list[str] = []
    part, quoted, escaped = "", False, False
    for character in text[1:-1]:
        if escaped:
            part, escaped = part + character, False
        elif character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            parts.append(part)
            part = ""
        else:
            part += character
    return frozenset([*parts, part])


def _texts(columns: Mapping[str, object]) -> dict[str, str | None]:
    return {
        name: value if isinstance(value, str) or value is None else json.dumps(value)
        for name, value in columns.items()
    }
