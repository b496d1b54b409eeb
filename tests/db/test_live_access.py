"""Ways into a live database, and what is said where there is none: TLS, passwords, addresses."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tenantfuzz.engines import start_embedded
from tenantfuzz.errors import ToolError
from tenantfuzz.live.copying import read_structure
from tenantfuzz.live.dumping import find_pg_dump
from tenantfuzz.live.source import open_source

# The server that comes with the engine speaks no TLS.
WITH_TLS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
ADDRESS = "127.77.13.9"  # a loopback address of our own: the port is everybody's
PASSWORD = "s3cret words"
ACCESS = "local all all trust\nhostssl all all all scram-sha-256\nhost all all all reject\n"


@pytest.fixture(scope="module")
def keys() -> Iterator[Path]:
    """A certificate authority, and a certificate of it for `localhost`."""
    if shutil.which("openssl") is None or not WITH_TLS:
        pytest.skip("needs openssl, and a PostgreSQL server with TLS")
    folder = Path(tempfile.mkdtemp(prefix="tenantfuzz-test-"))
    try:
        folder.chmod(0o755)
        (folder / "names").write_text("subjectAltName=DNS:localhost")
        (folder / "access").write_text(ACCESS)
        new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes"]
        out = ["-out", "server.crt"]
        signed = ["openssl", "x509", "-req", "-CA", "ca.crt", "-CAkey", "ca.key"]
        for command in (
            [*new, "-x509", "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=an authority"],
            [*new, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost"],
            [*signed, "-CAcreateserial", "-in", "server.csr", "-extfile", "names", *out],
        ):
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
        shutil.chown(folder / "server.key", "nobody")
        (folder / "server.key").chmod(0o600)
        yield folder
    except (PermissionError, LookupError):
        pytest.skip("needs root, to give the key to the server's account")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server(keys: Path) -> Iterator[str]:
    """What all connection strings to the server have in common."""
    settings = {
        "listen_addresses": ADDRESS,
        "ssl": "on",
        "ssl_cert_file": str(keys / "server.crt"),
        "ssl_key_file": str(keys / "server.key"),
        "hba_file": str(keys / "access"),
    }
    with start_embedded(bindir=WITH_TLS[-1], settings=settings) as started:
        with psycopg.connect(started.conninfo("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'".encode())
            connection.execute("CREATE TABLE public.issues (id int)")
        yield f"host=localhost hostaddr={ADDRESS} dbname=postgres user=reader "


def test_tls_that_is_verified(server: str, keys: Path) -> None:
    tls = f"sslmode=verify-full sslrootcert={keys}/ca.crt password='{PASSWORD}'"
    structure = read_structure(server + tls)
    assert "issues" in {entry.name for entry in structure.entries}
    assert structure.place == "the live database 'postgres' on localhost"
    with open_source(server + tls) as source:
        query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        assert source.rows(query) == [(True,)]


def test_a_url_an_environment_and_a_service(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    escaped = PASSWORD.replace(" ", "%20")
    url = f"postgresql://reader:{escaped}@{ADDRESS}/postgres?sslmode=require"
    expected = read_structure(url).hash
    passwords = tmp_path / "pgpass"
    passwords.write_text(f"localhost:5432:postgres:reader:{PASSWORD}\n")
    passwords.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    assert read_structure(server + "sslmode=require").hash == expected
    service = tmp_path / "services"
    service.write_text("[shop]\n" + server.strip().replace(" ", "\n") + "\nsslmode=require\n")
    monkeypatch.setenv("PGSERVICEFILE", str(service))
    assert read_structure("service=shop").hash == expected


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ("sslmode=require password=wrong-one", "password authentication failed", "~/.pgpass"),
        ("sslmode=require", "no password supplied", "PGPASSWORD"),
        ("sslmode=disable password=wrong-one", "no encryption", "sslmode=require"),
        (
            "sslmode=verify-full sslrootcert={keys}/server.crt password=wrong-one",
            "certificate verify failed",
            "sslrootcert=FILE",
        ),
        ("sslmode=require password=wrong-one port=1", "refused", "check host and port"),
    ],
)
def test_what_is_said_where_there_is_no_way_in(
    server: str, keys: Path, words: str, message: str, hint: str
) -> None:
    with pytest.raises(ToolError, match=message) as caught:
        read_structure(server + words.format(keys=keys))
    assert hint in str(caught.value.hint)
    assert "wrong-one" not in str(caught.value)
    assert caught.value.__cause__ is None  # a traceback would show it


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://reader:half@secret@localhost/shop",
        "postgresql://reader:100%secret@localhost/shop",
        "reader's secret",
    ],
)
def test_a_connection_string_that_is_none_is_not_shown(dsn: str) -> None:
    with pytest.raises(ToolError, match=r"connection string .* cannot be read") as caught:
        read_structure(dsn)
    assert "secret" not in str(caught.value)


def test_a_pg_dump_that_is_new_enough_is_needed() -> None:
    assert find_pg_dump(130000).major >= 13
    with pytest.raises(ToolError, match="no pg_dump of PostgreSQL 99 or newer") as caught:
        find_pg_dump(990001)
    assert "postgresql-client-99" in str(caught.value.hint)


def test_a_server_without_tls_is_named() -> None:
    settings = {"listen_addresses": "127.77.13.10"}
    with (
        start_embedded(settings=settings),
        pytest.raises(ToolError, match="does not support SSL") as caught,
    ):
        read_structure("host=127.77.13.10 dbname=postgres user=postgres sslmode=require")
    assert "sslmode=disable" in str(caught.value.hint)
