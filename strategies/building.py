"""Makes rows one by one: parents are chosen, values solved, keys kept apart, owners noted."""

import itertools
from collections.abc import Collection
from dataclasses import dataclass, field

from tenantfuzz.policies.model import OwnershipKind
from tenantfuzz.policies.structure import Check, Relation, RelationName
from tenantfuzz.policies.world import Fixup, Row, Values
from tenantfuzz.strategies.canaries import Canaries, held
from tenantfuzz.strategies.choosing import Choice, Chooser
from tenantfuzz.strategies.conditions import Condition, Truth, condition_of, truth_of
from tenantfuzz.strategies.picking import Pick, ShiftedPick
from tenantfuzz.strategies.plan import POPULATED_KINDS, Link, Plan
from tenantfuzz.strategies.solving import Unsolvable, solve_row
from tenantfuzz.strategies.standing import Standing
from tenantfuzz.strategies.stock import Record, Stock, owners
from tenantfuzz.strategies.uniqueness import Key

_CHOICES = 24  # choices of parents that are tried for one row
_NUMBERS = 4  # pairs of ordinal and natural number that are tried for one choice
_UNMIRRORED = 20  # natural numbers from here on are of rows that cannot mirror others
_STRIDE = 997  # keeps the numbers of further attempts apart
_DEPTH = 5  # parents of parents that are made on demand
_AHEAD = 50  # numbers that are tried for a key that is made before its row
_NOBODYS = (OwnershipKind.SHARED, OwnershipKind.PRIVATE, OwnershipKind.UNCLASSIFIED)


@dataclass(frozen=True, slots=True)
class Wish:
    """A row that is wanted: for whom, with which columns given, under which numbers.

    ``natural`` is equal for the mirrored rows of different tenants; ``turn`` rotates parents,
    ``value`` the values of deciding columns; ``ordinal`` is given where a key was made before the
    row.
    """

    tenant: str | None
    natural: int = 0
    turn: int = 0
    value: int = 0
    fixed: Values = field(default_factory=dict)
    ordinal: int | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """A row as it is inserted, its values once fix-ups are done, and the choice behind it."""

    row: Row
    final: dict[str, str | None]
    choice: Choice


@dataclass(frozen=True, slots=True)
class _Later:
    link: Link
    record: Record
    wish: Wish


class Builder:
    """Builds one world out of a plan; the caller decides which rows are wanted.

    ``payload`` chooses values that decide nothing; ``number`` tells the canaries of different
    worlds apart; ``turns`` rotates, for each relation, the values that decide verdicts.
    ``active`` says in which tenants a user is a member now.
    ``standing`` is a world that further rows are drafted for.
    """

    def __init__(
        self, plan: Plan, payload: Pick, *, number: int = 0, standing: Standing | None = None
    ) -> None:
        self.plan = plan if standing is None else standing.plan
        self.stock = Stock(plan) if standing is None else standing.stock
        self.rows: list[Row] = []
        self.fixups: list[Fixup] = []
        self.active = {} if standing is None else standing.active
        self.failures: dict[RelationName, str] = {}
        self.turns: dict[RelationName, int] = {}
        self._payload = payload
        self._shift = 0
        self._canaries = Canaries(number, () if standing is None else standing.canaries)
        self._ordinals: dict[RelationName, int] = {}
        self._sparse: set[RelationName] = set()
        self._broken: dict[RelationName, list[tuple[Check, Condition]]] = {}
        self._making: list[RelationName] = []
        self._later: list[_Later] = []
        self._promises: set[tuple[RelationName, tuple[str, ...], Key]] = set()
        self._reserved: dict[tuple[RelationName, str | None], list[tuple[int, Values]]] = {}

    def number_from(self, name: RelationName, start: int) -> None:
        """Number the further rows of a relation from ``start`` on."""
        self._ordinals[name] = start

    def key_ahead(
        self, name: RelationName, columns: tuple[str, ...], fixed: Values
    ) -> tuple[int, dict[str, str | None]] | None:
        """The ordinal of a row that is made later, and values for its key columns."""
        relation = self.plan.catalog.relations[name]
        self._shift = 0
        for _ in range(_AHEAD):
            ordinal = self._next_ordinal(name)
            try:
                values = self._solve(relation, fixed, ordinal, ordinal, "", 0)
            except Unsolvable as error:
                self.failures.setdefault(name, error.reason)
                return None
            key = {c: values.get(c) for c in columns}
            if None in key.values():
                self.failures.setdefault(name, f"no value can be made for {', '.join(columns)}")
                return None
            promised = (name, columns, tuple(key.values()))
            taken = self.stock.taken.conflict(relation, key, partial=True)
            if taken is None and promised not in self._promises:
                self._promises.add(promised)
                return ordinal, key
        self.failures.setdefault(name, "all keys that could be made for it are taken")
        return None

    def reserved(self, name: RelationName, tenant: str | None) -> list[tuple[int, Values]]:
        """Ordinals and keys of rows to be made, to which others refer already."""
        return self._reserved.setdefault((name, tenant), [])

    def make(self, name: RelationName, wish: Wish) -> Record | None:
        """Make a row and put it into the world; None, the reason noted, where none is valid."""
        draft = self.draft(name, wish)
        if draft is None:
            return None
        choice = draft.choice
        belongs, shared = owners(
            self.plan.model,
            name,
            draft.final,
            tenant=wish.tenant,
            parents=choice.owners,
            active=self.active,
        )
        if not belongs and wish.tenant is not None and any(k.owning for k in choice.later):
            belongs = frozenset((wish.tenant,))
        record = Record(name, draft.final, belongs, shared)
        self.rows.append(draft.row)
        self._canaries.use(draft.row.canary)
        self.stock.add(record)
        self._later += [_Later(link, record, wish) for link in choice.later]
        return record

    def draft(
        self,
        name: RelationName,
        wish: Wish,
        *,
        closed: bool = False,
        dictated: Collection[str] = (),
    ) -> Draft | None:
        """A valid row, without putting it into the world.

        Parents that are missing are made, and put into the world, unless it is ``closed``. Where
        ``dictated`` columns complete a reference, it may point anywhere, or nowhere.
        """
        relation = self.plan.catalog.relations[name]
        ownership = self.plan.model.owner_of(name)
        links = [
            k
            for k in self.plan.links.get(name, ())
            if not any(c in dictated for c in k.key.columns)
            or not all(c in wish.fixed for c in k.key.columns)
        ]
        owned = any(
            k.owning and any(c in dictated for c in k.key.columns)
            for k in self.plan.links.get(name, ())
        )
        chooser = Chooser(
            relation,
            links,
            self.stock,
            wish.tenant,
            wish.turn + self.plan.variants.get(name, 0),
            lambda link, wanted: None if closed else self._parent(link, wanted, wish),
            must_own=ownership.kind is OwnershipKind.VIA and wish.tenant is not None and not owned,
        )
        reason = "no rows can be had that its foreign keys may point at"
        self._making.append(name)
        try:
            choices = chooser.choices(wish.fixed, sparse=name in self._sparse)
            for at, choice in enumerate(itertools.islice(choices, _CHOICES)):
                try:
                    row = self._row(relation, choice, wish)
                except Unsolvable as error:
                    reason = error.reason
                    continue
                if row is None:
                    reason = "its unique keys leave no room for a further row"
                    continue
                if at > 0 and self._is_sparse(relation, row.values):
                    self._sparse.add(name)
                final = dict(row.values)
                for link in choice.later:
                    for column in link.key.columns:
                        final[column] = wish.fixed.get(column, final.get(column))
                return Draft(row, final, choice)
        finally:
            self._making.pop()
        self.failures[name] = reason
        return None

    def finish(self) -> None:
        """Set the references that had to wait for their targets."""
        for later in self._later:
            relation = self.plan.catalog.relations[later.record.relation]
            record, key = later.record, later.link.key
            known = {c: v for c in key.columns if (v := record.values.get(c)) is not None}
            primary = relation.primary_key
            if primary is None:
                continue
            for parent in self.stock.parents(
                later.link, known, tenant=later.wish.tenant, turn=later.wish.turn
            ):
                values = {
                    column: parent.values.get(target)
                    for column, target in zip(key.columns, key.target_columns, strict=True)
                }
                if self._may_become(relation, record, values):
                    record.values.update(values)
                    self.stock.taken.add(relation, record.values)
                    inserted = {c: record.values.get(c) for c in primary.columns}
                    changed = {c: v for c, v in values.items() if c not in primary.columns}
                    self.fixups.append(Fixup(relation.name, inserted, changed))
                    break

    def _may_become(self, relation: Relation, record: Record, values: Values) -> bool:
        after = {**record.values, **values}
        changed = [c for c, value in values.items() if value != record.values.get(c)]
        if self.stock.taken.conflict(relation, after, touching=changed) is not None:
            return False
        return not any(
            truth_of(relation, f"NOT ({check.expression})", after) is Truth.YES
            for check in relation.checks
            if any(c in values for c in check.columns)
        )

    def _parent(self, link: Link, wanted: Values, wish: Wish) -> Record | None:
        """A row for a reference that cannot be NULL, where there is none."""
        target = link.key.target
        if link.ahead:
            return self._promised(link, wanted, wish)
        populated = target in self.plan.catalog.relations and target not in self.plan.unpopulated
        if not populated or target in self._making or len(self._making) > _DEPTH:
            return None
        if self.plan.catalog.relations[target].kind not in POPULATED_KINDS:
            return None
        ownership = self.plan.model.owner_of(target)
        tenant = wish.tenant if self._about_tenants(target, set()) else None
        fixed = dict(wanted)
        if ownership.kind is OwnershipKind.COLUMN and ownership.column and tenant:
            fixed.setdefault(ownership.column, tenant)
        at = len(self.stock.of_tenant(target, tenant)) if tenant else 0
        return self.make(target, Wish(tenant, at, wish.turn, wish.value, fixed))

    def _about_tenants(self, name: RelationName, seen: set[RelationName]) -> bool:
        """Whether rows of a relation have an owner, or refer to rows that have one."""
        seen.add(name)
        if self.plan.model.owner_of(name).kind not in _NOBODYS:
            return True
        links = self.plan.links.get(name, ())
        return any(
            k.key.target not in seen and self._about_tenants(k.key.target, seen) for k in links
        )

    def _promised(self, link: Link, wanted: Values, wish: Wish) -> Record | None:
        """The key of a row that is made later: nothing checks the reference before the end."""
        target = link.key.target
        ownership = self.plan.model.owner_of(target)
        fixed = dict(wanted)
        if ownership.kind is OwnershipKind.COLUMN and ownership.column and wish.tenant:
            fixed[ownership.column] = wish.tenant
        slots = self.reserved(target, wish.tenant)
        if wish.natural >= len(slots):
            key = self.key_ahead(target, link.key.target_columns, fixed)
            if key is None:
                return None
            slots.append(key)
        values = slots[min(wish.natural, len(slots) - 1)][1]
        belongs = frozenset((wish.tenant,)) if wish.tenant else frozenset[str]()
        return Record(target, dict(values), belongs)

    def _next_ordinal(self, name: RelationName) -> int:
        ordinal = self._ordinals.get(name, 0)
        self._ordinals[name] = ordinal + 1
        return ordinal

    def _row(self, relation: Relation, choice: Choice, wish: Wish) -> Row | None:
        """The row for one choice of parents; None where its unique keys are taken."""
        name = relation.name
        ordinal = self._next_ordinal(name) if wish.ordinal is None else wish.ordinal
        canary = self._canaries.token(name, ordinal)
        for attempt in range(_NUMBERS):
            # What would be equal for mirrored rows may have to differ: then for every row.
            natural = _UNMIRRORED + ordinal + _STRIDE * (attempt - 1) if attempt else wish.natural
            # At first only numbers change; then other values, for partial unique indexes.
            self._shift = max(0, attempt - 1)
            turn = wish.value + self._shift
            values = self._solve(relation, choice.fixed, ordinal, natural, canary, turn)
            if choice.own:
                itself = {
                    column: values[target]
                    for link in choice.own
                    for column, target in zip(
                        link.key.columns, link.key.target_columns, strict=True
                    )
                }
                fixed = {**choice.fixed, **itself}
                values = self._solve(relation, fixed, ordinal, natural, canary, turn)
            if self.stock.taken.conflict(relation, values) is None:
                stored = {c: v for c, v in values.items() if c not in self._generated(relation)}
                return Row(name, stored, self._made_for(name, wish), held(canary, stored))
            if wish.ordinal is None:
                ordinal = self._next_ordinal(name)
        return None

    def _solve(
        self,
        relation: Relation,
        fixed: Values,
        ordinal: int,
        natural: int,
        canary: str,
        turn: int,
    ) -> dict[str, str | None]:
        """All values of a row: with those that its turn prefers, or, if that cannot be, without."""
        name = relation.name
        rotation = self.turns.get(name, 0)
        preferred = {**self.plan.preferred(name, turn, rotation, ordinal), **fixed}
        overrides = self.plan.values.get(name, {})
        shift = self.plan.variants.get(name, 0) + self._shift
        pick = ShiftedPick(self._payload, shift) if shift else self._payload

        def solve(given: Values) -> dict[str, str | None]:
            solved = solve_row(
                relation,
                given,
                pick=pick,
                ordinal=ordinal,
                natural=natural,
                canary=canary,
                overrides=overrides,
                dictionary=self.plan.dictionary,
            )
            row = {**solved, **given}
            self._require(relation, row, given)
            return row

        if len(preferred) == len(fixed):
            return solve(fixed)
        try:
            return solve(preferred)
        except Unsolvable:
            return solve(fixed)

    def _require(self, relation: Relation, row: Values, given: Values) -> None:
        """Raise Unsolvable where given values alone break a check: solving looks at others only."""
        broken = self._broken.get(relation.name)
        if broken is None:
            broken = self._broken[relation.name] = [
                (check, condition_of(relation, f"NOT ({check.expression})"))
                for check in relation.checks
            ]
        for check, condition in broken:
            if all(c in given for c in check.columns) and condition(row) is Truth.YES:
                raise Unsolvable(f"no row of {relation.name} was found that holds {check.name}")

    def _is_sparse(self, relation: Relation, values: Values) -> bool:
        """Whether the row leaves one of several free references empty."""
        links = self.plan.links.get(relation.name, ())
        empty = [k for k in links if any(values.get(c) is None for c in k.key.columns)]
        return 0 < len(empty) < len(links)

    def _made_for(self, name: RelationName, wish: Wish) -> str | None:
        kind = self.plan.model.owner_of(name).kind
        memberships = self.plan.model.memberships
        about_people = (self.plan.model.users, memberships.relation if memberships else None)
        return None if kind in _NOBODYS and name not in about_people else wish.tenant
