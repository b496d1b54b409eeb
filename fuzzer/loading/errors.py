"""What is said when a schema source does not load."""

import re
from collections.abc import Set
from dataclasses import dataclass

from tenantfuzz.errors import ToolError

_SHOWN_LINES = 5
_UNDEFINED = frozenset({"42883", "42704", "42P01", "42703", "3F000", "0A000", "58P01", "42602"})
_SUPABASE_WORDS = (
    'schema "auth"',
    'schema "storage"',
    'schema "extensions"',
    'role "anon"',
    'role "authenticated"',
    'role "service_role"',
    '"auth.users"',
    "auth.uid()",
)

_NO_ROLE = re.compile(r'role "(.+)" does not exist')
_EXTENSION_SCHEMAS = {"cron": "pg_cron", "net": "pg_net"}


class LoadError(ToolError):
    """A statement of a schema source failed; ``file``, ``line`` and ``sqlstate`` say which."""

    def __init__(
        self, message: str, *, hint: str, file: str, line: int, sqlstate: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.file = file
        self.line = line
        self.sqlstate = sqlstate


@dataclass(frozen=True, slots=True)
class Failure:
    """What the server said about one statement, with ``line`` where in the file it fails."""

    message: str
    line: int
    sqlstate: str | None = None
    detail: str | None = None
    hint: str | None = None


def excerpt(text: str, first_line: int, failed_line: int) -> str:
    """Up to five numbered lines of a statement, with a mark at the line that failed."""
    lines = text.splitlines() or [""]
    failed = min(max(failed_line - first_line, 0), len(lines) - 1)
    start = 0 if failed < _SHOWN_LINES else failed - _SHOWN_LINES + 2
    shown = [
        f"{'>' if index == failed else ' '} {first_line + index:>5} | {line[:200]}".rstrip()
        for index, line in enumerate(lines[start : start + _SHOWN_LINES], start)
    ]
    if len(lines) > start + _SHOWN_LINES:
        shown.append("        | …")
    return "\n".join(shown)


def load_error(
    file: str, text: str, first_line: int, failure: Failure, missing_extensions: Set[str]
) -> LoadError:
    """The error for ``failure`` of the statement ``text`` that starts at ``first_line``."""
    state = f" (SQLSTATE {failure.sqlstate})" if failure.sqlstate else ""
    parts = [f"{file}:{failure.line}: {failure.message}{state}"]
    if failure.detail:
        parts.append(f"detail: {failure.detail}")
    parts.append(excerpt(text, first_line, failure.line))
    return LoadError(
        "\n".join(parts),
        hint=_advice(failure, missing_extensions),
        file=file,
        line=failure.line,
        sqlstate=failure.sqlstate,
    )


def _advice(failure: Failure, missing_extensions: Set[str]) -> str:
    advice: list[str] = []
    if missing_extensions and (failure.sqlstate is None or failure.sqlstate in _UNDEFINED):
        names = ", ".join(sorted(missing_extensions))
        advice.append(
            f"This server does not have the extension {names}, which may be why: "
            "use an engine that has it."
        )
    if any(word in failure.message for word in _SUPABASE_WORDS):
        advice.append('For a Supabase project set preset = "supabase" under [target].')
    for schema, extension in _EXTENSION_SCHEMAS.items():
        if f'schema "{schema}" does not exist' in failure.message:
            advice.append(
                f"Where the extension {extension} was switched on by hand, say so in a source "
                f"before this one: CREATE EXTENSION {extension};"
            )
    role = _NO_ROLE.search(failure.message)
    if role is not None and not advice:
        advice.append(
            f'A dump leaves roles out: put CREATE ROLE "{role.group(1)}"; into a source that '
            "comes before this one."
        )
    if failure.hint:
        advice.append(f"PostgreSQL: {failure.hint}")
    if not advice:
        advice.append(
            "Check that `schema` under [target] names every file, in the order to run them."
        )
    return " ".join(advice)
