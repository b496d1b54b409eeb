"""Writes by query: what is changed, made or removed follows from other rows."""

import random
from collections.abc import Callable, Mapping, Sequence

from tenantfuzz.policies.predictions import Key
from tenantfuzz.policies.quoting import column_list, literal, qualified, readable_identifier
from tenantfuzz.policies.structure import Column, Operation, RelationName
from tenantfuzz.strategies.actions import Action
from tenantfuzz.strategies.querying.conditions import condition, conditions
from tenantfuzz.strategies.querying.lexicon import Entry, Lexicon
from tenantfuzz.strategies.querying.tree import Source
from tenantfuzz.strategies.querying.writer import Writer
from tenantfuzz.strategies.scene import Rows
from tenantfuzz.strategies.scripting import script

_MERGE_SINCE = 150000  # server_version_num
_FAR = 700000  # added to numbers that are to be keys of new rows

Made = tuple[Operation, str, str] | None
"""The operation, the statement, and the name of its shape."""


class WriteMaker:
    """Makes the writes of one principal; see ``Writer`` for what they are made from.

    Nothing here aims at the key, at references, at whose a row is, or at memberships: which values
    these may take is asked elsewhere, one by one.
    """

    def __init__(
        self,
        lexicon: Lexicon,
        rows: Mapping[RelationName, Rows],
        aims: Mapping[RelationName, Sequence[Key]],
        source: random.Random,
    ) -> None:
        self._writer = Writer(lexicon, rows, aims, source)
        self._lexicon = lexicon
        self._source = source
        memberships = lexicon.model.memberships
        self._names = [
            name
            for name, entry in lexicon.entries.items()
            if entry.dml
            and (memberships is None or name != memberships.relation)
            and (entry.grants.update or entry.grants.delete or entry.grants.insert)
        ]

    def writes(self, count: int) -> list[Action]:
        """Up to so many; fewer where what was drawn cannot be written."""
        found = (self._write() for _ in range(count if self._names else 0))
        return [action for action in found if action is not None]

    def _write(self) -> Action | None:
        writer = self._writer
        writer.begin()
        name = self._source.choice(self._names)
        entry = self._lexicon.entries[name]
        shapes: list[Callable[[Source], Made]] = []
        if entry.grants.update:
            shapes += [self._update, self._update_of_hits, self._batch]
        if entry.grants.delete:
            shapes += [self._delete]
        if entry.grants.insert and entry.key:
            shapes += [self._copy]
            if entry.grants.update:
                shapes += [self._upsert]
        if self._lexicon.catalog.server_version >= _MERGE_SINCE and entry.key:
            shapes += [self._merge]
        made = self._source.choice(shapes)(writer.reference(name))
        if made is None:
            return None
        operation, sql, shape = made
        return Action(name, operation, sql, shape, hostile=False)

    # Updates and deletes

    def _update(self, aim: Source) -> Made:
        """UPDATE … FROM: the new value stands in a related row."""
        writer = self._writer
        found = writer.related(aim) if writer.likely(0.7) else writer.alike(aim)
        if found is None:
            return self._update_where(aim)
        other, on = found
        setting = self._setting(aim, other)
        where = " AND ".join([on, *conditions(writer, aim, 1), *conditions(writer, other, 1)])
        sql = f"UPDATE {aim.table} {setting} FROM {other.table} WHERE {where}"
        made = Operation.UPDATE, sql + self._returning(aim), "update from"
        return made if setting else None

    def _update_where(self, aim: Source) -> Made:
        setting = self._setting(aim, None)
        asked = condition(self._writer, aim)
        where = f" WHERE {asked}" if asked else ""
        sql = f"UPDATE {aim.table} {setting}{where}"
        made = Operation.UPDATE, sql + self._returning(aim), "update by condition"
        return made if setting else None

    def _update_of_hits(self, aim: Source) -> Made:
        """A writable WITH: what one statement changed, the next one works on."""
        writer = self._writer
        setting, key = self._setting(aim, None), writer.entry(aim).key
        found = writer.child(aim)
        if not setting or not key or found is None:
            return self._update_where(aim)
        child, _ = found
        link = next(k for k in writer.entry(aim).links if k.child == child.relation.name)
        theirs = self._setting(child, None)
        if link.parent != aim.relation.name or not theirs or not writer.entry(child).dml:
            return self._update_where(aim)
        returned = ", ".join(dict.fromkeys(aim.named(p) for _, p in link.columns))
        tied = " AND ".join(
            f"{child.named(c)} = hit.{readable_identifier(p)}" for c, p in link.columns
        )
        asked = condition(writer, aim)
        where = f" WHERE {asked}" if asked else ""
        sql = (
            f"WITH hit AS (UPDATE {aim.table} {setting}{where} RETURNING {returned}) "
            f"UPDATE {child.table} {theirs} FROM hit WHERE {tied}"
        )
        return Operation.UPDATE, sql, "update in WITH and of what refers to it"

    def _batch(self, aim: Source) -> Made:
        """Several updates in one transaction."""
        made = [self._update_where(aim) for _ in range(2)]
        texts = [m[1] for m in made if m]
        return (Operation.UPDATE, script(*texts), "updates in a row") if len(texts) == 2 else None

    def _delete(self, aim: Source) -> Made:
        """DELETE … USING."""
        writer = self._writer
        found = writer.related(aim) if writer.likely(0.7) else writer.alike(aim)
        if found is None:
            asked = condition(writer, aim)
            where = f" WHERE {asked}" if asked else ""
            return Operation.DELETE, f"DELETE FROM {aim.table}{where}", "delete by condition"
        other, on = found
        where = " AND ".join([on, *conditions(writer, other, 1)])
        sql = f"DELETE FROM {aim.table} USING {other.table} WHERE {where}"
        return Operation.DELETE, sql + self._returning(aim), "delete using"

    # Inserts

    def _copy(self, aim: Source) -> Made:
        """INSERT … SELECT: copies of rows under keys of their own."""
        writer = self._writer
        copied = self._copied(aim)
        if copied is None:
            return None
        names, values = copied
        where = conditions(writer, aim, 1)
        asked = f" WHERE {where[0]}" if where else ""
        into = f"INSERT INTO {qualified(aim.relation.name)} ({names})"
        end = " ON CONFLICT DO NOTHING" if writer.likely(0.3) else ""
        returning = f" RETURNING {column_list(writer.entry(aim).key)}" if writer.likely(0.3) else ""
        sql = f"{into} SELECT {values} FROM {aim.table}{asked}{end}{returning}"
        return Operation.INSERT, sql, "insert from rows"

    def _upsert(self, aim: Source) -> Made:
        """INSERT … SELECT of rows that are there, ON CONFLICT DO UPDATE."""
        writer, entry = self._writer, self._writer.entry(aim)
        given = [c for c in aim.relation.columns if c.name in entry.grants.insert]
        free = self._free(entry)
        needed = {c.name for c in aim.relation.columns if c.not_null and c.default is None}
        names = [c.name for c in given if c.name in aim.columns and not c.identity]
        if not free or not needed <= set(names) or not set(entry.key) <= set(names):
            return None
        column = readable_identifier(writer.source.choice(free).name)
        where = conditions(writer, aim, 1)
        asked = f" WHERE {where[0]}" if where else " WHERE true"
        sql = (
            f"INSERT INTO {qualified(aim.relation.name)} ({column_list(names)}) "
            f"SELECT {', '.join(map(aim.named, names))} FROM {aim.table}{asked} "
            f"ON CONFLICT ({column_list(entry.key)}) DO UPDATE SET {column} = excluded.{column}"
        )
        return Operation.INSERT, sql, "upsert from rows"

    def _copied(self, aim: Source) -> tuple[str, str] | None:
        """The columns of a copy and their values, with another key; None where there is none."""
        entry = self._writer.entry(aim)
        bound = {c for fk in self._references(entry) for c in fk}
        new = [c for c in entry.key if c not in bound and c != self._owner(entry)]
        column = aim.relation.column(new[-1]) if new else None
        another = self._another(aim, column) if column is not None else None
        if column is None or another is None:
            return None
        given = {
            c.name: aim.named(c.name)
            for c in aim.relation.columns
            if c.name in entry.grants.insert and c.name in aim.columns and not c.identity
        }
        needed = {c.name for c in aim.relation.columns if c.not_null and c.default is None}
        if column.name not in given or not needed <= given.keys():
            return None
        given[column.name] = another
        return column_list(given), ", ".join(given.values())

    def _another(self, aim: Source, column: Column) -> str | None:
        named, base = aim.named(column.name), column.type.base
        if base in ("int4", "int8", "numeric"):
            return f"{named} + {_FAR}"
        if base == "uuid":
            return f"md5({named}::text)::uuid"
        return f"md5({named}::text)" if base in ("text", "citext") else None

    def _merge(self, aim: Source) -> Made:
        """MERGE with a query, of rows by their key."""
        writer, entry = self._writer, self._writer.entry(aim)
        other = writer.reference(aim.relation.name)
        tied = " AND ".join(f"{aim.named(c)} = {other.named(c)}" for c in entry.key)
        where = conditions(writer, other, 1)
        asked = f" WHERE {where[0]}" if where else ""
        query = f"(SELECT * FROM {other.table}{asked})"
        if len(other.columns) != len(other.relation.columns):
            query = (
                f"(SELECT {', '.join(map(other.named, other.columns))} FROM {other.table}{asked})"
            )
        start = f"MERGE INTO {aim.table} USING {query} AS {other.alias} ON {tied} WHEN MATCHED"
        setting = self._setting(aim, other)
        if entry.grants.delete and (not setting or writer.likely(0.4)):
            return Operation.DELETE, f"{start} THEN DELETE", "merge of rows, deleting"
        if not setting or not entry.grants.update:
            return None
        return Operation.UPDATE, f"{start} THEN UPDATE {setting}", "merge of rows"

    # Words

    def _setting(self, aim: Source, other: Source | None) -> str:
        """SET for one column that may be changed; "" where there is none."""
        writer = self._writer
        free = self._free(writer.entry(aim))
        if not free:
            return ""
        column = writer.source.choice(free)
        name = readable_identifier(column.name)
        if other is not None and writer.likely(0.7):
            alike = [
                c
                for c in other.columns
                if (o := other.relation.column(c)) and o.type.name == column.type.name
            ]
            if alike:
                return f"SET {name} = {other.named(writer.source.choice(alike))}"
        values = [r.get(column.name) for r in writer.rows.get(aim.relation.name, {}).values()]
        value = writer.source.choice(values) if values else None
        if value is None and column.not_null:
            return f"SET {name} = {aim.named(column.name)}"
        return f"SET {name} = {literal(value)}"

    def _returning(self, aim: Source) -> str:
        key = self._writer.key_order(aim)
        return f" RETURNING {key}" if key and self._writer.likely(0.3) else ""

    def _free(self, entry: Entry) -> list[Column]:
        bound = {c for fk in self._references(entry) for c in fk} | set(entry.key)
        bound |= set(entry.relation.partition_key) | {self._owner(entry) or ""}
        return [
            c
            for c in entry.relation.columns
            if c.name in entry.grants.update
            and c.name in entry.columns
            and c.name not in bound
            and not (c.generated or c.identity)
        ]

    def _owner(self, entry: Entry) -> str | None:
        return self._lexicon.model.owner_of(entry.relation.name).column

    def _references(self, entry: Entry) -> list[tuple[str, ...]]:
        model, name = self._lexicon.model, entry.relation.name
        declared = [k.columns for k in model.foreign_keys(self._lexicon.catalog, name)]
        return [*declared, *(w.columns for w in model.owner_of(name).ways)]
