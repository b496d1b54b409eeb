"""The class register: what the pages /s/<school_id>/classes and /s/<school_id>/pupils call."""

from __future__ import annotations

import psycopg
from psycopg.rows import dict_row

from school.access import require_staff


def class_list(conn: psycopg.Connection, caller, school_id: str) -> list[dict]:
    require_staff(conn, caller.user, school_id)
    with conn.cursor(row_factory=dict_row) as cur:
        return cur.execute(
            "SELECT c.id, c.label, c.year, count(p.id) AS pupils"
            " FROM classes c LEFT JOIN pupils p ON p.class_id = c.id AND p.school_id = c.school_id"
            " WHERE c.school_id = %s AND c.archived_at IS NULL"
            " GROUP BY c.id ORDER BY c.year DESC, c.label",
            (school_id,),
        ).fetchall()


def find_pupil(conn: psycopg.Connection, caller, school_id: str, name: str) -> list[dict]:
    require_staff(conn, caller.user, school_id)
    with conn.cursor(row_factory=dict_row) as cur:
        return cur.execute(
            "SELECT id, full_name, born_on FROM pupils"
            " WHERE school_id = %s AND full_name ILIKE '%%' || %s || '%%' ORDER BY family_name, id",
            (school_id, name),
        ).fetchall()


def report_card(conn: psycopg.Connection, caller, school_id: str, pupil_id: str) -> list[dict]:
    require_staff(conn, caller.user, school_id)
    with conn.cursor(row_factory=dict_row) as cur:
        return cur.execute(
            "SELECT m.subject, round(avg(m.mark), 2) AS average, count(*) AS marks"
            " FROM marks m JOIN pupils p ON p.id = m.pupil_id"
            " WHERE p.school_id = %s AND p.id = %s GROUP BY m.subject ORDER BY m.subject",
            (school_id, pupil_id),
        ).fetchall()


def add_mark(conn: psycopg.Connection, caller, school_id: str, pupil_id: str, subject: str, mark: float) -> int | None:
    require_staff(conn, caller.user, school_id)
    row = conn.execute(
        "INSERT INTO marks (pupil_id, subject, mark, given_on)"
        " SELECT p.id, %s, %s, DATE '2024-05-02' FROM pupils p WHERE p.id = %s AND p.school_id = %s RETURNING id",
        (subject, mark, pupil_id, school_id),
    ).fetchone()
    return row[0] if row else None
