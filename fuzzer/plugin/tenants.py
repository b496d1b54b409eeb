"""The fixture ``tenants``: a committed world for a test of one's own, and its identities."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tenantfuzz.engines import scratch_name
from tenantfuzz.errors import ToolError
from tenantfuzz.plugin.identities import assume
from tenantfuzz.plugin.isolation import Isolation
from tenantfuzz.plugin.servers import dsn_of
from tenantfuzz.plugin.verdicts import error_text
from tenantfuzz.policies.principals import CONTEXT_FREE, HostileKind, Principal
from tenantfuzz.policies.world import World
from tenantfuzz.preparation import Prepared, connect, drop
from tenantfuzz.strategies.plan import Plan
from tenantfuzz.strategies.worlds import worlds

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from tenantfuzz.plugin.target_session import TargetSession

_OF_SESSIONS = CONTEXT_FREE | {HostileKind.MALFORMED, HostileKind.CLAIM}
"""Kinds that are ways a session's settings can be: a service's connection has none of them."""


@dataclass(frozen=True, slots=True)
class Grounds:
    """Where worlds for tests come from: a target with its plan, and a way to commit a world."""

    prepared: Prepared
    plan: Plan
    commit: Callable[[World], AbstractContextManager[str]]


class Tenants:
    """A world that is committed in a database of its own, made when it is first needed.

    ``template`` is a database with the same world that nobody touches: each test has a copy.
    """

    def __init__(
        self, grounds: Grounds, world: World, template: str, principals: Sequence[Principal]
    ) -> None:
        self._grounds = grounds
        self._template = template
        self._database: str | None = None
        self.world = world
        self.principals = tuple(principals)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the tenants, as text; the first is the one whose members come first."""
        return self.world.tenants

    @property
    def database(self) -> str:
        """The name of this test's database."""
        if self._database is None:
            self._database = scratch_name("test")
            server = self._grounds.prepared.server
            server.create_database(self._database, template=self._template)
        return self._database

    @property
    def dsn(self) -> str:
        """A connection string of this test's database, as the trusted role, for code that connects
        by itself. What it writes is gone when the test ends."""
        return self._grounds.prepared.server.conninfo(self.database)

    def connect(self) -> psycopg.Connection[Any]:
        """A connection as the trusted role, which sees everything: to look, or to arrange."""
        return psycopg.connect(self.dsn)

    def principal(
        self, kind: str | None = None, *, tenant: str | None = None, user: str | None = None
    ) -> Principal:
        """The first principal of this kind, tenant and user; without a kind, of any.

        Raises LookupError that says who is there.
        """
        for principal in self.principals:
            named = kind is None or principal.kind == kind
            placed = tenant is None or principal.tenant == tenant
            if named and placed and (user is None or principal.user == user):
                return principal
        wanted = ", ".join(
            f"{k} {v!r}" for k, v in (("kind", kind), ("tenant", tenant), ("user", user)) if v
        )
        there = dict.fromkeys(
            p.kind + (f" of {p.tenant}" if p.tenant else "") for p in self.principals
        )
        raise LookupError(f"nobody with {wanted} is in this world; there are: {', '.join(there)}")

    @contextmanager
    def acting_as(
        self,
        who: str | Principal | None = None,
        *,
        tenant: str | None = None,
        user: str | None = None,
    ) -> Iterator[psycopg.Connection[Any]]:
        """A connection with the identity of ``who``: a kind (``"member"``, ``"outsider"``, …) or
        a principal. It is a new one, with nothing of anybody else on it; it may commit.

        The identity holds for the session: login, role and settings. Statements that the
        configuration runs after them have been run in the transaction that is open.
        """
        self._need_sessions("connect()")
        principal = (
            who if isinstance(who, Principal) else self.principal(who, tenant=tenant, user=user)
        )
        connection = connect(self._grounds.prepared.server, self.database)
        try:
            assume(connection, principal, self._grounds.prepared.catalog)
            yield connection
        finally:
            connection.close()

    def assert_isolated(
        self,
        function: Callable[..., object],
        *,
        as_: str = "principal",
        kinds: Sequence[str] | None = None,
    ) -> None:
        """Runs ``function(connection)`` as everybody in this world, and fails where anybody gets,
        or changes, what belongs to another tenant.

        ``function`` may take the principal as a second argument. With ``as_="service"`` the
        connection is that of the service role (or the trusted role), as for application code that
        filters by itself for the principal it is given (its ``tenant``, ``user``, ``kind``); kinds
        that are ways a session's settings can be are left out. ``kinds`` names
        who to try; else all.
        What it returns is looked through: rows, records, nested values, cursors. What it writes
        counts as committed. Errors of the database are denials.

        Fails as well where nothing could be compared: nobody got anything or changed anything.
        Raises NotIsolated, an AssertionError.
        """
        __tracebackhide__ = True
        if as_ not in ("principal", "service"):
            raise ValueError(f'as_ is "principal" or "service", not {as_!r}')
        if as_ == "principal":
            self._need_sessions('as_="service"')
        of_sessions = _OF_SESSIONS if as_ == "service" else frozenset()
        chosen = [
            p
            for p in self.principals
            if (p.kind not in of_sessions if kinds is None else p.kind in kinds)
        ]
        if kinds is not None and (unknown := set(kinds) - {p.kind for p in chosen}):
            self.principal(sorted(unknown)[0])
        Isolation(self._grounds.prepared, self.world, self._template).check(
            function, chosen, service=as_ == "service"
        )

    def _need_sessions(self, instead: str) -> None:
        if self._grounds.prepared.model.identity.nobodys:
            raise ToolError(
                "principals have no session of their own: [identity] names no role",
                hint=f"use {instead}, or name the role that they act as",
            )

    def worlds(self) -> "SearchStrategy[World]":
        """Worlds of this target for ``@given``; ``standing`` commits one."""
        return worlds(self._grounds.plan)

    @contextmanager
    def standing(self, world: World) -> Iterator["Tenants"]:
        """The same for another world, until the end of the ``with``."""
        with self._grounds.commit(world) as template:
            other = Tenants(self._grounds, world, template, present_in(self._grounds, template))
            try:
                yield other
            finally:
                other.close()

    def close(self) -> None:
        """Drops this test's database, if there is one; connections to it end."""
        if self._database is not None:
            drop(self._grounds.prepared.server, self._database)
            self._database = None


@contextmanager
def open_tenants(session: "TargetSession", request: pytest.FixtureRequest) -> Iterator[Tenants]:
    """The fixture's value: the first designed world of the session's target.

    A target that cannot be prepared fails the test, without a traceback.
    """
    fixture: str = request.config.getini("tenantfuzz_dsn_fixture")
    try:
        if fixture:
            session.use_server(dsn_of(request.getfixturevalue(fixture), fixture))
            request.session.addfinalizer(session.close)
        opened = _opened(session)
    except ToolError as error:
        pytest.fail(error_text(error), pytrace=False)
    try:
        yield opened
    finally:
        opened.close()


def present_in(grounds: Grounds, database: str) -> tuple[Principal, ...]:
    """Everybody who is there in the committed world of a database."""
    with grounds.prepared.stage(database=database) as stage:
        return stage.principals()


def _opened(session: "TargetSession") -> Tenants:
    grounds, world, template = session.grounds()
    return Tenants(grounds, world, template, present_in(grounds, template))
