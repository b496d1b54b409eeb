"""What is said of a door, and the outcomes by which pytest hears of it."""

from dataclasses import dataclass

import pytest

from tenantfuzz.counterexample import Counterexample
from tenantfuzz.errors import ToolError
from tenantfuzz.events import UntestedCell
from tenantfuzz.findings import Finding
from tenantfuzz.lines import visible
from tenantfuzz.scrubbing import scrub
from tenantfuzz.story import story_text
from tenantfuzz.summary import untested_groups

_MOST_STORIES = 3
_WIDTH = 80

# Outcomes without a traceback: pytest shows the value of its own ``fail`` and of what is derived
# from it alone. The module is named as pytest does it, so that summaries say "Leak: …".


class Leak(pytest.fail.Exception):  # type: ignore[name-defined,misc]  # a class by value
    """A door that leaks: the item fails."""

    __module__ = "builtins"


class Untested(pytest.fail.Exception):  # type: ignore[name-defined,misc]  # a class by value
    """A door that nobody can vouch for: raised while an item is set up, so that it is an error."""

    __module__ = "builtins"


@dataclass(frozen=True, slots=True)
class Told:
    """A finding with what shows it; ``file`` is where it was saved, as a reader would type it."""

    finding: Finding
    counterexample: Counterexample | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """All that is known of one door.

    ``leaks`` make it fail; ``mild`` are findings that do not (below ``fail_on``, latent, or the
    server's). ``cells`` counts those of the door, ``covered`` those that somebody tried.
    """

    leaks: tuple[Told, ...] = ()
    mild: tuple[Finding, ...] = ()
    accepted: tuple[tuple[Finding, str], ...] = ()
    untested: tuple[UntestedCell, ...] = ()
    accepted_cells: tuple[UntestedCell, ...] = ()
    covered: int = 0
    closed: int = 0
    reason: str = ""  # why a counterexample cannot be replayed


def leak_text(verdict: Verdict, *, path: str) -> str:
    """The stories of what leaks, worst first."""
    told = verdict.leaks[:_MOST_STORIES]
    parts = [_story(t, path) for t in told]
    rest = verdict.leaks[_MOST_STORIES:]
    if rest:
        parts.append("and also:\n" + "\n".join(f"  {t.finding.id}" for t in rest))
    if verdict.untested:
        parts.append(untested_text(verdict.untested))
    return "\n\n".join(parts)


def untested_text(cells: tuple[UntestedCell, ...]) -> str:
    """``untested: …``: each reason, and for which kinds of principal it holds."""
    groups = untested_groups(cells)
    lines = []
    for group in groups:
        lines.append(f"untested: {visible(group.reason)}")
        lines += [f"  {visible(line)}" for line in group.lines]
    lines.append('hint: make it testable, or name it in [[accept]] with relation and "reason"')
    return "\n".join(lines)


def error_text(error: ToolError) -> str:
    """What a ToolError says, and what to do next."""
    text = f"{error}\nhint: {error.hint}" if error.hint else str(error)
    return visible(scrub(text))


def _story(told: Told, path: str) -> str:
    text = story_text(told.finding, told.counterexample, width=_WIDTH, path=path)
    if told.finding.corpus_file is not None:
        return text
    # Commands for a file that nobody saved would lead nowhere.
    return text.partition("\nagain ")[0]
