"""A live database's structure and roles as a script that psql runs on an empty database."""

from collections.abc import Iterator

from psycopg import sql

from tenantfuzz.engines.properties import set_statement
from tenantfuzz.live.cluster import create_role, grant_membership, is_copied
from tenantfuzz.live.copying import Structure
from tenantfuzz.live.restoration import is_left_out


def structure_script(structure: Structure) -> Iterator[str]:
    """The lines of the script: roles that are not there yet, memberships, settings, structure.

    As in a copy, a statement that fails does not end it: an extension may be missing.
    """
    yield f"-- {structure.place}, without rows."
    yield "\\set ON_ERROR_STOP off"
    for role in structure.cluster.roles:
        made = sql.Literal(create_role(role).as_string()).as_string()
        name = sql.Literal(role.name).as_string()
        yield f"SELECT {made} WHERE NOT EXISTS"
        yield f"  (SELECT FROM pg_catalog.pg_roles WHERE rolname = {name}) \\gexec"
    for membership in structure.cluster.memberships:
        yield f"{grant_membership(membership, version=structure.version).as_string()};"
    for setting in structure.cluster.settings:
        if setting.role is None and is_copied(setting):
            place = sql.SQL('DATABASE :"DBNAME"')
            yield f"{set_statement(place, setting.name, setting.value).as_string()};"
    for entry in structure.entries:
        if not is_left_out(entry):
            yield f"{entry.text};"
    yield "\\set ON_ERROR_STOP on"
