"""What policies read of the session: settings, claims, the role, and what they compare them with.

Policies are read for the identity mechanism alone, and to decide between guesses that names and
foreign keys leave open; whose a row is they do not say.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from sqlglot import exp

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
from tenantfuzz.policies.inferring.trees import (
    alternatives,
    conjuncts,
    disjuncts,
    is_path,
    keys_of,
    parsed,
    picks,
    readable,
    shown_nulls,
    stripped,
    unwrapped,
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
    own: set[Place] = field(default_factory=set)
    ties: set[tuple[str, Place]] = field(default_factory=set)
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
        self.own |= other.own
        self.ties |= other.ties
        self.relations |= other.relations
        self.opens |= other.opens


@dataclass(frozen=True, slots=True)
class _Scope:
    tables: tuple[tuple[str, Relation], ...]  # by alias, innermost first
    variables: Mapping[str, frozenset[Source | Place]]
    query: int
    parameters: tuple[str, ...] = ()
    home: Relation | None = None  # whose row the policy is about


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
        reasons: list[Alternative] = []
        for text in filter(None, (policy.using, policy.check)):
            tree = parsed(text)
            if tree is None:
                found.sources |= {Source(s) for s in _SETTING.findall(text)}
                continue
            self._queries += 1
            home = ((relation.name.name, relation),)
            scope = _Scope(home, {}, self._queries, home=relation)
            self._walk(tree, scope, found, 0)
            nulls |= shown_nulls(tree)
            shows = policy.permissive and policy.applies_to(Operation.SELECT)
            if shows and text == policy.using:
                reasons += self._alternatives(tree, scope)
        return Reading(
            relation.name,
            policy.name,
            tuple(dict.fromkeys(found.matches)),
            _longest(found.sources),
            tuple(dict.fromkeys(found.lookups)),
            tuple(dict.fromkeys(found.conditions)),
            frozenset(nulls),
            tuple(reasons),
            tuple(dict.fromkeys(found.constants)),
        )

    def _alternatives(self, tree: exp.Expression, scope: _Scope) -> Iterator[Alternative]:
        """The reasons for which a policy shows a row, each by itself."""
        for part in alternatives(tree):
            found = _Found()
            self._walk(part, scope, found, 0)
            opened = opened_relations(found.matches, found.lookups)
            decided = {m.place for m in found.matches}
            decided |= {own for own, other in found.lookups if other.relation in opened}
            own = found.own | {
                Place(scope.home.name, column)
                for column, other in found.ties
                if scope.home is not None and other.relation in opened
            }
            yield Alternative(
                readable(part),
                part.find(exp.Anonymous, exp.Select) is None,
                any(picks(condition) for condition in conjuncts(part)),
                bool(found.sources),
                found.opens,
                frozenset(word for name in found.spoken for word in words(name)),
                frozenset(found.columns),
                frozenset(found.relations),
                frozenset(decided),
                frozenset(own),
                frozenset(found.ties),
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
        for part in disjuncts(node):
            inner = _Found()
            self._walk(part, scope, inner, depth)
            spoken = {word for name in inner.spoken for word in words(name)}
            asking |= bool(inner.sources)
            public |= not inner.sources and bool(spoken & PUBLIC_WORDS)
        found.opens |= asking and public

    def _values_at(self, node: exp.Expression, scope: _Scope, found: _Found, depth: int) -> None:
        """Notes what a call reads, wherever it stands."""
        if isinstance(node, exp.Anonymous | exp.CurrentUser | exp.SessionUser) or is_path(node):
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
            for part in conjuncts(tree):
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
        text = stripped(bare).sql(dialect="postgres")
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
            place = self._place(stripped(one), scope)
            if place is None:
                constant = stripped(one)
                if isinstance(constant, exp.Literal | exp.Boolean):
                    found.constants += [
                        (v, str(constant.this).lower())
                        for v in self._values(other, scope, found, depth)
                        if isinstance(v, Source)
                    ]
                continue
            if (number := _parameter(stripped(other), scope)) is not None:
                found.parameters.append((number, place))
                continue
            for value in self._values(other, scope, found, depth):
                if self._is_home(stripped(one), scope):
                    if isinstance(value, Source):
                        found.own.add(place)
                    else:
                        found.ties.add((place.column, value))
                if isinstance(value, Source):
                    several = value.plural or plural
                    found.matches.append(Match(place, replace(value, plural=several), scope.query))
                elif value != place:
                    found.lookups.append((place, value))

    def _is_home(self, node: exp.Expression, scope: _Scope) -> bool:
        """Whether a column is one of the very row that the policy is about."""
        if scope.home is None or not isinstance(node, exp.Column):
            return False
        *inner, (alias, home) = scope.tables
        if node.table:
            return node.table == alias and all(a != alias for a, _ in inner)
        return all(r.column(node.name) is None for _, r in inner) and (
            home.column(node.name) is not None
        )

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
        node = unwrapped(node)
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
        if is_path(node):
            keys = keys_of(node.expression)
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
            text = stripped(arguments[0]) if arguments else None
            if isinstance(text, exp.Literal):
                source = Source(str(text.this))
                found.sources.add(source)
                return {source}
            number = _parameter(text, scope) if text is not None else None
            return {Source(f"${number}")} if number is not None else set()
        if name in _PATHS and arguments:
            keys = tuple(
                str(a.this) for x in arguments[1:] if isinstance(a := stripped(x), exp.Literal)
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
            inner = _bound(self._function(function, depth + 1), arguments)
            found.add(inner)
            values |= inner.values
            for number, place in inner.parameters:
                if number >= len(arguments):
                    continue
                given = self._place(stripped(arguments[number]), scope)
                if given is not None:
                    found.lookups.append((given, place))
                    if self._is_home(stripped(arguments[number]), scope):
                        found.ties.add((given.column, place))
                elif (outer := _parameter(stripped(arguments[number]), scope)) is not None:
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


def _bound(found: _Found, arguments: list[exp.Expression]) -> _Found:
    """What a function reads where it is called: settings that it takes by name have their names."""
    named = {
        f"${number}": str(text.this)
        for number, argument in enumerate(arguments)
        if isinstance(text := stripped(argument), exp.Literal)
    }

    def bind(source: Source) -> Source | None:
        if not source.setting.startswith("$"):
            return source
        name = named.get(source.setting)
        return replace(source, setting=name) if name is not None else None

    if not any(s.setting.startswith("$") for s in _sources_in(found)):
        return found
    return replace(
        found,
        matches=[replace(m, source=b) for m in found.matches if (b := bind(m.source))],
        sources={b for s in _sources_in(found) if (b := bind(s))},
        values={
            *(v for v in found.values if isinstance(v, Place)),
            *(b for v in found.values if isinstance(v, Source) and (b := bind(v))),
        },
    )


def _sources_in(found: _Found) -> set[Source]:
    values = {v for v in found.values if isinstance(v, Source)}
    return found.sources | values | {m.source for m in found.matches}


def opened_relations(
    matches: Iterable[Match], lookups: Iterable[tuple[Place, Place]]
) -> frozenset[RelationName]:
    """The relations of which the session sees its own rows: those that it is compared with, and
    those that are compared with what is found in such a relation."""
    opened = {m.place.relation for m in matches}
    pairs = set(lookups)
    progress = True
    while progress:
        more = {own.relation for own, other in pairs if other.relation in opened} - opened
        opened |= more
        progress = bool(more)
    return frozenset(opened)


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
