"""A PostgreSQL server of our own: started in milliseconds, reachable by us only, gone with us."""

import contextlib
import errno
import json
import os
import secrets
import select
import shutil
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psycopg
from psycopg import conninfo, pq, sql

from tenantfuzz.engines import databases, instance
from tenantfuzz.engines.account import Account, server_account
from tenantfuzz.engines.binaries import Binaries, find_binaries, server_environment
from tenantfuzz.engines.server import require_supported, version_text
from tenantfuzz.engines.template import (
    SUPERUSER,
    Template,
    default_cache,
    make_template,
    template_path,
)
from tenantfuzz.errors import ToolError
from tenantfuzz.patience import PatientConnection

_PORT: Final = 5432  # part of the socket's name only
_CONNECT_SECONDS: Final = 10
_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.002
_SHARED_COPIES: Final = Path("/var/cache/tenantfuzz")

_SETTINGS: Final[Mapping[str, str]] = {
    "port": str(_PORT),
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "huge_pages": "off",
    "max_connections": "40",
    "autovacuum": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "256MB",
    "wal_init_zero": "off",
    "max_logical_replication_workers": "0",
    "jit": "off",
    # Shared memory segments as files of the data directory: they go with it.
    "dynamic_shared_memory_type": "mmap",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    # Provoked errors come by the thousand; crashes of the server are on the level LOG.
    "log_min_messages": "log",
    "log_min_error_statement": "log",
    "log_checkpoints": "off",
}

# What the environment could change about a connection, and the value that stops it.
_NEUTRAL: Final[Mapping[str, str]] = {
    "hostaddr": "",
    "options": "",
    "client_encoding": "UTF8",
    "sslmode": "disable",
    "sslnegotiation": "postgres",
    "gssencmode": "disable",
    "channel_binding": "prefer",
    "require_auth": "",
    "target_session_attrs": "any",
}


def start_embedded(
    *,
    bindir: Path | None = None,
    cache: Path | None = None,
    settings: Mapping[str, str] | None = None,
) -> "EmbeddedServer":
    """Start a server with an empty data directory that ends with this process, even when killed.

    ``bindir`` holds the server programs; without it they are looked for (see
    ``find_binaries``). ``cache`` keeps the fresh data directory between starts. ``settings`` are
    server settings that go before ours. ToolError when no server can be started.
    """
    cache = cache or default_cache()
    account = server_account()
    copies = (cache, _SHARED_COPIES)
    binaries = find_binaries(bindir, account=account, copies=copies)
    require_supported(binaries.major * 10000, str(binaries.bindir))
    path = template_path(cache, binaries)
    reasons = []
    for base in instance.bases(account):
        instance.sweep(base)
        try:
            return _start_below(base, path, binaries, account, settings or {})
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
                raise ToolError(f"cannot make a data directory below {base}: {error}") from error
            reasons.append(f"{base}: {error.strerror}")
    raise ToolError(
        "no directory has room for a server" + "".join(f"; {reason}" for reason in reasons),
        hint="set TMPDIR to a directory on a disk with space, with a short path",
    )


def _start_below(
    base: Path,
    path: Path,
    binaries: Binaries,
    account: Account | None,
    settings: Mapping[str, str],
) -> "EmbeddedServer":
    with contextlib.ExitStack() as cleanup:
        server = EmbeddedServer(base, account)
        cleanup.callback(server.close)
        template = Template.load(path)
        cached = template is not None
        if template is None:
            template = make_template(path, binaries, account, server.directory)
        data = instance.data_directory(server.directory)
        template.write(data, account)
        try:
            server.launch(binaries, settings)
        except ToolError:
            if not cached:
                raise
            # The cached template may be to blame: once more with a new one.
            shutil.rmtree(data, ignore_errors=True)
            template = make_template(path, binaries, account, server.directory)
            template.write(data, account)
            server.launch(binaries, settings)
        cleanup.pop_all()
        return server


class EmbeddedServer:
    """One running server; made by ``start_embedded``.

    Its watchdog, a process of its own, stops the server and removes its directory as soon as the
    pipe from this process ends: at ``close``, at exit, and after ``kill -9``. Processes forked
    from this one may use the server and do not keep it alive; ``close`` does nothing there.
    """

    superuser: str = SUPERUSER

    def __init__(self, base: Path, account: Account | None) -> None:
        self.version = 0
        self.version_text = ""
        self.directory, lock = instance.make_instance(base, account)
        self._account = account
        self._nonce = secrets.token_hex(16)
        self._said = b""
        try:
            self._watchdog = _start_watchdog(self.directory, lock)
        except BaseException:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise
        finally:
            os.close(lock)
        self._pid = os.getpid()
        itself = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _let_go(itself()))

    @property
    def log(self) -> str:
        """What the server printed, without ordinary errors; empty when there is no log."""
        try:
            return instance.log_file(self.directory).read_text(errors="replace")
        except OSError:
            return ""

    def launch(self, binaries: Binaries, settings: Mapping[str, str]) -> None:
        """Start the server on the data directory; returns when it answers, or raises ToolError."""
        data = instance.data_directory(self.directory)
        sockets = str(instance.socket_directory(self.directory)).replace('"', '""')
        chosen = {
            **_SETTINGS,
            **({"io_method": "sync"} if binaries.major >= 18 else {}),
            **settings,
            "unix_socket_directories": f'"{sockets}"',
            "tenantfuzz.nonce": self._nonce,
        }
        arguments = [part for name, value in chosen.items() for part in ("-c", f"{name}={value}")]
        order = {
            "argv": [str(binaries.postgres), "-D", str(data), *arguments],
            "environment": server_environment(),
            "log": str(instance.log_file(self.directory)),
            "uid": self._account and self._account.uid,
            "gid": self._account and self._account.gid,
        }
        assert self._watchdog.stdin is not None
        try:
            self._watchdog.stdin.write(json.dumps(order).encode() + b"\n")
        except OSError as error:
            raise ToolError("the server's watchdog process ended before its time") from error
        self._await_answer(binaries)

    def conninfo(self, dbname: str, user: str | None = None) -> str:
        """A libpq connection string over the server's socket, whatever the environment says."""
        return conninfo.make_conninfo(
            "",
            host=str(instance.socket_directory(self.directory)),
            port=_PORT,
            dbname=dbname,
            user=user or self.superuser,
            connect_timeout=_CONNECT_SECONDS,
            **_shields(),
        )

    def create_database(self, name: str, *, template: str | None = None) -> None:
        """Make the database ``name``, empty or a copy of ``template``."""
        with self._admin() as connection:
            databases.create_database(connection, name, template, copy_files=True)

    def drop_database(self, name: str) -> None:
        """Drop the database ``name``, ending the sessions in it."""
        with self._admin() as connection:
            databases.drop_database(connection, name)

    def rename_superuser(self, name: str) -> None:
        """Give the superuser another name, so that a role of the target may have the old one.

        Connections that are open keep working; ``conninfo`` speaks of the new name from here on.
        """
        # Nobody may rename the role of its own session.
        aside = f"{name}_aside"
        made = sql.SQL("CREATE ROLE {} SUPERUSER LOGIN").format(sql.Identifier(aside))
        renamed = sql.SQL("ALTER ROLE {} RENAME TO {}").format(
            sql.Identifier(self.superuser), sql.Identifier(name)
        )
        try:
            with self._admin() as connection:
                connection.execute(made)
            with PatientConnection.open(self.conninfo("postgres", aside)) as connection:
                connection.execute(renamed)
            self.superuser = name
            with self._admin() as connection:
                connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(aside)))
        except psycopg.Error as error:
            raise ToolError(f"the superuser cannot be renamed: {error}") from error

    def close(self) -> None:
        """Stop the server and remove its directory; returns when both are gone."""
        if os.getpid() != self._pid or self._watchdog.returncode is not None:
            return
        assert self._watchdog.stdin is not None
        assert self._watchdog.stdout is not None
        with contextlib.suppress(OSError):
            self._watchdog.stdin.close()
        try:
            self._watchdog.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._watchdog.kill()
            self._watchdog.wait()
        finally:
            self._watchdog.stdout.close()
            if self.directory.exists():
                # The watchdog was killed, or hung.
                instance.remove(self.directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def let_go(self) -> None:
        """In a forked process: close the pipe, so that only the first process keeps the server."""
        for pipe in (self._watchdog.stdin, self._watchdog.stdout):
            assert pipe is not None
            pipe.close()
        # It is not our child: nothing to wait for.
        self._watchdog.returncode = 0

    def _admin(self) -> psycopg.Connection[databases.Row]:
        connection = databases.connect_admin(self.conninfo("postgres"), "the embedded server")
        try:
            self._recognise(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _recognise(self, connection: psycopg.Connection[databases.Row]) -> None:
        """ToolError unless this is the server that we started: nothing is written to another."""
        nonce, data, version = databases.fetch_one(
            connection,
            "SELECT current_setting('tenantfuzz.nonce', true), current_setting('data_directory'),"
            " current_setting('server_version_num')::int",
        )
        expected = instance.data_directory(self.directory)
        if nonce != self._nonce or Path(data) != expected:
            raise ToolError(
                f"another server answers at {instance.socket_directory(self.directory)}:"
                f" its data directory is {data}, ours is {expected}",
                hint="nothing was written to it; run again",
            )
        self.version = version
        self.version_text = version_text(version)

    def _await_answer(self, binaries: Binaries) -> None:
        socket = instance.socket_directory(self.directory) / f".s.PGSQL.{_PORT}"
        deadline = time.monotonic() + _START_SECONDS
        last = "no socket appeared"
        while time.monotonic() < deadline:
            for line in self._hear(_POLL_SECONDS):
                word, _, rest = line.partition(" ")
                if word in ("failed", "ended"):
                    raise self._start_error(binaries, f"{word} ({rest})")
            if not socket.exists():
                continue
            try:
                connection = psycopg.connect(self.conninfo("postgres"), autocommit=True)
            except psycopg.OperationalError as error:
                last = str(error)
                continue
            with connection:
                self._recognise(connection)
            require_supported(self.version, str(binaries.bindir))
            return
        raise self._start_error(binaries, f"no answer within {_START_SECONDS:.0f} s: {last}")

    def _hear(self, seconds: float) -> list[str]:
        """The lines that the watchdog said, waiting for at most ``seconds``."""
        assert self._watchdog.stdout is not None
        descriptor = self._watchdog.stdout.fileno()
        if not select.select([descriptor], [], [], seconds)[0]:
            return []
        chunk = os.read(descriptor, 65536)
        if not chunk:
            return ["ended the watchdog died"]
        *lines, self._said = (self._said + chunk).split(b"\n")
        return [line.decode() for line in lines]

    def _start_error(self, binaries: Binaries, what: str) -> ToolError:
        log = "\n".join(self.log.splitlines()[-15:])
        return ToolError(
            f"{binaries.postgres} ({binaries.version_text}) did not start: {what}"
            + (f"\n{log}" if log else ""),
            hint="the last lines of the server's log say why; another installation can be named"
            ' with TENANTFUZZ_PG_BINDIR, an existing server with engine = "server"',
        )


def _start_watchdog(directory: Path, lock: int) -> subprocess.Popen[bytes]:
    script = Path(__file__).with_name("watchdog.py")
    python = sys.executable or shutil.which("python3")
    if not python:
        raise ToolError("no Python interpreter for the server's watchdog was found")
    try:
        return subprocess.Popen(
            [python, "-I", "-S", str(script), str(directory), str(lock)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # No buffer: a forked process must not send what is in it a second time.
            bufsize=0,
            pass_fds=[lock],
            cwd="/",
            # Ctrl-C in the terminal is for us to answer.
            start_new_session=True,
        )
    except OSError as error:
        raise ToolError(f"cannot start the server's watchdog with {python}: {error}") from error


def _let_go(server: EmbeddedServer | None) -> None:
    if server is not None:
        server.let_go()


def _shields() -> dict[str, str]:
    """Explicit values for whatever libpq would take from the environment and that could harm."""
    shields = {}
    for option in pq.Conninfo.parse(b""):
        value = _NEUTRAL.get(option.keyword.decode())
        variable = option.envvar.decode() if option.envvar else ""
        if value is not None and (variable in os.environ or "PGSERVICE" in os.environ):
            shields[option.keyword.decode()] = value
    return shields
