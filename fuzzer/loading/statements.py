"""Splits SQL text into its statements, without a server."""

import re
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise


class StatementKind(StrEnum):
    """What a piece of a source is."""

    SQL = "sql"
    META = "meta"
    """A psql meta-command, from its backslash to the end of the line."""
    COPY = "copy"
    """``COPY … FROM stdin``; the rows are in ``Statement.data``."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement: ``text`` without its final semicolon, ``line`` of its first token (1-based).

    ``start`` and ``end`` are the offsets of what it takes up in the source (with its semicolon
    and data, without comments before it).
    """

    text: str
    line: int
    kind: StatementKind = StatementKind.SQL
    data: str | None = None
    start: int = 0
    end: int = 0


_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<comment>--[^\r\n]*)
    | (?P<block>/\*)
    | (?P<quoted>[eE]'(?:[^'\\]|\\.|'')*(?:'|\\?\Z) | '[^']*(?:'|\Z) | "[^"]*(?:"|\Z))
    | (?P<dollar>\$(?:[^\W\d]\w*)?\$)
    | (?P<word>[^\W\d][\w$]*)
    | (?P<number>\d[\w.]*)
    | (?P<meta>\\[^\r\n]*)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK_EDGE = re.compile(r"/\*|\*/")
_BREAKPOINT = "--> statement-breakpoint"
_COPY_END = re.compile(r"^\\\.[ \t]*\r?$", re.MULTILINE)


def _block_comment_end(sql: str, start: int) -> int:
    """Block comments nest (manual, "Comments")."""
    depth = 0
    for edge in _BLOCK_EDGE.finditer(sql, start):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(sql)


class _Splitter:
    """The state of one pass over a source."""

    def __init__(self, sql: str) -> None:
        self.sql = sql
        self.found: list[Statement] = []
        self._line = 1
        self._line_at = 0
        self._clear()

    def _clear(self) -> None:
        self.start: int | None = None
        self.parens = 0
        self.blocks = 0
        self.words: list[str] = []

    def _line_of(self, offset: int) -> int:
        """Offsets must not decrease from call to call: so counting stays linear."""
        self._line += self.sql.count("\n", self._line_at, offset)
        self._line_at = offset
        return self._line

    def run(self) -> list[Statement]:
        sql = self.sql
        position = 0
        while position < len(sql):
            token = _TOKEN.match(sql, position)
            if token is None:  # pragma: no cover - `other` matches any character
                break
            kind, start, end = token.lastgroup, position, token.end()
            position = end
            if kind == "space":
                continue
            if kind == "comment":
                if token.group().startswith(_BREAKPOINT):
                    self._finish(start, start)
                continue
            if kind == "block":
                position = _block_comment_end(sql, start)
                continue
            if kind == "meta":
                position = self._meta(token.group(), start, end)
                continue
            if token.group() == ";" and self.parens == 0 and self.blocks == 0:
                position = self._finish(start, end)
                continue
            if self.start is None:
                self.start = start
            if kind == "dollar":
                close = sql.find(token.group(), end)
                position = len(sql) if close < 0 else close + len(token.group())
            elif kind == "word":
                self._word(token.group().upper())
            elif kind == "other":
                self._bracket(token.group())
        self._finish(len(sql), len(sql))
        return self.found

    def _meta(self, text: str, start: int, end: int) -> int:
        if text.startswith("\\;"):
            # psql's separator within one request; to us the statements are apart anyhow.
            return self._finish(start, start + 2)
        self._finish(start, start)
        line = self._line_of(start)
        self.found.append(Statement(text.rstrip(), line, StatementKind.META, None, start, end))
        return end

    def _bracket(self, char: str) -> None:
        if char == "(":
            self.parens += 1
        elif char == ")":
            self.parens = max(0, self.parens - 1)

    def _word(self, word: str) -> None:
        # The bodies of `BEGIN ATOMIC … END` hold semicolons of their own.
        previous = self.words[-1] if self.words else ""
        atomic = word == "ATOMIC" and previous == "BEGIN" and self.words[0] == "CREATE"
        if atomic or (self.blocks and word == "CASE"):
            self.blocks += 1
        elif self.blocks and word == "END":
            self.blocks -= 1
        self.words.append(word)

    def _is_copy_from_stdin(self) -> bool:
        words = self.words
        return bool(words) and words[0] == "COPY" and ("FROM", "STDIN") in pairwise(words)

    def _finish(self, text_end: int, end: int) -> int:
        """End the statement at ``text_end``; return where reading goes on."""
        if self.start is not None:
            start = self.start
            line = self._line_of(start)
            text = self.sql[start:text_end].rstrip()
            kind, data = StatementKind.SQL, None
            if end > text_end and self._is_copy_from_stdin():
                kind = StatementKind.COPY
                data, end = self._copy_data(end)
            self.found.append(Statement(text, line, kind, data, start, end))
        self._clear()
        return end

    def _copy_data(self, end: int) -> tuple[str, int]:
        newline = self.sql.find("\n", end)
        if newline < 0:
            return "", end
        stop = _COPY_END.search(self.sql, newline + 1)
        if stop is None:
            return self.sql[newline + 1 :], len(self.sql)
        return self.sql[newline + 1 : stop.start()], stop.end()


def split_statements(sql: str) -> list[Statement]:
    r"""Split ``sql`` as psql would; empty statements and comments are left out.

    Understands line comments and nested block comments, quoted strings (also ``E'…'`` and
    ``$tag$…$tag$``) and identifiers, rules in parentheses, ``BEGIN ATOMIC … END`` bodies,
    drizzle's ``--> statement-breakpoint``, ``COPY … FROM stdin`` with its data, and psql
    meta-commands (``\ir file``), which come as statements of their own kind. What is never closed
    reaches to the end of the text, for the server to complain about.
    """
    return _Splitter(sql).run()
