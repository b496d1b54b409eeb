"""The tables, and the rule that a session sees one hotel."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import ForeignKey, String, event
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    ORMExecuteState,
    Session,
    mapped_column,
    relationship,
    with_loader_criteria,
)


class Base(DeclarativeBase):
    pass


class HotelOwned:
    """Mixin for everything that belongs to one hotel."""

    hotel_id: Mapped[int] = mapped_column(ForeignKey("hotel.id"))


class Hotel(Base):
    __tablename__ = "hotel"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    currency: Mapped[str] = mapped_column(String(3))


class Room(HotelOwned, Base):
    __tablename__ = "room"
    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[str]
    kind: Mapped[str]
    blocked_reason: Mapped[str | None]


class Guest(HotelOwned, Base):
    __tablename__ = "guest"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    passport_no: Mapped[str | None]


class Reservation(HotelOwned, Base):
    __tablename__ = "reservation"
    id: Mapped[int] = mapped_column(primary_key=True)
    room_id: Mapped[int] = mapped_column(ForeignKey("room.id"))
    guest_id: Mapped[int] = mapped_column(ForeignKey("guest.id"))
    arrival: Mapped[dt.date]
    departure: Mapped[dt.date]
    status: Mapped[str]
    room: Mapped[Room] = relationship()
    guest: Mapped[Guest] = relationship()


def for_hotel(session: Session, hotel_id: int | None) -> Session:
    """From here on the session works on one hotel: each ORM statement gets its criterion."""

    @event.listens_for(session, "do_orm_execute")
    def _one_hotel(state: ORMExecuteState) -> None:
        if state.is_select and not state.is_column_load:
            state.statement = state.statement.options(
                with_loader_criteria(
                    HotelOwned, lambda cls: cls.hotel_id == hotel_id, include_aliases=True
                )
            )

    return session
