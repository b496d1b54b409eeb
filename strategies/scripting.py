"""Scripting: several statements as one text, in the form that psql reads."""

HEAD = "-- script\n"
"""The first line of a text that holds several statements."""

_ESCAPES = (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"))


def script(*statements: str) -> str:
    """Statements that are run one after the other; what the last one with rows shows counts."""
    return HEAD + "".join(f"{s};\n" for s in statements)


def copy_in(target: str, rows: list[tuple[str | None, ...]]) -> str:
    """``COPY target FROM STDIN`` with these rows (manual, COPY, section Text Format)."""
    lines = "\n".join("\t".join(_field(v) for v in row) for row in rows)
    return f"COPY {target} FROM STDIN;\n{lines}\n\\."


def _field(value: str | None) -> str:
    if value is None:
        return "\\N"
    for plain, escaped in _ESCAPES:
        value = value.replace(plain, escaped)
    return value
