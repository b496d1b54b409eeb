"""Orders: the service layer behind the REST resources."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session, joinedload, selectinload

from lab.catalogue import orderable
from lab.models import Assay, LabOrder, OrderLine, Patient


class NotFound(LookupError):
    pass


def _lab(caller) -> UUID:
    return UUID(str(caller.tenant))


def _order(session: Session, lab_id: UUID, order_id: UUID) -> LabOrder:
    order = session.scalar(select(LabOrder).where(LabOrder.id == order_id, LabOrder.lab_id == lab_id))
    if order is None:
        raise NotFound(order_id)
    return order


def catalogue(session: Session, caller, q: str) -> list[dict]:
    found = session.scalars(orderable(_lab(caller)).where(Assay.title.icontains(q)).order_by(Assay.code, Assay.id))
    return [{"id": a.id, "code": a.code, "title": a.title} for a in found]


def orders_of_patient(session: Session, caller, patient_id: UUID) -> list[dict]:
    patient = session.get(Patient, patient_id)
    if patient is None or patient.lab_id != _lab(caller):
        raise NotFound(patient_id)
    orders = session.scalars(
        select(LabOrder).where(LabOrder.patient_id == patient.id, LabOrder.lab_id == _lab(caller))
        .options(selectinload(LabOrder.lines)).order_by(LabOrder.ordered_at, LabOrder.id)
    )
    return [{"id": o.id, "state": o.state, "lines": len(o.lines)} for o in orders]


def add_assays(session: Session, caller, order_id: UUID, assay_ids: list[UUID]) -> int:
    """Puts assays on an order of the caller's lab. Assays that are there already stay as they are."""
    order = _order(session, _lab(caller), order_id)
    if order.state == "cancelled":
        raise NotFound(order_id)
    there = set(session.scalars(select(OrderLine.assay_id).where(OrderLine.order_id == order.id)))
    known = {a.id for a in session.scalars(orderable(_lab(caller)).where(Assay.id.in_(assay_ids)))}
    wanted = list(dict.fromkeys(a for a in assay_ids if a not in there and a in known))
    if wanted:
        session.execute(
            insert(OrderLine), [{"order_id": order.id, "assay_id": a, "priority": 0} for a in wanted]
        )
    return len(wanted)


def release(session: Session, caller, order_id: UUID) -> str:
    order = _order(session, _lab(caller), order_id)
    order.state = "released"
    session.flush()
    return order.state


def workload(session: Session, caller) -> list[dict]:
    rows = session.execute(
        select(LabOrder.state, func.count(OrderLine.assay_id).label("lines"))
        .join(OrderLine, OrderLine.order_id == LabOrder.id)
        .where(LabOrder.lab_id == _lab(caller))
        .group_by(LabOrder.state).order_by(LabOrder.state)
    )
    return [dict(r._mapping) for r in rows]
