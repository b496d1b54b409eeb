"""What an oracle says: something crossed the line, and which rows show it."""

from dataclasses import dataclass, field

from tenantfuzz.policies.predictions import Key, RowFacts
from tenantfuzz.policies.structure import RelationName


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that should not have happened, before anybody explained it.

    ``rows`` are the rows that crossed the line, as they were (``before``) or became (``after``).
    ``relation`` is where it happened: for a side effect not the one that the statement named.
    ``culprits`` are filled where the oracle itself knows them (a foreign key, a trigger).
    """

    code: str
    relation: RelationName
    operation: str
    observed: str
    expected: str
    before: tuple[RowFacts, ...] = ()
    after: tuple[RowFacts, ...] = ()
    culprits: tuple[str, ...] = ()
    note: str = ""
    side_effect: bool = False

    @property
    def rows(self) -> tuple[RowFacts, ...]:
        """The rows that show it, as they were, or as they are where they were not."""
        return self.before or self.after

    @property
    def keys(self) -> frozenset[Key]:
        """Their keys."""
        return frozenset(r.key for r in self.rows)


@dataclass(frozen=True, slots=True)
class Observation:
    """What a read gave: keys of the rows it showed (where it named them), all its texts, and
    whether it told its rows apart at all."""

    keys: frozenset[Key] = frozenset()
    identified: bool = False
    text: str = ""
    extra: tuple[str, ...] = field(default=())
