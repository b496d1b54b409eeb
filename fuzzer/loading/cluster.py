"""Statements that reach beyond the scratch database, and what is done with them."""

import re

from tenantfuzz.loading.words import NAME, unquote

_FLAGS = re.IGNORECASE | re.DOTALL
_ALWAYS_SKIPPED = (
    (re.compile(r"^(?:CREATE|DROP)\s+DATABASE\b", _FLAGS), "the scratch database is used instead"),
    (re.compile(r"^ALTER\s+SYSTEM\b", _FLAGS), "it would change the whole server"),
)
_ON_DATABASE = re.compile(
    r"^(?:ALTER\s+DATABASE|COMMENT\s+ON\s+DATABASE"
    rf"|(?:GRANT|REVOKE)\b[^;]*?\bON\s+DATABASE)\s+(?P<name>{NAME})",
    _FLAGS,
)
_CREATE_PUBLIC = re.compile(
    rf"""^CREATE\s+SCHEMA\s+(?:public|"public")(?:\s+AUTHORIZATION\s+{NAME})?$""", _FLAGS
)
_CREATE_ROLE = re.compile(rf"^CREATE\s+(?:ROLE|USER|GROUP)\s+(?!MAPPING\b)(?P<name>{NAME})", _FLAGS)
_ABOUT_EXTENSION = re.compile(
    rf"^(?:COMMENT\s+ON|ALTER|DROP)\s+EXTENSION\s+(?:IF\s+EXISTS\s+)?(?P<name>{NAME})", _FLAGS
)


def why_skipped(text: str, database: str) -> str | None:
    """Why a statement is not for the scratch database ``database``; None where it is."""
    for pattern, reason in _ALWAYS_SKIPPED:
        if pattern.match(text):
            return reason
    match = _ON_DATABASE.match(text)
    if match is not None and unquote(match["name"]) != database:
        return f"it is about the database {unquote(match['name'])}, not the scratch database"
    return None


def creates_public(text: str) -> bool:
    """Whether ``text`` makes the schema `public`, as dumps do; every new database has one."""
    return _CREATE_PUBLIC.match(text) is not None


def created_role(text: str) -> str | None:
    """The role that a ``CREATE ROLE`` (or USER, GROUP) statement makes."""
    match = _CREATE_ROLE.match(text)
    return unquote(match["name"]) if match else None


def extension_spoken_of(text: str) -> str | None:
    """The extension that a COMMENT ON, ALTER or DROP EXTENSION statement is about."""
    match = _ABOUT_EXTENSION.match(text)
    return unquote(match["name"]) if match else None
