"""A diagnosis: what a doctor's visit found, as lines for people and as a document for machines."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from tenantfuzz.exit_status import ExitStatus
from tenantfuzz.lines import visible
from tenantfuzz.scrubbing import scrub


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: ``topic`` is server, target, roles, identity, relations or
    population; ``hint`` says what to do."""

    topic: str
    level: Level
    message: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All checks, in order, and the seconds that each phase took."""

    target: str
    checks: tuple[Check, ...]
    timings: tuple[tuple[str, float], ...] = ()

    @property
    def level(self) -> Level:
        """The worst of all checks."""
        levels = {check.level for check in self.checks}
        return next((x for x in (Level.ERROR, Level.WARNING) if x in levels), Level.OK)

    @property
    def status(self) -> ExitStatus:
        """0 all is well, 2 an error, 3 warnings."""
        match self.level:
            case Level.OK:
                return ExitStatus.CLEAN
            case Level.WARNING:
                return ExitStatus.UNTESTED
            case Level.ERROR:
                return ExitStatus.ERROR


def diagnosis_lines(diagnosis: Diagnosis, *, width: int = 80) -> Iterator[str]:
    """Plain lines: one for each check, its hint below, then the times, then the verdict."""
    for check in diagnosis.checks:
        head = f"{check.level.value:<8}{check.topic}: "
        yield from _wrapped(head + check.message, " " * 10, width)
        if check.hint:
            yield from _wrapped(f"          hint: {check.hint}", " " * 12, width)
    if diagnosis.timings:
        parts = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in diagnosis.timings)
        yield from _wrapped(f"time    {parts}", " " * 10, width)
    counts = {level: sum(c.level is level for c in diagnosis.checks) for level in Level}
    match diagnosis.level:
        case Level.OK:
            yield f"{diagnosis.target}: all is well"
        case _:
            told = [
                f"{number} {level.value}{'' if number == 1 else 's'}"
                for level in (Level.ERROR, Level.WARNING)
                if (number := counts[level])
            ]
            yield f"{diagnosis.target}: {', '.join(told)}"


def diagnosis_document(diagnosis: Diagnosis) -> dict[str, object]:
    """The same as a JSON document."""
    return {
        "schema_version": 1,
        "status": diagnosis.level.value,
        "target": diagnosis.target,
        "checks": [
            {
                "topic": check.topic,
                "level": check.level.value,
                "message": scrub(check.message),
                "hint": scrub(check.hint) if check.hint else None,
            }
            for check in diagnosis.checks
        ],
        "timings": {name: round(seconds, 3) for name, seconds in diagnosis.timings},
    }


def _wrapped(text: str, indent: str, width: int) -> list[str]:
    clean = scrub(visible(text))
    lead = len(clean) - len(clean.lstrip())
    words = clean.strip()
    return textwrap.wrap(
        words,
        width,
        initial_indent=" " * lead,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
        drop_whitespace=True,
    )
