"""Inserts: rows for others, for nobody, for oneself, and into what is taken."""

from collections.abc import Iterator, Sequence

from tenantfuzz.policies.model import OwnershipKind
from tenantfuzz.policies.predictions import Key
from tenantfuzz.policies.quoting import column_list, literal, readable_identifier
from tenantfuzz.policies.structure import Operation
from tenantfuzz.policies.world import Values
from tenantfuzz.strategies.actions import Action
from tenantfuzz.strategies.authors import Author
from tenantfuzz.strategies.reads import key_columns


class Inserts(Author):
    """Makes the inserts of one principal on one relation."""

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
                    bare = self._bare(values)
                    if bare != values:
                        yield self._insert(bare, "insert of what it must have")
        yield from self._insert_for_nobody(users)
        home = self._home()
        yield from self._insert_like_a_stranger(home, user)
        colleague = self._colleague()
        for who in dict.fromkeys((*users, colleague)):
            shape = "insert for a colleague" if who is not None and who == colleague else "insert"
            for turn in (0, 1):
                values = self._scene.candidate(self._relation, tenant=home, user=who, turn=turn)
                if values is not None and (home is not None or who is not None):
                    yield self._insert(values, shape, hostile=False)
        yield from self._insert_below_fresh_rows(home, user)
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

    def _bare(self, values: Values) -> Values:
        """Without the references and values that may be left out: a policy may look at them."""
        kept = {self._owner_column(), *self._user_columns()}
        kept |= {c for w in self._ownership.ways for c in w.columns}
        return {
            c: v
            for c, v in values.items()
            if c in kept or ((column := self._relation.column(c)) is not None and column.not_null)
        }

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

    def _insert_like_a_stranger(self, home: str | None, user: str | None) -> Iterator[Action]:
        """A lawful row with the natural values of a hidden one: nothing but ownership may tell
        them apart for triggers that look rows up by their values."""
        victims = [k for k in self._victims(Operation.UPDATE) if k in self._rows]
        values = self._scene.candidate(self._relation, tenant=home, user=user, turn=4)
        if home is None or not victims or values is None:
            return
        there, bound = self._rows[victims[0]], self._bound()
        for unique in self._relation.uniques:
            if not unique.primary and self._owner_column() in unique.columns:
                bound -= set(unique.columns) - self._referring()
        copied = {c: there[c] for c in values if c not in bound and there.get(c) is not None}
        yield self._insert({**values, **copied}, "insert like a hidden row", hostile=False)

    def _insert_below_fresh_rows(self, home: str | None, user: str | None) -> Iterator[Action]:
        """Own rows that refer to what the principal has just made: the second step of a chain."""
        for key in self._scene.model.foreign_keys(self._scene.catalog, self._relation.name):
            for parent in list(self._scene.fresh.get(key.target, {}).values())[:1]:
                fixed = {
                    c: parent.get(t) for c, t in zip(key.columns, key.target_columns, strict=True)
                }
                for who in dict.fromkeys((user, None)):
                    values = self._scene.candidate(
                        self._relation, tenant=home, user=who, fixed=fixed
                    )
                    if values is not None and None not in fixed.values():
                        shape = f"insert below a new row of {key.target.name}"
                        yield self._insert({**values, **fixed}, shape, hostile=False)

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
