"""Engines: where the PostgreSQL server for the worlds comes from."""

from tenantfuzz.engines.download import fetch_binaries
from tenantfuzz.engines.embedded import EmbeddedServer, start_embedded
from tenantfuzz.engines.external import ExternalServer, connect_server
from tenantfuzz.engines.server import SCRATCH_PREFIX, Server, scratch_name
from tenantfuzz.engines.template import default_cache
from tenantfuzz.errors import ToolError

__all__ = [
    "SCRATCH_PREFIX",
    "EmbeddedServer",
    "ExternalServer",
    "Server",
    "connect_server",
    "open_engine",
    "scratch_name",
    "start_embedded",
]


def open_engine(name: str, *, server_dsn: str | None, postgres: str | None = None) -> Server:
    """The server of the engine ``name``; ``server_dsn`` is for the engine ``server`` alone, and
    ``postgres``, a version to download where it is not there, for ``embedded``."""
    if postgres is not None and name != "embedded":
        raise ToolError(
            f'--postgres goes with engine = "embedded", not with "{name}"',
            hint="leave one of them out",
        )
    match name:
        case "embedded":
            bindir = None if postgres is None else fetch_binaries(postgres, default_cache())
            return start_embedded(bindir=bindir)
        case "server":
            if not server_dsn:
                raise ToolError(
                    'engine = "server" needs the address of a server',
                    hint='set server = "env:SCRATCH_URL" in the configuration, and SCRATCH_URL to'
                    " the connection string of a superuser",
                )
            return connect_server(server_dsn)
        case "container" | "pglite":
            raise ToolError(
                f"the engine {name!r} is not available in this version",
                hint='use engine = "embedded", or start the server yourself and use'
                ' engine = "server"',
            )
        case _:
            raise ToolError(
                f"there is no engine {name!r}", hint="the engines are: embedded, server"
            )
