"""Where choices come from: nowhere (the simplest), a seeded generator, or Hypothesis.

All generators of rows take a ``Pick``, so that one piece of code serves designed worlds, seeded
bulk and worlds that shrink.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hypothesis import strategies as st


class Pick(Protocol):
    """A choice among ``n`` things: returns a number in ``range(n)``, where 0 is the simplest.

    ``n`` is at least 1; with 1 there is nothing to choose, and no choice is spent.
    """

    def __call__(self, n: int, /) -> int:
        """A number in ``range(n)``."""
        ...


@dataclass(frozen=True, slots=True)
class SimplestPick:
    """Always the simplest choice."""

    def __call__(self, n: int, /) -> int:
        """Return 0."""
        return 0


@dataclass(frozen=True, slots=True)
class SeededPick:
    """Uniform choices from a generator that the caller seeded: same seed, same choices."""

    source: random.Random

    def __call__(self, n: int, /) -> int:
        """Return a uniform number in ``range(n)``."""
        return self.source.randrange(n) if n > 1 else 0


@dataclass(frozen=True, slots=True)
class HypothesisPick:
    """Each choice is one Hypothesis draw of an integer, and shrinks toward 0.

    ``draw`` is what ``@composite`` passes. A draw costs 20 to 35 µs: keep this for choices that
    decide a verdict.
    """

    draw: Callable[[st.SearchStrategy[int]], int]

    def __call__(self, n: int, /) -> int:
        """Draw a number in ``range(n)``."""
        return self.draw(st.integers(0, n - 1)) if n > 1 else 0


@dataclass(frozen=True, slots=True)
class ShiftedPick:
    """Another pick's choices, each moved on by ``shift``: what it would not choose comes up."""

    pick: Pick
    shift: int

    def __call__(self, n: int, /) -> int:
        """Return the shifted choice in ``range(n)``."""
        return (self.pick(n) + self.shift) % n
