"""The adapters of a target while they run: their processes, and the database that they see."""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlencode

import psycopg
from psycopg import conninfo

from tenantfuzz.adapters.committed import CommittedStage
from tenantfuzz.adapters.contents import Contents
from tenantfuzz.adapters.parameters import Signature, signature_of
from tenantfuzz.adapters.process import AdapterProcess
from tenantfuzz.adapters.protocol import Declared, FaultError, listed, replied
from tenantfuzz.adapters.relay import Relay
from tenantfuzz.application.sending import NOTHING, Instead, Sent
from tenantfuzz.engines import scratch_name
from tenantfuzz.errors import ToolError
from tenantfuzz.policies.configuration import Adapter
from tenantfuzz.policies.model import Model
from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.structure import RelationName
from tenantfuzz.policies.suggestions import did_you_mean
from tenantfuzz.preparation import Prepared, connect, drop
from tenantfuzz.results import Failure, Outcome
from tenantfuzz.stage import Stage
from tenantfuzz.strategies.arguments import Arguments, Parameter, own_arguments
from tenantfuzz.wire import Wire

_NODE = Path(__file__).parent / "node" / "index.mjs"  # for programs in JavaScript to import
_PATIENCE = 10.0  # seconds for one call, unless the target's file says otherwise
_START = 30.0  # seconds more for the first answer of a process
_TRYING = 5  # seconds to find out whether the relay does
_MOST_FAULTS = 3  # of one call, after which it is not made any more
NOT_TRIED = "57014"
"""The code of a failure that is the adapter's own, and says nothing of the application."""


class RunningAdapter:
    """One adapter: started when it is needed, and anew after a fault."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        patience: float,
    ) -> None:
        self.name = name
        self.faults: dict[str, str] = {}
        self.anew: set[str] = set()  # calls for which its process starts anew in each world
        self.standing: object = None  # what the world was when its process started, if that counts
        self._command = command
        self._folder = folder
        self._environment = environment
        self._patience = patience
        self._counts: Counter[str] = Counter()
        self._process: AdapterProcess | None = None

    def declared(self) -> list[Declared]:
        """The calls that it offers. Raises FaultError."""
        return listed(self._ask({"op": "list"}))

    def call(
        self, name: str, arguments: Mapping[str, object], principal: Mapping[str, object]
    ) -> Outcome:
        """What the call gave; a fault of the adapter's is a failure with the code NOT_TRIED."""
        if self._counts[name] >= _MOST_FAULTS:
            return _failed(Failure(NOT_TRIED, f"given up: {self.faults[name]}"))
        question = {"op": "call", "name": name, "args": arguments, "principal": principal}
        try:
            answer = replied(self._ask(question))
        except FaultError as fault:
            self.fault(name, f"{fault}, when called with {_short(arguments)}")
            return _failed(Failure(NOT_TRIED, str(fault)))
        if isinstance(answer, Failure):
            return _failed(answer)
        return Outcome("CALL", answer, None)

    def fault(self, name: str, what: str) -> None:
        """Notes what is wrong with a call, and ends the process: nobody knows its state."""
        self._counts[name] += 1
        self.faults.setdefault(name, what)
        self.stop()

    def stop(self) -> None:
        """Ends its process; the next question starts it anew."""
        process, self._process = self._process, None
        self.standing = None
        if process is not None:
            process.stop()

    def _ask(self, question: Mapping[str, object]) -> dict[str, object]:
        try:
            if self._process is None:
                self._process = AdapterProcess(
                    self._command,
                    folder=self._folder,
                    environment=self._environment,
                    patience=self._patience,
                )
                if question.get("op") != "list":
                    # What it takes to start is no part of the call's time.
                    self._process.ask({"op": "list"}, patience=self._patience + _START)
            extra = _START if question.get("op") == "list" else 0.0
            return self._process.ask(question, patience=self._patience + extra)
        except BaseException:
            self.stop()
            raise


@dataclass(frozen=True, slots=True)
class ProcessCall:
    """One call of an adapter, made like a function in Python, but on a stage that is committed."""

    adapter: RunningAdapter
    declared: Declared
    signature: Signature
    written: tuple[RelationName, ...] = ()
    relay: Relay | None = None

    outside = True

    @property
    def name(self) -> str:
        """``drizzle.issueList``."""
        return f"{self.adapter.name}.{self.declared.name}"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """What is drawn for it."""
        return self.signature.parameters

    @property
    def fault(self) -> str | None:
        """What its adapter did that no adapter may do."""
        return self.adapter.faults.get(self.declared.name)

    def sent(self) -> tuple[Sent, ...]:
        """The statements of the last call, where a relay stands between."""
        return self.relay.noted() if self.relay is not None else ()

    def remember_to_start_anew(self) -> None:
        """From now on its process starts anew for such calls in another world: what it keeps from
        one would hide what the next depends on."""
        self.adapter.anew.add(self.declared.name)

    @contextmanager
    def anew(self) -> Iterator[None]:
        """Inside, its process starts anew for such calls in another world."""
        before = {*self.adapter.anew}
        self.adapter.anew.add(self.declared.name)
        try:
            yield
        finally:
            self.adapter.anew = before

    def shown(self, arguments: Arguments) -> str:
        """The call as a person would write it: without the caller's own."""
        drawn = Signature(tuple(e for e in self.signature.leaves if e.parameter.role is None))
        document = drawn.document(arguments)
        return f"{self.name}({json.dumps(document, ensure_ascii=False) if document else ''})"

    def call(
        self,
        stage: Stage,
        caller: Principal,
        actor: Principal,
        arguments: Arguments,
        instead: Instead = NOTHING,
    ) -> Outcome:
        """Makes the call, and keeps what it did. ``instead`` has statements that are run in place
        of its own, for which its process starts anew. Raises ToolError where the stage is not one
        that others can see."""
        if not isinstance(stage, CommittedStage):
            raise ToolError(f"{self.name} cannot be called in a transaction of the tool's own")
        begun = perf_counter()
        stage.changed()
        given = {**arguments, **own_arguments(self.parameters, caller)}
        if self.relay is not None:
            self.relay.note(instead)
        if instead:
            self.adapter.stop()  # what it has prepared is its own
        if self.declared.name in self.adapter.anew:
            world = dict(stage.contents.digests())
            if self.adapter.standing != world:
                self.adapter.stop()  # so is what it keeps of another world
                self.adapter.standing = world
        outcome = self.adapter.call(
            self.declared.name, self.signature.document(given), _document(stage, caller)
        )
        if instead:
            self.adapter.stop()
        if not stage.is_settled():
            what = "it left a transaction open, or a statement running"
            self.adapter.fault(self.declared.name, what)
            stage.free()
            outcome = _failed(Failure(NOT_TRIED, what))
        if outcome.failure is None:
            outcome.tag = f"CALL {stage.changed()}"
        stage.wire.clock.database += perf_counter() - begun
        return outcome


@dataclass(slots=True)
class Adapters:
    """All adapters of one target, and the one database that they are connected to."""

    prepared: Prepared
    stage: CommittedStage
    relay: Relay | None = None
    running: dict[str, RunningAdapter] = field(default_factory=dict)
    _closing: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self._closing.close()

    def calls(self, adapter: Adapter) -> list[ProcessCall]:
        """The calls of one adapter. Raises FaultError where it cannot be asked, or is wrong."""
        if adapter.name not in self.running:
            self.running[adapter.name] = RunningAdapter(
                adapter.name,
                adapter.command,
                folder=self.prepared.target.root,
                environment=self._environment(adapter),
                patience=adapter.timeout or _PATIENCE,
            )
        running = self.running[adapter.name]
        return [
            ProcessCall(
                running,
                declared,
                signature_of(declared.name, declared.params, adapter.params, self.prepared.catalog),
                tuple(self._written(declared)),
                self.relay,
            )
            for declared in running.declared()
        ]

    def _written(self, declared: Declared) -> Iterator[RelationName]:
        for name in declared.writes:
            found = relation_named(name, self.prepared.model)
            if found is None:
                names = [r.name for r in self.prepared.model.ownership]
                near = did_you_mean(name, names, quote="'")
                raise FaultError(f"{declared.name}: writes: there is no relation {name!r}{near}")
            yield found

    def stop(self) -> None:
        """Ends all processes; whatever is called next starts them anew."""
        for running in self.running.values():
            running.stop()

    def _environment(self, adapter: Adapter) -> dict[str, str]:
        """What its processes find: the scratch database, and no other one."""
        identity = self.prepared.model.identity
        bound = adapter.actor != "service"
        own = next((r for r in (identity.login, identity.role) if isinstance(r, str)), None)
        user = self._login(own if bound else identity.service_role, required=bound)
        dsn = self.prepared.server.conninfo(self.stage.database, user)
        if self.relay is not None:
            dsn = self.relay.conninfo(dsn)
        return environment_for(dsn, os.environ)

    def _login(self, role: str | None, *, required: bool) -> str | None:
        """The role to log in as: that one if it can, else (None) the trusted role."""
        if role is None:
            return None
        rows = self.stage.wire.connection.execute(
            "SELECT rolcanlogin FROM pg_roles WHERE rolname = %s", [role]
        ).fetchall()
        if rows and rows[0][0]:
            return role
        if required:
            raise FaultError(f"the application cannot log in as {role}: give that role LOGIN")
        return None


def relation_named(name: str, model: Model) -> RelationName | None:
    """The relation that somebody calls ``name``, with its schema or without."""
    found = [r for r in model.ownership if name in (r.name, str(r))]
    return min(found, key=lambda r: r.schema != "public", default=None)


def adapters_of(prepared: Prepared) -> Adapters:
    """The adapters of a target that is ready; they end when it is given back.

    Raises ToolError where no database can be made for them.
    """
    found = prepared.kept.get("adapters")
    if isinstance(found, Adapters):
        return found
    closing = ExitStack()
    name = scratch_name("adapters")
    with closing:
        prepared.server.create_database(name, template=prepared.pristine)
        closing.callback(drop, prepared.server, name)
        connection = connect(prepared.server, name)
        closing.callback(connection.close)
        wire = Wire(connection, prepared.clock)
        stage = CommittedStage(
            wire,
            prepared.catalog,
            prepared.model,
            prepared.loader(),
            database=name,
            contents=Contents(wire),
        )
        stage.prepare()
        relay = _relay(prepared.server.conninfo(name))
        if relay is not None:
            closing.callback(relay.close)
        adapters = Adapters(prepared, stage, relay, _closing=closing.pop_all())
    stage.refresh = adapters.stop
    prepared.kept["adapters"] = adapters
    prepared.closing.enter_context(adapters)
    return adapters


def _relay(dsn: str) -> Relay | None:
    """A relay to the server of ``dsn``, where that has a socket and asks for no password."""
    parts = conninfo.conninfo_to_dict(dsn)
    folder = str(parts.get("host", ""))
    if not folder.startswith("/"):
        return None
    try:
        relay = Relay(f"{folder}/.s.PGSQL.{parts.get('port', 5432)}")
    except OSError:
        return None
    try:
        psycopg.connect(relay.conninfo(dsn), connect_timeout=_TRYING).close()
    except psycopg.Error:
        relay.close()
        return None
    return relay


def environment_for(dsn: str, given: Mapping[str, str]) -> dict[str, str]:
    """The environment of an adapter: ``given``, in which every address of a PostgreSQL server is
    replaced by that of the scratch database, and libpq's variables say the same."""
    parts = {k: str(v) for k, v in conninfo.conninfo_to_dict(dsn).items() if v is not None}
    address = url_of(parts)
    environment = {
        name: address if value.startswith(("postgres://", "postgresql://")) else value
        for name, value in given.items()
        if not name.startswith("PG")
    }
    for name, word in (
        ("HOST", "host"),
        ("PORT", "port"),
        ("USER", "user"),
        ("DATABASE", "dbname"),
    ):
        if word in parts:
            environment[f"PG{name}"] = parts[word]
    if "password" in parts:
        environment["PGPASSWORD"] = parts["password"]
    return {**environment, "TENANTFUZZ_DSN": address, "TENANTFUZZ_NODE": str(_NODE)}


def url_of(parts: Mapping[str, str]) -> str:
    """A connection string as most drivers take it; the folder of a socket stands in ``host=``."""
    user = quote(parts.get("user", ""), safe="")
    secret = f":{quote(parts['password'], safe='')}" if "password" in parts else ""
    host, port = parts.get("host", "localhost"), parts.get("port", "5432")
    database = quote(parts.get("dbname", ""), safe="")
    if host.startswith("/"):
        where = urlencode({"host": host, "port": port})
        return f"postgresql://{user}{secret}@localhost/{database}?{where}"
    kept = {k: v for k, v in parts.items() if k in ("sslmode", "sslrootcert")}
    more = f"?{urlencode(kept)}" if kept else ""
    host = f"[{host}]" if ":" in host else host
    return f"postgresql://{user}{secret}@{host}:{port}/{database}{more}"


def _document(stage: CommittedStage, caller: Principal) -> dict[str, object]:
    """What an adapter is told of the caller."""
    membership = stage.membership(caller)
    return {
        "kind": caller.kind,
        "tenant": caller.tenant,
        "tenants": sorted(caller.tenants),
        "user": caller.user,
        "role": caller.acting_role,
        "settings": dict(caller.settings),
        "membership": dict(membership.attributes) if membership is not None else None,
    }


def _failed(failure: Failure) -> Outcome:
    return Outcome("", [], None, failure)


def _short(arguments: Mapping[str, object]) -> str:
    text = json.dumps(arguments, ensure_ascii=False)
    return text if len(text) <= 120 else text[:119] + "…"
