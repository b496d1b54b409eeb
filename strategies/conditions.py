"""Whether a row of input texts satisfies a predicate, so far as one can tell without a server."""

from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache

from sqlglot import exp

from tenantfuzz.policies.structure import Relation
from tenantfuzz.policies.world import Values
from tenantfuzz.strategies.checks import columns_of, parse_expression
from tenantfuzz.strategies.decoding import UNKNOWN, decoder_of
from tenantfuzz.strategies.evaluation import compile_condition


class Truth(StrEnum):
    """The answer to a WHERE: NULL is no."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


Condition = Callable[[Values], Truth]


class _Question:
    """Relation and predicate as a cache key: hashing a whole relation would cost more."""

    __slots__ = ("predicate", "relation")

    def __init__(self, relation: Relation, predicate: str) -> None:
        self.relation, self.predicate = relation, predicate

    def __hash__(self) -> int:
        return hash((id(self.relation), self.predicate))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Question)
            and other.relation is self.relation
            and other.predicate == self.predicate
        )


def condition_of(relation: Relation, predicate: str) -> Condition:
    """The predicate over rows of ``relation`` as a function.

    Columns may stand bare or behind an alias. Columns that the values lack, sub-selects and what
    else is not understood make the answer unknown, unless the rest decides it.
    """
    return _compiled(_Question(relation, predicate))


@lru_cache(maxsize=8192)
def _compiled(question: _Question) -> Condition:
    relation = question.relation
    tree = parse_expression(question.predicate)
    if tree is None or tree.find(exp.Select) is not None:
        return lambda values: Truth.UNKNOWN
    named = columns_of(tree)
    read = [c for c in relation.columns if c.name in named]
    judge = compile_condition(tree, {c.name: c.type for c in read})
    decoders = {c.name: decoder_of(c.type) for c in read}

    def condition(values: Values) -> Truth:
        row: dict[str, object] = {}
        for name, decode in decoders.items():
            text = values.get(name)
            row[name] = decode(text) if text is not None else None if name in values else UNKNOWN
        answer = judge(row)
        return Truth.YES if answer is True else Truth.UNKNOWN if answer is UNKNOWN else Truth.NO

    return condition


def truth_of(relation: Relation, predicate: str, values: Values) -> Truth:
    """Whether ``values`` satisfy ``predicate``; see ``condition_of``."""
    return condition_of(relation, predicate)(values)
