"""Snapshots: the structure, policies and grants of a target as hashes with readable names.

A snapshot says of a later run which relations are as they were. It is a JSON file; hashes stand
for definitions, so it holds no text of the schema but names. What had leaked or was untested when
it was saved is kept in ``left``, to be tested again whatever became of its definition.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from tenantfuzz import __version__
from tenantfuzz.documents import json_text, write_text
from tenantfuzz.errors import ToolError

SCHEMA_VERSION = 1
ANYTHING = "*"
"""A dependency on whatever there is: statements that are put together when they run."""


class Part(StrEnum):
    """What of an object another one depends on."""

    DEFINITION = "definition"  # columns, constraints, a function's body
    ACCESS = "access"  # policies and grants
    TRIGGERS = "triggers"
    WRITES = "writes"  # where a write to it goes on: by foreign keys of others


@dataclass(frozen=True, slots=True, order=True)
class Node:
    """A part of an object, as something that is depended on."""

    key: str  # "relation public.issues", "function app.f(uuid)", "type public.status"
    part: Part

    def __str__(self) -> str:
        return f"{self.key}#{self.part.value}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """``context`` holds what everything depends on; ``objects`` the hashes by object, part and
    name; ``depends`` the nodes that a relation's verdict rests on, its own aside (they may hold
    ``ANYTHING``), ``openers`` the relations that its policies read. ``left`` are the relations that
    a run had not found clean, with the reason, ``covered`` those where it compared anything (others
    are closed to everybody).
    """

    target: str
    context: Mapping[str, str]
    objects: Mapping[str, Mapping[Part, Mapping[str, str]]]
    depends: Mapping[str, frozenset[str]]
    openers: Mapping[str, frozenset[str]]
    left: Mapping[str, str] = field(default_factory=dict)
    covered: frozenset[str] = frozenset()


def digest(*parts: object) -> str:
    """Twelve hex digits over the parts, in order."""
    text = "\0".join("" if p is None else str(p) for p in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def save_snapshot(snapshot: Snapshot, path: Path) -> None:
    """Writes the snapshot, whole or not at all. Raises ToolError."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "tenantfuzz", "version": __version__},
        "target": {"name": snapshot.target},
        "context": dict(sorted(snapshot.context.items())),
        "left": dict(sorted(snapshot.left.items())),
        "covered": sorted(snapshot.covered),
        "objects": {
            key: {part.value: dict(sorted(hashes.items())) for part, hashes in parts.items()}
            for key, parts in sorted(snapshot.objects.items())
        },
        "depends": {name: sorted(nodes) for name, nodes in sorted(snapshot.depends.items())},
        "openers": {name: sorted(names) for name, names in sorted(snapshot.openers.items())},
    }
    write_text(json_text(document), path)


def load_snapshot(path: Path) -> Snapshot:
    """Reads a snapshot. Raises ToolError for a file that is none, or of a later version."""
    hint = "save a new one: tenantfuzz run --save-snapshot FILE"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ToolError(f"cannot read {path}: {error.strerror or error}", hint=hint) from error
    except ValueError as error:
        raise ToolError(f"{path} is not JSON: {error}", hint=hint) from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION or "objects" not in document:
        raise ToolError(f"{path} is no snapshot that this version can read", hint=hint)
    try:
        return _parsed(document)
    except KeyError as error:
        raise ToolError(f"{path} is no whole snapshot: {error} is missing", hint=hint) from error
    except (TypeError, ValueError, AttributeError) as error:
        raise ToolError(f"{path} is no whole snapshot: {error}", hint=hint) from error


def _parsed(document: Mapping[str, Any]) -> Snapshot:  # Any: a document whose form is checked here
    return Snapshot(
        target=str(document["target"]["name"]),
        context={str(k): str(v) for k, v in document["context"].items()},
        objects={
            str(key): {
                Part(part): {str(k): str(v) for k, v in hashes.items()}
                for part, hashes in parts.items()
            }
            for key, parts in document["objects"].items()
        },
        depends={str(k): frozenset(map(str, nodes)) for k, nodes in document["depends"].items()},
        openers={str(k): frozenset(map(str, names)) for k, names in document["openers"].items()},
        left={str(k): str(v) for k, v in document["left"].items()},
        covered=frozenset(map(str, document["covered"])),
    )
