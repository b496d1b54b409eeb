"""Results: what came back for a statement, as raw bytes, or the server's error."""

from collections.abc import Iterable
from dataclasses import dataclass

import psycopg
from psycopg import pq
from psycopg.pq import abc as pq_abc

RawRow = tuple[bytes | None, ...]

_OK = frozenset({pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK, pq.ExecStatus.EMPTY_QUERY})


@dataclass(frozen=True, slots=True)
class Failure:
    """A server's error: SQLSTATE and every text that it sent with it."""

    sqlstate: str
    message: str
    detail: str = ""
    hint: str = ""
    context: str = ""

    @property
    def texts(self) -> str:
        """All texts in one, for a search of values that should not be there."""
        return "\n".join(t for t in (self.message, self.detail, self.hint, self.context) if t)


_SKIPPED = Failure("25P02", "not run: a statement before it failed")
_GIVEN_UP = Failure("57014", "not run: others of the same kind took too long")


@dataclass(frozen=True, slots=True)
class Column:
    """A result column: its name, its relation's OID and its number there (0 where it has none)."""

    name: str
    relation: int
    number: int


@dataclass(slots=True)
class Outcome:
    """What came back for one statement: rows and tag, or a failure."""

    tag: str
    rows: list[RawRow]
    result: pq_abc.PGresult | None
    failure: Failure | None = None

    @property
    def skipped(self) -> bool:
        """Whether it was not run because a statement before it failed."""
        return self.failure is _SKIPPED

    @property
    def cancelled(self) -> bool:
        """Whether it took too long, or was not run because others like it did."""
        return self.failure is not None and self.failure.sqlstate == "57014"

    @property
    def affected(self) -> int:
        """The count in the command tag (0 where it has none)."""
        last = self.tag.rpartition(" ")[2]
        return int(last) if last.isdigit() else 0

    def columns(self) -> tuple[Column, ...]:
        """The result's columns; empty after a failure."""
        result = self.result
        if result is None:
            return ()
        return tuple(
            Column((result.fname(i) or b"").decode(), result.ftable(i), result.ftablecol(i))
            for i in range(result.nfields)
        )


def same_answer(one: Outcome, other: Outcome) -> bool:
    """Equal as multisets of rows (order is not asked for), or failed alike."""
    if one.failure is not None or other.failure is not None:
        mine, theirs = one.failure, other.failure
        return (
            mine is not None
            and theirs is not None
            and (mine.sqlstate, mine.message) == (theirs.sqlstate, theirs.message)
        )
    return one.rows == other.rows or sorted(one.rows, key=repr) == sorted(other.rows, key=repr)


def read_result(result: pq_abc.PGresult) -> Outcome:
    """What one result of libpq says. Raises OperationalError where the server went away."""
    status = result.status
    if status in _OK:
        return Outcome((result.command_status or b"").decode(), _rows(result), result)
    if status == pq.ExecStatus.PIPELINE_ABORTED:
        return skipped()
    failure = _failure(result)
    if failure.sqlstate[:3] == "57P" or not failure.sqlstate:
        raise psycopg.OperationalError(failure.message)
    return Outcome("", [], None, failure)


def skipped() -> Outcome:
    """The outcome of a statement that was not run because one before it failed."""
    return Outcome("", [], None, _SKIPPED)


def given_up() -> Outcome:
    """The outcome of a statement that was not run because others like it took too long."""
    return Outcome("", [], None, _GIVEN_UP)


def _rows(result: pq_abc.PGresult) -> list[RawRow]:
    columns = range(result.nfields)
    get = result.get_value
    return [tuple([get(i, j) for j in columns]) for i in range(result.ntuples)]


def _failure(result: pq_abc.PGresult) -> Failure:
    def part(field: pq.DiagnosticField) -> str:
        return (result.error_field(field) or b"").decode(errors="replace")

    return Failure(
        sqlstate=part(pq.DiagnosticField.SQLSTATE),
        message=part(pq.DiagnosticField.MESSAGE_PRIMARY) or result.get_error_message(),
        detail=part(pq.DiagnosticField.MESSAGE_DETAIL),
        hint=part(pq.DiagnosticField.MESSAGE_HINT),
        context=part(pq.DiagnosticField.CONTEXT),
    )


def texts_of(rows: Iterable[RawRow]) -> str:
    """All values of raw rows as one text, for a search."""
    return "\n".join(v.decode(errors="replace") for row in rows for v in row if v is not None)
