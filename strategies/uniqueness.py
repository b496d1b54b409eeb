"""Which keys are taken in a world, for all unique constraints and indexes."""

from collections.abc import Callable, Collection, Iterator

from tenantfuzz.policies.structure import Relation, RelationName, Unique
from tenantfuzz.policies.world import Values
from tenantfuzz.strategies.conditions import Truth, condition_of

Key = tuple[str | None, ...]
Rule = Callable[[Values, bool], Key | None]


class TakenKeys:
    """The keys of all rows of a world so far."""

    __slots__ = ("_rules", "_taken")

    def __init__(self) -> None:
        self._rules: dict[RelationName, tuple[tuple[Unique, Rule], ...]] = {}
        self._taken: dict[tuple[RelationName, str], set[Key]] = {}

    def add(self, relation: Relation, values: Values) -> None:
        """Take the keys of a row."""
        for unique, key in self._keys(relation, values, partial=False):
            self._taken.setdefault((relation.name, unique.name), set()).add(key)

    def conflict(
        self,
        relation: Relation,
        values: Values,
        *,
        partial: bool = False,
        touching: Collection[str] | None = None,
    ) -> Unique | None:
        """The first unique that forbids a row of these values, or None.

        With ``partial`` the values are a part of a row: uniques that read more say nothing. With
        ``touching`` only the uniques that read one of these columns are asked.
        """
        for unique, key in self._keys(relation, values, partial=partial):
            columns = (*unique.columns, *unique.expression_columns)
            if touching is not None and not any(c in touching for c in columns):
                continue
            if key in self._taken.get((relation.name, unique.name), ()):
                return unique
        return None

    def _keys(
        self, relation: Relation, values: Values, *, partial: bool
    ) -> Iterator[tuple[Unique, Key]]:
        rules = self._rules.get(relation.name)
        if rules is None:
            rules = tuple((unique, _rule_of(relation, unique)) for unique in relation.uniques)
            self._rules[relation.name] = rules
        for unique, rule in rules:
            key = rule(values, partial)
            if key is not None:
                yield unique, key


def _rule_of(relation: Relation, unique: Unique) -> Rule:
    """The function from values to the key that ``unique`` makes of them, or None where it says
    nothing about them.

    An expression is represented by the columns that it reads, without regard to case: this may
    call two keys equal that are not, never the other way round for the usual ``lower(…)``. A
    predicate that is not understood is taken to hold, for whole rows.
    """
    columns = (*unique.columns, *unique.expression_columns)
    types = {c.name: c.type.base for c in relation.columns}
    folded = tuple(
        at >= len(unique.columns) or types.get(column) == "citext"
        for at, column in enumerate(columns)
    )
    predicate = condition_of(relation, unique.predicate) if unique.predicate else None

    def rule(values: Values, partial: bool) -> Key | None:
        if not columns or any(c not in values for c in columns):
            return None
        key = tuple(
            value.lower() if fold and value is not None else value
            for value, fold in zip((values[c] for c in columns), folded, strict=True)
        )
        if None in key and not unique.nulls_not_distinct:
            return None
        if predicate is None:
            return key
        truth = predicate(values)
        return None if truth is Truth.NO or (partial and truth is Truth.UNKNOWN) else key

    return rule
