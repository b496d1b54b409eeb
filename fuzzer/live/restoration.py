"""Restores a dump statement by statement: what fails costs only what depends on it."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import psycopg

from tenantfuzz.errors import ToolError
from tenantfuzz.live.entries import Entry
from tenantfuzz.loading.cluster import creates_public
from tenantfuzz.loading.extensions import (
    install_stand_in,
    is_available,
    missing_warning,
    parse_extension,
    stand_in,
)
from tenantfuzz.loading.words import unquote
from tenantfuzz.policies.structure import RelationName

# A foreign server is another database, which belongs to the live one: nothing may reach it.
_ELSEWHERE: Final = frozenset({"SERVER", "USER MAPPING", "FOREIGN DATA WRAPPER", "FOREIGN TABLE"})
_NOT_COPIED: Final = _ELSEWHERE | {"EVENT TRIGGER", "SUBSCRIPTION"}
_ACL_ELSEWHERE: Final = ("FOREIGN SERVER ", "FOREIGN DATA WRAPPER ")
_WHERE_ELSE: Final = "a foreign table: its rows live in another database, which is never touched"

# Without one of these a relation shows or takes other rows than the live one does.
_DECISIVE: Final = frozenset(
    {"POLICY", "ROW SECURITY", "ACL", "TRIGGER", "RULE", "CONSTRAINT", "CHECK CONSTRAINT"}
    | {"DEFAULT", "TABLE ATTACH"}
)
_ROUTINES: Final = frozenset({"FUNCTION", "PROCEDURE", "AGGREGATE"})
_NO_DOOR: Final = re.compile(r'\bRETURNS "?(?:pg_catalog"?\."?)?(?:event_)?trigger\b')
_ALTERS_STORAGE: Final = re.compile(r"\bSET (?:STATISTICS|STORAGE|COMPRESSION|\()|\bCLUSTER ON\b")
_MISSING_ROLE: Final = re.compile(r'^role "(pg_.+)" does not exist$')
_MAINTAIN: Final = re.compile(r"^((?:GRANT|REVOKE)(?: GRANT OPTION FOR)? [A-Z, ]*?),?\bMAINTAIN\b")
_QUOTED: Final = re.compile(r'"(?:[^"]|"")+"')
_FOREIGN_KEY: Final = re.compile(
    r'FOREIGN KEY \((?P<columns>[^)]*)\) REFERENCES (?P<target>"(?:[^"]|"")+"\."(?:[^"]|"")+")'
)
_COLLATION: Final = re.compile(r"^collation .* does not exist$|^ICU is not supported")
_SHOWN: Final = 12


@dataclass(frozen=True, slots=True)
class LostKey:
    """A foreign key that the copy lacks, since its target is not there."""

    relation: RelationName
    columns: tuple[str, ...]
    target: RelationName


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restoration left out.

    ``missing`` are doors that do not exist in the copy: name, operation, reason. ``unfaithful``
    are relations of the copy that lack something that decides who sees what; ``absent`` are
    relations that do not exist in it.
    """

    warnings: tuple[str, ...]
    missing: tuple[tuple[str, str, str], ...]
    unfaithful: dict[RelationName, str]
    absent: frozenset[RelationName] = frozenset()
    lost_keys: tuple[LostKey, ...] = ()
    stand_ins: frozenset[int] = frozenset()  # functions, by oid, that stand in for an extension's


def restore(connection: psycopg.Connection, entries: Sequence[Entry]) -> Restored:
    """Run ``entries`` on the scratch database of ``connection``, a superuser's in autocommit.

    ToolError only where the server is lost.
    """
    restorer = _Restorer(connection)
    try:
        for entry in entries:
            restorer.run(entry)
        restorer.fill_views()
    except psycopg.OperationalError as error:
        if not connection.broken:
            raise
        raise ToolError(
            f"the scratch server was lost while the structure was copied: {error}",
            hint="is it still running, and has it room?",
        ) from error
    return restorer.result()


def is_left_out(entry: Entry) -> bool:
    """Whether ``entry`` is not for a copy: it leads to another database, or watches over DDL."""
    return entry.type in _NOT_COPIED or entry.name.startswith(_ACL_ELSEWHERE)


@dataclass(slots=True)
class _Restorer:
    connection: psycopg.Connection
    warnings: list[str] = field(default_factory=list)
    missing: list[tuple[str, str, str]] = field(default_factory=list)
    unfaithful: dict[RelationName, str] = field(default_factory=dict)
    absent: set[RelationName] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)
    lacking: set[str] = field(default_factory=set)  # extensions
    lost: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    lost_keys: list[LostKey] = field(default_factory=list)
    stand_ins: set[int] = field(default_factory=set)
    event_triggers: int = 0

    def run(self, entry: Entry) -> None:
        if is_left_out(entry):
            self._leave_out(entry)
        elif entry.number in self.failed and entry.type:
            return
        elif entry.type == "EXTENSION":
            self._extend(entry)
        elif not (creates_public(entry.text) and self._has_public()):
            self._execute(entry)

    def fill_views(self) -> None:
        """Refresh materialized views, which a dump leaves empty, as long as any can be."""
        query = (
            "SELECT c.oid::regclass::text FROM pg_catalog.pg_class c"
            " WHERE c.relkind = 'm' AND NOT c.relispopulated ORDER BY c.oid"
        )
        while names := [str(row[0]) for row in self.connection.execute(query)]:
            refreshed = [self._refresh(name) for name in names]
            if not any(refreshed):
                return

    def result(self) -> Restored:
        warnings = list(self.warnings)
        for reason, titles in self.lost.items():
            shown = ", ".join(titles[:_SHOWN])
            rest = f" and {len(titles) - _SHOWN} more" if len(titles) > _SHOWN else ""
            warnings.append(f"not copied ({reason}): {shown}{rest}")
        if any(_COLLATION.search(reason) for reason in self.lost):
            warnings.append(
                "this server lacks collations of the live database: --postgres downloads one that"
                " knows those of ICU"
            )
        if self.event_triggers:
            warnings.append(
                f"event triggers are not copied ({self.event_triggers}): worlds change no structure"
            )
        return Restored(
            tuple(warnings),
            tuple(self.missing),
            {n: r for n, r in self.unfaithful.items() if n not in self.absent},
            frozenset(self.absent),
            tuple(self.lost_keys),
            frozenset(self.stand_ins),
        )

    def _execute(self, entry: Entry) -> None:
        text = self._adapted(entry.text)
        if text is None:
            return
        try:
            self.connection.execute(text.encode())
        except psycopg.Error as error:
            if self.connection.broken:
                raise
            self._note(entry, error.diag.message_primary or str(error).strip())

    def _adapted(self, text: str) -> str | None:
        """``text`` for this server: MAINTAIN came with PostgreSQL 17."""
        if self.connection.info.server_version >= 170000:
            return text
        match = _MAINTAIN.match(text)
        if match is None:
            return text
        kept = match[1].rstrip(", ")
        if kept in ("GRANT", "REVOKE", "REVOKE GRANT OPTION FOR"):
            return None
        return f"{kept} {text[match.end() :].lstrip(' ,')}" if kept else text

    def _note(self, entry: Entry, reason: str) -> None:
        relation = entry.relation
        if not entry.type:
            return  # a setting of the session that this server does not have
        if relation in self.absent or _ALTERS_STORAGE.search(entry.text):
            return
        if entry.type == "ACL":
            self._note_grant(entry, relation, reason)
            return
        self.failed.add(entry.number)
        self.lost[reason].append(entry.title)
        if relation is None:
            if entry.type in _ROUTINES and not _NO_DOOR.search(entry.text):
                name = f"{entry.schema}.{entry.name.partition('(')[0]}"
                self.missing.append((name, "call", f"not copied from the live database: {reason}"))
        elif entry.type in ("TABLE", "VIEW", "MATERIALIZED VIEW") and entry.creates:
            self._miss(relation, entry.type, f"not copied from the live database: {reason}")
        elif entry.type == "FK CONSTRAINT":
            self._lose_key(entry, relation)
        elif entry.type in _DECISIVE or entry.text.startswith(("CREATE UNIQUE", "ALTER TABLE")):
            self._distrust(entry, relation, reason)

    def _lose_key(self, entry: Entry, relation: RelationName) -> None:
        match = _FOREIGN_KEY.search(entry.text)
        if match is not None:
            target = RelationName(*(unquote(part) for part in _QUOTED.findall(match["target"])))
            columns = tuple(unquote(part) for part in _QUOTED.findall(match["columns"]))
            self.lost_keys.append(LostKey(relation, columns, target))

    def _note_grant(self, entry: Entry, relation: RelationName | None, reason: str) -> None:
        if match := _MISSING_ROLE.match(reason):
            # Nobody who acts in a world can be a member of a role that does not exist.
            warning = f"privileges of the role {match[1]}, which this server lacks, are not copied"
            if warning not in self.warnings:
                self.warnings.append(warning)
            return
        if relation is not None:
            self.lost[reason].append(entry.title)
            self._distrust(entry, relation, reason)

    def _distrust(self, entry: Entry, relation: RelationName, reason: str) -> None:
        what = f"its {entry.type.lower()} could not be copied: {reason}"
        self.unfaithful.setdefault(relation, what)

    def _miss(self, relation: RelationName, kind: str, reason: str) -> None:
        self.absent.add(relation)
        operations = (
            ("select", "insert", "update", "delete") if kind.endswith("TABLE") else ("select",)
        )
        self.missing += [(str(relation), operation, reason) for operation in operations]

    def _leave_out(self, entry: Entry) -> None:
        if entry.type == "FOREIGN TABLE" and entry.creates and entry.relation is not None:
            self._miss(entry.relation, entry.type, _WHERE_ELSE)
            self.lost["foreign tables lead to other databases"].append(
                f"{entry.schema}.{entry.name}"
            )
        if entry.type == "EVENT TRIGGER" and entry.creates:
            self.event_triggers += 1

    def _extend(self, entry: Entry) -> None:
        request = parse_extension(entry.text)
        if request is None:
            return
        if is_available(self.connection, request.name):
            try:
                self.connection.execute(entry.text.encode())
            except psycopg.Error as error:
                if self.connection.broken:
                    raise
                reason = error.diag.message_primary or "it cannot be made"
                self.warnings.append(f"extension {request.name}: {reason}")
            else:
                return
        body = stand_in(request)
        if body is not None:
            before = self._functions()
            try:
                install_stand_in(self.connection, request, body)
            except psycopg.Error as error:
                if self.connection.broken:
                    raise
                body = None
                self.warnings.append(
                    f"the stand-in for {request.name} does not fit: {error.diag.message_primary}"
                )
            self.stand_ins |= self._functions() - before
        version = self.connection.info.parameter_status("server_version") or "?"
        self.warnings.append(
            missing_warning("live database", request.name, version, has_stand_in=body is not None)
        )
        self.lacking.add(request.name)

    def _functions(self) -> set[int]:
        # Those of the system have lower numbers.
        query = "SELECT oid FROM pg_catalog.pg_proc WHERE oid >= 16384"
        return {row[0] for row in self.connection.execute(query)}

    def _has_public(self) -> bool:
        query = "SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'public'"
        return self.connection.execute(query).fetchone() is not None

    def _refresh(self, name: str) -> bool:
        try:
            self.connection.execute(f"REFRESH MATERIALIZED VIEW {name}".encode())
        except psycopg.Error:
            if self.connection.broken:
                raise
            return False
        return True
