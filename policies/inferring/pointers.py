"""Pointers: the columns that refer to rows of other relations, by foreign keys or by name alone."""

from collections.abc import Mapping
from dataclasses import dataclass

from tenantfuzz.policies.inferring.words import BOOKKEEPING, names_it
from tenantfuzz.policies.lookup import single_key
from tenantfuzz.policies.structure import Catalog, Column, Relation, RelationKind, RelationName

_TABLES = (RelationKind.TABLE, RelationKind.PARTITIONED)


@dataclass(frozen=True, slots=True)
class Pointer:
    """A column that holds the key of a row of ``target``. ``declared``: a foreign key says so;
    ``required``: it cannot be NULL."""

    relation: RelationName
    column: str
    target: RelationName
    target_column: str
    declared: bool
    required: bool


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The tables that hold data, and how they refer to each other.

    ``tables`` has neither partitions, nor what the platform brings, nor a migration tool's books;
    ``platform`` relations may still be referred to.
    """

    catalog: Catalog
    tables: Mapping[RelationName, Relation]
    platform: frozenset[RelationName]
    pointers: tuple[Pointer, ...]

    def of(self, relation: RelationName) -> list[Pointer]:
        """The pointers of a relation."""
        return [p for p in self.pointers if p.relation == relation]

    def to(self, target: RelationName) -> list[Pointer]:
        """The pointers to a relation."""
        return [p for p in self.pointers if p.target == target]

    def column(self, relation: RelationName, column: str) -> Column | None:
        """A column of a relation of the catalog."""
        return self.catalog.relations[relation].column(column)


def survey(catalog: Catalog, platform: frozenset[RelationName]) -> Surroundings:
    """Finds the tables and the pointers of a catalog."""
    tables = {
        name: relation
        for name, relation in catalog.relations.items()
        if relation.kind in _TABLES
        and not relation.is_partition
        and name not in platform
        and not BOOKKEEPING.fullmatch(name.name)
    }
    pointers: list[Pointer] = []
    for relation in tables.values():
        declared = _declared(relation, catalog)
        pointers += declared
        taken = {p.column for p in declared}
        for column in relation.columns:
            if column.name not in taken:
                named = _named(relation, column, tables)
                if named is not None:
                    pointers.append(named)
    return Surroundings(catalog, tables, platform, tuple(pointers))


def display(around: Surroundings, name: RelationName) -> str:
    """A relation as the file names it: bare where that is enough."""
    return name.name if around.catalog.find(name.name) == name else str(name)


def _declared(relation: Relation, catalog: Catalog) -> list[Pointer]:
    found: dict[str, Pointer] = {}
    for key in sorted(relation.foreign_keys, key=lambda k: len(k.columns)):
        target = catalog.relations.get(key.target)
        if target is None:
            continue
        for name, other in zip(key.columns, key.target_columns, strict=True):
            column = relation.column(name)
            # Of a composite key, the column that names the row alone, not the tenant beside it.
            alone = len(key.columns) == 1 or single_key(target) == other
            if column is not None and alone and name not in found:
                found[name] = Pointer(relation.name, name, key.target, other, True, column.not_null)
    return list(found.values())


def _named(
    relation: Relation, column: Column, tables: Mapping[RelationName, Relation]
) -> Pointer | None:
    """The pointer that a column's name makes of it: ``org_id`` where there is a table ``orgs`` with
    a key of that type; of several such tables, the one in the same schema."""
    fitting = [
        (other, key)
        for other in tables.values()
        if other is not relation
        and names_it(column.name, other.name.name)
        and (key := single_key(other)) is not None
        and _same_type(column, other.column(key))
    ]
    near = [f for f in fitting if f[0].name.schema == relation.name.schema] or fitting
    if len(near) != 1:
        return None
    [(target, key)] = near
    return Pointer(relation.name, column.name, target.name, key, False, column.not_null)


_FAMILIES = (
    frozenset({"int2", "int4", "int8"}),
    frozenset({"text", "varchar", "bpchar", "citext", "name"}),
)


def _same_type(column: Column, other: Column | None) -> bool:
    if other is None:
        return False
    types = {column.type.base, other.type.base}
    return len(types) == 1 or any(types <= family for family in _FAMILIES)
