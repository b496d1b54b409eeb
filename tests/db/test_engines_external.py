"""The engine "server": scratch databases on a server of others, here an embedded one."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from tenantfuzz.engines import EmbeddedServer, connect_server, open_engine, start_embedded
from tenantfuzz.engines.external import _host, _process_start
from tenantfuzz.errors import ToolError


@pytest.fixture(scope="module")
def host() -> Iterator[EmbeddedServer]:
    with start_embedded() as started:
        started.create_database("theirs")
        with psycopg.connect(started.conninfo("postgres"), autocommit=True) as connection:
            connection.execute("CREATE ROLE plain LOGIN CREATEDB PASSWORD 'geheim'")
            connection.execute("CREATE ROLE chief LOGIN SUPERUSER")
        yield started


@pytest.fixture
def dsn(host: EmbeddedServer) -> Iterator[str]:
    yield host.conninfo("postgres")
    assert database_names(host) == {"postgres", "template0", "template1", "theirs"}


def database_names(host: EmbeddedServer) -> set[str]:
    with psycopg.connect(host.conninfo("postgres")) as connection:
        return {name for [name] in connection.execute("SELECT datname FROM pg_database")}


def plant(host: EmbeddedServer, name: str, comment: str | None) -> None:
    """A database that another process could have left."""
    host.create_database(name)
    with psycopg.connect(host.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(
            sql.SQL("COMMENT ON DATABASE {} IS {}").format(
                sql.Identifier(name), sql.Literal(comment)
            )
        )


def a_dead_pid() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_close_drops_what_was_made(host: EmbeddedServer, dsn: str) -> None:
    with connect_server(dsn) as server:
        assert (server.superuser, server.version) == ("postgres", host.version)
        assert server.version_text == host.version_text
        server.create_database("tenantfuzz_scratch_a")
        with psycopg.connect(server.conninfo("tenantfuzz_scratch_a")) as connection:
            connection.execute("CREATE TABLE word (w text)")
        server.create_database("tenantfuzz_scratch_b", template="tenantfuzz_scratch_a")
        session = psycopg.connect(server.conninfo("tenantfuzz_scratch_b"))
        assert session.execute("SELECT count(*) FROM word").fetchone() == (0,)
        assert {"tenantfuzz_scratch_a", "tenantfuzz_scratch_b"} < database_names(host)
        server.drop_database("tenantfuzz_scratch_a")
        assert "tenantfuzz_scratch_a" not in database_names(host)
    session.close()
    server.close()


def test_scratch_databases_are_marked(host: EmbeddedServer, dsn: str) -> None:
    with connect_server(dsn) as server:
        server.create_database("tenantfuzz_scratch_a")
        with psycopg.connect(dsn) as connection:
            row = connection.execute(
                "SELECT shobj_description(oid, 'pg_database') FROM pg_database"
                " WHERE datname = 'tenantfuzz_scratch_a'"
            ).fetchone()
    assert row is not None
    assert row[0].startswith(f"tenantfuzz scratch pid={os.getpid()} host=")
    assert " started=" in row[0]


def test_only_its_own_scratch_databases_are_touched(host: EmbeddedServer, dsn: str) -> None:
    host.create_database("tenantfuzz_scratch_of_another_run")
    with connect_server(dsn) as server:
        with pytest.raises(ToolError, match="no scratch database"):
            server.create_database("mine")
        with pytest.raises(ToolError, match="no scratch database"):
            server.create_database("tenantfuzz_scratch_a", template="theirs")
        for name in ("theirs", "postgres", "tenantfuzz_scratch_of_another_run"):
            with pytest.raises(ToolError, match="not made by this run"):
                server.drop_database(name)
        with pytest.raises(ToolError, match="already exists"):
            server.create_database("tenantfuzz_scratch_of_another_run")
    assert "tenantfuzz_scratch_of_another_run" in database_names(host)
    host.drop_database("tenantfuzz_scratch_of_another_run")


def test_the_sweep_takes_only_what_is_surely_left_over(host: EmbeddedServer, dsn: str) -> None:
    dead = a_dead_pid()
    me, started = os.getpid(), _process_start(os.getpid())
    left = f"tenantfuzz scratch pid={dead} host={_host()} started=ticks:1"
    comments = {
        "tenantfuzz_scratch_dead": left,
        "tenantfuzz_scratch_pid_reused": (
            f"tenantfuzz scratch pid={me} host={_host()} started=ticks:1"
        ),
        "tenantfuzz_scratch_alive": (
            f"tenantfuzz scratch pid={me} host={_host()} started={started}"
        ),
        "tenantfuzz_scratch_elsewhere": (
            f"tenantfuzz scratch pid={dead} host=elsewhere started=ticks:1"
        ),
        "tenantfuzz_scratch_unmarked": None,
        "tenantfuzz_scratch_other_words": f"{left} and more",
        "tenantfuzz_scratch_in_use": left,
        "another_name": left,
    }
    for name, comment in comments.items():
        plant(host, name, comment)
    with psycopg.connect(host.conninfo("tenantfuzz_scratch_in_use")):
        server = connect_server(dsn)
        stayed = set(comments) & database_names(host)
        swept_again = server.sweep_leftovers()
    assert set(comments) - stayed == {"tenantfuzz_scratch_dead", "tenantfuzz_scratch_pid_reused"}
    assert swept_again == []
    server.close()
    for name in stayed:
        host.drop_database(name)


def test_a_killed_run_is_swept_by_the_next(host: EmbeddedServer, dsn: str) -> None:
    program = (
        "import os, signal, sys\n"
        "from tenantfuzz.engines import connect_server\n"
        "connect_server(sys.argv[1]).create_database('tenantfuzz_scratch_killed')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, dsn], check=False)
    assert done.returncode == -signal.SIGKILL
    assert "tenantfuzz_scratch_killed" in database_names(host)
    connect_server(dsn).close()
    assert "tenantfuzz_scratch_killed" not in database_names(host)


def test_a_forked_child_drops_only_its_own(host: EmbeddedServer, dsn: str) -> None:
    with connect_server(dsn) as server:
        server.create_database("tenantfuzz_scratch_parents")
        child = os.fork()
        if child == 0:
            try:
                server.create_database("tenantfuzz_scratch_childs")
                server.close()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        names = database_names(host)
        assert "tenantfuzz_scratch_parents" in names
        assert "tenantfuzz_scratch_childs" not in names


def test_a_superuser_is_needed(host: EmbeddedServer, dsn: str) -> None:
    with pytest.raises(ToolError, match="role 'plain' is no superuser"):
        connect_server(host.conninfo("postgres", "plain"))
    assert connect_server(host.conninfo("postgres", "chief")).superuser == "chief"


def test_another_server_at_the_same_address_is_noticed(
    dsn: str, host: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = connect_server(dsn)
    with start_embedded(settings={"max_connections": "5"}) as other:
        monkeypatch.setattr(server, "_dsn", other.conninfo("postgres"))
        with pytest.raises(ToolError, match="another server answers"):
            server.create_database("tenantfuzz_scratch_a")
        assert database_names(other) == {"postgres", "template0", "template1"}


def test_conninfo_keeps_the_password_for_its_own_user_only(host: EmbeddedServer, dsn: str) -> None:
    server = connect_server(f"{dsn} password=geheim")
    assert "password=geheim" in server.conninfo("tenantfuzz_scratch_a")
    assert "password=geheim" in server.conninfo("tenantfuzz_scratch_a", "postgres")
    other = server.conninfo("tenantfuzz_scratch_a", "plain")
    assert "geheim" not in other
    assert psycopg.conninfo.conninfo_to_dict(other)["user"] == "plain"
    assert psycopg.conninfo.conninfo_to_dict(other)["dbname"] == "tenantfuzz_scratch_a"


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u:geheim@[::1",
        "postgresql://u:geheim@127.0.0.1:1/x",
        "host=/nonexistent password=geheim",
        "host=127.0.0.1 password geheim",
    ],
)
def test_a_wrong_address_never_shows_the_password(address: str) -> None:
    with pytest.raises(ToolError) as caught:
        connect_server(address)
    chain: BaseException | None = caught.value
    while chain is not None:
        assert "geheim" not in str(chain)
        chain = chain.__cause__
    assert caught.value.__suppress_context__


def test_open_engine(dsn: str, host: EmbeddedServer) -> None:
    with open_engine("server", server_dsn=dsn) as server:
        assert server.version == host.version
