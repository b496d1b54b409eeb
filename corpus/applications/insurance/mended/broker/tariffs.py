"""Tariffs are asked for with every keystroke of the calculator, so they are kept for a minute."""

from __future__ import annotations

import time

import psycopg
from psycopg.rows import dict_row

KEEP = 60.0
_kept: dict[object, tuple[float, dict | None]] = {}


def tariff(conn: psycopg.Connection, brokerage_id: int | None, product_code: str) -> dict | None:
    key = (brokerage_id, product_code)
    hit = _kept.get(key)
    if hit is not None and time.monotonic() - hit[0] < KEEP:
        return hit[1]
    with conn.cursor(row_factory=dict_row) as cur:
        found = cur.execute(
            "SELECT label, rate, commission FROM tariff WHERE brokerage_id = %s AND product_code = %s",
            (brokerage_id, product_code),
        ).fetchone()
    if found is not None:
        _kept[key] = (time.monotonic(), found)
    return found
