from __future__ import annotations

import datetime as dt
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey
from sqlalchemy.dialects.postgresql import ENUM, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    type_annotation_map = {dict[str, Any]: JSONB}


class Lab(Base):
    __tablename__ = "labs"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]


class Assay(Base):
    __tablename__ = "assays"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    lab_id: Mapped[UUID | None] = mapped_column(ForeignKey("labs.id"))
    code: Mapped[str]
    title: Mapped[str]
    settings: Mapped[dict[str, Any]]
    retired: Mapped[bool]


class Patient(Base):
    __tablename__ = "patients"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    lab_id: Mapped[UUID] = mapped_column(ForeignKey("labs.id"))
    pseudonym: Mapped[str]
    birth_year: Mapped[int | None]


class LabOrder(Base):
    __tablename__ = "lab_orders"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    lab_id: Mapped[UUID] = mapped_column(ForeignKey("labs.id"))
    patient_id: Mapped[UUID] = mapped_column(ForeignKey("patients.id"))
    state: Mapped[str] = mapped_column(ENUM("draft", "released", "cancelled", name="order_state", create_type=False))
    ordered_at: Mapped[dt.datetime]
    patient: Mapped[Patient] = relationship()
    lines: Mapped[list[OrderLine]] = relationship(back_populates="order")


class OrderLine(Base):
    __tablename__ = "order_lines"
    order_id: Mapped[UUID] = mapped_column(ForeignKey("lab_orders.id"), primary_key=True)
    assay_id: Mapped[UUID] = mapped_column(ForeignKey("assays.id"), primary_key=True)
    priority: Mapped[int]
    order: Mapped[LabOrder] = relationship(back_populates="lines")
    assay: Mapped[Assay] = relationship()
