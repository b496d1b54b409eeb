"""The order of the files in a migrations folder, by the tool that wrote it."""

import json
import re
from pathlib import Path

from tenantfuzz.errors import ToolError

_DIGITS = re.compile(r"(\d+)")
_FLYWAY = re.compile(r"^(?P<kind>[VBRU])(?P<version>[\d._]*?)__.*\.sql$")
_NESTED_NAMES = ("migration.sql", "up.sql")
_OTHER_LANGUAGES = {
    ".ts": "TypeScript",
    ".js": "JavaScript",
    ".py": "Python",
    ".rb": "Ruby",
    ".xml": "XML",
    ".yaml": "YAML",
}


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key in which ``2_x`` comes before ``10_x``."""
    parts = _DIGITS.split(name)
    return tuple(
        (0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part
    )


def is_undo(path: Path) -> bool:
    """Whether ``path`` takes a migration back (``x.down.sql``, ``down.sql``)."""
    name = path.name.lower()
    return name == "down.sql" or name.endswith((".down.sql", ".undo.sql"))


def list_folder(folder: Path, entry: str) -> list[Path]:
    """The SQL files of ``folder`` in the order in which its tool runs them.

    Recognised, in this order: a Supabase or Prisma project folder (its ``migrations``), a
    drizzle-kit journal, a sqitch plan, one folder a migration (Prisma, drizzle-kit 1, diesel),
    Flyway names, and else all ``*.sql`` in natural order without those that undo (sqlx,
    golang-migrate). ``entry`` is the folder as the user wrote it, for messages.
    """
    folder = _migrations_of(folder)
    journal = folder / "meta" / "_journal.json"
    if journal.is_file():
        return _drizzle(folder, journal, entry)
    for root in (folder, folder.parent):
        if (root / "sqitch.plan").is_file() and (root is folder or folder.name == "deploy"):
            return _sqitch(root, entry)
    nested = [
        child / name
        for child in folder.iterdir()
        for name in _NESTED_NAMES
        if (child / name).is_file()
    ]
    if nested:
        return sorted(nested, key=lambda path: natural_key(path.parent.name))
    flyway = _flyway(folder)
    if flyway:
        return flyway
    plain = [path for path in folder.glob("*.sql") if path.is_file() and not is_undo(path)]
    if not plain:
        raise _nothing_in(folder, entry)
    return sorted(plain, key=lambda path: natural_key(path.name))


def _migrations_of(folder: Path) -> Path:
    candidates = [folder / "supabase" / "migrations"]
    if folder.name in ("supabase", "prisma") or any(
        (folder / mark).is_file() for mark in ("config.toml", "schema.prisma")
    ):
        candidates[:0] = [folder / "migrations", folder / "schemas"]
    if folder.name != "supabase" and any(folder.glob("*.sql")):
        return folder
    return next((path for path in candidates if path.is_dir()), folder)


def _drizzle(folder: Path, journal: Path, entry: str) -> list[Path]:
    try:
        entries = json.loads(journal.read_text(encoding="utf-8"))["entries"]
        ordered = sorted(entries, key=lambda item: int(item["idx"]))
        files = [folder / f"{item['tag']}.sql" for item in ordered]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ToolError(
            f"cannot read the drizzle-kit journal of {entry!r} ({journal}): {error!r}",
            hint="Run `drizzle-kit check`, or name the SQL files in `schema` one by one.",
        ) from error
    return _existing(files, entry, str(journal))


def _sqitch(root: Path, entry: str) -> list[Path]:
    """A change that is planned again after a tag keeps its old script as ``name@tag.sql``."""
    plan = root / "sqitch.plan"
    changes: list[str] = []
    tag_after: dict[int, str] = {}
    for raw in plan.read_text(encoding="utf-8").splitlines():
        line = raw.strip()
        if not line or line[0] in "%#":
            continue
        name = line.split()[0]
        if name.startswith("@"):
            for index in range(len(changes)):
                tag_after.setdefault(index, name)
        else:
            changes.append(name)
    files = [
        root / "deploy" / f"{name}{tag_after.get(i, '') if name in changes[i + 1 :] else ''}.sql"
        for i, name in enumerate(changes)
    ]
    return _existing(files, entry, str(plan))


def _existing(files: list[Path], entry: str, index: str) -> list[Path]:
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise ToolError(
            f"schema source {entry!r}: {missing[0].name} is listed in {index} but does not exist",
            hint="Restore the file, or name the SQL files in `schema` one by one.",
        )
    if not files:
        raise ToolError(
            f"schema source {entry!r}: {index} lists no migration",
            hint="Generate the migrations first, or name an SQL file in `schema`.",
        )
    return files


def _flyway(folder: Path) -> list[Path]:
    """Versioned ones by number, then repeatable ones by name; undo scripts are left out."""
    versioned: list[tuple[tuple[int, ...], Path]] = []
    baseline: list[tuple[tuple[int, ...], Path]] = []
    repeatable: list[Path] = []
    for path in folder.rglob("*.sql"):
        match = _FLYWAY.match(path.name)
        if match is None:
            continue
        version = tuple(int(part) for part in re.split(r"[._]", match["version"]) if part)
        if match["kind"] == "R" and not version:
            repeatable.append(path)
        elif match["kind"] == "V" and version:
            versioned.append((version, path))
        elif match["kind"] == "B" and version:
            baseline.append((version, path))
    if not versioned and not baseline:
        return []
    # On an empty database Flyway starts from the newest baseline and skips what it covers.
    start = max(baseline) if baseline else None
    later = sorted(item for item in versioned if start is None or item[0] > start[0])
    ordered = ([start] if start else []) + later
    return [path for _, path in ordered] + sorted(repeatable, key=lambda path: path.name)


def _nothing_in(folder: Path, entry: str) -> ToolError:
    below = sorted({str(path.parent.relative_to(folder)) for path in folder.rglob("*.sql")})
    below = [name for name in below if name != "."]
    if below:
        listed = ", ".join(f'"{Path(entry) / name}"' for name in below[:6])
        return ToolError(
            f"schema source {entry!r} has SQL files only in sub-folders, in no known order",
            hint=f"Name them in the order to run them, for example: schema = [{listed}]",
        )
    suffixes = {path.suffix for path in folder.iterdir()}
    language = next((name for suffix, name in _OTHER_LANGUAGES.items() if suffix in suffixes), None)
    if language is not None:
        return ToolError(
            f"schema source {entry!r} holds migrations in {language}, not SQL",
            hint="Write them out as SQL (`alembic upgrade head --sql`, `manage.py sqlmigrate`, "
            "`pg_dump --schema-only`), or point `dsn` at a database that has them.",
        )
    return ToolError(
        f"schema source {entry!r} is a folder without SQL files",
        hint="Name a folder of migrations or an SQL file in `schema`.",
    )
