"""The calculator and the contract list."""

from __future__ import annotations

from decimal import Decimal

import psycopg
from psycopg.rows import dict_row

from broker.tariffs import tariff


def premium(conn: psycopg.Connection, caller, product_code: str, sum_insured: int) -> dict | None:
    found = tariff(conn, caller.tenant, product_code)
    if found is None:
        return None
    return {
        "label": found["label"],
        "premium": (Decimal(max(0, min(sum_insured, 10**9))) * found["rate"] / 1000).quantize(Decimal("0.01")),
    }


def contracts(conn: psycopg.Connection, caller, client_id: int) -> list[dict]:
    with conn.cursor(row_factory=dict_row) as cur:
        return cur.execute(
            """
            SELECT k.id, c.name, k.product_code, k.sum_insured, t.label
              FROM contract k
              JOIN client c ON c.id = k.client_id AND c.brokerage_id = k.brokerage_id
              LEFT JOIN tariff t ON t.product_code = k.product_code AND t.brokerage_id = k.brokerage_id
             WHERE k.brokerage_id = %s AND k.client_id = %s AND k.cancelled_on IS NULL
             ORDER BY k.id
            """,
            (caller.tenant, client_id),
        ).fetchall()


def portfolio(conn: psycopg.Connection, caller) -> list[dict]:
    with conn.cursor(row_factory=dict_row) as cur:
        return cur.execute(
            """
            SELECT p.code, p.insurer, count(k.id) AS contracts, coalesce(sum(k.sum_insured), 0) AS insured
              FROM product p LEFT JOIN contract k ON k.product_code = p.code AND k.brokerage_id = %s
             GROUP BY p.code, p.insurer ORDER BY p.code
            """,
            (caller.tenant,),
        ).fetchall()
