"""The parts that the analysis of an application query speaks of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlglot import exp

from tenantfuzz.policies.structure import RelationName

if TYPE_CHECKING:  # older sqlglot has one base class only
    Node = exp.Expr
else:
    Node = exp.Expression


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A column of a reference (by its number)."""

    reference: int
    column: str


@dataclass(frozen=True, slots=True, order=True)
class Input:
    """A value from outside: a parameter by its name, or a setting as ``setting:name``."""

    name: str


Term = Place | Input


@dataclass(frozen=True, slots=True)
class Reference:
    """A relation where the query names it. ``target``: the statement writes to it; ``upserts``:
    it stands for the row that is there already where INSERT … ON CONFLICT DO UPDATE changes it."""

    number: int
    relation: RelationName
    alias: str
    target: bool = False
    upserts: bool = False

    @property
    def label(self) -> str:
        """As the query names it: ``machines AS m``."""
        own = self.relation.name
        shown = own if own == self.alias else f"{own} AS {self.alias}"
        return f"ON CONFLICT of {shown}" if self.upserts else shown


@dataclass(frozen=True, slots=True)
class Equality:
    """Two terms that are equal for every row of these references that takes part."""

    one: Term
    other: Term
    holds_for: frozenset[int]


@dataclass(frozen=True, slots=True)
class Compared:
    """What a parameter meets. ``how`` is equal, range, like, match, set or insert."""

    relation: RelationName
    column: str
    how: str


@dataclass(frozen=True, slots=True)
class QueryAnalysis:
    """The analysis of one query; ``tree`` has in ``meta["reference"]`` of tables their number."""

    tree: Node
    references: tuple[Reference, ...]
    equalities: tuple[Equality, ...]
    compared: Mapping[str, tuple[Compared, ...]]
    written: tuple[tuple[RelationName, str], ...]  # relation and insert, update, delete or merge
    shared_null: frozenset[Place] = frozenset()  # places that an arm of OR allows to be NULL
    locks: bool = False
    upserts: bool = False
    unordered: bool = False  # an aggregate collects values in no order
    ordered: bool = False  # its rows are asked for in an order
