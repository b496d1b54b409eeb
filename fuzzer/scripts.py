"""Scripts: what one pipelined statement cannot be: COPY, and several statements in a row.

A script is written as psql reads it: it begins with the line ``-- script``, its statements end with
a semicolon and a new line, and the data of ``COPY … FROM STDIN`` follow it up to a line with a
backslash and a full stop. A COPY alone needs no first line.
"""

import re
from collections.abc import Iterator

import psycopg
from psycopg import pq
from psycopg.pq import abc as pq_abc

from tenantfuzz.patience import SECONDS, await_input, await_readable, await_sending
from tenantfuzz.results import Outcome, RawRow, read_result
from tenantfuzz.strategies.scripting import HEAD

_COPY = re.compile(r"\s*COPY\b", re.IGNORECASE)
_END_OF_DATA = "\n\\."
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}
_ESCAPED = re.compile(r"\\([bfnrtv\\])")


def is_script(text: str) -> bool:
    """Whether ``text`` has to be run by ``run_script``."""
    return text.startswith(HEAD) or _COPY.match(text) is not None


def statements_of(script: str) -> Iterator[tuple[str, str]]:
    """The statements of a script, each with the data that follow it ("" where none do)."""
    rest = script.removeprefix(HEAD)
    while rest.strip():
        statement, separator, rest = rest.partition(";\n")
        data = ""
        if separator and _takes_data(statement):
            data, _, rest = rest.partition(_END_OF_DATA)
            data += "\n" if data else ""
        yield statement.rstrip().rstrip(";"), data


def run_script(pg: pq_abc.PGconn, script: str, *, patience: float = SECONDS) -> Outcome:
    """Runs a script on a connection that is in no pipeline.

    Returns the outcome of the first statement that fails; else of the last one that gave rows, or
    of the last. Rows of ``COPY … TO STDOUT`` are its lines, split and unescaped. Raises
    OperationalError where the server went away.
    """
    last: Outcome | None = None
    for statement, data in statements_of(script):
        outcome = _run(pg, statement, data, patience)
        if outcome.failure is not None:
            return outcome
        gives = outcome.result is not None and outcome.result.nfields > 0
        if last is None or gives or not (last.result and last.result.nfields):
            last = outcome
    return last if last is not None else Outcome("", [], None)


def _run(pg: pq_abc.PGconn, statement: str, data: str, patience: float) -> Outcome:
    pg.send_query(statement.encode())
    await_sending(pg, patience)
    outcome: Outcome | None = None
    rows: list[RawRow] = []
    while (result := _next(pg, patience)) is not None:
        if result.status == pq.ExecStatus.COPY_IN:
            _hand_over(pg, data, patience)
        elif result.status == pq.ExecStatus.COPY_OUT:
            rows = list(_lines(pg, patience))
        elif outcome is None or outcome.failure is None:
            outcome = read_result(result)
    if outcome is None:
        raise psycopg.OperationalError(pg.get_error_message() or "a result is missing")
    return Outcome(outcome.tag, rows, outcome.result, outcome.failure) if rows else outcome


def _next(pg: pq_abc.PGconn, patience: float) -> pq_abc.PGresult | None:
    await_input(pg, patience)
    return pg.get_result()


def _hand_over(pg: pq_abc.PGconn, data: str, patience: float) -> None:
    """Sends the data of a COPY. Zero means that it has to be said once more."""
    while not pg.put_copy_data(data.encode()):
        await_sending(pg, patience)
    while not pg.put_copy_end():
        await_sending(pg, patience)
    await_sending(pg, patience)


def _lines(pg: pq_abc.PGconn, patience: float) -> Iterator[RawRow]:
    while True:
        size, line = pg.get_copy_data(1)
        if size == 0:
            await_readable(pg, patience)
            continue
        if size < 0:
            return
        fields = bytes(line).decode(errors="replace").rstrip("\n").split("\t")
        yield tuple(None if f == "\\N" else _unescape(f).encode() for f in fields)


def _takes_data(statement: str) -> bool:
    return _COPY.match(statement) is not None and "from stdin" in statement.lower()


def _unescape(field: str) -> str:
    return _ESCAPED.sub(lambda m: _ESCAPES[m[1]], field)
