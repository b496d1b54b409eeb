"""Resolution: a configuration, a catalog and a preset's facts become the model."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tenantfuzz.policies.attributes import check_templates
from tenantfuzz.policies.classification import Classification, Landmarks
from tenantfuzz.policies.configuration import (
    Attacker,
    Configuration,
    ConfigurationError,
    KindSection,
    OperationAccess,
    SqlSection,
    TenantValues,
    Widening,
)
from tenantfuzz.policies.lookup import Lookup, single_key
from tenantfuzz.policies.model import (
    ANY_KIND,
    DEFAULT_KIND,
    Identity,
    Kind,
    Memberships,
    Model,
    Rule,
    SqlTemplate,
)
from tenantfuzz.policies.predicate_check import check_predicate
from tenantfuzz.policies.sections import path_text
from tenantfuzz.policies.structure import Catalog, Operation, Relation, RelationName
from tenantfuzz.policies.suggestions import nearest
from tenantfuzz.policies.ways import References, read_reference

HOSTILE_KINDS = (
    "outsider",
    "dual",
    "former",
    "anonymous",
    "unset",
    "empty",
    "residual",
    "malformed",
    "claim",
    "owner",
)
"""Kinds of principal that every world has beside those of memberships."""

MEMBERSHIP_ALIAS = "membership"
"""The name under which a kind's ``where`` sees the row that makes a principal one of it."""

_JSON_KEY = re.compile(r"->>?\s*'([A-Za-z_]\w*)'")
_PLACEHOLDER = re.compile(r"\{\w+\.\w+\}")

Rules = dict[tuple[str, RelationName, Operation], Rule]


@dataclass(frozen=True, slots=True)
class PresetFacts:
    """What resolution needs of a preset. ``classification`` has relations, by name or glob, and
    values as in ``[tenancy.tables]``."""

    classification: Mapping[str, object] = field(default_factory=dict)
    login: str | None = None
    role: str | None = None
    anonymous: str | None = None
    service_role: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    users: str | None = None
    attacker: str = "dml"


def is_up_to_code(configuration: Configuration, catalog: Catalog) -> bool:
    """Whether application code is declared that acts for everybody, and there is no row security,
    which would speak of somebody's session: then principals need no role of their own."""
    actors = [q.actor for q in configuration.queries] + [a.actor for a in configuration.adapters]
    secured = any(r.row_security for r in catalog.relations.values())
    declared = bool(configuration.target.queries or actors)
    return declared and not secured and all(actor == "service" for actor in actors)


def resolve_model(
    configuration: Configuration, catalog: Catalog, preset: PresetFacts | None
) -> Model:
    """The model that the configuration declares for this catalog.

    What the file leaves out, the preset fills. Raises ConfigurationError with everything that does
    not fit: names that do not exist (with candidates), keys of several columns where one is
    needed, ways that reach no owner, predicates that do not parse.
    """
    resolution = _Resolution(configuration, catalog, preset or PresetFacts())
    model = resolution.model()
    if problems := resolution.lookup.problems:
        raise ConfigurationError(list(dict.fromkeys(problems)), source=configuration.source)
    return model


def _claim_names(catalog: Catalog) -> tuple[str, ...]:
    """The keys that policies and functions read out of JSON documents, in a stable order."""
    policies = [
        text
        for relation in catalog.relations.values()
        for policy in relation.policies
        for text in (policy.using, policy.check)
    ]
    texts = [*policies, *(f.source for f in catalog.functions)]
    return tuple(sorted({key for text in texts for key in _JSON_KEY.findall(text or "")}))


def attacker_of(configuration: Configuration, preset: PresetFacts | None) -> Attacker:
    """The threat level: the file's, else the preset's, else ``dml``."""
    if configuration.run.attacker is not None:
        return configuration.run.attacker
    return Attacker(preset.attacker) if preset is not None else Attacker.DML


class _Resolution:
    def __init__(self, configuration: Configuration, catalog: Catalog, preset: PresetFacts) -> None:
        self.configuration = configuration
        self.catalog = catalog
        self.preset = preset
        self.lookup = Lookup(catalog)

    def model(self) -> Model:
        configuration, lookup = self.configuration, self.lookup
        tenancy = configuration.tenancy
        tenants, tenant_key, values = self._tenants()
        memberships = self._memberships()
        users, user_key = self._users(memberships)
        references = References()
        for index, text in enumerate(tenancy.references):
            read_reference(lookup, references, text, path_text(("tenancy", "references", index)))
        self._check_columns()
        landmarks = Landmarks(tenants, tenant_key, users, user_key, memberships, tenancy.column)
        classification = Classification(lookup, references, landmarks)
        ownership = classification.resolve(tenancy.tables, self.preset.classification)
        kinds = self._kinds(memberships)
        check_templates(
            configuration,
            lookup,
            tenants=tenants,
            users=users,
            memberships=self.catalog.relations[memberships.relation] if memberships else None,
        )
        audit = configuration.audit
        audited = lookup.relation(audit.table, "audit.table") if audit is not None else None
        self._check_values()
        self._check_acceptances(kinds)
        return Model(
            tenants=tenants.name if tenants is not None else None,
            tenant_key=tenant_key,
            tenant_values=values,
            ownership=ownership,
            identity=self._identity(),
            kinds=kinds,
            access=self._access(kinds),
            users=users.name if users is not None else None,
            user_key=user_key,
            memberships=memberships,
            references=references.named,
            scope=tenancy.scope,
            audit=audited.name if audited is not None else None,
        )

    # Landmarks

    def _tenants(self) -> tuple[Relation | None, str | None, tuple[str, ...]]:
        tenants = self.configuration.tenancy.tenants
        if tenants is None:
            self.lookup.problem(
                "tenancy",
                'missing key \'tenants\': the table of tenants, or { values = ["a", "b"] }',
            )
            return None, None, ()
        if isinstance(tenants, TenantValues):
            return None, None, tenants.values
        relation = self.lookup.relation(tenants, "tenancy.tenants")
        if relation is None:
            return None, None, ()
        key = single_key(relation)
        if key is None:
            self.lookup.problem(
                "tenancy.tenants",
                f"the tenant id is the primary key of {relation.name}, which must be one column; "
                + _key_text(relation),
            )
        return relation, key, ()

    def _memberships(self) -> Memberships | None:
        section = self.configuration.identity.memberships
        if section is None:
            return None
        where = "identity.memberships"
        relation = self.lookup.relation(section.table, f"{where}.table")
        if relation is None:
            return None
        self.lookup.column(relation, section.user, f"{where}.user")
        self.lookup.column(relation, section.tenant, f"{where}.tenant")
        if section.active is not None:
            check_predicate(
                section.active, relation, f"{where}.active", self.lookup, alias=MEMBERSHIP_ALIAS
            )
        return Memberships(relation.name, section.user, section.tenant, section.active)

    def _users(self, memberships: Memberships | None) -> tuple[Relation | None, str | None]:
        """The users table and the column that memberships refer to: its primary key, or what their
        foreign key says."""
        text = self.configuration.identity.users
        if text is not None:
            relation = self.lookup.relation(text, "identity.users")
        elif self.preset.users is not None:
            found = self.catalog.find(self.preset.users)
            relation = self.catalog.relations[found] if found is not None else None
        else:
            relation = None
        if relation is None:
            return None, None
        key = single_key(relation)
        if memberships is not None and memberships.relation != relation.name:
            for foreign in self.catalog.relations[memberships.relation].foreign_keys:
                if foreign.columns == (memberships.user,) and foreign.target == relation.name:
                    key = foreign.target_columns[0]
        if key is None:
            self.lookup.problem(
                "identity.users",
                f"the user id is the primary key of {relation.name}, which must be one column; "
                + _key_text(relation),
            )
        return relation, key

    # Identity and kinds

    def _identity(self) -> Identity:
        section, preset, lookup = self.configuration.identity, self.preset, self.lookup
        role = self._role(section.role, "identity.role") or self._preset_role(preset.role)
        login = section.login or self._preset_role(preset.login)
        anonymous = section.anonymous or self._preset_role(preset.anonymous)
        service_role = section.service_role or self._preset_role(preset.service_role)
        for name, value in (
            ("login", section.login),
            ("anonymous", section.anonymous),
            ("service_role", section.service_role),
        ):
            if value is not None:
                lookup.role(value, f"identity.{name}")
        kinds = self.configuration.principals.values()
        acts = role or login or section.statements or section.role is not None
        with_roles = [bool(kind.role or kind.login) for kind in kinds]
        needed = not acts and not (with_roles and all(with_roles))
        nobodys = needed and not anonymous and not any(with_roles)
        nobodys = nobodys and is_up_to_code(self.configuration, self.catalog)
        if needed and not nobodys:
            lookup.problem(
                "identity", "missing key 'role': the database role that principals act as"
            )
        settings = {**preset.settings, **_settings(section.settings)}
        templates = [v.sql if isinstance(v, SqlTemplate) else v for v in settings.values()]
        claims = any("user_metadata" in template for template in templates)
        return Identity(
            role=role,
            login=login,
            anonymous=anonymous,
            settings=settings,
            statements=section.statements,
            service_role=service_role,
            context=section.context,
            user_claims=claims or self.configuration.target.preset == "supabase",
            claim_names=_claim_names(self.catalog),
            nobodys=nobodys,
        )

    def _preset_role(self, name: str | None) -> str | None:
        return name if name in self.catalog.roles else None

    def _role(self, value: str | SqlSection | None, where: str) -> str | SqlTemplate | None:
        if isinstance(value, SqlSection):
            return SqlTemplate(value.sql)
        if value is not None and not _PLACEHOLDER.search(value):
            self.lookup.role(value, where)
        return value

    def _kinds(self, memberships: Memberships | None) -> tuple[Kind, ...]:
        principals = self.configuration.principals
        names = [name for name in principals if name != DEFAULT_KIND]
        if ANY_KIND in principals:
            self.lookup.problem("principals", "'*' stands for every kind and cannot be one")
        for index, name in enumerate(names):
            section = principals[name]
            if section.where is None and section.origin is None and names[index + 1 :]:
                self.lookup.problem(
                    path_text(("principals", names[index + 1])),
                    f"never reached: '{name}' before it has no 'where' and takes every membership",
                )
                break
        kinds = [self._kind(name, principals[name], memberships) for name in names]
        default = principals.get(DEFAULT_KIND)
        if default is None:
            return (*kinds, Kind(DEFAULT_KIND))
        return (*kinds, self._kind(DEFAULT_KIND, default, memberships))

    def _kind(self, name: str, section: KindSection, memberships: Memberships | None) -> Kind:
        where = path_text(("principals", name))
        source: Relation | None = None
        if section.origin is not None:
            source = self.lookup.relation(section.origin, f"{where}.from")
        elif memberships is not None:
            source = self.catalog.relations[memberships.relation]
        elif section.where is not None and self.configuration.identity.memberships is None:
            self.lookup.problem(f"{where}.where", "needs identity.memberships, or 'from'")
        if section.where is not None:
            check_predicate(
                section.where, source, f"{where}.where", self.lookup, alias=MEMBERSHIP_ALIAS
            )
        if section.login is not None:
            self.lookup.role(section.login, f"{where}.login")
        return Kind(
            name,
            where=section.where,
            role=self._role(section.role, f"{where}.role"),
            login=section.login,
            settings=_settings(section.settings),
            source=str(source.name) if section.origin is not None and source is not None else None,
        )

    # Rules

    def _access(self, kinds: tuple[Kind, ...]) -> Rules:
        known = [*(kind.name for kind in kinds), ANY_KIND, *HOSTILE_KINDS]
        rules: Rules = {}
        for kind, tables in self.configuration.access.items():
            if not self.lookup.word("kind", kind, "access", known):
                continue
            for text, access in tables.items():
                where = path_text(("access", kind, text))
                relation = self.lookup.relation(text, path_text(("access", kind)))
                if relation is None:
                    continue
                for operation in Operation:
                    stated = (
                        getattr(access, operation.value)
                        if isinstance(access, OperationAccess)
                        else access
                    )
                    if stated is not None:
                        place = f"{where}.{operation.value}"
                        rules[kind, relation.name, operation] = self._rule(stated, relation, place)
        return self._with_partitions(rules)

    def _rule(self, stated: bool | str | Widening, relation: Relation, where: str) -> Rule:
        """``false`` closes; ``true`` keeps the default (and so undoes an entry for ``"*"``)."""
        if isinstance(stated, bool):
            return Rule("true" if stated else None)
        predicate = stated.any if isinstance(stated, Widening) else stated
        check_predicate(predicate, relation, where, self.lookup)
        return Rule(predicate, widens=isinstance(stated, Widening))

    def _with_partitions(self, rules: Rules) -> Rules:
        """Rules of a relation hold for its partitions too, unless those have their own."""
        spread: Rules = dict(rules)
        for relation in self.catalog.relations.values():
            if relation.is_partition:
                root = self.lookup.root(relation).name
                for (kind, name, operation), rule in rules.items():
                    if name == root:
                        spread.setdefault((kind, relation.name, operation), rule)
        return spread

    # What the model does not keep, but names in the schema all the same

    def _check_columns(self) -> None:
        """Where no relation has any of the tenant columns but one has a column of nearly that
        name, it is a slip; else the relations are declared one by one, or the schema has none."""
        columns = self.configuration.tenancy.column
        known = list({c.name: None for r in self.catalog.relations.values() for c in r.columns})
        if not any(column in known for column in columns):
            for column in columns:
                if nearest(column, known) is not None:
                    self.lookup.word("column", column, "tenancy.column", known)

    def _check_values(self) -> None:
        for text in self.configuration.values:
            where = path_text(("values", text))
            table, dot, column = text.rpartition(".")
            if not dot:
                self.lookup.problem(where, 'expected "table.column"')
            elif (relation := self.lookup.relation(table, "values")) is not None:
                self.lookup.column(relation, column, "values")

    def _check_acceptances(self, kinds: tuple[Kind, ...]) -> None:
        known = [*(kind.name for kind in kinds), *HOSTILE_KINDS]
        for index, acceptance in enumerate(self.configuration.accept):
            kind = acceptance.kind
            if kind is not None and not re.search(r"[*?\[]", kind):
                self.lookup.word("kind", kind, path_text(("accept", index, "kind")), known)


def _settings(section: Mapping[str, str | SqlSection]) -> dict[str, str | SqlTemplate]:
    return {
        name: SqlTemplate(value.sql) if isinstance(value, SqlSection) else value
        for name, value in section.items()
    }


def _key_text(relation: Relation) -> str:
    key = relation.primary_key
    return "it has none" if key is None else f"it is ({', '.join(key.columns)})"
