"""Words that a schema speaks: the literals in its policies, checks, defaults, functions and views.

A policy that says ``visibility = 'internal'`` is only reached by rows that hold that very value.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from tenantfuzz.policies.structure import (
    Catalog,
    Relation,
    RelationName,
)
from tenantfuzz.strategies.candidates import FAR, literal_values
from tenantfuzz.strategies.checks import (
    Literal,
    bare,
    literal_text,
    literals_of,
    parse_expression,
)
from tenantfuzz.strategies.influence import SETTING
from tenantfuzz.strategies.values import UnknownType, maker_of

MOST = 12
"""Literals kept for a column."""

_UUID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", re.I)
_COMPARED = re.compile(
    r"""(?:\b[a-z_]\w*\.)?"?\b([a-z_]\w*)"?(?:::\w+)?\s*(?:=|<>|!=|>=|<=|>|<|\bIS\s+DISTINCT\s+FROM)\s*
        (?:'((?:[^']|'')*)'|(-?\d+(?:\.\d+)?)\b|\b(true|false)\b)""",
    re.I | re.X,
)
_NOW = r"(?:now\s*\(|current_timestamp|current_date|localtimestamp|\w+_timestamp\s*\()"
_TIMED = re.compile(
    rf"""\b([a-z_]\w*)"?\s*[<>]=?\s*\(*\s*{_NOW}|{_NOW}[^;<>=,]*[<>]=?\s*(?:[a-z_]\w*\.)?"?([a-z_]\w*)""",
    re.I,
)
_LISTED = re.compile(r""""?\b([a-z_]\w*)"?\s*(?:NOT\s+)?IN\s*\(\s*('[^()]*')\s*\)""", re.I)
_AHEAD = {
    "timestamptz": f"{FAR} 00:00:00+00",
    "timestamp": f"{FAR} 00:00:00",
    "date": FAR,
}
_STRINGS = re.compile(r"'((?:[^']|'')*)'")
_WORDS = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two relations that one statement joins, and the pairs of columns that it holds equal."""

    one: RelationName
    other: RelationName
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Dictionary:
    """Literals by the column that they are compared with, and all others by type.

    ``columns`` maps relation and column to input texts of the column's type, in order of
    appearance; ``loose`` maps ``text``, ``number``, ``uuid`` and ``bool`` to texts; ``reads`` maps
    each relation to those of its columns that policies read, ``tested`` to those that statements
    test. ``nulls`` are the columns that
    something asks to be NULL, or not; ``comparisons`` what statements hold equal.
    """

    columns: Mapping[tuple[RelationName, str], tuple[str, ...]] = field(default_factory=dict)
    loose: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    reads: Mapping[RelationName, frozenset[str]] = field(default_factory=dict)
    tested: Mapping[RelationName, frozenset[str]] = field(default_factory=dict)
    nulls: frozenset[tuple[RelationName, str]] = frozenset()
    comparisons: tuple[Comparison, ...] = ()

    def for_column(self, relation: Relation | RelationName, column: str) -> tuple[str, ...]:
        """The literals that anything in the schema compares that column with."""
        name = relation.name if isinstance(relation, Relation) else relation
        return self.columns.get((name, column), ())

    def policy_columns(self, relation: Relation | RelationName) -> frozenset[str]:
        """The columns that a policy, or a function that a policy calls, reads there."""
        name = relation.name if isinstance(relation, Relation) else relation
        return self.reads.get(name, frozenset())

    def deciding_columns(self, relation: Relation | RelationName) -> frozenset[str]:
        """The columns whose values decide what is seen: policies read them, or statements of the
        application test them."""
        name = relation.name if isinstance(relation, Relation) else relation
        return self.policy_columns(name) | self.tested.get(name, frozenset())


class _Collector:
    """Gathers literals and reads; one for each build."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.literals: dict[tuple[RelationName, str], list[Literal]] = defaultdict(list)
        self.loose: dict[str, list[str]] = defaultdict(list)
        self.reads: dict[RelationName, set[str]] = defaultdict(set)
        self.tested: dict[RelationName, set[str]] = defaultdict(set)
        self.nulls: set[tuple[RelationName, str]] = set()
        self.comparisons: dict[Comparison, None] = {}

    def expression(self, text: str, home: Relation | None, *, deciding: bool) -> None:
        """Takes in a condition on rows of ``home``; ``deciding``: it is a policy's."""
        tree = parse_expression(text)
        if tree is None:
            if home is not None:
                self.body(text, [home], deciding=deciding)
            return
        self.tree(tree, home, deciding=deciding)

    def tree(self, tree: exp.Expression, home: Relation | None, *, deciding: bool) -> None:
        """Takes in a syntax tree: its comparisons, its other literals, what it reads."""
        tables = self._tables(tree)
        for literal in literals_of(tree):
            for relation in self._owners(literal.table, literal.column, tables, home):
                self.literals[relation.name, literal.column].append(literal)
                if literal.how == "null":
                    self.nulls.add((relation.name, literal.column))
        self.comparisons |= dict.fromkeys(self._comparisons(tree, tables, home))
        for timed in _timed(tree):
            for relation in self._owners(timed.table, timed.name, tables, home):
                self._far(relation, timed.name)
        for node in tree.find_all(exp.Literal):
            self._loose(str(node.this), is_string=bool(node.args.get("is_string")))
        if deciding:
            for column in tree.find_all(exp.Column):
                for relation in self._owners(column.table, column.name, tables, home):
                    self.reads[relation.name].add(column.name)

    def statement(self, text: str) -> None:
        """Takes in a statement of the application: which rows it finds hangs on the columns that
        it tests as much as on those that policies read."""
        tree = _parse_query(text)
        if tree is None:
            return
        self.tree(tree, None, deciding=False)
        tables = self._tables(tree)
        tested: list[tuple[str, str]] = []
        # What an UPDATE sets is no condition, though it looks like one.
        for condition in tree.find_all(exp.Where, exp.Join, exp.Having):
            said = [x for x in literals_of(condition) if x.how in ("value", "null", "element")]
            tested += [(x.table, x.column) for x in said]
            tested += [
                (c.table, c.name) for c in condition.find_all(exp.Column) if _stands_alone(c)
            ]
        for table, column in tested:
            for relation in self._owners(table, column, tables, None):
                self.tested[relation.name].add(column)
        for comparison in self._comparisons(tree, tables, None):
            for mine, theirs in comparison.pairs:
                self.tested[comparison.one].add(mine)
                self.tested[comparison.other].add(theirs)

    def _comparisons(
        self, tree: exp.Expression, tables: Mapping[str, Relation], home: Relation | None
    ) -> Iterator[Comparison]:
        """Which columns of different relations the tree holds equal."""
        pairs: dict[tuple[str, str, RelationName, RelationName], list[tuple[str, str]]] = {}
        for node in tree.find_all(exp.EQ):
            ends = (bare(node.this), bare(node.expression))
            sides = [side for side in ends if isinstance(side, exp.Column)]
            if len(sides) < 2 or isinstance(node.parent, exp.Update):  # what SET says is none
                continue
            owners = [list(self._owners(s.table, s.name, tables, home)) for s in sides]
            if any(len(found) != 1 for found in owners) or owners[0] == owners[1]:
                continue
            named = [(s.table, o[0].name, s.name) for s, o in zip(sides, owners, strict=True)]
            (mine, one, column), (theirs, other, target) = sorted(named, key=lambda e: str(e[1]))
            pairs.setdefault((mine, theirs, one, other), []).append((column, target))
        for (_, _, one, other), found in pairs.items():
            yield Comparison(one, other, tuple(dict.fromkeys(found)))

    def body(self, text: str, relations: Iterable[Relation], *, deciding: bool) -> None:
        """Takes in a function's body, by patterns alone."""
        relations = list(relations)
        pairs: list[tuple[str, str]] = []
        for column, quoted, number, truth in _COMPARED.findall(text):
            pairs.append((column, number or truth.lower() or quoted.replace("''", "'")))
        for column, listed in _LISTED.findall(text):
            pairs += [(column, item.replace("''", "'")) for item in _STRINGS.findall(listed)]
        for column, value in pairs:
            for relation in relations:
                if relation.column(column) is not None:
                    self.literals[relation.name, column].append(Literal(column, "", value))
        for before, after in _TIMED.findall(text):
            for relation in relations:
                self._far(relation, before or after)
        for item in _STRINGS.findall(text):
            self._loose(item.replace("''", "'"), is_string=True)
        if deciding:
            words = set(_WORDS.findall(text))
            for relation in relations:
                self.reads[relation.name] |= {c.name for c in relation.columns} & words

    def _far(self, relation: Relation, column: str) -> None:
        """A time that lies ahead for ever, for a column that is compared with the present one."""
        found = relation.column(column)
        text = _AHEAD.get(found.type.base) if found is not None else None
        if text is not None:
            self.literals[relation.name, column].append(Literal(column, "", text))

    def mentioned(self, text: str) -> list[Relation]:
        """The relations whose names stand in ``text``."""
        words = set(_WORDS.findall(text))
        return [r for r in self.catalog.relations.values() if r.name.name in words]

    def _loose(self, text: str, *, is_string: bool) -> None:
        if not is_string:
            self.loose["number"].append(text)
        elif _UUID.match(text):
            self.loose["uuid"].append(text)
        elif 0 < len(text) <= 64 and text.isprintable():
            self.loose["text"].append(text)

    def _tables(self, tree: exp.Expression) -> dict[str, Relation]:
        tables: dict[str, Relation] = {}
        for node in tree.find_all(exp.Table):
            found = self.catalog.find(f"{node.db}.{node.name}" if node.db else node.name)
            if found is not None:
                tables.setdefault(node.alias_or_name, self.catalog.relations[found])
        return tables

    def _owners(
        self, table: str, column: str, tables: Mapping[str, Relation], home: Relation | None
    ) -> Iterator[Relation]:
        """The relations that a column in an expression may belong to."""
        if table:
            found = tables.get(table)
            if found is None and home is not None and home.name.name == table:
                found = home
            if found is not None and found.column(column) is not None:
                yield found
            return
        if home is not None and home.column(column) is not None:
            yield home
            return
        yield from (r for r in tables.values() if r.column(column) is not None)


def build_dictionary(catalog: Catalog, queries: Iterable[str] = ()) -> Dictionary:
    """Reads all literals of the schema, and which columns its policies look at.

    ``queries`` are the texts of application queries, whose words come first.
    """
    collector = _Collector(catalog)
    for text in queries:
        collector.statement(text)
    called: set[str] = set()
    for relation in catalog.relations.values():
        for policy in relation.policies:
            for text in filter(None, (policy.using, policy.check)):
                collector.expression(text, relation, deciding=True)
                called |= set(_WORDS.findall(text))
        for check in relation.checks:
            collector.expression(check.expression, relation, deciding=False)
        for column in relation.columns:
            tree = parse_expression(column.default) if column.default else None
            default = literal_text(tree) if tree is not None else None
            if default:
                literal = Literal(column.name, "", default)
                collector.literals[relation.name, column.name].append(literal)
        for trigger in relation.triggers:
            mentioned = [relation, *collector.mentioned(trigger.source)]
            # What a trigger puts into a setting may decide what policies let through.
            sets = SETTING.search(trigger.source) is not None
            collector.body(trigger.source, mentioned, deciding=sets)
        if relation.definition:
            view = _parse_query(relation.definition)
            if view is not None:
                collector.tree(view, None, deciding=False)
    deciding = _helpers(catalog, called)
    for function in catalog.functions:
        if function.source:
            mentioned = collector.mentioned(function.source)
            collector.body(function.source, mentioned, deciding=function.name in deciding)
    return Dictionary(
        columns={
            key: texts
            for key, literals in collector.literals.items()
            if (texts := _texts(catalog.relations[key[0]], key[1], literals))
        },
        loose={kind: tuple(dict.fromkeys(texts)) for kind, texts in collector.loose.items()},
        reads={name: frozenset(columns) for name, columns in collector.reads.items()},
        tested={name: frozenset(columns) for name, columns in collector.tested.items()},
        nulls=frozenset(collector.nulls),
        comparisons=tuple(collector.comparisons),
    )


def _stands_alone(column: exp.Column) -> bool:
    """Whether a column is a condition by itself: ``WHERE shown AND NOT hidden``."""
    return isinstance(column.parent, exp.Where | exp.Join | exp.Having | exp.And | exp.Or | exp.Not)


def _timed(tree: exp.Expression) -> Iterator[exp.Column]:
    """The columns whose order with the present time an expression asks for."""
    for node in tree.find_all(exp.GT, exp.GTE, exp.LT, exp.LTE):
        for one, other in ((node.this, node.expression), (node.expression, node.this)):
            column = bare(one)
            if isinstance(column, exp.Column) and re.search(_NOW, other.sql("postgres"), re.I):
                yield column


def _helpers(catalog: Catalog, called: set[str]) -> set[RelationName]:
    """The functions that policies call, and those that these call in turn."""
    helpers: set[RelationName] = set()
    words = set(called)
    while True:
        found = [f for f in catalog.functions if f.name.name in words and f.name not in helpers]
        if not found:
            return helpers
        for function in found:
            helpers.add(function.name)
            words |= set(_WORDS.findall(function.source))


@lru_cache(maxsize=1024)
def _parse_query(text: str) -> exp.Expression | None:
    try:
        tree = sqlglot.parse_one(text, dialect="postgres")
    except (SqlglotError, RecursionError):
        return None
    return tree if isinstance(tree, exp.Expression) else None


def _texts(relation: Relation, column: str, literals: list[Literal]) -> tuple[str, ...]:
    found = relation.column(column)
    if found is None:
        return ()
    # Size and pattern bounds are for those who check; they are no words of the schema.
    spoken = [x for x in literals if x.how in ("value", "element", "key", "like")]
    try:
        make = maker_of(found.type)
    except UnknownType:
        return ()
    return tuple(dict.fromkeys(literal_values(found.type, spoken, make)))[:MOST]
