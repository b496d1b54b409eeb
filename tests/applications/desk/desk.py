"""The desk's own code: with SQLAlchemy and with psycopg, each thing once right and once wrong.

Sessions are scoped by ``with_loader_criteria``: every SELECT of a mapped class that belongs to an
organisation gets its condition. What does not go through a SELECT of such a class is not scoped.
"""

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from sqlalchemy import ForeignKey, delete, event, func, insert, select, text, update
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    ORMExecuteState,
    Session,
    joinedload,
    mapped_column,
    relationship,
    selectinload,
    with_loader_criteria,
)

from tenantfuzz.application.code import Caller


class Base(DeclarativeBase):
    pass


class OfOrg:
    """What belongs to an organisation."""

    org_id: Mapped[str] = mapped_column(ForeignKey("orgs.id"))


class Org(Base):
    __tablename__ = "orgs"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]


class Person(Base):
    __tablename__ = "people"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    phone: Mapped[str | None]
    assigned: Mapped[list["Ticket"]] = relationship(back_populates="assignee")


class Ticket(OfOrg, Base):
    __tablename__ = "tickets"
    id: Mapped[str] = mapped_column(primary_key=True)
    queue_id: Mapped[str]
    assignee_id: Mapped[str | None] = mapped_column(ForeignKey("people.id"))
    subject: Mapped[str]
    assignee: Mapped[Person | None] = relationship(back_populates="assigned")
    replies: Mapped[list["Reply"]] = relationship(back_populates="ticket")


class Reply(OfOrg, Base):
    __tablename__ = "replies"
    id: Mapped[str] = mapped_column(primary_key=True)
    ticket_id: Mapped[str] = mapped_column(ForeignKey("tickets.id"))
    body: Mapped[str]
    ticket: Mapped[Ticket] = relationship(back_populates="replies")


def scoped(session: Session, caller: Caller) -> Session:
    """Adds the condition to every SELECT, UPDATE and DELETE of a class that belongs to an
    organisation, relationships that are loaded late included."""

    @event.listens_for(session, "do_orm_execute")
    def add_condition(state: ORMExecuteState) -> None:
        if state.is_select or state.is_update or state.is_delete:
            org = caller.tenant
            state.statement = state.statement.options(
                with_loader_criteria(OfOrg, lambda cls: cls.org_id == org, include_aliases=True)
            )

    return session


def scoped_selects(session: Session, caller: Caller) -> Session:
    """The same as most write it at first: for SELECTs alone, and not for relationships."""

    @event.listens_for(session, "do_orm_execute")
    def add_condition(state: ORMExecuteState) -> None:
        if state.is_select and not state.is_relationship_load:
            org = caller.tenant
            state.statement = state.statement.options(
                with_loader_criteria(
                    OfOrg, lambda cls: cls.org_id == org, propagate_to_loaders=False
                )
            )

    return session


# One's own colleagues


def _colleagues(caller: Caller) -> Any:
    return text("SELECT person_id FROM members WHERE org_id = :org").bindparams(org=caller.tenant)


# Reads: the list, one by its id, lazy, joined and select-in loading, aggregates, raw text


def list_right(session: Session, caller: Caller) -> object:
    return [(t.id, t.subject) for t in scoped(session, caller).scalars(select(Ticket))]


def list_wrong(session: Session, caller: Caller) -> object:
    return [(t.id, t.subject) for t in session.scalars(select(Ticket))]


def get_right(session: Session, caller: Caller, ticket_id: str) -> object:
    return scoped(session, caller).get(Ticket, ticket_id)


def get_wrong(session: Session, caller: Caller, ticket_id: str) -> object:
    """A row that the session knows already is not selected once more."""
    known = session.scalars(select(Ticket)).all()  # for a quota, before the session was scoped
    return scoped(session, caller).get(Ticket, ticket_id) if len(known) < 1000 else None


def lazy_right(session: Session, caller: Caller) -> object:
    people = scoped(session, caller).scalars(
        select(Person).where(Person.id.in_(_ids(session, caller)))
    )
    return [[t.subject for t in p.assigned] for p in people]


def lazy_wrong(session: Session, caller: Caller) -> object:
    people = scoped_selects(session, caller).scalars(
        select(Person).where(Person.id.in_(_ids(session, caller)))
    )
    return [[t.subject for t in p.assigned] for p in people]


def joined_right(session: Session, caller: Caller) -> object:
    query = select(Person).where(Person.id.in_(_ids(session, caller)))
    people = scoped(session, caller).scalars(query.options(joinedload(Person.assigned))).unique()
    return [[t.subject for t in p.assigned] for p in people]


def joined_wrong(session: Session, caller: Caller) -> object:
    query = select(Person).where(Person.id.in_(_ids(session, caller)))
    people = session.scalars(query.options(joinedload(Person.assigned))).unique()
    return [[t.subject for t in p.assigned] for p in people]


def selectin_right(session: Session, caller: Caller) -> object:
    query = select(Person).where(Person.id.in_(_ids(session, caller)))
    people = scoped(session, caller).scalars(query.options(selectinload(Person.assigned)))
    return [[t.subject for t in p.assigned] for p in people]


def selectin_wrong(session: Session, caller: Caller) -> object:
    query = select(Person).where(Person.id.in_(_ids(session, caller)))
    people = scoped_selects(session, caller).scalars(query.options(selectinload(Person.assigned)))
    return [[t.subject for t in p.assigned] for p in people]


def _ids(session: Session, caller: Caller) -> Sequence[str]:
    return list(session.scalars(_colleagues(caller)))


def count_right(session: Session, caller: Caller) -> object:
    return scoped(session, caller).scalar(select(func.count()).select_from(Ticket))


def count_wrong(session: Session, caller: Caller) -> object:
    """A table is no mapped class: the condition is not added."""
    return scoped(session, caller).scalar(select(func.count()).select_from(Ticket.__table__))


def search_right(session: Session, caller: Caller, subject: str) -> object:
    query = text("SELECT id FROM tickets WHERE org_id = :org AND subject = :subject")
    return list(session.scalars(query, {"org": caller.tenant, "subject": subject}))


def search_wrong(session: Session, caller: Caller, subject: str) -> object:
    """Nor is it to text."""
    query = text("SELECT id, subject FROM tickets WHERE subject = :subject")
    return [tuple(r) for r in scoped(session, caller).execute(query, {"subject": subject})]


# Writes: bulk update, bulk delete, insert


def rename_right(session: Session, caller: Caller, ticket_id: str) -> object:
    change = update(Ticket).where(Ticket.id == ticket_id).values(subject="closed")
    scoped(session, caller).execute(change)
    return None


def rename_wrong(session: Session, caller: Caller, ticket_id: str) -> object:
    change = update(Ticket).where(Ticket.id == ticket_id).values(subject="closed")
    scoped_selects(session, caller).execute(change)
    return None


def remove_right(session: Session, caller: Caller, ticket_id: str) -> object:
    scoped(session, caller).execute(delete(Reply).where(Reply.ticket_id == ticket_id))
    return None


def remove_wrong(session: Session, caller: Caller, ticket_id: str) -> object:
    scoped_selects(session, caller).execute(delete(Reply).where(Reply.ticket_id == ticket_id))
    return None


def reply_right(session: Session, caller: Caller, ticket_id: str, body: str) -> object:
    scoped(session, caller)
    if session.scalar(select(Ticket.id).where(Ticket.id == ticket_id)) is not None:
        new = {"id": f"new {ticket_id}", "org_id": caller.tenant, "ticket_id": ticket_id}
        session.execute(insert(Reply).values(**new, body=body))
    return None


def reply_wrong(session: Session, caller: Caller, ticket_id: str, body: str) -> object:
    new = {"id": f"new {ticket_id}", "org_id": caller.tenant, "ticket_id": ticket_id}
    session.execute(insert(Reply).values(**new, body=body))
    return None


# psycopg, with transactions of its own


Connection = psycopg.Connection[Any]


def move_right(connection: Connection, caller: Caller, ticket_id: str) -> object:
    with connection.transaction():
        found = connection.execute(
            "SELECT id FROM tickets WHERE id = %s AND org_id = %s", (ticket_id, caller.tenant)
        ).fetchone()
        if found is None:
            raise LookupError("no such ticket")
        connection.execute("UPDATE tickets SET subject = 'moved' WHERE id = %s", (ticket_id,))
    connection.commit()
    return found


def move_wrong(connection: Connection, caller: Caller, ticket_id: str) -> object:
    found = connection.execute("SELECT id FROM tickets WHERE id = %s", (ticket_id,)).fetchone()
    if found is None:
        raise LookupError("no such ticket")
    connection.execute("UPDATE tickets SET subject = 'moved' WHERE id = %s", (ticket_id,))
    connection.commit()
    return found


def tolerant(connection: Connection, caller: Caller, ticket_id: str) -> object:
    """An error that it takes for an answer, and a rollback of its own."""
    try:
        connection.execute("INSERT INTO tickets (id) VALUES (%s)", (ticket_id,))
    except psycopg.Error:
        connection.rollback()
    query = "SELECT id FROM tickets WHERE org_id = %s"
    found = connection.execute(query, (caller.tenant,), prepare=True).fetchall()
    try:
        connection.execute("SELECT 1 / 0")
    except psycopg.Error:
        return found
    return None


# Transactions of one's own: by text, by the session, and undone


def close_right(connection: Connection, caller: Caller, ticket_id: str) -> object:
    connection.execute("BEGIN")
    done = connection.execute(
        "UPDATE tickets SET subject = 'closed' WHERE id = %s AND org_id = %s RETURNING id",
        (ticket_id, caller.tenant),
    ).fetchall()
    connection.execute("COMMIT")
    return done


def close_wrong(connection: Connection, caller: Caller, ticket_id: str) -> object:
    connection.execute("BEGIN; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    done = connection.execute(
        "UPDATE tickets SET subject = 'closed' WHERE id = %s RETURNING id", (ticket_id,)
    ).fetchall()
    connection.execute("COMMIT")
    return done


def reopen_right(session: Session, caller: Caller, ticket_id: str) -> object:
    with session.begin():
        change = update(Ticket).where(Ticket.id == ticket_id, Ticket.org_id == caller.tenant)
        session.execute(change.values(subject="open"))
    return None


def reopen_wrong(session: Session, caller: Caller, ticket_id: str) -> object:
    with session.begin():
        session.execute(update(Ticket).where(Ticket.id == ticket_id).values(subject="open"))
    return None


def archive_right(connection: Connection, caller: Caller, ticket_ids: list[str]) -> object:
    query = "UPDATE tickets SET subject = 'old' WHERE id = ANY(%s) AND org_id = %s"
    connection.execute(query, (ticket_ids, caller.tenant))
    return None


def archive_wrong(connection: Connection, caller: Caller, ticket_ids: list[str]) -> object:
    """One ticket of one's own opens the door to all that are named with it."""
    query = "SELECT id FROM tickets WHERE id = ANY(%s) AND org_id = %s"
    if connection.execute(query, (ticket_ids, caller.tenant)).fetchone() is None:
        raise LookupError("no such tickets")
    connection.execute("UPDATE tickets SET subject = 'old' WHERE id = ANY(%s)", (ticket_ids,))
    return None


def undo(connection: Connection, caller: Caller, ticket_id: str) -> object:
    """What is undone has changed nothing, and an order to end comes in several forms."""
    connection.execute("START TRANSACTION")
    connection.execute("UPDATE tickets SET subject = 'gone' WHERE id = %s", (ticket_id,))
    connection.execute("/* never mind */ ROLLBACK;")
    query = "SELECT id FROM tickets WHERE org_id = %s"
    found = connection.execute(query, (caller.tenant,)).fetchall()
    connection.execute("END")
    return found


# What a member may see and change inside its organisation: the tickets that are assigned to it


def inbox_right(session: Session, caller: Caller) -> object:
    query = select(Ticket).where(Ticket.assignee_id == caller.user)
    return [(t.id, t.subject) for t in scoped(session, caller).scalars(query)]


def inbox_wrong(session: Session, caller: Caller) -> object:
    return [(t.id, t.subject) for t in scoped(session, caller).scalars(select(Ticket))]


def resolve_right(connection: Connection, caller: Caller, ticket_id: str) -> object:
    query = (
        "UPDATE tickets SET subject = 'resolved' WHERE id = %s AND org_id = %s AND assignee_id = %s"
    )
    connection.execute(query, (ticket_id, caller.tenant, caller.user))
    return None


def resolve_wrong(connection: Connection, caller: Caller, ticket_id: str) -> object:
    query = "UPDATE tickets SET subject = 'resolved' WHERE id = %s AND org_id = %s"
    connection.execute(query, (ticket_id, caller.tenant))
    return None


# An order that others' rows decide


def busiest_right(connection: Connection, caller: Caller) -> object:
    query = """
        SELECT q.name FROM queues q WHERE q.org_id = %s ORDER BY
          (SELECT count(*) FROM tickets t WHERE t.org_id = q.org_id AND t.queue_id = q.id), q.id
    """
    return [name for (name,) in connection.execute(query, (caller.tenant,))]


def busiest_wrong(connection: Connection, caller: Caller) -> object:
    query = """
        SELECT q.name FROM queues q WHERE q.org_id = %s ORDER BY
          (SELECT count(*) FROM tickets t WHERE t.subject < q.name), q.id DESC
    """
    return [name for (name,) in connection.execute(query, (caller.tenant,))]


# Code that is awaited, and code that asks nobody


async def late_right(connection: Connection, caller: Caller) -> object:
    query = "SELECT id FROM tickets WHERE org_id = %s"
    return connection.execute(query, (caller.tenant,)).fetchall()


async def late_wrong(connection: Connection, caller: Caller) -> object:
    return connection.execute("SELECT id FROM tickets").fetchall()


def noisy(connection: Connection, caller: Caller) -> object:
    """What libraries say while it runs is said to nobody."""
    logging.getLogger("psycopg").warning("error ignored terminating")
    warnings.warn("the key is NULL", UserWarning, stacklevel=1)
    return connection.execute("SELECT id FROM tickets WHERE org_id = %s", (caller.tenant,))


def elsewhere(connection: Connection, caller: Caller) -> object:
    """It has a database of its own, of which nothing is known."""
    return ["id-1"]


# Scoping layers: what makes any query one of the caller's organisation


_OF_ORG: Mapping[str, str] = {
    "orgs": "id",
    "members": "org_id",
    "queues": "org_id",
    "tickets": "org_id",
    "replies": "org_id",
}


def scope_all(query: Any, caller: Caller) -> Any:
    """Every table, wherever it stands, is replaced by its rows of the organisation."""
    from sqlglot import exp, parse_one

    def own(node: Any) -> Any:
        if not isinstance(node, exp.Table):
            return node
        columns = {**_OF_ORG}
        tenant = exp.Literal.string(caller.tenant or "")
        inner: Any
        if node.name == "people":
            inner = parse_one(
                "SELECT p.* FROM people p JOIN members m ON m.person_id = p.id", dialect="postgres"
            )
            inner = inner.where(exp.EQ(this=exp.column("org_id", "m"), expression=tenant))
        elif node.name in columns:
            inner = exp.select("*").from_(node.name)
            inner = inner.where(exp.EQ(this=exp.column(columns[node.name]), expression=tenant))
        else:
            return node
        return inner.subquery(node.alias_or_name)

    return query.transform(own)


def scope_once(query: Any, caller: Caller) -> Any:
    """Every table by its name: one that is named again, in another branch, is left as it is."""
    from sqlglot import exp

    seen: set[str] = set()

    def own(node: Any) -> Any:
        if not isinstance(node, exp.Table) or node.name in seen:
            return node
        seen.add(node.name)
        return scope_all(node, caller)

    return query.transform(own)


def scope_root(query: Any, caller: Caller) -> Any:
    """As ``createOrgScopedQuery`` does: the condition goes to the first table alone."""
    from sqlglot import exp

    root = query.args["from_"].this
    column = _OF_ORG.get(root.name, "org_id")
    tenant = exp.Literal.string(caller.tenant or "")
    return query.where(exp.EQ(this=exp.column(column, root.alias_or_name), expression=tenant))


def scope_text(query: str, caller: Caller) -> tuple[str, Sequence[str | None]]:
    """Appends the condition to the text: an OR that stands there already takes it in."""
    table = query.split(" FROM ")[-1].split()[0]
    word = "AND" if " WHERE " in query else "WHERE"
    return f"{query} {word} {table}.{_OF_ORG.get(table, 'org_id')} = %s", [caller.tenant]


def scope_select(query: Any, caller: Caller) -> Any:
    """A SQLAlchemy select, of whose tables only the root is scoped."""
    root = query.get_final_froms()[0]
    while hasattr(root, "left"):
        root = root.left
    return query.where(root.c[_OF_ORG.get(root.name, "org_id")] == caller.tenant)


def scope_nothing_at_all(query: str, caller: Caller) -> str:
    raise RuntimeError("not ready yet")
