"""What a rank may do. Partners see sealed matters; everybody else works on the open ones."""

import psycopg


def is_partner(conn: psycopg.Connection, person_id, firm_id) -> bool:
    return conn.execute(
        "SELECT EXISTS (SELECT 1 FROM chambers.firm_people"
        " WHERE person_id = %s AND firm_id = %s AND rank = 'partner' AND NOT revoked)",
        (person_id, firm_id),
    ).fetchone()[0]
