"""Functions in Python under test: called with a connection or a session, as the application calls
them."""

import asyncio
import inspect
import json
from collections import Counter
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast, get_type_hints

import psycopg
from psycopg.pq import TransactionStatus

from tenantfuzz.application.code import Caller, Code, caller_of
from tenantfuzz.application.sending import NOTHING, Instead, Sent, of_psycopg
from tenantfuzz.errors import ToolError
from tenantfuzz.identity import identity_statements
from tenantfuzz.lending import LentConnection, Loan
from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.query_parts import Compared
from tenantfuzz.policies.structure import Catalog, DataType
from tenantfuzz.results import Failure, Outcome, RawRow
from tenantfuzz.stage import Stage
from tenantfuzz.strategies.arguments import Arguments, Parameter

# The types that annotations name, and how a value of ours becomes theirs.
_TYPES: Mapping[str, tuple[DataType, Callable[[str], object]]] = {
    "str": (DataType("text", "text"), str),
    "int": (DataType("bigint", "int8"), int),
    "float": (DataType("double precision", "float8"), float),
    "bool": (DataType("boolean", "bool"), lambda text: text in ("true", "t")),
}
_ROLES = ("tenant", "tenants", "user")
_SESSIONS = ("session", "db_session", "orm")
_DEEP = 4  # objects within objects in what a function returns


class EndedTransactionError(ToolError):
    """A function ended the transaction that holds the world."""


@dataclass(frozen=True, slots=True)
class PythonFunction:
    """One function. It is called as ``code(connection, caller, **arguments)``; it gets a SQLAlchemy
    session where its first parameter is called ``session`` or is annotated so."""

    name: str
    code: Code
    parameters: tuple[Parameter, ...]
    converters: Mapping[str, Callable[[str], object]] = field(default_factory=dict)
    wants_session: bool = False
    _sent: list[Sent] = field(default_factory=list)
    _counts: Counter[str] = field(default_factory=Counter)

    outside = False  # it runs in the transaction that holds the world

    @property
    def fault(self) -> str | None:
        """Why nobody can vouch for it: it may have talked to another database, or to none."""
        if self._counts["calls"] and not self._counts["trips"]:
            return "it never used the connection or session that it was given"
        return None

    def sent(self) -> tuple[Sent, ...]:
        """The statements of its last call."""
        return tuple(self._sent)

    def shown(self, arguments: Arguments) -> str:
        """The call as a person would write it."""
        given = "".join(f", {name}={self._value(name, v)!r}" for name, v in arguments.items())
        first = "session" if self.wants_session else "connection"
        return f"{self.name}({first}, caller{given})"

    def call(
        self,
        stage: Stage,
        caller: Principal,
        actor: Principal,
        arguments: Arguments,
        instead: Instead = NOTHING,
    ) -> Outcome:
        """Calls it on the stage as ``actor`` and keeps what it did; an exception leaves no trace.
        ``instead`` has statements that are run in place of its own.

        Raises ToolError where it ended the transaction that holds the world.
        """
        wire = stage.wire
        wire.execute("SAVEPOINT step", *identity_statements(actor, stage.catalog), "SAVEPOINT lent")
        earlier = sum(stage.touches().values())
        connection = cast(LentConnection, wire.connection)
        loan = Loan(instead=instead)
        connection.lend(loan)
        try:
            outcome = self._outcome(connection, caller_of(caller), arguments)
        finally:
            connection.take_back()
            self._counts.update(calls=1, trips=loan.trips)
            self._sent[:] = [of_psycopg(text, params) for text, params in loan.sent]
        if connection.pgconn.transaction_status == TransactionStatus.IDLE:
            raise EndedTransactionError(
                f"{self.name} ended the transaction by a statement of its own",
                hint="let it call commit() and rollback() of the connection that it is given",
            )
        if connection.pgconn.transaction_status == TransactionStatus.INERROR:
            # If it took the error for an answer: what it did goes when its connection goes back.
            wire.execute("ROLLBACK TO lent")
        if outcome.failure is None:
            outcome.tag = f"CALL {sum(stage.touches().values()) - earlier}"
        reset = "SET LOCAL SESSION AUTHORIZATION DEFAULT"
        end = ["ROLLBACK TO step"] if outcome.failure is not None else [reset]
        wire.execute(*end, "RELEASE step")
        return outcome

    def _outcome(self, connection: LentConnection, caller: Caller, arguments: Arguments) -> Outcome:
        values = {name: self._value(name, v) for name, v in arguments.items()}
        try:
            if self.wants_session:
                rows = self._in_session(connection, caller, values)
            else:
                rows = rows_of(settled(self.code(connection, caller, **values)))
        except Exception as error:
            return Outcome("", [], None, _failure(error))
        return Outcome("CALL", rows, None)

    def _in_session(
        self, connection: LentConnection, caller: Caller, values: Mapping[str, object]
    ) -> list[RawRow]:
        from sqlalchemy import Engine, create_engine
        from sqlalchemy.orm import Session
        from sqlalchemy.pool import StaticPool

        if not isinstance(connection.engine, Engine):
            connection.engine = create_engine(
                "postgresql+psycopg://",
                creator=lambda: connection,
                poolclass=StaticPool,
                use_native_hstore=False,
            )
        with Session(connection.engine) as session:
            result = settled(self.code(session, caller, **values))
            rows = rows_of(result)  # what is loaded late is loaded now
            session.commit()
            return rows

    def _value(self, name: str, text: str | None) -> object:
        if text is None:
            return None
        try:
            return self.converters.get(name, str)(text)
        except ValueError:
            return None


def python_function(
    name: str,
    code: Code,
    declared: Mapping[str, str | tuple[str | None, ...]],
    catalog: Catalog,
) -> PythonFunction:
    """The function made ready: its parameters behind the first two are drawn.

    A parameter that is called like a column takes values of that column; ``declared`` has the
    types, or the only values, of those that are to be drawn otherwise.
    """
    try:
        signature = list(inspect.signature(code).parameters.values())
        hints = get_type_hints(code)
    except (TypeError, ValueError, NameError):
        signature, hints = [], {}
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    first = signature[0] if signature else None
    kind = getattr(hints.get(first.name), "__name__", "") if first is not None else ""
    parameters: list[Parameter] = []
    converters: dict[str, Callable[[str], object]] = {}
    for parameter in signature[2:]:
        if parameter.kind not in plain:
            continue
        word = declared.get(parameter.name)
        hint = hints.get(parameter.name)
        spelled = getattr(hint, "__name__", "str") if hint is not None else "str"
        type_, convert = _TYPES.get(spelled, _TYPES["str"])
        converters[parameter.name] = convert
        parameters.append(
            Parameter(
                parameter.name,
                word if isinstance(word, str) and word in _ROLES else None,
                type_,
                () if word is not None else tuple(_columns(parameter.name, catalog)),
                word if isinstance(word, tuple) else (),
            )
        )
    wants = kind in ("Session", "scoped_session") or (first is not None and first.name in _SESSIONS)
    return PythonFunction(name, code, tuple(parameters), converters, wants)


def _columns(name: str, catalog: Catalog) -> Iterator[Compared]:
    """The columns of that name; for ``issue_id`` also the key of ``issue`` or ``issues``."""
    singular = name.removesuffix("_id")
    for relation in catalog.relations.values():
        key = relation.primary_key
        own = relation.name.name in (singular, f"{singular}s", f"{singular}es")
        if own and name != singular and key is not None and len(key.columns) == 1:
            yield Compared(relation.name, key.columns[0], "equal")
            return
    for relation in catalog.relations.values():
        if relation.column(name) is not None:
            yield Compared(relation.name, name, "equal")


# What comes back


def settled(result: object) -> object:
    """What a function gives in the end: of one that is ``async`` what it is awaited for."""
    if inspect.isawaitable(result):
        return asyncio.run(_awaited(result))
    return asyncio.run(_collected(result)) if isinstance(result, AsyncIterable) else result


async def _awaited(result: Awaitable[object]) -> object:
    return await result


async def _collected(result: AsyncIterable[object]) -> list[object]:
    return [item async for item in result]


def rows_of(result: object) -> list[RawRow]:
    """What a function returned as rows: one for each item of a list, one for anything else."""
    if result is None:
        return []
    if isinstance(result, (str, bytes, Mapping)) or not hasattr(result, "__iter__"):
        return [(_text(result),)]
    return [(_text(item),) for item in cast(Sequence[object], list(cast(Any, result)))]


def _text(item: object) -> bytes:
    return json.dumps(_plain(item, 0), sort_keys=True, ensure_ascii=False, default=str).encode()


def _plain(item: object, depth: int) -> object:
    """Values as JSON has them; an object by its attributes, those that are loaded."""
    if item is None or isinstance(item, (str, int, float, bool)):
        return item
    if depth > _DEEP:
        return "…"
    if isinstance(item, Mapping):
        return {str(k): _plain(v, depth + 1) for k, v in item.items()}
    if isinstance(item, (list, tuple, set, frozenset)):
        return [_plain(v, depth + 1) for v in item]
    state = getattr(item, "__dict__", None)
    if isinstance(state, dict) and type(item).__module__ != "builtins":
        return {k: _plain(v, depth + 1) for k, v in state.items() if not k.startswith("_")}
    try:
        return [_plain(v, depth + 1) for v in cast(Any, item)]
    except TypeError:
        return str(item)


def _failure(error: Exception) -> Failure:
    original = getattr(error, "orig", None)
    database = original if isinstance(original, psycopg.Error) else error
    if isinstance(database, psycopg.Error):
        diagnostics = database.diag
        return Failure(
            database.sqlstate or "XX000",
            diagnostics.message_primary or str(database),
            diagnostics.message_detail or "",
            diagnostics.message_hint or "",
            diagnostics.context or "",
        )
    return Failure("PY000", f"{type(error).__name__}: {error}")
