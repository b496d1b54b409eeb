"""An adapter of the saas-guc target, whose application logs in as a role that policies bind.

    python guc_adapter.py FORM

``right`` names the tenant anew for each call, within a transaction; ``wrong`` names it for as long
as the connection lasts, and only where nobody has. ``amends`` writes the log
anew, as no tenant may.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import psycopg

FORM = sys.argv[1]
Rows = list[tuple[Any, ...]]
Work = Callable[[psycopg.Connection[Any], Mapping[str, Any]], Rows]


def invoices(db: psycopg.Connection[Any], args: Mapping[str, Any]) -> Rows:
    return db.execute("SELECT id, note FROM invoices ORDER BY id").fetchall()


def annotate(db: psycopg.Connection[Any], args: Mapping[str, Any]) -> Rows:
    query = "UPDATE invoices SET note = %(note)s WHERE id = %(id)s RETURNING id"
    return db.execute(query, args).fetchall()


def amend(db: psycopg.Connection[Any], args: Mapping[str, Any]) -> Rows:
    tenant = "current_setting('app.current_tenant')"
    changes = "kind = CASE kind WHEN 'login' THEN 'export' ELSE 'login' END"
    return db.execute(
        f"UPDATE events SET {changes} WHERE tenant_id = {tenant} RETURNING id"
    ).fetchall()


CALLS: dict[str, tuple[dict[str, str], Work]] = {
    "invoices": ({}, invoices),
    "annotate": ({"id": "invoices.id", "note": "text"}, annotate),
}
WRITES = []
if FORM == "amends":
    CALLS, WRITES = {"amend": ({}, amend)}, ["events"]


def answer(db: psycopg.Connection[Any], question: Mapping[str, Any]) -> dict[str, Any]:
    if question["op"] == "list":
        calls = [{"name": n, "params": p, "writes": WRITES} for n, (p, _) in CALLS.items()]
        return {"calls": calls}
    tenant = question["principal"]["settings"]["app.current_tenant"]
    try:
        with db.transaction():
            known = "SELECT nullif(current_setting('app.current_tenant', true), '')"
            if FORM != "wrong" or db.execute(known).fetchall() == [(None,)]:
                local = FORM != "wrong"
                db.execute("SELECT set_config('app.current_tenant', %s, %s)", [tenant, local])
            return {"rows": CALLS[question["name"]][1](db, question["args"])}
    except psycopg.Error as error:
        return {"error": {"code": error.sqlstate, "message": error.diag.message_primary}}


with psycopg.connect(os.environ["TENANTFUZZ_DSN"], autocommit=True) as connection:
    for line in sys.stdin:
        print(json.dumps(answer(connection, json.loads(line)), default=str), flush=True)
