"""Imports point one way: fuzzer → strategies → policies; the two inner packages are pure."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = {"policies": 0, "strategies": 1, "fuzzer": 2}
IMPURE = {
    "asyncio",
    "io",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "psycopg",
    "rich",
    "secrets",
    "shutil",
    "signal",
    "socket",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "typer",
    "urllib",
}
# Files, terminals, clocks, and the random source that all of a process share.
IMPURE_CALLS = {
    "open",
    "print",
    "input",
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
    "random.SystemRandom",
    "uuid.uuid1",
    "uuid.uuid4",
    *(f"random.{name}" for name in ("random", "randint", "choice", "sample", "shuffle", "seed")),
}


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imported(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module is not None, "relative import"
            if node.module == "tenantfuzz":
                # What is named may be a module itself.
                yield from (f"tenantfuzz.{alias.name}" for alias in node.names)
            else:
                yield node.module


def called(source: str) -> Iterator[str]:
    """The last two words of what is called: ``open``, ``datetime.now``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            yield ".".join(ast.unparse(node.func).split(".")[-2:])


def layer_of(module: str) -> int | None:
    """The layer of a module of the project; None for all others."""
    first, _, rest = module.partition(".")
    if first != "tenantfuzz":
        return None
    return LAYERS.get(rest.partition(".")[0], LAYERS["fuzzer"])


def outward(source: str, folder: str) -> list[str]:
    """The imports of a module of ``folder`` that point outwards."""
    found = []
    for module in imported(source):
        layer = layer_of(module)
        if layer is not None and layer > LAYERS[folder]:
            found.append(module)
    return found


def impurities(source: str) -> list[str]:
    found = [m for m in imported(source) if m.partition(".")[0] in IMPURE]
    return found + [c for c in called(source) if c in IMPURE_CALLS]


@pytest.mark.parametrize("folder", LAYERS)
def test_imports_point_inwards(folder: str) -> None:
    found = modules(folder)
    assert found
    for path in found:
        assert not outward(path.read_text(encoding="utf-8"), folder), path


@pytest.mark.parametrize("folder", ["policies", "strategies"])
def test_inner_packages_do_no_io(folder: str) -> None:
    for path in modules(folder):
        assert not impurities(path.read_text(encoding="utf-8")), path


def test_the_model_draws_nothing() -> None:
    for path in modules("policies"):
        names = {m.partition(".")[0] for m in imported(path.read_text(encoding="utf-8"))}
        assert not names & {"hypothesis", "random"}, path


@pytest.mark.parametrize("folder", [*LAYERS, "tests"])
def test_modules_stay_small(folder: str) -> None:
    for path in modules(folder):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 600, f"{path} has {lines} lines"


@pytest.mark.parametrize(
    ("source", "folder", "found"),
    [
        ("import tenantfuzz.stage", "policies", ["tenantfuzz.stage"]),
        ("from tenantfuzz import cli", "strategies", ["tenantfuzz.cli"]),
        ("from tenantfuzz.strategies.reads import x", "policies", ["tenantfuzz.strategies.reads"]),
        ("def f():\n    import tenantfuzz.wire", "strategies", ["tenantfuzz.wire"]),
        ("from tenantfuzz.policies.model import Model", "policies", []),
        ("from tenantfuzz.policies import model", "strategies", []),
        ("from tenantfuzz.strategies.reads import x", "fuzzer", []),
        ("import tenantfuzzy", "policies", []),
    ],
)
def test_what_points_outwards_is_seen(source: str, folder: str, found: list[str]) -> None:
    assert outward(source, folder) == found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import os.path", ["os.path"]),
        ("from psycopg import sql", ["psycopg"]),
        ("import datetime as dt\ndt.datetime.now(dt.UTC)", ["datetime.now"]),
        ("open('x')", ["open"]),
        ("import random\nrandom.choice([1])", ["random.choice"]),
        ("import random\nrandom.Random(7).choice([1])", []),
        ("import datetime as dt\ndt.datetime(2024, 1, 1)", []),
    ],
)
def test_what_is_impure_is_seen(source: str, found: list[str]) -> None:
    assert impurities(source) == found
