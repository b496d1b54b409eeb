"""Trees: the parts of a condition that matter here, out of sqlglot's syntax trees."""

import re
from collections.abc import Iterator
from functools import reduce
from itertools import islice, product

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

_ARRAY_TEXT = re.compile(r"\{(.*)\}", re.DOTALL)
_MOST = 64


def parsed(text: str) -> exp.Expression | None:
    """The syntax tree of an expression or a query, or None where it is not understood."""
    try:
        tree = sqlglot.parse_one(text, dialect="postgres")
    except (SqlglotError, RecursionError):
        return None
    return tree if isinstance(tree, exp.Expression) else None


def unwrapped(node: exp.Expression) -> exp.Expression:
    """``node`` without parentheses, aliases and sub-selects around it."""
    while isinstance(node, exp.Paren | exp.Subquery | exp.Alias | exp.Collate):
        node = node.this
    return node


def stripped(node: exp.Expression) -> exp.Expression:
    """``node`` without what stands around it: parentheses, casts, a sub-select of one value."""
    while True:
        node = unwrapped(node)
        if isinstance(node, exp.Cast):
            node = node.this
        else:
            return node


def is_path(node: exp.Expression) -> bool:
    """Whether a node takes a value out of a JSON document."""
    return isinstance(
        node,
        exp.JSONExtract | exp.JSONExtractScalar | exp.JSONBExtract | exp.JSONBExtractScalar,
    )


def keys_of(node: exp.Expression) -> tuple[str, ...]:
    """The keys of a path into a JSON document."""
    if isinstance(node, exp.JSONPath):
        return tuple(str(part.this) for part in node.find_all(exp.JSONPathKey))
    node = stripped(node)
    if isinstance(node, exp.Literal):
        text = str(node.this)
        listed = _ARRAY_TEXT.fullmatch(text)
        return tuple(k.strip().strip('"') for k in listed[1].split(",")) if listed else (text,)
    return ()


def conjuncts(tree: exp.Expression | None) -> Iterator[exp.Expression]:
    """The operands of an AND, however nested."""
    if tree is None:
        return
    tree = unwrapped(tree)
    if isinstance(tree, exp.And):
        yield from conjuncts(tree.this)
        yield from conjuncts(tree.expression)
    else:
        yield tree


def readable(part: exp.Expression) -> str:
    """A condition without the types that the catalog writes behind every constant."""
    part = unwrapped(part).copy()
    for cast in list(part.find_all(exp.Cast)):
        if isinstance(cast.this, exp.Literal):
            cast.replace(cast.this)
    return part.sql(dialect="postgres")


def is_constant(node: exp.Expression) -> bool:
    """Whether a node is a constant, or ANY of a list of them (what the catalog makes of IN)."""
    if isinstance(node, exp.Any):
        node = stripped(node.this)
        return isinstance(node, exp.Array) and all(
            is_constant(stripped(e)) for e in node.expressions
        )
    return isinstance(node, exp.Literal | exp.Boolean)


def picks(condition: exp.Expression) -> bool:
    """Whether a condition picks rows that have a value: ``kind = 'logo'``, ``is_open``."""
    match condition:
        case exp.Column():
            return True
        case exp.EQ():
            sides = [stripped(condition.this), stripped(condition.expression)]
            return any(isinstance(side, exp.Column) for side in sides) and any(
                is_constant(side) for side in sides
            )
        case exp.In():
            listed = all(isinstance(stripped(e), exp.Literal) for e in condition.expressions)
            return bool(condition.expressions) and listed
    return False


def disjuncts(tree: exp.Expression) -> Iterator[exp.Expression]:
    """The operands of an OR, however nested."""
    tree = unwrapped(tree)
    if isinstance(tree, exp.Or):
        yield from disjuncts(tree.this)
        yield from disjuncts(tree.expression)
    else:
        yield tree


def alternatives(tree: exp.Expression) -> Iterator[exp.Expression]:
    """The reasons for which a condition may hold: ``a AND (b OR c)`` holds for a and b, or for a
    and c. What has too many of them is taken apart at its outermost OR alone."""
    found = list(islice(_alternatives(tree), _MOST + 1))
    yield from found if len(found) <= _MOST else disjuncts(tree)


def _alternatives(tree: exp.Expression) -> Iterator[exp.Expression]:
    tree = unwrapped(tree)
    if isinstance(tree, exp.Or):
        for part in disjuncts(tree):
            yield from _alternatives(part)
    elif isinstance(tree, exp.And):
        operands = list(conjuncts(tree))
        if any(isinstance(operand, exp.Or) for operand in operands):
            for parts in product(*(_alternatives(operand) for operand in operands)):
                yield reduce(_both, parts)
        else:
            yield tree
    else:
        yield tree


def _both(left: exp.Expression, right: exp.Expression) -> exp.Expression:
    return exp.And(this=left.copy(), expression=right.copy())


def shown_nulls(tree: exp.Expression) -> set[str]:
    """Columns that a policy's own words let be NULL, so that it may show rows without a value."""
    shown = set()
    for part in tree.find_all(exp.Is):
        column = stripped(part.this)
        inner = part.find_ancestor(exp.Select, exp.Not) is not None
        if isinstance(part.expression, exp.Null) and isinstance(column, exp.Column) and not inner:
            shown.add(column.name)
    return shown
