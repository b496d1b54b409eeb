"""Who may open which school. A signed-in account picks the school in the URL: /s/<school_id>/..."""

from __future__ import annotations

import psycopg


class Forbidden(Exception):
    """The account has no business in this school."""


def require_staff(conn: psycopg.Connection, account_id: str | None, school_id: str) -> str:
    """The role of the account at the school; Forbidden if it has none."""
    row = conn.execute(
        "SELECT s.role FROM staff s JOIN schools o ON o.id = s.school_id"
        " WHERE s.account_id = %s AND s.school_id = %s",
        (account_id, school_id),
    ).fetchone()
    if row is None:
        raise Forbidden(school_id)
    return row[0]
