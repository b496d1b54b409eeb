"""Whether code under test keeps tenants apart: it runs as everybody, and is judged by effect."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from tenantfuzz.codes import named_kind
from tenantfuzz.engines import scratch_name
from tenantfuzz.lines import visible
from tenantfuzz.oracles.containment import Change, changes_between
from tenantfuzz.oracles.cut import may_be_cut
from tenantfuzz.oracles.provenance import Provenance, Tokens, canaries_of
from tenantfuzz.plugin.answers import comparable, is_nothing, text_of, tokens_of_keys
from tenantfuzz.plugin.identities import assume, assume_service
from tenantfuzz.policies.model import OwnershipKind
from tenantfuzz.policies.predictions import (
    Prediction,
    RowFacts,
    State,
    belongs_to,
    owners_of,
)
from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.structure import RelationName
from tenantfuzz.policies.world import World
from tenantfuzz.preparation import Prepared, connect, drop
from tenantfuzz.row_text import readable_row
from tenantfuzz.scrubbing import scrub

_UNJUDGED = frozenset({OwnershipKind.SHARED, OwnershipKind.PRIVATE, OwnershipKind.UNCLASSIFIED})
_MOST_SHOWN = 3
_LONGEST = 400


class NotIsolated(AssertionError):  # noqa: N818  (a verdict on the code under test)
    """Code under test gave, or changed, what belongs to another tenant."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one run gave: a value, or the error by which the database denied it."""

    value: object = None
    error: psycopg.Error | None = None

    @property
    def text(self) -> str:
        """All texts in it."""
        return text_of(self.value) if self.error is None else _error_texts(self.error)

    @property
    def empty(self) -> bool:
        """Whether it says nothing at all."""
        return self.error is not None or is_nothing(self.value)


@dataclass(frozen=True, slots=True)
class _Fault:
    """One thing that should not have happened."""

    principal: Principal
    what: str
    came_back: str
    expected: str
    rows: tuple[tuple[RelationName, RowFacts], ...] = ()


@dataclass(slots=True)
class _Copies:
    """Copies of a database, one at a time: a new one as soon as the present one was changed."""

    prepared: Prepared
    template: str
    _name: str | None = None

    def fresh(self) -> str:
        """The present copy, which is as the template is."""
        if self._name is None:
            self._name = scratch_name("isolation")
            self.prepared.server.create_database(self._name, template=self.template)
        return self._name

    def spoil(self) -> None:
        """Says that the present copy is not as the template any more."""
        if self._name is not None:
            drop(self.prepared.server, self._name)
            self._name = None


@dataclass(slots=True)
class Isolation:
    """Judges functions in one committed world; ``template`` is a database that holds it."""

    prepared: Prepared
    world: World
    template: str
    _faults: list[_Fault] = field(default_factory=list)

    def check(
        self, function: Callable[..., object], principals: Sequence[Principal], *, service: bool
    ) -> None:
        """Runs ``function`` as each principal. Raises NotIsolated for what crosses a border, and
        where nobody got or changed anything, so that nothing was compared."""
        __tracebackhide__ = True
        act = _Act(self.prepared, function, service)
        copies = _Copies(self.prepared, self.template)
        try:
            with self.prepared.stage(database=self.template) as stage:
                stage.begin()
                ground = stage.prediction()
                hidden = {p: stage.cut().hidden(ground, p) for p in principals}
                cuts = {id(p): stage.cut().statements(h) for p, h in hidden.items() if h}
                for principal in principals:
                    for relation in ground.state:
                        ground.hidden(principal, relation)  # asked now, while the rules can be
                stage.close()
            answers, effect = self._run_all(act, principals, ground, copies)
            silent = not effect and all(a.empty for a in answers.values())
            if silent and not self._faults:
                raise NotIsolated(_nothing(function, answers))
            groups: dict[str, list[Principal]] = {}
            for principal in principals:
                if id(principal) in cuts and may_be_cut(principal):
                    groups.setdefault(repr(cuts[id(principal)]), []).append(principal)
            for group in groups.values():
                self._compare(act, group, cuts[id(group[0])], answers, copies)
        finally:
            copies.spoil()
        if self._faults:
            raise NotIsolated(self._message(function))

    def _run_all(
        self,
        act: "_Act",
        principals: Sequence[Principal],
        ground: Prediction,
        copies: _Copies,
    ) -> tuple[dict[int, _Answer], bool]:
        """Everybody's answer, by the principal's identity, and whether anybody changed anything."""
        origin = {r.canary: r.relation for r in self.world.rows if r.canary}
        tokens: Tokens = {
            **tokens_of_keys(ground.state, self.prepared.model.tenants),
            **canaries_of(ground.state, origin),
        }
        answers: dict[int, _Answer] = {}
        effect = False
        for principal in principals:
            database = copies.fresh()
            answer = answers[id(principal)] = act.run(database, principal)
            self._carried(principal, answer, Provenance(ground, tokens))
            after = self._state(database)
            changes = changes_between(ground.state, after)
            if changes:
                effect = True
                copies.spoil()
                self._changed(principal, changes)
        return answers, effect

    def _state(self, database: str) -> State:
        with self.prepared.stage(database=database) as stage:
            return stage.state()

    # What came back

    def _carried(self, principal: Principal, answer: _Answer, provenance: Provenance) -> None:
        """Canaries and keys of hidden rows in what came back."""
        own = repr(principal.settings) + repr(principal.user)
        hits = list(provenance.hidden_in(principal, answer.text, own=own))
        if not hits:
            return
        state = provenance.prediction.state
        rows = {(home, key): state[home][key] for _, home, key in hits}
        what = "gets an error that tells of" if answer.error is not None else "gets"
        owners = ", ".join(owners_of(rows.values())) or "nobody"
        self._faults.append(
            _Fault(
                principal,
                f"{what} rows that are hidden from it, owned by {owners}",
                answer.text,
                "no value that stands only in rows that are hidden from it",
                tuple((home, row) for (home, _), row in rows.items()),
            )
        )

    def _compare(
        self,
        act: "_Act",
        group: Sequence[Principal],
        statements: Sequence[str],
        answers: Mapping[int, _Answer],
        copies: _Copies,
    ) -> None:
        """The same once more where other tenants' rows are gone: the answers are equal, unless
        chance decides them."""
        known = {id(f.principal) for f in self._faults}
        cut = _Copies(self.prepared, self.template)
        try:
            for principal in group:
                first = answers[id(principal)]
                if id(principal) in known or _hinges_on_keys(first):
                    continue
                database, before = self._without(cut, statements)
                again = act.run(database, principal)
                if changes_between(before, self._state(database)):
                    cut.spoil()
                if _hinges_on_keys(again) or _same(first, again):
                    continue
                clean = copies.fresh()
                once_more = act.run(clean, principal)
                copies.spoil()
                if not _same(first, once_more):
                    continue
                self._faults.append(
                    _Fault(
                        principal,
                        "gets an answer that depends on rows of other tenants",
                        _shown(first),
                        f"the same without the rows that are hidden from it: {_shown(again)}",
                    )
                )
        finally:
            cut.spoil()

    def _without(self, cut: _Copies, statements: Sequence[str]) -> tuple[str, State]:
        """A database in which the hidden rows are gone for good, and its state."""
        database = cut.fresh()
        with connect(self.prepared.server, database) as connection, connection.transaction():
            for statement in statements:
                connection.execute(statement.encode())
        return database, self._state(database)

    # What changed

    def _changed(self, principal: Principal, changes: Sequence[Change]) -> None:
        """Rows of tenants that are not the principal's, changed, made or gone. Rules are not asked:
        which relation the code meant to write, and which a trigger wrote, cannot be told apart."""
        model = self.prepared.model
        founded = {
            t
            for c in changes
            if c.relation == model.tenants and c.before is None and c.after is not None
            for t in c.after.tenants
        }
        crossed: list[tuple[RelationName, RowFacts, str]] = []
        for change in changes:
            if model.owner_of(change.relation).kind in _UNJUDGED:
                continue
            for row in (change.before, change.after):
                if row is None or not row.tenants or row.tenants <= founded:
                    continue
                if not belongs_to(row, principal):
                    crossed.append((change.relation, row, _did(change)))
                    break
        if crossed:
            what = "; ".join(dict.fromkeys(f"{did} in {relation}" for relation, _, did in crossed))
            owners = ", ".join(owners_of(row for _, row, _ in crossed))
            self._faults.append(
                _Fault(
                    principal,
                    f"changes rows of tenant {owners}",
                    what,
                    "rows of other tenants stay as they are",
                    tuple((relation, row) for relation, row, _ in crossed),
                )
            )

    # What is said

    def _message(self, function: Callable[..., object]) -> str:
        first = self._faults[0]
        lines = [
            f"{_name(function)} is not isolated: {_who(first.principal)} {first.what}",
            *(f"identity   {name} = {value}" for name, value in first.principal.settings),
            f"came back  {_cut(first.came_back)}",
            f"expected   {_cut(first.expected)}",
        ]
        catalog = self.prepared.catalog
        for relation, row in first.rows[:_MOST_SHOWN]:
            columns = [c.name for c in catalog.relations[relation].columns]
            owners = ", ".join(owners_of([row])) or "nobody"
            lines.append(f"row        {relation}: {readable_row(row.text, columns)} (of {owners})")
        if len(first.rows) > _MOST_SHOWN:
            lines.append(f"           … and {len(first.rows) - _MOST_SHOWN} more rows")
        others = dict.fromkeys(f"{_who(f.principal)} {f.what}" for f in self._faults[1:])
        if others:
            lines.append("and also:")
            lines += [f"  {other}" for other in list(others)[:8]]
        if len(others) > 8:
            lines.append(f"  … and {len(others) - 8} more")
        return visible(scrub("\n".join(lines)))


@dataclass(frozen=True, slots=True)
class _Act:
    """The function under test and how it is called."""

    prepared: Prepared
    function: Callable[..., object]
    service: bool

    def run(self, database: str, principal: Principal) -> _Answer:
        """What it gives to the principal. Other errors than the database's are the test's own."""
        __tracebackhide__ = True
        with self._connection(database, principal) as connection:
            try:
                value = self._called(connection, principal)
                if connection.info.transaction_status == TransactionStatus.INTRANS:
                    connection.commit()
            except psycopg.Error as error:
                return _Answer(error=error)
            return _Answer(value)

    def _called(self, connection: psycopg.Connection[Any], principal: Principal) -> object:
        __tracebackhide__ = True
        if _arguments(self.function) > 1:
            value = self.function(connection, principal)
        else:
            value = self.function(connection)
        if inspect.isawaitable(value):
            if inspect.iscoroutine(value):
                value.close()
            raise TypeError(f"{_name(self.function)} is a coroutine function: call it in a loop")
        if isinstance(value, psycopg.Cursor):
            return value.fetchall() if value.description is not None else None
        return list(value) if isinstance(value, Iterator) else value

    @contextmanager
    def _connection(self, database: str, principal: Principal) -> Iterator[psycopg.Connection[Any]]:
        connection = connect(self.prepared.server, database)
        try:
            if self.service:
                assume_service(connection, self.prepared.model.identity.service_role)
            else:
                assume(connection, principal, self.prepared.catalog)
            yield connection
        finally:
            connection.close()


def _same(one: _Answer, other: _Answer) -> bool:
    if one.error is not None or other.error is not None:
        return (one.error is None) == (other.error is None) and (
            one.error is None or one.error.sqlstate == getattr(other.error, "sqlstate", None)
        )
    return comparable(one.value) == comparable(other.value)


def _hinges_on_keys(answer: _Answer) -> bool:
    """A duplicate key may lawfully tell that somebody else has it; codes TF301 and on say more."""
    return isinstance(answer.error, psycopg.IntegrityError)


def _nothing(function: Callable[..., object], answers: Mapping[int, _Answer]) -> str:
    denied = next((a.error for a in answers.values() if a.error is not None), None)
    why = f"; the first error was: {str(denied).strip()}" if denied is not None else ""
    return (
        f"{_name(function)} gave nothing to anybody and changed nothing, so nothing was compared"
        f"{why}\nhint: let it return what it read; its own rows must come back to a member"
    )


def _did(change: Change) -> str:
    if change.before is None:
        return "a new row"
    return "a row is gone" if change.after is None else "a row was changed"


def _who(principal: Principal) -> str:
    text = named_kind(principal.kind)
    if principal.tenant is not None:
        text += f" with tenant {principal.tenant}"
    if principal.user is not None:
        text += f" (user {principal.user})"
    return text


def _arguments(function: Callable[..., object]) -> int:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    given = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in given and p.default is inspect.Parameter.empty for p in parameters)


def _name(function: Callable[..., object]) -> str:
    return str(getattr(function, "__qualname__", type(function).__name__)).rpartition("<locals>.")[
        2
    ]


def _error_texts(error: psycopg.Error) -> str:
    told = error.diag
    parts = (told.message_primary, told.message_detail, told.message_hint, told.context)
    return "\n".join(p for p in parts if p) or str(error)


def _shown(answer: _Answer) -> str:
    return f"an error: {answer.text}" if answer.error is not None else repr(answer.value)


def _cut(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _LONGEST else f"{flat[: _LONGEST - 1]}…"
