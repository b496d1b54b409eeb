"""Puts lines on a terminal, coloured, or into a log, plain."""

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from tenantfuzz.findings import Severity
from tenantfuzz.lines import LABEL, Line, Part

_WIDEST = 100
STYLES = {
    Severity.CRITICAL: "bold red",
    Severity.HIGH: "red",
    Severity.MEDIUM: "yellow",
    Severity.LOW: "cyan",
    Severity.WARNING: "magenta",
}


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the command, whose exit status 1 means findings; rich would exit with 1."""
        self.quiet = True
        raise BrokenPipeError


def open_console(*, stderr: bool = False) -> Console:
    """A console that shows text as it is: no markup, no emoji codes, colours only on a terminal
    and never where NO_COLOR is set."""
    return _Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def story_width(console: Console) -> int:
    """The width to write for; text wider than 100 characters is hard to read."""
    return min(console.width, _WIDEST)


def put(console: Console, text: str, style: str = "") -> None:
    """One line that the terminal may wrap, but that is not cut in two."""
    console.print(Text(text, style=style), soft_wrap=True)


def put_lines(console: Console, lines: Iterable[Line], severity: Severity) -> None:
    """Lines with their headlines in the colour of ``severity``."""
    for line in lines:
        text = Text(line.text)
        if line.part is Part.HEADLINE:
            text.stylize(STYLES[severity])
        elif line.part is Part.LABELLED:
            text.stylize("bold", 0, LABEL)
        console.print(text, soft_wrap=True)
