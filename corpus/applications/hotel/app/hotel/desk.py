"""The front desk's verbs. Every one begins with `for_hotel`, so queries need not repeat the hotel."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, joinedload

from hotel.models import Guest, Reservation, Room, for_hotel


def arrivals(session: Session, caller, day: str) -> list[dict]:
    for_hotel(session, int(caller.tenant))
    on = dt.date.fromisoformat(day)
    found = session.scalars(
        select(Reservation)
        .where(Reservation.arrival <= on, Reservation.departure > on, Reservation.status == "booked")
        .options(joinedload(Reservation.guest), joinedload(Reservation.room))
        .order_by(Reservation.id)
    )
    return [
        {
            "id": r.id,
            "guest": r.guest.name if r.guest else None,
            "room": r.room.number if r.room else None,
        }
        for r in found
    ]


def free_rooms(session: Session, caller, kind: str, arrival: str, nights: int) -> list[dict]:
    for_hotel(session, int(caller.tenant))
    first = dt.date.fromisoformat(arrival)
    departure = first + dt.timedelta(days=max(1, min(nights, 60)))
    taken = select(Reservation.room_id).where(
        Reservation.arrival < departure, Reservation.departure > first, Reservation.status != "cancelled"
    )
    rooms = session.execute(
        select(Room.id, Room.number)
        .where(Room.kind == kind, Room.blocked_reason.is_(None), Room.id.not_in(taken))
        .order_by(Room.number)
    )
    return [dict(row._mapping) for row in rooms]


def occupancy(session: Session, caller) -> list[dict]:
    for_hotel(session, int(caller.tenant))
    rows = session.execute(
        select(Room.kind, func.count(Room.id).label("rooms")).group_by(Room.kind).order_by(Room.kind)
    )
    return [dict(row._mapping) for row in rows]


def check_in(session: Session, caller, reservation_id: int) -> bool:
    for_hotel(session, int(caller.tenant))
    reservation = session.scalar(
        select(Reservation).where(Reservation.id == reservation_id, Reservation.status == "booked")
    )
    if reservation is None:
        return False
    reservation.status = "arrived"
    session.flush()
    return True


def block_rooms(session: Session, caller, kind: str, reason: str) -> int:
    """Takes all rooms of a kind out of sale (a renovation, a burst pipe)."""
    for_hotel(session, int(caller.tenant))
    done = session.execute(
        update(Room).where(Room.kind == kind, Room.blocked_reason.is_(None)).values(blocked_reason=reason[:200])
    )
    return done.rowcount


def guest_by_passport(session: Session, caller, passport_no: str) -> list[dict]:
    for_hotel(session, int(caller.tenant))
    rows = session.execute(select(Guest.id, Guest.name).where(Guest.passport_no == passport_no))
    return [dict(row._mapping) for row in rows]
