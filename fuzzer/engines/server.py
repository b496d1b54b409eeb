"""What every engine offers: a running PostgreSQL where scratch databases may be made."""

import re
import secrets
from types import TracebackType
from typing import Final, Protocol, Self

from tenantfuzz.errors import ToolError

SCRATCH_PREFIX: Final = "tenantfuzz_scratch_"
OLDEST_VERSION: Final = 13
NEWEST_VERSION: Final = 18


class Server(Protocol):
    """A running PostgreSQL server with a superuser's rights, closed by ``close`` or ``with``."""

    @property
    def superuser(self) -> str:
        """The role used as the trusted role."""
        ...

    @property
    def version(self) -> int:
        """``server_version_num``, for example 180006."""
        ...

    @property
    def version_text(self) -> str:
        """The version as people write it, for example ``18.6``."""
        ...

    def conninfo(self, dbname: str, user: str | None = None) -> str:
        """A libpq connection string; without ``user`` for the superuser."""
        ...

    def create_database(self, name: str, *, template: str | None = None) -> None:
        """Make the database ``name``, empty or a copy of ``template``; ToolError if it exists."""
        ...

    def drop_database(self, name: str) -> None:
        """Drop the database ``name``, ending the sessions in it; ToolError if there is none."""
        ...

    def close(self) -> None:
        """Give back what was taken; may be called twice."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def scratch_name(label: str = "") -> str:
    """A new name for a scratch database, accepted by every engine.

    ``label`` makes it readable; characters other than ASCII letters, digits and underscores go,
    and the whole stays within PostgreSQL's 63 bytes.
    """
    readable = re.sub(r"[^a-z0-9_]+", "_", label.lower())[:24].strip("_")
    return f"{SCRATCH_PREFIX}{readable + '_' if readable else ''}{secrets.token_hex(6)}"


def version_text(version: int) -> str:
    """``18.6`` for 180006."""
    return f"{version // 10000}.{version % 10000}"


def require_supported(version: int, where: str) -> None:
    """ToolError when the server at ``where`` is older than this tool supports."""
    if version // 10000 < OLDEST_VERSION:
        raise ToolError(
            f"{where} is PostgreSQL {version_text(version)}, which is too old",
            hint=f"use PostgreSQL {OLDEST_VERSION} to {NEWEST_VERSION}",
        )
