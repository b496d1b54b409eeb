"""Guesses and questions: what inference says, and how sure of it it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from tenantfuzz.policies.structure import RelationName

Path = tuple[str, ...]
"""A place in the configuration: ``("tenancy", "tables", "comments")``."""


class Confidence(StrEnum):
    """How sure a guess is. What is unsure is asked, and never taken for granted."""

    SURE = "sure"
    LIKELY = "likely"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class Guess:
    """A value for one place in the configuration, and why."""

    path: Path
    value: object
    reason: str
    confidence: Confidence = Confidence.SURE


@dataclass(frozen=True, slots=True)
class Question:
    """What only a person can say: the place, and values that may stand there, the likeliest first.

    ``essential``: without an answer nothing can be judged.
    """

    path: Path
    text: str
    candidates: tuple[object, ...] = ()
    essential: bool = False


@dataclass(frozen=True, slots=True)
class Inference:
    """All that a catalog shows. ``doubts`` are relations whose ownership is not known for sure,
    and why: without a file they are left unclassified, whatever resolution would make of them.
    ``remarks`` are what a reader should know besides."""

    guesses: tuple[Guess, ...] = ()
    questions: tuple[Question, ...] = ()
    doubts: Mapping[RelationName, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def guess(self, *path: str) -> Guess | None:
        """The guess for that place, if there is one."""
        return next((g for g in self.guesses if g.path == path), None)


def put(data: dict[str, object], path: Sequence[str], value: object) -> None:
    """Sets ``value`` at ``path`` in nested tables, unless something stands there already."""
    *outer, last = path
    table: dict[str, object] = data
    for key in outer:
        inner = table.setdefault(key, {})
        if not isinstance(inner, dict):
            return
        table = inner
    table.setdefault(last, value)


def holds(data: Mapping[str, object], path: Sequence[str]) -> bool:
    """Whether something stands at ``path`` in nested tables."""
    here: object = data
    for key in path:
        if not isinstance(here, Mapping) or key not in here:
            return False
        here = here[key]
    return True
