"""The catalogue: which mutants are planted, and what must be found of each."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mutant import Mutant, Subject
from operators import all_mutants

from tenantfuzz.preparation import prepare
from tenantfuzz.target import find_target

ROOT = Path(__file__).parents[2]
TARGETS = ROOT / "corpus" / "targets"
BLIND = Path(__file__).with_name("blind")
CATALOGUE = Path(__file__).with_name("catalogue.toml")


@dataclass(frozen=True, slots=True)
class Planted:
    """A leak in a target: ``extra`` is run after the schema of the target in ``folder``; so is
    ``twin`` for the correct form (None: the schema alone is the correct form)."""

    name: str
    folder: Path
    extra: str
    twin: str | None
    relation: str
    operations: tuple[str, ...]
    codes: tuple[str, ...]


def subject(target: str) -> Subject:
    """A target as operators see it, read from a server of its own."""
    with prepare(find_target(TARGETS / target)) as prepared:
        return Subject(target, prepared.catalog, prepared.model)


def chosen(target: str, made: dict[str, Mutant]) -> Iterator[Planted]:
    """The mutants of the catalogue among those that operators ``made`` of a target.

    Raises ValueError for a name that no operator makes any more.
    """
    for entry in tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))["mutant"]:
        name = entry["name"]
        if name.partition(":")[0] != target:
            continue
        if name not in made:
            raise ValueError(f"{CATALOGUE.name}: no operator makes {name}")
        mutant = made[name]
        yield Planted(
            name=name,
            folder=TARGETS / target,
            extra=mutant.sql,
            twin=mutant.twin_sql,
            relation=entry.get("relation", mutant.relation),
            operations=tuple(entry["operations"]),
            codes=tuple(entry["codes"]),
        )


def planted() -> list[Planted]:
    """The whole catalogue, ready to run."""
    names = tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))["mutant"]
    targets = dict.fromkeys(entry["name"].partition(":")[0] for entry in names)
    return [p for t in targets for p in chosen(t, all_mutants(subject(t)))]


def blind() -> list[Planted]:
    """The planted leaks that were written without a look at the tool, each a small target."""
    found = []
    for folder in sorted(BLIND.iterdir()):
        if not (folder / "expect.toml").is_file():
            continue
        expect = tomllib.loads((folder / "expect.toml").read_text(encoding="utf-8"))
        found.append(
            Planted(
                name=f"blind:{folder.name}",
                folder=folder,
                extra=(folder / "leak.sql").read_text(encoding="utf-8"),
                twin=None,
                relation=expect["relation"],
                operations=tuple(expect["operations"]),
                codes=tuple(expect["codes"]),
            )
        )
    return found
