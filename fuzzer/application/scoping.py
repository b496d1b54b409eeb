"""Scoping functions under test: an application's own layer that makes any query one of its
caller's tenant."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import sqlglot
from sqlglot import exp

from tenantfuzz.application.code import CallerTypes, Code, caller_of
from tenantfuzz.errors import ToolError
from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.query_text import QueryText, cut_text
from tenantfuzz.policies.structure import Catalog, RelationName
from tenantfuzz.strategies.relational import RelationalQuery

_BUILT = frozenset({"union", "CTE", "derived table", "count", "page"})
"""The forms of queries that are made into statements of SQLAlchemy, too."""


@dataclass(frozen=True, slots=True)
class Scoping:
    """One scoping function: ``code(query, caller)`` gives the query that is run, as text, as a
    pair of text and parameters, as a sqlglot tree or as a SQLAlchemy statement."""

    name: str
    code: Code
    takes: str  # sql, sqlglot or sqlalchemy
    catalog: Catalog
    types: CallerTypes = field(default_factory=CallerTypes)
    _made: dict[tuple[str, Principal], QueryText] = field(default_factory=dict)

    def can_take(self, query: RelationalQuery) -> bool:
        """Whether the query can be made into what it takes."""
        return (
            self.takes != "sqlalchemy"
            or not query.form
            or (not query.hops and query.form in _BUILT)
        )

    def scoped(self, query: RelationalQuery, principal: Principal) -> QueryText:
        """The text that the function makes of ``query`` for this caller, with no parameters left.

        Raises ToolError where the function fails, or gives what is no query.
        """
        memo = (query.name, principal)
        if memo not in self._made:
            try:
                made = self.code(self._given(query), caller_of(principal, self.types))
            except Exception as error:
                raise ToolError(
                    f"{self.name} fails on {query.name}: {type(error).__name__}: {error}"
                ) from error
            self._made[memo] = QueryText((self._text(made, query),), ())
        return self._made[memo]

    def _given(self, query: RelationalQuery) -> object:
        if self.takes == "sqlglot":
            return sqlglot.parse_one(query.sql, dialect="postgres")
        return sqlalchemy_select(self.catalog, query) if self.takes == "sqlalchemy" else query.sql

    def _text(self, made: object, query: RelationalQuery) -> str:
        if isinstance(made, str):
            return made
        if isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], str):
            return _bound(made[0], made[1])
        if hasattr(made, "compile"):
            return _compiled(made)
        if isinstance(made, exp.Expression):
            return made.sql(dialect="postgres")
        raise ToolError(
            f"{self.name} gives {type(made).__name__} for {query.name}, which is no query"
        )


def _bound(sql: str, values: object) -> str:
    """The text with its parameters, a sequence for ``$1`` and ``%s``, put in as literals."""
    if isinstance(values, Mapping):
        return cut_text(sql).bound({str(k): _input(v) for k, v in values.items()})
    given = list(cast(Sequence[object], values))
    numbered = sql
    for number in range(1, len(given) + 1):
        numbered = numbered.replace("%s", f"${number}", 1)
    return cut_text(numbered).bound({str(n): _input(v) for n, v in enumerate(given, 1)})


def _input(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, (list, tuple)):
        return "{" + ",".join(f'"{v}"' for v in value) + "}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _compiled(made: Any) -> str:  # a statement of SQLAlchemy, which need not be installed
    from sqlalchemy.dialects import postgresql

    dialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
    return str(made.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))


def sqlalchemy_select(catalog: Catalog, query: RelationalQuery) -> object:
    """The query as a SQLAlchemy statement over plain tables."""
    from sqlalchemy import Column, MetaData, Table, and_, func, select, union_all

    metadata = MetaData()
    tables: dict[RelationName, Table] = {}
    for name in dict.fromkeys((query.root, *(h.target for h in query.hops))):
        columns = [
            Column(c.name, _sqlalchemy_type(c.type.base)) for c in catalog.relations[name].columns
        ]
        schema = None if name.schema == "public" else name.schema
        tables[name] = Table(name.name, metadata, *columns, schema=schema)
    root = tables[query.root]
    match query.form if not query.hops else "":
        case "union":
            return union_all(select(root), select(root))
        case "CTE":
            return select(select(root).cte("seen"))
        case "derived table":
            return select(select(root).subquery("seen"))
        case "count":
            return select(func.count()).select_from(root)
        case "page":
            return select(root).order_by(next(iter(root.c))).limit(2)
        case _:
            pass
    sources: list[Any] = [root]
    joined: Any = root
    for hop in query.hops:
        again = any(s is tables[hop.target] for s in sources)
        target: Any = tables[hop.target].alias() if again else tables[hop.target]
        on = and_(
            *(
                target.c[t] == sources[-1].c[c]
                for c, t in zip(hop.columns, hop.target_columns, strict=True)
            )
        )
        joined = joined.join(target, on, isouter=True)
        sources.append(target)
    shown = list(root.c) + [
        c.label(f"{hop.target.name}_{n}_{c.name}")
        for n, (hop, source) in enumerate(zip(query.hops, sources[1:], strict=True))
        for c in source.c
    ]
    return select(*shown).select_from(joined)


def _sqlalchemy_type(base: str) -> Any:
    from sqlalchemy import types

    known: Mapping[str, Callable[[], Any]] = {
        "text": types.Text,
        "varchar": types.Text,
        "int4": types.Integer,
        "int8": types.BigInteger,
        "bool": types.Boolean,
        "uuid": types.Uuid,
    }
    return known.get(base, types.NullType)()
