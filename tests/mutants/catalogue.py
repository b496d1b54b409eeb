"""The catalogue: which mutants are planted, and what must be found of each."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mutant import Mutant, Subject
from operators import all_mutants

from tenantfuzz.preparation import prepare
from tenantfuzz.target import find_target

ROOT = Path(__file__).parents[2]
TARGETS = ROOT / "corpus" / "targets"
BLIND = Path(__file__).with_name("blind")
SHAPES = Path(__file__).with_name("shapes")
LEVELS = ("api", "dml", "sql")
CATALOGUE = Path(__file__).with_name("catalogue.toml")

Entry = dict[str, Any]  # a TOML table


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
    missed: str | None = None  # why it is known not to be found
    attacker: str | None = None  # the level to run at, where it is not the target's own
    leaky: bool = True  # False where nothing is planted: ``twin`` is all there is to run


def subject(target: str) -> Subject:
    """A target as operators see it, read from a server of its own."""
    with prepare(find_target(TARGETS / target)) as prepared:
        return Subject(target, prepared.catalog, prepared.model)


def entries(kind: str) -> list[Entry]:
    """The entries of the catalogue: of ``mutant`` or of ``equivalent``."""
    found: list[Entry] = tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))[kind]
    return found


def target_of(entry: Entry) -> str:
    """The target that an entry is about."""
    return str(entry["name"]).partition(":")[0]


def resolve(entry: Entry, made: Mapping[str, Mutant]) -> Planted:
    """What an entry names, among the mutants that operators ``made`` of its target.

    Raises ValueError for a name that no operator makes any more.
    """
    if entry["name"] not in made:
        raise ValueError(f"{CATALOGUE.name}: no operator makes {entry['name']}")
    mutant = made[entry["name"]]
    leaky = "operations" in entry
    return Planted(
        name=mutant.name,
        folder=TARGETS / mutant.target,
        extra=mutant.sql,
        twin=mutant.twin_sql if leaky else mutant.sql,
        relation=entry.get("relation", mutant.relation),
        operations=tuple(entry.get("operations", ())),
        codes=tuple(entry.get("codes", ())),
        missed=entry.get("missed"),
        leaky=leaky,
    )


def planted(kind: str = "mutant") -> list[Planted]:
    """All entries of that kind, ready to run."""
    found = entries(kind)
    made: dict[str, Mutant] = {}
    for target in dict.fromkeys(map(target_of, found)):
        made |= all_mutants(subject(target))
    return [resolve(entry, made) for entry in found]


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


def shapes() -> list[Planted]:
    """The planted leaks that only further shapes, levels or chains show, each at its level."""
    entries = tomllib.loads((SHAPES / "leaks.toml").read_text(encoding="utf-8"))["leak"]
    return [
        Planted(
            name=f"shapes:{entry['name']}",
            folder=SHAPES,
            extra=entry["sql"],
            twin=None,
            relation=entry["relation"],
            operations=tuple(entry["operations"]),
            codes=tuple(entry["codes"]),
            attacker=entry["needs"],
        )
        for entry in entries
    ]
