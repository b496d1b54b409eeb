"""Runs that are killed at any moment: the next start finds nothing of them, or takes it away."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from tenantfuzz.engines import Server, start_embedded

TARGET = Path(__file__).parents[2] / "corpus" / "targets" / "saas-guc"
MOMENTS = 50
LONGEST = 4.0


@pytest.fixture
def server() -> Iterator[Server]:
    with start_embedded() as running:
        yield running


def environment(temporary: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TENANTFUZZ_")}
    return kept | {"TMPDIR": str(temporary)}


def command(corpus: Path, *more: str) -> list[str]:
    options = ("--time", "60s", "--no-shrink", "--corpus", str(corpus))
    return [sys.executable, "-m", "tenantfuzz", "run", str(TARGET), *options, *more]


def kill_at_moments(folder: Path, *more: str) -> None:
    """Starts runs one after the other and kills each, together with nothing else, at a moment that
    a seed decides."""
    moments = random.Random(11)
    for _ in range(MOMENTS):
        process = subprocess.Popen(
            command(folder / "corpus", *more),
            env=environment(folder),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        with suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0.05, LONGEST))
        process.send_signal(signal.SIGKILL)
        process.wait()


def watched(folder: Path) -> set[str]:
    """What processes there are that speak of the folder, by their command lines."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(folder) in line:
                found.add(line)
    return found


@pytest.mark.slow
def test_killed_runs_leave_no_server_behind(tmp_path: Path) -> None:
    kill_at_moments(tmp_path)
    last = subprocess.run(
        command(tmp_path / "corpus", "--phase", "sweep"),
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert last.returncode == 0, last.stderr
    assert watched(tmp_path) == set()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("tenantfuzz")] == []


@pytest.mark.slow
def test_killed_runs_leave_nothing_on_a_server_of_ones_own(server: Server, tmp_path: Path) -> None:
    dsn = server.conninfo("postgres")
    kill_at_moments(tmp_path, "--server", dsn)
    last = subprocess.run(
        command(tmp_path / "corpus", "--phase", "sweep", "--server", dsn),
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert last.returncode == 0, last.stderr
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1"
        ).fetchall()
    assert rows == [("postgres",)]


@pytest.mark.slow
def test_two_campaigns_at_once_on_one_server(server: Server, tmp_path: Path) -> None:
    dsn = server.conninfo("postgres")
    runs = [
        subprocess.Popen(
            command(tmp_path / f"corpus{n}", "--phase", "sweep", "--server", dsn),
            env=environment(tmp_path),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for n in range(2)
    ]
    shown = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], shown
    with psycopg.connect(dsn) as connection:
        left = connection.execute("SELECT count(*) FROM pg_database").fetchone()
    assert left == (3,)
