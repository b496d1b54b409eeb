"""The corpus: counterexamples as files that people review and that replay for ever."""

import difflib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tenantfuzz.counterexample import Counterexample, Step, Witness
from tenantfuzz.documents import Document, write_json
from tenantfuzz.errors import ToolError
from tenantfuzz.findings import Finding, PrincipalSummary, Severity
from tenantfuzz.policies.principals import Freshness, Membership, Principal
from tenantfuzz.policies.quoting import qualified
from tenantfuzz.policies.structure import RelationName
from tenantfuzz.policies.world import Fixup, Row, World
from tenantfuzz.result import finding_document
from tenantfuzz.scrubbing import scrub_document

SCHEMA_VERSION = 1

_ELSEWHERE = ("id", "code", "expected", "observed", "corpus_file")  # of a finding, in a file


def file_name(identifier: str) -> str:
    """The name of the file of the counterexample ``identifier``: safe on any file system."""
    return re.sub(r"[^\w.-]", "_", identifier) + ".json"


def save(counterexample: Counterexample, folder: Path) -> Path:
    """Write ``counterexample`` to its file in ``folder``, which is made; return the file.

    A file of the same id is replaced, all at once. Passwords of connection strings are left out.
    Raises ToolError where the file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ToolError(
            f"cannot make the corpus folder {folder}: {error.strerror or error}",
            hint="give another one with --corpus",
        ) from error
    path = folder / file_name(counterexample.finding.id)
    document = cast(Document, scrub_document(to_document(counterexample)))
    write_json(document, path)
    return path


def load(path: Path) -> Counterexample:
    """The counterexample in ``path``, as it was saved but for ``corpus_file``, which is None.

    Raises ToolError that says which file is wrong and in what.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ToolError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ToolError(f"{path} is not UTF-8 text") from error
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ToolError(f"{path} is not valid JSON: {error}", hint=_hint(path)) from error
    try:
        return from_document(data)
    except _WrongError as error:
        raise ToolError(f"{path}: {error}", hint=_hint(path)) from error


def find(folder: Path, ids: Sequence[str] = ()) -> list[Path]:
    """The files of ``folder`` with those ids, or unique beginnings of ids, in the order given;
    with no ids all of them, sorted. Raises ToolError for an id that names none or several."""
    try:
        files = sorted(p for p in folder.iterdir() if p.suffix == ".json" and p.is_file())
    except FileNotFoundError:
        files = []
    except OSError as error:
        raise ToolError(f"cannot read {folder}: {error.strerror or error}") from error
    if not ids:
        return files
    return list(dict.fromkeys(_one(folder, files, identifier) for identifier in ids))


def _one(folder: Path, files: Sequence[Path], identifier: str) -> Path:
    wanted = file_name(identifier.removesuffix(".json")).removesuffix(".json")
    exact = [p for p in files if p.stem == wanted]
    hits = exact or [p for p in files if p.stem.startswith(wanted)]
    if len(hits) == 1:
        return hits[0]
    if hits:
        shown = ", ".join(p.stem for p in hits[:5]) + (", …" if len(hits) > 5 else "")
        raise ToolError(f"{identifier!r} is the beginning of several ids", hint=f"such as {shown}")
    near = difflib.get_close_matches(wanted, [p.stem for p in files], n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else "a run saves what it finds there"
    raise ToolError(f"there is no counterexample {identifier!r} in {folder}", hint=hint)


def to_document(counterexample: Counterexample) -> Document:
    """The document of DESIGN.md, section 10."""
    finding = counterexample.finding
    principal = counterexample.witness.principal
    whole = finding_document(finding)
    return {
        "schema_version": SCHEMA_VERSION,
        "id": finding.id,
        "code": finding.code,
        "target": {"name": counterexample.target, "hash": counterexample.target_hash},
        "server": {"version": counterexample.server_version},
        "principal": {
            "kind": principal.kind,
            "user": principal.user,
            "tenant": principal.tenant,
            "memberships": [{"tenant": m.tenant, "kind": m.kind} for m in principal.memberships],
            "all_tenants": sorted(principal.all_tenants),
            "login": principal.login,
            "role": principal.role,
            "settings": [list(pair) for pair in principal.settings],
            "statements": list(principal.statements),
            "freshness": principal.freshness.value,
            "earlier": [list(pair) for pair in principal.earlier],
            "note": principal.note,
        },
        "world": _world_document(counterexample.witness.world),
        "actions": [
            {
                "relation": _written(step.relation),
                "operation": step.operation,
                "sql": step.sql,
                "shape": step.shape,
                **({"arguments": dict(step.arguments)} if step.arguments else {}),
            }
            for step in counterexample.witness.steps
        ],
        "expected": finding.expected,
        "observed": finding.observed,
        "finding": {key: item for key, item in whole.items() if key not in _ELSEWHERE},
    }


def from_document(data: object) -> Counterexample:
    """The counterexample that a document holds; raises an error with the place that is wrong."""
    top = _Reader(data, "the file")
    version = top.get("schema_version")
    if version != SCHEMA_VERSION:
        raise _WrongError(f"schema_version is {version!r}; this version reads {SCHEMA_VERSION}")
    finding = _finding(top)
    # Only the readable part: passwords that were left out may have been part of a culprit.
    if top.text("id").rpartition("-")[0] != finding.id.rpartition("-")[0]:
        raise _WrongError(f"id is {top.text('id')!r}, but what it holds makes {finding.id!r}")
    target = top.inner("target")
    return Counterexample(
        finding=finding,
        witness=Witness(
            _world(top.inner("world")),
            _principal(top.inner("principal")),
            tuple(
                Step(
                    _relation(step.text("relation"), step.place),
                    step.text("operation"),
                    step.text("sql"),
                    step.text("shape"),
                    tuple(step.inner("arguments").values().items())
                    if step.has("arguments")
                    else (),
                )
                for step in top.inners("actions")
            ),
        ),
        target=target.text("name"),
        target_hash=target.text("hash"),
        server_version=top.inner("server").text("version"),
    )


def _world_document(world: World) -> Document:
    groups: dict[str, list[Row]] = {}
    order: list[str] = []
    for row in world.rows:
        name = _written(row.relation)
        groups.setdefault(name, []).append(row)
        order.append(name)
    document: Document = {
        "tenants": list(world.tenants),
        "users": list(world.users),
        "rows": {name: [dict(row.values) for row in rows] for name, rows in groups.items()},
        "made_for": {name: [row.tenant for row in rows] for name, rows in groups.items()},
    }
    if any(row.canary for row in world.rows):
        document["canaries"] = {n: [row.canary for row in rows] for n, rows in groups.items()}
    if order != [name for name, rows in groups.items() for _ in rows]:
        document["order"] = order
    document["fixups"] = [
        {"relation": _written(f.relation), "key": dict(f.key), "values": dict(f.values)}
        for f in world.fixups
    ]
    return document


def _world(reader: "_Reader") -> World:
    rows: dict[str, list[Row]] = {}
    tables = reader.inner("rows")
    owners = reader.inner("made_for")
    canaries = reader.inner("canaries") if reader.has("canaries") else None
    for name in tables.keys():  # noqa: SIM118  # a reader, not a mapping
        relation = _relation(name, tables.place)
        values = [row.values() for row in tables.inners(name)]
        made_for = owners.optional_texts(name)
        tokens = canaries.texts(name) if canaries else ("",) * len(values)
        if not len(values) == len(made_for) == len(tokens):
            raise _WrongError(
                f"{reader.place}: {name} has {len(values)} rows, but not as many owners"
            )
        rows[name] = [
            Row(relation, v, tenant, canary)
            for v, tenant, canary in zip(values, made_for, tokens, strict=True)
        ]
    return World(
        rows=tuple(_in_order(rows, reader)),
        fixups=tuple(
            Fixup(
                _relation(f.text("relation"), f.place),
                f.inner("key").values(),
                f.inner("values").values(),
            )
            for f in reader.inners("fixups")
        ),
        tenants=reader.texts("tenants"),
        users=reader.texts("users"),
    )


def _in_order(rows: Mapping[str, list[Row]], reader: "_Reader") -> list[Row]:
    if not reader.has("order"):
        return [row for group in rows.values() for row in group]
    rest = {name: iter(group) for name, group in rows.items()}
    order = reader.texts("order")
    if Counter(order) != {name: len(group) for name, group in rows.items() if group}:
        raise _WrongError(f"{reader.place}: order does not name each row once")
    return [next(rest[name]) for name in order]


def _principal(reader: "_Reader") -> Principal:
    try:
        freshness = Freshness(reader.text("freshness"))
    except ValueError:
        raise _WrongError(
            f"{reader.place}: unknown freshness {reader.get('freshness')!r}"
        ) from None
    return Principal(
        kind=reader.text("kind"),
        user=reader.optional_text("user"),
        tenant=reader.optional_text("tenant"),
        memberships=tuple(
            Membership(m.text("tenant"), m.text("kind")) for m in reader.inners("memberships")
        ),
        all_tenants=frozenset(reader.texts("all_tenants")),
        role=reader.optional_text("role"),
        login=reader.optional_text("login"),
        settings=reader.pairs("settings"),
        statements=reader.texts("statements"),
        freshness=freshness,
        earlier=reader.pairs("earlier"),
        note=reader.text("note"),
    )


def _finding(top: "_Reader") -> Finding:
    reader = top.inner("finding")
    try:
        severity = Severity(reader.text("severity"))
    except ValueError:
        raise _WrongError(f"finding: unknown severity {reader.get('severity')!r}") from None
    who = reader.inner("principal")
    return Finding(
        code=top.text("code"),
        severity=severity,
        title=reader.text("title"),
        relation=reader.text("relation"),
        operation=reader.text("operation"),
        principal=PrincipalSummary(
            who.text("kind"),
            who.text("role"),
            who.optional_text("tenant"),
            who.optional_text("user"),
        ),
        owner_tenants=reader.texts("owner_tenants"),
        explanation=reader.text("explanation"),
        culprits=reader.texts("culprits"),
        statements=reader.texts("statements"),
        expected=top.text("expected"),
        observed=top.text("observed"),
        minimal=reader.flag("minimal"),
        latent=reader.flag("latent"),
        origin=reader.text("origin"),
        mend=reader.text("mend"),
        world_rows=reader.texts("world_rows"),
    )


def _written(relation: RelationName) -> str:
    plain = not any(c in part for part in (relation.schema, relation.name) for c in '."')
    return str(relation) if plain else qualified(relation)


_QUOTED = re.compile(r'("(?:[^"]|"")+"|[^."]+)\.("(?:[^"]|"")+"|[^."]+)')


def _relation(text: str, place: str) -> RelationName:
    match = _QUOTED.fullmatch(text)
    if match is None:
        raise _WrongError(f"{place}: {text!r} is no schema-qualified name")
    schema, name = (
        part[1:-1].replace('""', '"') if part.startswith('"') else part for part in match.groups()
    )
    return RelationName(schema, name)


def _hint(path: Path) -> str:
    return f"restore the file from version control, or delete it: {path}"


class _WrongError(Exception):
    """What is wrong with a document, and where in it."""


@dataclass(frozen=True, slots=True)
class _Reader:
    """One object of the document; every question says what it expects, and where it fails."""

    data: object
    place: str

    def __post_init__(self) -> None:
        if not isinstance(self.data, dict):
            raise _WrongError(f"{self.place}: expected an object")

    def keys(self) -> list[str]:
        return list(cast(dict[str, object], self.data))

    def has(self, key: str) -> bool:
        return key in cast(dict[str, object], self.data)

    def get(self, key: str) -> object:
        if not self.has(key):
            raise _WrongError(f"{self.place}: {key!r} is missing")
        return cast(dict[str, object], self.data)[key]

    def text(self, key: str) -> str:
        value = self.get(key)
        if not isinstance(value, str):
            raise _WrongError(f"{self.place}: {key!r} must be a string")
        return value

    def optional_text(self, key: str) -> str | None:
        return None if self.get(key) is None else self.text(key)

    def flag(self, key: str) -> bool:
        value = self.get(key)
        if not isinstance(value, bool):
            raise _WrongError(f"{self.place}: {key!r} must be true or false")
        return value

    def items(self, key: str) -> list[object]:
        value = self.get(key)
        if not isinstance(value, list):
            raise _WrongError(f"{self.place}: {key!r} must be a list")
        return value

    def optional_texts(self, key: str) -> tuple[str | None, ...]:
        found = self.items(key)
        if not all(item is None or isinstance(item, str) for item in found):
            raise _WrongError(f"{self.place}: {key!r} must be a list of strings")
        return tuple(cast(list[str | None], found))

    def texts(self, key: str) -> tuple[str, ...]:
        found = self.optional_texts(key)
        if None in found:
            raise _WrongError(f"{self.place}: {key!r} must be a list of strings")
        return cast(tuple[str, ...], found)

    def pairs(self, key: str) -> tuple[tuple[str, str], ...]:
        found = self.items(key)
        pairs = []
        for item in found:
            if not isinstance(item, list) or [type(part) for part in item] != [str, str]:
                raise _WrongError(f"{self.place}: {key!r} must be a list of [name, value]")
            pairs.append((str(item[0]), str(item[1])))
        return tuple(pairs)

    def inner(self, key: str) -> "_Reader":
        return _Reader(self.get(key), key)

    def inners(self, key: str) -> list["_Reader"]:
        return [_Reader(item, f"{key}[{n}]") for n, item in enumerate(self.items(key))]

    def values(self) -> dict[str, str | None]:
        data = cast(dict[str, object], self.data)
        for name, value in data.items():
            if value is not None and not isinstance(value, str):
                raise _WrongError(f"{self.place}: {name!r} must be a string or null")
        return cast(dict[str, str | None], data)
