"""Reducing: the same query without one of its parts, for whoever looks for the smallest that will
do."""

from collections.abc import Iterator

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from tenantfuzz.policies.query_parts import Node
from tenantfuzz.strategies.scripting import HEAD, script

_DIALECT = "postgres"
_STATEMENTS = ("SELECT", "WITH", "UPDATE", "DELETE", "INSERT", "MERGE")
_CLAUSES = (
    "with_", "having", "group", "order", "limit", "offset", "distinct", "sample",
    "returning", "conflict",
)  # fmt: skip


def reductions(sql: str) -> Iterator[str]:
    """Texts that say less than ``sql``, those first that leave most away. Whether they are still
    valid, or mean anything, is for the server to say. None for what cannot be parsed."""
    if sql.startswith(HEAD):
        yield from _of_script(sql)
        return
    tree = _parsed(sql)
    if tree is None:
        return
    seen = {sql}
    candidates = sorted((_text(t) for t in _smaller(tree)), key=len)
    for text in candidates:
        if len(text) < len(sql) and text not in seen:
            seen.add(text)
            yield text


def _of_script(sql: str) -> Iterator[str]:
    """The last statement alone, without one of those before it, or with less in it."""
    statements = [s for s in sql.removeprefix(HEAD).rstrip().rstrip(";").split(";\n") if s]
    for statement in reversed(statements):
        if statement.upper().startswith(_STATEMENTS):
            yield statement
    for index in range(len(statements) - 1):
        yield script(*statements[:index], *statements[index + 1 :])
    for smaller in reductions(statements[-1]):
        yield script(*statements[:-1], smaller)


def _parsed(sql: str) -> Node | None:
    if not sql.lstrip().upper().startswith(_STATEMENTS):
        return None
    try:
        tree = sqlglot.parse_one(sql, dialect=_DIALECT)
    except SqlglotError:
        return None
    return tree if isinstance(tree, Node) else None


def _text(tree: Node) -> str:
    return tree.sql(dialect=_DIALECT)


def _smaller(tree: Node) -> Iterator[Node]:
    """Copies of the tree, each with one change."""
    for inner in _inner(tree):
        yield inner.copy()
    nodes = list(tree.walk())
    for index, node in enumerate(nodes):
        for change in _changes(node):
            copy = tree.copy()
            twin = list(copy.walk())[index]
            if change(twin):
                yield copy


def _inner(tree: Node) -> Iterator[Node]:
    """Whole queries that stand in it: of WITH, of FROM, the arms of a set operation."""
    for query in tree.find_all(exp.CTE, exp.Subquery, exp.Exists):
        if isinstance(query.this, exp.Query | exp.DML):
            yield query.this
    for operation in tree.find_all(exp.SetOperation):
        yield operation.left
        yield operation.right


class _Change:
    """One change to a node; False where there is nothing to change."""

    def __init__(self, key: str, index: int | None = None) -> None:
        self._key = key
        self._index = index

    def __call__(self, node: Node) -> bool:
        if self._index is None:
            node.set(self._key, None)
            return True
        values = list(node.args[self._key])
        del values[self._index]
        node.set(self._key, values)
        return True


class _Only:
    """Keeps one of several things."""

    def __init__(self, key: str, index: int) -> None:
        self._key = key
        self._index = index

    def __call__(self, node: Node) -> bool:
        node.set(self._key, [node.args[self._key][self._index]])
        return True


class _Replaced:
    """Puts a part of a node in its place."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, node: Node) -> bool:
        part = node.args.get(self._key)
        if not isinstance(part, Node) or node.parent is None:
            return False
        node.replace(part)
        return True


class _Promoted:
    """Makes a joined table the only one."""

    def __init__(self, index: int) -> None:
        self._index = index

    def __call__(self, node: Node) -> bool:
        source = node.args["joins"][self._index].this
        if not isinstance(source, exp.Table):
            return False
        node.set("from_", exp.From(this=source.copy()))
        node.set("joins", None)
        return True


class _Bare:
    """Takes other tables and the condition away from a write."""

    def __call__(self, node: Node) -> bool:
        for key in ("from_", "using", "where"):
            node.set(key, None)
        return True


Change = _Change | _Only | _Replaced | _Promoted | _Bare


def _changes(node: Node) -> Iterator[Change]:
    match node:
        case exp.Select() | exp.Update() | exp.Delete() | exp.Insert() | exp.SetOperation():
            for key in (*_CLAUSES, "where"):
                if node.args.get(key):
                    yield _Change(key)
            if isinstance(node, exp.Update | exp.Delete):
                yield _Bare()
            if isinstance(node, exp.Select):
                yield from (_Promoted(i) for i in range(len(node.args.get("joins") or ())))
            for key in ("joins", "laterals"):
                yield from (_Change(key, i) for i in range(len(node.args.get(key) or ())))
            shown = node.args.get("expressions") or ()
            if isinstance(node, exp.Select | exp.Update) and len(shown) > 1:
                yield from (_Only("expressions", i) for i in range(len(shown)))
                yield from (_Change("expressions", i) for i in range(len(shown)))
        case exp.Group():
            for key in ("expressions", "grouping_sets", "cube", "rollup"):
                count = len(node.args.get(key) or ())
                if count > 1:
                    yield from (_Change(key, i) for i in range(count))
        case exp.And() | exp.Or():
            yield _Replaced("this")
            yield _Replaced("expression")
        case exp.Not() | exp.Filter() | exp.Paren():
            yield _Replaced("this")
        case exp.Table():
            if node.args.get("sample"):
                yield _Change("sample")
        case exp.With():
            count = len(node.expressions)
            yield from (_Change("expressions", i) for i in range(count) if count > 1)
        case _:
            return
