"""The process of an adapter: within its time, in turn, and gone at the end."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import cast

import pytest

from tenantfuzz.adapters.process import AdapterProcess
from tenantfuzz.adapters.protocol import FaultError

ECHO = """
import json, sys
for line in sys.stdin:
    question = json.loads(line)
    print(json.dumps({"id": question["id"], "rows": [question]}), flush=True)
"""
Start = Callable[..., AdapterProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as running:

        def started(code: str, *, patience: float = 20.0) -> AdapterProcess:
            return running.enter_context(
                AdapterProcess(
                    [sys.executable, "-c", code],
                    folder=tmp_path,
                    environment=os.environ,
                    patience=patience,
                )
            )

        yield started


def answering(answer: str) -> str:
    return f"import sys, time\nfor line in sys.stdin:\n    {answer}\n    sys.stdout.flush()\n"


def is_there(process: int) -> bool:
    """Whether a process still runs (one that is dead and not yet reaped does not)."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def is_gone(process: int) -> bool:
    """Whether it ends by and by: a signal takes its time."""
    deadline = monotonic() + 10
    while is_there(process) and monotonic() < deadline:
        os.sched_yield()
    return not is_there(process)


def test_it_is_asked_again_and_again(start: Start) -> None:
    process = start(ECHO)
    assert process.ask({"op": "list"})["rows"] == [{"id": 1, "op": "list"}]
    assert process.ask({"op": "é"})["rows"] == [{"id": 2, "op": "é"}]


def test_questions_and_answers_may_be_long(start: Start) -> None:
    text = "x" * 3_000_000
    assert start(ECHO).ask({"text": text})["rows"] == [{"id": 1, "text": text}]


def test_its_folder(start: Start, tmp_path: Path) -> None:
    code = answering("print(json.dumps({'rows': [os.getcwd()]}))")
    folder = start(f"import json, os\n{code}").ask({})
    assert folder == {"rows": [str(tmp_path.resolve())]}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("time.sleep(60)", r"did not answer within 0\.3 s"),
        ("sys.stdout.write('{\"rows\"'); sys.stdout.flush(); time.sleep(60)", "did not answer"),
        ("sys.exit(3)", "ended with exit status 3"),
        ("import os; os.kill(os.getpid(), 9)", "was ended by SIGKILL"),
        ("raise KeyError('db')", "exit status 1; it wrote before: KeyError: 'db'"),
        ("print('{connecting …')", "no JSON object .*'{connecting …'"),
        ("print('connecting …'); sys.stdout.flush(); time.sleep(60)", "before: connecting …"),
        ('print(\'{"id": 7, "rows": []}\')', "answered out of order: question 7 in place of 1"),
    ],
)
def test_what_no_adapter_may_do(start: Start, answer: str, words: str) -> None:
    patience = 0.3 if "sleep" in answer else 20.0
    with pytest.raises(FaultError, match=words):
        start(answering(answer), patience=patience).ask({"op": "list"})


def test_what_it_says_unasked_is_a_fault(start: Start) -> None:
    both = "n = json.loads(line)['id']; print(json.dumps({'id': n})); print(json.dumps({'id': 7}))"
    process = start("import json\n" + answering(both))
    assert process.ask({}) == {"id": 1}
    with pytest.raises(FaultError, match=r"nobody asked for|out of order: question 7"):
        process.ask({})


NAMELESS = """
import json, sys
for line in sys.stdin:
    question = json.loads(line)
    answer = {"calls": []} if question["op"] == "list" else {"rows": [question["n"]]}
    if question.get("n") == 2:  # and once more, when somebody else is asking already
        print(json.dumps(answer), flush=True)
        sys.stdin.readline()
    print(json.dumps(answer), flush=True)
"""


def test_answers_without_an_id_are_told_apart(start: Start) -> None:
    process = start(NAMELESS)
    for n in (0, 1, 3):
        assert process.ask({"op": "call", "n": n}) == {"rows": [n]}


def test_a_late_answer_without_an_id_is_not_taken_for_another(start: Start) -> None:
    process = start(NAMELESS)
    assert process.ask({"op": "call", "n": 1}) == {"rows": [1]}
    with pytest.raises(FaultError, match="one answer too many"):
        process.ask({"op": "call", "n": 2})


def test_it_may_greet_before_its_first_answer(start: Start) -> None:
    process = start("print('hello\\n', flush=True)\n" + ECHO)
    assert process.ask({"op": "list"})["rows"] == [{"id": 1, "op": "list"}]


def test_later_it_may_not_talk(start: Start) -> None:
    process = start(answering("print('{\"rows\": []}' if '\"id\":1' in line else 'done')"))
    assert process.ask({}) == {"rows": []}
    with pytest.raises(FaultError, match=r"no JSON object .*'done'"):
        process.ask({})


def test_one_that_ended_before_it_was_asked(start: Start) -> None:
    process = start("import sys; sys.exit('no TENANTFUZZ_DSN')")
    with pytest.raises(FaultError, match="exit status 1; it wrote before: no TENANTFUZZ_DSN"):
        process.ask({"op": "list", "filler": "x" * 1_000_000})


def test_a_flood_on_stderr_holds_nothing_up(start: Start) -> None:
    flood = "sys.stderr.write('x' * 2_000_000); print(json.dumps({'id': json.loads(line)['id']}))"
    process = start("import json\n" + answering(flood))
    assert [process.ask({})["id"] for _ in range(3)] == [1, 2, 3]


def test_no_password_is_shown(start: Start) -> None:
    code = answering("sys.exit('cannot connect to postgresql://app:hunter2@db/app')")
    with pytest.raises(FaultError) as fault:
        start(code).ask({})
    assert "hunter2" not in str(fault.value) and "app:***@db" in str(fault.value)


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FaultError, match="'no-such-command' cannot be started: No such file"):
        AdapterProcess(["no-such-command"], folder=tmp_path, environment={}, patience=1)


BREEDING = """
import json, subprocess, sys
for line in sys.stdin:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(json.dumps({"rows": [child.pid]}), flush=True)
"""
STUBBORN = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for line in sys.stdin:
    print('{"rows": []}', flush=True)
time.sleep(600)
"""


def test_what_it_started_ends_with_it(start: Start) -> None:
    process = start(BREEDING)
    child = cast(list[int], process.ask({})["rows"])[0]
    assert is_there(child)
    process.stop()
    assert is_gone(child) and is_gone(process.group)


def test_one_that_does_not_want_to_end(start: Start) -> None:
    process = start(STUBBORN)
    process.ask({})
    process.stop()
    process.stop()
    assert is_gone(process.group)
