"""Makes rows one by one: parents are chosen, values solved, keys kept apart, owners noted."""

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tenantfuzz.policies.model import OwnershipKind
from tenantfuzz.policies.structure import Relation, RelationName
from tenantfuzz.policies.world import Fixup, Row, Values
from tenantfuzz.strategies.canaries import Canaries
from tenantfuzz.strategies.choosing import Choice, Chooser
from tenantfuzz.strategies.conditions import Truth, truth_of
from tenantfuzz.strategies.filling import Filler, Wish
from tenantfuzz.strategies.picking import Pick
from tenantfuzz.strategies.plan import POPULATED_KINDS, Link, Plan
from tenantfuzz.strategies.solving import Unsolvable
from tenantfuzz.strategies.standing import Standing
from tenantfuzz.strategies.stock import Record, Stock, owners

_CHOICES = 36  # choices of parents that are tried for one row
NO_PARENTS = "no rows can be had that its foreign keys may point at"
"""Why there is no row whatever its values are."""
_DEPTH = 5  # parents of parents that are made on demand
_NOBODYS = (OwnershipKind.SHARED, OwnershipKind.PRIVATE, OwnershipKind.UNCLASSIFIED)


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
    worlds apart. ``active`` says in which tenants a user is a member now. ``standing`` is a world
    that further rows are drafted for.
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
        self._canaries = Canaries(number, () if standing is None else standing.canaries)
        self.filler = Filler(self.plan, payload, self.stock.taken, self._canaries, number)
        self._sparse: set[RelationName] = set()
        self._making: list[RelationName] = []
        self._later: list[_Later] = []
        self._reserved: dict[tuple[RelationName, str | None], list[tuple[int, Values]]] = {}

    def key_ahead(
        self, name: RelationName, columns: tuple[str, ...], fixed: Values
    ) -> tuple[int, dict[str, str | None]] | None:
        """The ordinal and the key of a row that is made later; None, the reason noted, where none
        is valid."""
        try:
            return self.filler.key_ahead(name, columns, fixed)
        except Unsolvable as error:
            self.failures.setdefault(name, error.reason)
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
        reason = NO_PARENTS
        sparse = name in self._sparse
        self._making.append(name)
        try:
            choices = chooser.choices(wish.fixed, sparse=sparse)
            if steered := self._steered(name, links, wish):
                choices = itertools.chain(chooser.choices(steered, sparse=sparse), choices)
            for at, choice in enumerate(itertools.islice(choices, _CHOICES)):
                try:
                    filled = self.filler.fill(relation, choice, wish)
                except Unsolvable as error:
                    reason = error.reason
                    continue
                if filled is None:
                    reason = "its unique keys leave no room for a further row"
                    continue
                values, canary = filled
                if at > 0 and self._is_sparse(relation, values):
                    self._sparse.add(name)
                final = {**choice.fixed, **values}
                for link in choice.later:
                    for column in link.key.columns:
                        final[column] = wish.fixed.get(column, final.get(column))
                row = Row(name, values, self._made_for(name, wish), canary)
                return Draft(row, final, choice)
        finally:
            self._making.pop()
        self.failures[name] = reason
        return None

    def _steered(self, name: RelationName, links: Sequence[Link], wish: Wish) -> Values:
        """The given columns with those references that this row would rather have."""
        rather = self.filler.preferred(name, wish.value, wish.ordinal or 0)
        single = {k.key.columns[0] for k in links if len(k.key.columns) == 1}
        steer = {c: v for c, v in rather.items() if c in single and c not in wish.fixed}
        return {**wish.fixed, **steer} if steer else {}

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
