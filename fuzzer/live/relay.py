"""What lets pg_dump read a database over a connection that is already open.

pg_dump locks every table that it dumps, for which it needs rights on each, and for which others
wait; it changes the session, which a pooler hands on to the next client; and the one that comes
with the engine speaks no TLS. Here it talks to a socket of ours instead, in the simple query
protocol (PostgreSQL manual, "Message Flow"), and what it asks goes out over the connection of
the source: only reads, in the one read-only transaction that is open there.
"""

import re
import select
import socket
import struct
from time import monotonic
from typing import BinaryIO, Final

import psycopg
from psycopg import pq

from tenantfuzz.errors import ToolError

_SSL_REQUEST: Final = 80877103
_GSS_REQUEST: Final = 80877104
_PATIENCE: Final = 120.0  # seconds for one answer; the server's own timeout is shorter
_REPORTED: Final = (
    "server_version",
    "server_encoding",
    "client_encoding",
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "integer_datetimes",
    "is_superuser",
    "session_authorization",
    "standard_conforming_strings",
)

# The transaction is ours: it was begun before pg_dump came, and will be rolled back. So are its
# time-outs, and nothing is locked.
_ANSWERED_HERE: Final = (
    (re.compile(rb"\s*BEGIN\b", re.IGNORECASE), b"BEGIN"),
    (re.compile(rb"\s*(?:COMMIT|END)\b", re.IGNORECASE), b"COMMIT"),
    (re.compile(rb"\s*ROLLBACK\b", re.IGNORECASE), b"ROLLBACK"),
    (re.compile(rb"\s*SET\s+(?:SESSION|TRANSACTION)\b", re.IGNORECASE), b"SET"),
    (re.compile(rb"\s*SET\s+\w*_timeout\b", re.IGNORECASE), b"SET"),
    (re.compile(rb"\s*LOCK\s+TABLE\b", re.IGNORECASE), b"LOCK TABLE"),
)
_READS: Final = re.compile(rb"\s*(?:SELECT|SET|EXECUTE|PREPARE\s+\w+[^;]*?\bAS)\s", re.IGNORECASE)
_PREPARED: Final = re.compile(rb'\s*PREPARE\s+("(?:[^"]|"")+"|\w+)', re.IGNORECASE)

_FIELDS: Final = (
    (b"S", pq.DiagnosticField.SEVERITY),
    (b"V", pq.DiagnosticField.SEVERITY_NONLOCALIZED),
    (b"C", pq.DiagnosticField.SQLSTATE),
    (b"M", pq.DiagnosticField.MESSAGE_PRIMARY),
    (b"D", pq.DiagnosticField.MESSAGE_DETAIL),
    (b"H", pq.DiagnosticField.MESSAGE_HINT),
    (b"P", pq.DiagnosticField.STATEMENT_POSITION),
    (b"W", pq.DiagnosticField.CONTEXT),
)


class Relay:
    """Answers one client with what the source says, over a connection in a transaction.

    ``prepared`` are the names that the client prepared and that outlive the transaction;
    ``failure`` is the last error of the server as (SQLSTATE, message).
    """

    def __init__(self, connection: psycopg.Connection) -> None:
        self._pg = connection.pgconn
        self._begun = False
        self._out = bytearray()
        self._reported: dict[str, str] = {}
        self._encoding = connection.info.encoding
        self.prepared: list[bytes] = []
        self.failure: tuple[str, str] | None = None

    def serve(self, client: socket.socket) -> None:
        """Answer until the client goes. ToolError when the source is lost or never answers."""
        client.setblocking(True)
        with client.makefile("rb") as stream:
            if not self._greet(stream, client):
                return
            while head := stream.read(5):
                kind, length = head[:1], int.from_bytes(head[1:], "big")
                body = stream.read(length - 4)
                if kind == b"X":
                    return
                if kind == b"Q":
                    self._query(body.rstrip(b"\0"))
                else:
                    self._refuse(f"this relay takes simple queries only, not {kind!r}")
                self._ready(client)

    def _greet(self, stream: BinaryIO, client: socket.socket) -> bool:
        """The start of the protocol; whether a session was opened."""
        while True:
            head = stream.read(8)
            if len(head) < 8:
                return False
            length, code = struct.unpack("!ii", head)
            stream.read(length - 8)
            if code in (_SSL_REQUEST, _GSS_REQUEST):
                client.sendall(b"N")
                continue
            if code >> 16 != 3:
                return False
            self._message(b"R", struct.pack("!i", 0))
            self._report()
            self._message(b"K", struct.pack("!ii", 0, 0))
            self._ready(client)
            return True

    def _report(self) -> None:
        for name in _REPORTED:
            value = self._pg.parameter_status(name.encode())
            if value is None or self._reported.get(name) == value.decode():
                continue
            self._reported[name] = value.decode()
            self._message(b"S", name.encode() + b"\0" + value + b"\0")

    def _ready(self, client: socket.socket) -> None:
        self._report()
        status = b"I"
        if self._pg.transaction_status == pq.TransactionStatus.INERROR:
            status = b"E"
        elif self._begun:
            status = b"T"
        self._message(b"Z", status)
        client.sendall(self._out)
        self._out.clear()

    def _query(self, text: bytes) -> None:
        for pattern, tag in _ANSWERED_HERE:
            if pattern.match(text):
                self._begun = tag == b"BEGIN" or (self._begun and tag in (b"SET", b"LOCK TABLE"))
                self._message(b"C", tag + b"\0")
                return
        if not _READS.match(text):
            self._refuse("the live database is only read")
            return
        if match := _PREPARED.match(text):
            self.prepared.append(match[1])
        self._pg.send_query(text)
        for result in self._results():
            self._pass_on(result)

    def _results(self) -> list[pq.abc.PGresult]:
        deadline = monotonic() + _PATIENCE
        results: list[pq.abc.PGresult] = []
        while self._pg.flush():
            self._wait(deadline, writing=True)
        while True:
            while self._pg.is_busy():
                self._wait(deadline, writing=False)
                self._pg.consume_input()
            result = self._pg.get_result()
            if result is None:
                return results
            results.append(result)

    def _wait(self, deadline: float, *, writing: bool) -> None:
        # In small steps, so that Ctrl-C is heard.
        handles = [self._pg.socket]
        select.select([] if writing else handles, handles if writing else [], [], 1.0)
        if monotonic() > deadline:
            raise ToolError(
                f"the live database gave no answer for {_PATIENCE:.0f} s",
                hint="try again when it is less busy",
            )

    def _pass_on(self, result: pq.abc.PGresult) -> None:
        match result.status:
            case pq.ExecStatus.TUPLES_OK:
                self._rows(result)
                self._message(b"C", (result.command_status or b"SELECT") + b"\0")
            case pq.ExecStatus.COMMAND_OK:
                self._message(b"C", (result.command_status or b"SET") + b"\0")
            case pq.ExecStatus.EMPTY_QUERY:
                self._message(b"I", b"")
            case _:
                self._error(result)

    def _rows(self, result: pq.abc.PGresult) -> None:
        columns = range(result.nfields)
        described = b"".join(
            (result.fname(i) or b"")
            + b"\0"
            + struct.pack(
                "!IhIhih",
                result.ftable(i),
                result.ftablecol(i),
                result.ftype(i),
                result.fsize(i),
                result.fmod(i),
                0,
            )
            for i in columns
        )
        self._message(b"T", struct.pack("!h", result.nfields) + described)
        head = struct.pack("!h", result.nfields)
        for row in range(result.ntuples):
            parts = [head]
            for i in columns:
                value = result.get_value(row, i)
                parts += [b"\xff\xff\xff\xff"] if value is None else [_length(value), value]
            self._message(b"D", b"".join(parts))

    def _error(self, result: pq.abc.PGresult) -> None:
        found = [(mark, result.error_field(field)) for mark, field in _FIELDS]
        state = result.error_field(pq.DiagnosticField.SQLSTATE) or b""
        message = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b"lost the server"
        self.failure = (state.decode(), message.decode(self._encoding, "replace"))
        if not state:
            raise ToolError(
                f"the connection to the live database broke: {self.failure[1]}",
                hint="try again; nothing was changed there",
            )
        body = b"".join(mark + value + b"\0" for mark, value in found if value is not None)
        self._message(b"E", body + b"\0")

    def _refuse(self, message: str) -> None:
        body = b"SERROR\0VERROR\0C0A000\0M" + message.encode() + b"\0\0"
        self._message(b"E", body)

    def _message(self, kind: bytes, body: bytes) -> None:
        self._out += kind + struct.pack("!i", len(body) + 4) + body


def _length(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big")
