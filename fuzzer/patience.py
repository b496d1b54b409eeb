"""Patience with a server: how long a connection waits for an answer before it gives up.

The server ends a statement that takes too long (``statement_timeout``), but a server that hangs, or
a machine that is gone without a word, ends nothing. Silence is counted in short turns, so that a
process that was stopped itself (Ctrl-Z, a laptop asleep) does not take it for the server's.
"""

import select
from time import monotonic, sleep
from typing import Any, Self, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import abc as pq_abc

SECONDS = 90.0  # for one answer; longer than any statement timeout of the tool's own
CONNECT_SECONDS = 20  # for a new connection
_FULL_SECONDS = 10.0  # how long a server may have no free connection
_PAUSE = 0.25
# What a full server says, in its own language; elsewhere it is not asked again.
_FULL = ("too many clients", "too many connections", "remaining connection slots")
_TURN = 0.25  # seconds

_T = TypeVar("_T")


class SilentServerError(psycopg.OperationalError):
    """The server did not answer in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the server has not answered for {seconds:g} s")


class PatientConnection(psycopg.Connection[Any]):
    """A psycopg connection that raises SilentServerError, and is closed, where an answer takes
    longer than ``patience`` seconds."""

    patience: float = SECONDS

    @classmethod
    def open(cls, conninfo: str, *, patience: float = SECONDS) -> Self:
        """A connection in autocommit. Where the server has none to give it is asked again for a
        while: others come and go. Raises OperationalError as ``connect`` does."""
        deadline = monotonic() + _FULL_SECONDS
        while True:
            try:
                connection = cls.connect(conninfo, autocommit=True, prepare_threshold=None)
            except psycopg.OperationalError as error:
                if monotonic() > deadline or not any(words in str(error) for words in _FULL):
                    raise
                sleep(_PAUSE)
            else:
                connection.patience = patience
                return connection

    def wait(self, gen: PQGen[_T], *args: Any, **kwargs: Any) -> _T:
        """Waits as psycopg does, for a while."""
        try:
            return super().wait(_limited(gen, self.patience), *args, **kwargs)
        except SilentServerError:
            self.pgconn.finish()
            raise


def _limited(gen: PQGen[_T], seconds: float) -> PQGen[_T]:
    """``gen``, which psycopg resumes with 0 in each tenth of a second in which nothing comes."""
    silent = 0
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            silent = 0 if ready else silent + 1
            if silent * 0.1 > seconds:
                gen.close()
                raise SilentServerError(seconds)
            wanted = gen.send(ready)
    except StopIteration as end:
        value: _T = end.value
        return value


def await_input(pg: pq_abc.PGconn, seconds: float) -> None:
    """Returns when a result of ``pg`` can be taken without waiting, all that was sent being on its
    way. Raises SilentServerError after ``seconds`` of silence, OperationalError where the
    connection broke."""
    while pg.is_busy():
        await_readable(pg, seconds)


def await_sending(pg: pq_abc.PGconn, seconds: float) -> None:
    """Returns when all that was written to ``pg`` is on its way; raises as ``await_input``. What
    comes in meanwhile is taken in: a server that cannot get rid of its answers reads no more."""
    while pg.flush():
        await_readable(pg, seconds, writing=True)


def await_readable(pg: pq_abc.PGconn, seconds: float, *, writing: bool = False) -> None:
    """Returns when something came in (it is taken in), or, if ``writing``, can be sent; raises as
    ``await_input``."""
    waiting = select.poll()
    silent = 0.0
    while True:
        unsent = writing or pg.flush()
        waiting.register(pg.socket, select.POLLIN | (select.POLLOUT if unsent else 0))
        if waiting.poll(_TURN * 1000):
            pg.consume_input()
            return
        silent += _TURN
        if silent >= seconds:
            raise SilentServerError(seconds)
