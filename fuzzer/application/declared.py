"""The application queries that a target declares, in its file and in files of SQL."""

from collections.abc import Iterator
from pathlib import Path

from tenantfuzz.errors import ToolError
from tenantfuzz.policies.configuration import Configuration, Query
from tenantfuzz.policies.queries import Actor, ApplicationQuery, queries_in_file
from tenantfuzz.policies.query_text import cut_text
from tenantfuzz.target import Target


def declared_queries(target: Target) -> tuple[ApplicationQuery, ...]:
    """All application queries of ``target``, in the order of its file, then of files of SQL.

    Raises ToolError, with everything that is wrong: a file that is not there, a header that says
    what cannot be, a name that is given twice.
    """
    configuration = target.configuration
    problems: list[str] = []
    queries = [_configured(q, configuration, problems) for q in configuration.queries]
    for path in _files(target, problems):
        shown = str(path.relative_to(target.root)) if path.is_relative_to(target.root) else path
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{shown} cannot be read: {error}")
            continue
        found, wrong = queries_in_file(text, path.stem, str(shown))
        queries += found
        problems += wrong
    names = [q.name for q in queries]
    for name in sorted({n for n in names if names.count(n) > 1}):
        places = ", ".join(dict.fromkeys(q.source for q in queries if q.name == name))
        problems.append(f"queries: the name '{name}' is given twice ({places})")
    if problems:
        raise ToolError("\n".join(problems), hint="mend the application queries of the target")
    return tuple(queries)


def _configured(
    query: Query, configuration: Configuration, problems: list[str]
) -> ApplicationQuery:
    text = cut_text(query.sql)
    for name in query.params:
        if name not in text.names:
            problems.append(
                f"{configuration.source}: queries: '{query.name}' has no parameter '{name}'"
            )
    params: dict[str, str | tuple[str | None, ...]] = {
        name: value if isinstance(value, str) else tuple(_text(v) for v in value)
        for name, value in query.params.items()
    }
    return ApplicationQuery(
        query.name,
        text,
        Actor(query.actor),
        params,
        tuple(query.kinds),
        configuration.source,
    )


def _text(value: str | int | float | bool | None) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


def _files(target: Target, problems: list[str]) -> Iterator[Path]:
    for entry in target.configuration.target.queries:
        path = target.root / entry
        if path.is_dir():
            found = sorted(path.rglob("*.sql"))
        elif path.is_file():
            found = [path]
        else:
            found = sorted(p for p in target.root.glob(entry) if p.is_file())
        if not found:
            problems.append(f"target.queries: {entry!r} names no file of SQL")
        yield from found
