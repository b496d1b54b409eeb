"""Doors: a relation and an operation, with what became of each kind of principal there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tenantfuzz.policies.structure import Operation
from tenantfuzz.reports.account import Account, Told

_ORDER = {operation.value: number for number, operation in enumerate(Operation)}


class CellState(StrEnum):
    """What became of a cell."""

    COVERED = "covered"
    CLOSED = "closed"
    UNTESTED = "untested"
    ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True)
class DoorCell:
    """One cell. ``reason`` says why it is untested; ``accepted`` why that is accepted."""

    state: CellState
    reason: str = ""
    accepted: str = ""


@dataclass(slots=True)
class Door:
    """A relation (or function, or query) and an operation; ``cells`` by kind of principal."""

    relation: str
    operation: str
    cells: dict[str, DoorCell] = field(default_factory=dict)
    findings: list[Told] = field(default_factory=list)
    unchanged: bool = False  # as it was in the snapshot, and not tested again

    @property
    def name(self) -> str:
        """``select[public.issues]``, as the pytest plugin calls it."""
        return f"{self.operation}[{self.relation}]"

    def kinds(self, state: CellState) -> list[str]:
        """The kinds whose cell is in this state."""
        return [kind for kind, cell in self.cells.items() if cell.state is state]


def doors(account: Account) -> list[Door]:
    """All doors of a run, by relation, the operations in their usual order; findings at a door that
    has no cells make one."""
    found: dict[tuple[str, str], Door] = {}

    def door(relation: str, operation: str) -> Door:
        return found.setdefault((relation, operation), Door(relation, operation))

    coverage = account.finished.coverage
    for state, cells in (
        (CellState.COVERED, coverage.covered_cells),
        (CellState.CLOSED, coverage.closed_cells),
    ):
        for relation, operation, kind in cells:
            door(relation, operation).cells[kind] = DoorCell(state)
    for cell in coverage.untested:
        entry = DoorCell(CellState.UNTESTED, cell.reason)
        door(cell.relation, cell.operation).cells[cell.kind] = entry
    for cell in coverage.accepted:
        entry = DoorCell(CellState.ACCEPTED, cell.reason, cell.accepted or "")
        door(cell.relation, cell.operation).cells[cell.kind] = entry
    if account.finished.selection is not None:
        for relation in account.finished.selection.unchanged:
            for operation in Operation:
                if (relation, operation.value) not in found:
                    door(relation, operation.value).unchanged = True
    for told in account.findings:
        door(told.finding.relation, told.finding.operation).findings.append(told)
    return sorted(found.values(), key=lambda d: (d.relation, rank(d.operation), d.operation))


def by_reason(door: Door, state: CellState) -> Mapping[str, list[str]]:
    """The kinds in this state, by the reason."""
    reasons: dict[str, list[str]] = {}
    for kind, cell in door.cells.items():
        if cell.state is state:
            reasons.setdefault(cell.accepted or cell.reason, []).append(kind)
    return reasons


def rank(operation: str) -> int:
    """The place of an operation among the others: select, insert, update, delete, then the rest."""
    return _ORDER.get(operation, len(_ORDER))
