"""Adapters, declared in the target's file, made into what is called like a query."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from tenantfuzz.adapters.protocol import FaultError
from tenantfuzz.adapters.running import adapters_of, relation_named
from tenantfuzz.application.code import caller_types, load_code
from tenantfuzz.application.functions import PythonFunction, python_function
from tenantfuzz.application.queries import Application, LiveQuery, read_application
from tenantfuzz.application.restarting import imported_anew
from tenantfuzz.application.scoping import Scoping
from tenantfuzz.errors import ToolError
from tenantfuzz.policies.configuration import Adapter
from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.queries import Actor, ApplicationQuery
from tenantfuzz.policies.query_analysis import analyse
from tenantfuzz.policies.query_standing import Callers, standings
from tenantfuzz.policies.query_text import QueryText
from tenantfuzz.policies.structure import RelationName
from tenantfuzz.policies.suggestions import did_you_mean
from tenantfuzz.preparation import Prepared
from tenantfuzz.strategies.relational import RelationalQuery, relational_queries

_MOST_SCOPED = 320  # queries that go through one scoping function
_CALLERS = Callers(frozenset({"tenant"}), frozenset({"user"}))
Params = Mapping[str, str | tuple[str | None, ...]]


def whole_application(prepared: Prepared) -> Application:
    """The target's queries, its functions in Python, the calls that its commands offer, and what
    its scoping functions make of queries that are generated. Raises ToolError for code that cannot
    be loaded; a command that does not do as it should is broken."""
    application = read_application(prepared)
    queries, broken = dict(application.queries), dict(application.broken)
    for adapter in prepared.configuration.adapters:
        try:
            for query in (
                _of_process(adapter, prepared) if adapter.command else _of(adapter, prepared)
            ):
                queries[query.name] = query
        except FaultError as fault:
            broken[adapter.name] = str(fault)
    return replace(application, queries=queries, broken=broken)


def _of_process(adapter: Adapter, prepared: Prepared) -> Iterator[LiveQuery]:
    """What a command offers. Raises FaultError where it cannot be asked."""
    for call in adapters_of(prepared).calls(adapter):
        source = prepared.configuration.source
        declared = _declared(adapter, call.name, QueryText((), ()), source)
        kinds = call.declared.kinds or declared.kinds
        yield LiveQuery(
            replace(declared, kinds=kinds),
            call.parameters,
            {},
            None,
            _CALLERS,
            function=call,
            written=call.written or _written(adapter, prepared),
        )


def _of(adapter: Adapter, prepared: Prepared) -> Iterator[LiveQuery]:
    source = prepared.configuration.source
    where = f"{source}: adapters: {adapter.name}"
    code = load_code(adapter.python or adapter.scoping or "", prepared.target.root, where)
    params: Params = {
        name: value
        if isinstance(value, str)
        else tuple(None if v is None else str(v) for v in value)
        for name, value in adapter.params.items()
    }
    known = caller_types(prepared.catalog, prepared.model)
    if adapter.python is not None:
        reference, root = adapter.python, prepared.target.root
        function = python_function(adapter.name, code, params, prepared.catalog, known, where)

        @contextmanager
        def anew() -> Iterator[PythonFunction | None]:
            with imported_anew(reference, root, where) as again:
                yield (
                    python_function(adapter.name, again, params, prepared.catalog, known, where)
                    if again is not None
                    else None
                )

        declared = _declared(adapter, adapter.name, QueryText((), ()), source)
        yield LiveQuery(
            declared,
            function.parameters,
            {},
            None,
            _CALLERS,
            function=function,
            written=_written(adapter, prepared),
            anew=anew,
        )
        return
    scoping = Scoping(adapter.name, code, adapter.takes, prepared.catalog, known)
    for query in relational_queries(prepared.catalog, prepared.model, most=_MOST_SCOPED):
        if not scoping.can_take(query):
            continue
        yield _scoped(adapter, scoping, query, prepared, source)


def _written(adapter: Adapter, prepared: Prepared) -> tuple[RelationName, ...]:
    """The relations that it says it writes. Raises ToolError for one that is not there."""
    found: list[RelationName] = []
    for name in adapter.writes:
        relation = relation_named(name, prepared.model)
        if relation is None:
            near = did_you_mean(name, [r.name for r in prepared.model.ownership], quote="'")
            raise ToolError(
                f"{prepared.configuration.source}: adapters: {adapter.name}: writes: there is no "
                f"relation {name!r}{near}"
            )
        found.append(relation)
    return tuple(found)


def _declared(adapter: Adapter, name: str, text: QueryText, source: str) -> ApplicationQuery:
    return ApplicationQuery(name, text, Actor(adapter.actor), {}, tuple(adapter.kinds), source)


def _scoped(
    adapter: Adapter,
    scoping: Scoping,
    query: RelationalQuery,
    prepared: Prepared,
    source: str,
) -> LiveQuery:
    """A generated query that goes through the scoping function anew for each caller."""
    name = f"{adapter.name}: {query.name}"
    catalog, model = prepared.catalog, prepared.model
    made: dict[Principal, LiveQuery] = {}

    def made_for(principal: Principal) -> LiveQuery:
        if principal not in made:
            text = scoping.scoped(query, principal)
            known = {
                value: word
                for value, word in ((principal.user, "user"), (principal.tenant, "tenant"))
                if value is not None
            }
            analysis = analyse(text, catalog, known)
            made[principal] = LiveQuery(
                _declared(adapter, name, text, source),
                (),
                {},
                analysis,
                _CALLERS,
                standings(analysis, catalog, model, _CALLERS) if analysis is not None else (),
                door=adapter.name,
                may_refuse=bool(query.form),
            )
        return made[principal]

    unscoped = QueryText((query.sql,), ())
    return LiveQuery(
        _declared(adapter, name, unscoped, source),
        (),
        {},
        None,
        _CALLERS,
        door=adapter.name,
        made_for=made_for,
        may_refuse=bool(query.form),
    )
