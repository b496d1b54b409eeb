"""Tells a platform's own objects in the copy of a live database from those of the target."""

from dataclasses import dataclass

import psycopg

from tenantfuzz.catalog import read_catalog
from tenantfuzz.engines.server import Server, scratch_name
from tenantfuzz.errors import ToolError
from tenantfuzz.patience import PatientConnection
from tenantfuzz.policies.structure import Catalog, RelationName
from tenantfuzz.presets.preset import Preset


@dataclass(frozen=True, slots=True)
class Platform:
    """What a platform brought: relations, and functions by their oid."""

    relations: frozenset[RelationName] = frozenset()
    functions: frozenset[int] = frozenset()


def platform_of(preset: Preset | None, catalog: Catalog, server: Server, place: str) -> Platform:
    """What in ``catalog``, that of a copy on ``server``, is the platform's that ``preset`` names.

    That is what the preset's own SQL makes, and what else those own who own nothing outside of
    the platform's schemas. ToolError where the live database at ``place`` has nothing of it.
    """
    if preset is None or not preset.sql:
        return Platform()
    usual = _usual(preset, server)
    known = usual.relations.keys() & catalog.relations.keys()
    if not known:
        raise ToolError(
            f'{place} has nothing of what preset = "{preset.name}" stands for',
            hint="leave out `preset`: a live database brings its own roles and schemas along",
        )
    outside = {r.owner for n, r in catalog.relations.items() if n.schema not in preset.schemas}
    owners = {catalog.relations[name].owner for name in known} - outside
    routines = {(f.name, f.arguments) for f in usual.functions}
    return Platform(
        frozenset(
            name
            for name, relation in catalog.relations.items()
            if name in known or (name.schema in preset.schemas and relation.owner in owners)
        ),
        frozenset(
            f.oid
            for f in catalog.functions
            if (f.name, f.arguments) in routines
            or (f.name.schema in preset.schemas and f.owner in owners)
        ),
    )


def _usual(preset: Preset, server: Server) -> Catalog:
    """The catalog of a database that has the preset alone.

    Nothing of it remains: the roles that it makes are the server's, and here they would stand
    beside those of the live database.
    """
    database = scratch_name("preset")
    server.create_database(database)
    try:
        with (
            PatientConnection.open(server.conninfo(database)) as connection,
            connection.transaction(force_rollback=True),
        ):
            connection.execute(preset.sql.encode())
            return read_catalog(connection)
    except psycopg.Error as error:
        raise ToolError(f"the preset {preset.name} cannot be read: {error}") from error
    finally:
        server.drop_database(database)
