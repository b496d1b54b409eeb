"""Which rows a world has: tenants, people, and each tenant's share of every relation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from tenantfuzz.policies.model import OwnershipKind
from tenantfuzz.policies.structure import RelationName
from tenantfuzz.policies.world import World
from tenantfuzz.strategies.building import Builder
from tenantfuzz.strategies.filling import Wish
from tenantfuzz.strategies.members import (
    Person,
    lives_in_users,
    made_up_user,
    plan_people,
    tenant_column_of_users,
)
from tenantfuzz.strategies.ordering import nullable

_MOST_USERS = 4  # rows of one relation and tenant that are made for its users, at most
_MOST_VALUES = 8  # that are made for the values of deciding columns
_BYSTANDERS = 12  # tenants
_MOST_PAIRS = 48  # that are made for pairs of deciding values
_MOST_LEAVES = 6  # that are made for partitions


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a world is, and which edge cases it holds.

    ``tenants`` counts those with rows; ``empty_tenant`` adds one without. ``kinds`` makes a user
    for every tenant and kind of membership, else one for every tenant. ``rows`` is the number of
    rows by relation and tenant; from 2 on there are more where they show something: one for each
    user, value of a deciding column, or partition. ``null_owner`` adds rows whose owner is NULL.
    With a ``crowd`` each deciding value of a row meets each of the rows that it points at, and
    that many rows more have such values by chance; 0 for a world without that.
    """

    tenants: int = 3
    empty_tenant: bool = True
    rows: int = 2
    kinds: bool = True
    dual: bool = True
    outsider: bool = True
    former: bool = True
    null_owner: bool = True
    mixed: bool = False  # users of different kinds in two tenants
    shared: int = 2
    private: int = 1
    crowd: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """What is chosen for one relation: rows more than the shape says, and the first parent and
    the first value of deciding columns to take."""

    more: int = 0
    parent: int = 0
    value: int = 0

    MORE: ClassVar = 3
    PARENTS: ClassVar = 4
    VALUES: ClassVar = 24

    @classmethod
    def decode(cls, number: int) -> "Decision":
        """The decision behind a number in ``range(MORE * PARENTS * VALUES)``; 0 is simplest."""
        rest, more = divmod(number, cls.MORE)
        value, parent = divmod(rest, cls.PARENTS)
        return cls(more, parent, value)


class Populator:
    """Fills a builder with the rows of one world."""

    def __init__(
        self, builder: Builder, shape: Shape, decide: Callable[[RelationName], Decision]
    ) -> None:
        self._builder = builder
        self._plan = builder.plan
        self._model = builder.plan.model
        self._shape = shape
        self._decide = decide
        self._tenants: list[str] = []
        self._tenant_ordinals: list[int | None] = []
        self._people: tuple[Person, ...] = ()
        self._users: list[str] = []
        self._user_ordinals: list[int | None] = []

    def world(self) -> World:
        """Make all rows, in an order in which they can be inserted."""
        builder = self._builder
        self._name_tenants()
        builder.stock.add_existing(self._tenants)
        self._name_people()
        memberships = self._model.memberships
        makers: dict[RelationName | None, Callable[[RelationName], None]] = {
            self._model.tenants: self._make_tenants,
            memberships.relation if memberships is not None else None: self._make_memberships,
        }
        # Where memberships live in the users table, its rows are users first of all.
        makers[self._model.users] = self._make_users
        for name in self._plan.order:
            decision = self._decide(name)
            builder.filler.turns[name] = 0 if self._shape.crowd else decision.value
            make = makers.get(name)
            if make is not None:
                make(name)
            else:
                self._make_rows(name, decision)
        builder.finish()
        return World(
            tuple(builder.rows), tuple(builder.fixups), tuple(self._tenants), tuple(self._users)
        )

    # Tenants and people have their keys before their rows, so that others can refer to them.

    def _name_tenants(self) -> None:
        model, shape = self._model, self._shape
        wanted = shape.tenants + shape.empty_tenant + self._bystanders()
        name, key = model.tenants, model.tenant_key
        if name is None or key is None:
            enough = len(model.tenant_values) > shape.tenants
            self._tenants = list(model.tenant_values[: wanted if enough else shape.tenants])
            return
        if name not in self._plan.order:
            rows = self._plan.existing.get(name, ())
            self._tenants = [v for row in rows if (v := row.get(key)) is not None][:wanted]
            return
        self._tenants, self._tenant_ordinals = self._keys(name, key, wanted)

    def _bystanders(self) -> int:
        """How many tenants without rows or members a crowd has, where two values of a tenant may
        decide together."""
        name = self._model.tenants
        several = name is not None and len(self._plan.cycling.get(name, {})) > 1
        return _BYSTANDERS if self._shape.crowd and several else 0

    def _keys(
        self, name: RelationName, key: str, wanted: int
    ) -> tuple[list[str], list[int | None]]:
        values: list[str] = []
        ordinals: list[int | None] = []
        for _ in range(wanted):
            made = self._builder.key_ahead(name, (key,), {})
            if made is None:
                break
            ordinal, fixed = made
            value = fixed[key]
            if value is not None:
                values.append(value)
                ordinals.append(ordinal)
        return values, ordinals

    def _with_rows(self) -> list[str]:
        """The tenants that hold rows: all but the empty one."""
        return self._tenants[: self._shape.tenants]

    def _name_people(self) -> None:
        shape, model = self._shape, self._model
        self._people = plan_people(
            self._plan,
            min(len(self._tenants), shape.tenants + shape.empty_tenant),
            kinds=shape.kinds,
            dual=shape.dual,
            outsider=shape.outsider,
            former=shape.former,
            mixed=self._shape.mixed,
        )
        if model.users in self._plan.order and model.users is not None and model.user_key:
            count = len(self._people)
            self._users, self._user_ordinals = self._keys(model.users, model.user_key, count)
            self._people = self._people[: len(self._users)]
        else:
            self._users = [
                made_up_user(self._plan.catalog, model, person.number) for person in self._people
            ]
        self._builder.active = {
            user: frozenset(self._tenants[t] for t in person.active_in)
            for user, person in zip(self._users, self._people, strict=True)
        }

    def _home(self, person: Person) -> str | None:
        """The first tenant of a person, also where the membership is no longer in force."""
        return self._tenants[person.memberships[0][0]] if person.memberships else None

    def _make_tenants(self, name: RelationName) -> None:
        for at, tenant in enumerate(self._tenants):
            fixed = {str(self._model.tenant_key): tenant}
            # The first two are as tenants ordinarily are: between them leaks must show.
            value = at if self._builder.filler.turns.get(name) else max(0, at - 1)
            self._builder.make(name, Wish(tenant, 0, 0, value, fixed, self._tenant_ordinals[at]))

    def _make_users(self, name: RelationName) -> None:
        column = tenant_column_of_users(self._model)
        for person, user, ordinal in zip(
            self._people, self._users, self._user_ordinals, strict=True
        ):
            home = self._home(person)
            fixed: dict[str, str | None] = {str(self._model.user_key): user}
            if lives_in_users(self._model) and person.memberships:
                fixed |= person.memberships[0][1].values
            if column is not None:
                fixed[column] = home
            # Unless values are mixed anyway, users are ordinary: not deleted, not banned.
            value = person.natural if self._builder.filler.turns.get(name) else 0
            self._builder.make(
                name, Wish(home, person.natural, person.natural, value, fixed, ordinal)
            )

    def _make_memberships(self, name: RelationName) -> None:
        memberships = self._model.memberships
        if memberships is None:
            return
        for person, user in zip(self._people, self._users, strict=True):
            for at, joining in person.memberships:
                tenant = self._tenants[at]
                fixed = {**joining.values, memberships.user: user, memberships.tenant: tenant}
                self._builder.make(
                    name, Wish(tenant, person.natural, person.natural, person.natural, fixed)
                )

    # The other relations.

    def _make_rows(self, name: RelationName, decision: Decision) -> None:
        ownership = self._model.owner_of(name)
        match ownership.kind:
            case OwnershipKind.USER | OwnershipKind.MEMBERS if ownership.column and self._users:
                self._make_for_users(name, ownership.column)
            case OwnershipKind.SHARED:
                for at in range(self._shape.shared):
                    self._builder.make(name, Wish(None, at, at + decision.parent, at))
            case OwnershipKind.PRIVATE:
                if not self._make_for_everybody(name):
                    for at in range(self._shape.private):
                        self._make_private(name, at)
            case OwnershipKind.UNCLASSIFIED:
                pass  # made where another relation's row needs one
            case _:
                self._make_for_tenants(name, decision)

    def _make_for_everybody(self, name: RelationName) -> bool:
        """Private rows that identity may hang on: a session of each user in each tenant where it
        is a member, a key of each tenant. False where the rows name neither."""
        users, tenants = self._columns_naming(name)
        if not users and not tenants:
            return False
        pairs: list[tuple[int, str | None, str | None]] = []
        for person, user in zip(self._people, self._users, strict=True):
            homes: list[str | None] = [self._tenants[t] for t in person.active_in]
            homes = homes or [self._home(person)]
            if users:
                pairs += [(person.natural, user, home) for home in homes if home or not tenants]
        if not users:
            pairs += [(0, None, tenant) for tenant in self._with_rows()]
        for at, who, where in pairs:
            fixed = {**dict.fromkeys(users, who), **dict.fromkeys(tenants, where)}
            self._builder.make(name, Wish(where, at, at, 0, fixed))
        return True

    def _columns_naming(self, name: RelationName) -> tuple[list[str], list[str]]:
        """The columns that hold a user, and those that hold a tenant, by its foreign keys."""
        model = self._model
        memberships = model.memberships
        users: list[str] = []
        tenants: list[str] = []
        for link in self._plan.links.get(name, ()):
            key = link.key
            for column, target in zip(key.columns, key.target_columns, strict=True):
                of_member = memberships is not None and key.target == memberships.relation
                if (key.target, target) == (model.users, model.user_key) or (
                    of_member and memberships is not None and target == memberships.user
                ):
                    users.append(column)
                elif (key.target, target) == (model.tenants, model.tenant_key) or (
                    of_member and memberships is not None and target == memberships.tenant
                ):
                    tenants.append(column)
        return list(dict.fromkeys(users))[:1], list(dict.fromkeys(tenants))[:1]

    def _make_private(self, name: RelationName, at: int) -> None:
        """A private row may still speak about a tenant (jobs, outboxes): then about the first."""
        if self._builder.make(name, Wish(None, at, at, at)) is None and self._tenants:
            self._builder.make(name, Wish(self._tenants[0], at, at, at))

    def _make_for_users(self, name: RelationName, column: str) -> None:
        """One row for each user; where no user can have two, the outsider has none, so that there
        is a row that could still be inserted."""
        relation = self._plan.catalog.relations[name]
        single = any(u.columns == (column,) for u in relation.uniques)
        for person, user in zip(self._people, self._users, strict=True):
            if any(r.values.get(column) == user for r in self._builder.stock.records.get(name, ())):
                continue  # it was made as a parent of another row
            if single and not person.memberships:
                continue
            home = self._home(person)
            fixed = {**self._pointing(name, home), column: user}
            natural = person.natural
            self._builder.make(name, Wish(home, natural, natural, natural, fixed))

    def _make_for_tenants(self, name: RelationName, decision: Decision) -> None:
        ownership = self._model.owner_of(name)
        builder = self._builder
        holding = self._with_rows()
        if len(holding) > 2 and self._is_single(name):
            del holding[1]
        for tenant in holding:
            by_column = ownership.kind is OwnershipKind.COLUMN and ownership.column is not None
            fixed = self._pointing(name, tenant)
            if by_column:
                fixed[str(ownership.column)] = tenant
            promised = builder.reserved(name, tenant)
            for at in range(max(self._count(name, tenant) + decision.more, len(promised))):
                turn, value = at + decision.parent, at
                if at < self._paired(name):
                    turn, value = divmod(at, self._plan.variety(name))
                wish = Wish(tenant, at, turn, value, fixed)
                if at < len(promised):
                    ordinal, key = promised[at]
                    wish = Wish(tenant, at, turn, value, {**key, **fixed}, ordinal)
                if builder.make(name, wish) is None and at >= len(promised):
                    break
        if self._shape.null_owner:
            self._make_without_owner(name)

    def _is_single(self, name: RelationName) -> bool:
        """Whether no tenant can have two rows. Then the second one, whose members act as well, has
        none: so that there is room for a row of its own, and for one that others put there."""
        column = self._model.owner_of(name).column
        relation = self._plan.catalog.relations[name]
        return column is not None and any(u.columns == (column,) for u in relation.uniques)

    def _pointing(self, name: RelationName, tenant: str | None) -> dict[str, str | None]:
        """The columns that name the row's tenant though no foreign key says so."""
        found = self._plan.pointers.get(name, ())
        return dict.fromkeys(found, tenant) if tenant is not None else {}

    def _count(self, name: RelationName, tenant: str) -> int:
        if self._shape.crowd and self._plan.decided(name):
            return self._paired(name) + self._shape.crowd
        count = self._shape.rows
        if count < 2:
            return count
        model = self._model
        memberships = model.memberships.relation if model.memberships is not None else None
        people = {memberships, model.users} | {
            n
            for n, o in model.ownership.items()
            if o.kind in (OwnershipKind.USER, OwnershipKind.MEMBERS)
        }
        if any(k.key.target in people for k in self._plan.links.get(name, ())):
            members = sum(tenant in tenants for tenants in self._builder.active.values())
            count = max(count, min(members, _MOST_USERS))
        count = max(count, min(self._plan.variety(name), _MOST_VALUES))
        return max(count, min(len(self._plan.leaves.get(name, ())), _MOST_LEAVES))

    def _paired(self, name: RelationName) -> int:
        """The number of rows, the first ones, that pair deciding values with those of parents."""
        if not self._shape.crowd or not self._plan.decided(name):
            return 0
        return min(self._plan.pairs(name), _MOST_PAIRS)

    def _make_without_owner(self, name: RelationName) -> None:
        """The edge row that belongs to nobody, where the schema lets there be one."""
        ownership = self._model.owner_of(name)
        relation = self._plan.catalog.relations[name]
        columns: set[str] = set()
        if ownership.kind is OwnershipKind.COLUMN and ownership.column is not None:
            columns = {ownership.column}
        elif ownership.kind is OwnershipKind.VIA:
            columns = {c for way in ownership.ways for c in way.columns}
        if columns and all(nullable(relation, c) for c in columns):
            self._builder.make(name, Wish(None, fixed=dict.fromkeys(columns)))
