"""The relay in front of the server: who may come in, what passes, what is noted and changed."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from psycopg import conninfo

from tenantfuzz.adapters.relay import Relay

START = struct.pack("!ii", 17, 196608) + b"user\0ann\0"
READY = b"R" + struct.pack("!ii", 8, 0)


def message(word: bytes, body: bytes) -> bytes:
    return word + struct.pack("!I", len(body) + 4) + body


class Server:
    """Takes connections on a socket, says that all is well, and keeps what it hears."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.heard: list[bytes] = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        with connection:
            self.heard.append(connection.recv(len(START)))
            connection.sendall(READY)
            while data := connection.recv(1 << 16):
                self.heard.append(data)
                connection.sendall(b"Z" + struct.pack("!I", 5) + b"I")  # it has read that


@pytest.fixture
def server() -> Iterator[Server]:
    with TemporaryDirectory() as folder:  # the names of sockets must be short
        running = Server(Path(folder) / "s")
        yield running
        running.listener.close()


@pytest.fixture
def relay(server: Server) -> Iterator[Relay]:
    with Relay(server.path) as running:
        yield running


def connect(relay: Relay, password: str) -> socket.socket:
    near = socket.create_connection(("127.0.0.1", relay.port), timeout=10)
    near.sendall(struct.pack("!ii", 8, 80877103))
    assert near.recv(1) == b"N"  # no encryption on the loopback device
    near.sendall(START)
    assert near.recv(9) == b"R" + struct.pack("!ii", 8, 3)
    near.sendall(message(b"p", password.encode() + b"\0"))
    return near


def told(near: socket.socket, data: bytes) -> None:
    """Says something, and waits until the server has heard it."""
    near.sendall(data)
    assert near.recv(6)[:1] == b"Z"


def parse(name: bytes, sql: str) -> bytes:
    return message(b"P", name + b"\0" + sql.encode() + b"\0\0\0")


def bind(name: bytes, *values: bytes | None, form: int = 0) -> bytes:
    texts = b"".join(
        struct.pack("!i", -1) if v is None else struct.pack("!i", len(v)) + v for v in values
    )
    head = struct.pack("!HHH", 1, form, len(values))
    return message(b"B", b"\0" + name + b"\0" + head + texts + struct.pack("!H", 0))


def test_nobody_comes_in_without_the_password(relay: Relay, server: Server) -> None:
    with closing(connect(relay, "guess")) as near:
        assert near.recv(1) == b"E"
        while near.recv(1 << 16):
            pass
    assert server.heard == []


def test_who_knows_the_password_is_passed_on(relay: Relay, server: Server) -> None:
    with closing(connect(relay, relay.password)) as near:
        assert near.recv(9) == READY
        told(near, message(b"S", b""))
    assert server.heard == [START, message(b"S", b"")]


def test_statements_are_noted_with_their_values(relay: Relay) -> None:
    with closing(connect(relay, relay.password)) as near:
        near.recv(9)
        told(near, parse(b"s1", "SELECT id FROM t WHERE org = $1 AND n = $2"))
        told(near, message(b"Q", b"BEGIN\0"))
        relay.note()
        told(near, bind(b"s1", b"a", None) + message(b"Q", b"DELETE FROM t\0"))
        told(near, bind(b"s1", bytes(range(16)), b"x", form=1))
    first, second, third = relay.noted()
    assert first.sql == "SELECT id FROM t WHERE org = $1 AND n = $2"
    assert first.values == {"1": "a", "2": None}
    assert (second.sql, second.values) == ("DELETE FROM t", {})
    assert third.values == {"1": "00010203-0405-0607-0809-0a0b0c0d0e0f", "2": "x"}


def test_a_statement_takes_the_place_of_another(relay: Relay, server: Server) -> None:
    relay.note({"SELECT 1": "SELECT 10 + 1", "DELETE FROM t": "DELETE FROM t WHERE false"})
    with closing(connect(relay, relay.password)) as near:
        near.recv(9)
        told(near, parse(b"", "SELECT 1"))
        told(near, message(b"Q", b"DELETE FROM t\0"))
        told(near, message(b"Q", b"SELECT 2\0"))
    assert server.heard[1:] == [
        parse(b"", "SELECT 10 + 1"),
        message(b"Q", b"DELETE FROM t WHERE false\0"),
        message(b"Q", b"SELECT 2\0"),
    ]


def test_messages_may_come_in_pieces(relay: Relay, server: Server) -> None:
    whole = parse(b"", "SELECT '" + "x" * 100_000 + "'")
    with closing(connect(relay, relay.password)) as near:
        near.recv(9)
        for start in range(0, len(whole), 30_000):
            near.sendall(whole[start : start + 30_000])
        near.recv(6)
        near.shutdown(socket.SHUT_WR)
        while near.recv(1 << 16):
            pass
    assert b"".join(server.heard[1:]) == whole


def test_the_connection_string_leads_there(relay: Relay) -> None:
    dsn = relay.conninfo("host=/tmp/s port=5432 user=ann dbname=scratch application_name=x")
    assert conninfo.conninfo_to_dict(dsn) == {
        "host": "127.0.0.1",
        "port": str(relay.port),
        "user": "ann",
        "dbname": "scratch",
        "password": relay.password,
        "sslmode": "disable",
    }


def test_when_it_ends_so_do_its_connections(relay: Relay) -> None:
    with closing(connect(relay, relay.password)) as near:
        near.recv(9)
        relay.close()
        relay.close()
        assert near.recv(1) == b""
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", relay.port), timeout=1)
