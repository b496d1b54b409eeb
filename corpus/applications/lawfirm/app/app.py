"""Matters and documents of law firms; every function gets the caller's firm as caller.tenant."""

import datetime as dt

PAGE = 20


def list_documents(conn, caller, after_id: int | None):
    """One page of the firm's documents, newest first; after_id is the last document of the page before."""
    position = None
    if after_id is not None:
        position = conn.execute(
            "SELECT filed_at, id FROM documents WHERE id = %s",
            (after_id,),
        ).fetchone()
    if position is None:
        return conn.execute(
            """
            SELECT id, title, filed_at FROM documents
            WHERE firm_id = %s
            ORDER BY filed_at DESC, id DESC
            LIMIT %s
            """,
            (caller.tenant, PAGE),
        ).fetchall()
    return conn.execute(
        """
        SELECT id, title, filed_at FROM documents
        WHERE firm_id = %s AND (filed_at, id) < (%s, %s)
        ORDER BY filed_at DESC, id DESC
        LIMIT %s
        """,
        (caller.tenant, position[0], position[1], PAGE),
    ).fetchall()


def matter_summary(conn, caller, matter_id: int):
    """Name, number of documents and minutes worked, of one matter."""
    return conn.execute(
        """
        SELECT m.name, m.client_name,
               (SELECT count(*) FROM documents d WHERE d.matter_id = m.id AND d.firm_id = m.firm_id),
               (SELECT coalesce(sum(t.minutes), 0) FROM time_entries t WHERE t.matter_id = m.id)
        FROM matters m
        WHERE m.id = %s AND m.firm_id = %s
        """,
        (matter_id, caller.tenant),
    ).fetchone()


def file_document(conn, caller, matter_id: int, title: str):
    """File a document under a matter of the firm."""
    row = conn.execute(
        """
        INSERT INTO documents (firm_id, matter_id, title)
        SELECT m.firm_id, m.id, %s::text
        FROM matters m
        WHERE m.id = %s AND m.firm_id = %s
        RETURNING id
        """,
        (title, matter_id, caller.tenant),
    ).fetchone()
    if row is None:
        raise LookupError("no such matter")
    return row[0]


def move_documents(conn, caller, document_ids: list[int], matter_id: int):
    """Move documents of the firm to another of its matters."""
    moved = conn.execute(
        """
        UPDATE documents d
        SET matter_id = m.id
        FROM matters m
        WHERE m.id = %s AND m.firm_id = %s
          AND d.firm_id = m.firm_id
          AND d.id = ANY(%s::bigint[])
        RETURNING d.id
        """,
        (matter_id, caller.tenant, document_ids),
    ).fetchall()
    return sorted(row[0] for row in moved)


def log_time(conn, caller, matter_id: int, worked_on: dt.date, minutes: int):
    """Log minutes on a matter of the firm."""
    found = conn.execute(
        "SELECT id FROM matters WHERE id = %s AND firm_id = %s",
        (matter_id, caller.tenant),
    ).fetchone()
    if found is None:
        return False
    conn.execute(
        "INSERT INTO time_entries (matter_id, worked_on, minutes) VALUES (%s, %s, %s)",
        (found[0], worked_on, minutes),
    )
    return True
