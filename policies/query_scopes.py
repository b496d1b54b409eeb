"""Scopes of a query: what names stand for in it, and how values meet in its expressions."""

from dataclasses import dataclass, field

from sqlglot import exp

from tenantfuzz.policies.query_parts import Node, Term

_TRANSPARENT = (exp.Cast, exp.Paren, exp.Collate)
_COMPARING = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ)
_COMBINING: tuple[type, ...] = (exp.Connector, exp.DPipe, exp.Add, exp.Sub, exp.Mul, exp.Div)
_LIKE = (exp.Like, exp.ILike, exp.SimilarTo, exp.RegexpLike, exp.RegexpILike)


@dataclass(slots=True)
class Source:
    """What a name in FROM stands for: its columns, and the references whose rows it shows."""

    relation: int | None = None  # the number of the reference, for a relation
    columns: dict[str, list[Term]] = field(default_factory=dict)
    leaves: frozenset[int] = frozenset()  # references that a condition on its columns restricts


@dataclass(slots=True)
class Scope:
    """The names that one query knows: those of its FROM, of its WITH, of the query around it."""

    parent: "Scope | None"
    sources: dict[str, Source] = field(default_factory=dict)
    named: dict[str, Source] = field(default_factory=dict)  # WITH

    def find(self, alias: str) -> Source | None:
        """What ``alias`` stands for, here or further out."""
        scope: Scope | None = self
        while scope is not None:
            if alias in scope.sources:
                return scope.sources[alias]
            scope = scope.parent
        return None

    def named_query(self, name: str) -> Source | None:
        """The query that WITH calls ``name``, here or further out."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.named:
                return scope.named[name]
            scope = scope.parent
        return None

    @property
    def leaves(self) -> frozenset[int]:
        """The references whose rows a condition of this query restricts."""
        return frozenset(n for s in self.sources.values() for n in s.leaves)


def how_met(node: Node) -> str | None:
    """How the operands of an operator meet: equal, range, like or match; None where they do not."""
    if isinstance(node, (exp.EQ, exp.NEQ, exp.NullSafeEQ, exp.NullSafeNEQ, exp.In)):
        return "equal"
    if isinstance(node, (*_COMPARING, exp.Between)):
        return "range"
    if isinstance(node, exp.MatchAgainst):
        return "match"
    if isinstance(node, _LIKE):
        return "like"
    return "match" if isinstance(node, exp.Binary) and not isinstance(node, _COMBINING) else None


def bare(node: Node) -> Node:
    """An expression without casts and parentheses around it."""
    while isinstance(node, _TRANSPARENT):
        node = node.this
    return node


def items(node: Node) -> list[Node]:
    """The parts of a row value; any other expression is its only part."""
    inner = bare(node)
    return list(inner.expressions) if isinstance(inner, exp.Tuple) else [node]
