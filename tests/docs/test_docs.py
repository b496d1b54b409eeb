"""The examples in the documents hold: configurations parse, commands and flags exist."""

import re
import tomllib
from pathlib import Path

import pytest
import typer.main

from tenantfuzz.cli import app
from tenantfuzz.policies.configuration import parse_configuration

ROOT = Path(__file__).parents[2]
DOCUMENTS = ["README.md", "CONTRIBUTING.md"]


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands() -> list[str]:
    lines = [
        line.removeprefix("$ ").partition("#")[0].strip()
        for document in DOCUMENTS
        for block in blocks(document, "console")
        for line in block.splitlines()
    ]
    return [line for line in lines if line]


def test_configurations_parse() -> None:
    found = blocks("README.md", "toml")
    assert found
    for block in found:
        parse_configuration(tomllib.loads(block), source="README.md")


@pytest.mark.parametrize("line", [c for c in commands() if c.startswith("tenantfuzz ")])
def test_commands_exist(line: str) -> None:
    group = typer.main.get_group(app)
    _, name, *arguments = line.split()
    command = group.commands.get(name)
    assert command is not None, f"there is no command {name}"
    flags = {o for p in command.params for o in p.opts}
    for argument in arguments:
        assert not argument.startswith("--") or argument in flags, f"{name} has no {argument}"


@pytest.mark.parametrize("line", [c for c in commands() if c.startswith("make ")])
def test_make_verbs_exist(line: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    verb = line.split()[1]
    assert re.search(rf"^{verb}:", makefile, re.MULTILINE), f"there is no make {verb}"
