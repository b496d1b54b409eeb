"""CHECK expressions as syntax trees, and what they compare their columns with."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from tenantfuzz.strategies.functions import similar_pattern

_WRAPPER = re.compile(r"^\s*CHECK\s*\((.*)\)\s*(NO INHERIT|NOT VALID|\s)*$", re.I | re.S)

COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ)


@lru_cache(maxsize=8192)
def parse_expression(text: str) -> exp.Expression | None:
    """The syntax tree of an SQL expression, or None where it is not understood.

    The tree is shared between callers: it must not be changed.
    """
    wrapped = _WRAPPER.match(text)
    try:
        tree = sqlglot.parse_one(wrapped.group(1) if wrapped else text, dialect="postgres")
    except (SqlglotError, RecursionError):
        return None
    return tree if isinstance(tree, exp.Expression) else None


def bare(node: exp.Expression) -> exp.Expression:
    """``node`` without the parentheses and casts around it."""
    while isinstance(node, exp.Paren | exp.Cast | exp.Collate):
        node = node.this
    return node


def columns_of(tree: exp.Expression) -> frozenset[str]:
    """The names of all columns that stand in the expression."""
    return frozenset(c.name for c in tree.find_all(exp.Column))


@dataclass(frozen=True, slots=True)
class Literal:
    """A literal that an expression compares a column with.

    ``how`` is ``value`` (the column itself), ``size`` (its length, or number of elements),
    ``pattern`` and ``ipattern`` (regular expressions), ``like``, ``element`` (of an array column),
    ``null`` (a test for NULL), ``json`` (the type of a json value) or ``key`` (``text`` is then a
    json document that holds it).
    """

    column: str
    table: str
    text: str
    how: str = "value"
    ordered: bool = False  # compared by order, so that its neighbours count too


def literal_text(node: exp.Expression) -> str | None:
    """The text of a literal, or None where the node is none."""
    node = bare(node)
    if isinstance(node, exp.Literal):
        return str(node.this)
    if isinstance(node, exp.Boolean):
        return "true" if node.this else "false"
    if isinstance(node, exp.Neg) and isinstance(bare(node.this), exp.Literal):
        return f"-{bare(node.this).this}"
    return None


def literals_of(tree: exp.Expression) -> Iterator[Literal]:
    """All literals that the expression compares columns with, in order of appearance."""
    for node in tree.walk():
        if isinstance(node, COMPARISONS):
            yield from _comparison(node, node.this, node.expression)
            yield from _comparison(node, node.expression, node.this)
        elif isinstance(node, exp.In):
            for item in node.expressions:
                yield from _against(node.this, item, ordered=False)
        elif isinstance(node, exp.Between):
            for bound in (node.args["low"], node.args["high"]):
                yield from _against(node.this, bound, ordered=True)
        elif isinstance(node, exp.RegexpLike | exp.RegexpILike | exp.Like | exp.ILike):
            yield from _pattern(node)
        elif isinstance(node, exp.Is):
            yield from _is(node)
        elif isinstance(node, exp.ArrayContainedBy | exp.ArrayContainsAll | exp.ArrayOverlaps):
            yield from _elements(node.this, node.expression)
            yield from _elements(node.expression, node.this)
        elif isinstance(node, exp.JSONBContainsTopKey):
            column, key = bare(node.this), literal_text(node.expression)
            if isinstance(column, exp.Column) and key is not None:
                yield Literal(column.name, column.table, _document([key], "1"), "key")
        elif isinstance(node, exp.Column) and _is_condition(node):
            yield Literal(node.name, node.table, "true")
            yield Literal(node.name, node.table, "false")


@lru_cache(maxsize=8192)
def literals_in(text: str) -> tuple[Literal, ...]:
    """The same for an expression as text; nothing where it is not understood."""
    tree = parse_expression(text)
    return () if tree is None else tuple(literals_of(tree))


def _is_condition(node: exp.Expression) -> bool:
    """Whether a bare column stands where a truth value is asked for."""
    parent = node.parent
    while isinstance(parent, exp.Paren):
        parent = parent.parent
    return parent is None or isinstance(parent, exp.And | exp.Or | exp.Not | exp.Where)


def array_items(node: exp.Expression) -> list[exp.Expression] | None:
    """The elements of ``ARRAY[…]``, ``ANY (…)`` or ``ALL (…)`` over one, or None."""
    node = bare(node)
    if isinstance(node, exp.Any | exp.All):
        return array_items(node.this)
    if isinstance(node, exp.Anonymous) and node.name.upper() in ("ANY", "ALL", "SOME"):
        return array_items(node.expressions[0]) if len(node.expressions) == 1 else None
    if isinstance(node, exp.Array | exp.Tuple):
        return list(node.expressions)
    if isinstance(node, exp.Literal) and node.is_string and str(node.this).startswith("{"):
        inner = str(node.this)[1:-1]
        return [exp.Literal.string(part.strip('" ')) for part in inner.split(",") if part]
    return None


def _comparison(
    node: exp.Expression, side: exp.Expression, other: exp.Expression
) -> Iterator[Literal]:
    ordered = isinstance(node, exp.GT | exp.GTE | exp.LT | exp.LTE)
    quantified = isinstance(other, exp.Any | exp.All) or (
        isinstance(other, exp.Anonymous) and other.name.upper() in ("ANY", "ALL", "SOME")
    )
    if quantified:
        for item in array_items(other) or ():
            yield from _against(side, item, ordered=ordered)
        target = bare(other.this) if isinstance(other, exp.Any | exp.All) else None
        text = literal_text(side)
        if isinstance(target, exp.Column) and text is not None:
            yield Literal(target.name, target.table, text, "element")
        return
    yield from _against(side, other, ordered=ordered)


def _against(side: exp.Expression, other: exp.Expression, *, ordered: bool) -> Iterator[Literal]:
    text = literal_text(other)
    if text is None:
        return
    side = bare(side)
    if isinstance(side, exp.Column):
        yield Literal(side.name, side.table, text, "value", ordered)
    elif isinstance(side, exp.JSONExtract | exp.JSONExtractScalar):
        yield from _json_path(side, text)
    elif isinstance(side, exp.Anonymous) and side.name.lower().endswith("b_typeof"):
        for column in side.find_all(exp.Column):
            yield Literal(column.name, column.table, text, "json")
    elif isinstance(side, exp.Length | exp.ArraySize | exp.Anonymous):
        for column in side.find_all(exp.Column):
            yield Literal(column.name, column.table, text, "size", ordered)
    elif isinstance(side, exp.Lower | exp.Upper | exp.Trim | exp.Coalesce):
        inside = next(side.find_all(exp.Column), None)
        if inside is not None:
            yield Literal(inside.name, inside.table, text, "value", ordered)


def _json_path(node: exp.Expression, text: str) -> Iterator[Literal]:
    keys: list[str] = []
    while isinstance(node, exp.JSONExtract | exp.JSONExtractScalar):
        step = node.expression
        key = literal_text(step)
        if isinstance(step, exp.JSONPath):
            parts = [str(p.this) for p in step.expressions if isinstance(p, exp.JSONPathKey)]
            key = parts[0] if len(parts) == 1 else None
        if key is None:
            return
        keys.insert(0, key)
        node = bare(node.this)
    if isinstance(node, exp.Column):
        yield Literal(node.name, node.table, _document(keys, text), "key")


def _document(keys: list[str], text: str) -> str:
    value: object = text
    for key in reversed(keys):
        value = {key: value}
    return json.dumps(value)


def _pattern(node: exp.Expression) -> Iterator[Literal]:
    column, text = bare(node.this), literal_text(node.expression)
    if isinstance(column, exp.Lower | exp.Upper | exp.Trim):
        column = bare(column.this)
    call = bare(node.expression)
    if isinstance(call, exp.Anonymous) and call.name == "similar_to_escape":
        text = literal_text(call.expressions[0])
        text = similar_pattern(text) if text is not None else None
    if isinstance(column, exp.Column) and text is not None:
        how = "like"
        if isinstance(node, exp.RegexpLike | exp.RegexpILike):
            how = "pattern" if isinstance(node, exp.RegexpLike) else "ipattern"
        yield Literal(column.name, column.table, text, how)


def _is(node: exp.Is) -> Iterator[Literal]:
    column, other = bare(node.this), bare(node.expression)
    if not isinstance(column, exp.Column):
        return
    if isinstance(other, exp.Boolean):
        yield Literal(column.name, column.table, "true")
        yield Literal(column.name, column.table, "false")
    elif isinstance(other, exp.Null):
        yield Literal(column.name, column.table, "", "null")


def _elements(side: exp.Expression, other: exp.Expression) -> Iterator[Literal]:
    column = bare(side)
    if isinstance(column, exp.Column):
        for item in array_items(other) or ():
            text = literal_text(item)
            if text is not None:
                yield Literal(column.name, column.table, text, "element")
        text = literal_text(other)
        if text is not None and text.startswith(("{", "[")):
            yield Literal(column.name, column.table, text, "value")
