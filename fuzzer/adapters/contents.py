"""What a database holds: noticed when it changes, and put back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import psycopg

from tenantfuzz.errors import ToolError
from tenantfuzz.policies.quoting import column_list, identifier, literal, qualified
from tenantfuzz.policies.structure import RelationName
from tenantfuzz.wire import Wire

Digest = tuple[str | None, str | None]
"""How many rows, and the sum of their hashes: the same whatever their order."""
Saved = dict[RelationName, bytes]
"""The rows of each table, as COPY writes them."""

_TABLES = """
SELECT n.nspname, c.relname,
  (SELECT json_agg(a.attname ORDER BY a.attnum) FROM pg_attribute a
   WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '')::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_'
  AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                  AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1, 2
"""
_SEQUENCES = """
SELECT s.seqrelid::regclass::text, n.nspname, c.relname, a.attname
FROM pg_sequence s LEFT JOIN pg_depend d
  ON d.classid = 'pg_class'::regclass AND d.objid = s.seqrelid AND d.refobjsubid > 0
  AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
LEFT JOIN pg_class c ON c.oid = d.refobjid LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
"""
_ROOM = 1000  # where sequences go on: worlds use smaller numbers
_VACUUM_AFTER = 150  # times that something was put back


@dataclass(slots=True)
class Contents:
    """The rows of all tables of the database on ``wire``, those of extensions apart."""

    wire: Wire
    _columns: dict[RelationName, tuple[str, ...]] = field(default_factory=dict)
    _sequences: list[tuple[str, RelationName | None, str]] = field(default_factory=list)
    stale: bool = True  # somebody may have written since it was last asked
    _mark: str = ""  # the transaction that would have come next when it was last asked
    _read_at: str | None = None  # the mark when tables were last read
    _digests: dict[RelationName, Digest] = field(default_factory=dict)
    _put_back: int = 0

    def read_structure(self) -> None:
        """Learns which tables and sequences there are; call it once."""
        for schema, name, columns in self.wire.query(_TABLES):
            listed = tuple(json.loads(columns or "[]"))
            if listed:
                self._columns[RelationName(schema or "", name or "")] = listed
        for sequence, schema, name, column in self.wire.query(_SEQUENCES):
            owner = RelationName(schema or "", name or "") if name is not None else None
            self._sequences.append((sequence or "", owner, column or ""))

    def mark(self) -> str:
        """What any transaction that writes makes greater, and nothing makes smaller."""
        if self.stale:
            rows = self.wire.query("SELECT pg_snapshot_xmax(pg_current_snapshot())::text")
            self._mark, self.stale = rows[0][0] or "", False
        return self._mark

    def digests(self) -> Mapping[RelationName, Digest]:
        """A digest of every table's rows. Tables are read only where something wrote."""
        mark = self.mark()
        if mark != self._read_at:
            names = list(self._columns)
            outcomes = self.wire.pipeline(
                [
                    "SELECT count(*), sum(hashtextextended(t::text, 0)) "
                    f"FROM ONLY {qualified(name)} AS t"
                    for name in names
                ],
                prepare=True,
                together=True,
            )
            read = {}
            for name, outcome in zip(names, outcomes, strict=True):
                count, total = outcome.rows[0] if outcome.rows else (None, None)
                read[name] = (_text(count), _text(total))
            self._digests, self._read_at = read, mark
        return self._digests

    def save(self) -> Saved:
        """All rows."""
        return {name: self._copied(name) for name in self._columns}

    def put_back(self, saved: Saved, digests: Mapping[RelationName, Digest]) -> None:
        """Makes every table hold what it held when it was ``saved`` and had these ``digests``.

        No trigger acts on it, and sequences go on behind the greatest number. Raises ToolError
        where somebody else keeps a lock.
        """
        now = self.digests()
        changed = [name for name in self._columns if now[name] != digests[name]]
        if changed:
            self.wire.execute("BEGIN", "SET LOCAL session_replication_role = replica")
            try:
                for name in changed:
                    self.wire.execute(f"DELETE FROM ONLY {qualified(name)}")
                    self._fill(name, saved[name])
            except psycopg.Error as error:
                self.wire.attempt("ROLLBACK")
                raise ToolError(f"the world could not be put back: {error}") from error
            except ToolError:
                self.wire.attempt("ROLLBACK")
                raise
            self.wire.execute("COMMIT")
            self.stale = True
        self._put_back += 1
        if self._put_back % _VACUUM_AFTER == 0:
            names = ", ".join(qualified(n) for n in self._columns)
            self.wire.attempt(f"VACUUM (TRUNCATE) {names}")
        self.settle_sequences()

    def settle_sequences(self) -> None:
        """Sets every sequence to the same number each time, behind those that are in use."""
        settings = []
        for sequence, owner, column in self._sequences:
            greatest = "NULL::bigint"
            if owner is not None and owner in self._columns:
                greatest = f"(SELECT max({identifier(column)})::bigint FROM {qualified(owner)})"
            settings.append(
                f"setval({literal(sequence)}::regclass, "
                f"LEAST(GREATEST({greatest}, {_ROOM}), s.seqmax)) "
                f"FROM pg_sequence s WHERE s.seqrelid = {literal(sequence)}::regclass"
            )
        if settings:
            self.wire.pipeline([f"SELECT {s}" for s in settings], prepare=True)

    def _copied(self, name: RelationName) -> bytes:
        listed = column_list(self._columns[name])
        statement = f"COPY (SELECT {listed} FROM ONLY {qualified(name)}) TO STDOUT"
        with (
            self.wire.connection.cursor() as cursor,
            cursor.copy(statement.encode()) as copy,
        ):
            return b"".join(bytes(part) for part in copy)

    def _fill(self, name: RelationName, rows: bytes) -> None:
        if not rows:
            return
        statement = f"COPY {qualified(name)} ({column_list(self._columns[name])}) FROM STDIN"
        with (
            self.wire.connection.cursor() as cursor,
            cursor.copy(statement.encode()) as copy,
        ):
            copy.write(rows)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()
