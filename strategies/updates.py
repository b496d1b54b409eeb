"""Updates: of values, of the tenant, of references, of what is one's own."""

from collections.abc import Iterator, Mapping, Sequence

from tenantfuzz.policies.model import OwnershipKind
from tenantfuzz.policies.predictions import Key
from tenantfuzz.policies.quoting import column_list, literal, readable_identifier
from tenantfuzz.policies.structure import Operation
from tenantfuzz.strategies.actions import Action
from tenantfuzz.strategies.authors import Author
from tenantfuzz.strategies.reads import key_columns, key_condition

_MOST_VICTIMS = 4
_MOST_LITERALS = 5


class Updates(Author):
    """Makes the updates of one principal on one relation."""

    def updates(self) -> Iterator[Action]:
        """Changes of values, of the tenant, of references, of one's own membership and profile."""
        victims = self._victims(Operation.UPDATE)
        yield from self._value_updates(victims)
        yield from self._moves(victims)
        yield from self._reference_updates()
        yield from self._user_updates()
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
        referring = self._referring()
        changes = {c: v for c, v in values.items() if c in referring}
        if changes and set(changes) != {column}:
            yield changes

    def _user_updates(self) -> Iterator[Action]:
        """Rows of the own tenant written into a colleague's name, and a colleague's into one's
        own."""
        me, colleague = self._principal.user, self._colleague()
        columns = self._user_columns()
        for column in dict.fromkeys(columns):
            for value, keys in (
                (colleague, self._own(Operation.UPDATE)),
                (me, self._victims(Operation.UPDATE)),
            ):
                setting = self._setting({column: value})
                for key in list(keys)[:1] + list(keys)[-1:]:
                    where = key_condition(self._relation, [key])
                    if value is not None and setting is not None and where is not None:
                        sql = f"UPDATE {self._table} {setting} WHERE {where}"
                        shape = f"update of {column}"
                        yield self._action(Operation.UPDATE, sql, shape, [key])

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
