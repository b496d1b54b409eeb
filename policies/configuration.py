"""The configuration: what ``tenantfuzz.toml`` says, checked for form, not against a schema."""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PrivateAttr, Strict, Tag, TypeAdapter, ValidationError, model_validator

from tenantfuzz.policies.model import Context, Scope
from tenantfuzz.policies.sections import (
    MARK,
    OneOrMore,
    Seconds,
    Section,
    Text,
    Texts,
    form,
    problems_of,
)
from tenantfuzz.policies.suggestions import alternatives, did_you_mean


class ConfigurationError(Exception):
    """The configuration is wrong. ``problems`` holds all that is wrong, each a complete sentence;
    the message is one problem a line, each with the name of its source in front."""

    def __init__(self, problems: Sequence[str], *, source: str, hint: str | None = None) -> None:
        super().__init__("\n".join(f"{source}: {problem}" for problem in problems))
        self.problems = tuple(problems)
        self.source = source
        self.hint = hint


class Engine(StrEnum):
    """Where the server for the worlds comes from."""

    EMBEDDED = "embedded"
    SERVER = "server"
    CONTAINER = "container"
    PGLITE = "pglite"


class Attacker(StrEnum):
    """What the attacker can send."""

    API = "api"
    DML = "dml"
    SQL = "sql"
    DDL = "ddl"

    def has(self, level: "Attacker") -> bool:
        """Whether one of this level can send all that one of ``level`` can."""
        order = list(Attacker)
        return order.index(self) >= order.index(level)


class TargetSection(Section):
    """``[target]``: the schema source, and where worlds live. ``dsn`` and ``server`` may be
    ``env:NAME`` and are kept so."""

    name: Text | None = None
    sources: OneOrMore = Field(default=(), alias="schema")
    dsn: Text | None = None
    preset: Text | None = None
    engine: Annotated[Engine, Strict(strict=False)] = Engine.EMBEDDED
    server: Text | None = None
    extensions: Texts = ()
    queries: OneOrMore = ()


class TenantValues(Section):
    """Tenants that are mere values."""

    values: Annotated[Texts, Field(min_length=1)]


class TableEntry(Section):
    """One entry of ``[tenancy.tables]`` in its long form: exactly one way to the owner."""

    column: Text | None = None
    via: OneOrMore | None = None
    user: Text | None = None
    members: Text | None = None
    sql: Text | None = None
    null: Literal["shared", "private"] | None = None

    @model_validator(mode="after")
    def _one_owner(self) -> Self:
        ways = [w for w in ("column", "via", "user", "members", "sql") if getattr(self, w)]
        if len(ways) != 1:
            found = f"not {' and '.join(ways)}" if ways else "there is none"
            raise ValueError(f"expected one of column, via, user, members or sql; {found}")
        if self.null is not None and ways[0] not in ("column", "via"):
            raise ValueError(f"'null' goes with column or via, not with {ways[0]}")
        return self


TableWord = Literal["shared", "private", "members", "unclassified"]
TableOwnership = Annotated[
    Annotated[TableWord, Tag(MARK + "word")] | Annotated[TableEntry, Tag(MARK + "table")],
    form(
        "'shared', 'private', 'members', 'unclassified' or a table such as { via = \"issue_id\" }",
        word=str,
        table=dict,
    ),
]


class TenancySection(Section):
    """``[tenancy]``: who the tenants are and how rows belong to them."""

    tenants: (
        Annotated[
            Annotated[Text, Tag(MARK + "name")] | Annotated[TenantValues, Tag(MARK + "values")],
            form('the name of a table or { values = ["a", "b"] }', name=str, values=dict),
        ]
        | None
    ) = None
    column: OneOrMore = ()
    scope: Annotated[Scope, Strict(strict=False)] = Scope.MEMBERSHIPS
    tables: Mapping[str, TableOwnership] = Field(default_factory=dict)
    references: Texts = ()


class SqlSection(Section):
    """``{ sql = "…" }``: a value that a query computes."""

    unknown_key_hint: ClassVar[str] = (
        'expected a string or { sql = "…" } (a name with dots needs quotes: "app.tenant" = …)'
    )

    sql: Text


TextOrSql = Annotated[
    Annotated[str, Tag(MARK + "text")] | Annotated[SqlSection, Tag(MARK + "sql")],
    form('a string or { sql = "…" }', text=str, sql=dict),
]


class MembershipsSection(Section):
    """``identity.memberships``: the relation that makes users members."""

    table: Text
    user: Text
    tenant: Text
    active: Text | None = None


class IdentitySection(Section):
    """``[identity]``: who can act and how the session learns of it."""

    users: Text | None = None
    memberships: MembershipsSection | None = None
    context: Annotated[Context, Strict(strict=False)] = Context.VERIFIED
    login: Text | None = None
    role: TextOrSql | None = None
    anonymous: Text | None = None
    settings: Mapping[str, TextOrSql] = Field(default_factory=dict)
    statements: OneOrMore = ()
    service_role: Text | None = None


class KindSection(Section):
    """``[principals.<kind>]``: which memberships, and how such a principal differs."""

    where: Text | None = None
    role: TextOrSql | None = None
    login: Text | None = None
    settings: Mapping[str, TextOrSql] = Field(default_factory=dict)
    origin: Text | None = Field(default=None, alias="from")


class Widening(Section):
    """``{ any = "…" }``: a predicate that replaces the default."""

    any: Text


Access = Annotated[
    Annotated[bool, Tag(MARK + "switch")]
    | Annotated[Text, Tag(MARK + "predicate")]
    | Annotated[Widening, Tag(MARK + "any")],
    form(
        'true, false, a predicate or { any = "a predicate" }',
        switch=bool,
        predicate=str,
        any=dict,
    ),
]


class OperationAccess(Section):
    """What a kind may do to one relation, by operation; None: nothing is said."""

    select: Access | None = None
    insert: Access | None = None
    update: Access | None = None
    delete: Access | None = None


TableAccess = Annotated[
    Annotated[bool, Tag(MARK + "all")] | Annotated[OperationAccess, Tag(MARK + "operations")],
    form(
        'true, false or a table such as { select = "…", update = false }',
        all=bool,
        operations=dict,
    ),
]


Parameter = Annotated[
    Annotated[Text, Tag(MARK + "type")]
    | Annotated[
        tuple[str | int | float | bool | None, ...], Strict(strict=False), Tag(MARK + "values")
    ],
    form("the name of a type or a list of values", type=str, values=list),
]


class Query(Section):
    """``[[queries]]``: an application query. ``params`` maps names to a type or to values;
    ``kinds`` are the kinds of principal that may call it (empty: all)."""

    name: Text
    sql: Text
    actor: Literal["service", "principal", "both"] = Field(default="service", alias="as")
    params: Mapping[str, Parameter] = Field(default_factory=dict)
    kinds: OneOrMore = ()


class Adapter(Section):
    """``[[adapters]]``: application code, as a command, as a function in Python (``python``) or as
    one that scopes queries (``scoping``, which ``takes`` text or a tree). ``params`` and ``kinds``
    are as for queries; ``writes`` are relations that it writes on its caller's behalf, to be judged
    by the caller's rules there."""

    name: Text
    command: Texts = ()
    python: Text | None = None
    scoping: Text | None = None
    takes: Literal["sql", "sqlglot", "sqlalchemy"] = "sql"
    timeout: Seconds | None = None  # for one call of a command
    actor: Literal["service", "principal", "both"] = Field(default="service", alias="as")
    params: Mapping[str, Parameter] = Field(default_factory=dict)
    kinds: OneOrMore = ()
    writes: OneOrMore = ()

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(map(bool, (self.command, self.python, self.scoping))) != 1:
            raise ValueError("expected one of 'command', 'python' or 'scoping'")
        if self.command and self.actor == "both":
            raise ValueError("as: a command logs in once: expected 'service' or 'principal'")
        return self


class Acceptance(Section):
    """``[[accept]]``: what is known and accepted. Texts but the reason may be globs."""

    code: Text | None = None
    relation: Text | None = None
    operation: Text | None = None
    kind: Text | None = None
    fingerprint: Text | None = None
    id: Text | None = None
    reason: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        names = ("code", "relation", "operation", "kind", "fingerprint", "id")
        if not any(getattr(self, name) for name in names):
            raise ValueError(f"says nothing to accept: name one of {', '.join(names)}")
        if not self.reason.strip():
            raise ValueError("'reason' must say why")
        if self.code is not None and not re.fullmatch(r"TF[0-9?*\[\]]{1,9}", self.code):
            raise ValueError(f"code: expected a code such as 'TF301', not '{self.code}'")
        operations = ("select", "insert", "update", "delete", "call", "query", "session")
        operation = self.operation
        if operation and operation not in operations and not re.search(r"[*?\[]", operation):
            near = did_you_mean(operation, operations, quote="'")
            raise ValueError(
                f"operation: expected {alternatives(operations)}, not '{operation}'{near}"
            )
        return self


class RunSection(Section):
    """``[run]``: defaults of ``tenantfuzz run``. ``time`` is in seconds; None: nothing is said."""

    attacker: Annotated[Attacker, Strict(strict=False)] | None = None
    fail_on: Literal["warning", "low", "medium", "high", "critical"] = "medium"
    time: Seconds | None = None
    seed: Annotated[int, Field(ge=0)] | None = None
    max_examples: Annotated[int, Field(ge=1)] | None = None
    strict: bool = False
    workers: Annotated[int, Field(ge=1)] | None = None


class AuditSection(Section):
    """``[audit]``: the relation that records every write."""

    table: Text


class Configuration(Section):
    """The whole file."""

    target: TargetSection = Field(default_factory=TargetSection)
    tenancy: TenancySection = Field(default_factory=TenancySection)
    identity: IdentitySection = Field(default_factory=IdentitySection)
    principals: Mapping[str, KindSection] = Field(default_factory=dict)
    access: Mapping[str, Mapping[str, TableAccess]] = Field(default_factory=dict)
    queries: Annotated[tuple[Query, ...], Strict(strict=False)] = ()
    adapters: Annotated[tuple[Adapter, ...], Strict(strict=False)] = ()
    accept: Annotated[tuple[Acceptance, ...], Strict(strict=False)] = ()
    values: Mapping[str, Annotated[tuple[object, ...], Strict(strict=False)]] = Field(
        default_factory=dict
    )
    run: RunSection = Field(default_factory=RunSection)
    audit: AuditSection | None = None
    _source: str = PrivateAttr(default="tenantfuzz.toml")

    @property
    def source(self) -> str:
        """What errors call the file."""
        return self._source


def parse_configuration(data: Mapping[str, object], *, source: str) -> Configuration:
    """The configuration that the parsed TOML ``data`` holds.

    ``source`` is the name that errors give the file. Raises ConfigurationError with every problem.
    """
    try:
        configuration = Configuration.model_validate(dict(data))
    except ValidationError as error:
        raise ConfigurationError(problems_of(error), source=source) from None
    configuration._source = source
    if twice := _repeated(configuration):
        raise ConfigurationError(twice, source=source)
    return configuration


def parse_ownership(value: object) -> TableOwnership:
    """One value of ``[tenancy.tables]`` on its own, as presets hold it. Raises ValueError."""
    try:
        parsed: TableOwnership = TypeAdapter(TableOwnership).validate_python(value)
    except ValidationError as error:
        raise ValueError("; ".join(problems_of(error))) from None
    return parsed


def _repeated(configuration: Configuration) -> list[str]:
    problems = []
    for section, names in (
        ("queries", [query.name for query in configuration.queries]),
        ("adapters", [adapter.name for adapter in configuration.adapters]),
    ):
        for name in sorted({n for n in names if names.count(n) > 1}):
            problems.append(f"{section}: the name '{name}' is given twice")
    return problems
