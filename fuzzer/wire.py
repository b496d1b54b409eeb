"""The wire: statements sent through libpq's pipeline, results taken as raw bytes.

An error is a result here, not an exception. ``psycopg.pq`` is used directly: a judged probe costs
a few dozen microseconds, and decoding values that are only compared would double that.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import psycopg
from psycopg import pq
from psycopg.pq import abc as pq_abc

from tenantfuzz.errors import ToolError
from tenantfuzz.patience import SilentServerError, await_input, await_sending
from tenantfuzz.results import Outcome, read_result, skipped
from tenantfuzz.scripts import is_script, run_script

_BATCH = 128  # statements between two syncs' readings: keeps both socket buffers from filling up
_FLUSH = 8
_MAX_PREPARED = 2000
_PATIENCE = 30.0  # seconds; statements end after ten, or their transaction's locks after five
_PATIENT_TIMES = 2  # statements at one door that may take too long
_SHOWN = 160  # characters of a statement that a message quotes


class ServerLostError(ToolError):
    """The connection broke: the server crashed, was stopped, hangs, or cut us off."""


@dataclass(slots=True)
class Clock:
    """Seconds spent waiting for the database and statements sent, over all wires of a run; and how
    often statements were cancelled because they took too long, by the door that they came to."""

    database: float = 0.0
    statements: int = 0
    slow: Counter[Hashable] = field(default_factory=Counter)
    quick: set[Hashable] = field(default_factory=set)  # doors that statements came to before

    def is_given_up(self, door: Hashable) -> bool:
        """Whether what comes to the door is not worth waiting for any more."""
        return bool(self.slow) and self.slow[door] >= _PATIENT_TIMES


class Wire:
    """One connection, used raw. Not for concurrent use."""

    def __init__(
        self, connection: psycopg.Connection[Any], clock: Clock, *, patience: float = _PATIENCE
    ) -> None:
        self.connection = connection
        self.clock = clock
        self._patience = patience
        self._broken: BaseException | None = None
        self._under_way = ""
        self._pg = connection.pgconn
        self._prepared: dict[bytes, bytes] = {}
        self._seen: set[bytes] = set()
        self._named = 0
        self.notices: list[str] = []
        connection.add_notice_handler(self._note)

    def _note(self, notice: psycopg.errors.Diagnostic) -> None:
        self.notices.append(
            "\n".join(t for t in (notice.message_primary, notice.message_detail) if t)
        )

    def execute(self, *statements: str) -> Outcome:
        """Runs statements one by one and returns the last outcome; ToolError if any fails.

        For the tool's own statements, which have no reason to fail.
        """
        outcomes = self.pipeline(statements)
        for statement, outcome in zip(statements, outcomes, strict=True):
            if outcome.failure is not None:
                raise ToolError(
                    f"the server refused the tool's own statement: {outcome.failure.message} "
                    f"({outcome.failure.sqlstate})\n  {statement[:400]}"
                )
        return outcomes[-1]

    def query(self, sql: str) -> list[tuple[str | None, ...]]:
        """The decoded rows of one of the tool's own queries."""
        rows = self.execute(sql).rows
        return [tuple(None if v is None else v.decode() for v in row) for row in rows]

    def attempt(self, sql: str) -> Outcome:
        """Runs one statement that may fail. A failure aborts the transaction as usual."""
        return self.pipeline((sql,))[0]

    def pipeline(
        self, statements: Sequence[str], *, prepare: bool = False, together: bool = False
    ) -> list[Outcome]:
        """Runs statements in order and returns an outcome for each.

        Each statement has a sync of its own; ``together`` gives a whole batch one sync, which is
        faster, but after a failure the rest is not run (those outcomes are ``skipped``).
        """
        if not together:
            return self.groups([(s,) for s in statements], prepare=prepare)
        outcomes: list[Outcome] = []
        for start in range(0, len(statements), _BATCH):
            outcomes += self.groups([statements[start : start + _BATCH]], prepare=prepare)
            if outcomes[-1].failure is not None:
                rest = len(statements) - len(outcomes)
                outcomes.extend(skipped() for _ in range(rest))
                break
        return outcomes

    def groups(self, groups: Sequence[Sequence[str]], *, prepare: bool = False) -> list[Outcome]:
        """Runs groups of statements, each group up to a sync: after a failure the rest of its own
        group is skipped. Returns the outcomes of all statements, flat.

        With ``prepare`` a text that was seen before is prepared once and then only executed.
        Scripts (``is_script``) cannot be pipelined: a group that holds one is run one by one.
        Raises ServerLostError where the server went away, or has not answered for a while. What
        broke a wire once, Ctrl-C included, is raised again by whoever uses it afterwards.
        """
        if self._broken is not None:
            raise self._broken
        begun = perf_counter()
        outcomes: list[Outcome] = []
        chunk: list[Sequence[str]] = []
        size = 0
        try:
            for group in groups:
                if any(map(is_script, group)):
                    if chunk:
                        outcomes += self._chunk(chunk, prepare=prepare)
                        chunk, size = [], 0
                    outcomes += self._one_by_one(group)
                    continue
                chunk.append(group)
                size += len(group)
                if size >= _BATCH:
                    outcomes += self._chunk(chunk, prepare=prepare)
                    chunk, size = [], 0
            if chunk:
                outcomes += self._chunk(chunk, prepare=prepare)
        except SilentServerError as error:
            self._pg.finish()
            self._broken = ServerLostError(
                f"{error}; under way was {self._quoted()}",
                hint="look at the server, its log and its machine; start again, with --seed to "
                "repeat this run",
            )
            raise self._broken from error
        except psycopg.OperationalError as error:
            self._broken = ServerLostError(
                f"the connection to the server was lost: {_first_line(error)}; under way was "
                f"{self._quoted()}",
                hint="the server's log says why; start again, with --seed to repeat this run",
            )
            raise self._broken from error
        except BaseException as error:
            self._broken = error  # results that nobody took are still on their way
            raise
        finally:
            self.clock.database += perf_counter() - begun
            self.clock.statements += len(outcomes)
        return outcomes

    def _chunk(self, groups: Sequence[Sequence[str]], *, prepare: bool) -> list[Outcome]:
        pg = self._pg
        pg.enter_pipeline_mode()
        # A Parse may be refused, or skipped after a failure: names count from the next chunk on.
        fresh: dict[bytes, bytes] = {}
        parsed: list[list[bool]] = []
        sent = 0
        for group in groups:
            firsts: list[bool] = []
            for statement in group:
                text = statement.encode()
                firsts.append(self._send(pg, text, fresh, prepare=prepare))
                sent += 1
                if sent % _FLUSH == 0:
                    pg.flush()  # the server starts while we are still sending
            parsed.append(firsts)
            pg.pipeline_sync()
        await_sending(pg, self._patience)
        outcomes: list[Outcome] = []
        for group, group_parsed in zip(groups, parsed, strict=True):
            for statement, first in zip(group, group_parsed, strict=True):
                self._under_way = statement
                before = self._read(pg) if first else None
                outcome = self._read(pg)
                if before is not None and before.failure is not None:
                    outcome = before
                elif before is not None:
                    self._prepared[statement.encode()] = fresh[statement.encode()]
                outcomes.append(outcome)
            self._read_sync(pg)
        pg.exit_pipeline_mode()
        return outcomes

    def _one_by_one(self, group: Sequence[str]) -> list[Outcome]:
        """Runs a group in the simple protocol; after a failure the rest is skipped."""
        outcomes: list[Outcome] = []
        for statement in group:
            self._under_way = statement
            if outcomes and outcomes[-1].failure is not None:
                outcomes.append(skipped())
            else:
                outcomes.append(run_script(self._pg, statement, patience=self._patience))
        return outcomes

    def _send(
        self, pg: pq_abc.PGconn, text: bytes, fresh: dict[bytes, bytes], *, prepare: bool
    ) -> bool:
        """Sends one statement; True if a Parse of its own went before it."""
        name = self._prepared.get(text) if prepare else None
        if name is not None:
            pg.send_query_prepared(name, None)
            return False
        known = text in self._seen and text not in fresh and len(self._prepared) < _MAX_PREPARED
        if not prepare or not known:
            if prepare:
                self._seen.add(text)
            pg.send_query_params(text, None)
            return False
        self._named += 1
        fresh[text] = f"tf{self._named}".encode()
        pg.send_prepare(fresh[text], text)
        pg.send_query_prepared(fresh[text], None)
        return True

    def _read(self, pg: pq_abc.PGconn) -> Outcome:
        """Reads the one result of a statement and its end."""
        result = self._next(pg)
        if result is None:
            raise psycopg.OperationalError(pg.get_error_message() or "a result is missing")
        outcome = read_result(result)
        if self._next(pg) is not None:
            raise psycopg.OperationalError("a statement had more than one result")
        return outcome

    def _read_sync(self, pg: pq_abc.PGconn) -> None:
        result = self._next(pg)
        if result is None or result.status != pq.ExecStatus.PIPELINE_SYNC:
            raise psycopg.OperationalError(pg.get_error_message() or "a sync point is missing")

    def _next(self, pg: pq_abc.PGconn) -> pq_abc.PGresult | None:
        if pg.is_busy():
            await_input(pg, self._patience)
        return pg.get_result()

    def _quoted(self) -> str:
        text = " ".join(self._under_way.split())
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _first_line(error: psycopg.Error) -> str:
    return str(error).strip().partition("\n")[0].removeprefix("consuming input failed: ")
