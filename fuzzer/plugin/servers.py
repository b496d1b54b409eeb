"""A server from a fixture of the user's own."""

from collections.abc import Mapping

from psycopg import Connection
from psycopg.conninfo import make_conninfo

from tenantfuzz.errors import ToolError


def dsn_of(value: object, fixture: str) -> str:
    """The connection string that a fixture's value stands for.

    A string is one; a psycopg connection, or an object with ``dsn``, ``info`` or with ``host`` and
    ``port`` (and perhaps ``user`` and ``password``), as pytest-postgresql's ``postgresql_proc``,
    leads to one. Raises ToolError for anything else.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, Connection):
        parameters = dict(value.info.get_parameters())
        if value.info.password:
            parameters["password"] = value.info.password
        return make_conninfo("", **parameters)
    dsn = getattr(value, "dsn", None)
    if isinstance(dsn, str):
        return dsn
    found = _parameters(value)
    if found is not None:
        return make_conninfo("", **found)
    raise ToolError(
        f"the fixture {fixture} gives no server: it is of type {type(value).__name__}",
        hint="let it give a connection string, a psycopg connection, or an object with host and "
        "port",
    )


def _parameters(value: object) -> Mapping[str, str | int] | None:
    source = getattr(value, "info", value)
    host, port = getattr(source, "host", None), getattr(source, "port", None)
    if not isinstance(host, str) or not isinstance(port, int | str):
        return None
    found: dict[str, str | int] = {"host": host, "port": port, "dbname": "postgres"}
    for word in ("user", "password"):
        if given := getattr(source, word, None):
            found[word] = str(given)
    return found
