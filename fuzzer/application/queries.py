"""Application queries made ready: understood by the server, their parameters typed."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Protocol

from tenantfuzz.application.declared import declared_queries
from tenantfuzz.application.sending import NOTHING, Instead, Sent
from tenantfuzz.application.specs import ROLES, bad_spec, read_spec
from tenantfuzz.errors import ToolError
from tenantfuzz.policies.model import Model, OwnershipKind
from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.queries import Actor, ApplicationQuery
from tenantfuzz.policies.query_analysis import analyse
from tenantfuzz.policies.query_parts import Compared, QueryAnalysis
from tenantfuzz.policies.query_standing import Callers, Standing, caller_names, standings
from tenantfuzz.policies.query_text import QueryText
from tenantfuzz.policies.quoting import literal
from tenantfuzz.policies.structure import Catalog, DataType, RelationName, TypeCategory
from tenantfuzz.preparation import Prepared
from tenantfuzz.results import Failure, Outcome
from tenantfuzz.stage import Stage
from tenantfuzz.strategies.arguments import Arguments, Parameter, own_arguments
from tenantfuzz.wire import Wire

SCHEMA = "query"
"""The schema of the names of queries where a relation's name is asked for."""

_NAME = "tenantfuzz_query"
_OWN_NAMES = {"tenant": "tenant", "tenants": "tenants", "user": "user", "current_user": "user"}
_INDETERMINATE = re.compile(r"parameter \$(\d+)")
_WRITING = re.compile(r"\b(insert|update|delete|merge|truncate)\b", re.IGNORECASE)


class Function(Protocol):
    """Application code that is called in place of a statement."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """What is drawn for it."""
        ...

    @property
    def outside(self) -> bool:
        """Whether it has connections of its own, and so needs a world that is committed."""
        ...

    @property
    def fault(self) -> str | None:
        """Why nobody can vouch for it, whatever else is known."""
        ...

    def shown(self, arguments: Arguments) -> str:
        """The call as a person would write it."""
        ...

    def call(
        self,
        stage: Stage,
        caller: Principal,
        actor: Principal,
        arguments: Arguments,
        instead: Instead = NOTHING,
    ) -> Outcome:
        """Calls it on behalf of ``caller``, in the identity ``actor``, and keeps what it did.
        ``instead`` has statements that are run in place of its own."""
        ...

    def sent(self) -> tuple[Sent, ...]:
        """The statements of its last call, as far as they are known."""
        ...


@dataclass(frozen=True, slots=True)
class LiveQuery:
    """A query that the server understands. ``analysis`` is None where sqlglot does not;
    ``assumed`` are the parameters that were taken for the caller's tenant by what they meet."""

    declared: ApplicationQuery
    parameters: tuple[Parameter, ...]
    casts: Mapping[str, str]
    analysis: QueryAnalysis | None
    callers: Callers
    standing: tuple[Standing, ...] = ()
    assumed: tuple[str, ...] = ()
    door: str = ""  # what findings call it, where that is not its name
    function: "Function | None" = None
    written: tuple[RelationName, ...] = ()  # by code that says so: its callers' rules hold there
    may_refuse: bool = False  # whoever fails on it has done what can be asked of a scoping layer
    made_for: "Callable[[Principal], LiveQuery] | None" = None  # the query as code makes it
    # Inside, the function as a process has it that just started; None where that cannot be had.
    anew: "Callable[[], AbstractContextManager[Function | None]] | None" = None

    def for_caller(self, principal: Principal) -> "LiveQuery":
        """The query as it is for this caller: a scoping function makes a text for each. Raises
        ToolError where that code fails."""
        return self.made_for(principal) if self.made_for is not None else self

    @property
    def name(self) -> str:
        """Its name."""
        return self.declared.name

    @property
    def outside(self) -> bool:
        """Whether it runs on connections of its own."""
        return self.function is not None and self.function.outside

    @property
    def writes(self) -> bool:
        """Whether its text names a write; what functions do shows only when it runs."""
        if self.analysis is not None:
            return bool(self.analysis.written)
        return _WRITING.search(self.declared.text.readable()) is not None

    @property
    def tenant_name(self) -> str:
        """The parameter that stands for the caller's tenant."""
        return next((p.name for p in self.parameters if p.role == "tenant"), "tenant")

    @property
    def user_name(self) -> str:
        """The parameter that stands for the caller."""
        return next((p.name for p in self.parameters if p.role == "user"), "user")

    def values(self, principal: Principal, arguments: Arguments) -> dict[str, str | None]:
        """A value for every parameter of this call, and for ``:tenant`` and ``:user`` anyway."""
        own = own_arguments(self.parameters, principal)
        given = {p.name: arguments.get(p.name) for p in self.parameters if p.role is None}
        usual = {"tenant": principal.tenant, "user": principal.user}
        return {**usual, **given, **own}

    def bound(
        self, principal: Principal, arguments: Arguments, text: QueryText | None = None
    ) -> str:
        """The statement of this call: the query, or ``text`` in its place."""
        if self.function is not None:
            return self.function.shown(arguments)
        values = self.values(principal, arguments)
        return (text or self.declared.text).bound(values, self.casts)


@dataclass(frozen=True, slots=True)
class Application:
    """The application of one target: its queries by name, and those that cannot be run, with what
    the server said. ``notes`` are what was found out of code that leaks."""

    queries: Mapping[str, LiveQuery] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    service_role: str | None = None
    notes: dict[tuple[str, ...], object] = field(default_factory=dict)

    def service(self, principal: Principal) -> Principal:
        """The identity in which the application itself acts for ``principal``: its own role, with
        the caller's settings, which such queries may read."""
        return replace(
            principal, role=self.service_role, login=None, statements=(), kind=principal.kind
        )

    def actors(self, query: LiveQuery, principal: Principal) -> tuple[tuple[str, Principal], ...]:
        """As whom the query runs for ``principal``: the kind of its cell and the identity."""
        found: list[tuple[str, Principal]] = []
        if query.declared.actor in (Actor.SERVICE, Actor.BOTH):
            found.append(("service", self.service(principal)))
        if query.declared.actor in (Actor.PRINCIPAL, Actor.BOTH):
            found.append((principal.kind, principal))
        return tuple(found)


def read_application(prepared: Prepared) -> Application:
    """The application of a target, each query tried out on the server without running it.

    Raises ToolError for declarations that are wrong in themselves, and for what is said of a
    parameter and is neither a type nor a column.
    """
    declared = declared_queries(prepared.target)
    queries: dict[str, LiveQuery] = {}
    broken: dict[str, str] = {}
    if declared:
        with prepared.stage() as stage:
            for query in declared:
                if query.actor is not Actor.SERVICE and prepared.model.identity.nobodys:
                    raise ToolError(
                        f"{query.source}: query '{query.name}': as = \"{query.actor}\" needs a "
                        "role of its caller, and [identity] names none"
                    )
                query, pointed = _specified(stage.wire, query, prepared.catalog)
                live = _live(stage.wire, query, prepared.catalog, prepared.model, pointed)
                if isinstance(live, str):
                    broken[query.name] = live
                else:
                    queries[query.name] = live
    return Application(queries, broken, prepared.model.identity.service_role)


def _specified(
    wire: Wire, query: ApplicationQuery, catalog: Catalog
) -> tuple[ApplicationQuery, Mapping[str, tuple[Compared, ...]]]:
    """The query with types alone, as the server calls them, for its parameters; and the columns
    that were named instead. Raises ToolError for a word that is neither."""
    params = dict(query.params)
    pointed: dict[str, tuple[Compared, ...]] = {}
    for name, word in query.params.items():
        if not isinstance(word, str) or word in ROLES:
            continue
        spec = read_spec(word, catalog)
        if spec is not None and spec.meets:
            pointed[name] = spec.meets
            params[name] = spec.type.name
        elif not _is_type(wire, word):
            if spec is None:
                where = f"{query.source}: query '{query.name}'"
                raise bad_spec(where, name, word, catalog)
            params[name] = spec.type.name
    return replace(query, params=params), pointed


def _is_type(wire: Wire, word: str) -> bool:
    """Whether the server has a type of that name; tables, which are types too, do not count."""
    outcome = wire.attempt(
        "SELECT FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid"
        f" WHERE t.oid = {literal(word)}::regtype AND t.typtype <> 'p'"
        " AND coalesce(c.relkind, 'c') = 'c'"
    )
    return outcome.failure is None and bool(outcome.rows)


def _live(
    wire: Wire,
    query: ApplicationQuery,
    catalog: Catalog,
    model: Model,
    pointed: Mapping[str, tuple[Compared, ...]],
) -> LiveQuery | str:
    """The query ready to run, or what is wrong with it. ``pointed`` has the columns that its
    parameters were said to meet."""
    types = _types(wire, query)
    if isinstance(types, Failure):
        return _said(query, types)
    known = dict(zip(query.text.names, types, strict=True))
    analysis = analyse(query.text, catalog)
    roles, assumed = _roles(query, analysis, model)
    parameters = tuple(
        Parameter(
            name,
            roles.get(name),
            known[name],
            pointed.get(name) or (analysis.compared.get(name, ()) if analysis is not None else ()),
            values if isinstance(values := query.params.get(name, ()), tuple) else (),
        )
        for name in query.text.names
    )
    casts: dict[str, str] = {}
    nothing = dict.fromkeys(query.text.names)
    if _refused(wire, query.text.bound(nothing)) is not None:
        casts = {name: type_.name for name, type_ in known.items()}
        failure = _refused(wire, query.text.bound(nothing, casts))
        if failure is not None:
            return _said(query, failure)
    callers = caller_names(roles)
    callers = Callers(
        callers.tenant | _settings(model, "tenant.id"), callers.user | _settings(model, "user.id")
    )
    return LiveQuery(
        query,
        parameters,
        casts,
        analysis,
        callers,
        standings(analysis, catalog, model, callers) if analysis is not None else (),
        assumed,
    )


def _said(query: ApplicationQuery, failure: Failure) -> str:
    hint = f" ({failure.hint})" if failure.hint else ""
    where = f"{query.source}: " if query.source else ""
    return f"{where}query '{query.name}': {failure.message}{hint}"


def _settings(model: Model, word: str) -> frozenset[str]:
    """The settings that hold just that attribute of the caller."""
    return frozenset(
        f"setting:{name}"
        for name, template in model.identity.settings.items()
        if template == "{" + word + "}"
    )


def _roles(
    query: ApplicationQuery, analysis: QueryAnalysis | None, model: Model
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Which parameters stand for the caller; and which of them only because they are compared
    with the column that names the tenant."""
    roles: dict[str, str] = {}
    assumed: list[str] = []
    for name in query.text.names:
        declared = query.params.get(name)
        if declared is not None:
            if isinstance(declared, str) and declared in ROLES:
                roles[name] = declared
        elif name in _OWN_NAMES:
            roles[name] = _OWN_NAMES[name]
        elif analysis is not None and _meets_tenant(name, analysis, model):
            roles[name] = "tenant"
            assumed.append(name)
    return roles, tuple(assumed)


def _meets_tenant(name: str, analysis: QueryAnalysis, model: Model) -> bool:
    for meeting in analysis.compared.get(name, ()):
        ownership = model.owner_of(meeting.relation)
        column = ownership.column == meeting.column
        if ownership.kind is OwnershipKind.COLUMN and column and meeting.how in ("equal", "insert"):
            return True
    return False


# What the server makes of it


def _types(wire: Wire, query: ApplicationQuery) -> Sequence[DataType] | Failure:
    """The types of the parameters as the server infers them; those that it cannot infer are as
    declared, or text."""
    names = query.text.names
    given = ["unknown"] * len(names)
    while True:
        listed = f"({', '.join(given)})" if names else ""
        failure = wire.attempt(f"PREPARE {_NAME}{listed} AS {query.text.numbered()}").failure
        if failure is None:
            try:
                return _inferred(wire, len(names))
            finally:
                wire.execute(f"DEALLOCATE {_NAME}")
        better = _better(query, given, failure)
        if better == given:
            return failure
        given = better


def _better(query: ApplicationQuery, given: Sequence[str], failure: Failure) -> list[str]:
    """The types to try next: each is named once, so that this comes to an end."""
    names = query.text.names
    unsure = _INDETERMINATE.search(failure.message)
    if failure.sqlstate == "42P18" and unsure is not None:
        position = int(unsure.group(1)) - 1
        word = _declared(query, names[position])
        better = list(given)
        if better[position] == "unknown":
            better[position] = word if word != "unknown" else "text"
        return better
    # Operators between parameters have no type of their own either.
    return [g if g != "unknown" else _declared(query, n) for n, g in zip(names, given, strict=True)]


def _declared(query: ApplicationQuery, name: str) -> str:
    word = query.params.get(name)
    return word if isinstance(word, str) and word not in ROLES else "unknown"


def _inferred(wire: Wire, count: int) -> list[DataType]:
    rows = wire.query(
        "SELECT format_type(t.oid, NULL), t.typname, t.typtype, e.typname,"
        " (SELECT json_agg(enumlabel ORDER BY enumsortorder) FROM pg_enum"
        " WHERE enumtypid = t.oid)::text"
        " FROM pg_prepared_statements p, unnest(p.parameter_types) WITH ORDINALITY AS u(type, n)"
        " JOIN pg_type t ON t.oid = u.type LEFT JOIN pg_type e"
        f" ON e.oid = t.typelem AND t.typcategory = 'A' WHERE p.name = '{_NAME}' ORDER BY u.n"
    )
    types: list[DataType] = []
    for name, base, kind, element, labels in rows[:count]:
        if element is not None:
            inner = DataType(element, element)
            types.append(DataType(name or "", base or "", TypeCategory.ARRAY, element=inner))
        elif kind == "e":
            words = tuple(re.findall(r'"((?:[^"\\]|\\.)*)"', labels or ""))
            types.append(DataType(name or "", base or "", TypeCategory.ENUM, labels=words))
        else:
            types.append(DataType(name or "", base or ""))
    return types


def _refused(wire: Wire, sql: str) -> Failure | None:
    """Why the server cannot even plan this text, or None."""
    outcome = wire.attempt(f"PREPARE {_NAME} AS {sql}")
    if outcome.failure is None:
        wire.execute(f"DEALLOCATE {_NAME}")
    return outcome.failure
