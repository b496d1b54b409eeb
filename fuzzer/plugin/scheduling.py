"""How pytest-xdist spreads the items: what shares its work stays together."""

from collections.abc import Sequence
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # it has no types


class DoorScheduling(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Doors of one relation go to one worker; every other test goes wherever there is room.

    ``files`` are the targets' files as node ids name them.
    """

    def __init__(
        self,
        config: pytest.Config,
        log: Any,  # Any: xdist's own logger, passed on
        files: Sequence[str],
    ) -> None:
        super().__init__(config, log)
        self._files = frozenset(files)

    def _split_scope(self, nodeid: str) -> str:
        file, _, name = nodeid.partition("::")
        operation, bracket, where = name.partition("[")
        if file not in self._files or not bracket or operation == "replay":
            return nodeid
        return f"{file}::[{where}"
