"""A row as PostgreSQL writes it in one text, taken apart for people."""

from collections.abc import Sequence

_MOST_COLUMNS = 6
_LONGEST_VALUE = 40


def row_fields(text: str) -> list[str | None] | None:
    """The fields of a row's text such as ``(1,"a b",)``; None for NULL.

    None instead of the list where the text is no row (PostgreSQL manual, section 8.16.6).
    """
    if len(text) < 2 or text[0] != "(" or text[-1] != ")":
        return None
    fields: list[str | None] = []
    field: list[str] = []
    given = quoted = False
    at, end = 1, len(text) - 1
    while at < end:
        char = text[at]
        if char == "\\" or (char == '"' and quoted and text[at + 1 : at + 2] == '"'):
            at += 1
            field.append(text[at])
        elif char == '"':
            quoted = not quoted
            given = True
        elif char == "," and not quoted:
            fields.append("".join(field) if field or given else None)
            field, given = [], False
        else:
            field.append(char)
        at += 1
    if quoted:
        return None
    fields.append("".join(field) if field or given else None)
    return fields


def readable_row(text: str, columns: Sequence[str]) -> str:
    """``id = 1, title = a b``: what is not NULL, the first few columns, long values shortened.

    The text itself, shortened, where it does not go with ``columns``.
    """
    fields = row_fields(text)
    if fields is None or len(fields) != len(columns):
        return _cut(text, _MOST_COLUMNS * _LONGEST_VALUE)
    given = [(c, v) for c, v in zip(columns, fields, strict=True) if v is not None]
    told = [f"{c} = {_cut(v, _LONGEST_VALUE) or chr(39) * 2}" for c, v in given[:_MOST_COLUMNS]]
    return ", ".join(told) + (", …" if len(given) > len(told) else "")


def _cut(text: str, longest: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= longest else f"{flat[: longest - 1]}…"
