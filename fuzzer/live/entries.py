"""The entries of a dump: what each statement is about, as pg_dump's comments say."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tenantfuzz.loading.statements import Statement, StatementKind, split_statements
from tenantfuzz.policies.structure import RelationName

_HEADER: Final = re.compile(
    r"^-- Name: (?P<name>.*); Type: (?P<type>[A-Z ]+); Schema: (?P<schema>.*); Owner: .*$",
    re.MULTILINE,
)
_RELATIONS: Final = frozenset({"TABLE", "VIEW", "MATERIALIZED VIEW", "FOREIGN TABLE"})
_OF_RELATION: Final = frozenset(
    {"POLICY", "TRIGGER", "RULE", "CONSTRAINT", "CHECK CONSTRAINT", "FK CONSTRAINT", "DEFAULT"}
    | {"ROW SECURITY", "INDEX"}
)
_ACL_OF_RELATION: Final = ("TABLE ", "COLUMN ")
_NAMED: Final = r'"(?P<schema>(?:[^"]|"")+)"\."(?P<name>(?:[^"]|"")+)"'
_PLACE: Final = re.compile(rf"\b(?:ON|TABLE)(?: ONLY)?\s+{_NAMED}")
_RULE_PLACE: Final = re.compile(rf"\bTO {_NAMED}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One statement of a dump with the ``type`` (``POLICY``), ``name`` and ``schema`` of the entry
    that it stands in; ``number`` is the same for all statements of one entry."""

    statement: Statement
    number: int
    type: str
    name: str
    schema: str

    @property
    def text(self) -> str:
        """The statement."""
        return self.statement.text

    @property
    def creates(self) -> bool:
        """Whether the statement makes what the entry is about."""
        return self.text.startswith("CREATE ")

    @property
    def relation(self) -> RelationName | None:
        """The relation that the entry is, or is a part of: a policy's table, a grant's view."""
        if self.type in _RELATIONS or self.type == "TABLE ATTACH":
            return RelationName(self.schema, self.name)
        on_relation = self.type == "ACL" and self.name.startswith(_ACL_OF_RELATION)
        if not on_relation and self.type not in _OF_RELATION:
            return None
        match = (_RULE_PLACE if self.type == "RULE" else _PLACE).search(self.text)
        if match is None:
            return None
        return RelationName(*(match[part].replace('""', '"') for part in ("schema", "name")))

    @property
    def title(self) -> str:
        """What to call the entry in a message: ``policy "own" on public.issues``."""
        word = self.type.lower()
        place = f"{self.schema}." if self.schema not in ("", "-") else ""
        return f"{word} {place}{self.name}"


def read_entries(dump: str) -> list[Entry]:
    """The statements of a plain dump that change something, each with the entry it stands in.

    The settings at the start of the dump, and between its entries, are entries of type ``""``.
    """
    return list(_entries(dump))


def _entries(dump: str) -> Iterator[Entry]:
    headers = list(_HEADER.finditer(dump))
    statements = [s for s in split_statements(dump) if s.kind is StatementKind.SQL]
    kind, name, schema = "", "", ""
    position = 0
    before = 0
    for statement in statements:
        # The text of a function may look like a header: those inside a statement are passed over.
        while position < len(headers) and headers[position].start() < statement.start:
            header = headers[position]
            if header.start() >= before:
                kind, name, schema = header["type"], header["name"], header["schema"]
            position += 1
        before = statement.end
        if statement.text.startswith(("SET ", "SELECT pg_catalog.set_config(")):
            yield Entry(statement, position, "", "", "")
        else:
            yield Entry(statement, position, kind, name, schema)


def normalised(entries: Sequence[Entry]) -> str:
    """The entries as a text that is the same for the same structure: no versions, no dates."""
    return ";\n".join(entry.text for entry in entries if entry.type) + ";\n"
