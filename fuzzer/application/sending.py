"""Statements that application code sent to the database."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import sqlglot
from psycopg.abc import Params
from sqlglot import exp
from sqlglot.errors import SqlglotError

from tenantfuzz.policies.query_text import QueryText, Slot, cut_text
from tenantfuzz.policies.quoting import literal

Instead = Mapping[str, str]
"""Statements that are run in place of others, by the text that was sent."""

NOTHING: Instead = {}
_QUERY = re.compile(r"\s*\(?\s*(select|with|insert|update|delete|merge)\b", re.IGNORECASE)
_PERCENT = re.compile(r"%%|%[sbt]")


@dataclass(frozen=True, slots=True)
class Sent:
    """One statement: ``sql`` as it was sent, cut at its parameters, and their values as text.

    ``percents``: it was sent with ``%s`` or ``%(name)s`` for parameters, in place of ``$1``.
    """

    sql: str
    text: QueryText
    values: Mapping[str, str | None]
    percents: bool = False

    @property
    def is_query(self) -> bool:
        """Whether it reads or writes rows; what sets up a session does not."""
        return _QUERY.match(self.sql) is not None

    def spelled(self, made: QueryText, own: Mapping[str, str | None]) -> str | None:
        """``made``, a change of its text, as it has to be sent: what it was not sent with is in
        ``own`` and becomes a literal. None where parameters without names changed places."""
        slots = [p.name for p in made.pieces if isinstance(p, Slot) and p.name in self.values]
        places = [p.name for p in self.text.pieces if isinstance(p, Slot)]
        if self.percents and slots != places:
            return None
        spelled = ""
        for piece in made.pieces:
            if isinstance(piece, str):
                spelled += piece.replace("%", "%%") if self.percents else piece
            elif piece.name not in self.values:
                value = literal(own.get(piece.name))
                spelled += value.replace("%", "%%") if self.percents else value
            elif self.percents:
                spelled += "%s" if piece.name.isdigit() else f"%({piece.name})s"
            else:
                spelled += f"${piece.name}"
        return spelled


def of_psycopg(sql: str, params: Params | None) -> Sent:
    """The statement that psycopg was given."""
    if params is None:
        return Sent(sql, QueryText((sql.strip().rstrip(";"),), ()), {})
    if isinstance(params, Mapping):
        values = {str(k): _text(v) for k, v in cast(Mapping[str, object], params).items()}
        return Sent(sql, cut_text(sql), values, percents=True)
    given = list(cast(Sequence[object], params))
    pieces: list[str | Slot] = []
    position, number = 0, 0
    text = sql.strip().rstrip(";")
    plain = ""
    for match in _PERCENT.finditer(text):
        plain += text[position : match.start()]
        position = match.end()
        if match.group() == "%%":
            plain += "%"
            continue
        number += 1
        pieces += [plain, Slot(str(number))]
        plain = ""
    names = tuple(str(n) for n in range(1, number + 1))
    whole = QueryText((*pieces, plain + text[position:]), names)
    values = {str(n): _text(v) for n, v in enumerate(given, 1)}
    return Sent(sql, whole, values, percents=True)


def of_protocol(sql: str, values: Sequence[str | None]) -> Sent:
    """The statement that a driver sent, with ``$1`` for parameters."""
    named = {str(n): v for n, v in enumerate(values, 1)}
    return Sent(sql, cut_text(sql), named)


def is_ordered(sent: Sequence[Sent]) -> bool:
    """Whether one of the statements asks for its rows in an order."""
    return any(_ordered(s.text.indexed()) for s in sent if "order by" in s.sql.lower())


@lru_cache(maxsize=1024)
def _ordered(text: str) -> bool:
    try:
        tree = sqlglot.parse_one(text, dialect="postgres")
    except (SqlglotError, RecursionError):
        return False
    tree = tree.unnest()
    return isinstance(tree, exp.Query) and tree.args.get("order") is not None


def _text(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)
