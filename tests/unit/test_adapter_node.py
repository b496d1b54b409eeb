"""The library for Node: it answers in the protocol, whatever the code prints, throws or returns."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tenantfuzz.adapters import process
from tenantfuzz.adapters.process import AdapterProcess
from tenantfuzz.adapters.protocol import Declared, FaultError, listed

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed")
LIBRARY = Path(process.__file__).parent / "node" / "index.mjs"
DSN = "postgresql://postgres@localhost/scratch?host=%2Ftmp%2Fs&port=5433"

PROGRAM = """
const { serve, connection, currentPrincipal, formData } = await import(process.env.LIBRARY);
class QueryError extends Error {
  constructor(message, cause) { super(message); this.cause = cause; }
}
console.log("loading");
process.stdout.write("no newline");
const later = () => new Promise((done) => setImmediate(done));
const circle = {}; circle.self = circle;
const calls = {
  echo: { params: { q: "text" }, kinds: ["admin"], writes: ["issues"],
          run: ({ args, principal }) => [{ ...args, tenant: principal.tenant }] },
  plain: async () => { console.log("working"); return { n: 3n, at: new Date(0) }; },
  nothing: () => undefined,
  bytes: () => [Buffer.from("cnry", "utf8"), Uint8Array.of(255, 1)],
  collections: () => [new Map([["a", 1]]), new Set([1]), NaN, () => 1],
  circle: () => circle,
  where: ({ db }) => db,
  deep: async () => { await later(); return currentPrincipal().user; },
  form: ({ args }) => [...formData(args).entries()],
  response: () => new Response("body", { status: 403 }),
  throws: () => { throw new TypeError("no such thing"); },
  throwsText: () => { throw "text"; },
  refused: () => {
    const cause = Object.assign(new Error("duplicate key"), { code: "23505", detail: "Key (a)" });
    throw new QueryError("Failed query: select 1", cause);
  },
  redirects: () => { throw Object.assign(new Error("x"), { digest: "NEXT_REDIRECT;/home" }); },
  notFound: () => { throw Object.assign(new Error("x"), { digest: "NEXT_HTTP_ERROR;404" }); },
  floating: async () => { Promise.reject(new Error("nobody waits")); await later(); },
};
await serve({ calls, connect: (settings) => settings, close: () => console.error("closed") });
"""
Ask = Callable[..., Mapping[str, object]]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdapterProcess]:
    with ExitStack() as running:
        yield running.enter_context(started(tmp_path_factory.mktemp("node"), PROGRAM))


def started(folder: Path, program: str) -> AdapterProcess:
    (folder / "adapter.mjs").write_text(program)
    return AdapterProcess(
        [NODE or "node", "adapter.mjs"],
        folder=folder,
        environment={**os.environ, "LIBRARY": str(LIBRARY), "TENANTFUZZ_DSN": DSN},
        patience=20,
    )


def call(process: AdapterProcess, name: str, args: object = None) -> object:
    principal = {"tenant": "t-1", "user": "u-1"}
    answer = process.ask({"op": "call", "name": name, "args": args or {}, "principal": principal})
    assert set(answer) == {"id", "rows"} or set(answer) == {"id", "error"}
    return answer.get("rows", answer.get("error"))


def test_it_lists_what_it_offers(asked: AdapterProcess) -> None:
    calls = listed(asked.ask({"op": "list"}))
    assert calls[0] == Declared("echo", {"q": "text"}, ("admin",), ("issues",))
    assert calls[1] == Declared("plain", {})


@pytest.mark.parametrize(
    ("name", "args", "rows"),
    [
        ("echo", {"q": "é\n"}, [{"q": "é\n", "tenant": "t-1"}]),
        ("plain", {}, [{"n": "3", "at": "1970-01-01T00:00:00.000Z"}]),
        ("nothing", {}, []),
        ("bytes", {}, ["cnry", "ff01"]),
        ("collections", {}, [{"a": 1}, [1], "NaN", "() => 1"]),
        (
            "where",
            {},
            [{"host": "/tmp/s", "port": 5433, "user": "postgres", "database": "scratch"}],
        ),
        ("deep", {}, ["u-1"]),
        (
            "form",
            {"a": [1, 2], "b": None, "c": {"d": 1}},
            [["a", "1"], ["a", "2"], ["c", '{"d":1}']],
        ),
        ("response", {}, [{"status": 403, "body": "body"}]),
        ("redirects", {}, [{"redirect": "NEXT_REDIRECT;/home"}]),
    ],
)
def test_rows(asked: AdapterProcess, name: str, args: object, rows: object) -> None:
    assert call(asked, name, args) == rows


@pytest.mark.parametrize(
    ("name", "code", "message", "detail"),
    [
        ("throws", "TypeError", "no such thing", ""),
        ("throwsText", "Error", "text", ""),
        ("refused", "23505", "Failed query: select 1", "duplicate key\nKey (a)"),
        ("notFound", "NEXT_HTTP_ERROR;404", "x", ""),
        ("circle", "Error", "the result holds itself, or is nested too deeply", ""),
        ("missing", "PROTOCOL", "there is no call missing", None),
    ],
)
def test_errors(
    asked: AdapterProcess, name: str, code: str, message: str, detail: str | None
) -> None:
    expected = {"code": code, "message": message, "detail": detail}
    assert call(asked, name) == {k: v for k, v in expected.items() if v is not None}


def test_code_that_does_not_wait_ends_it(tmp_path: Path) -> None:
    with started(tmp_path, PROGRAM) as process, pytest.raises(FaultError) as fault:
        call(process, "floating")
    assert "it ended with exit status 1" in str(fault.value)
    assert "Error: nobody waits" in str(fault.value)


def test_it_ends_with_its_stdin(tmp_path: Path) -> None:
    with started(tmp_path, PROGRAM) as process:
        assert call(process, "nothing") == []
        process.stop()
    assert b"closed" in process._tail


def test_a_call_that_is_no_function(tmp_path: Path) -> None:
    program = PROGRAM.replace("nothing: () => undefined", "nothing: 3")
    with started(tmp_path, program) as process, pytest.raises(FaultError) as fault:
        process.ask({"op": "list"})
    assert "calls.nothing: expected a function, or an object with run" in str(fault.value)
