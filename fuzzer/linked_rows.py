"""Linked rows: which rows of a world point at which, by their foreign keys."""

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence

from tenantfuzz.policies.model import Model
from tenantfuzz.policies.structure import Catalog, RelationName
from tenantfuzz.policies.world import Row

_Target = tuple[RelationName, tuple[str, ...]]
_Values = tuple[str | None, ...]


class LinkedRows:
    """The references among some rows, by their positions. References that NULL leaves open point
    at nothing."""

    def __init__(self, rows: Sequence[Row], catalog: Catalog, model: Model) -> None:
        self._rows = rows
        self._catalog = catalog
        self._model = model
        self._found: dict[_Target, dict[_Values, list[int]]] = {}
        self._children: list[list[int]] | None = None

    def parents(self, index: int) -> set[int]:
        """The rows that this row points at."""
        row = self._rows[index]
        found: set[int] = set()
        for fk in self._model.foreign_keys(self._catalog, row.relation):
            values = tuple(row.values.get(c) for c in fk.columns)
            if None not in values:
                found.update(self._at(fk.target, fk.target_columns).get(values, ()))
        return found

    def with_parents(self, chosen: Collection[int]) -> set[int]:
        """These rows and all that they refer to, directly or not."""
        return _closure(chosen, self.parents)

    def with_children(self, gone: Collection[int]) -> set[int]:
        """These rows and all that refer to them, directly or not."""
        if self._children is None:
            self._children = [[] for _ in self._rows]
            for index in range(len(self._rows)):
                for parent in self.parents(index):
                    self._children[parent].append(index)
        return _closure(gone, self._children.__getitem__)

    def _at(self, relation: RelationName, columns: tuple[str, ...]) -> dict[_Values, list[int]]:
        found = self._found.get((relation, columns))
        if found is None:
            places: dict[_Values, list[int]] = defaultdict(list)
            for index, row in enumerate(self._rows):
                if row.relation == relation:
                    places[tuple(row.values.get(c) for c in columns)].append(index)
            found = self._found[relation, columns] = dict(places)
        return found


def _closure(start: Collection[int], following: Callable[[int], Collection[int]]) -> set[int]:
    reached, stack = set(start), list(start)
    while stack:
        for index in following(stack.pop()):
            if index not in reached:
                reached.add(index)
                stack.append(index)
    return reached
