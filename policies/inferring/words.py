"""Words: what the names of relations and columns say of tenants, users and memberships."""

import re
from functools import lru_cache

_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_A-Za-z]+")
_ABBREVIATIONS = {
    "org": "organization",
    "organisation": "organization",
    "acct": "account",
    "acc": "account",
    "ws": "workspace",
    "cust": "customer",
    "usr": "user",
    "uid": "user",
    "people": "person",
    "persons": "person",
    "emp": "employee",
    "personnel": "employee",
}
_SAME_IN_PLURAL = frozenset(
    {"staff", "series", "status", "news", "access", "business", "address", "campus", "bus", "sms"}
)
_KEYS = frozenset({"id", "uuid", "guid", "key", "ref", "fk", "pk", "no"})

TENANT_WORDS = {
    **dict.fromkeys(("tenant", "organization", "workspace"), 3),
    **dict.fromkeys(
        (
            "company", "account", "team", "merchant", "school", "practice", "clinic", "firm",
            "agency", "business", "household", "hospital", "institution", "shop", "store",
            "community", "club", "association", "studio", "chapter", "restaurant", "hotel",
            "franchise", "university", "church", "charity", "enterprise", "realm", "namespace",
            "brand", "employer", "landlord", "municipality", "gym", "salon", "farm",
        ),
        2,
    ),
    **dict.fromkeys(
        (
            "client", "customer", "site", "venue", "vendor", "seller", "partner", "instance",
            "domain", "group", "network", "branch", "publisher", "office", "property", "center",
        ),
        1,
    ),
}  # fmt: skip
"""How much the last word of a relation's name speaks for its rows being tenants."""

USER_WORDS = {
    **dict.fromkeys(("user",), 4),
    **dict.fromkeys(("person", "staff", "employee", "profile", "login", "principal"), 3),
    **dict.fromkeys(("member", "agent", "operator", "teacher", "identity", "actor"), 2),
    **dict.fromkeys(("account", "subject"), 1),
}
"""The same for users."""

MEMBER_WORDS = frozenset(
    {"member", "membership", "collaborator", "enrollment", "participant", "affiliation", "seat"}
)
"""Words of relations that make users members."""

ACTIVE_WORDS = frozenset(
    {
        "status", "state", "active", "enabled", "disabled", "deleted", "removed", "revoked", "left",
        "archived", "suspended", "deactivated", "expires", "expired", "ended", "accepted",
        "confirmed", "banned", "blocked", "inactive", "until", "terminated",
    }
)  # fmt: skip
"""Words of columns that say whether a membership is in force."""

POINTER_WORDS = frozenset(
    {
        "current", "active", "default", "last", "selected", "previous", "parent", "source",
        "target", "from", "to", "partner", "shared", "related", "original", "primary", "favorite",
        "receiving", "sending", "recipient", "sender", "buyer", "seller", "counterparty", "origin",
        "destination", "referring", "referrer", "invited", "billing", "home", "old", "new", "other",
    }
)  # fmt: skip
"""Words before a tenant's name that make a column point at a tenant without being owned by it."""

CATALOGUE_WORDS = frozenset(
    {
        "currency", "country", "language", "locale", "timezone", "plan", "product", "rate",
        "unit", "category", "feature", "permission", "region", "state", "tier", "holiday",
        "vocabulary", "catalog", "catalogue", "type", "kind", "badge", "icon", "color",
        "taxonomy", "model", "exchange", "price", "skill", "tax", "constant", "code",
    }
)  # fmt: skip
"""Words of relations that are usually the same for all tenants."""

PUBLIC_WORDS = frozenset(
    {
        "public", "published", "visibility", "visible", "shared", "listed", "open", "template",
        "featured", "anonymous", "everyone", "everybody", "world", "discoverable", "global",
    }
)  # fmt: skip
"""Words of conditions by which rows are meant for everybody."""

PLATFORM_WORDS = frozenset({"platform", "superadmin", "superuser", "sysadmin", "root", "god"})
"""Words of flags that lift somebody above all tenants."""

SECRET_WORDS = frozenset(
    {
        "tenant", "organization", "workspace", "company", "account", "team", "user", "person",
        "customer", "client", "member", "email", "phone", "owner", "author", "creator", "profile",
        "token", "secret", "password", "session", "payload", "employee", "staff", "merchant",
    }
)  # fmt: skip
"""Words of columns that rows of a catalogue for everybody hardly have."""

BOOKKEEPING = re.compile(
    r"_{0,2}(drizzle|prisma|diesel|sqlx|knex|goose|flyway|alembic|schema|django|typeorm|gorp|"
    r"atlas|sequelize|rails|ar|db|database)_?_?(migrations?|db_version|schema_history|version|"
    r"migrations?_lock|schema_revisions|meta|internal_metadata|changelog|changeloglock)s?"
    r"|migrations|sequelizemeta",
    re.IGNORECASE,
)
"""Names of relations in which a migration tool keeps its books."""


@lru_cache(maxsize=4096)
def words(name: str) -> tuple[str, ...]:
    """The words of a name in the singular: ``OrgMembers``, ``org_members`` → organization, member.

    Abbreviations that everybody uses are written out.
    """
    parts = (_singular(part.lower()) for part in _PARTS.findall(name))
    return tuple(_ABBREVIATIONS.get(part, part) for part in parts)


@lru_cache(maxsize=4096)
def subject(column: str) -> tuple[str, ...]:
    """The words of a column's name without those that only say that it is a key."""
    found = words(column)
    while len(found) > 1 and found[-1] in _KEYS:
        found = found[:-1]
    return found


def names_it(column: str, relation: str) -> bool:
    """Whether a column's name is that of the relation: ``org_id``, ``organizations``.

    A bare ``name`` or ``id`` names nothing.
    """
    own = subject(column)
    return own == words(relation) and own != words(column)


def nearly_names_it(column: str, relation: str) -> bool:
    """Whether the column's words end the relation's name: ``account_id``, ``customer_accounts``,
    or the other way round: ``owner_account_id``, ``accounts``."""
    own, its = subject(column), words(relation)
    if own == words(column) or not own or not its:
        return False
    return own == its[-len(own) :] or its == own[-len(its) :]


def is_pointer(column: str) -> bool:
    """Whether the name says that a column points somewhere, more than to whom the row belongs."""
    return bool(set(subject(column)[:-1]) & POINTER_WORDS)


def weight(name: str, vocabulary: dict[str, int]) -> int:
    """What the last word of a name weighs in a vocabulary."""
    found = words(name)
    return vocabulary.get(found[-1], 0) if found else 0


def _singular(word: str) -> str:
    if word in _SAME_IN_PLURAL or len(word) < 4 or not word.endswith("s"):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes", "uses")) and word != "houses":
        return word[:-2]
    if word.endswith(("ss", "us", "is")):
        return word
    return word[:-1]
