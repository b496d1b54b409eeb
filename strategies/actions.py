"""Actions: what a principal tries, as statements, with what must be so for them to count."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tenantfuzz.policies.predictions import Key
from tenantfuzz.policies.structure import Operation, RelationName


@dataclass(frozen=True, slots=True)
class Action:
    """One statement of one principal.

    ``victims`` are the keys that it aims at and that the principal must not reach by it (empty for
    what it may lawfully do: the positive control). ``control`` is the statement that the trusted
    role runs to show that the very same could be done (None: the statement itself). ``lasting``
    marks writes after which it is worth reading again: they touch what policies read.
    """

    relation: RelationName
    operation: Operation
    sql: str
    shape: str
    hostile: bool
    victims: frozenset[Key] = frozenset()
    lasting: bool = False


@dataclass(frozen=True, slots=True)
class Grants:
    """The columns of one relation that one role may select, insert and update."""

    select: tuple[str, ...] = ()
    insert: tuple[str, ...] = ()
    update: tuple[str, ...] = ()
    delete: bool = False
    truncate: bool = False  # granted, and the threat level has the command
    whole: bool = False  # SELECT on the whole table


@dataclass(frozen=True, slots=True)
class RowValues:
    """A world's row as it stands: its key, and its columns as text."""

    key: Key
    values: Mapping[str, str | None] = field(default_factory=dict)
