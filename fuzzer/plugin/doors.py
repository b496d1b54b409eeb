"""Doors: what becomes a test item. A new sort of door is one more function in ``SORTS``."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tenantfuzz import corpus as corpus_files
from tenantfuzz.coverage import Ledger
from tenantfuzz.policies.structure import Operation, RelationName
from tenantfuzz.preparation import Prepared
from tenantfuzz.replaying import corpus_folder


class Sort(StrEnum):
    """What is done at a door."""

    RELATION = "relation"  # an operation on a relation
    QUERY = "query"  # an application query
    LISTED = "listed"  # only the coverage speaks of it: functions
    REPLAY = "replay"  # a saved counterexample


@dataclass(frozen=True, slots=True)
class Door:
    """One test item: an operation at a relation, function or query, or a corpus file.

    ``where`` and ``operation`` are those of coverage cells and findings. ``group`` names the doors
    that are tried together.
    """

    sort: Sort
    operation: str
    where: str
    relation: RelationName | None = None
    file: Path | None = None

    @property
    def name(self) -> str:
        """The item's name: ``select[public.issues]``."""
        return f"{self.operation}[{self.where}]"

    @property
    def group(self) -> str:
        """Doors of one group share their work, and so go to the same worker."""
        return f"[{self.where}]"


@dataclass(frozen=True, slots=True)
class Place:
    """Where doors are looked for: a prepared target, its books, the names of its queries."""

    prepared: Prepared
    ledger: Ledger
    queries: Sequence[str] = ()


def relation_doors(place: Place) -> Iterator[Door]:
    """Every operation of every relation that has cells."""
    doors = dict.fromkeys((relation, operation) for relation, operation, _ in place.ledger.cells())
    order = list(Operation)
    for relation, operation in sorted(doors, key=lambda d: (str(d[0]), order.index(d[1]))):
        yield Door(Sort.RELATION, operation.value, str(relation), relation)


def function_doors(place: Place) -> Iterator[Door]:
    """Every function of the target that anybody but its owner may call."""
    if place.prepared.model.identity.nobodys:
        return
    names = {str(f.name) for f in place.ledger.functions if f.executable_by}
    for name in sorted(names):
        yield Door(Sort.LISTED, "call", name)


def query_doors(place: Place) -> Iterator[Door]:
    """Every application query, and every call of an adapter."""
    for name in dict.fromkeys(place.queries):
        yield Door(Sort.QUERY, "query", name)


def missing_doors(place: Place) -> Iterator[Door]:
    """What a copy of a live database lacks."""
    for name, operation, _ in place.ledger.missing:
        yield Door(Sort.LISTED, operation, name)


def corpus_doors(place: Place) -> Iterator[Door]:
    """Every saved counterexample."""
    folder = corpus_folder(place.prepared.target.root, None)
    for file in corpus_files.find(folder) if folder.is_dir() else []:
        yield Door(Sort.REPLAY, "replay", file.stem, file=file)


SORTS: tuple[Callable[[Place], Iterator[Door]], ...] = (
    corpus_doors,
    relation_doors,
    function_doors,
    query_doors,
    missing_doors,
)


def doors_of(place: Place) -> list[Door]:
    """All doors, corpus files first, in an order that does not change from run to run."""
    return list({d.name: d for sort in SORTS for d in sort(place)}.values())
