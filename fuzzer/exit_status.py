"""The exit status of the commands."""

from enum import IntEnum


class ExitStatus(IntEnum):
    """The exit status of every command."""

    CLEAN = 0  # no finding at or above fail_on, and nothing untested
    FINDINGS = 1
    ERROR = 2  # usage, configuration, or the tool itself
    UNTESTED = 3  # no such finding, but something is untested
