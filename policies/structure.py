"""The structure of a database as the model needs it: relations, columns, keys, policies, roles.

Values only: they are filled by the catalog reader and hold no connection.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True, order=True)
class RelationName:
    """A schema-qualified name, as stored in the catalog (not quoted, not folded)."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


class RelationKind(StrEnum):
    """What ``pg_class.relkind`` says, in words."""

    TABLE = "table"
    PARTITIONED = "partitioned"
    VIEW = "view"
    MATERIALIZED_VIEW = "materialized view"
    FOREIGN = "foreign table"


class Operation(StrEnum):
    """The four operations on the rows of a relation."""

    SELECT = "select"
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"


class TypeCategory(StrEnum):
    """How values of a type are made."""

    BASE = "base"
    ENUM = "enum"
    ARRAY = "array"
    RANGE = "range"
    MULTIRANGE = "multirange"
    COMPOSITE = "composite"


@dataclass(frozen=True, slots=True)
class DataType:
    """A column's type with domains resolved.

    ``name`` is ``format_type`` of the declared type with its modifier (``character varying(20)``,
    ``app.email``); ``base`` is the name of the type behind all domains, without modifier and
    without schema (``varchar``, ``int4``, ``timestamptz``, ``vector``); ``modifier`` is
    ``atttypmod`` (of the innermost domain that sets one), -1 where there is none.
    """

    name: str
    base: str
    category: TypeCategory = TypeCategory.BASE
    modifier: int = -1
    labels: tuple[str, ...] = ()  # of an enum, in sort order
    element: "DataType | None" = None  # of an array, or the subtype of a (multi)range
    fields: tuple[tuple[str, "DataType"], ...] = ()  # of a composite type
    domain_checks: tuple[str, ...] = ()  # expressions over VALUE, outermost domain first
    domain_not_null: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """One column; ``default`` is an expression; ``generated`` is "", "stored" or "virtual"."""

    name: str
    number: int  # attnum
    type: DataType
    not_null: bool = False
    default: str | None = None
    generated: str = ""
    identity: str = ""  # "", "always", "by default"


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key, declared or (``declared=False``) existing in name only."""

    name: str
    columns: tuple[str, ...]
    target: RelationName
    target_columns: tuple[str, ...]
    declared: bool = True
    deferrable: bool = False
    on_delete: str = "no action"  # no action, restrict, cascade, set null, set default
    on_update: str = "no action"
    match_full: bool = False


@dataclass(frozen=True, slots=True)
class Unique:
    """A primary key, unique constraint or unique index.

    ``columns`` are the plain columns among its keys; ``expressions`` the other keys as SQL
    (``lower(email)``); ``predicate`` the WHERE of a partial index.
    """

    name: str
    columns: tuple[str, ...]
    primary: bool = False
    expressions: tuple[str, ...] = ()
    expression_columns: tuple[str, ...] = ()  # the columns that the expressions read
    predicate: str | None = None
    nulls_not_distinct: bool = False
    deferrable: bool = False


@dataclass(frozen=True, slots=True)
class Exclusion:
    """An exclusion constraint: ``columns`` it reads, and its definition as SQL."""

    name: str
    columns: tuple[str, ...]
    definition: str


@dataclass(frozen=True, slots=True)
class Check:
    """A CHECK constraint: its expression (without ``CHECK``) and the columns it reads."""

    name: str
    expression: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A row-security policy. ``roles`` is empty for PUBLIC; ``command`` "all" or an operation."""

    name: str
    command: str
    permissive: bool
    roles: tuple[str, ...]
    using: str | None
    check: str | None

    def applies_to(self, operation: Operation) -> bool:
        """Whether the policy speaks for this operation."""
        return self.command in ("all", operation.value)


@dataclass(frozen=True, slots=True)
class Trigger:
    """A user trigger that is enabled. ``events`` among insert, update, delete, truncate."""

    name: str
    timing: str  # before, after, instead of
    events: tuple[str, ...]
    per_row: bool
    function: RelationName
    definer: bool  # its function is SECURITY DEFINER
    source: str  # the function's body, "" for C


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, partitioned table, view, materialized view or foreign table of the target."""

    name: RelationName
    oid: int
    kind: RelationKind
    owner: str
    columns: tuple[Column, ...]
    row_security: bool = False
    force_row_security: bool = False
    uniques: tuple[Unique, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    checks: tuple[Check, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    policies: tuple[Policy, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    rules: tuple[str, ...] = ()  # names of rewrite rules other than a view's own
    parent: RelationName | None = None  # partition of, or inherits from
    partition_bound: str | None = None  # pg_get_expr(relpartbound), for a partition
    partition_key: tuple[str, ...] = ()  # the columns of the partition key of a partitioned table
    definition: str | None = None  # of a view
    security_invoker: bool = False  # of a view
    estimated_rows: int = 0  # rows that the schema itself inserted (exact in a scratch database)

    def column(self, name: str) -> Column | None:
        """The column of that name, or None."""
        return next((c for c in self.columns if c.name == name), None)

    @property
    def primary_key(self) -> Unique | None:
        """The primary key; where there is none, a unique key over NOT NULL columns; or None."""
        plain = [u for u in self.uniques if not u.expressions and u.predicate is None]
        for unique in sorted(plain, key=lambda u: (not u.primary, len(u.columns), u.name)):
            columns = [self.column(c) for c in unique.columns]
            if unique.primary or all(c is not None and c.not_null for c in columns):
                return unique
        return None

    @property
    def is_partition(self) -> bool:
        """Whether rows of this relation are rows of its parent too (partition or child)."""
        return self.parent is not None


class Privilege(StrEnum):
    """Table privileges that matter here."""

    SELECT = "select"
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    TRUNCATE = "truncate"


@dataclass(frozen=True, slots=True)
class Grant:
    """What one role may do to one relation, all of its memberships counted (inherited ones only).

    ``privileges`` are those on the whole table; ``columns`` maps select, insert and update to the
    columns on which the role has that privilege (all of them where it holds for the table).
    USAGE on the schema is counted: without it both are empty.
    """

    privileges: frozenset[Privilege] = frozenset()
    columns: Mapping[Privilege, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Role:
    """A role of the cluster. ``member_of`` holds direct and indirect memberships, itself excluded;
    ``inherits_from`` those whose privileges it has without SET ROLE (they make it an owner too)."""

    name: str
    superuser: bool = False
    bypass_row_security: bool = False
    login: bool = False
    inherit: bool = True
    member_of: frozenset[str] = frozenset()
    inherits_from: frozenset[str] = frozenset()
    settings: tuple[tuple[str, str], ...] = ()  # pg_db_role_setting in force for this database


@dataclass(frozen=True, slots=True)
class Function:
    """A function or procedure of the target that is no trigger function and of no extension."""

    name: RelationName
    oid: int
    arguments: str  # pg_get_function_identity_arguments
    result: str
    language: str
    definer: bool
    volatile: bool
    owner: str
    source: str
    procedure: bool = False
    executable_by: frozenset[str] = frozenset()  # roles with EXECUTE and USAGE on its schema


@dataclass(frozen=True, slots=True)
class Catalog:
    """All that was read from the live schema.

    ``relations`` excludes system schemas and what extensions own; ``grants`` is keyed by role and
    relation and lacks entries for roles with no privilege there at all.
    """

    relations: Mapping[RelationName, Relation]
    roles: Mapping[str, Role]
    grants: Mapping[tuple[str, RelationName], Grant]
    functions: tuple[Function, ...]
    server_version: int  # server_version_num
    extensions: tuple[str, ...] = ()
    search_path: tuple[str, ...] = ("public",)

    def grant(self, role: str, relation: RelationName) -> Grant:
        """What ``role`` may do to ``relation`` (an empty grant where it may do nothing)."""
        return self.grants.get((role, relation), Grant())

    def find(self, text: str) -> RelationName | None:
        """The relation that a person means by ``schema.name`` or by a bare name.

        A bare name is looked up along the search path, then taken if it is unique.
        """
        schema, dot, name = text.partition(".")
        if dot and (found := RelationName(schema, name)) in self.relations:
            return found
        for schema in self.search_path:
            if (found := RelationName(schema, text)) in self.relations:
                return found
        hits = [n for n in self.relations if n.name == text]
        return hits[0] if len(hits) == 1 else None
