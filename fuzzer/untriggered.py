"""Statements of the trusted role on which no trigger and no foreign key acts."""

from collections.abc import Iterable
from typing import Final

REPLICA: Final = "SET LOCAL session_replication_role = replica"
ORIGIN: Final = "SET LOCAL session_replication_role = origin"


def untriggered(statements: Iterable[str]) -> list[str]:
    """``statements`` so that only themselves happen (but for triggers that are ALWAYS enabled)."""
    return [REPLICA, *statements, ORIGIN]
