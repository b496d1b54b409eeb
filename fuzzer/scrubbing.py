"""Keeps passwords out of what is written or shown."""

import re

HIDDEN = "***"

_CONNINFO = re.compile(r"(password=)(?:'(?:[^'\\]|\\.|'')*'|[^\s&'\"]+)", re.IGNORECASE)
_URL = re.compile(r"(://[^\s:/@'\"]+:)[^\s@'\"]+@")


def scrub(text: str) -> str:
    """``text`` with the passwords of connection strings (both forms) replaced by ``***``."""
    if "password=" in text.lower():
        text = _CONNINFO.sub(_hidden, text)
    return _URL.sub(rf"\g<1>{HIDDEN}@", text) if "://" in text else text


def scrub_document(value: object) -> object:
    """The same for every text in a JSON document, keys left alone."""
    match value:
        case str():
            return scrub(value)
        case dict():
            return {key: scrub_document(item) for key, item in value.items()}
        case list() | tuple():
            return [scrub_document(item) for item in value]
        case _:
            return value


def _hidden(match: re.Match[str]) -> str:
    # Quotes stay, for the text may be SQL that runs again.
    quoted = match.group(0)[len(match.group(1)) :].startswith("'")
    return f"{match.group(1)}'{HIDDEN}'" if quoted else f"{match.group(1)}{HIDDEN}"
