"""What can be said of an application query without running it: which rows it names, by which
references, what is equal to what in it, and what its parameters are compared with.

The syntax tree is sqlglot's. An equality counts for a reference where it must hold for each of its
rows that has any part in the answer: conjuncts of WHERE and of inner joins for all references of
their query, the condition of an outer join for its optional side only, the arms of OR as far as
they agree; what stands inside EXISTS and IN also for the query around it.
"""

from collections.abc import Iterator, Mapping, Sequence

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from tenantfuzz.policies.query_parts import (
    Compared,
    Equality,
    Input,
    Node,
    Place,
    QueryAnalysis,
    Reference,
    Term,
)
from tenantfuzz.policies.query_scopes import Scope, Source, bare, how_met, items
from tenantfuzz.policies.query_text import QueryText
from tenantfuzz.policies.structure import Catalog, RelationName

_QUERIES = (exp.Select, exp.SetOperation)
_WRITES = (exp.Insert, exp.Update, exp.Delete, exp.Merge)


def analyse(
    text: QueryText, catalog: Catalog, known: Mapping[str, str] | None = None
) -> QueryAnalysis | None:
    """The analysis, or None where sqlglot does not understand the query.

    ``known`` are values that count as inputs of that name where the query holds them as literals.
    """
    try:
        # Parsed, never run.
        trees = sqlglot.parse(text.indexed(), dialect="postgres")
    except (SqlglotError, RecursionError):
        return None
    tree = trees[0] if len(trees) == 1 else None
    if not isinstance(tree, (*_QUERIES, *_WRITES, exp.Subquery)):
        return None
    return _Analyst(catalog, text.names, known or {}).analyse(tree)


class _Analyst:
    def __init__(self, catalog: Catalog, names: Sequence[str], known: Mapping[str, str]) -> None:
        self.catalog = catalog
        self.known = known
        self.names = names
        self.references: list[Reference] = []
        self.equalities: list[Equality] = []
        self.compared: dict[str, dict[Compared, None]] = {}
        self.written: list[tuple[RelationName, str]] = []
        self.shared_null: set[Place] = set()
        self.scopes: dict[int, Scope] = {}  # by the id of their query's node
        self.mentions: dict[str, int] = {}

    def analyse(self, tree: Node) -> QueryAnalysis:
        for table in tree.find_all(exp.Table):
            self.mentions[table.name.lower()] = self.mentions.get(table.name.lower(), 0) + 1
        self.query(tree, None)
        for placeholder in tree.find_all(exp.Placeholder):
            self._compare(placeholder)
        self._compare_by_name()
        aggregates = [
            a
            for a in tree.find_all(exp.ArrayAgg, exp.GroupConcat, exp.JSONArrayAgg, exp.Anonymous)
            if not isinstance(a, exp.Anonymous) or str(a.this).lower() in _COLLECTING
        ]
        return QueryAnalysis(
            tree=tree,
            references=tuple(self.references),
            equalities=tuple(self.equalities),
            compared={name: tuple(found) for name, found in self.compared.items()},
            written=tuple(dict.fromkeys(self.written)),
            shared_null=frozenset(self.shared_null),
            locks=tree.find(exp.Lock) is not None,
            upserts=any(i.args.get("conflict") for i in tree.find_all(exp.Insert))
            or tree.find(exp.Merge) is not None,
            unordered=any(a.find(exp.Order) is None for a in aggregates),
            ordered=isinstance(tree.unnest(), _QUERIES)
            and tree.unnest().args.get("order") is not None,
        )

    # Queries

    def query(self, node: Node, parent: Scope | None) -> Source:
        """Takes in a query; returns what its rows are made of."""
        if isinstance(node, exp.Subquery):
            return self.query(node.this, parent)
        scope = Scope(parent)
        self.scopes[id(node)] = scope
        with_ = node.args.get("with_") or node.args.get("with")
        for cte in with_.expressions if with_ is not None else ():
            self._named(cte, scope)
        match node:
            case exp.SetOperation():
                return self._set_operation(node, scope)
            case exp.Select():
                return self._select(node, scope)
            case exp.Insert():
                return self._insert(node, scope)
            case exp.Update() | exp.Delete():
                return self._update(node, scope)
            case exp.Merge():
                return self._merge(node, scope)
            case _:
                self._inside(node, scope)
                return Source()

    def _named(self, cte: Node, scope: Scope) -> None:
        name = cte.alias.lower()
        scope.named[name] = Source()  # it may name itself
        source = self.query(cte.this, scope)
        columns = cte.args["alias"].columns if cte.args.get("alias") else []
        if columns:
            renamed = zip((c.name.lower() for c in columns), source.columns.values(), strict=False)
            source = Source(None, dict(renamed), source.leaves)
        if self.mentions.get(name, 0) != 1:
            source = Source(None, source.columns)  # a condition at one of its uses is not enough
        scope.named[name] = source

    def _set_operation(self, node: exp.SetOperation, scope: Scope) -> Source:
        arms = [self.query(arm, scope) for arm in (node.left, node.right)]
        columns: dict[str, list[Term]] = {}
        for position, name in enumerate(arms[0].columns):
            columns[name] = [
                term for arm in arms for term in [*arm.columns.values(), *[[]] * 99][position]
            ]
        return Source(None, columns, arms[0].leaves | arms[1].leaves)

    def _select(self, node: exp.Select, scope: Scope) -> Source:
        self._from(node, scope)
        where = node.args.get("where")
        if where is not None:
            self._conditions(where.this, scope, scope.leaves)
        self._inside(node, scope)
        return self._projected(node.expressions, node, scope)

    def _projected(self, expressions: Sequence[Node], node: Node, scope: Scope) -> Source:
        columns: dict[str, list[Term]] = {}
        for position, item in enumerate(expressions):
            if isinstance(item, exp.Star) or (
                isinstance(item, exp.Column) and isinstance(item.this, exp.Star)
            ):
                wanted = getattr(item, "table", "") or ""
                for alias, source in scope.sources.items():
                    if not wanted or alias == wanted.lower():
                        for name, terms in self._all_columns(source).items():
                            columns.setdefault(name, terms)
                continue
            name = item.alias_or_name.lower() or f"?{position}"
            columns[name] = self._terms(item.unalias(), scope)
        limited = any(node.args.get(a) for a in ("limit", "offset", "distinct"))
        mixed = limited or node.find(exp.Window) is not None
        grouped = node.args.get("group") is not None or (
            isinstance(node, exp.Select)
            and any(e.find(exp.AggFunc) is not None for e in node.expressions)
        )
        return Source(None, columns, frozenset() if mixed or grouped else scope.leaves)

    def _all_columns(self, source: Source) -> dict[str, list[Term]]:
        if source.relation is None:
            return source.columns
        relation = self.catalog.relations[self.references[source.relation].relation]
        return {c.name: [Place(source.relation, c.name)] for c in relation.columns}

    def _from(self, node: Node, scope: Scope) -> None:
        from_ = node.args.get("from_") or node.args.get("from")
        if from_ is not None:
            self._item(from_.this, scope)
        for using in node.args.get("using") or [] if isinstance(node, exp.Delete) else []:
            self._item(using, scope)
        for join in node.args.get("joins") or []:
            self._join(join, scope)
        for lateral in node.args.get("laterals") or []:
            self._item(lateral, scope)

    def _item(self, item: Node, scope: Scope) -> frozenset[int]:
        """Takes in one entry of FROM; returns the references that it brings."""
        before = scope.leaves
        alias = item.alias_or_name.lower()
        if isinstance(item, exp.Table):
            named = scope.named_query(item.name.lower()) if not item.args.get("db") else None
            scope.sources[alias] = named if named is not None else self._relation(item)
        elif isinstance(item, (exp.Subquery, exp.Lateral)):
            inner = item.this
            if isinstance(inner, exp.Subquery):
                inner = inner.this
            if isinstance(inner, (*_QUERIES, *_WRITES)):
                source = self.query(inner, scope)
                names = item.args["alias"].columns if item.args.get("alias") else []
                if names:
                    renamed = zip(
                        (c.name.lower() for c in names), source.columns.values(), strict=False
                    )
                    source = Source(None, dict(renamed), source.leaves)
                scope.sources[alias or f"?{id(item)}"] = source
            else:
                self._inside(item, scope)
                scope.sources[alias] = Source()
        elif isinstance(item, exp.Paren):
            self._item(item.this, scope)
        else:
            self._inside(item, scope)
            scope.sources[alias or f"?{id(item)}"] = Source()
        for join in item.args.get("joins") or []:
            self._join(join, scope)
        return scope.leaves - before

    def _relation(self, table: exp.Table, *, target: bool = False, upserts: bool = False) -> Source:
        text = f"{table.db}.{table.name}" if table.args.get("db") else table.name
        quoted = isinstance(table.this, exp.Identifier) and table.this.args.get("quoted")
        found = self.catalog.find(text if quoted else text.lower())
        if found is None:
            return Source()
        number = len(self.references)
        alias = table.alias_or_name
        self.references.append(Reference(number, found, alias, target, upserts))
        table.meta["upsert" if upserts else "reference"] = number
        return Source(number, leaves=frozenset({number}))

    def _join(self, join: exp.Join, scope: Scope) -> None:
        before = scope.leaves
        left = list(scope.sources)
        brought = self._item(join.this, scope)
        side = str(join.args.get("side") or "").upper()
        holds = {
            "LEFT": brought,
            "RIGHT": before,
            "FULL": frozenset[int](),
        }.get(side, scope.leaves)
        on = join.args.get("on")
        if on is not None:
            self._conditions(on, scope, holds)
        for column in join.args.get("using") or []:
            name = column.name.lower()
            right = self._terms_of(scope.sources[join.this.alias_or_name.lower()], name)
            for alias in left:
                for one in self._terms_of(scope.sources[alias], name):
                    for other in right:
                        self.equalities.append(Equality(one, other, holds))

    # Writes

    def _insert(self, node: exp.Insert, scope: Scope) -> Source:
        schema = node.this
        table = schema.this if isinstance(schema, exp.Schema) else schema
        conflict = node.args.get("conflict")
        target = self._relation(table, target=True)
        if target.relation is not None:
            reference = self.references[target.relation]
            self.written.append((reference.relation, "insert"))
            relation = self.catalog.relations[reference.relation]
            names = (
                [c.name.lower() for c in schema.expressions]
                if isinstance(schema, exp.Schema)
                else [c.name for c in relation.columns]
            )
            self._inserted(node, scope, target.relation, names)
        scope.sources[table.alias_or_name.lower()] = target
        if conflict is not None and target.relation is not None:
            self._upserted(conflict, table, scope, target.relation)
        return self._returned(node, scope, target)

    def _upserted(self, conflict: Node, table: exp.Table, scope: Scope, number: int) -> None:
        """The row that is in the way: it equals the new one in the columns of the conflict."""
        if not conflict.args.get("expressions"):
            return  # DO NOTHING
        inner = Scope(scope)
        there = self._relation(table, target=True, upserts=True)
        if there.relation is None:
            return
        inner.sources[table.alias_or_name.lower()] = there
        inner.sources["excluded"] = Source(None, self._all_columns(Source(number)))
        only = frozenset({there.relation})
        for column in self._conflict_columns(conflict, number):
            pair = Place(there.relation, column), Place(number, column)
            self.equalities.append(Equality(*pair, only))
        where = conflict.args.get("where")
        if where is not None:
            self._conditions(where.this, inner, only)
        self._inside(conflict, inner)

    def _conflict_columns(self, conflict: Node, number: int) -> list[str]:
        keys = conflict.args.get("conflict_keys") or []
        columns = [c.name.lower() for key in keys for c in key.find_all(exp.Column)]
        constraint = conflict.args.get("constraint")
        relation = self.catalog.relations[self.references[number].relation]
        if constraint is not None:
            columns += [c for u in relation.uniques if u.name == constraint.name for c in u.columns]
        return columns

    def _inserted(self, node: exp.Insert, scope: Scope, number: int, names: Sequence[str]) -> None:
        source = node.expression
        only = frozenset({number})
        if isinstance(source, exp.Values):
            rows = source.expressions
            for row in rows:
                for name, value in zip(names, items(row), strict=False):
                    self._note_values(value, number, name)
                    if len(rows) == 1:
                        for term in self._terms(value, scope):
                            self.equalities.append(Equality(Place(number, name), term, only))
            self._inside(source, scope)
        elif isinstance(source, (*_QUERIES, exp.Subquery)):
            made = self.query(source, scope)
            select = source.find(exp.Select)
            for name, value in zip(names, select.expressions if select else (), strict=False):
                self._note_values(value, number, name)
            for name, terms in zip(names, made.columns.values(), strict=False):
                for term in terms:
                    self.equalities.append(Equality(Place(number, name), term, only))

    def _note_values(self, value: Node, number: int, name: str) -> None:
        inner = bare(value.unalias())
        if isinstance(inner, exp.Placeholder):
            self._note(inner, self.references[number].relation, name, "insert")

    def _update(self, node: Node, scope: Scope) -> Source:
        operation = "update" if isinstance(node, exp.Update) else "delete"
        target = self._relation(node.this, target=True)
        scope.sources[node.this.alias_or_name.lower()] = target
        if target.relation is not None:
            self.written.append((self.references[target.relation].relation, operation))
        self._from(node, scope)
        where = node.args.get("where")
        if where is not None:
            self._conditions(where.this, scope, scope.leaves)
        self._inside(node, scope)
        return self._returned(node, scope, target)

    def _merge(self, node: exp.Merge, scope: Scope) -> Source:
        target = self._relation(node.this, target=True)
        scope.sources[node.this.alias_or_name.lower()] = target
        if target.relation is not None:
            self.written.append((self.references[target.relation].relation, "merge"))
        brought = self._item(node.args["using"], scope)
        self._conditions(node.args["on"], scope, scope.leaves - brought)
        self._inside(node, scope)
        return self._returned(node, scope, target)

    def _returned(self, node: Node, scope: Scope, target: Source) -> Source:
        returning = node.args.get("returning")
        if returning is None:
            return Source()
        return self._projected(returning.expressions, node, scope)

    # Conditions

    def _conditions(self, node: Node, scope: Scope, holds: frozenset[int]) -> None:
        for one, other, inner in self._conjuncts(node, scope):
            self.equalities.append(Equality(one, other, holds | inner))

    def _conjuncts(self, node: Node, scope: Scope) -> Iterator[tuple[Term, Term, frozenset[int]]]:
        """The equalities that are true where ``node`` is, with the references of sub-selects for
        which they hold as well."""
        none: frozenset[int] = frozenset()
        match node:
            case exp.And():
                yield from self._conjuncts(node.left, scope)
                yield from self._conjuncts(node.right, scope)
            case exp.Paren():
                yield from self._conjuncts(node.this, scope)
            case exp.Or():
                yield from self._common(node, scope)
            case exp.EQ() | exp.NullSafeEQ():
                yield from ((a, b, none) for a, b in self._pairs(node.left, node.right, scope))
            case exp.In() if node.args.get("query") is not None:
                yield from self._contained(node, scope)
            case exp.In() if len(node.expressions) == 1:
                pairs = self._pairs(node.this, node.expressions[0], scope)
                yield from ((a, b, none) for a, b in pairs)
            case exp.Exists():
                inner = self._scope_of(node.this, scope)
                yield from self._within(node.this, inner)
            case _:
                pass

    def _common(self, node: exp.Or, scope: Scope) -> Iterator[tuple[Term, Term, frozenset[int]]]:
        arms: list[list[tuple[Term, Term, frozenset[int]]]] = []
        for arm in (node.left, node.right):
            inner = arm.unnest()
            if isinstance(inner, exp.Is) and isinstance(inner.expression, exp.Null):
                terms = self._terms(inner.this, scope)
                if terms:
                    self.shared_null.update(t for t in terms if isinstance(t, Place))
                    continue
            arms.append(list(self._conjuncts(arm, scope)))
        if arms:
            first, *others = arms
            for item in first:
                if all(any({item[0], item[1]} == {o[0], o[1]} for o in other) for other in others):
                    yield item

    def _contained(self, node: exp.In, scope: Scope) -> Iterator[tuple[Term, Term, frozenset[int]]]:
        query = node.args["query"].unnest()
        inner = self._scope_of(query, scope)
        if isinstance(query, exp.Select):
            left = items(node.this)
            for one, other in zip(left, query.expressions, strict=False):
                for a in self._terms(one, scope):
                    for b in self._terms(other.unalias(), inner):
                        yield a, b, frozenset()
            if query.args.get("limit") is None:
                yield from self._within(query, inner)

    def _within(self, query: Node, inner: Scope) -> Iterator[tuple[Term, Term, frozenset[int]]]:
        if not isinstance(query, exp.Select):
            return
        where = query.args.get("where")
        parts = [where.this] if where is not None else []
        parts += [
            j.args["on"]
            for j in query.args.get("joins") or []
            if j.args.get("on") is not None and not j.args.get("side")
        ]
        for part in parts:
            for one, other, more in self._conjuncts(part, inner):
                yield one, other, more | inner.leaves

    def _scope_of(self, query: Node, scope: Scope) -> Scope:
        query = query.unnest()
        if id(query) not in self.scopes:
            self.query(query, scope)
        return self.scopes.get(id(query), Scope(scope))

    def _pairs(self, one: Node, other: Node, scope: Scope) -> Iterator[tuple[Term, Term]]:
        left, right = items(one), items(other)
        if len(left) == len(right) > 1:
            for a, b in zip(left, right, strict=True):
                yield from self._pairs(a, b, scope)
            return
        for a_term in self._terms(one, scope):
            for b_term in self._terms(other, scope):
                yield a_term, b_term

    # Terms

    def _terms(self, node: Node, scope: Scope) -> list[Term]:
        node = bare(node)
        if isinstance(node, exp.Any):
            node = bare(node.this)
        if isinstance(node, exp.Column):
            return self._column(node, scope)
        if isinstance(node, exp.Placeholder):
            return [Input(self._name(node))]
        if isinstance(node, exp.Literal) and str(node.this) in self.known:
            return [Input(self.known[str(node.this)])]
        if isinstance(node, exp.Nullif):
            return self._terms(node.this, scope)
        if isinstance(node, exp.Subquery) and isinstance(node.this, exp.Select):
            inner = self._scope_of(node.this, scope)
            if len(node.this.expressions) == 1 and not node.this.find(exp.AggFunc):
                return self._terms(node.this.expressions[0].unalias(), inner)
        if isinstance(node, exp.Anonymous) and str(node.this).lower() == "current_setting":
            first = node.expressions[0] if node.expressions else None
            if isinstance(first, exp.Literal):
                return [Input(f"setting:{first.this}")]
        return []

    def _column(self, node: exp.Column, scope: Scope) -> list[Term]:
        name = node.name if node.this.args.get("quoted") else node.name.lower()
        if node.table:
            source = scope.find(node.table.lower())
            return self._terms_of(source, name) if source is not None else []
        at: Scope | None = scope
        while at is not None:
            for alias, source in at.sources.items():
                if alias != "excluded" and (terms := self._terms_of(source, name)):
                    return terms
            at = at.parent
        return []

    def _terms_of(self, source: Source, name: str) -> list[Term]:
        if source.relation is None:
            return source.columns.get(name, [])
        relation = self.catalog.relations[self.references[source.relation].relation]
        return [Place(source.relation, name)] if relation.column(name) is not None else []

    def _name(self, placeholder: exp.Placeholder) -> str:
        number = str(placeholder.this or "").removeprefix("q")
        known = number.isdigit() and int(number) < len(self.names)
        return self.names[int(number)] if known else str(placeholder.this)

    # What is inside, and what parameters meet

    def _inside(self, node: Node, scope: Scope) -> None:
        """Takes in the sub-selects that nothing else took in."""
        stack: list[Node] = [node]
        while stack:
            current = stack.pop()
            for child in current.iter_expressions():
                if isinstance(child, (*_QUERIES, *_WRITES)):
                    if id(child) not in self.scopes and not isinstance(node, exp.With):
                        if isinstance(current, exp.When):
                            stack.append(child)
                            continue
                        self.query(child, scope)
                else:
                    stack.append(child)

    def _compare(self, placeholder: exp.Placeholder) -> None:
        node: Node = placeholder
        scope = self._home(placeholder)
        while (parent := node.parent) is not None and scope is not None:
            how = how_met(parent)
            if isinstance(parent, exp.EQ) and isinstance(parent.parent, exp.Update):
                how = "set"
            if how is not None:
                others = [c for c in parent.iter_expressions() if c is not node]
                for column in (c for o in others for c in o.find_all(exp.Column)):
                    for term in self._column(column, scope):
                        if isinstance(term, Place):
                            relation = self.references[term.reference].relation
                            self._note(placeholder, relation, term.column, how)
                return
            if isinstance(parent, (*_QUERIES, *_WRITES, exp.Where, exp.Join, exp.Limit)):
                return
            node = parent

    def _compare_by_name(self) -> None:
        """What meets a column only by the name that a query around it gives it."""
        found: dict[str, dict[Compared, None]] = {}
        for equality in self.equalities:
            for one, other in ((equality.one, equality.other), (equality.other, equality.one)):
                if isinstance(one, Input) and isinstance(other, Place) and one.name in self.names:
                    relation = self.references[other.reference].relation
                    meeting = Compared(relation, other.column, "equal")
                    found.setdefault(one.name, {}).setdefault(meeting)
        self.compared = found | self.compared

    def _home(self, node: Node) -> Scope | None:
        parent: Node | None = node
        while parent is not None:
            if id(parent) in self.scopes:
                return self.scopes[id(parent)]
            parent = parent.parent
        return None

    def _note(
        self, placeholder: exp.Placeholder, relation: RelationName, column: str, how: str
    ) -> None:
        found = self.compared.setdefault(self._name(placeholder), {})
        found.setdefault(Compared(relation, column, how))


_COLLECTING = frozenset(
    "json_agg jsonb_agg json_object_agg jsonb_object_agg xmlagg string_agg array_agg".split()
)
