"""Documents: JSON that people read too, and files that are written whole or not at all."""

import json
import os
import tempfile
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from tenantfuzz.errors import ToolError

_WIDTH = 100

Document = dict[str, object]


def json_text(document: Mapping[str, object]) -> str:
    """``document`` as JSON for people too: indent 2, what fits on one line on one line.

    Characters that are not seen, or that reorder what is seen, are escaped.
    """
    return _escape_unseen(_formatted(document, 0)) + "\n"


def write_json(document: Mapping[str, object], path: Path) -> None:
    """Write ``document`` to ``path``, whole or not at all. Raises ToolError."""
    write_text(json_text(document), path)


def write_text(text: str, path: Path) -> None:
    """Write ``text`` to ``path`` as UTF-8, whole or not at all. Raises ToolError."""
    temporary: str | None = None
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=".tenantfuzz-", dir=path.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise ToolError(
            f"cannot write {path}: {error.strerror or error}",
            hint="check that the folder exists, may be written to, and that the disk is not full",
        ) from error


def _formatted(value: object, indent: int, used: int = 0) -> str:
    """``used`` characters stand before ``value`` on its line, after the indent."""
    short = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or not value:
        return short
    if indent and indent + used + len(short) < _WIDTH:
        return short
    inner = " " * (indent + 2)
    if isinstance(value, dict):
        keys = [json.dumps(key, ensure_ascii=False) + ": " for key in value]
        items = [
            key + _formatted(item, indent + 2, len(key))
            for key, item in zip(keys, value.values(), strict=True)
        ]
        left, right = "{", "}"
    else:
        items = [_formatted(item, indent + 2) for item in value]
        left, right = "[", "]"
    body = ",\n".join(inner + item for item in items)
    return f"{left}\n{body}\n{' ' * indent}{right}"


def _escape_unseen(text: str) -> str:
    return "".join(
        json.dumps(char)[1:-1] if char != "\n" and _unseen(char) else char for char in text
    )


def _unseen(char: str) -> bool:
    return not char.isascii() and unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")
