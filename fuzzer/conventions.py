"""Conventions: where a project keeps its schema, when no file says so."""

import re
from dataclasses import dataclass
from pathlib import Path

from tenantfuzz.errors import ToolError
from tenantfuzz.loading.sources import find_sources, read_source
from tenantfuzz.policies.inferring.marks import extensions_in_text, preset_in_text

# Where tools keep migrations, each with a file in the project that speaks for it ("": none).
_FOLDERS = (
    "supabase/migrations",
    "drizzle",
    "prisma/migrations",
    "src/main/resources/db/migration",
    "db/migrations",
    "db/migration",
    "database/migrations",
    "sql/migrations",
    "migrations",
    "deploy",
)
_FILES = (
    "schema.sql",
    "db/schema.sql",
    "sql/schema.sql",
    "database/schema.sql",
    "structure.sql",
    "db/structure.sql",
    "init.sql",
    "db/init.sql",
    "dump.sql",
)
# Folders of any SQL, which count where the names of their files say in which order it goes.
_ANY_FOLDERS = (".", "sql", "db", "database", "schema")
_NUMBERED = re.compile(r"[Vv]?\d+")
_DRIZZLE = re.compile(r"""\bout\s*:\s*['"](?:\./)?([^'"]+)['"]""")


@dataclass(frozen=True, slots=True)
class Found:
    """What a folder shows: ``[target]`` as a person would write it, and why, line by line."""

    section: dict[str, object]
    reasons: dict[str, str]


def find_schema(root: Path) -> tuple[str, ...]:
    """Every place under ``root`` where its schema may be, by convention.

    A folder of migrations counts where it has SQL in it.
    """
    folders = [f for f in (*_of_drizzle(root), *_FOLDERS) if _has_sql(root / f)]
    files = [f for f in _FILES if (root / f).is_file()]
    found = list(dict.fromkeys([*folders, *files]))
    if not found:
        found = [f for f in _ANY_FOLDERS if _is_numbered(root / f)]
    if not found:
        found = [path.name for path in sorted(root.glob("*.sql")) if path.is_file()]
    return tuple(found)


def target_section(root: Path, sources: tuple[str, ...] = (), preset: str | None = None) -> Found:
    """``[target]`` for the project at ``root``.

    ``sources`` and ``preset`` are what the caller knows. Raises ToolError where no schema is found,
    or several places may hold it.
    """
    reasons = {}
    if not sources:
        found = find_schema(root)
        if len(found) > 1:
            raise ToolError(
                f"the schema may be in several places of {root}: {', '.join(found)}",
                hint=f"say which: tenantfuzz init --schema {found[0]} (several, in their order)",
            )
        if not found:
            raise ToolError(
                f"no schema found in {root}: no folder of migrations, no schema.sql",
                hint="say where it is: tenantfuzz init --schema FILE, or --dsn for a live database",
            )
        sources = found
        reasons["schema"] = "found by its name"
    section: dict[str, object] = {"schema": list(sources)}
    texts = [read_source(source) for source in find_sources(sources, root)]
    if preset is not None:
        section["preset"] = preset
    elif (guessed := preset_in_text(texts)) is not None:
        section["preset"], reasons["preset"] = guessed
    if extensions := extensions_in_text(texts):
        section["extensions"] = list(extensions)
        reasons["extensions"] = "the schema uses their types and does not make them"
    return Found(section, reasons)


def _of_drizzle(root: Path) -> list[str]:
    for name in ("drizzle.config.ts", "drizzle.config.js", "drizzle.config.mjs"):
        file = root / name
        if file.is_file():
            text = file.read_text(encoding="utf-8", errors="replace")
            return [out.rstrip("/") for out in _DRIZZLE.findall(text)]
    return []


def _has_sql(folder: Path) -> bool:
    return folder.is_dir() and (
        any(folder.glob("*.sql"))
        or any(folder.glob("*/migration.sql"))
        or any(folder.glob("*/up.sql"))
    )


def _is_numbered(folder: Path) -> bool:
    names = [path.name for path in folder.glob("*.sql") if path.is_file()]
    return len(names) > 1 and all(_NUMBERED.match(name) for name in names)
