"""A mutant: a change of a correct schema that lets something through, and what must be found."""

from dataclasses import dataclass

from psycopg import sql

from tenantfuzz.policies.model import Model, OwnershipKind
from tenantfuzz.policies.structure import Catalog, Relation, RelationKind, RelationName


@dataclass(frozen=True, slots=True)
class Mutant:
    """One planted leak.

    ``sql`` is run after the schema of ``target``. A finding kills it whose relation matches the
    glob ``relation``, whose operation is among ``operations`` and whose code among ``codes``.
    ``twin_sql`` is the correct form of the same change, which must be quiet; where it is None the
    schema itself is the twin.
    """

    name: str
    target: str
    sql: str
    relation: str
    operations: tuple[str, ...]
    codes: tuple[str, ...]
    twin_sql: str | None = None
    note: str = ""

    @property
    def operator(self) -> str:
        """The operator that made it."""
        return self.name.split(":")[1]


@dataclass(frozen=True, slots=True)
class Subject:
    """A correct target as operators see it."""

    target: str
    catalog: Catalog
    model: Model

    def tables(self) -> list[Relation]:
        """Tables under row security that are no partitions, in order."""
        return [
            r
            for _, r in sorted(self.catalog.relations.items())
            if r.kind in (RelationKind.TABLE, RelationKind.PARTITIONED)
            and r.row_security
            and not r.is_partition
            and r.policies
        ]

    def tenant_column(self, relation: RelationName) -> str | None:
        """The column that names the owner, where one does."""
        ownership = self.model.owner_of(relation)
        if ownership.kind in (OwnershipKind.COLUMN, OwnershipKind.TENANTS):
            return ownership.column
        return None

    def role(self) -> str:
        """The role that ordinary principals act as."""
        role = self.model.identity.role
        if not isinstance(role, str):
            raise ValueError(f"{self.target}: the role is not a name")
        return role

    def name(self, operator: str, relation: RelationName, *parts: str) -> str:
        """The name of a mutant: readable, unique, stable."""
        return ":".join((self.target, operator, relation.name, *parts))


def statement(template: str, **parts: str | sql.Composable) -> str:
    """A statement from a template; plain strings are SQL expressions, names are given quoted."""
    made = {k: sql.SQL(v) if isinstance(v, str) else v for k, v in parts.items()}
    return sql.SQL(template).format(**made).as_string(None) + ";"


def table(relation: RelationName) -> sql.Identifier:
    """A relation's name, quoted."""
    return sql.Identifier(relation.schema, relation.name)


def names(values: tuple[str, ...]) -> sql.Composable:
    """Names separated by commas, quoted."""
    return sql.SQL(", ").join(sql.Identifier(v) for v in values)


def grantees(roles: tuple[str, ...]) -> sql.Composable:
    """The roles of a policy: PUBLIC where there are none."""
    return names(roles) if roles else sql.SQL("PUBLIC")
