"""Authors: what all writes of one principal on one relation have in common."""

from collections.abc import Iterator, Mapping, Sequence

from tenantfuzz.policies.model import OwnershipKind
from tenantfuzz.policies.predictions import Key, RowFacts, belongs_to
from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.quoting import literal, qualified, readable_identifier
from tenantfuzz.policies.structure import ForeignKey, Operation, Relation
from tenantfuzz.strategies.actions import Action, Grants
from tenantfuzz.strategies.dictionary import Dictionary
from tenantfuzz.strategies.scene import Scene
from tenantfuzz.strategies.solving import mutate_value
from tenantfuzz.strategies.worlds import user_columns

_PAYLOAD_FIRST = ("title", "name", "body", "description", "content", "label", "note", "subject")
_MOST_VICTIMS = 4
_MOST_LITERALS = 5


class Author:
    """Knows whose rows are there, and which columns may be written."""

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
        """Some tenants that it does not act for: one that it is a member of all the same first."""
        acting, also = self._principal.tenants, self._principal.all_tenants
        others = [t for t in self._scene.world.tenants if t not in acting]
        others.sort(key=lambda t: t not in also)
        # Where each tenant has one row, there is room for one with a tenant that has none.
        held = {t for row in self._facts.values() for t in row.tenants}
        free = [t for t in others[2:] if t not in held]
        return [*others[:2], *(free[:1] if held.issuperset(others[:2]) else ())]

    def _colleague(self) -> str | None:
        """Another user of the tenant that the principal acts for."""
        memberships, home = self._scene.model.memberships, self._home()
        if memberships is None or home is None:
            return None
        facts = self._scene.prediction.state.get(memberships.relation, {}).values()
        users = (u for row in facts if home in row.tenants for u in sorted(row.users))
        return next((u for u in users if u != self._principal.user), None)

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
        """Whether policies may read this relation, or what its triggers set: then a write may
        change what is visible."""
        model = self._scene.model
        memberships = model.memberships
        name = self._relation.name
        return (
            name == model.users
            or (memberships is not None and name == memberships.relation)
            or self._ownership.kind is OwnershipKind.USER
            or name == model.tenants
            or name in self._scene.influential
            or name in self._scene.plan.stirring
        )

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

    def _deciding(self) -> Iterator[tuple[str, str | None]]:
        """Columns and values that policies or kinds compare with, and columns that name tenants."""
        model, name = self._scene.model, self._relation.name
        memberships = model.memberships
        foreign = self._foreign_tenants()
        for fk in model.foreign_keys(self._scene.catalog, name):
            if fk.target == model.tenants and len(fk.columns) == 1 and foreign:
                yield fk.columns[0], foreign[0]
        if memberships is not None and name == memberships.relation and foreign:
            yield memberships.tenant, foreign[0]
        for pointer in self._scene.plan.pointers.get(name, ()):
            if foreign:
                yield pointer, foreign[0]
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

    def _referring(self) -> set[str]:
        """The columns that refer to other rows or say whose the row is."""
        keys = self._scene.model.foreign_keys(self._scene.catalog, self._relation.name)
        columns = {c for fk in keys for c in fk.columns}
        columns |= {c for w in self._ownership.ways for c in w.columns}
        return columns | ({self._ownership.column} if self._ownership.column is not None else set())

    def _user_columns(self) -> list[str]:
        """The columns that name a user: by a foreign key, or because a rule says so."""
        scene, name = self._scene, self._relation.name
        memberships = scene.model.memberships
        columns = [
            fk.columns[0]
            for fk in scene.model.foreign_keys(scene.catalog, name)
            if fk.target == scene.model.users and len(fk.columns) == 1
        ]
        for fk in scene.model.foreign_keys(scene.catalog, name):
            if memberships is not None and fk.target == memberships.relation:
                pairs = zip(fk.columns, fk.target_columns, strict=True)
                columns += [c for c, t in pairs if t == memberships.user]
        return list(dict.fromkeys([*columns, *user_columns(scene.plan, name)]))
