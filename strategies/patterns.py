"""Texts that match a regular expression: a small generator for what CHECK constraints hold.

Understood: literals, escapes, classes, groups, alternation, quantifiers and anchors. The result
is checked against the whole expression, so what is not understood gives no text, never a wrong one.
"""

import string
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from tenantfuzz.strategies.functions import like_pattern, python_pattern

_WORD = string.ascii_lowercase + string.digits + string.ascii_uppercase
_POOL = _WORD + " -_.@/:,;!#$%&'()*+<=>?[]^`{|}~\"\\"
_NAMED = {
    "d": string.digits,
    "w": _WORD + "_",
    "s": " ",
    "D": string.ascii_lowercase + "-",
    "W": "- .",
    "S": _WORD + "-_.",
}
_POSIX = {
    "alpha": string.ascii_lowercase + string.ascii_uppercase,
    "digit": string.digits,
    "alnum": _WORD,
    "upper": string.ascii_uppercase,
    "lower": string.ascii_lowercase,
    "space": " ",
    "blank": " ",
    "xdigit": string.digits + "abcdefABCDEF",
    "punct": "-_.,;:!?",
    "word": _WORD + "_",
}
MORE = 6
"""How many repetitions beyond the least an open quantifier may get."""


class _NotUnderstood(Exception):  # noqa: N818  (leads to no text, it is no failure)
    pass


@dataclass(frozen=True, slots=True)
class _Chars:
    """One character out of ``allowed``."""

    allowed: str


@dataclass(frozen=True, slots=True)
class _Series:
    items: tuple["_Node", ...]


@dataclass(frozen=True, slots=True)
class _Choice:
    options: tuple["_Node", ...]


@dataclass(frozen=True, slots=True)
class _Repeat:
    item: "_Node"
    least: int
    most: int | None


_Node = _Chars | _Series | _Choice | _Repeat


class _Reader:
    """Reads a regular expression into nodes."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0

    def peek(self) -> str:
        return self.pattern[self.at : self.at + 1]

    def take(self) -> str:
        char = self.peek()
        if not char:
            raise _NotUnderstood
        self.at += 1
        return char

    def choice(self) -> _Node:
        options = [self.series()]
        while self.peek() == "|":
            self.take()
            options.append(self.series())
        return options[0] if len(options) == 1 else _Choice(tuple(options))

    def series(self) -> _Node:
        items: list[_Node] = []
        while self.peek() not in ("", "|", ")"):
            char = self.take()
            if char in "^$":
                continue
            item = self.atom(char)
            if item is not None:
                items.append(self.quantified(item))
        return _Series(tuple(items))

    def atom(self, char: str) -> _Node | None:
        if char == "(":
            return self.group()
        if char == "[":
            return self.bracket()
        if char == ".":
            return _Chars(_WORD)
        if char == "\\":
            escaped = self.take()
            if escaped in _NAMED:
                return _Chars(_NAMED[escaped])
            if escaped in "AZmMyb":
                return None
            if escaped.isalnum():
                raise _NotUnderstood
            return _Chars(escaped)
        if char in "*+?":
            raise _NotUnderstood
        return _Chars(char)

    def group(self) -> _Node | None:
        forward = None
        if self.peek() == "?":
            self.take()
            kind = self.take()
            if kind == "<":
                raise _NotUnderstood
            if kind in "=!":
                forward = kind
            elif kind != ":":
                raise _NotUnderstood
        inner = self.choice()
        if self.take() != ")":
            raise _NotUnderstood
        return None if forward else inner  # the final test judges what looks ahead

    def bracket(self) -> _Node:
        negated = self.peek() == "^"
        if negated:
            self.take()
        allowed: list[str] = []
        first = True
        while first or self.peek() != "]":
            first = False
            if self.pattern.startswith("[:", self.at):
                end = self.pattern.find(":]", self.at)
                name = self.pattern[self.at + 2 : end]
                if end < 0 or name not in _POSIX:
                    raise _NotUnderstood
                allowed.extend(_POSIX[name])
                self.at = end + 2
                continue
            char = self.take()
            if char == "\\":
                escaped = self.take()
                if escaped in _NAMED:
                    allowed.extend(_NAMED[escaped])
                    continue
                if escaped.isalnum():
                    raise _NotUnderstood
                char = escaped
            if self.peek() == "-" and self.pattern[self.at + 1 : self.at + 2] not in ("]", ""):
                self.take()
                last = self.take()
                last = self.take() if last == "\\" else last
                allowed.extend(chr(c) for c in range(ord(char), min(ord(last), 0x17F) + 1))
            else:
                allowed.append(char)
        self.take()
        members = set(allowed)
        if negated:
            kept = [c for c in _POOL if c not in members]
        else:
            kept = [c for c in _POOL if c in members] or sorted(members)
        if not kept:
            raise _NotUnderstood
        return _Chars("".join(kept))

    def quantified(self, item: _Node) -> _Node:
        char = self.peek()
        if char and char in "*+?":
            self.take()
            least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}[char]
        elif char == "{" and (end := self.pattern.find("}", self.at)) > 0:
            low, comma, high = self.pattern[self.at + 1 : end].partition(",")
            if not low.isdigit():
                raise _NotUnderstood
            least = int(low)
            most = (int(high) if high else None) if comma else least
            self.at = end + 1
        else:
            return item
        if self.peek() == "?":
            self.take()
        return _Repeat(item, least, most)


class _Writer:
    """Writes one text of a tree, spending the digits of a number on the characters.

    ``extra`` is how many repetitions beyond the least an open quantifier gets.
    """

    def __init__(self, number: int, extra: int) -> None:
        self.number = number
        self.extra = extra

    def write(self, node: _Node) -> str:
        match node:
            case _Chars(allowed):
                self.number, index = divmod(self.number, len(allowed))
                return allowed[index]
            case _Series(items):
                # The last characters vary fastest, as in numbers; they are written first.
                return "".join(reversed([self.write(item) for item in reversed(items)]))
            case _Choice(options):
                self.number, index = divmod(self.number, len(options))
                return self.write(options[index])
            case _Repeat(item, least, most):
                count = least + self.extra
                count = count if most is None else min(count, most)
                return "".join(reversed([self.write(item) for _ in range(count)]))


@lru_cache(maxsize=4096)
def _tree_of(pattern: str) -> _Node | None:
    if pattern.startswith("(?i)"):
        pattern = pattern[4:]
    reader = _Reader(pattern)
    try:
        node = reader.choice()
    except (_NotUnderstood, ValueError):
        return None
    return node if reader.at == len(pattern) else None


def matching_text(pattern: str, number: int, *, extra: int = MORE) -> str | None:
    """A text that PostgreSQL's ``~ pattern`` accepts, or None where none was found.

    Different numbers give different texts as far as the pattern leaves room; with a smaller
    ``extra`` they are shorter.
    """
    node, test = _tree_of(pattern), python_pattern(pattern)
    if node is None or test is None:
        return None
    text = _Writer(number, extra).write(node)
    return text if test.search(text) else None


def like_texts(pattern: str) -> Iterator[str]:
    """Texts that a LIKE pattern accepts, and one that it does not."""
    text = pattern.replace("\\%", "\0").replace("\\_", "\1")
    for fill in ("", "a", "abc"):
        candidate = text.replace("%", fill).replace("_", "a").replace("\0", "%")
        candidate = candidate.replace("\1", "_")
        if like_pattern(pattern).fullmatch(candidate):
            yield candidate
    yield "other"
