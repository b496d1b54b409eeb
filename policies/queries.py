"""Application queries as they are declared: in tenantfuzz.toml, or in files of SQL."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from tenantfuzz.policies.query_text import QueryText, cut_text


class Actor(StrEnum):
    """As whom a query runs."""

    SERVICE = "service"  # the application's own role, without row security
    PRINCIPAL = "principal"  # the caller's identity, under policies
    BOTH = "both"  # both, and the two answers are compared


@dataclass(frozen=True, slots=True)
class ApplicationQuery:
    """One query. ``params`` maps a parameter to the name of its type, or to the only values that
    the application sends; ``tenant``, ``tenants`` and ``user`` are types too: the caller's own.

    ``kinds`` are the kinds of principal that may call it (empty: everybody who is signed in, also
    users who left, or never joined, and so come without a tenant).
    """

    name: str
    text: QueryText
    actor: Actor = Actor.SERVICE
    params: Mapping[str, str | tuple[str | None, ...]] = field(default_factory=dict)
    kinds: tuple[str, ...] = ()
    source: str = ""  # where it stands, for messages


_HEADER = re.compile(
    r"^[ \t]*--[ \t]*(?::(?=(?:name|param|as|kinds)\b)|(?=(?:name|param|as|kinds)[ \t]*:))"
    r"(?P<word>\w+)[ \t]*:?[ \t]*(?P<rest>.*?)[ \t]*$",
    re.MULTILINE,
)
_NAME = re.compile(r"^[ \t]*--[ \t]*(?::name\b|name[ \t]*:)[ \t]*\S", re.MULTILINE)
# What sqlc, pugsql and aiosql write behind a name: how many rows come back.
_RESULT = re.compile(r"(\s+:\w+|[\^!$]|<!|\*!|#)+$")


def queries_in_file(
    text: str, stem: str, source: str
) -> tuple[list[ApplicationQuery], Sequence[str]]:
    """The queries of one file of SQL, and what is wrong with it.

    ``-- name: issue list`` begins a query; ``-- param: q text``, ``-- param: state in open, shut``,
    ``-- as: principal`` and ``-- kinds: admin`` say more of it. A file without a name holds one
    query, which is called by ``stem``. Names as sqlc, aiosql and pugsql write them are understood.
    """
    problems: list[str] = []
    found: list[ApplicationQuery] = []
    for part, name in _parts(text, stem):
        query = _query(part, name, source, problems)
        if query is None:
            problems.append(f"{source}: {name} holds no statement")
        else:
            found.append(query)
    return found, problems


def _parts(text: str, stem: str) -> Iterator[tuple[str, str]]:
    starts = [m.start() for m in _NAME.finditer(text)]
    if not starts:
        if _without_comments(text):
            yield text, stem
        return
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        header = _HEADER.match(text, start)
        name = header.group("rest") if header is not None else stem
        yield text[start:end], _RESULT.sub("", name).strip() or stem


def _query(part: str, name: str, source: str, problems: list[str]) -> ApplicationQuery | None:
    body = _HEADER.sub("", part).strip()
    if not _without_comments(body):
        return None
    params: dict[str, str | tuple[str | None, ...]] = {}
    actor = Actor.SERVICE
    kinds: tuple[str, ...] = ()
    for header in _HEADER.finditer(part):
        word, rest = header["word"], header["rest"]
        match word:
            case "param":
                _parameter(rest, f"{source}: {name}", params, problems)
            case "as":
                try:
                    actor = Actor(rest)
                except ValueError:
                    known = ", ".join(Actor)
                    problems.append(f"{source}: {name}: as: expected one of {known}, not '{rest}'")
            case "kinds":
                kinds = tuple(k for k in re.split(r"[,\s]+", rest) if k)
            case _:
                pass
    text = cut_text(body)
    for unknown in params.keys() - set(text.names):
        problems.append(f"{source}: {name}: the query has no parameter '{unknown}'")
    return ApplicationQuery(name, text, actor, params, kinds, source)


def _parameter(
    rest: str, where: str, params: dict[str, str | tuple[str | None, ...]], problems: list[str]
) -> None:
    match = re.fullmatch(r"[:$@]?(\w+)[ \t:]+(?:(in)[ \t]+)?(\S.*)", rest)
    if match is None:
        problems.append(f"{where}: param: expected 'name type' or 'name in a, b', not '{rest}'")
        return
    name, listed, what = match.groups()
    params[name] = tuple(v.strip() for v in what.split(",")) if listed else what.strip()


def _without_comments(text: str) -> str:
    return re.sub(r"--[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL).strip(" \t\r\n;")
