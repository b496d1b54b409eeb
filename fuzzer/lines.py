"""Lines of text for people, before anything is known of a terminal."""

import unicodedata
from dataclasses import dataclass
from enum import StrEnum

LABEL = 11
"""The width of the labels on the left of a story."""


class Part(StrEnum):
    """What a line is, for whoever colours it."""

    HEADLINE = "headline"
    LABELLED = "labelled"  # its first LABEL characters are a label
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Line:
    """One line, no wider than asked for where words allow it."""

    text: str
    part: Part = Part.PLAIN


def visible(text: str) -> str:
    """``text`` with what would move the cursor, hide or reorder shown as escapes; lines stay."""
    return "".join(
        char if char == "\n" or not _unseen(char) else char.encode("unicode_escape").decode()
        for char in text.replace("\r\n", "\n").replace("\t", " ")
    )


def _unseen(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")
