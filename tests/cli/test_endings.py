"""Runs that are cut short: signals, a lost server, no space. Nothing found is lost, nothing stays.

Each test has a folder of its own for temporary files, and sees the server's data directory through
the process that watches over it.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SCHEMA = """
CREATE ROLE ends_app NOLOGIN;
CREATE TABLE orgs (id text PRIMARY KEY, name text);
CREATE TABLE issues (id uuid PRIMARY KEY, org_id text NOT NULL REFERENCES orgs, title text);
ALTER TABLE issues ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON issues USING (org_id = current_setting('app.tenant', true));
CREATE POLICY support ON issues FOR SELECT USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON issues TO ends_app;
"""
CONFIGURATION = """
[target]
schema = ["schema.sql"]
[tenancy]
tenants = "orgs"
column = "org_id"
[identity]
role = "ends_app"
settings = { "app.tenant" = "{tenant.id}" }
"""
DIRECTORY = re.compile(rb"/[^\0]*/tenantfuzz-pg-[^\0/]*(?=\0)")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "schema.sql").write_text(SCHEMA, encoding="utf-8")
    (folder / "tenantfuzz.toml").write_text(CONFIGURATION, encoding="utf-8")
    return folder


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "tenantfuzz", *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TENANTFUZZ_")}
    return kept | {"COLUMNS": "80", "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"} | more


@contextmanager
def running(folder: Path, *arguments: object) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        command("run", *arguments),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_until(process: "subprocess.Popen[str]", word: str) -> str:
    """What was printed up to the line with ``word``: the phase before is over by then."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if word in line:
            return "".join(lines)
    raise AssertionError(f"ended before {word!r}: {''.join(lines)}")


def data_directory(process: "subprocess.Popen[str]") -> Path:
    """The server's directory: an argument of the child that watches over it."""
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        try:
            found = DIRECTORY.search(Path(f"/proc/{child}/cmdline").read_bytes())
        except FileNotFoundError:  # it has ended since
            continue
        if found:
            return Path(os.fsdecode(found.group()))
    raise AssertionError("no server was started")


def eventually(happened: Callable[[], bool]) -> bool:
    """Whether it happens within seconds: a killed server is tidied up by the process that
    watches over it, a moment later."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if happened():
            return True
        threading.Event().wait(0.02)
    return happened()


def postmaster(directory: Path) -> int:
    return int((directory / "data" / "postmaster.pid").read_text().split()[0])


def gone(pid: int, directory: Path) -> bool:
    return not Path(f"/proc/{pid}").exists() and not directory.exists()


def saved(shop: Path) -> list[str]:
    return [p.name[:20] for p in (shop / "corpus").iterdir()]


@pytest.mark.parametrize(
    ("number", "reason"),
    [(signal.SIGINT, "by Ctrl-C"), (signal.SIGTERM, "by SIGTERM"), (signal.SIGHUP, "by SIGHUP")],
)
def test_a_signal_ends_the_run_with_what_was_found(
    shop: Path, number: signal.Signals, reason: str
) -> None:
    with running(shop.parent, "shop", "--seed", "1", "--time", "60s") as process:
        read_until(process, "sweep: ")
        directory = data_directory(process)
        pid = postmaster(directory)
        process.send_signal(number)
        out, err = process.communicate(timeout=90)
    assert (process.returncode, err) == (2, "")
    assert f"\nleaks: 1 finding (1 critical)\ninterrupted: {reason}\n" in out
    assert "culprit    support" in out
    assert saved(shop) == ["TF101-issues-select-"]
    assert eventually(lambda: gone(pid, directory))


def test_a_signal_before_the_first_check_says_only_that(shop: Path) -> None:
    with running(shop.parent, "shop") as process:
        assert eventually(lambda: watched(process))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=90)
    assert process.returncode == 2
    assert "Traceback" not in err
    if not out:  # it had not begun
        assert err == "interrupted\n"
    assert "seed 0" not in out


def watched(process: "subprocess.Popen[str]") -> bool:
    try:
        data_directory(process)
    except AssertionError:
        return False
    return True


def test_a_killed_server_ends_the_run_with_what_was_found(shop: Path) -> None:
    with running(shop.parent, "shop", "--seed", "1", "--time", "60s") as process:
        read_until(process, "sweep: ")
        directory = data_directory(process)
        pid = postmaster(directory)
        os.kill(pid, signal.SIGKILL)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (2, "")
    # Noticed by the statement under way, or by the next connection.
    assert "\ninterrupted: " in out
    assert "warning: TF902 the run ended early: " in out
    assert "culprit    support" in out
    assert saved(shop) == ["TF101-issues-select-"]
    assert eventually(lambda: gone(pid, directory))


def test_json_of_a_run_cut_short_is_one_document(shop: Path) -> None:
    with running(shop.parent, "shop", "--time", "60s", "--format", "json") as process:
        assert eventually(lambda: watched(process))
        directory = data_directory(process)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=90)
    assert process.returncode == 2
    if out:
        assert json.loads(out)["interrupted"] == "by SIGTERM"
    else:
        assert err == "interrupted\n"
    assert eventually(lambda: not directory.exists())


def test_what_a_run_names_next_works_as_it_stands(shop: Path) -> None:
    folder = shop.parent
    kept = folder / "kept here"
    arguments = ["run", "shop", "--phase", "sweep", "--seed", "1", "--corpus", "kept here"]
    done = run(folder, *arguments)
    assert done.returncode == 1, done.stderr
    assert not (shop / "corpus").exists()
    [file] = kept.iterdir()
    named = re.findall(r"^(?:next:| {5}) (tenantfuzz .*)$", done.stdout, re.MULTILINE)
    assert len(named) == 2
    named += re.findall(r"to repeat: (tenantfuzz .*)$", done.stdout, re.MULTILINE)
    named += re.findall(r"^(?:again     | {10}) (tenantfuzz .*)$", done.stdout, re.MULTILINE)
    outcomes = []
    for line in named:
        words = shlex.split(line)
        again = run(folder, *words[1:])
        outcomes.append((words[1], again.returncode, again.stderr))
        assert "support" in again.stdout or file.stem in again.stdout
    assert outcomes == [
        ("show", 0, ""),
        ("replay", 1, ""),
        ("run", 1, ""),
        ("replay", 1, ""),
        ("show", 0, ""),
    ]


def run(folder: Path, *arguments: object, **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_run_leaves_nothing_but_what_it_found(shop: Path) -> None:
    cache = shop.parent / "cache"
    cache.mkdir()
    done = run(shop, "run", "--max-examples", "2", "--seed", "1", XDG_CACHE_HOME=str(cache))
    assert done.returncode == 1, done.stderr
    assert sorted(p.name for p in shop.iterdir()) == ["corpus", "schema.sql", "tenantfuzz.toml"]
    assert {p.name for p in cache.iterdir()} <= {"tenantfuzz"}


def test_a_file_that_may_not_grow_is_no_loss(shop: Path) -> None:
    """A full disk, as far as one process can be made to see one."""
    program = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "from tenantfuzz import corpus; kept = corpus.save\n"
        "def save(*arguments):\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))\n"
        "    try:\n"
        "        return kept(*arguments)\n"
        "    finally:\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))\n"
        "corpus.save = save\n"
        "sys.argv = ['tenantfuzz', 'run', 'shop', '--phase', 'sweep', '--seed', '1']\n"
        "from tenantfuzz.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=shop.parent,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    text = " ".join(done.stdout.split())
    assert "could not be saved: cannot write" in text
    assert "File too large" in text
    assert "culprit support" in text
    assert list((shop / "corpus").iterdir()) == []


def test_rows_of_nobody_are_not_said_to_be_another_tenants(shop: Path) -> None:
    with (shop / "schema.sql").open("a", encoding="utf-8") as stream:
        stream.write("CREATE TABLE jobs (id int PRIMARY KEY, note text);\n")
        stream.write("GRANT SELECT ON jobs TO ends_app;\n")
    with (shop / "tenantfuzz.toml").open("a", encoding="utf-8") as stream:
        stream.write('[tenancy.tables]\njobs = "private"\n')
    done = run(shop, "run", "--phase", "sweep", "--seed", "1", "--only", "jobs", "--format", "json")
    assert done.returncode == 1, done.stderr
    [finding] = json.loads(done.stdout)["findings"]
    assert finding["title"] == "A member reads rows of no tenant in public.jobs"
    assert finding["owner_tenants"] == []
    assert " reached 1 row of public.jobs that belongs to no tenant. " in finding["explanation"]


def backends(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children]


@pytest.mark.slow
def test_a_server_that_hangs_ends_the_run_with_what_was_found(shop: Path) -> None:
    with running(shop.parent, "shop", "--seed", "1", "--time", "300s") as process:
        read_until(process, "sweep: ")
        directory = data_directory(process)
        pid = postmaster(directory)
        for each in (pid, *backends(pid)):
            os.kill(each, signal.SIGSTOP)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (2, "")
    text = " ".join(out.split())
    # Noticed by the statement under way, or by the next connection.
    assert "interrupted: the server has not answered for 30 s" in text or (
        "interrupted: cannot connect to the scratch database" in text
        and "connection timeout expired" in text
    )
    assert "warning: TF902 the run ended early: " in text
    assert "culprit support" in text
    assert saved(shop) == ["TF101-issues-select-"]
    assert eventually(lambda: gone(pid, directory))


@pytest.mark.slow
def test_a_signal_reaches_a_run_whose_server_hangs(shop: Path) -> None:
    with running(shop.parent, "shop", "--seed", "1", "--time", "300s") as process:
        read_until(process, "sweep: ")
        directory = data_directory(process)
        pid = postmaster(directory)
        for each in (pid, *backends(pid)):
            os.kill(each, signal.SIGSTOP)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (2, "")
    assert "\ninterrupted: by Ctrl-C\n" in out
    assert saved(shop) == ["TF101-issues-select-"]
    assert eventually(lambda: gone(pid, directory))
