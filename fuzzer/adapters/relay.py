"""What stands between the processes of adapters and the server's socket.

Not every driver can be told of a socket by a connection string (postgres.js goes to localhost), so
that there is a port on the loopback device. Everybody on the machine can reach such a port, and the
server behind it trusts whoever comes: so it asks for a password that only the adapters' environment
has. It notes which statements pass (PostgreSQL manual, "Frontend/Backend Protocol"), so that a
finding can name them, and can put others in their place.
"""

import hmac
import secrets
import socket
import struct
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from psycopg import conninfo

from tenantfuzz.application.sending import NOTHING, Instead, Sent, of_protocol

_SSL_REQUEST: Final = 80877103
_GSS_REQUEST: Final = 80877104
_CANCEL_REQUEST: Final = 80877102
_CHUNK: Final = 1 << 16
_MOST_NOTED: Final = 200  # statements of one call
_LONGEST_START: Final = 10_000  # bytes of a startup packet, as the server itself takes them
_PATIENCE: Final = 10.0  # seconds for whoever connects to say who it is
_ASK_PASSWORD: Final = b"R" + struct.pack("!ii", 8, 3)


@dataclass(slots=True)
class _Client:
    """What is known of one connection's messages."""

    pending: bytes = b""  # of a message from the client, not yet whole
    prepared: dict[bytes, str] = field(default_factory=dict)


class Relay:
    """A port on the loopback device in front of a server's socket, until ``close``."""

    def __init__(self, path: str) -> None:
        """Listens. ``path`` is the server's socket. Raises OSError where there can be no port."""
        self.password = secrets.token_urlsafe(24)
        self._path = path
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._sent: list[Sent] = []
        self._instead: Instead = NOTHING
        self._ends: set[socket.socket] = set()
        self._closed = False
        self._start(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends all connections. May be called twice."""
        with self._lock:
            self._closed = True
            ends = list(self._ends)
        for end in (self._listener, *ends):
            _shut(end)

    def conninfo(self, dsn: str) -> str:
        """``dsn``, which leads to the server, as it leads here."""
        parts = conninfo.conninfo_to_dict(dsn)
        kept = {k: v for k, v in parts.items() if k in ("user", "dbname")}
        return conninfo.make_conninfo(
            "", host="127.0.0.1", port=self.port, password=self.password, sslmode="disable", **kept
        )

    def note(self, instead: Instead = NOTHING) -> None:
        """Begins anew to note statements; ``instead`` are sent on in place of others from now on,
        by whoever prepares them from now on."""
        with self._lock:
            self._sent = []
            self._instead = instead

    def noted(self) -> tuple[Sent, ...]:
        """The statements that passed since ``note``."""
        with self._lock:
            return tuple(self._sent)

    # Connections: a thread for each direction, so that neither end can hold the other up

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        threading.Thread(target=work, args=arguments, name="adapter relay", daemon=True).start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._admit, near)

    def _admit(self, near: socket.socket) -> None:
        """Lets one in that knows the password, and passes on what it says until it ends."""
        far = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with self._lock:
            if self._closed:
                _shut(near)
                _shut(far)
                return
            self._ends |= {near, far}
        try:
            near.settimeout(_PATIENCE)
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            start = _greeted(near)
            if start and struct.unpack("!i", start[4:8])[0] == _CANCEL_REQUEST:
                far.connect(self._path)
                far.sendall(start)
                far.recv(1)  # the server closes it when it has done so
            elif start and self._is_known(near):
                far.connect(self._path)
                far.sendall(start)
                near.settimeout(None)
                self._start(self._answers, far, near)
                self._questions(near, far)
        except (OSError, struct.error):
            pass  # one of the two is gone: so goes the other
        finally:
            self._end(near, far)

    def _is_known(self, near: socket.socket) -> bool:
        near.sendall(_ASK_PASSWORD)
        if hmac.compare_digest(_password(near), self.password.encode()):
            return True
        near.sendall(_refusal("the password is not the one of TENANTFUZZ_DSN"))
        return False

    def _answers(self, far: socket.socket, near: socket.socket) -> None:
        try:
            while data := far.recv(_CHUNK):
                near.sendall(data)
        except OSError:
            pass
        finally:
            self._end(near, far)

    def _questions(self, near: socket.socket, far: socket.socket) -> None:
        client = _Client()
        while data := near.recv(_CHUNK):
            far.sendall(self._read(client, data))

    def _end(self, *ends: socket.socket) -> None:
        with self._lock:
            self._ends -= {*ends}
        for end in ends:
            _shut(end)

    # Messages of clients

    def _read(self, client: _Client, data: bytes) -> bytes:
        """What is to be sent on of what a client says: whole messages, statements changed."""
        client.pending += data
        ready = b""
        while len(client.pending) >= 5:
            size = 1 + struct.unpack("!I", client.pending[1:5])[0]
            if len(client.pending) < size:
                break
            message, client.pending = client.pending[:size], client.pending[size:]
            ready += self._changed(client, message)
        return ready

    def _changed(self, client: _Client, message: bytes) -> bytes:
        word, body = message[:1], message[5:]
        try:
            if word == b"Q":
                sql = body.rstrip(b"\0").decode()
                self._note(sql, ())
                return _message(b"Q", self._now(sql).encode() + b"\0")
            if word == b"P":
                name, text, rest = body.split(b"\0", 2)
                sql = text.decode()
                client.prepared[name] = sql
                return _message(b"P", name + b"\0" + self._now(sql).encode() + b"\0" + rest)
            if word == b"B":
                _, name, rest = body.split(b"\0", 2)
                if name in client.prepared:
                    self._note(client.prepared[name], _values(rest))
        except (ValueError, struct.error, UnicodeDecodeError):
            pass  # what is not understood is not touched
        return message

    def _now(self, sql: str) -> str:
        with self._lock:
            return self._instead.get(sql, sql)

    def _note(self, sql: str, values: tuple[str | None, ...]) -> None:
        sent = of_protocol(sql, values)
        with self._lock:
            if sent.is_query and len(self._sent) < _MOST_NOTED:
                self._sent.append(sent)


def _shut(end: socket.socket) -> None:
    """Closes an end; whoever waits for it in another thread is woken."""
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


def _greeted(near: socket.socket) -> bytes:
    """The startup packet; encryption is declined. Empty where the other end is gone."""
    while True:
        head = _exactly(near, 8)
        if len(head) < 8:
            return b""
        size, code = struct.unpack("!ii", head)
        if code in (_SSL_REQUEST, _GSS_REQUEST):
            near.sendall(b"N")
            continue
        if not 8 <= size <= _LONGEST_START:
            return b""
        return head + _exactly(near, size - 8)


def _password(near: socket.socket) -> bytes:
    head = _exactly(near, 5)
    if head[:1] != b"p":
        return b""
    size = struct.unpack("!I", head[1:])[0]
    return _exactly(near, size - 4).rstrip(b"\0") if size <= _LONGEST_START else b""


def _exactly(near: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = near.recv(size - len(data))
        if not more:
            return data
        data += more
    return data


def _refusal(text: str) -> bytes:
    return _message(b"E", b"SFATAL\0C28P01\0M" + text.encode() + b"\0\0")


def _message(word: bytes, body: bytes) -> bytes:
    return word + struct.pack("!I", len(body) + 4) + body


def _values(rest: bytes) -> tuple[str | None, ...]:
    """The parameters of a Bind message, whose names are cut off."""
    (count,) = struct.unpack_from("!H", rest)
    formats = struct.unpack_from(f"!{count}H", rest, 2)
    position = 2 + 2 * count
    (number,) = struct.unpack_from("!H", rest, position)
    position += 2
    found: list[str | None] = []
    for index in range(number):
        (size,) = struct.unpack_from("!i", rest, position)
        position += 4
        if size < 0:
            found.append(None)
            continue
        value = rest[position : position + size]
        position += size
        form = formats[index] if len(formats) == number else formats[0] if formats else 0
        found.append(_read_binary(value) if form else value.decode(errors="replace"))
    return tuple(found)


def _read_binary(value: bytes) -> str:
    """A value in binary form, as far as it can be read without its type."""
    return str(uuid.UUID(bytes=value)) if len(value) == 16 else value.decode(errors="replace")
