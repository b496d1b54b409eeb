"""The command line around a campaign written by hand (scripted.py): every end it can come to."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTED = Path(__file__).with_name("scripted.py")
HEAD = """\
tenantfuzz 0.1.0: demo (schema 0123456789abcdef) on PostgreSQL 18.6, embedded
seed 42; 12 relations; kinds: member, outsider
note: roles assumed
"""


def environment(scenario: str, **more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TENANTFUZZ_", "NO_COLOR"))}
    return kept | {"COLUMNS": "80", "SCENARIO": scenario} | more


def run(scenario: str, *arguments: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPTED), *arguments],
        cwd=cwd,
        env=environment(scenario, **more),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "schema.sql").write_text("CREATE TABLE issues (id int);\n")
    (tmp_path / "tenantfuzz.toml").write_text('[target]\nname = "demo"\nschema = ["schema.sql"]\n')
    return tmp_path


def test_the_whole_terminal_of_a_clean_run(folder: Path) -> None:
    done = run("clean", "run", cwd=folder)
    assert done.stdout == HEAD + (
        "sweep: 20,000 checks in 2.5 s, 0 findings so far\n"
        "\n"
        "clean: no findings\n"
        "312 cells: 250 covered, 62 closed, 0 untested\n"
        "25,000 checks in 12.5 s (2,000 a second), 40 worlds\n"
        "time: generation 20%, database 60%, oracle 20%\n"
        "seed 42; to repeat: tenantfuzz run . --seed 42\n"
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_whole_terminal_of_a_run_with_untested_cells(folder: Path) -> None:
    done = run("untested", "run", "--time", "5m", "--only", "pub*", cwd=folder)
    identifier = re.search(r"TF301-issues-insert-\w{8}", done.stdout)
    assert identifier is not None
    assert done.stdout == HEAD + (
        "sweep: 20,000 checks in 2.5 s, 0 findings so far\n"
        "\n"
        "inconclusive: no findings\n"
        "312 cells: 250 covered, 54 closed, 8 untested, 1 accepted\n"
        "  untested: unclassified: no owner is declared (8 cells)\n"
        "    public.ledger: select, insert, update, delete (all 2 kinds)\n"
        f"accepted: {identifier.group()}: e-mail is the login name\n"
        "accepted: 1 untested cell of public.x: ok\n"
        "warning: TF901 public.ledger: rows of public.ledger were refused\n"
        "25,000 checks in 12.5 s (2,000 a second), 40 worlds\n"
        "time: generation 20%, database 60%, oracle 20%\n"
        "seed 42; to repeat: tenantfuzz run . --time 300s --only 'pub*' --seed 42\n"
    )
    assert (done.returncode, done.stderr) == (3, "")


def test_a_leak_is_told_saved_and_shown_again(folder: Path) -> None:
    done = run("leaks", "run", cwd=folder)
    assert (done.returncode, done.stderr) == (1, "")
    [file] = (folder / "corpus").iterdir()
    assert "\x1b" not in done.stdout
    assert all(len(line) <= 80 or str(folder) in line for line in done.stdout.splitlines())
    story = done.stdout.partition("so far\n\n")[2].partition("\n\n")[0]
    assert story.startswith("TF101 critical  A member reads rows of another tenant")
    shown = run("", "show", "TF101", cwd=folder)
    assert shown.stdout == story + "\n"
    again = [line for line in story.splitlines() if file.stem in line][1:]
    assert [line.split()[-4:] for line in again] == [
        ["tenantfuzz", "replay", ".", file.stem],
        ["tenantfuzz", "show", file.stem, "--sql"],
    ]


@pytest.mark.parametrize(
    ("scenario", "arguments", "status"),
    [
        ("low", [], 0),
        ("low", ["--fail-on", "low"], 1),
        ("leaks", ["--fail-on", "critical"], 1),
        ("breaks", [], 2),
        ("bug", [], 2),
        ("interrupted", [], 2),
        ("untested", ["--format", "json"], 3),
        ("clean", ["--report", "result.pdf"], 2),
        ("clean", ["--report", "nowhere/result.md"], 2),
        ("clean", ["--save-snapshot", "."], 2),
        ("clean", ["--save-snapshot", "s.json", "--report", "s.json"], 2),
        ("clean", ["--fail-on", "severe"], 2),
        ("clean", ["--phase", "shrink"], 2),
    ],
)
def test_exit_statuses(folder: Path, scenario: str, arguments: list[str], status: int) -> None:
    assert run(scenario, "run", *arguments, cwd=folder).returncode == status


def test_an_interrupted_run_prints_what_it_has(folder: Path) -> None:
    done = run("interrupted", "run", cwd=folder)
    assert "came back  1 row of tenant t2: id = i2\n" in done.stdout
    assert "interrupted: by Ctrl-C\ncells: not known\n" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("form", ["text", "json"])
def test_ctrl_c(folder: Path, form: str) -> None:
    with subprocess.Popen(
        [sys.executable, str(SCRIPTED), "run", "--format", form],
        cwd=folder,
        env=environment("sleeps"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=90)
    assert (process.returncode, err) == (2, "")
    if form == "json":
        assert json.loads(out)["interrupted"] == "Ctrl-C in the sweep"
    else:
        assert "leaks: 1 finding (1 critical)\ninterrupted: Ctrl-C in the sweep\n" in out


def test_a_second_ctrl_c_quits_at_once(folder: Path) -> None:
    with subprocess.Popen(
        [sys.executable, str(SCRIPTED), "run"],
        cwd=folder,
        env=environment("deaf"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline() == "not yet\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 2


def test_json_is_one_document_and_the_report_is_the_same(folder: Path) -> None:
    done = run("leaks", "run", "--format", "json", "--report", "out.json", cwd=folder)
    assert (done.returncode, done.stderr) == (1, "")
    document = json.loads(done.stdout)
    assert document["status"] == "leaks"
    assert document["findings"][0]["corpus_file"].endswith(".json")
    assert json.loads((folder / "out.json").read_text()) == document


def test_errors_go_to_stderr_without_a_password_or_a_traceback(folder: Path) -> None:
    done = run("breaks", "run", "--format", "json", cwd=folder)
    assert done.stdout == ""
    assert done.stderr == ("error: the server at postgresql://u:***@h/db is gone\nhint: start it\n")
    fault = run("bug", "run", "--format", "json", cwd=folder)
    assert fault.stderr.startswith("error: internal error: ValueError: a fault\nhint: ")
    debugged = run("bug", "run", cwd=folder, TENANTFUZZ_DEBUG="1")
    assert debugged.returncode == 2
    assert "Traceback (most recent call last)" in debugged.stderr


def test_flags_come_before_the_file_and_the_file_before_defaults(folder: Path) -> None:
    file = folder / "options"
    run("clean", "run", cwd=folder, OPTIONS_FILE=str(file))
    assert file.read_text() == (
        "Options(seconds=60.0, max_examples=None, seed=None, phases=('replay', 'sweep', 'fuzz'), "
        "only=None, shrink=True, corpus=None, fail_on=<Severity.MEDIUM: 'medium'>, strict=False, "
        "engine=None, server_dsn=None, postgres=None, save=True, changed_since=None, "
        "structure=False)"
    )
    with (folder / "tenantfuzz.toml").open("a") as stream:
        stream.write('[run]\ntime = "5m"\nseed = 7\nfail_on = "low"\nstrict = true\n')
    run("clean", "run", cwd=folder, OPTIONS_FILE=str(file))
    text = file.read_text()
    assert "seconds=300.0, max_examples=None, seed=7," in text
    assert "'low'>, strict=True" in text
    flags = ["--max-examples", "9", "--seed", "8", "--phase", "fuzz", "--phase", "sweep"]
    flags += ["--server", "env:SCRATCH", "--fail-on", "high", "--no-shrink", "--corpus", "kept"]
    run("clean", "run", *flags, cwd=folder, OPTIONS_FILE=str(file), SCRATCH="host=h")
    text = file.read_text()
    assert "seconds=None, max_examples=9, seed=8, phases=('sweep', 'fuzz')" in text
    assert "shrink=False, corpus=PosixPath('kept'), fail_on=<Severity.HIGH: 'high'>" in text
    assert "engine='server', server_dsn='host=h'" in text


def test_a_reader_that_goes_away_is_no_error(folder: Path) -> None:
    for arguments in (["run"], ["explain"], ["explain", "TF101"], ["run", "--format", "json"]):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            [sys.executable, str(SCRIPTED), *arguments],
            cwd=folder,
            env=environment("leaks"),
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
        os.close(writer)
        assert done.stderr == "", arguments
        assert done.returncode == 2, arguments


@pytest.mark.parametrize(
    ("scenario", "status"), [("fixed", 0), ("still leaks", 1), ("cannot replay", 3)]
)
def test_replay(folder: Path, scenario: str, status: int) -> None:
    empty = run(scenario, "replay", cwd=folder)
    assert empty.returncode == 0
    assert empty.stdout.startswith("nothing to replay: ")
    run("leaks", "run", cwd=folder)
    [file] = (folder / "corpus").iterdir()
    done = run(scenario, "replay", "TF101", cwd=folder)
    assert done.returncode == status
    lines = done.stdout.splitlines()
    assert lines[0] == "fixed          TF101-a"
    assert lines[1:] == (
        [] if scenario == "fixed" else [f"{scenario.ljust(15)}{file.stem}: no table issues"]
    )
    document = json.loads(run(scenario, "replay", "--format", "json", cwd=folder).stdout)
    assert document["status"] == scenario
    assert run(scenario, "replay", ".", "TF9", cwd=folder).returncode == 2


def terminal(folder: Path, **more: str) -> tuple[str, int]:
    """The same run on a terminal: what was sent to it, and the exit status."""
    main, side = pty.openpty()
    with subprocess.Popen(
        [sys.executable, str(SCRIPTED), "run"],
        cwd=folder,
        env=environment("leaks", TERM="xterm-256color", **more),
        stdout=side,
        stderr=side,
    ) as process:
        os.close(side)
        sent = b""
        while True:
            try:
                chunk = os.read(main, 65536)
            except OSError:  # what Linux says when the other side is closed
                break
            if not chunk:
                break
            sent += chunk
        os.close(main)
    return sent.decode(), process.returncode


def test_a_terminal_has_colours_and_live_lines_that_go_away(folder: Path) -> None:
    sent, status = terminal(folder)
    assert status == 1
    assert "\x1b[1;31mTF101 critical" in sent
    assert "2,000 checks (2,000 a second), 100 of 312 cells, 0 findings" in sent
    assert sent.count("\x1b[?25l") == sent.count("\x1b[?25h") == 1, "the cursor comes back"
    assert "cells, " not in sent.partition("\x1b[?25h")[2]


def test_no_color_is_respected(folder: Path) -> None:
    sent, _ = terminal(folder, NO_COLOR="1")
    assert not re.search(r"\x1b\[[\d;]*3[0-7][;m]", sent)


def test_explanations_do_not_load_what_they_do_not_need(folder: Path) -> None:
    for arguments in (["explain", "TF101"], ["--help"]):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "tenantfuzz", *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
        loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert "tenantfuzz.cli" in loaded
        for heavy in ("hypothesis", "psycopg", "sqlglot", "tenantfuzz.campaign"):
            assert heavy not in loaded, (arguments, heavy)
