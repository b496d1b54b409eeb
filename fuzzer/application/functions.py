"""Functions in Python under test: called with a connection or a session, as the application calls
them."""

import asyncio
import inspect
import json
import logging
import warnings
from collections import Counter
from collections.abc import AsyncIterable, Awaitable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import psycopg
from psycopg.pq import TransactionStatus

from tenantfuzz.application.annotations import TEXT, Shape, annotations_of, shape_of, shape_of_type
from tenantfuzz.application.code import Caller, CallerTypes, Code, caller_of, id_of
from tenantfuzz.application.sending import NOTHING, Instead, Sent, of_psycopg
from tenantfuzz.application.specs import ROLES, Spec, bad_spec, read_spec
from tenantfuzz.errors import ToolError
from tenantfuzz.identity import identity_statements
from tenantfuzz.lending import LentConnection, Loan
from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.query_parts import Compared
from tenantfuzz.policies.structure import Catalog
from tenantfuzz.policies.suggestions import did_you_mean
from tenantfuzz.results import Failure, Outcome, RawRow
from tenantfuzz.stage import Stage
from tenantfuzz.strategies.arguments import Arguments, Parameter

_WHOLE = frozenset({"int2", "int4", "int8"})
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
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    wants_session: bool = False
    types: CallerTypes = field(default_factory=CallerTypes)
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
            outcome = self._outcome(connection, caller_of(caller, self.types), arguments)
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
            with _quiet():
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
        return self.shapes.get(name, TEXT).value(text)


@contextmanager
def _quiet() -> Iterator[None]:
    """What psycopg, and libraries, warn of while code under test runs is no word of this tool's:
    it comes of the arguments, some of which are wrong on purpose."""
    logger = logging.getLogger("psycopg")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def python_function(
    name: str,
    code: Code,
    declared: Mapping[str, str | tuple[str | None, ...]],
    catalog: Catalog,
    types: CallerTypes,
    where: str,
) -> PythonFunction:
    """The function made ready: its parameters behind the first two are drawn.

    A parameter that is called like a column, or after a key, takes values of that column;
    ``declared`` has the types, columns, or the only values, of those that are to be drawn
    otherwise. Raises ToolError, which names ``where`` it stands, for what is declared of no
    parameter, or is neither a type nor a column.
    """
    try:
        signature = list(inspect.signature(code).parameters.values())
    except (TypeError, ValueError):
        signature = []
    hints = annotations_of(code)
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    first = signature[0] if signature else None
    given = [p.name for p in signature[2:] if p.kind in plain]
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature):
        given += [n for n in declared if n not in given]
    for unknown in declared:
        if unknown not in given:
            near = did_you_mean(unknown, given, quote="'")
            raise ToolError(f"{where}: params: the function has no parameter {unknown!r}{near}")
    parameters: list[Parameter] = []
    shapes: dict[str, Shape] = {}
    for one in given:
        parameter, shape = _parameter(
            one, shape_of(hints.get(one)), declared.get(one), catalog, types, where
        )
        parameters.append(parameter)
        shapes[one] = shape
    hint = hints.get(first.name) if first is not None else None
    kind = hint.rpartition(".")[2] if isinstance(hint, str) else getattr(hint, "__name__", "")
    wants = kind in ("Session", "scoped_session") or (first is not None and first.name in _SESSIONS)
    return PythonFunction(name, code, tuple(parameters), shapes, wants, types)


def _parameter(
    name: str,
    hint: Shape | None,
    word: str | tuple[str | None, ...] | None,
    catalog: Catalog,
    types: CallerTypes,
    where: str,
) -> tuple[Parameter, Shape]:
    """How a parameter is drawn, and the form in which it is handed over: as annotated; else as
    declared; else an integer for a column of integers, and otherwise a text."""
    if isinstance(word, str) and word in ROLES:
        key = types.user if word == "user" else types.tenant
        own = hint or Shape(TEXT.type, None)
        if own.convert is None:
            own = replace(own, convert=lambda text: id_of(text, key))
        if word == "tenants":
            own = replace(own, several=own.several or list)
        return Parameter(name, word, own.drawn), own
    spec: Spec | None = None
    if isinstance(word, str):
        spec = read_spec(word, catalog)
        if spec is None:
            raise bad_spec(where, name, word, catalog)
    several = hint.several if hint is not None else None
    if spec is not None:
        met = spec.meets
        natural = shape_of_type(spec.type)
    else:
        listed = several is not None or (hint is None and name.endswith("_ids"))
        met = () if word is not None else tuple(_columns(name, catalog, listed=listed))
        natural = _natural(met, catalog)
        if listed and several is None and met and natural.several is None:
            several = list
    if several is None and (hint is None or (spec is not None and spec.several)):
        several = natural.several
    convert = natural.convert if hint is None or hint.convert is None else hint.convert
    drawn = hint.type if hint is not None and hint.convert is not None else natural.type
    shape = Shape(
        natural.type if spec is not None else drawn,
        convert,
        several,
        hint.values if hint is not None else (),
    )
    values = word if isinstance(word, tuple) else shape.values if word is None else ()
    return Parameter(name, None, shape.drawn, met, values), shape


def _natural(met: Sequence[Compared], catalog: Catalog) -> Shape:
    """The form of an argument that nothing is said of but the column that it meets."""
    for meeting in met:
        column = catalog.relations[meeting.relation].column(meeting.column)
        if column is not None:
            shape = shape_of_type(column.type)
            if column.type.base in _WHOLE or shape.several is not None:
                return shape
    return TEXT


def _columns(name: str, catalog: Catalog, *, listed: bool) -> Iterator[Compared]:
    """The columns of that name; for ``issue_id`` also the key of ``issue`` or ``issues``, and so
    for a list ``issue_ids``; a list ``titles`` meets ``title`` where no column is called so."""
    one = name.removesuffix("s") if listed else name
    singular = one.removesuffix("_id")
    plurals = (singular, f"{singular}s", f"{singular}es", f"{singular.removesuffix('y')}ies")
    for relation in catalog.relations.values():
        key = relation.primary_key
        own = relation.name.name in plurals
        if own and one != singular and key is not None and len(key.columns) == 1:
            yield Compared(relation.name, key.columns[0], "equal")
            return
    for spelled in dict.fromkeys((name, one)):
        found = [r for r in catalog.relations.values() if r.column(spelled) is not None]
        if found:
            yield from (Compared(r.name, spelled, "equal") for r in found)
            return


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
