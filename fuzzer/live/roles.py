"""Reads the roles of a live database, their memberships and their settings; never passwords."""

from dataclasses import dataclass
from typing import Any, Final

from tenantfuzz.live.source import Source

# pg_authid is for superusers; pg_roles is for everybody and has all but the password.
_ROLES: Final = """
SELECT rolname::text, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin,
       rolbypassrls, rolconnlimit
FROM pg_catalog.pg_roles WHERE rolname !~ '^pg_' ORDER BY rolname
"""

# One membership may be granted by several; what any of them gives holds. The options came with
# PostgreSQL 16; before, the member's own attribute decided whether it inherits.
MEMBERSHIPS: Final = """
SELECT g.rolname::text, m.rolname::text, pg_catalog.bool_or(a.admin_option),
       pg_catalog.bool_or(coalesce((to_jsonb(a) ->> 'inherit_option')::boolean, m.rolinherit)),
       pg_catalog.bool_or(coalesce((to_jsonb(a) ->> 'set_option')::boolean, true))
FROM pg_catalog.pg_auth_members a
JOIN pg_catalog.pg_roles g ON g.oid = a.roleid
JOIN pg_catalog.pg_roles m ON m.oid = a.member
WHERE m.rolname !~ '^pg_' GROUP BY 1, 2 ORDER BY 1, 2
"""

_SETTINGS: Final = """
SELECT r.rolname::text, s.setdatabase <> 0, s.setconfig
FROM pg_catalog.pg_db_role_setting s LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
WHERE (s.setrole = 0 OR r.rolname IS NOT NULL) AND s.setdatabase IN (
  0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))
ORDER BY 1 NULLS FIRST, 2
"""

_DATABASE: Final = """
SELECT pg_catalog.pg_get_userbyid(datdba)::text,
       (SELECT pg_catalog.array_agg(ARRAY[coalesce(r.rolname::text, ''), a.privilege_type,
                                          a.is_grantable::text])
        FROM pg_catalog.aclexplode(coalesce(datacl, pg_catalog.acldefault('d', datdba))) a
        LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.grantee
        WHERE a.grantee = 0 OR r.rolname IS NOT NULL),
       EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'public')
FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()
"""


@dataclass(frozen=True, slots=True)
class LiveRole:
    """One role and its attributes."""

    name: str
    superuser: bool
    inherit: bool
    create_role: bool
    create_database: bool
    login: bool
    bypass_row_security: bool
    connection_limit: int


@dataclass(frozen=True, slots=True)
class Membership:
    """``member`` is in ``role``: may it pass that on, inherit from it, and switch to it."""

    role: str
    member: str
    admin: bool
    inherit: bool
    switch: bool


@dataclass(frozen=True, slots=True)
class Setting:
    """``name = value`` for a role (None: for all), in this database alone or in all."""

    role: str | None
    here: bool
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Privilege:
    """A privilege on the database; ``grantee`` is empty for PUBLIC."""

    grantee: str
    privilege: str
    grantable: bool


@dataclass(frozen=True, slots=True)
class Cluster:
    """What lies around the structure: roles, and what the database says of itself."""

    roles: tuple[LiveRole, ...]
    memberships: tuple[Membership, ...]
    settings: tuple[Setting, ...]
    owner: str
    privileges: tuple[Privilege, ...]
    has_public: bool

    def role(self, name: str) -> LiveRole | None:
        """The role of that name."""
        return next((role for role in self.roles if role.name == name), None)


def read_cluster(source: Source) -> Cluster:
    """The roles that ``source`` has, and its database's owner, privileges and settings."""
    [[owner, privileges, has_public]] = source.rows(_DATABASE)
    return Cluster(
        roles=tuple(LiveRole(*row) for row in source.rows(_ROLES)),
        memberships=tuple(Membership(*row) for row in source.rows(MEMBERSHIPS)),
        settings=tuple(
            Setting(role, here, *_split(item))
            for role, here, items in source.rows(_SETTINGS)
            for item in items or ()
        ),
        owner=owner,
        privileges=tuple(
            Privilege(grantee, privilege, grantable == "true")
            for grantee, privilege, grantable in privileges or ()
        ),
        has_public=has_public,
    )


def _split(item: Any) -> tuple[str, str]:  # Any: an element of a text array
    name, _, value = str(item).partition("=")
    return name, value
