"""Whatever leak is planted: a run of what changed since a snapshot of the twin tests its place."""

from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest
from catalogue import Planted, blind, entries, resolve, shapes, subject
from mutant import Mutant
from operators import all_mutants

from tenantfuzz.changes import select
from tenantfuzz.preparation import prepare
from tenantfuzz.snapshot import Snapshot, save_snapshot
from tenantfuzz.snapshot_reading import read_snapshot
from tenantfuzz.target import find_target

pytestmark = pytest.mark.slow

Twin = Callable[[Path, str | None], Snapshot]
FILES = {leak.name: leak for leak in (*blind(), *shapes())}


@pytest.fixture(scope="module")
def made() -> dict[str, Mutant]:
    return all_mutants(subject("saas-guc")) | all_mutants(subject("pinball"))


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Twin:
    scratch = tmp_path_factory.mktemp("twins")

    @cache
    def snapshot(folder: Path, extra: str | None) -> Snapshot:
        found = read(folder, extra, scratch)
        return replace(found, covered=frozenset(found.depends))

    return snapshot


def read(folder: Path, extra: str | None, scratch: Path) -> Snapshot:
    file = scratch / "extra.sql"
    file.write_text(f"{extra or ''}\n", encoding="utf-8")
    target = find_target(folder)
    section = target.configuration.target
    section = section.model_copy(update={"sources": (*section.sources, str(file))})
    configuration = target.configuration.model_copy(update={"target": section})
    with prepare(replace(target, configuration=configuration)) as prepared:
        return read_snapshot(prepared)


def check(leak: Planted, twin: Twin, folder: Path) -> None:
    new = read(leak.folder, leak.extra, folder)
    where = {name for name in new.depends if fnmatchcase(name, leak.relation)}
    if not where:
        pytest.skip("a function or a query: those are tested in every run")
    file = folder / "twin.json"
    save_snapshot(twin(leak.folder, leak.twin), file)
    selection = select(file, new, seed=1)
    tested = {relation for relation, _ in selection.tested if relation != selection.sample}
    assert tested & where


@pytest.mark.parametrize("name", [entry["name"] for entry in entries("mutant")])
def test_the_place_of_a_mutant_is_tested(
    name: str, made: dict[str, Mutant], twin: Twin, tmp_path: Path
) -> None:
    [entry] = [entry for entry in entries("mutant") if entry["name"] == name]
    check(resolve(entry, made), twin, tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_the_place_of_a_leak_is_tested(name: str, twin: Twin, tmp_path: Path) -> None:
    check(FILES[name], twin, tmp_path)
