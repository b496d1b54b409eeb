"""Puts a world into a database, inside the transaction that is open on a wire."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from tenantfuzz.policies.quoting import column_list, literal, qualified, readable_identifier
from tenantfuzz.policies.structure import Catalog, RelationName
from tenantfuzz.policies.world import Fixup, Row, World
from tenantfuzz.results import Failure
from tenantfuzz.untriggered import ORIGIN, REPLICA
from tenantfuzz.wire import Wire


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that the server did not take, and what it said."""

    row: Row
    failure: Failure


@dataclass(slots=True)
class WorldLoader:
    """Inserts worlds. Remembers which relations have rows made by triggers, and by which key they
    are known, so that theirs are updated in place of inserted (``handle_new_user`` makes the
    profile before we do).

    The rows of ``untriggered`` relations come in without their triggers, which would refuse or
    spoil them: they ask who is signed in, and nobody is while a world is loaded.
    """

    catalog: Catalog
    deferrable: bool = False
    trigger_made: dict[RelationName, tuple[str, ...]] = field(default_factory=dict)
    untriggered: set[RelationName] = field(default_factory=set)

    def load(self, wire: Wire, world: World) -> list[Refusal]:
        """Inserts all rows. Returns the rows refused, each for its own reason; rows that depend
        on a refused one are refused by their foreign keys. A transaction must be open."""
        statements = list(self._statements(world.rows))
        statements += [fixup_statement(f) for f in world.fixups]
        if self.deferrable:
            statements.append("SET CONSTRAINTS ALL IMMEDIATE")
        outcomes = wire.groups([["SAVEPOINT load", *statements, "RELEASE load"]], prepare=False)
        if all(o.failure is None for o in outcomes):
            return []
        wire.execute("ROLLBACK TO load")
        return self._one_by_one(wire, world)

    def _statements(self, rows: Sequence[Row]) -> Iterator[str]:
        """Consecutive rows of one relation with the same columns share an INSERT."""
        for (relation, columns), group in groupby(rows, lambda r: (r.relation, tuple(r.values))):
            statement = insert_statement(
                relation,
                columns,
                list(group),
                upsert=self.trigger_made.get(relation, ()),
            )
            yield from self._with_triggers(relation, statement)

    def _with_triggers(self, relation: RelationName, statement: str) -> tuple[str, ...]:
        return (REPLICA, statement, ORIGIN) if relation in self.untriggered else (statement,)

    def _keys(self, relation: RelationName) -> list[tuple[str, ...]]:
        """The keys by which a row of a trigger may be known, the primary one first."""
        found = self.catalog.relations[relation]
        whole = [u for u in found.uniques if u.predicate is None and not u.expressions]
        names = rf"\b{re.escape(relation.name)}\b"
        made = any(
            re.search(names, t.source) for r in self.catalog.relations.values() for t in r.triggers
        )
        return [u.columns for u in sorted(whole, key=lambda u: not u.primary) if u.primary or made]

    def _one_by_one(self, wire: Wire, world: World) -> list[Refusal]:
        refused: list[Refusal] = []
        for row in world.rows:
            failure = self._insert(wire, row)
            if failure is not None:
                refused.append(Refusal(row, failure))
        for fixup in world.fixups:
            outcome = self._guarded(wire, fixup_statement(fixup))
            if outcome is not None:
                row = Row(fixup.relation, {**fixup.key, **fixup.values})
                refused.append(Refusal(row, outcome))
        if self.deferrable:
            outcome = self._guarded(wire, "SET CONSTRAINTS ALL IMMEDIATE")
            if outcome is not None and world.rows:
                refused.append(Refusal(world.rows[-1], outcome))
        return refused

    def _insert(self, wire: Wire, row: Row) -> Failure | None:
        columns = tuple(row.values)
        made = self.trigger_made.get(row.relation, ())
        statement = insert_statement(row.relation, columns, [row], upsert=made)
        failure = self._guarded(wire, *self._with_triggers(row.relation, statement))
        if failure is None or failure.sqlstate != "23505" or made:
            return failure
        for key in self._keys(row.relation):
            again = insert_statement(row.relation, columns, [row], upsert=key)
            if self._guarded(wire, *self._with_triggers(row.relation, again)) is None:
                self.trigger_made[row.relation] = key
                return None
        return failure

    def _guarded(self, wire: Wire, *statements: str) -> Failure | None:
        outcomes = wire.groups([["SAVEPOINT row", *statements, "RELEASE row"]])
        failure = next((o.failure for o in outcomes if o.failure is not None), None)
        if failure is not None:
            wire.execute("ROLLBACK TO row", "RELEASE row")
        return failure


def insert_statement(
    relation: RelationName,
    columns: Sequence[str],
    rows: Sequence[Row],
    *,
    upsert: Sequence[str] = (),
) -> str:
    """An INSERT of explicit values, identity columns included; with ``upsert`` rows that are
    there already, by those key columns, take the new values."""
    if not columns:
        return f"INSERT INTO {qualified(relation)} DEFAULT VALUES"
    tuples = ", ".join(
        "(" + ", ".join(literal(row.values[c]) for c in columns) + ")" for row in rows
    )
    text = (
        f"INSERT INTO {qualified(relation)} ({column_list(columns)}) "
        f"OVERRIDING SYSTEM VALUE VALUES {tuples}"
    )
    if upsert and set(upsert) <= set(columns):
        changes = [
            f"{readable_identifier(c)} = EXCLUDED.{readable_identifier(c)}"
            for c in columns
            if c not in upsert
        ]
        action = f"DO UPDATE SET {', '.join(changes)}" if changes else "DO NOTHING"
        text += f" ON CONFLICT ({column_list(upsert)}) {action}"
    return text


def fixup_statement(fixup: Fixup) -> str:
    """The UPDATE that closes a cycle of foreign keys."""
    changes = ", ".join(f"{readable_identifier(c)} = {literal(v)}" for c, v in fixup.values.items())
    where = " AND ".join(f"{readable_identifier(c)} = {literal(v)}" for c, v in fixup.key.items())
    return f"UPDATE {qualified(fixup.relation)} SET {changes} WHERE {where}"
