"""Imports point one way: fuzzer → strategies → policies; the two inner packages are pure."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = {"policies": 0, "strategies": 1, "fuzzer": 2}
IMPURE = {
    "psycopg",
    "socket",
    "subprocess",
    "time",
    "os",
    "pathlib",
    "shutil",
    "tempfile",
    "urllib",
    "typer",
    "rich",
}


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{path}: relative import"
            yield node.module


def layer_of(module: str) -> int | None:
    if not module.startswith("tenantfuzz"):
        return None
    part = module.split(".")[1] if "." in module else ""
    return LAYERS.get(part, LAYERS["fuzzer"])


@pytest.mark.parametrize("folder", LAYERS)
def test_imports_point_inwards(folder: str) -> None:
    found = modules(folder)
    assert found
    for path in found:
        for module in imported(path):
            layer = layer_of(module)
            assert layer is None or layer <= LAYERS[folder], f"{path} imports {module}"


@pytest.mark.parametrize("folder", ["policies", "strategies"])
def test_inner_packages_do_no_io(folder: str) -> None:
    for path in modules(folder):
        for module in imported(path):
            assert module.split(".")[0] not in IMPURE, f"{path} imports {module}"


@pytest.mark.parametrize("folder", [*LAYERS, "tests"])
def test_modules_stay_small(folder: str) -> None:
    for path in modules(folder):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 600, f"{path} has {lines} lines"
