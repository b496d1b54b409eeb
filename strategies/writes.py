"""Writes on one relation by one principal, in every shape that the threat level has."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tenantfuzz.policies.model import Model, OwnershipKind
from tenantfuzz.policies.predictions import Key, Prediction, RowFacts, belongs_to
from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.quoting import column_list, literal, qualified, readable_identifier
from tenantfuzz.policies.structure import Catalog, ForeignKey, Operation, Relation, RelationName
from tenantfuzz.policies.world import Values, World
from tenantfuzz.strategies.actions import Action, Grants
from tenantfuzz.strategies.dictionary import Dictionary
from tenantfuzz.strategies.picking import SimplestPick
from tenantfuzz.strategies.plan import Plan, Unpopulated
from tenantfuzz.strategies.reads import key_columns, key_condition
from tenantfuzz.strategies.solving import mutate_value
from tenantfuzz.strategies.worlds import candidate_row

_PAYLOAD_FIRST = ("title", "name", "body", "description", "content", "label", "note", "subject")
_MOST_VICTIMS = 4
_MOST_LITERALS = 5

Rows = Mapping[Key, Values]
"""The columns, as text, of the rows that stand in a relation."""


@dataclass(slots=True)
class Scene:
    """What the writes of a world are made from; remembers what it made for others to reuse.

    ``rows`` are the present rows of each relation, ``influential`` the relations that policies of
    other relations read, directly or through the functions that they call. ``salt`` makes the keys
    of new rows differ from those of other scenes.
    """

    plan: Plan
    world: World
    prediction: Prediction
    rows: Mapping[RelationName, Rows]
    influential: frozenset[RelationName] = frozenset()
    salt: int = 0
    _candidates: dict[tuple[object, ...], Values | None] = field(default_factory=dict)

    @property
    def catalog(self) -> Catalog:
        """The catalog of the plan."""
        return self.plan.catalog

    @property
    def model(self) -> Model:
        """The model of the plan."""
        return self.plan.model

    def candidate(
        self,
        relation: Relation,
        *,
        tenant: str | None,
        user: str | None,
        fixed: Values | None = None,
        turn: int = 0,
    ) -> Values | None:
        """The values of a new row as ``candidate_row`` makes it, or None where there is none."""
        memo = (relation.name, tenant, user, tuple(sorted((fixed or {}).items())), turn)
        if memo not in self._candidates:
            try:
                row = candidate_row(
                    self.plan,
                    self.world,
                    relation.name,
                    tenant=tenant,
                    user=user,
                    pick=SimplestPick(),
                    salt=self.salt + turn,
                    fixed=fixed or {},
                )
                self._candidates[memo] = row.values
            except Unpopulated:
                self._candidates[memo] = None
        return self._candidates[memo]


class Writer:
    """Makes the writes of one principal on one relation."""

    def __init__(
        self, scene: Scene, principal: Principal, relation: Relation, grants: Grants
    ) -> None:
        self._scene = scene
        self._principal = principal
        self._relation = relation
        self._grants = grants
        self._table = qualified(relation.name)
        self._ownership = scene.model.owner_of(relation.name)
        self._facts = scene.prediction.state.get(relation.name, {})
        self._rows = scene.rows.get(relation.name, {})
        self._dictionary: Dictionary | None = scene.plan.dictionary

    def all(self) -> Iterator[Action]:
        """Every write: inserts, updates, deletes."""
        if self._grants.insert and not self._relation.is_partition:
            yield from self.inserts()
        if self._grants.update:
            yield from self.updates()
        if self._grants.delete:
            yield from self.deletes()

    # Whose rows

    def _victims(self, operation: Operation) -> list[Key]:
        """Rows that the operation must not reach, of every sort of owner, a few of each."""
        allowed = self._scene.prediction.allowed(self._principal, self._relation.name, operation)
        sorts: dict[object, list[Key]] = {}
        for key, row in self._facts.items():
            if key not in allowed:
                sorts.setdefault(self._sort(row), []).append(key)
        chosen: list[Key] = []
        for keys in sorts.values():
            # The last row of a tenant is the one that others point at least.
            chosen += list(dict.fromkeys((keys[-1], keys[0])))
        return chosen

    def _sort(self, row: RowFacts) -> object:
        if belongs_to(row, self._principal):
            return "own"
        if row.shared:
            return "shared"
        return tuple(sorted(row.tenants)) or ("users" if row.users else "nobody")

    def _own(self, operation: Operation) -> list[Key]:
        allowed = self._scene.prediction.allowed(self._principal, self._relation.name, operation)
        return [k for k in self._facts if k in allowed]

    def _foreign_tenants(self) -> list[str]:
        own = self._principal.all_tenants
        with_rows = [t for t in self._scene.world.tenants if t not in own]
        return with_rows[:2]

    def _home(self) -> str | None:
        return next(iter(sorted(self._principal.tenants)), None)

    def _action(
        self, operation: Operation, sql: str, shape: str, victims: Sequence[Key] | None = None
    ) -> Action:
        return Action(
            self._relation.name,
            operation,
            sql,
            shape,
            hostile=victims is not None,
            victims=frozenset(victims or ()),
            lasting=self._lasting(),
        )

    def _lasting(self) -> bool:
        """Whether policies may read this relation: then a write may change what is visible."""
        model = self._scene.model
        memberships = model.memberships
        name = self._relation.name
        return (
            name == model.users
            or (memberships is not None and name == memberships.relation)
            or self._ownership.kind is OwnershipKind.USER
            or name == model.tenants
            or name in self._scene.influential
        )

    # Inserts

    def inserts(self) -> Iterator[Action]:
        """New rows: for other tenants, for nobody, for oneself; and their lawful twins."""
        user = self._principal.user
        users: tuple[str | None, ...] = (user, None) if user is not None else (None,)
        kind = self._ownership.kind
        if kind is OwnershipKind.TENANTS:
            values = self._scene.candidate(self._relation, tenant=None, user=user)
            if values is not None:
                yield self._insert(values, "insert", hostile=False)
            return
        if kind in (OwnershipKind.SHARED, OwnershipKind.PRIVATE):
            for who in users:
                values = self._scene.candidate(self._relation, tenant=None, user=who)
                if values is not None:
                    yield from self._insert_shapes(values)
            return
        for tenant in self._foreign_tenants():
            for who in users:
                values = self._scene.candidate(self._relation, tenant=tenant, user=who)
                if values is not None:
                    yield from self._insert_shapes(values)
        yield from self._insert_for_nobody(users)
        home = self._home()
        for who in users:
            for turn in (0, 1):
                values = self._scene.candidate(self._relation, tenant=home, user=who, turn=turn)
                if values is not None and (home is not None or who is not None):
                    yield self._insert(values, "insert", hostile=False)
        yield from self._insert_with_foreign_parents(home, user)
        yield from self._insert_deciding_values(home, user)
        yield from self._collisions(home, user)

    def _insert(
        self, values: Values, shape: str, *, hostile: bool = True, tail: str = ""
    ) -> Action:
        sql = self._insert_sql([values]) + tail
        return self._action(Operation.INSERT, sql, shape, [] if hostile else None)

    def _insert_sql(self, rows: Sequence[Values]) -> str:
        columns = [c for c in rows[0] if c in self._grants.insert]
        override = any(c.identity == "always" and c.name in columns for c in self._relation.columns)
        tuples = ", ".join("(" + ", ".join(literal(r.get(c)) for c in columns) + ")" for r in rows)
        middle = "OVERRIDING SYSTEM VALUE " if override else ""
        return f"INSERT INTO {self._table} ({column_list(columns)}) {middle}VALUES {tuples}"

    def _insert_shapes(self, values: Values) -> Iterator[Action]:
        keys = column_list(key_columns(self._relation, self._grants))
        yield self._insert(values, "insert")
        if keys:
            yield self._insert(values, "insert returning", tail=f" RETURNING {keys}")
        yield self._insert(values, "insert on conflict do nothing", tail=" ON CONFLICT DO NOTHING")
        home = self._home()
        lawful = self._scene.candidate(
            self._relation, tenant=home, user=self._principal.user, turn=2
        )
        if home is not None and lawful is not None and list(lawful) == list(values):
            sql = self._insert_sql([lawful, values])
            yield self._action(Operation.INSERT, sql, "insert several rows", [])

    def _insert_for_nobody(self, users: Sequence[str | None]) -> Iterator[Action]:
        column = self._owner_column()
        if column is None or self._not_null(column):
            return
        for who in users:
            values = self._scene.candidate(
                self._relation, tenant=self._home(), user=who, fixed={column: None}
            )
            if values is not None:
                yield self._insert(values, "insert without a tenant")

    def _insert_with_foreign_parents(self, home: str | None, user: str | None) -> Iterator[Action]:
        if home is None:
            return
        for key, parent in self._foreign_parents():
            fixed = dict(zip(key.columns, parent, strict=True))
            if self._owner_column() in fixed:
                continue
            values = self._scene.candidate(self._relation, tenant=home, user=user)
            if values is not None:
                changed = {**values, **fixed}
                yield self._insert(changed, f"insert with a foreign {', '.join(key.columns)}")

    def _insert_deciding_values(self, home: str | None, user: str | None) -> Iterator[Action]:
        """Own rows with each value that policies compare with: roles above all."""
        if home is None or not self._lasting():
            return
        for column, value in self._deciding():
            values = self._scene.candidate(self._relation, tenant=home, user=user)
            if values is not None and column in values:
                yield self._insert(
                    {**values, column: value}, f"insert with {column} = {value}", hostile=False
                )

    def _collisions(self, home: str | None, user: str | None) -> Iterator[Action]:
        """Unique keys of hidden rows, once as a plain insert and once as an upsert of that row."""
        if home is None:
            return
        hidden = [k for k in self._victims(Operation.UPDATE) if k in self._rows]
        if not hidden:
            return
        there = self._rows[hidden[0]]
        for unique in self._relation.uniques:
            columns = [*unique.columns, *unique.expression_columns]
            if unique.primary or self._owner_column() in columns or not columns:
                continue
            values = self._scene.candidate(self._relation, tenant=home, user=user)
            if values is not None and all(there.get(c) is not None for c in columns):
                taken = {**values, **{c: there[c] for c in columns}}
                yield self._insert(taken, f"insert of a taken {', '.join(columns)}", hostile=False)
        yield from self._upserts(hidden)

    def _upserts(self, hidden: Sequence[Key]) -> Iterator[Action]:
        key = self._relation.primary_key
        change = self._payload(None)
        if key is None or change is None or not key.primary:
            return
        column, value = change
        for victim in hidden[:2]:
            there = self._rows[victim]
            row = {
                c.name: there[c.name]
                for c in self._relation.columns
                if not c.generated and c.name in there
            }
            sql = (
                f"{self._insert_sql([row])} ON CONFLICT ({column_list(key.columns)}) "
                f"DO UPDATE SET {readable_identifier(column)} = {literal(value)}"
            )
            yield self._action(Operation.INSERT, sql, "insert on conflict do update", [victim])

    # Updates

    def updates(self) -> Iterator[Action]:
        """Changes of values, of the tenant, of references, of one's own membership and profile."""
        victims = self._victims(Operation.UPDATE)
        yield from self._value_updates(victims)
        yield from self._moves(victims)
        yield from self._reference_updates()
        yield from self._own_updates()

    def _value_updates(self, victims: Sequence[Key]) -> Iterator[Action]:
        change = self._payload(victims[0] if victims else None)
        if change is None:
            for victim in victims:
                changed = self._other_references(victim)
                where = key_condition(self._relation, [victim])
                if changed is not None and where is not None:
                    sql = f"UPDATE {self._table} {changed} WHERE {where}"
                    yield self._action(Operation.UPDATE, sql, "update by key", [victim])
            return
        column, value = change
        setting = f"SET {readable_identifier(column)} = {literal(value)}"
        yield self._action(
            Operation.UPDATE, f"UPDATE {self._table} {setting}", "update without where", victims
        )
        for victim in victims:
            where = key_condition(self._relation, [victim])
            if where is None:
                break
            own = self._payload(victim)
            changed = f"SET {readable_identifier(own[0])} = {literal(own[1])}" if own else setting
            sql = f"UPDATE {self._table} {changed} WHERE {where}"
            yield self._action(Operation.UPDATE, sql, "update by key", [victim])
        keys = column_list(key_columns(self._relation, self._grants))
        where = key_condition(self._relation, victims[:_MOST_VICTIMS])
        if where and keys:
            sql = f"UPDATE {self._table} {setting} WHERE {where} RETURNING {keys}"
            yield self._action(Operation.UPDATE, sql, "update returning", victims[:_MOST_VICTIMS])
        own_rows = self._own(Operation.UPDATE)
        where = key_condition(self._relation, own_rows[:1])
        if where is not None:
            sql = f"UPDATE {self._table} {setting} WHERE {where}"
            yield self._action(Operation.UPDATE, sql, "update by key")

    def _moves(self, victims: Sequence[Key]) -> Iterator[Action]:
        """Rows of one's own moved to other tenants, and foreign rows captured."""
        for shape, keys, tenant in self._moving(victims):
            for changes in self._ownership_changes(tenant):
                setting = self._setting(changes)
                if setting is None:
                    continue
                for key in keys:
                    where = key_condition(self._relation, [key])
                    if where is not None:
                        sql = f"UPDATE {self._table} {setting} WHERE {where}"
                        yield self._action(Operation.UPDATE, sql, shape, [key])
                sql = f"UPDATE {self._table} {setting}"
                yield self._action(Operation.UPDATE, sql, f"{shape} without where", list(keys))

    def _moving(self, victims: Sequence[Key]) -> Iterator[tuple[str, Sequence[Key], str | None]]:
        own = self._own(Operation.UPDATE)
        reach = list(dict.fromkeys((*own[-1:], *own[:1])))
        for tenant in self._foreign_tenants()[:1]:
            if reach or self._ownership.kind is not OwnershipKind.TENANTS:
                yield "update of the tenant outwards", reach, tenant
        column = self._owner_column()
        if column is not None and not self._not_null(column) and reach:
            yield "update of the tenant to NULL", reach, None
        home = self._home()
        if home is not None:
            yield "update of the tenant inwards", victims[:_MOST_VICTIMS], home

    def _ownership_changes(self, tenant: str | None) -> Iterator[Mapping[str, str | None]]:
        """What makes a row another tenant's: its owner column alone, or with its references."""
        column = self._owner_column()
        kind = self._ownership.kind
        if kind is OwnershipKind.TENANTS:
            return
        if kind is OwnershipKind.USER:
            if self._ownership.column is not None and self._principal.user is not None:
                other = next(
                    (u for u in self._scene.world.users if u != self._principal.user), None
                )
                user = self._principal.user if tenant in self._principal.tenants else other
                yield {self._ownership.column: user}
            return
        if column is not None:
            yield {column: tenant}
        if tenant is None:
            return
        values = self._scene.candidate(self._relation, tenant=tenant, user=self._principal.user)
        if values is None:
            return
        referring = {
            c
            for fk in self._scene.model.foreign_keys(self._scene.catalog, self._relation.name)
            for c in fk.columns
        } | {c for w in self._ownership.ways for c in w.columns}
        if column is not None:
            referring.add(column)
        changes = {c: v for c, v in values.items() if c in referring}
        if changes and set(changes) != {column}:
            yield changes

    def _reference_updates(self) -> Iterator[Action]:
        own = self._own(Operation.UPDATE)
        where = key_condition(self._relation, own[-1:])
        if where is None:
            return
        for key, parent in self._foreign_parents():
            if self._owner_column() in key.columns:
                continue
            setting = self._setting(dict(zip(key.columns, parent, strict=True)))
            if setting is not None:
                sql = f"UPDATE {self._table} {setting} WHERE {where}"
                shape = f"update to a foreign {', '.join(key.columns)}"
                yield self._action(Operation.UPDATE, sql, shape, [])

    def _own_updates(self) -> Iterator[Action]:
        """One's own membership and profile: tenant, role, and whatever policies read there."""
        user = self._principal.user
        if user is None or not self._lasting():
            return
        mine = [k for k, r in self._facts.items() if user in r.users]
        for key in mine[:2]:
            where = key_condition(self._relation, [key])
            if where is None:
                return
            for column, value in self._deciding():
                if self._rows.get(key, {}).get(column) == value:
                    continue
                setting = self._setting({column: value})
                if setting is not None:
                    sql = f"UPDATE {self._table} {setting} WHERE {where}"
                    shape = f"update of its own {column}"
                    yield self._action(Operation.UPDATE, sql, shape, [key])

    def _deciding(self) -> Iterator[tuple[str, str]]:
        """Columns and values that policies or kinds compare with, and columns that name tenants."""
        model, name = self._scene.model, self._relation.name
        memberships = model.memberships
        foreign = self._foreign_tenants()
        for fk in model.foreign_keys(self._scene.catalog, name):
            if fk.target == model.tenants and len(fk.columns) == 1 and foreign:
                yield fk.columns[0], foreign[0]
        if memberships is not None and name == memberships.relation and foreign:
            yield memberships.tenant, foreign[0]
        cycling = self._scene.plan.cycling.get(name, {})
        for column in self._relation.columns:
            options = list(cycling.get(column.name, ()))
            if self._dictionary is not None:
                options += self._dictionary.for_column(self._relation, column.name)
            options += column.type.labels
            if column.type.base == "bool":
                options += ["true", "false"]
            for value in list(dict.fromkeys(options))[:_MOST_LITERALS]:
                yield column.name, value

    # Deletes

    def deletes(self) -> Iterator[Action]:
        """Deletes without WHERE, of each victim by its key, and with RETURNING."""
        victims = self._victims(Operation.DELETE)
        yield self._action(
            Operation.DELETE, f"DELETE FROM {self._table}", "delete without where", victims
        )
        for victim in victims:
            where = key_condition(self._relation, [victim])
            if where is not None:
                sql = f"DELETE FROM {self._table} WHERE {where}"
                yield self._action(Operation.DELETE, sql, "delete by key", [victim])
        keys = column_list(key_columns(self._relation, self._grants))
        where = key_condition(self._relation, victims[:1])
        if where and keys:
            sql = f"DELETE FROM {self._table} WHERE {where} RETURNING {keys}"
            yield self._action(Operation.DELETE, sql, "delete returning", victims[:1])
        own = self._own(Operation.DELETE)
        for key in list(dict.fromkeys((*own[-1:], *own[:1]))):
            where = key_condition(self._relation, [key])
            if where is not None:
                sql = f"DELETE FROM {self._table} WHERE {where}"
                yield self._action(Operation.DELETE, sql, "delete by key")

    # Columns

    def _owner_column(self) -> str | None:
        if self._ownership.kind is OwnershipKind.COLUMN:
            return self._ownership.column
        return None

    def _not_null(self, name: str) -> bool:
        column = self._relation.column(name)
        return column is None or column.not_null

    def _setting(self, changes: Mapping[str, str | None]) -> str | None:
        if not changes or not set(changes) <= set(self._grants.update):
            return None
        return "SET " + ", ".join(
            f"{readable_identifier(c)} = {literal(v)}" for c, v in changes.items()
        )

    def _payload(self, key: Key | None) -> tuple[str, str | None] | None:
        """A column that the role may change without moving anything, and another value for it."""
        present = self._rows.get(key, {}) if key is not None else {}
        bound = self._bound()
        able = [
            c
            for c in self._relation.columns
            if c.name in self._grants.update
            and c.name not in bound
            and not c.generated
            and c.identity != "always"
        ]
        able.sort(
            key=lambda c: (
                _PAYLOAD_FIRST.index(c.name) if c.name in _PAYLOAD_FIRST else len(_PAYLOAD_FIRST),
                c.type.base != "text",
                c.number,
            )
        )
        for column in able:
            current = present.get(column.name)
            value = mutate_value(
                column, self._relation, current, salt=self._scene.salt, dictionary=self._dictionary
            )
            if value is not None and value != current:
                return column.name, value
        return self._fresh_value(key)

    def _fresh_value(self, key: Key | None) -> tuple[str, str | None] | None:
        """A value that no other row has, for a unique column, where no column is free."""
        row = self._facts.get(key) if key is not None else None
        if row is None:
            return None
        relation = self._relation
        fixed = {c for fk in relation.foreign_keys for c in fk.columns}
        fixed |= set(relation.primary_key.columns) if relation.primary_key else set()
        fixed.add(self._ownership.column or "")
        tenant = next(iter(sorted(row.tenants)), None)
        values = self._scene.candidate(relation, tenant=tenant, user=None, turn=3) or {}
        for column, value in values.items():
            changes = value is not None and value != self._rows.get(row.key, {}).get(column)
            if changes and column in self._grants.update and column not in fixed:
                return column, value
        return None

    def _other_references(self, key: Key) -> str | None:
        """For rows of nothing but references: SET to those of another row of the same tenant."""
        tenant = next(iter(sorted(self._facts[key].tenants)), None)
        values = self._scene.candidate(self._relation, tenant=tenant, user=None, turn=3) or {}
        present = self._rows.get(key, {})
        changes = {c: v for c, v in values.items() if v is not None and v != present.get(c)}
        return self._setting(changes)

    def _bound(self) -> set[str]:
        relation = self._relation
        bound = {c for u in relation.uniques for c in (*u.columns, *u.expression_columns)}
        bound |= {c for fk in relation.foreign_keys for c in fk.columns}
        bound |= {c for w in self._ownership.ways for c in w.columns}
        bound |= set(relation.partition_key)
        if self._ownership.column is not None:
            bound.add(self._ownership.column)
        for owner, fk in self._scene.model.references:
            if owner == relation.name:
                bound |= set(fk.columns)
        return bound

    def _foreign_parents(self) -> Iterator[tuple[ForeignKey, tuple[str, ...]]]:
        """For each foreign key the columns' values that point at a row of another tenant."""
        model, catalog = self._scene.model, self._scene.catalog
        exempt = (OwnershipKind.TENANTS, OwnershipKind.SHARED, OwnershipKind.UNCLASSIFIED)
        for key in model.foreign_keys(catalog, self._relation.name):
            if model.owner_of(key.target).kind in exempt or key.target == model.users:
                continue
            facts = self._scene.prediction.state.get(key.target, {})
            rows = self._scene.rows.get(key.target, {})
            for tenant in self._foreign_tenants()[:1]:
                for target, row in facts.items():
                    found = rows.get(target, {})
                    values = [found.get(c) for c in key.target_columns]
                    if tenant in row.tenants and all(v is not None for v in values):
                        yield key, tuple(v for v in values if v is not None)
                        break
