"""What a database holds: noticed when it changes, and put back."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tenantfuzz.errors import ToolError
from tenantfuzz.policies.quoting import column_list, identifier, literal, qualified
from tenantfuzz.policies.structure import RelationName
from tenantfuzz.sequences import ROOM
from tenantfuzz.untriggered import REPLICA
from tenantfuzz.wire import Wire

Digest = tuple[bytes | None, ...]
"""How many rows, and the sum of their hashes: the same whatever their order."""

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
# Triggers that act whatever the replication role is: what they do must be looked at.
_RESTLESS = "SELECT count(*) FROM pg_trigger WHERE tgenabled = 'A'"
_VACUUM_AFTER = 300  # times that something was put back
_TURNS = 3


@dataclass(slots=True)
class _Level:
    """What tables held when a level was saved, and at which level each was saved last."""

    digests: Mapping[RelationName, Digest]
    held: Mapping[RelationName, int]


@dataclass(slots=True)
class Contents:
    """The rows of all tables of the database on ``wire``, those of extensions apart.

    What they hold is saved in levels, one on the other, in temporary tables, which nobody else
    sees.
    """

    wire: Wire
    stale: bool = True  # somebody may have written since it was last asked
    _columns: dict[RelationName, tuple[str, ...]] = field(default_factory=dict)
    _sequences: list[tuple[str, RelationName | None, str]] = field(default_factory=list)
    _restless: bool = False
    _mark: str = ""  # the transaction that would have come next when it was last asked
    _read_at: str | None = None  # the mark when tables were last read
    _digests: dict[RelationName, Digest] = field(default_factory=dict)
    _levels: list[_Level] = field(default_factory=list)
    _made: set[str] = field(default_factory=set)
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
        self._restless = self.wire.query(_RESTLESS) != [("0",)]

    @property
    def depth(self) -> int:
        """How many levels are saved."""
        return len(self._levels)

    # Noticing

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
            self._digests = {
                name: tuple(outcome.rows[0]) if outcome.rows else ()
                for name, outcome in zip(names, outcomes, strict=True)
            }
            self._read_at = mark
        return self._digests

    # Saving and putting back

    def save(self) -> None:
        """Keeps what tables hold now as a level of its own. Raises ToolError."""
        digests = self.digests()
        below = self._levels[-1] if self._levels else None
        number = len(self._levels)
        held = dict(below.held) if below is not None else {}
        statements: list[str] = []
        for name in self._columns:
            if below is not None and below.digests[name] == digests[name]:
                continue
            held[name] = number
            listed, kept = column_list(self._columns[name]), self._keeper(name, number)
            rows = f"SELECT {listed} FROM ONLY {qualified(name)}"
            if kept not in self._made:
                self._made.add(kept)
                statements.append(f"CREATE TEMP TABLE {kept} AS {rows} WITH NO DATA")
            statements += [f"DELETE FROM pg_temp.{kept}", f"INSERT INTO pg_temp.{kept} {rows}"]
        self._transact(statements)
        self._levels.append(_Level(dict(digests), held))
        self._trust(digests)

    def forget(self, depth: int) -> None:
        """Forgets the levels above the first ``depth``."""
        del self._levels[depth:]

    def put_back(self) -> None:
        """Makes every table hold what it held when the highest level was saved.

        No trigger acts on it, and sequences go on behind the greatest number. Raises ToolError
        where somebody else keeps a lock.
        """
        level = self._levels[-1]
        for _ in range(_TURNS):
            now = self.digests()
            changed = [name for name in self._columns if now[name] != level.digests[name]]
            if not changed:
                break
            self._transact([s for name in changed for s in self._refill(name, level.held[name])])
            self.settle_sequences()
            if not self._restless:
                self._trust(level.digests)
        else:
            raise ToolError("the world could not be put back: triggers keep changing it")
        self._put_back += 1
        if self._put_back % _VACUUM_AFTER == 0:
            names = ", ".join(qualified(n) for n in self._columns)
            self.wire.attempt(f"VACUUM {names}")
            self.wire.attempt("VACUUM " + ", ".join(f"pg_temp.{k}" for k in sorted(self._made)))
            self.stale = True

    def settle_sequences(self) -> None:
        """Sets every sequence to the same number each time, behind those that are in use."""
        settings = []
        for sequence, owner, column in self._sequences:
            greatest = "NULL::bigint"
            if owner is not None and owner in self._columns:
                greatest = f"(SELECT max({identifier(column)})::bigint FROM {qualified(owner)})"
            settings.append(
                f"SELECT setval(s.seqrelid, w.number) FROM {sequence} AS q, pg_sequence AS s, "
                f"LATERAL (SELECT LEAST(GREATEST({greatest}, s.seqstart - 1, "
                f"LEAST({ROOM}, s.seqmax / 2)), s.seqmax) AS number) AS w "
                f"WHERE s.seqrelid = {literal(sequence)}::regclass "
                "AND (q.last_value <> w.number OR NOT q.is_called)"
            )
        if settings:
            self.wire.pipeline(settings, prepare=True)
            self.stale = True

    def _refill(self, name: RelationName, level: int) -> Sequence[str]:
        listed = column_list(self._columns[name])
        return (
            f"DELETE FROM ONLY {qualified(name)}",
            f"INSERT INTO {qualified(name)} ({listed}) OVERRIDING SYSTEM VALUE "
            f"SELECT {listed} FROM pg_temp.{self._keeper(name, level)}",
        )

    def _keeper(self, name: RelationName, level: int) -> str:
        """The temporary table that keeps a table's rows of one level."""
        return f"tenantfuzz_{level}_{list(self._columns).index(name)}"

    def _transact(self, statements: Sequence[str]) -> None:
        if not statements:
            return
        self.stale = True
        outcomes = self.wire.groups([["BEGIN", REPLICA, *statements, "COMMIT"]], prepare=True)
        failure = next((o.failure for o in outcomes if o.failure is not None), None)
        if failure is not None:
            self.wire.attempt("ROLLBACK")
            raise ToolError(f"the world could not be put back: {failure.message}")

    def _trust(self, digests: Mapping[RelationName, Digest]) -> None:
        """What tables hold is known: nobody else is at work."""
        self._digests, self._read_at = dict(digests), self.mark()
