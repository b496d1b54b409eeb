"""The part of a migration file that is applied, where one file holds both ways."""

import re

_FORWARD = re.compile(
    r"^\s*--\s*(?:\+goose\s+up|\+migrate\s+up|migrate:up|up\s+migration)\b", re.IGNORECASE
)
_BACKWARD = re.compile(
    r"^\s*--\s*(?:\+goose\s+down|\+migrate\s+down|migrate:down|down\s+migration)\b", re.IGNORECASE
)


def forward_part(sql: str) -> str:
    """``sql`` with the statements that undo it blanked; lines keep their numbers.

    Knows goose and sql-migrate (``-- +goose Up``, ``-- +migrate Up``), dbmate
    (``-- migrate:up``) and node-pg-migrate (``-- Up Migration``). A file with no such mark for
    the forward part is returned as it is.
    """
    lines = sql.splitlines(keepends=True)
    if not any(_FORWARD.match(line) for line in lines):
        return sql
    kept: list[str] = []
    forward = True
    for line in lines:
        if _FORWARD.match(line):
            forward = True
        elif _BACKWARD.match(line):
            forward = False
        kept.append(line if forward else line[len(line.rstrip("\r\n")) :])
    return "".join(kept)
