"""Reads a preset by its name."""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType

from tenantfuzz.errors import ToolError

PRESET_NAMES = ("supabase", "postgrest")


@dataclass(frozen=True, slots=True)
class Preset:
    """A platform: what it adds to the database, and how identity reaches it.

    ``sql`` runs before the schema sources, on an empty database, as a role that may create roles
    with BYPASSRLS; it may run again on another database of the same server. It is empty where
    the platform adds nothing. ``classification`` has values as ``[tenancy.tables]`` has them,
    ``settings`` the templates of ``[identity] settings``; ``login``, ``role``, ``anonymous`` and
    ``service_role`` are role names, ``users`` the users table, ``attacker`` the default threat
    level; ``schemas`` are those that the platform keeps for itself.
    """

    name: str
    sql: str
    classification: Mapping[str, str | Mapping[str, object]]
    login: str | None
    role: str | None
    anonymous: str | None
    service_role: str | None
    settings: Mapping[str, str]
    users: str | None
    attacker: str
    schemas: tuple[str, ...] = ()


def load_preset(name: str) -> Preset:
    """The preset ``name``. Raises ToolError, with the nearest name, where there is none."""
    if name not in PRESET_NAMES:
        near = difflib.get_close_matches(name.lower(), PRESET_NAMES, n=1, cutoff=0.5)
        known = ", ".join(PRESET_NAMES)
        raise ToolError(
            f"unknown preset {name!r}",
            hint=f"Did you mean {near[0]!r}?" if near else f"Presets are: {known}.",
        )
    folder = files("tenantfuzz.presets")
    data = tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8"))
    return Preset(
        name=name,
        sql=_sql(folder, name, data.get("extensions", [])),
        classification=MappingProxyType(data.get("classification", {})),
        login=data.get("login"),
        role=data.get("role"),
        anonymous=data.get("anonymous"),
        service_role=data.get("service_role"),
        settings=MappingProxyType(data["settings"]),
        users=data.get("users"),
        attacker=data["attacker"],
        schemas=tuple(data.get("schemas", ())),
    )


def _sql(folder: Traversable, name: str, extensions: list[str]) -> str:
    """The preset's SQL, which may need its extensions, after the SQL that makes those."""
    source = folder / f"{name}.sql"
    if not source.is_file():
        return ""
    parts = [_extension_sql(folder, extension) for extension in extensions]
    return "\n".join([*parts, source.read_text(encoding="utf-8")])


def _extension_sql(folder: Traversable, name: str) -> str:
    """One DO statement: the extension in the schema `extensions`, or else its stand-in."""
    body = (folder / "extensions" / f"{name}.sql").read_text(encoding="utf-8")
    return f"""CREATE SCHEMA IF NOT EXISTS extensions;
DO $preset$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_available_extensions WHERE name = '{name}') THEN
        EXECUTE 'CREATE EXTENSION IF NOT EXISTS "{name}" WITH SCHEMA extensions';
    ELSE
        PERFORM pg_catalog.set_config('search_path', 'extensions', true);
        EXECUTE $standin${body}$standin$;
    END IF;
END
$preset$;
RESET search_path;
"""
