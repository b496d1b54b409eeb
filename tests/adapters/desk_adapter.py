"""An adapter of the desk target in the plain protocol, without a library.

    python desk_adapter.py FORM

``right`` does what it should, ``wrong`` forgets the organisation in each of its calls. The others
are right but for one thing that no adapter may do, or that none can be judged by.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from psycopg.rows import dict_row

Db = psycopg.Connection[dict[str, Any]]
Given = Mapping[str, Any]
Rows = list[dict[str, Any]]
FORM = sys.argv[1] if len(sys.argv) > 1 else "right"
OWN = "TRUE" if FORM == "wrong" else "org_id = %(tenant)s"


def ticket_list(db: Db, given: Given) -> Rows:
    return db.execute(f"SELECT id, subject FROM tickets WHERE {OWN} ORDER BY id", given).fetchall()


def ticket_get(db: Db, given: Given) -> Rows:
    query = f"SELECT id, subject FROM tickets WHERE id = %(id)s AND {OWN}"
    return db.execute(query, given).fetchall()


def ticket_count(db: Db, given: Given) -> Rows:
    return db.execute(f"SELECT count(*) FROM tickets WHERE {OWN}", given).fetchall()


def ticket_search(db: Db, given: Given) -> Rows:
    query = f"SELECT id FROM tickets WHERE subject ILIKE '%%' || %(q)s || '%%' AND {OWN}"
    return db.execute(query, given).fetchall()


def ticket_rename(db: Db, given: Given) -> Rows:
    query = f"UPDATE tickets SET subject = %(subject)s WHERE id = %(ticketId)s AND {OWN}"
    return [{"done": db.execute(query, given).rowcount}]


def ticket_guard(db: Db, given: Given) -> Rows:
    """Tells "forbidden" from "not found": that is no leak, since nobody can guess an id."""
    found = db.execute("SELECT org_id FROM tickets WHERE id = %(id)s", given).fetchone()
    if found is None:
        raise LookupError("not found")
    if found["org_id"] != given["tenant"]:
        raise PermissionError("forbidden")
    return [{"ok": True}]


CALLS: dict[str, tuple[dict[str, Any], Callable[[Db, Given], Rows]]] = {
    "list": ({}, ticket_list),
    "get": ({"id": "tickets.id"}, ticket_get),
    "count": ({}, ticket_count),
    "search": ({"q": "text"}, ticket_search),
    "rename": ({"ticketId": "text", "subject": "text"}, ticket_rename),
    "guard": ({"id": "tickets.id"}, ticket_guard),
}


def ticket_chance(db: Db, given: Given) -> Rows:
    """Any two, and when: nothing in it can be compared, and nothing is wrong with it."""
    query = f"SELECT id, random(), clock_timestamp() FROM tickets WHERE {OWN} LIMIT 2"
    return db.execute(query, given).fetchall()


def ticket_constant(db: Db, given: Given) -> Rows:
    return [{"id": "id-1"}]


def misbehave(db: Db, given: Given) -> Rows:
    match FORM:
        case "hangs":
            time.sleep(600)
        case "dies":
            sys.exit("out of memory")
        case "garbage":
            print("{oops", flush=True)
        case "late":
            print(json.dumps({"id": 0, "rows": []}), flush=True)
        case "leaves":
            db.execute("BEGIN")
            db.execute("UPDATE tickets SET subject = 'mine'")
        case "breeds":
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        case _:
            pass
    return ticket_list(db, given)


KEPT: dict[tuple[object, ...], Rows] = {}


def ticket_kept(db: Db, given: Given) -> Rows:
    """Keeps its answers, for the organisation that asked; what it keeps counts everybody's."""
    key = (given["tenant"], given["user"])
    if key not in KEPT:
        query = "SELECT count(*) FROM tickets WHERE org_id = %(tenant)s OR %(wrong)s"
        KEPT[key] = db.execute(query, {**given, "wrong": FORM == "keeps wrong"}).fetchall()
    return KEPT[key]


if FORM.startswith("keeps"):
    CALLS = {"kept": ({}, ticket_kept)}
elif FORM == "chance":
    CALLS = {"chance": ({}, ticket_chance), "constant": ({}, ticket_constant)}
elif FORM not in ("right", "wrong"):
    CALLS = {"list": ({}, ticket_list), "misbehave": ({}, misbehave)}


def answer(db: Db, question: Mapping[str, Any]) -> dict[str, Any]:
    if question["op"] == "list":
        return {"calls": [{"name": n, "params": params} for n, (params, _) in CALLS.items()]}
    call = CALLS[question["name"]][1]
    try:
        return {"rows": call(db, {**question["args"], **question["principal"]})}
    except psycopg.Error as error:
        diagnosis = error.diag
        return {"error": {"code": error.sqlstate, "message": diagnosis.message_primary}}
    except (LookupError, PermissionError) as error:
        return {"error": {"code": type(error).__name__, "message": str(error)}}


def main() -> None:
    dsn = os.environ["TENANTFUZZ_DSN"]
    with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as db:
        for line in sys.stdin:
            print(json.dumps(answer(db, json.loads(line)), default=str), flush=True)


if __name__ == "__main__":
    main()
