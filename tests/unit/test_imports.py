"""Imports point one way: fuzzer → strategies → policies; the two inner packages are pure."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = {"policies": 0, "strategies": 1, "fuzzer": 2}
PURE = ["policies", "strategies"]

# What the inner packages may import: a list of what they may not would never be complete.
STANDARD = {
    "base64",
    "bisect",
    "collections",
    "dataclasses",
    "datetime",
    "decimal",
    "difflib",
    "enum",
    "fnmatch",
    "functools",
    "hashlib",
    "heapq",
    "ipaddress",
    "itertools",
    "json",
    "math",
    "operator",
    "random",
    "re",
    "string",
    "textwrap",
    "types",
    "typing",
    "unicodedata",
    "uuid",
    "zlib",
}
THIRD_PARTY = {"hypothesis", "pydantic", "pydantic_core", "sqlglot"}

# Modules that may be imported hold these doors to the outside.
CALLS = {"open", "print", "input", "exec", "breakpoint", "now", "utcnow", "today", "uuid1", "uuid4"}
OF_RANDOM = {"Random"}  # a generator with a seed; everything else in ``random`` is one global


def modules(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found, f"{folder} has no modules"
    return found


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> Iterator[str]:
    """Every module that is imported, in functions and under TYPE_CHECKING too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module is not None, "relative import"
            yield node.module
            if node.module == "tenantfuzz":
                yield from (f"tenantfuzz.{alias.name}" for alias in node.names)


def layer_of(module: str) -> int | None:
    """The layer of a module of ours; the bare package is no layer but what is taken from it."""
    first, _, rest = module.partition(".")
    if first != "tenantfuzz" or not rest:
        return None
    return LAYERS.get(rest.partition(".")[0], LAYERS["fuzzer"])


def impurities(tree: ast.Module) -> Iterator[str]:
    for module in imported(tree):
        top = module.partition(".")[0]
        if top != "tenantfuzz" and top not in STANDARD | THIRD_PARTY:
            yield f"imports {module}"
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in CALLS:
                yield f"line {node.lineno} calls {name}"
            case ast.Attribute(value=ast.Name(id="random"), attr=name) if name not in OF_RANDOM:
                yield f"line {node.lineno} uses random.{name}"
            case ast.ImportFrom(module="random", names=names):
                yield from (f"imports random.{n.name}" for n in names if n.name not in OF_RANDOM)


def outward(tree: ast.Module, layer: int) -> Iterator[str]:
    for module in imported(tree):
        other = layer_of(module)
        if other is not None and other > layer:
            yield f"imports {module}"


@pytest.mark.parametrize("folder", LAYERS)
def test_imports_point_inwards(folder: str) -> None:
    found = {str(p): list(outward(parsed(p), LAYERS[folder])) for p in modules(folder)}
    assert not {path: wrong for path, wrong in found.items() if wrong}


@pytest.mark.parametrize("folder", PURE)
def test_inner_packages_do_no_io(folder: str) -> None:
    found = {str(p): list(impurities(parsed(p))) for p in modules(folder)}
    assert not {path: wrong for path, wrong in found.items() if wrong}


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("import tenantfuzz.errors", ["imports tenantfuzz.errors"]),
        ("from tenantfuzz import errors", ["imports tenantfuzz.errors"]),
        ("def f():\n from tenantfuzz.wire import X", ["imports tenantfuzz.wire"]),
        ("from tenantfuzz.strategies.plan import Plan", ["imports tenantfuzz.strategies.plan"]),
        ("from tenantfuzz.policies.model import Model", []),
        ("from tenantfuzz import policies", []),
    ],
)
def test_the_direction_is_seen(source: str, wrong: list[str]) -> None:
    assert list(outward(ast.parse(source), LAYERS["policies"])) == wrong


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("import psycopg.sql", ["imports psycopg.sql"]),
        ("from pathlib import Path", ["imports pathlib"]),
        ("import time", ["imports time"]),
        ("import datetime as dt\ndt.datetime.now()", ["line 2 calls now"]),
        ("open('x')", ["line 1 calls open"]),
        ("import random\nrandom.choice([1])", ["line 2 uses random.choice"]),
        ("from random import choice", ["imports random.choice"]),
        ("import random\nrandom.Random(1).choice([1])", []),
        ("import datetime as dt\ndt.datetime(2024, 1, 10)", []),
    ],
)
def test_impurities_are_seen(source: str, wrong: list[str]) -> None:
    assert list(impurities(ast.parse(source))) == wrong


def test_what_the_inner_packages_may_import_exists() -> None:
    assert sys.stdlib_module_names >= STANDARD


@pytest.mark.parametrize("folder", [*LAYERS, "tests"])
def test_modules_stay_small(folder: str) -> None:
    lengths = {str(p): len(p.read_text(encoding="utf-8").splitlines()) for p in modules(folder)}
    assert not {path: lines for path, lines in lengths.items() if lines > 600}
