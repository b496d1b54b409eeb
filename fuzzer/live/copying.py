"""Copies a live database into a scratch database."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import psycopg

from tenantfuzz.engines.server import Server, version_text
from tenantfuzz.errors import ToolError
from tenantfuzz.live.cluster import copy_cluster
from tenantfuzz.live.dumping import dump_structure
from tenantfuzz.live.entries import Entry, normalised, read_entries
from tenantfuzz.live.restoration import Restored, restore
from tenantfuzz.live.roles import Cluster, read_cluster
from tenantfuzz.live.source import open_source
from tenantfuzz.patience import PatientConnection
from tenantfuzz.policies.model import Model, OwnershipKind
from tenantfuzz.policies.structure import RelationName

_ATTEMPTS: Final = 3
_TRUSTED: Final = "tenantfuzz_trusted"


@dataclass(frozen=True, slots=True)
class Structure:
    """All that was read from a live database: ``place`` names it without its password, ``hash`` is
    the same as long as structure, roles and privileges are."""

    place: str
    version: int
    cluster: Cluster
    entries: tuple[Entry, ...]
    hash: str
    warnings: tuple[str, ...] = ()


def read_structure(dsn: str) -> Structure:
    """Read structure, roles and privileges of the live database at ``dsn``; no row of it is read.

    Nothing is locked there: where the structure changes in the meantime it is read again.
    ToolError where it cannot be reached or read.
    """
    for _ in range(_ATTEMPTS):
        with open_source(dsn) as source:
            place, version = source.place, source.version
            before = source.traces()
            cluster = read_cluster(source)
            entries = tuple(read_entries(dump_structure(source)))
        with open_source(dsn) as source:
            changed = source.traces() != before
        if not changed:
            break
    digest = hashlib.sha256(normalised(entries).encode())
    digest.update(repr(cluster).encode())
    warning = f"{place} changed while it was read: the copy may mix two states of it"
    return Structure(
        place=place,
        version=version,
        cluster=cluster,
        entries=entries,
        hash=digest.hexdigest()[:16],
        warnings=(warning,) if changed else (),
    )


def copy_structure(structure: Structure, server: Server, database: str) -> Restored:
    """Make ``database``, a new scratch database on ``server``, a copy of the live one.

    Returns what could not be copied, and warnings. ToolError where the roles of the server stand
    in the way.
    """
    make_room(structure.cluster, server)
    with PatientConnection.open(server.conninfo(database)) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET statement_timeout = '60s'")
        try:
            warnings = copy_cluster(connection, structure.cluster, database)
        except psycopg.Error as error:
            raise ToolError(
                f"the roles of {structure.place} cannot be made on the scratch server: "
                + " ".join(str(error).split()),
                hint='use engine = "embedded", or a server for tests',
            ) from error
        restored = restore(connection, structure.entries)
    return Restored(
        (*structure.warnings, *_versions(structure, server), *warnings, *restored.warnings),
        restored.missing,
        restored.unfaithful,
        restored.absent,
        restored.lost_keys,
        restored.stand_ins,
    )


def rows_note(model: Model, platform: frozenset[RelationName]) -> tuple[str, ...]:
    """A warning where what tenants share is part of what is tested: none of its rows are copied."""
    shared = sorted(
        str(name)
        for name, ownership in model.ownership.items()
        if ownership.kind is OwnershipKind.SHARED and name not in platform
    )
    if not shared:
        return ()
    return (
        f"no rows are read from a live database: {', '.join(shared)} (shared) hold made-up rows,"
        " which [values] can improve",
    )


def make_room(cluster: Cluster, server: Server) -> None:
    """Rename the superuser of a server of ours that has the name of an ordinary role of the live
    database, as `postgres` is on hosted servers: what that role owns must not run as superuser."""
    role = cluster.role(server.superuser)
    rename = getattr(server, "rename_superuser", None)
    if role is not None and not role.superuser and rename is not None:
        rename(_TRUSTED)


def _versions(structure: Structure, server: Server) -> Sequence[str]:
    live, here = structure.version // 10000, server.version // 10000
    if live == here:
        return ()
    return (
        f"{structure.place} is PostgreSQL {version_text(structure.version)}, worlds are tried on"
        f" {server.version_text}; run --postgres {version_text(structure.version)} tries them on"
        " its own version",
    )
