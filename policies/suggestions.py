"""Suggestions: what a person may have meant by a name that does not exist."""

import difflib
from collections.abc import Iterable, Sequence

SHOWN = 5
"""How many existing names an error lists."""


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate most like ``word``, whatever its capitals and schema, or None."""
    by_text: dict[str, str] = {}
    for candidate in candidates:
        for text in (candidate, candidate.rpartition(".")[2]):
            by_text.setdefault(text.lower(), candidate)
    for text in (word.lower(), word.rpartition(".")[2].lower()):
        if hits := difflib.get_close_matches(text, by_text, n=1, cutoff=0.6):
            return by_text[hits[0]]
    return None


def did_you_mean(word: str, candidates: Iterable[str], *, quote: str = "") -> str:
    """``; did you mean X?`` with the nearest candidate, or nothing."""
    near = nearest(word, candidates)
    return f"; did you mean {quote}{near}{quote}?" if near is not None else ""


def existing(candidates: Sequence[str], *, nearest_to: str) -> str:
    """Up to five candidates, those most like ``nearest_to`` first: ``a, b, c … (9 in all)``."""
    if not candidates:
        return "none"

    def unlikeness(candidate: str) -> float:
        bare = candidate.rpartition(".")[2].lower()
        return -difflib.SequenceMatcher(None, nearest_to.lower(), bare).ratio()

    ranked = sorted(candidates, key=lambda c: (round(unlikeness(c), 1), candidates.index(c)))
    shown = ", ".join(ranked[:SHOWN])
    return shown if len(ranked) <= SHOWN else f"{shown} … ({len(ranked)} in all)"


def alternatives(words: Sequence[str]) -> str:
    """The words as prose: ``a, b or c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
