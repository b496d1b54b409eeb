"""Items of doors in real runs of pytest: outcomes, stories, reports, options."""

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HOLE = "CREATE POLICY support ON issues FOR SELECT USING (true);\n"
DOORS = [
    *(f"{o}[public.issues]" for o in ("select", "insert", "update", "delete")),
    *(f"{o}[public.orgs]" for o in ("select", "insert", "update", "delete")),
]
OWN = "def test_own():\n    pass\n"

Run = Callable[..., Any]  # Any: conftest's Done; tests do not import each other
Make = Callable[..., Path]


def test_a_hole_fails_its_door_and_no_other(run_pytest: Run, make_target: Make) -> None:
    folder = make_target(HOLE, test_own=OWN)
    done = run_pytest(folder, "--tenantfuzz")
    assert done.status == 1, done.output
    expected = dict.fromkeys([*DOORS, "test_own"], "passed")
    assert done.outcomes() == {**expected, "select[public.issues]": "failure"}
    assert "TF101 critical  A member reads rows of another tenant in public.issues" in done.output
    assert "SELECT * FROM public.issues;" in done.output
    assert "culprit    support" in done.output
    assert "Traceback" not in done.output
    assert "FAILED tenantfuzz.toml::select[public.issues] - Leak: TF101" in done.output
    assert "tenantfuzz.toml: 1 finding," in done.output
    assert "seed 0" in done.output
    [identifier] = done.properties("tenantfuzz.finding")
    assert identifier.startswith("TF101-issues-select-")
    assert done.properties("tenantfuzz.severity") == {"critical"}
    # The source tree is left alone: the counterexample is in pytest's cache.
    assert not (folder / "corpus").exists()
    assert (folder / f".pytest_cache/d/tenantfuzz/{identifier}.json").is_file()
    assert f"tenantfuzz replay . {identifier} --corpus .pytest_cache/d/tenantfuzz" in done.output

    again = run_pytest(folder, "--tenantfuzz", "--lf")
    assert again.outcomes() == {"select[public.issues]": "failure"}

    make_target("", test_own=OWN)
    mended = run_pytest(folder, "--tenantfuzz")
    assert mended.status == 0, mended.output
    assert mended.outcomes() == expected


@pytest.mark.slow
def test_workers_find_the_same(run_pytest: Run, make_target: Make) -> None:
    folder = make_target(HOLE, test_own=OWN)
    done = run_pytest(folder, "--tenantfuzz", "-n", "2", "-p", "no:cacheprovider")
    assert done.status == 1, done.output
    expected = dict.fromkeys([*DOORS, "test_own"], "passed")
    assert done.outcomes() == {**expected, "select[public.issues]": "failure"}
    assert "TF101 critical  A member reads rows of another tenant in public.issues" in done.output
    assert "FAILED tenantfuzz.toml::select[public.issues] - Leak: TF101" in done.output
    assert "tenantfuzz.toml: 1 finding," in done.output
    assert "again      " not in done.output  # nothing was saved, so no command could show it


def test_a_path_after_the_flag_is_a_path_of_tests(run_pytest: Run, make_target: Make) -> None:
    folder = make_target(test_own=OWN)
    done = run_pytest(folder, "--tenantfuzz", "tests", "--collect-only", "-q")
    assert done.status == 0, done.output
    lines = done.output.splitlines()
    assert "tests/test_own.py::test_own" in lines
    assert "tenantfuzz.toml::select[public.issues]" in lines
    assert sum(line.startswith("tenantfuzz.toml::") for line in lines) == len(DOORS)


def test_the_ini_key_goes_with_all_tests_and_not_with_some(
    run_pytest: Run, make_target: Make
) -> None:
    folder = make_target(test_own=OWN)
    ini = "[pytest]\ntenantfuzz = .\ntestpaths = tests\n"
    (folder / "pytest.ini").write_text(ini, encoding="utf-8")
    some = run_pytest(folder, "tests", "--collect-only", "-q")
    assert "tenantfuzz.toml::" not in some.output
    chosen = run_pytest(folder, "-k", "delete", "-q")
    assert chosen.status == 0, chosen.output
    assert chosen.outcomes() == {
        "delete[public.issues]": "passed",
        "delete[public.orgs]": "passed",
    }


def test_what_is_untested_is_an_error_until_it_is_accepted(
    run_pytest: Run, make_target: Make
) -> None:
    ledger = """
    CREATE TABLE entries (id int PRIMARY KEY, amount int);
    GRANT SELECT ON entries TO plugin_app;
    """
    folder = make_target(ledger)
    done = run_pytest(folder, "--tenantfuzz", "-k", "entries")
    assert done.status == 1, done.output
    assert done.outcomes()["select[public.entries]"] == "error"
    assert done.outcomes()["insert[public.entries]"] == "passed"  # closed: no privilege
    assert "ERROR tenantfuzz.toml::select[public.entries] - Untested: untested" in done.output
    assert "unclassified" in done.output
    assert "Traceback" not in done.output

    make_target(ledger, '[[accept]]\nrelation = "public.entries"\nreason = "sums of everybody"\n')
    accepted = run_pytest(folder, "--tenantfuzz", "-k", "entries")
    assert accepted.status == 0, accepted.output
    assert accepted.outcomes()["select[public.entries]"] == "skipped"
    assert "sums of everybody" in accepted.output


def test_accepted_and_mild_findings_pass_and_are_told(run_pytest: Run, make_target: Make) -> None:
    reason = '[[accept]]\ncode = "TF101"\nrelation = "public.issues"\nreason = "a public tracker"\n'
    folder = make_target(HOLE, reason)
    done = run_pytest(folder, "--tenantfuzz", "-k", "select and issues")
    assert done.status == 0, done.output
    assert "a public tracker" in done.output

    unique = "ALTER TABLE issues ADD CONSTRAINT title_once UNIQUE (title);\n"
    make_target(unique, '[run]\nfail_on = "critical"\n')
    mild = run_pytest(folder, "--tenantfuzz", "-k", "insert and issues")
    assert mild.status == 0, mild.output
    assert any("TF301" in text for text in mild.properties("tenantfuzz.mild")), mild.output
    assert "does not fail: TF301-issues-insert-" in mild.output


@pytest.mark.slow
def test_saved_counterexamples_are_items(run_pytest: Run, make_target: Make) -> None:
    folder = make_target(HOLE)
    saving = run_pytest(folder, "--tenantfuzz", "--tenantfuzz-save", "-k", "select and issues")
    assert saving.status == 1
    [file] = (folder / "corpus").iterdir()
    name = f"replay[{file.stem}]"
    leaking = run_pytest(folder, "--tenantfuzz", "-k", "replay")
    assert leaking.outcomes() == {name: "failure"}
    assert "culprit    support" in leaking.output

    make_target()
    mended = run_pytest(folder, "--tenantfuzz", "-k", "replay")
    assert mended.outcomes() == {name: "passed"}

    file.write_text("{}", encoding="utf-8")
    broken = run_pytest(folder, "--tenantfuzz", "-k", "replay")
    assert broken.outcomes() == {name: "error"}
    assert "cannot replay" in broken.output


def test_what_is_wrong_with_a_target_is_a_collection_error(
    run_pytest: Run, make_target: Make
) -> None:
    folder = make_target(configuration="[rnu]\n")
    wrong = run_pytest(folder, "--tenantfuzz")
    assert wrong.status == 2
    assert "did you mean" in wrong.output.lower()
    assert "Traceback" not in wrong.output

    make_target("CREATE TABEL x ();\n")
    broken = run_pytest(folder, "--tenantfuzz")
    assert broken.status == 2
    assert "schema.sql" in broken.output
    assert "TABEL" in broken.output
    assert "Traceback" not in broken.output

    nowhere = run_pytest(folder, "--tenantfuzz=nowhere")
    assert nowhere.status == 4
    assert "there is no" in nowhere.output
    ages = run_pytest(folder, "--tenantfuzz", "--tenantfuzz-time=ages")
    assert ages.status == 4
    assert "not a time" in ages.output


def test_a_folder_without_a_file_is_tested_by_convention(
    run_pytest: Run, make_target: Make
) -> None:
    folder = make_target(HOLE, test_own=OWN)
    (folder / "tenantfuzz.toml").unlink()
    done = run_pytest(folder, "--tenantfuzz", "-k", "select or own")
    assert done.outcomes() == {
        "select[public.issues]": "failure",
        "select[public.orgs]": "passed",
        "test_own": "passed",
    }
    assert "assumed [tenancy]" in done.output


@pytest.mark.slow
def test_a_budget_tries_drawn_worlds(run_pytest: Run, make_target: Make) -> None:
    folder = make_target()
    done = run_pytest(folder, "--tenantfuzz", "--tenantfuzz-time=2s", "--tenantfuzz-seed=7")
    assert done.status == 0, done.output
    [line] = [x for x in done.output.splitlines() if x.startswith("tenantfuzz.toml: ")]
    assert "seed 7" in line
    worlds = int(line.partition(" in ")[2].partition(" world")[0].replace(",", ""))
    assert worlds > 3, line


def test_a_run_that_does_not_ask_for_it_loads_nothing(run_pytest: Run, make_target: Make) -> None:
    asked = """
    import sys

    def test_own():
        ours = {m for m in sys.modules if m.partition(".")[0] == "tenantfuzz"}
        assert ours <= {"tenantfuzz", "tenantfuzz.plugin", "tenantfuzz.plugin.hooks"}, ours
        assert not {"psycopg", "sqlglot", "pydantic", "rich"} & set(sys.modules)
    """
    folder = make_target(test_own=textwrap.dedent(asked))
    done = run_pytest(folder, "-p", "no:pytest_postgresql", "-p", "no:postgresql")
    assert done.outcomes() == {"test_own": "passed"}, done.output
