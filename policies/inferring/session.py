"""What policies read of the session: settings, claims, the role, and what they compare them with.

Policies are read for the identity mechanism alone, and to decide between guesses that names and
foreign keys leave open; whose a row is they do not say.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from tenantfuzz.policies.inferring.bodies import body_of, parameter_names
from tenantfuzz.policies.inferring.readings import (
    ROLE,
    Alternative,
    Condition,
    Match,
    Place,
    Reading,
    Source,
)
from tenantfuzz.policies.inferring.words import PUBLIC_WORDS, words
from tenantfuzz.policies.structure import (
    Catalog,
    Function,
    Operation,
    Policy,
    Relation,
    RelationName,
)

_SETTING = re.compile(r"current_setting\(\s*'([^']+)'", re.IGNORECASE)
_ARRAY_TEXT = re.compile(r"\{(.*)\}", re.DOTALL)
_SPLITTING = frozenset({"string_to_array", "regexp_split_to_array", "string_to_table"})
_ELEMENTS = frozenset({"jsonb_array_elements_text", "json_array_elements_text"})
_OBJECT_KEYS = frozenset({"jsonb_object_keys", "json_object_keys"})
_PATHS = frozenset({"jsonb_extract_path_text", "json_extract_path_text", "jsonb_extract_path"})
_DEEPEST = 12


@dataclass(slots=True)
class _Found:
    matches: list[Match] = field(default_factory=list)
    sources: set[Source] = field(default_factory=set)
    lookups: list[tuple[Place, Place]] = field(default_factory=list)
    conditions: list[Condition] = field(default_factory=list)
    constants: list[tuple[Source, str]] = field(default_factory=list)
    values: set[Source | Place] = field(default_factory=set)
    parameters: list[tuple[int, Place]] = field(default_factory=list)
    spoken: set[str] = field(default_factory=set)
    columns: set[str] = field(default_factory=set)
    relations: set[RelationName] = field(default_factory=set)
    opens: bool = False

    def add(self, other: "_Found") -> None:
        self.matches += other.matches
        self.sources |= other.sources
        self.lookups += other.lookups
        self.conditions += other.conditions
        self.constants += other.constants
        self.spoken |= other.spoken
        self.columns |= other.columns
        self.relations |= other.relations
        self.opens |= other.opens


@dataclass(frozen=True, slots=True)
class _Scope:
    tables: tuple[tuple[str, Relation], ...]  # by alias, innermost first
    variables: Mapping[str, frozenset[Source | Place]]
    query: int
    parameters: tuple[str, ...] = ()


def read_policies(catalog: Catalog) -> tuple[Reading, ...]:
    """One reading for each policy of the catalog."""
    reader = _Reader(catalog)
    return tuple(
        reader.policy(relation, policy)
        for relation in catalog.relations.values()
        for policy in relation.policies
    )


def read_defaults(catalog: Catalog) -> tuple[Match, ...]:
    """The columns whose default is a value of the session."""
    reader = _Reader(catalog)
    found: list[Match] = []
    for relation in catalog.relations.values():
        for column in relation.columns:
            for source in reader.sources_of(column.default) if column.default else ():
                found.append(Match(Place(relation.name, column.name), source, -1))
    return tuple(found)


class _Reader:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._functions: dict[str, list[Function]] = {}
        for function in catalog.functions:
            self._functions.setdefault(function.name.name, []).append(function)
        self._bodies: dict[int, _Found] = {}
        self._queries = 0

    def policy(self, relation: Relation, policy: Policy) -> Reading:
        found = _Found()
        nulls: set[str] = set()
        alternatives: list[Alternative] = []
        for text in filter(None, (policy.using, policy.check)):
            tree = parsed(text)
            if tree is None:
                found.sources |= {Source(s) for s in _SETTING.findall(text)}
                continue
            self._queries += 1
            scope = _Scope(((relation.name.name, relation),), {}, self._queries)
            self._walk(tree, scope, found, 0)
            nulls |= _shown_nulls(tree)
            shows = policy.permissive and policy.applies_to(Operation.SELECT)
            if shows and text == policy.using:
                alternatives += self._alternatives(tree, scope)
        return Reading(
            relation.name,
            policy.name,
            tuple(dict.fromkeys(found.matches)),
            _longest(found.sources),
            tuple(
                dict.fromkeys(
                    (own.column, other)
                    for own, other in found.lookups
                    if own.relation == relation.name
                )
            ),
            tuple(dict.fromkeys(found.conditions)),
            frozenset(nulls),
            tuple(alternatives),
            tuple(dict.fromkeys(found.constants)),
        )

    def _alternatives(self, tree: exp.Expression, scope: _Scope) -> Iterator[Alternative]:
        """The operands of a policy's OR, each by itself."""
        for part in _disjuncts(tree):
            found = _Found()
            self._walk(part, scope, found, 0)
            asked = {m.place.relation for m in found.matches}
            decided = {m.place for m in found.matches}
            decided |= {own for own, other in found.lookups if other.relation in asked}
            yield Alternative(
                _readable(part),
                part.find(exp.Anonymous, exp.Select) is None,
                any(_picks(condition) for condition in _conjuncts(part)),
                bool(found.sources),
                found.opens,
                frozenset(word for name in found.spoken for word in words(name)),
                frozenset(found.columns),
                frozenset(found.relations),
                frozenset(decided),
            )

    def sources_of(self, text: str) -> Iterator[Source]:
        tree = parsed(text)
        if tree is not None:
            values = self._values(tree, _Scope((), {}, -1), _Found(), 0)
            yield from (v for v in values if isinstance(v, Source))

    # Conditions

    def _walk(self, node: exp.Expression, scope: _Scope, found: _Found, depth: int) -> None:
        if isinstance(node, exp.Select):
            inner = self._inside(node, scope)
            found.relations |= {r.name for _, r in inner.tables[: -len(scope.tables) or None]}
            scope = inner
            self._conditions(node, scope, found)
        elif isinstance(node, exp.EQ | exp.NullSafeEQ):
            self._compare(node.this, node.expression, scope, found, depth)
        elif isinstance(node, exp.In):
            query = node.args.get("query")
            for option in [query] if query is not None else node.expressions:
                self._compare(node.this, option, scope, found, depth)
        elif isinstance(node, exp.Or) and not isinstance(node.parent, exp.Or):
            self._open(node, scope, found, depth)
        elif isinstance(node, exp.JSONBContainsTopKey):
            self._compare(node.expression, node.this, scope, found, depth, plural="keys")
        elif isinstance(node, exp.ArrayContainsAll):
            self._compare(node.expression, node.this, scope, found, depth, plural="json")
        self._values_at(node, scope, found, depth)
        if isinstance(node, exp.Column) or (isinstance(node, exp.Literal) and node.is_string):
            found.spoken.add(node.name)
        if isinstance(node, exp.Column):
            found.columns.add(node.name)
        for child in node.iter_expressions():
            self._walk(child, scope, found, depth)

    def _open(self, node: exp.Or, scope: _Scope, found: _Found, depth: int) -> None:
        """Notes whether one operand speaks of what is public while another asks who it is."""
        asking = public = False
        for part in _disjuncts(node):
            inner = _Found()
            self._walk(part, scope, inner, depth)
            spoken = {word for name in inner.spoken for word in words(name)}
            asking |= bool(inner.sources)
            public |= not inner.sources and bool(spoken & PUBLIC_WORDS)
        found.opens |= asking and public

    def _values_at(self, node: exp.Expression, scope: _Scope, found: _Found, depth: int) -> None:
        """Notes what a call reads, wherever it stands."""
        if isinstance(node, exp.Anonymous | exp.CurrentUser | exp.SessionUser) or _is_path(node):
            values = self._values(node, scope, found, depth)
            found.sources |= {v for v in values if isinstance(v, Source)}

    def _inside(self, select: exp.Select, scope: _Scope) -> _Scope:
        tables: list[tuple[str, Relation]] = []
        sources = [
            select.args.get("from_") or select.args.get("from"),
            *(select.args.get("joins") or ()),
        ]
        for source in sources:
            table = source.this if source is not None else None
            if isinstance(table, exp.Table):
                found = self._catalog.find(f"{table.db}.{table.name}" if table.db else table.name)
                if found is not None:
                    tables.append((table.alias_or_name, self._catalog.relations[found]))
        self._queries += 1
        return replace(scope, tables=(*tables, *scope.tables), query=self._queries)

    def _conditions(self, select: exp.Select, scope: _Scope, found: _Found) -> None:
        where = select.args.get("where")
        joins = [j.args.get("on") for j in select.args.get("joins") or ()]
        for tree in [where.this if where is not None else None, *joins]:
            for part in _conjuncts(tree):
                self._condition(part, scope, found)

    def _condition(self, part: exp.Expression, scope: _Scope, found: _Found) -> None:
        columns = list(part.find_all(exp.Column))
        if not columns or part.find(exp.Select, exp.Anonymous, exp.Placeholder) is not None:
            return
        places = {self._place(column, scope) for column in columns}
        relations = {place.relation for place in places if place is not None}
        if None in places or len(relations) != 1:
            return
        bare = part.copy()
        for column in bare.find_all(exp.Column):
            column.set("table", None)
            column.set("db", None)
        [relation] = relations
        names = tuple(sorted({column.name for column in columns}))
        text = _stripped(bare).sql(dialect="postgres")
        found.conditions.append(Condition(relation, text, names, scope.query))

    def _compare(
        self,
        left: exp.Expression,
        right: exp.Expression,
        scope: _Scope,
        found: _Found,
        depth: int,
        plural: str = "",
    ) -> None:
        for one, other in ((left, right), (right, left)):
            place = self._place(_stripped(one), scope)
            if place is None:
                constant = _stripped(one)
                if isinstance(constant, exp.Literal | exp.Boolean):
                    found.constants += [
                        (v, str(constant.this).lower())
                        for v in self._values(other, scope, found, depth)
                        if isinstance(v, Source)
                    ]
                continue
            if (number := _parameter(_stripped(other), scope)) is not None:
                found.parameters.append((number, place))
                continue
            for value in self._values(other, scope, found, depth):
                if isinstance(value, Source):
                    several = value.plural or plural
                    found.matches.append(Match(place, replace(value, plural=several), scope.query))
                elif value != place:
                    found.lookups.append((place, value))

    def _place(self, node: exp.Expression, scope: _Scope) -> Place | None:
        if not isinstance(node, exp.Column):
            return None
        for alias, relation in scope.tables:
            fits = not node.table or node.table in (alias, relation.name.name)
            if fits and relation.column(node.name) is not None:
                return Place(relation.name, node.name)
        return None

    # Values

    def _values(
        self, node: exp.Expression, scope: _Scope, found: _Found, depth: int
    ) -> set[Source | Place]:
        """Where the value of an expression comes from."""
        node = _unwrapped(node)
        match node:
            case exp.Cast():
                cast = self._values(node.this, scope, found, depth)
                if node.to is not None and node.to.this == exp.DataType.Type.ARRAY:
                    return {_plural(v, "array") for v in cast}
                return cast
            case exp.CurrentUser():
                return {Source(ROLE, ("current",))}
            case exp.SessionUser():
                return {Source(ROLE, ("session",))}
            case exp.Column():
                if not node.table and node.name in scope.variables:
                    return set(scope.variables[node.name])
                place = self._place(node, scope)
                return {place} if place is not None else set()
            case exp.Select():
                inner = self._inside(node, scope)
                first = node.expressions[0] if node.expressions else None
                return self._values(first, inner, found, depth) if first is not None else set()
            case exp.Nullif() | exp.Any():
                return self._values(node.this, scope, found, depth)
            case exp.Dot():
                return self._values(node.expression, scope, found, depth)
            case exp.DPipe() | exp.Literal() | exp.EQ() | exp.And() | exp.Or():
                return set()
            case exp.Anonymous():
                return self._call(node, scope, found, depth)
        if _is_path(node):
            keys = _keys(node.expression)
            return {_deeper(v, keys) for v in self._values(node.this, scope, found, depth)}
        values: set[Source | Place] = set()
        if isinstance(node, exp.Func) and (
            named := self._functions.get(node.sql_name().lower(), [])
        ):
            return self._called(named, list(node.iter_expressions()), scope, found, depth)
        if isinstance(node, exp.Func | exp.Case | exp.If):
            for child in node.iter_expressions():
                values |= self._values(child, scope, found, depth)
            name = node.sql_name().lower() if isinstance(node, exp.Func) else ""
            if name in _SPLITTING:
                return {_plural(v, "csv") for v in values}
        return values

    def _call(
        self, node: exp.Anonymous, scope: _Scope, found: _Found, depth: int
    ) -> set[Source | Place]:
        name = node.name.lower()
        arguments = node.expressions
        if name == "current_setting":
            text = _stripped(arguments[0]) if arguments else None
            if isinstance(text, exp.Literal):
                source = Source(str(text.this))
                found.sources.add(source)
                return {source}
            return set()
        if name in _PATHS and arguments:
            keys = tuple(
                str(a.this) for x in arguments[1:] if isinstance(a := _stripped(x), exp.Literal)
            )
            return {_deeper(v, keys) for v in self._values(arguments[0], scope, found, depth)}
        functions = self._functions.get(node.name, [])
        if functions and depth < _DEEPEST:
            return self._called(functions, arguments, scope, found, depth)
        values: set[Source | Place] = set()
        for argument in arguments:
            values |= self._values(argument, scope, found, depth)
        for names, word in ((_SPLITTING, "csv"), (_ELEMENTS, "json"), (_OBJECT_KEYS, "keys")):
            if name in names:
                return {_plural(v, word) for v in values}
        return values

    def _called(
        self,
        functions: list[Function],
        arguments: list[exp.Expression],
        scope: _Scope,
        found: _Found,
        depth: int,
    ) -> set[Source | Place]:
        """What a function's value comes from; what it compares its arguments with is compared with
        them where it is called."""
        values: set[Source | Place] = set()
        for function in functions:
            inner = self._function(function, depth + 1)
            found.add(inner)
            values |= inner.values
            for number, place in inner.parameters:
                if number >= len(arguments):
                    continue
                given = self._place(_stripped(arguments[number]), scope)
                if given is not None:
                    found.lookups.append((given, place))
                elif (outer := _parameter(_stripped(arguments[number]), scope)) is not None:
                    found.parameters.append((outer, place))
        return values

    def _function(self, function: Function, depth: int) -> _Found:
        """What a function reads, and where the value that it returns comes from."""
        if function.oid in self._bodies:
            return self._bodies[function.oid]
        self._bodies[function.oid] = found = _Found()  # one that calls itself adds nothing
        found.sources |= {Source(s) for s in _SETTING.findall(function.source)}
        body = body_of(function)
        parameters = parameter_names(function.arguments)
        variables: dict[str, frozenset[Source | Place]] = {}
        for step in body.steps:
            self._queries += 1
            scope = _Scope((), variables, self._queries, parameters)
            self._walk(step.tree, scope, found, depth)
            values = frozenset(self._values(step.tree, scope, found, depth))
            for name in step.into:
                variables[name] = variables.get(name, frozenset()) | values
            if step.returns:
                found.values |= values
        whole = {s for s in found.sources if s.path}
        found.sources -= {
            s for s in found.sources if not s.path and any(w.setting == s.setting for w in whole)
        }
        return found


def parsed(text: str) -> exp.Expression | None:
    """The syntax tree of an expression or a query, or None where it is not understood."""
    try:
        tree = sqlglot.parse_one(text, dialect="postgres")
    except (SqlglotError, RecursionError):
        return None
    return tree if isinstance(tree, exp.Expression) else None


def _unwrapped(node: exp.Expression) -> exp.Expression:
    while isinstance(node, exp.Paren | exp.Subquery | exp.Alias | exp.Collate):
        node = node.this
    return node


def _stripped(node: exp.Expression) -> exp.Expression:
    """``node`` without what stands around it: parentheses, casts, a sub-select of one value."""
    while True:
        node = _unwrapped(node)
        if isinstance(node, exp.Cast):
            node = node.this
        else:
            return node


def _is_path(node: exp.Expression) -> bool:
    return isinstance(
        node,
        exp.JSONExtract | exp.JSONExtractScalar | exp.JSONBExtract | exp.JSONBExtractScalar,
    )


def _keys(node: exp.Expression) -> tuple[str, ...]:
    if isinstance(node, exp.JSONPath):
        return tuple(str(part.this) for part in node.find_all(exp.JSONPathKey))
    node = _stripped(node)
    if isinstance(node, exp.Literal):
        text = str(node.this)
        listed = _ARRAY_TEXT.fullmatch(text)
        return tuple(k.strip().strip('"') for k in listed[1].split(",")) if listed else (text,)
    return ()


def _deeper(value: Source | Place, keys: Iterable[str]) -> Source | Place:
    if isinstance(value, Place):
        return value
    return replace(value, path=(*value.path, *keys))


def _longest(sources: Iterable[Source]) -> frozenset[Source]:
    """The sources without those that are only the way to others (a JSON document to its keys)."""
    known = {replace(source, plural="") for source in sources}
    return frozenset(
        source
        for source in known
        if not any(
            other.setting == source.setting
            and len(other.path) > len(source.path)
            and other.path[: len(source.path)] == source.path
            for other in known
        )
    )


def _parameter(node: exp.Expression, scope: _Scope) -> int | None:
    """The number of the function's parameter that an expression is, or None."""
    if isinstance(node, exp.Parameter):
        text = str(node.this)
        return int(text) - 1 if text.isdigit() else None
    if isinstance(node, exp.Column) and node.name in scope.parameters:
        own = any(relation.column(node.name) is not None for _, relation in scope.tables)
        return None if own and not node.table else scope.parameters.index(node.name)
    return None


def _plural(value: Source | Place, how: str) -> Source | Place:
    return replace(value, plural=value.plural or how) if isinstance(value, Source) else value


def _conjuncts(tree: exp.Expression | None) -> Iterator[exp.Expression]:
    if tree is None:
        return
    tree = _unwrapped(tree)
    if isinstance(tree, exp.And):
        yield from _conjuncts(tree.this)
        yield from _conjuncts(tree.expression)
    else:
        yield tree


def _readable(part: exp.Expression) -> str:
    """A condition without the types that the catalog writes behind every constant."""
    part = _unwrapped(part).copy()
    for cast in list(part.find_all(exp.Cast)):
        if isinstance(cast.this, exp.Literal):
            cast.replace(cast.this)
    return part.sql(dialect="postgres")


def _picks(condition: exp.Expression) -> bool:
    """Whether a condition picks rows that have a value: ``kind = 'logo'``, ``is_open``."""
    match condition:
        case exp.Column():
            return True
        case exp.EQ():
            sides = {type(_stripped(condition.this)), type(_stripped(condition.expression))}
            return exp.Column in sides and bool(sides & {exp.Literal, exp.Boolean})
        case exp.In():
            listed = all(isinstance(_stripped(e), exp.Literal) for e in condition.expressions)
            return bool(condition.expressions) and listed
    return False


def _disjuncts(tree: exp.Expression) -> Iterator[exp.Expression]:
    tree = _unwrapped(tree)
    if isinstance(tree, exp.Or):
        yield from _disjuncts(tree.this)
        yield from _disjuncts(tree.expression)
    else:
        yield tree


def _shown_nulls(tree: exp.Expression) -> set[str]:
    """Columns that a policy's own words let be NULL, so that it may show rows without a value."""
    shown = set()
    for part in tree.find_all(exp.Is):
        column = _stripped(part.this)
        inner = part.find_ancestor(exp.Select, exp.Not) is not None
        if isinstance(part.expression, exp.Null) and isinstance(column, exp.Column) and not inner:
            shown.add(column.name)
    return shown
