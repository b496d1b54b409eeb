"""The maker of queries: SELECTs over the catalog, the less tried the better.

Whatever can be written must give the same answer where the rows hidden from its principal are gone.
"""

import random
from collections.abc import Callable, Mapping, Sequence

from tenantfuzz.policies.predictions import Key
from tenantfuzz.policies.structure import RelationName
from tenantfuzz.strategies.querying import shapes
from tenantfuzz.strategies.querying.chances import chancy
from tenantfuzz.strategies.querying.guidance import Guidance
from tenantfuzz.strategies.querying.lexicon import Lexicon
from tenantfuzz.strategies.querying.relational import nested
from tenantfuzz.strategies.querying.tree import Query
from tenantfuzz.strategies.querying.writer import Writer
from tenantfuzz.strategies.scene import Rows

_SHAPES: Mapping[str, tuple[shapes.Shape, float]] = {
    "plain": (shapes.plain, 5),
    "aggregate": (shapes.aggregate, 2),
    "grouped": (shapes.grouped, 2),
    "window": (shapes.window, 1),
    "nested": (nested, 2),
    "set operation": (shapes.set_operation, 2),
    "paged": (shapes.paged, 2),
    "ranked": (shapes.ranked, 1),
    "first of each": (shapes.first_of_each, 1),
    "recursive": (shapes.recursive, 1),
    "chance": (chancy, 1),
}
_NAMES = tuple(_SHAPES)
_WEIGHTS = tuple(weight for _, weight in _SHAPES.values())
_WRAPPED = 0.25
_CANDIDATES = 2
_OWN = 0.9  # share of queries that start from a relation that has something to hide


class QueryMaker:
    """Makes queries for one principal; see ``Writer`` for what they are made from."""

    def __init__(
        self,
        lexicon: Lexicon,
        rows: Mapping[RelationName, Rows],
        aims: Mapping[RelationName, Sequence[Key]],
        source: random.Random,
        guidance: Guidance | None = None,
    ) -> None:
        self._writer = Writer(lexicon, rows, aims, source)
        self._names = tuple(lexicon.entries)
        self._own = tuple(n for n in lexicon.entries if aims.get(n)) or self._names
        self._source = source
        self._guidance = guidance

    def queries(self, count: int) -> list[Query]:
        """So many queries; none where there is nothing to read."""
        if not self._names:
            return []
        return [self._next() for _ in range(count)]

    def _next(self) -> Query:
        """Of a few candidates the one that is made of what was seen least."""
        if self._guidance is None:
            return self._query()
        made = [self._query() for _ in range(_CANDIDATES)]
        best = max(made, key=self._guidance.novelty)
        self._guidance.note(best)
        return best

    def _query(self) -> Query:
        writer = self._writer
        writer.begin()
        names = self._own if self._source.random() < _OWN else self._names
        root = writer.reference(self._source.choice(names))
        weights = self._guidance.weights(_NAMES, _WEIGHTS) if self._guidance else _WEIGHTS
        name = self._source.choices(_NAMES, weights)[0]
        make: Callable[..., str] = _SHAPES[name][0]
        sql = make(writer, root)
        features = [name]
        if not writer.chance and self._source.random() < _WRAPPED:
            sql, wrapper = self._wrapped(sql)
            features.append(wrapper)
        features += [f for f in writer.features if f]
        return Query(sql, tuple(writer.used), tuple(features), writer.chance)

    def _wrapped(self, sql: str) -> tuple[str, str]:
        """The query within another."""
        if sql.startswith("WITH"):
            return f"SELECT count(*) FROM ({sql}) AS q", "wrapped:count"
        how = self._source.choice(("", "MATERIALIZED ", "NOT MATERIALIZED ", "derived", "count"))
        if how == "derived":
            return f"SELECT * FROM ({sql}) AS q OFFSET 0", "wrapped:derived"
        if how == "count":
            return f"SELECT count(*) FROM ({sql}) AS q", "wrapped:count"
        return f"WITH q AS {how}({sql}) SELECT * FROM q", f"wrapped:{how or 'WITH '}"
