"""Application code behind an adapter: leaks are found, made small, saved and replayed; code that
does as it should is quiet and covered; what cannot be judged is said to be untested."""

import os
import sys
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import psycopg
import pytest

from tenantfuzz.campaign import Options, replay, run_campaign
from tenantfuzz.corpus import load
from tenantfuzz.engines import Server, start_embedded
from tenantfuzz.events import CampaignFinished, Event, PhaseFinished
from tenantfuzz.findings import Finding
from tenantfuzz.policies.configuration import Adapter
from tenantfuzz.script import psql_script
from tenantfuzz.target import Target, find_target

HERE = Path(__file__).parent
QUIET = Options(seed=1, phases=("sweep",), only="desk.*", shrink=False, save=False)


def desk(form: str, **more: object) -> Target:
    target = find_target(HERE.parent / "applications" / "desk")
    command = [sys.executable, str(HERE / "desk_adapter.py"), form]
    adapter = Adapter.model_validate({"name": "desk", "command": command, **more})
    configuration = target.configuration.model_copy(update={"adapters": (adapter,)})
    return replace(target, configuration=configuration)


def run(target: Target, options: Options = QUIET) -> CampaignFinished:
    *_, finished = run_campaign(target, options)
    assert isinstance(finished, CampaignFinished)
    return finished


def untested(finished: CampaignFinished) -> Mapping[str, str]:
    return {c.relation: c.reason for c in finished.coverage.untested}


def codes(finished: CampaignFinished) -> set[tuple[str, str]]:
    return {(f.relation.removeprefix("desk."), f.code) for f in finished.findings}


def test_code_that_does_it_right_is_quiet_and_covered() -> None:
    finished = run(desk("right"))
    assert [(f.id, f.explanation, f.observed, f.expected) for f in finished.findings] == []
    assert untested(finished) == {}
    assert finished.status == "clean"


def test_every_call_that_forgets_the_organisation_is_found() -> None:
    found = codes(run(desk("wrong")))
    reading = {(call, "TF501") for call in ("list", "get", "count", "search", "rename")}
    assert found == reading | {("rename", "TF502")}


def test_the_statement_that_a_call_sent_is_named_and_its_mend_was_tried() -> None:
    (found,) = run(desk("wrong"), replace(QUIET, only="desk.search")).findings
    assert "It sent: SELECT id FROM tickets WHERE subject ILIKE '%' || $1 || '%' AND TRUE. " in (
        found.explanation
    )
    assert "tickets carries no condition on its tenant" in found.explanation
    assert found.mend == (
        "Add to WHERE: AND tickets.org_id = :tenant. Tried by calling it with that statement "
        "changed: the leak is gone."
    )


def test_a_leak_is_made_small_saved_and_replayed(tmp_path: Path) -> None:
    options = replace(QUIET, only="desk.rename", shrink=True, save=True, corpus=tmp_path)
    by_code = {f.code: f for f in run(desk("wrong"), options).findings}
    written: Finding = by_code["TF502"]
    assert written.minimal and written.operation == "query"
    (statement,) = written.statements
    assert statement.startswith('desk.rename({"ticketId": "')
    assert "a row of tenant id-2 was changed in public.tickets" in written.observed
    assert written.corpus_file is not None
    text = psql_script(load(Path(written.corpus_file)), desk("wrong"))
    assert f"-- No SQL of this script's can do it: call {statement}" in text
    assert f"\n{statement}" not in text
    results = list(replay(desk("wrong"), corpus=tmp_path))
    assert {r.verdict for r in results} == {"still leaks"} and len(results) == 2
    assert {r.verdict for r in replay(desk("right"), corpus=tmp_path)} == {"fixed"}
    (gone, _) = replay(desk("chance"), corpus=tmp_path)
    assert (gone.verdict, gone.reason) == (
        "cannot replay",
        "the target has no query 'desk.rename' any more",
    )


def test_what_comes_by_chance_is_no_leak_and_what_never_asks_is_untested() -> None:
    finished = run(desk("chance"))
    assert finished.findings == ()
    assert untested(finished) == {
        "desk.constant": "its answers never depended on a row of the world: does it connect to "
        "TENANTFUZZ_DSN?"
    }


@pytest.mark.slow
def test_what_a_process_keeps_hides_no_leak(tmp_path: Path) -> None:
    options = replace(QUIET, save=True, corpus=tmp_path)
    (found,) = run(desk("keeps wrong"), options).findings
    assert (found.relation, found.code) == ("desk.kept", "TF501")
    assert [r.verdict for r in replay(desk("keeps wrong"), corpus=tmp_path)] == ["still leaks"]
    assert [r.verdict for r in replay(desk("keeps right"), corpus=tmp_path)] == ["fixed"]
    finished = run(desk("keeps right"))
    assert (finished.findings, untested(finished), finished.status) == ((), {}, "clean")


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ("hangs", "it did not answer within 0.5 s, when called with {}"),
        ("dies", "it ended with exit status 1; it wrote before: out of memory, when called with"),
        ("garbage", "it wrote a line to stdout that is no JSON object"),
        pytest.param(
            "late", "it answered out of order: question 0 in place of", marks=pytest.mark.slow
        ),
        pytest.param(
            "leaves",
            "it left a transaction open, or a statement running",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_call_that_fails_its_adapter_is_untested_and_the_rest_goes_on(
    form: str, reason: str
) -> None:
    finished = run(desk(form, timeout="0.5s"))
    assert finished.findings == ()
    assert finished.status == "inconclusive"
    ((name, said),) = untested(finished).items()
    assert name == "desk.misbehave" and said.startswith(reason)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (["no-such-command"], "'no-such-command' cannot be started: No such file or directory"),
        ([sys.executable, "-c", "import desk_of_mine"], "ModuleNotFoundError: No module named"),
        ([sys.executable, "-c", "print('{}'); input()"], 'it must answer list with {"calls"'),
        (
            [
                sys.executable,
                "-c",
                """input(); print('{"calls": [{"name": "a", "params": {"q": "tickets.no"}}]}')""",
            ],
            "a: q: 'tickets.no' is neither a type nor a column",
        ),
    ],
)
def test_an_adapter_that_does_not_work_is_untested(command: list[str], reason: str) -> None:
    target = desk("right", command=command)
    finished = run(target, replace(QUIET, only="desk*"))
    ((name, said),) = untested(finished).items()
    assert name == "desk" and said.startswith("it cannot run: ") and reason in said
    assert any(w.code == "TF907" and reason in w.message for w in finished.warnings)


def mine(folder: Path) -> list[str]:
    """The processes that run in ``folder``."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and (process / "cwd").resolve() == folder.resolve():
                state = (process / "stat").read_text().rpartition(")")[2].split()[0]
                found += [process.name] if state != "Z" and int(process.name) != os.getpid() else []
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with start_embedded() as running:
        yield running


@pytest.mark.parametrize("ending", [KeyboardInterrupt, GeneratorExit])
def test_nothing_is_left_when_a_campaign_is_stopped(
    server: Server, tmp_path: Path, ending: type[BaseException]
) -> None:
    target = replace(desk("breeds"), root=tmp_path)
    original = find_target(HERE.parent / "applications" / "desk").root
    (tmp_path / "schema.sql").write_text((original / "schema.sql").read_text())
    options = replace(QUIET, engine="server", server_dsn=server.conninfo("postgres"))
    events = cast(Generator[Event, None, None], run_campaign(target, options))
    for event in events:
        if isinstance(event, PhaseFinished) or mine(tmp_path):
            break
    assert mine(tmp_path)
    if ending is KeyboardInterrupt:
        with pytest.raises(StopIteration):
            events.throw(KeyboardInterrupt())
            while True:
                next(events)
    else:
        events.close()
    assert mine(tmp_path) == []
    with psycopg.connect(server.conninfo("postgres")) as connection:
        names = connection.execute("SELECT datname FROM pg_database").fetchall()
    assert sorted(n for (n,) in names) == ["postgres", "template0", "template1"]
