"""What one role's queries are made of: columns by what can be asked of them, joins, operators."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tenantfuzz.policies.model import Model
from tenantfuzz.policies.quoting import identifier, qualified
from tenantfuzz.policies.structure import (
    Catalog,
    DataType,
    ForeignKey,
    Function,
    Relation,
    RelationName,
    TypeCategory,
)
from tenantfuzz.strategies.actions import Grants

_NO_EQUALITY = frozenset(
    "json xml point polygon path line box circle lseg geometry geography raster jsonpath".split()
)
_SORTS = {
    "text": "text", "varchar": "text", "citext": "text",
    "int2": "number", "int4": "number", "int8": "number", "numeric": "number",
    "float4": "float", "float8": "float", "bool": "bool", "uuid": "uuid",
    "date": "time", "timestamp": "time", "timestamptz": "time",
    "jsonb": "jsonb", "tsvector": "tsvector",
}  # fmt: skip
_SPOKEN = {
    "int2": "smallint", "int4": "integer", "int8": "bigint", "varchar": "character varying",
    "bool": "boolean", "timestamptz": "timestamp with time zone", "float8": "double precision",
    "timestamp": "timestamp without time zone",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Operator:
    """A binary operator that the server has beyond its own: of an extension or of the target.
    ``left``, ``right`` and ``result`` are names of types without schema."""

    schema: str
    symbol: str
    left: str
    right: str
    result: str

    @property
    def written(self) -> str:
        """The operator, found whatever the search path is."""
        return f"OPERATOR({identifier(self.schema)}.{self.symbol})"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a server adds to the words of its queries: operators, and the OIDs of the target's
    functions that say they leak nothing."""

    operators: tuple[Operator, ...] = ()
    leakproof: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Link:
    """A foreign key as a join: ``child`` refers to ``parent``."""

    child: RelationName
    parent: RelationName
    columns: tuple[tuple[str, str], ...]  # of the child, of the parent


@dataclass(frozen=True, slots=True)
class Entry:
    """One relation as queries see it. ``sorts`` has its columns by sort; ``key`` those of its key
    where all may be read; ``functions`` take a whole row or, named with a column, its value."""

    relation: Relation
    columns: tuple[str, ...]
    sorts: Mapping[str, tuple[str, ...]]
    key: tuple[str, ...]
    links: tuple[Link, ...]  # up and down
    own_links: tuple[Link, ...]  # to itself
    likes: tuple[tuple[str, RelationName, str], ...]  # columns of others with the same type
    functions: tuple[tuple[str, str], ...]  # function as called, column or "" for the row
    operators: tuple[tuple[Operator, str], ...]
    parted: bool
    lockable: bool
    grants: Grants
    dml: bool

    def base(self, column: str) -> str:
        """The name of the type behind a column."""
        found = self.relation.column(column)
        return found.type.base if found is not None else ""


@dataclass(slots=True)
class Lexicon:
    """All of one role: what it is granted on the relations that it may read, and which of them may
    be met with any statement (``dml``)."""

    catalog: Catalog
    model: Model
    grants: Mapping[RelationName, Grants]
    dml: frozenset[RelationName] = frozenset()
    vocabulary: Vocabulary = field(default_factory=Vocabulary)
    role: str | None = None
    entries: dict[RelationName, Entry] = field(init=False)

    def __post_init__(self) -> None:
        named = {
            name: kept
            for name, grant in self.grants.items()
            if (kept := comparable(self.catalog.relations[name], grant.select))
        }
        links = self._links(named)
        by_type: dict[tuple[TypeCategory, str], list[tuple[RelationName, str]]] = {}
        for name, columns in named.items():
            for column in columns:
                by_type.setdefault(self._type(name, column), []).append((name, column))
        self.entries = {n: self._entry(n, columns, links, by_type) for n, columns in named.items()}

    def _type(self, name: RelationName, column: str) -> tuple[TypeCategory, str]:
        found = self.catalog.relations[name].column(column)
        kind = found.type if found is not None else DataType("", "")
        return kind.category, kind.base

    def _links(self, named: Mapping[RelationName, tuple[str, ...]]) -> list[Link]:
        def joinable(name: RelationName, key: ForeignKey) -> bool:
            there = set(named.get(key.target, ()))
            return set(key.columns) <= set(named[name]) and set(key.target_columns) <= there

        return [
            Link(name, key.target, tuple(zip(key.columns, key.target_columns, strict=True)))
            for name in named
            for key in self.model.foreign_keys(self.catalog, name)
            if joinable(name, key)
        ]

    def _entry(
        self,
        name: RelationName,
        columns: tuple[str, ...],
        links: Sequence[Link],
        by_type: Mapping[tuple[TypeCategory, str], Sequence[tuple[RelationName, str]]],
    ) -> Entry:
        relation = self.catalog.relations[name]
        sorts: dict[str, list[str]] = {}
        for column in columns:
            sorts.setdefault(self._sort(relation, column), []).append(column)
        key = relation.primary_key
        keyed = key is not None and set(key.columns) <= set(columns)
        return Entry(
            relation=relation,
            columns=columns,
            sorts={s: tuple(c) for s, c in sorts.items()},
            key=key.columns if key is not None and keyed else (),
            links=tuple(k for k in links if name in (k.child, k.parent)),
            own_links=tuple(k for k in links if k.child == name == k.parent),
            likes=tuple(
                (column, other, theirs)
                for column in columns
                for other, theirs in by_type[self._type(name, column)]
                if self._sort(relation, column) in ("text", "number", "time", "uuid", "enum")
            ),
            functions=tuple(self._functions(relation, columns)),
            operators=tuple(
                (operator, column)
                for column in columns
                for operator in self.vocabulary.operators
                if operator.left == operator.right
                and self._type(name, column) == (TypeCategory.BASE, operator.left)
            ),
            parted=bool(relation.partition_key),
            lockable=bool(self.grants[name].update) and name in self.dml,
            grants=self.grants[name],
            dml=name in self.dml,
        )

    def _sort(self, relation: Relation, column: str) -> str:
        found = relation.column(column)
        if found is None:
            return "other"
        if found.type.category is not TypeCategory.BASE:
            return found.type.category.value
        return _SORTS.get(found.type.base, "other")

    def _functions(self, relation: Relation, columns: Sequence[str]) -> "list[tuple[str, str]]":
        """Functions of one argument that policies cannot be asked about before they run, because
        they say that they leak nothing, and those that take a row (computed columns of REST)."""
        whole = set(columns) == {c.name for c in relation.columns}
        found: list[tuple[str, str]] = []
        for function in self.catalog.functions:
            if not self._callable(function):
                continue
            argument, called = function.arguments, qualified(function.name)
            if whole and _takes(argument, (relation.name.name, str(relation.name))):
                found.append((called, ""))
            elif function.oid in self.vocabulary.leakproof:
                for column in columns:
                    base = self._type(relation.name, column)[1]
                    if _takes(argument, (base, _SPOKEN.get(base, base))):
                        found.append((called, column))
        return found

    def _callable(self, function: Function) -> bool:
        result = function.result.upper()
        several = result.startswith(("SETOF", "TABLE")) or result in ("", "VOID", "RECORD")
        return (
            not (function.procedure or function.volatile or several)
            and "," not in function.arguments
            and self.role is not None
            and self.role in function.executable_by
        )


def comparable(relation: Relation, columns: Sequence[str]) -> tuple[str, ...]:
    """Those of the columns whose values can be grouped and compared."""

    def compares(kind: DataType | None) -> bool:
        while kind is not None:
            if kind.base in _NO_EQUALITY or kind.category is TypeCategory.COMPOSITE:
                return False
            kind = kind.element
        return True

    found = ((c, relation.column(c)) for c in columns)
    return tuple(c for c, column in found if column is not None and compares(column.type))


def _takes(arguments: str, types: Sequence[str]) -> bool:
    """Whether the one argument, with or without a name, is of one of these types."""
    plain = arguments.replace('"', "")
    return any(plain == t or plain.endswith(f" {t}") for t in types)
