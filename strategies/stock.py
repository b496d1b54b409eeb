"""The rows of a world so far, found by the tenant that they belong to."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tenantfuzz.policies.model import Model, OwnershipKind
from tenantfuzz.policies.structure import RelationName
from tenantfuzz.policies.world import Values
from tenantfuzz.strategies.plan import Link, Plan
from tenantfuzz.strategies.uniqueness import TakenKeys


@dataclass(frozen=True, slots=True)
class Record:
    """One row as a possible parent: ``values`` are the final ones, ``belongs`` its tenants.

    ``at`` is its place among the rows of the world, or None for a row that existed before.
    """

    relation: RelationName
    values: dict[str, str | None]
    belongs: frozenset[str] = frozenset()
    shared: bool = False
    at: int | None = None


class Stock:
    """Records by relation and tenant, and the keys that they take."""

    __slots__ = ("_own", "_plan", "records", "taken")

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.records: dict[RelationName, list[Record]] = {}
        self._own: dict[tuple[RelationName, str], list[Record]] = {}
        self.taken = TakenKeys()
        for name, rows in plan.existing.items():
            if name in plan.catalog.relations:
                for values in rows:
                    self.taken.add(plan.catalog.relations[name], values)

    def add(self, record: Record) -> None:
        """Put a record in; later it can be found and its keys are taken."""
        self.records.setdefault(record.relation, []).append(record)
        for tenant in record.belongs:
            self._own.setdefault((record.relation, tenant), []).append(record)
        self.taken.add(self._plan.catalog.relations[record.relation], record.values)

    def add_existing(self, tenants: Collection[str]) -> None:
        """Put in the rows that the schema itself inserted, now that the tenants are known."""
        for name, rows in self._plan.existing.items():
            if name in self._plan.catalog.relations:
                for values in rows:
                    self.add(_existing(self._plan.model, name, values, tenants))

    def of_tenant(self, relation: RelationName, tenant: str) -> Sequence[Record]:
        """The records of a relation that belong to a tenant, in the order they were made."""
        return self._own.get((relation, tenant), ())

    def is_roving(self, relation: RelationName, link: Link) -> bool:
        """Whether the reference names some tenant that need not be the row's own."""
        return (relation, link.key.columns[0]) in self._plan.roving

    def parents(
        self,
        link: Link,
        fixed: Values,
        *,
        tenant: str | None,
        turn: int,
        loose: bool = True,
        roving: bool = False,
    ) -> list[Record]:
        """Rows that ``link`` may point at given the ``fixed`` columns, the best first.

        Rows of the tenant come first, starting with a different one each ``turn``; then shared
        rows; then, if the reference cannot be NULL, rows of nobody, and for a row without a tenant
        any row at all. Where all columns are fixed any row with these values will do. ``loose``
        off leaves only rows of the tenant, as is right for a reference that gives the owner.
        ``roving``: every other turn begins with another tenant (the reference names a partner, or
        somebody who is kept out).
        """
        key = link.key
        everything = self.records.get(key.target, ())
        needed = [
            (target, fixed[column])
            for column, target in zip(key.columns, key.target_columns, strict=True)
            if column in fixed
        ]
        own = self.of_tenant(key.target, tenant) if tenant is not None else ()
        start = turn % len(own) if own else 0
        found = [*own[start:], *own[:start]]
        if roving and len(everything) > 1 and tenant is not None:
            others = [r for r in everything if tenant not in r.belongs]
            start = turn // 2 % max(1, len(others))
            others = [*others[start:], *others[:start]]
            found = found + others if turn % 2 else others + found
        if len(needed) == len(key.columns):
            found = list(everything)
        elif loose:
            shared = [r for r in everything if r.shared]
            # Now and then a row refers to what is shared though its tenant has such rows too.
            found = shared + found if turn % 4 == 3 else found + shared
            if link.hard:
                found += [r for r in everything if not r.shared and not r.belongs]
                if tenant is None:
                    found += [r for r in everything if r.belongs]
        if not needed:
            return found
        return [r for r in found if all(r.values.get(t) == value for t, value in needed)]


def _existing(model: Model, name: RelationName, values: Values, tenants: Collection[str]) -> Record:
    """A row of the schema's own, with the owner as far as its own columns tell."""
    ownership = model.owner_of(name)
    owner = values.get(ownership.column) if ownership.column is not None else None
    shared = ownership.kind is OwnershipKind.SHARED
    belongs: frozenset[str] = frozenset()
    if ownership.kind in (OwnershipKind.COLUMN, OwnershipKind.TENANTS):
        if owner in tenants and owner is not None:
            belongs = frozenset((owner,))
        elif owner is None:
            shared = ownership.null_shared
        else:
            belongs = frozenset((owner,))
    return Record(name, dict(values), belongs, shared)


def owners(
    model: Model,
    name: RelationName,
    values: Values,
    *,
    tenant: str | None,
    parents: Iterable[Record],
    active: Mapping[str, frozenset[str]],
) -> tuple[frozenset[str], bool]:
    """The tenants that a row belongs to, and whether it is shared.

    ``tenant`` is whom it was made for, ``parents`` are the rows that give its owner, ``active``
    tells in which tenants a user is a member now.
    """
    ownership = model.owner_of(name)
    mine: frozenset[str] = frozenset() if tenant is None else frozenset((tenant,))
    column = ownership.column
    if name == model.users and model.user_key is not None:
        return active.get(values.get(model.user_key) or "", frozenset()), False
    if model.memberships is not None and name == model.memberships.relation:
        # A membership that is not in force is nobody's to refer to.
        in_force = active.get(values.get(model.memberships.user) or "", frozenset())
        return in_force & {values.get(model.memberships.tenant) or ""}, False
    match ownership.kind:
        case OwnershipKind.SHARED:
            return frozenset(), True
        case OwnershipKind.COLUMN | OwnershipKind.TENANTS if column is not None:
            value = values.get(column)
            return (frozenset((value,)), False) if value else (frozenset(), ownership.null_shared)
        case OwnershipKind.USER | OwnershipKind.MEMBERS if column is not None:
            return active.get(values.get(column) or "", frozenset()), False
        case OwnershipKind.VIA:
            found = frozenset(t for parent in parents for t in parent.belongs)
            return found, not found and tenant is None and ownership.null_shared
        case _:
            return mine, False
