"""The model: ownership, identity, kinds and rules, resolved against a catalog."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tenantfuzz.policies.structure import Catalog, ForeignKey, Operation, RelationName


class OwnershipKind(StrEnum):
    """How the rows of a relation belong to tenants."""

    TENANTS = "tenants"  # the tenants table: a row owns itself by its key
    COLUMN = "column"
    VIA = "via"
    USER = "user"
    MEMBERS = "members"
    SQL = "sql"
    SHARED = "shared"
    PRIVATE = "private"
    UNCLASSIFIED = "unclassified"


@dataclass(frozen=True, slots=True)
class Way:
    """From a row, by the values of ``columns``, to the rows of ``target`` with equal values."""

    columns: tuple[str, ...]
    target: RelationName
    target_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ownership:
    """How each row of one relation belongs to tenants.

    ``column`` is the tenant column (kind column), the key (kinds tenants and members: the column
    that memberships refer to) or the user column (kind user). ``ways`` are alternatives: the row
    belongs to all owners found by any of them. ``sql`` gives primary key columns, then the owner.
    ``null_shared`` makes rows without an owner shared instead of private.
    """

    kind: OwnershipKind
    column: str | None = None
    ways: tuple[Way, ...] = ()
    sql: str | None = None
    null_shared: bool = False
    reason: str = ""  # where the classification comes from, or why there is none


@dataclass(frozen=True, slots=True)
class Memberships:
    """The relation that makes users members of tenants; ``active`` is a predicate over its columns
    that a membership in force satisfies (None: every row is in force)."""

    relation: RelationName
    user: str
    tenant: str
    active: str | None = None


class Scope(StrEnum):
    """Whether a principal acts for all of its memberships at once or for the active one."""

    MEMBERSHIPS = "memberships"
    ACTIVE = "active"


class Context(StrEnum):
    """Who vouches for the tenant that the session names."""

    VERIFIED = "verified"
    CHOSEN = "chosen"


@dataclass(frozen=True, slots=True)
class SqlTemplate:
    """A setting, or a role, whose value is the result of a query over ``:user`` and ``:tenant``."""

    sql: str


@dataclass(frozen=True, slots=True)
class Identity:
    """How a principal's identity reaches the session.

    ``settings`` maps a setting's name to a template with ``{word.word}`` placeholders or to SQL.
    """

    role: str | SqlTemplate | None = None
    login: str | None = None
    anonymous: str | None = None
    settings: Mapping[str, str | SqlTemplate] = field(default_factory=dict)
    statements: tuple[str, ...] = ()
    service_role: str | None = None
    context: Context = Context.VERIFIED
    user_claims: bool = False  # the settings carry claims a user controls (user_metadata)
    claim_names: tuple[str, ...] = ()  # keys that policies and functions read out of JSON
    nobodys: bool = False  # no principal has a session of its own: the application acts for all


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of principal by membership: ``where`` is a predicate with the alias ``membership``
    (None: every membership, as for the default kind ``member``), and what differs in identity."""

    name: str
    where: str | None = None
    role: str | SqlTemplate | None = None
    login: str | None = None
    settings: Mapping[str, str | SqlTemplate] = field(default_factory=dict)
    source: str | None = None  # `from`: another relation that gives the principals of this kind


@dataclass(frozen=True, slots=True)
class Rule:
    """What narrows, closes or widens the default for one kind, relation and operation.

    ``predicate`` is SQL over the row (None: closed); ``widens`` replaces the default instead of
    being ANDed with it.
    """

    predicate: str | None
    widens: bool = False

    @property
    def closes(self) -> bool:
        """Whether the rule allows nothing at all."""
        return self.predicate is None


ANY_KIND = "*"
DEFAULT_KIND = "member"


@dataclass(frozen=True, slots=True)
class Model:
    """The declared intent: who owns what, who can act, and what they may do.

    ``tenants`` is None where tenants are mere values (``tenant_values``). ``access`` is keyed by
    kind (or ``"*"``), relation and operation. ``references`` are foreign keys that exist in name
    only. ``kinds`` are in the order of the file and end with the default kind ``member``.
    """

    tenants: RelationName | None
    tenant_key: str | None
    tenant_values: tuple[str, ...]
    ownership: Mapping[RelationName, Ownership]
    identity: Identity
    kinds: tuple[Kind, ...]
    access: Mapping[tuple[str, RelationName, Operation], Rule] = field(default_factory=dict)
    users: RelationName | None = None
    user_key: str | None = None
    memberships: Memberships | None = None
    references: tuple[tuple[RelationName, ForeignKey], ...] = ()
    scope: Scope = Scope.MEMBERSHIPS
    audit: RelationName | None = None

    def owner_of(self, relation: RelationName) -> Ownership:
        """The ownership of a relation; unclassified where nothing was declared or inferred."""
        return self.ownership.get(relation, Ownership(OwnershipKind.UNCLASSIFIED))

    def rule(self, kind: str, relation: RelationName, operation: Operation) -> Rule | None:
        """The rule in force: the kind's own entry, else that of ``"*"``, else None (default)."""
        own = self.access.get((kind, relation, operation))
        return own if own is not None else self.access.get((ANY_KIND, relation, operation))

    def foreign_keys(self, catalog: Catalog, relation: RelationName) -> tuple[ForeignKey, ...]:
        """Declared foreign keys of a relation, then those that exist in name only."""
        declared = catalog.relations[relation].foreign_keys
        named = tuple(fk for owner, fk in self.references if owner == relation)
        return declared + named
