"""The brokers' own code, which keeps rates between calls: each thing once right and once wrong."""

from typing import Any

import psycopg

from tenantfuzz.application.code import Caller

Connection = psycopg.Connection[Any]
_by_code: dict[str, str] = {}
_by_broker_and_code: dict[tuple[str | None, str], str] = {}
_last: list[str] = []

_RATE = "SELECT label FROM rates WHERE broker_id = %s AND code = %s"
_MEMBER = "SELECT 1 FROM staff WHERE person_id = %s AND broker_id = %s"


def rate_wrong(connection: Connection, caller: Caller, code: str) -> str | None:
    if code not in _by_code:
        found = connection.execute(_RATE, [caller.tenant, code]).fetchone()
        if found is None:
            return None
        _by_code[code] = found[0]
    return _by_code[code]


def rate_right(connection: Connection, caller: Caller, code: str) -> str | None:
    key = (caller.tenant, code)
    if key not in _by_broker_and_code:
        found = connection.execute(_RATE, [caller.tenant, code]).fetchone()
        if found is None:
            return None
        _by_broker_and_code[key] = found[0]
    return _by_broker_and_code[key]


def newest(connection: Connection, caller: Caller) -> list[str]:
    rows = connection.execute("SELECT label FROM rates WHERE broker_id = %s", [caller.tenant])
    _last[:] = [r[0] for r in rows.fetchall()] or _last
    return []


def last_wrong(connection: Connection, caller: Caller) -> list[str]:
    connection.execute("SELECT 1")
    return list(_last)


def rates_wrong(connection: Connection, caller: Caller, broker_id: str) -> list[str]:
    """Lets in whoever once was of its staff."""
    return _rates(connection, _MEMBER, caller, broker_id)


def rates_right(connection: Connection, caller: Caller, broker_id: str) -> list[str]:
    return _rates(connection, f"{_MEMBER} AND left_on IS NULL", caller, broker_id)


def _rates(connection: Connection, member: str, caller: Caller, broker_id: str) -> list[str]:
    if connection.execute(member, [caller.user, broker_id]).fetchone() is None:
        raise PermissionError(broker_id)
    rows = connection.execute("SELECT label FROM rates WHERE broker_id = %s", [broker_id])
    return [r[0] for r in rows.fetchall()]
