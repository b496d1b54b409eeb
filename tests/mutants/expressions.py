"""Edits of SQL expressions as the server writes them: each gives an expression that says more."""

from collections.abc import Callable, Iterator
from typing import cast

import sqlglot
from sqlglot import exp


def conjuncts(text: str) -> int:
    """How many conditions are tied by AND, at any depth, sub-selects and joins included."""
    return len(_operands(_parse(text)))


def without_conjuncts(text: str) -> Iterator[tuple[str, str]]:
    """For each of the conditions: what is lost, and the expression without it."""
    for number in range(conjuncts(text)):
        tree = _parse(text)
        operand = _operands(tree)[number]
        lost = _text(operand)
        operand.replace(exp.true())
        yield lost, _text(tree)


def keeping(text: str, wanted: Callable[[str], bool]) -> str:
    """The outermost conditions for which ``wanted`` holds."""
    tree = _bare(_parse(text))
    operands = _chain(tree) if isinstance(tree, exp.And) else [tree]
    kept = [t for t in map(_text, operands) if wanted(t)]
    return " AND ".join(f"({t})" for t in kept) or "true"


def and_to_or(text: str) -> str | None:
    """The outermost AND turned into OR, or None where there is none."""
    tree = _bare(_parse(text))
    if not isinstance(tree, exp.And):
        return None
    return " OR ".join(f"({_text(o)})" for o in _chain(tree))


def with_other_column(text: str, column: str, other: str) -> str | None:
    """``column`` replaced by ``other`` outside of sub-selects, or None where it does not occur."""
    tree = _parse(text)
    found = False
    for node in list(tree.find_all(exp.Column)):
        if node.name == column and node.find_ancestor(exp.Subquery, exp.Exists) is None:
            node.set("this", exp.to_identifier(other, quoted=True))
            found = True
    return _text(tree) if found else None


def settings(text: str) -> list[str]:
    """The names of the settings that an expression reads."""
    found = []
    for node in _parse(text).find_all(exp.Anonymous, exp.Func):
        if node.sql_name().lower() != "current_setting" and str(node.this).lower() not in (
            "current_setting",
        ):
            continue
        for value in node.find_all(exp.Literal):
            if value.is_string and "." in str(value.this):
                found.append(str(value.this))
    return list(dict.fromkeys(found))


def columns(text: str) -> set[str]:
    """The names of the columns that an expression reads, sub-selects included."""
    return {node.name for node in _parse(text).find_all(exp.Column)}


def _parse(text: str) -> exp.Expression:
    return cast(exp.Expression, sqlglot.parse_one(text, dialect="postgres"))


def _text(tree: exp.Expression) -> str:
    return tree.sql(dialect="postgres", normalize_functions=False)


def _bare(tree: exp.Expression) -> exp.Expression:
    while isinstance(tree, exp.Paren):
        tree = tree.this
    return tree


def _chain(tree: exp.And) -> list[exp.Expression]:
    return cast("list[exp.Expression]", list(tree.flatten()))


def _operands(tree: exp.Expression) -> list[exp.Expression]:
    """The operands of every chain of ANDs, and join conditions that are none."""
    found: list[exp.Expression] = []
    for node in tree.find_all(exp.And):
        if not isinstance(node.parent, exp.And):
            found += _chain(node)
    for join in tree.find_all(exp.Join):
        on = join.args.get("on")
        if on is not None and not isinstance(on, exp.And):
            found.append(on)
    return found
