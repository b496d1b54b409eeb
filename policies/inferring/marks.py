"""Marks: which platform and which extensions a schema's text, or its catalog, asks for."""

import re
from collections.abc import Iterable

from tenantfuzz.policies.structure import Catalog, RelationName

_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_USES = re.compile(
    r"\bauth\s*\.\s*(?:uid|jwt|role|email)\s*\(|\bauth\s*\.\s*users\b|\bstorage\s*\.\s*(?:objects|buckets)\b"
    r'|"auth"\s*\.\s*"(?:users|uid|jwt|role)"'
    r"|\b(?:TO|FROM)\s+(?:\w+\s*,\s*)*(?:authenticated|service_role)\b",
    re.IGNORECASE,
)
_MAKES = re.compile(
    r"\bCREATE\s+SCHEMA\s+(?:IF\s+NOT\s+EXISTS\s+)?\"?auth\b"
    r"|\bCREATE\s+(?:OR\s+REPLACE\s+)?FUNCTION\s+\"?auth\"?\s*\.\s*\"?(?:uid|jwt)\b"
    r"|\bCREATE\s+(?:ROLE|USER)\s+\"?authenticated\b",
    re.IGNORECASE,
)
_EXTENSION_TYPES = {
    "vector": r"\bvector\s*\(\s*\d+\s*\)|\bhalfvec\b",
    "citext": r"\bcitext\b",
    "ltree": r"\bltree\b",
    "hstore": r"\bhstore\b",
    "pg_trgm": r"\bgin_trgm_ops\b|\bgist_trgm_ops\b",
    "postgis": r"\bgeometry\s*\(|\bgeography\s*\(",
}
_SUPABASE_ROLES = frozenset({"anon", "authenticated", "authenticator", "service_role"})


def preset_in_text(texts: Iterable[str]) -> tuple[str, str] | None:
    """The preset that SQL files need, and why; None where they need none or bring all along."""
    used: str | None = None
    for text in texts:
        plain = _COMMENT.sub(" ", text)
        if _MAKES.search(plain):
            return None
        if used is None and (found := _USES.search(plain)):
            used = " ".join(found[0].split())
    return ("supabase", f"the schema uses {used.rstrip('( ')}") if used is not None else None


def preset_in_catalog(catalog: Catalog) -> tuple[str, str] | None:
    """The preset whose platform a live database runs on, and why."""
    if RelationName("auth", "users") in catalog.relations and catalog.roles.keys() >= (
        _SUPABASE_ROLES
    ):
        return "supabase", "it has auth.users and the roles of Supabase"
    return None


def extensions_in_text(texts: Iterable[str]) -> tuple[str, ...]:
    """Extensions whose types or operators the files use, and that none of them makes."""
    whole = "\n".join(_COMMENT.sub(" ", text) for text in texts)
    return tuple(
        name
        for name, pattern in _EXTENSION_TYPES.items()
        if re.search(pattern, whole, re.IGNORECASE)
        and not re.search(rf"\bCREATE\s+EXTENSION\b[^;]*\b{name}\b", whole, re.IGNORECASE)
    )
