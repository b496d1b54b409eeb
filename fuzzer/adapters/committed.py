"""A stage for code that has connections of its own: its world is committed, and put back."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic, sleep

from tenantfuzz.adapters.contents import Contents, Digest
from tenantfuzz.errors import ToolError
from tenantfuzz.loading_worlds import Refusal
from tenantfuzz.policies.principals import MembershipFact, Population, Principal
from tenantfuzz.policies.quoting import identifier
from tenantfuzz.policies.structure import RelationName
from tenantfuzz.policies.world import World
from tenantfuzz.stage import Stage

_SETTLED = 1.0  # seconds within which everybody else must have ended what they began
_PAUSE = 0.002
_PLAIN = 2  # levels of contents in a world as it was opened: the schema's own, and the world's
_OTHERS = (
    "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    " AND backend_type = 'client backend'"
)


def _nothing() -> None:
    pass


@dataclass(slots=True, kw_only=True)
class CommittedStage(Stage):
    """A world that everybody who connects to ``database`` can see.

    Whatever happens is undone by putting the rows back, not by a savepoint. ``refresh`` is called
    where all other connections had to be closed. ``thorough``: other plans are tried too, which
    needs new connections.
    """

    database: str
    contents: Contents
    refresh: Callable[[], None] = _nothing
    thorough: bool = True
    _touches: dict[RelationName, int] = field(default_factory=dict)
    _seen: Mapping[RelationName, Digest] = field(default_factory=dict)
    _last: str = ""
    _population: Population | None = None

    def prepare(self) -> None:
        """Sets up the connection, and keeps what the schema itself brought."""
        Stage.prepare(self)
        self.contents.read_structure()
        self.contents.save()

    def open(self, world: World, *, after: Principal | None = None) -> list[Refusal]:
        """Commits ``world`` in place of the one that was there; returns the rows refused.
        ``after`` means nothing here: whoever connects begins anew."""
        self.contents.forget(1)
        self._put_back()
        self.wire.execute("BEGIN")
        try:
            refused = self.loader.load(self.wire, world)
        except BaseException:
            self.wire.attempt("ROLLBACK")
            raise
        self.wire.execute("COMMIT")
        self.contents.stale = True
        self.contents.settle_sequences()
        self.contents.save()
        self._population = None
        return refused

    def begin(self, *, after: Principal | None = None) -> None:
        """There is no transaction to begin."""

    def close(self) -> None:
        """The world stays until the next one is opened."""

    def commit(self) -> None:
        """It is committed."""

    # Undoing

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Whatever happens inside is undone: there must be nothing before that a level lacks."""
        before = self.contents.digests()
        try:
            yield
        finally:
            if self.contents.digests() != before:
                self._put_back()

    @contextmanager
    def altered(self, statements: Sequence[str]) -> Iterator[bool]:
        """The world after the trusted role ran ``statements``; False where it could not."""
        depth = self.contents.depth
        try:
            done = self._run(statements)
            if done:
                self.contents.save()
            yield done
        finally:
            self.contents.forget(depth)
            self._put_back()

    @contextmanager
    def without(self, settings: Sequence[str]) -> Iterator[bool]:
        """Everybody plans without these ways to run a query; False where that is not tried, as in
        an altered world: it takes new connections."""
        if not self.thorough or self.contents.depth > _PLAIN:
            yield False
            return
        database = identifier(self.database)
        names = [identifier(name) for name in settings]
        self.wire.execute(*(f"ALTER DATABASE {database} SET {name} = off" for name in names))
        try:
            self.free()
            yield True
        finally:
            self.wire.execute(*(f"ALTER DATABASE {database} RESET {name}" for name in names))
            self.free()

    def _put_back(self) -> None:
        try:
            self.contents.put_back()
        except ToolError:
            self.free()  # somebody kept a lock
            self.contents.put_back()

    def _run(self, statements: Sequence[str]) -> bool:
        self.contents.stale = True
        outcomes = self.wire.groups([["BEGIN", *statements, "COMMIT"]])
        done = all(o.failure is None for o in outcomes)
        if not done:
            self.wire.attempt("ROLLBACK")
        return done

    # Others

    def free(self) -> None:
        """Ends all other connections to the database, and lets those start anew who had them."""
        self.wire.query(f"SELECT pg_terminate_backend(pid) {_OTHERS}")
        self._wait("TRUE")
        self.refresh()

    def is_settled(self) -> bool:
        """Whether everybody else, who may have written, ends what they are doing in a moment."""
        self.contents.stale = True
        return self._wait("state IS DISTINCT FROM 'idle' AND state IS NOT NULL")

    def _wait(self, condition: str) -> bool:
        deadline = monotonic() + _SETTLED
        while self.wire.query(f"SELECT count(*) {_OTHERS} AND ({condition})") != [("0",)]:
            if monotonic() > deadline:
                return False
            sleep(_PAUSE)
        return True

    # What was done

    def changed(self) -> int:
        """How many tables hold other rows now than when it was asked last."""
        now = self.contents.digests()
        names = [n for n, digest in now.items() if self._seen.get(n) != digest]
        self._seen = now
        for name in names:
            self._touches[name] = self._touches.get(name, 0) + 1
        return len(names)

    def touches(self) -> dict[RelationName, int]:
        """As for a stage. Where something was written and undone, nobody can say where: then the
        first relation counts as touched."""
        changed = self.changed()
        mark = self.contents.mark()
        judged = self.judged()
        if not changed and mark != self._last and judged:
            self._touches[judged[0]] = self._touches.get(judged[0], 0) + 1
        self._last = mark
        return {n: c for n, c in self._touches.items() if n in self.catalog.relations}

    def membership(self, principal: Principal) -> MembershipFact | None:
        """The membership in which ``principal`` acts, as the world has it."""
        if self._population is None:
            self._population = self.population()
        return next(
            (
                m
                for m in self._population.memberships
                if m.active and (m.user, m.tenant) == (principal.user, principal.tenant)
            ),
            None,
        )
