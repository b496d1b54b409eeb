"""psql's meta-commands, as far as they matter for a schema."""

import re
import shlex
from dataclasses import dataclass
from enum import StrEnum

_COMMAND = re.compile(r"^\\([A-Za-z_!?]+|.)")
_IDLE = frozenset(
    {"restrict", "unrestrict", "echo", "qecho", "warn", "timing", "pset", "encoding", "conninfo"}
    | {"errverbose", "x", "t", "a", "f", "H", "C", "T"}
)
_CONNECT = frozenset({"c", "connect"})
_INCLUDE = frozenset({"i", "include"})
_INCLUDE_RELATIVE = frozenset({"ir", "include_relative"})
_PSQL_SETTINGS = frozenset(
    {"AUTOCOMMIT", "ECHO", "ECHO_HIDDEN", "ENCODING", "FETCH_COUNT", "ON_ERROR_ROLLBACK"}
    | {"ON_ERROR_STOP", "QUIET", "SHOW_ALL_RESULTS", "SHOW_CONTEXT", "VERBOSITY"}
)


class MetaEffect(StrEnum):
    """What a meta-command does to a load."""

    NOTHING = "nothing"
    CONNECT = "connect"
    INCLUDE = "include"
    NEEDS_PSQL = "needs psql"


@dataclass(frozen=True, slots=True)
class MetaCommand:
    r"""One meta-command: its name, effect, and for ``\i`` and ``\ir`` the file named."""

    name: str
    effect: MetaEffect
    argument: str = ""
    relative: bool = False


def parse_meta(text: str) -> MetaCommand:
    r"""Read ``text`` (``\ir tables.sql``) as a meta-command."""
    match = _COMMAND.match(text)
    name = match.group(1) if match else text[1:]
    if name in _IDLE:
        return MetaCommand(name, MetaEffect.NOTHING)
    if name in _CONNECT:
        return MetaCommand(name, MetaEffect.CONNECT)
    try:
        arguments = shlex.split(text[1 + len(name) :])
    except ValueError:
        return MetaCommand(name, MetaEffect.NEEDS_PSQL)
    if name in _INCLUDE | _INCLUDE_RELATIVE:
        # A variable or a command in the path is psql's to expand.
        if len(arguments) != 1 or arguments[0].startswith(":") or "`" in text:
            return MetaCommand(name, MetaEffect.NEEDS_PSQL)
        relative = name in _INCLUDE_RELATIVE
        return MetaCommand(name, MetaEffect.INCLUDE, arguments[0], relative)
    if name in ("set", "unset") and (not arguments or arguments[0] in _PSQL_SETTINGS):
        return MetaCommand(name, MetaEffect.NOTHING)
    return MetaCommand(name, MetaEffect.NEEDS_PSQL)
