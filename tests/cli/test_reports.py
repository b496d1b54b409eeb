"""Reports from the outside: every form, every end that a run can come to, files that fail."""

import json
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tenantfuzz.cli import _REPORTS
from tenantfuzz.reports.reporter import suffixes

SCRIPTED = Path(__file__).with_name("scripted.py")
ALL = ("json", "sarif", "xml", "md", "html", "ndjson")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "schema.sql").write_text("CREATE TABLE issues (id int);\n")
    (tmp_path / "tenantfuzz.toml").write_text('[target]\nname = "demo"\nschema = ["schema.sql"]\n')
    return tmp_path


def environment(scenario: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TENANTFUZZ_")}
    return kept | {"COLUMNS": "80", "SCENARIO": scenario}


def run(scenario: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPTED), "run", *arguments],
        cwd=cwd,
        env=environment(scenario),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def asked(*endings: str) -> list[str]:
    return [word for ending in endings for word in ("--report", f"out.{ending}")]


def events(folder: Path) -> list[str]:
    lines = (folder / "out.ndjson").read_text().splitlines()
    return [json.loads(line)["event"] for line in lines]


def outcomes(folder: Path) -> dict[str, list[str]]:
    suite = ET.parse(folder / "out.xml").getroot().find("testsuite")
    assert suite is not None
    tags = ("failure", "error", "skipped")
    return {
        str(case.get("name")): [str(e.get("type")) for e in case if e.tag in tags]
        for case in suite.iter("testcase")
    }


def test_the_command_line_knows_every_form() -> None:
    assert set(_REPORTS) == set(suffixes()) == {f".{ending}" for ending in ALL}


def test_every_form_at_once(folder: Path) -> None:
    done = run("leaks", *asked(*ALL), cwd=folder)
    assert (done.returncode, done.stderr) == (1, "")
    [file] = (folder / "corpus").iterdir()
    assert json.loads((folder / "out.json").read_text())["status"] == "leaks"
    [result] = json.loads((folder / "out.sarif").read_text())["runs"][0]["results"]
    location = result["locations"][0]["physicalLocation"]
    assert location["artifactLocation"]["uri"] == "schema.sql"
    assert outcomes(folder) == {"select[public.issues]": ["TF101"]}
    for text in ((folder / "out.md").read_text(), (folder / "out.html").read_text()):
        assert f"tenantfuzz replay . {file.stem}" in text
        assert "tenantfuzz run . --seed 42" in text
        assert "tenants: A = t1, B = t2" in text  # the story, with its world
    assert events(folder) == [
        "campaign_started",
        "phase_started",
        "progress",
        "finding_found",
        "phase_finished",
        "finding_shrunk",
        "campaign_finished",
    ]
    # Nothing is left behind but what was asked for.
    assert {p.name for p in folder.iterdir()} == {
        "schema.sql", "tenantfuzz.toml", "corpus", *(f"out.{ending}" for ending in ALL),
    }  # fmt: skip


@pytest.mark.parametrize("scenario", ["clean", "untested", "low", "leaks", "part"])
def test_junit_is_green_exactly_where_the_run_is(folder: Path, scenario: str) -> None:
    status = run(scenario, *asked("xml"), cwd=folder).returncode
    bad = [t for types in outcomes(folder).values() for t in types]
    red = [t for t in bad if t not in ("accepted", "unchanged")]
    assert bool(red) == (status != 0)


def test_the_stream_is_written_while_the_run_goes_on(folder: Path) -> None:
    with subprocess.Popen(
        [sys.executable, str(SCRIPTED), "run", *asked(*ALL)],
        cwd=folder,
        env=environment("sleeps"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "ready\n"
        assert events(folder)[-1] == "phase_finished"
        assert not (folder / "out.json").exists()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=90)
    assert process.returncode == 2
    assert events(folder)[-1] == "campaign_finished"
    assert json.loads((folder / "out.json").read_text())["interrupted"] == "Ctrl-C in the sweep"
    assert outcomes(folder) == {"select[public.issues]": ["TF101"], "run[demo]": ["interrupted"]}
    assert "cut short: Ctrl-C in the sweep" in (folder / "out.md").read_text()


@pytest.mark.parametrize(("scenario", "reason"), [("breaks", "is gone"), ("bug", "a fault")])
def test_a_run_that_breaks_off_leaves_no_older_report(
    folder: Path, scenario: str, reason: str
) -> None:
    run("clean", *asked(*ALL), cwd=folder)
    assert outcomes(folder) == {}
    done = run(scenario, *asked(*ALL), cwd=folder)
    assert done.returncode == 2
    assert reason in done.stderr
    assert outcomes(folder) == {"run[demo]": ["interrupted"]}
    document = json.loads((folder / "out.json").read_text())
    assert document["status"] == "inconclusive" and reason in document["interrupted"]
    [invocation] = json.loads((folder / "out.sarif").read_text())["runs"][0]["invocations"]
    assert (invocation["executionSuccessful"], invocation["exitCode"]) == (False, 2)
    assert events(folder)[-1] == "campaign_finished"
    everything = "".join((folder / f"out.{ending}").read_text() for ending in ALL)
    assert "secret" not in everything


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody writes to")
@pytest.mark.parametrize("ending", ALL)
def test_a_report_that_cannot_be_written_costs_nothing_else(folder: Path, ending: str) -> None:
    others = [e for e in ALL if e != ending]
    done = run("leaks", "--report", f"/proc/out.{ending}", *asked(*others), cwd=folder)
    assert done.returncode == 2
    assert "TF101 critical" in done.stdout
    assert done.stderr.startswith(f"error: cannot write /proc/out.{ending}: ")
    assert {p.name for p in folder.glob("out.*")} == {f"out.{e}" for e in others}


def test_a_folder_is_no_report(folder: Path) -> None:
    (folder / "out.md").mkdir()
    done = run("leaks", *asked("md"), cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert "'out.md' is a folder" in done.stderr


def test_a_full_disk(folder: Path) -> None:
    (folder / "out.ndjson").symlink_to("/dev/full")
    done = run("leaks", *asked("ndjson", "md"), cwd=folder)
    assert done.returncode == 2
    assert "TF101 critical" in done.stdout  # what was found is printed all the same
    assert done.stderr.startswith("error: cannot write out.ndjson: No space left on device\nhint: ")
    assert (folder / "out.md").exists()
    assert len(list((folder / "corpus").iterdir())) == 1


def test_a_reader_that_goes_away_costs_no_report(folder: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    for form in ("text", "json"):
        done = subprocess.run(
            [sys.executable, str(SCRIPTED), "run", "--format", form, *asked("xml", "ndjson")],
            cwd=folder,
            env=environment("leaks"),
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (2, "")
        # With text, the run ends where nobody reads on; with JSON, it was over by then.
        case = "run[demo]" if form == "text" else "select[public.issues]"
        assert case in outcomes(folder)
        assert events(folder)[-1] == "campaign_finished"
    os.close(writer)


def test_a_run_of_a_part_says_so(folder: Path) -> None:
    done = run("part", *asked("json", "md"), cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        "tested again: 1 relation of 3, by what changed since main.json\n"
        "  public.issues: policy own changed\n"
    ) in done.stdout
    sentence = "2 relations are unchanged since main.json and were not tested again"
    assert f"clean: no findings\n312 cells: 250 covered, 62 closed, 0 untested\n{sentence}\n" in (
        done.stdout
    )
    assert sentence in (folder / "out.md").read_text()
    assert json.loads((folder / "out.json").read_text())["changed_since"] == {
        "snapshot": "main.json",
        "everything": None,
        "sample": None,
        "tested": [{"relation": "public.issues", "reason": "policy own changed"}],
        "unchanged": ["public.logs", "public.plans"],
    }


def test_a_snapshot_keeps_what_a_run_left_open(folder: Path) -> None:
    run("untested", "--save-snapshot", "s.json", cwd=folder)
    left = json.loads((folder / "s.json").read_text())["left"]
    assert left.pop("public.issues").startswith("had leaked: TF301-issues-insert-")  # accepted
    assert left == {
        "public.plans": "was not tested",
        "public.ledger": "was untested: unclassified: no owner is declared",
    }


def test_a_run_that_was_cut_short_saves_no_snapshot(folder: Path) -> None:
    (folder / "s.json").write_text("old")
    done = run("interrupted", "--save-snapshot", "s.json", cwd=folder)
    assert done.returncode == 2
    assert "s.json is left as it was: the run was cut short" in done.stderr
    assert (folder / "s.json").read_text() == "old"


def test_a_snapshot_that_is_none_is_an_error_before_any_work(folder: Path) -> None:
    (folder / "s.json").write_text("{}")
    done = run("clean", "--changed-since", "s.json", cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: s.json is no snapshot that this version can read\n")
