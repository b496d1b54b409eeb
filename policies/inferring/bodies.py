"""The bodies of functions, as steps that can be understood one by one."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from tenantfuzz.policies.structure import Function

_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_TOKEN = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\$(\w*)\$.*?\$\1\$|;", re.DOTALL)
_ATOMIC = re.compile(r"\bBEGIN\s+ATOMIC\b(.*)\bEND\b\s*$", re.IGNORECASE | re.DOTALL)
_RETURNED = re.compile(r"\n\s*RETURN\s+(.*)$", re.IGNORECASE | re.DOTALL)
_NOISE = re.compile(
    r"\s*(?:DECLARE|BEGIN|ELSE|LOOP|THEN|EXCEPTION|END(?:\s+(?:IF|LOOP|CASE))?|<<\w+>>"
    r"|WHEN\s+[\w\s]+?\s+THEN)\b\s*",
    re.IGNORECASE,
)
_BRANCH = re.compile(r"(?:IF|ELSIF|ELSEIF|WHILE)\s+(.*?)\s+(?:THEN|LOOP)\b(.*)", re.I | re.DOTALL)
_FOR = re.compile(r"FOR\s+(\w+)\s+IN\s+(.*?)\s+LOOP\b(.*)", re.IGNORECASE | re.DOTALL)
_RETURN = re.compile(r"RETURN\s+(?:QUERY\s+|NEXT\s+)?(.+)", re.IGNORECASE | re.DOTALL)
_ASSIGNED = re.compile(
    r"(\w+)(?:\s+[\w.\[\]%() ]+?)?\s*(?::=|\bDEFAULT\b)\s*(.+)", re.I | re.DOTALL
)
_INTO = re.compile(r"\bINTO\s+(?:STRICT\s+)?(\w+(?:\s*,\s*\w+)*)", re.IGNORECASE)
_PERFORM = re.compile(r"PERFORM\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Step:
    """One expression or query of a body: the variables that its value goes ``into``, and whether
    the function ``returns`` it."""

    tree: exp.Expression
    into: tuple[str, ...] = ()
    returns: bool = False


@dataclass(frozen=True, slots=True)
class Body:
    """The steps of a function that were understood, in order."""

    steps: tuple[Step, ...] = ()


def body_of(function: Function) -> Body:
    """What the source of a function in SQL or PL/pgSQL does; other languages have no steps."""
    text = _COMMENT.sub(" ", function.source)
    if function.language == "sql":
        return Body(tuple(_of_sql(text)))
    if function.language == "plpgsql":
        return Body(tuple(step for chunk in _chunks(text) for step in _of_chunk(chunk)))
    return Body()


def parameter_names(arguments: str) -> tuple[str, ...]:
    """The names of a function's parameters, as ``pg_get_function_identity_arguments`` has them."""
    names = []
    for part in re.split(r",(?![^(]*\))", arguments):
        words = part.split()
        while words and words[0] in ("IN", "INOUT", "VARIADIC"):
            words = words[1:]
        names.append(words[0].strip('"') if len(words) > 1 and words[0] != "OUT" else "")
    return tuple(names)


def _of_sql(text: str) -> Iterator[Step]:
    if text.lstrip().upper().startswith("CREATE"):
        if atomic := _ATOMIC.search(text):
            text = atomic[1]
        elif returned := _RETURNED.search(text):
            text = returned[1]
    chunks = [chunk for chunk in _chunks(text) if chunk.strip()]
    for index, chunk in enumerate(chunks):
        tree = _tree(chunk)
        if tree is not None:
            yield Step(tree, returns=index == len(chunks) - 1)


def _chunks(text: str) -> Iterator[str]:
    """``text`` cut at semicolons that stand in no string."""
    begin = 0
    for token in _TOKEN.finditer(text):
        if token[0] == ";":
            yield text[begin : token.start()]
            begin = token.end()
    yield text[begin:]


def _of_chunk(chunk: str) -> Iterator[Step]:
    rest = chunk.strip()
    while (noise := _NOISE.match(rest)) is not None:
        rest = rest[noise.end() :]
    if not rest:
        return
    if branch := _BRANCH.match(rest):
        yield from _step(branch[1])
        yield from _of_chunk(branch[2])
    elif loop := _FOR.match(rest):
        yield from _step(loop[2], into=(loop[1],))
        yield from _of_chunk(loop[3])
    elif returned := _RETURN.match(rest):
        yield from _step(returned[1], returns=True)
    elif rest[:6].upper() in ("SELECT", "INSERT", "UPDATE", "DELETE") or rest[:4].upper() == "WITH":
        into: tuple[str, ...] = ()
        if rest[:6].upper() != "INSERT" and (target := _INTO.search(rest)):
            into = tuple(name.strip() for name in target[1].split(","))
            rest = rest[: target.start()] + rest[target.end() :]
        yield from _step(rest, into=into)
    elif perform := _PERFORM.match(rest):
        yield from _step("SELECT" + rest[perform.end() :])
    elif assigned := _ASSIGNED.match(rest):
        yield from _step(assigned[2], into=(assigned[1],))


def _step(text: str, *, into: tuple[str, ...] = (), returns: bool = False) -> Iterator[Step]:
    tree = _tree(text)
    if tree is not None:
        yield Step(tree, into, returns)


def _tree(text: str) -> exp.Expression | None:
    try:
        tree = sqlglot.parse_one(text, dialect="postgres")
    except (SqlglotError, RecursionError):
        return None
    return tree if isinstance(tree, exp.Expression) else None
