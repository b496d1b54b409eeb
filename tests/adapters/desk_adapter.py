"""An adapter of the desk target, in the plain protocol: any language could do as much.

    python desk_adapter.py FORM

``right`` is correct; ``wrong`` forgets the organisation in each of its calls.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from psycopg.rows import dict_row

Rows = list[dict[str, Any]]
Call = Callable[[psycopg.Connection[dict[str, Any]], Mapping[str, Any], Mapping[str, Any]], Rows]
FORM = sys.argv[1] if len(sys.argv) > 1 else "right"
CALLS: dict[str, tuple[dict[str, Any], Call]] = {}


def offered(params: dict[str, Any]) -> Callable[[Call], Call]:
    def keep(call: Call) -> Call:
        CALLS[call.__name__] = (params, call)
        return call

    return keep


def scoped(condition: str) -> str:
    return "TRUE" if FORM == "wrong" else condition


@offered({})
def ticketList(db, args, principal):  # type: ignore[no-untyped-def]  # noqa: N802
    where = scoped("org_id = %(tenant)s")
    query = f"SELECT id, subject FROM tickets WHERE {where} ORDER BY id"
    return db.execute(query, {**principal}).fetchall()


@offered({"id": "tickets.id"})
def ticketGet(db, args, principal):  # type: ignore[no-untyped-def]  # noqa: N802
    where = scoped("org_id = %(tenant)s")
    query = f"SELECT id, subject FROM tickets WHERE id = %(id)s AND {where}"
    return db.execute(query, {**principal, **args}).fetchall()


@offered({})
def ticketCount(db, args, principal):  # type: ignore[no-untyped-def]  # noqa: N802
    where = scoped("org_id = %(tenant)s")
    return db.execute(f"SELECT count(*) FROM tickets WHERE {where}", {**principal}).fetchall()


@offered({"q": "text"})
def ticketSearch(db, args, principal):  # type: ignore[no-untyped-def]  # noqa: N802
    where = scoped("org_id = %(tenant)s")
    query = f"SELECT id FROM tickets WHERE subject ILIKE '%%' || %(q)s || '%%' AND {where}"
    return db.execute(query, {**principal, **args}).fetchall()


@offered({"ticketId": "text", "subject": "text"})
def ticketRename(db, args, principal):  # type: ignore[no-untyped-def]  # noqa: N802
    where = scoped("org_id = %(tenant)s")
    query = f"UPDATE tickets SET subject = %(subject)s WHERE id = %(ticketId)s AND {where}"
    done = db.execute(query, {**principal, **args})
    return [{"done": done.rowcount}]


def main() -> None:
    dsn = os.environ["TENANTFUZZ_DSN"]
    with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as db:
        for line in sys.stdin:
            question = json.loads(line)
            if question["op"] == "list":
                listed = [{"name": name, "params": params} for name, (params, _) in CALLS.items()]
                answer: dict[str, Any] = {"calls": listed}
            else:
                call = CALLS[question["name"]][1]
                try:
                    answer = {"rows": call(db, question["args"], question["principal"])}
                except psycopg.Error as error:
                    message = error.diag.message_primary
                    answer = {"error": {"code": error.sqlstate, "message": message}}
            print(json.dumps(answer, default=str), flush=True)


if __name__ == "__main__":
    main()
