"""Further shapes of the same writes: joined, merged, inside WITH, from a SELECT, by COPY."""

from collections.abc import Iterator, Mapping, Sequence

from tenantfuzz.policies.predictions import Key
from tenantfuzz.policies.quoting import column_list, literal, readable_identifier
from tenantfuzz.policies.structure import Operation
from tenantfuzz.policies.world import Values
from tenantfuzz.strategies.actions import Action
from tenantfuzz.strategies.authors import Author
from tenantfuzz.strategies.reads import key_columns, key_condition
from tenantfuzz.strategies.scripting import copy_in

_MOST_VICTIMS = 4
_MERGE_SINCE = 150000  # server_version_num


class JoinedWrites(Author):
    """Makes the writes of one principal on one relation in every shape beyond the plain ones.

    Each shape goes its own way through the server (manual, CREATE POLICY, the table of policies by
    command; ALTER TABLE on rules, which COPY and MERGE do not go through).
    """

    def joined(self) -> Iterator[Action]:
        """Updates, deletes and inserts of what must not be reached, in the further shapes."""
        merges = self._scene.catalog.server_version >= _MERGE_SINCE
        if self._grants.update:
            yield from self._updates(merges=merges)
        if self._grants.delete:
            yield from self._deletes(merges=merges)
        if self._grants.insert and not self._relation.is_partition:
            yield from self._inserts(merges=merges)

    def _updates(self, *, merges: bool) -> Iterator[Action]:
        victims = self._victims(Operation.UPDATE)[:_MOST_VICTIMS]
        change = self._payload(victims[0] if victims else None)
        if victims and change is not None:
            yield from self._update_shapes("update", dict([change]), victims, merges=merges)
        column = self._owner_column()
        own, foreign, home = self._own(Operation.UPDATE), self._foreign_tenants(), self._home()
        if column is not None and own and foreign:
            outwards = {column: foreign[0]}
            shape = "update of the tenant outwards"
            yield from self._update_shapes(shape, outwards, own[-1:], merges=merges)
        if column is not None and home is not None and victims:
            shape = "update of the tenant inwards"
            yield from self._update_shapes(shape, {column: home}, victims, merges=merges)

    def _update_shapes(
        self,
        shape: str,
        changes: Mapping[str, str | None],
        aims: Sequence[Key],
        *,
        merges: bool,
    ) -> Iterator[Action]:
        setting, keys = self._setting(changes), self._keys()
        where = key_condition(self._relation, aims)
        if setting is None:
            return

        def update(how: str, sql: str) -> Action:
            return self._action(Operation.UPDATE, sql, f"{shape}, {how}", list(aims))

        if where is not None and self._selects_keys():
            joined = self._same("aim", "other")
            named = self._qualified_condition("other", aims)
            yield update(
                "joined to itself",
                f"UPDATE {self._table} AS aim {setting} FROM {self._table} AS other "
                f"WHERE {joined} AND {named}",
            )
            yield update(
                "in WITH",
                f"WITH hit AS (UPDATE {self._table} {setting} WHERE {where} RETURNING {keys}) "
                "SELECT * FROM hit",
            )
            if merges:
                aim = self._qualified_condition("aim", aims)
                yield update(
                    "merged",
                    f"MERGE INTO {self._table} AS aim USING (SELECT 1) AS one ON {aim} "
                    f"WHEN MATCHED THEN UPDATE {setting}",
                )
        if merges:
            yield update(
                "merged without a condition",
                f"MERGE INTO {self._table} USING (SELECT 1) AS one ON true "
                f"WHEN MATCHED THEN UPDATE {setting}",
            )

    def _deletes(self, *, merges: bool) -> Iterator[Action]:
        victims = self._victims(Operation.DELETE)[:_MOST_VICTIMS]
        if not victims:
            return
        # Others may point at the first ones: the last of each sort can go most easily.
        for some in (victims, victims[-1:]):
            where = key_condition(self._relation, some)

            def delete(how: str, sql: str, aims: Sequence[Key] = some) -> Action:
                return self._action(Operation.DELETE, sql, f"delete, {how}", aims)

            if where is not None and self._selects_keys():
                named = self._qualified_condition("other", some)
                yield delete(
                    "joined to itself",
                    f"DELETE FROM {self._table} AS aim USING {self._table} AS other "
                    f"WHERE {self._same('aim', 'other')} AND {named}",
                )
                yield delete(
                    "in WITH",
                    f"WITH hit AS (DELETE FROM {self._table} WHERE {where} "
                    f"RETURNING {self._keys()}) SELECT * FROM hit",
                )
                if merges:
                    aim = self._qualified_condition("aim", some)
                    yield delete(
                        "merged",
                        f"MERGE INTO {self._table} AS aim USING (SELECT 1) AS one ON {aim} "
                        "WHEN MATCHED THEN DELETE",
                    )
            if len(victims) == 1:
                break

    def _inserts(self, *, merges: bool) -> Iterator[Action]:
        foreign = self._foreign_tenants()
        user = self._principal.user
        for tenant in foreign[:1]:
            for who in dict.fromkeys((user, None)):
                values = self._scene.candidate(self._relation, tenant=tenant, user=who, turn=5)
                if values is not None:
                    yield from self._insert_shapes(values, merges=merges)

    def _insert_shapes(self, values: Values, *, merges: bool) -> Iterator[Action]:
        columns = [c for c in values if c in self._grants.insert]
        if not columns:
            return
        always = {c.name for c in self._relation.columns if c.identity == "always"}
        override = "OVERRIDING SYSTEM VALUE " if always & set(columns) else ""
        names, given = column_list(columns), ", ".join(literal(values[c]) for c in columns)
        into = f"{self._table} ({names})"

        def insert(how: str, sql: str) -> Action:
            return self._action(Operation.INSERT, sql, f"insert, {how}", [])

        yield insert("from a SELECT", f"INSERT INTO {into} {override}SELECT {given}")
        if keys := self._keys():
            yield insert(
                "in WITH",
                f"WITH made AS (INSERT INTO {into} {override}VALUES ({given}) RETURNING {keys}) "
                "SELECT * FROM made",
            )
        if merges:
            yield insert(
                "merged",
                f"MERGE INTO {self._table} USING (SELECT 1) AS one ON false "
                f"WHEN NOT MATCHED THEN INSERT ({names}) {override}VALUES ({given})",
            )
        yield insert("copied", copy_in(into, [tuple(values[c] for c in columns)]))

    # Words

    def _keys(self) -> str:
        return column_list(key_columns(self._relation, self._grants))

    def _selects_keys(self) -> bool:
        """Whether the role may name the key columns in a condition."""
        key = self._relation.primary_key
        return key is not None and set(key.columns) <= set(self._grants.select)

    def _same(self, one: str, other: str) -> str:
        key = self._relation.primary_key
        columns = key.columns if key is not None else ()
        return " AND ".join(
            f"{one}.{readable_identifier(c)} = {other}.{readable_identifier(c)}" for c in columns
        )

    def _qualified_condition(self, alias: str, keys: Sequence[Key]) -> str:
        return key_condition(self._relation, keys, alias=alias) or "true"
