"""What can go wrong that is not a finding."""


class ToolError(Exception):
    """We or the set-up failed: what happened and where, and in ``hint`` what to do next.

    The command line prints both and exits with status 2.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
