"""Which assays a lab can order: its own and the vendor's."""

from uuid import UUID

from sqlalchemy import Select, or_, select

from lab.models import Assay


def orderable(lab_id: UUID | None) -> Select[tuple[Assay]]:
    return select(Assay).where(or_(Assay.lab_id == lab_id, Assay.lab_id.is_(None)), Assay.retired.is_(False))
