"""Finds the files that a schema is made of."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from tenantfuzz.errors import ToolError
from tenantfuzz.loading.folders import is_undo, list_folder, natural_key

_GLOB_CHARACTERS = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of the schema; ``display`` is its path as the user wrote it."""

    path: Path
    display: str


def read_source(source: SourceFile) -> str:
    """The text of ``source``. Raises ToolError for what cannot be read as UTF-8 SQL."""
    try:
        raw = source.path.read_bytes()
    except OSError as error:
        raise ToolError(
            f"cannot read {source.display}: {error.strerror or error}",
            hint="Check the path and the permissions of the file.",
        ) from error
    if raw.startswith(b"PGDMP"):
        raise ToolError(
            f"{source.display} is a pg_dump archive, not SQL text",
            hint=f"Make SQL of it: pg_restore --schema-only -f schema.sql {source.display}",
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ToolError(
            f"{source.display}:{line} is not UTF-8 (byte {raw[error.start]:#04x})",
            hint="Convert it, for example: iconv -f LATIN1 -t UTF-8 OLD > NEW",
        ) from error


def find_sources(entries: Sequence[str], base: Path) -> list[SourceFile]:
    """The files that ``entries`` (files, globs, folders, relative to ``base``) name, in order.

    A folder is read in the order of the tool that wrote it (see ``folders``). A file that is
    named twice counts once, at its first place. Raises ToolError, naming the entry, where an
    entry leads to no file, or to one that is unreadable or not UTF-8.
    """
    found: dict[Path, SourceFile] = {}
    for entry in entries:
        for source in _expand(entry, base):
            if source.path.resolve() not in found:
                read_source(source)
                found[source.path.resolve()] = source
    return list(found.values())


def _expand(entry: str, base: Path) -> list[SourceFile]:
    path = base / entry
    if path.is_file():
        return [SourceFile(path, entry)]
    if path.is_dir():
        files = list_folder(path, entry)
        return [SourceFile(f, str(PurePath(entry) / os.path.relpath(f, path))) for f in files]
    if _GLOB_CHARACTERS.intersection(entry):
        return _glob(entry, base)
    raise ToolError(
        f"schema source {entry!r} does not exist (looked in {base})",
        hint="Correct `schema` under [target]; paths are relative to the configuration file.",
    )


def _glob(pattern: str, base: Path) -> list[SourceFile]:
    anchor = PurePath(pattern).anchor
    root = Path(anchor) if anchor else base
    relative = str(PurePath(pattern).relative_to(anchor)) if anchor else pattern
    try:
        files = [path for path in root.glob(relative) if path.is_file() and not is_undo(path)]
    except (ValueError, NotImplementedError, OSError) as error:
        raise ToolError(
            f"schema source {pattern!r} is no usable pattern: {error}",
            hint="Use * and ? within a name, ** for any folders.",
        ) from error
    if not files:
        raise ToolError(
            f"schema source {pattern!r} matches no file (looked in {base})",
            hint="Correct `schema` under [target]; paths are relative to the configuration file.",
        )
    ordered = sorted(files, key=lambda path: natural_key(os.path.relpath(path, root)))
    return [
        SourceFile(path, str(path) if anchor else os.path.relpath(path, base)) for path in ordered
    ]
