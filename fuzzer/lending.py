"""A connection that may be lent to code under test without letting go of its transaction."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar, cast

import psycopg
from psycopg import sql
from psycopg.abc import Params, PQGen, Query
from psycopg.pq import ExecStatus, TransactionStatus

from tenantfuzz.loading.statements import split_statements
from tenantfuzz.patience import PatientConnection, await_input, await_sending

_T = TypeVar("_T")

_BLANK = r"(?:\s|--[^\n]*(?:\n|\Z)|/\*.*?\*/|;)*"
_BEGIN = re.compile(
    rf"{_BLANK}(BEGIN|START\s+TRANSACTION)\b(?!\s+ATOMIC)[^;]*{_BLANK}\Z", re.IGNORECASE | re.DOTALL
)
_COMMIT = re.compile(
    rf"{_BLANK}(COMMIT|END)\b(?!\s+PREPARED)[^;]*{_BLANK}\Z", re.IGNORECASE | re.DOTALL
)
_ROLLBACK = re.compile(
    rf"{_BLANK}(ROLLBACK|ABORT)\b(?!\s+(?:(?:WORK|TRANSACTION)\s+)?(?:TO|PREPARED)\b)[^;]*{_BLANK}\Z",
    re.IGNORECASE | re.DOTALL,
)
# What only the first statement of a transaction may say; one's own transaction goes on.
_MODE = re.compile(
    rf"{_BLANK}SET\s+(TRANSACTION|SESSION\s+CHARACTERISTICS)\b[^;]*{_BLANK}\Z",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(slots=True)
class Loan:
    """What whoever borrowed a connection sent: each statement with its parameters, in order.

    ``instead`` maps a statement to one that is run in its place; ``trips`` counts whatever made the
    connection wait for the server.
    """

    sent: list[tuple[str, Params | None]] = field(default_factory=list)
    instead: Mapping[str, str] = field(default_factory=dict)
    trips: int = 0


class LentCursor(psycopg.Cursor[Any]):
    """A cursor of a connection that may be lent: statements that begin or end a transaction reach
    no further than the loan."""

    def execute(
        self,
        query: Query,
        params: Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool | None = None,
    ) -> Self:
        """As psycopg's; while its connection is lent COMMIT keeps and ROLLBACK undoes what was done
        since the last of them, and BEGIN is taken note of, also within a text of several."""
        connection = cast("LentConnection", self.connection)
        given: Any = query  # psycopg's overloads tell templates apart, from Python 3.14 on
        if not connection.lent:
            return super().execute(given, params, prepare=prepare, binary=binary)
        text = _text(query, connection)
        parts = [text]
        if params is None and ";" in text:
            parts = [s.text for s in split_statements(text)]
        if not any(ends_transaction(part) for part in parts):
            connection.loan.sent.append((text, params))
            changed = connection.loan.instead.get(text)
            now = given if changed is None else changed.encode()
            return super().execute(now, params, prepare=prepare, binary=binary)
        for part in parts:
            if _BEGIN.match(part) or _MODE.match(part):
                super().execute("SELECT WHERE false")
            elif _COMMIT.match(part) and not connection.is_failed():
                connection.commit()
                super().execute("SELECT WHERE false")
            elif _COMMIT.match(part) or _ROLLBACK.match(part):
                connection.rollback()
                super().execute("SELECT WHERE false")
            elif part.strip():
                connection.loan.sent.append((part, params))
                super().execute(part.encode(), params, prepare=prepare, binary=binary)
        return self

    def executemany(
        self, query: Query, params_seq: Iterable[Params], *, returning: bool = False
    ) -> None:
        """As psycopg's."""
        connection = cast("LentConnection", self.connection)
        if connection.lent:
            connection.loan.sent.append((_text(query, connection), None))
        super().executemany(query, params_seq, returning=returning)


def _text(query: Query, connection: psycopg.Connection[Any]) -> str:
    if isinstance(query, sql.Composable):
        return query.as_string(connection)
    return query.decode(errors="replace") if isinstance(query, bytes) else str(query)


def ends_transaction(statement: str) -> bool:
    """Whether a statement begins or ends a transaction, or says how one is to be."""
    return any(p.match(statement) for p in (_BEGIN, _COMMIT, _ROLLBACK, _MODE))


class LentConnection(PatientConnection):
    """A psycopg connection. While ``lent`` its commit and rollback reach no further than the
    savepoint ``lent``, which whoever lends it has set: the world around stays as it is."""

    lent: bool = False
    engine: object = None  # of whoever borrows it again and again

    def __init__(self, *arguments: Any, **more: Any) -> None:  # psycopg's own
        self.loan = Loan()
        super().__init__(*arguments, **more)
        self.cursor_factory = LentCursor

    def lend(self, loan: Loan) -> None:
        """Lends it until ``take_back``; ``loan`` notes what is sent."""
        self.loan = loan
        self.lent = True

    def take_back(self) -> None:
        """Ends the loan."""
        self.lent = False
        self.loan = Loan()

    def wait(self, gen: PQGen[_T], *args: Any, **kwargs: Any) -> _T:
        """As psycopg's; counted."""
        self.loan.trips += 1
        return super().wait(gen, *args, **kwargs)

    def is_failed(self) -> bool:
        """Whether a statement of its transaction failed, so that COMMIT would undo it."""
        return self.pgconn.transaction_status == TransactionStatus.INERROR

    def commit(self) -> None:
        """Keeps what was done, as far as the world lasts."""
        if not self.lent:
            super().commit()
        else:
            self._send(b"RELEASE SAVEPOINT lent")
            self._send(b"SAVEPOINT lent")

    def rollback(self) -> None:
        """Undoes what was done since the last commit."""
        if not self.lent:
            super().rollback()
        elif self.pgconn.transaction_status != TransactionStatus.IDLE:
            self._send(b"ROLLBACK TO SAVEPOINT lent")

    def _send(self, command: bytes) -> None:
        """Through libpq: psycopg would deallocate all prepared statements, and the tool's too."""
        pg = self.pgconn
        pg.send_query(command)
        await_sending(pg, self.patience)
        failed = None
        while True:
            await_input(pg, self.patience)
            result = pg.get_result()
            if result is None:
                break
            if result.status != ExecStatus.COMMAND_OK:
                failed = result
        if failed is not None:
            raise psycopg.errors.error_from_result(failed)

    # One's own transaction goes on as it is.

    def set_autocommit(self, value: bool) -> None:
        """As psycopg's; of no effect while it is lent."""
        if not self.lent:
            super().set_autocommit(value)

    def set_isolation_level(self, value: psycopg.IsolationLevel | None) -> None:
        """As psycopg's; of no effect while it is lent."""
        if not self.lent:
            super().set_isolation_level(value)

    def set_read_only(self, value: bool | None) -> None:
        """As psycopg's; of no effect while it is lent."""
        if not self.lent:
            super().set_read_only(value)

    def set_deferrable(self, value: bool | None) -> None:
        """As psycopg's; of no effect while it is lent."""
        if not self.lent:
            super().set_deferrable(value)

    def close(self) -> None:
        """Closes it, unless it is lent."""
        if not self.lent:
            super().close()
