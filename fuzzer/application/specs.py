"""What ``params`` says of a parameter: a type of PostgreSQL, a column, or either with ``[]``."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tenantfuzz.adapters.parameters import column_named
from tenantfuzz.errors import ToolError
from tenantfuzz.policies.query_parts import Compared
from tenantfuzz.policies.structure import Catalog, DataType, TypeCategory
from tenantfuzz.policies.suggestions import did_you_mean
from tenantfuzz.strategies.values import UnknownType, maker_of

ROLES = ("tenant", "tenants", "user")
"""The words for the caller's own."""

HINT = 'params take a type ("date", "uuid[]"), a column ("orders.id", "orders.id[]"), "tenant",\n'
HINT += '"tenants" or "user", or a list of the only values'
"""What may be said, for errors."""

# Spellings of SQL and of people, and the names under which PostgreSQL keeps the types.
_SPELLED = {
    "string": "text",
    "character varying": "varchar",
    "character": "bpchar",
    "char": "bpchar",
    "smallint": "int2",
    "int": "int4",
    "integer": "int4",
    "bigint": "int8",
    "number": "numeric",
    "decimal": "numeric",
    "real": "float4",
    "float": "float8",
    "double precision": "float8",
    "boolean": "bool",
    "timestamp without time zone": "timestamp",
    "timestamp with time zone": "timestamptz",
    "time without time zone": "time",
    "time with time zone": "timetz",
    "bit varying": "varbit",
}
_SHOWN = ("text", "integer", "bigint", "numeric", "boolean", "uuid", "date", "timestamp", "jsonb")
_RANGES = {
    "int4range": "int4",
    "int8range": "int8",
    "numrange": "numeric",
    "daterange": "date",
    "tsrange": "timestamp",
    "tstzrange": "timestamptz",
}
_MODIFIER = re.compile(r"\s*\(\s*\d+\s*(?:,\s*-?\d+\s*)?\)")


@dataclass(frozen=True, slots=True)
class Spec:
    """A parameter as it was declared; ``meets`` is the column that was named, if one was."""

    type: DataType
    meets: tuple[Compared, ...] = ()

    @property
    def several(self) -> bool:
        """Whether it is a list."""
        return self.type.category is TypeCategory.ARRAY


def array_of(element: DataType) -> DataType:
    """The type of arrays of ``element``."""
    name = f"{_MODIFIER.sub('', element.name)}[]"
    return DataType(name, f"_{element.base}", TypeCategory.ARRAY, element=element)


def read_spec(word: str, catalog: Catalog) -> Spec | None:
    """What ``word`` says of a parameter; None where it is no type and no column."""
    inner = word.strip()
    if inner.endswith("[]"):
        spec = read_spec(inner[:-2], catalog)
        if spec is None or spec.several:
            return None
        return Spec(array_of(spec.type), spec.meets)
    relation, column = column_named(inner, catalog)
    if relation is not None and column is not None:
        return Spec(column.type, (Compared(relation.name, column.name, "equal"),))
    type_ = _type(inner, catalog)
    return Spec(type_) if type_ is not None else None


def bad_spec(where: str, name: str, word: str, catalog: Catalog) -> ToolError:
    """The error that says that ``word``, said of parameter ``name``, is nothing known."""
    columns = (f"{r.name.name}.{c.name}" for r in catalog.relations.values() for c in r.columns)
    bare = word.removesuffix("[]")
    known = [*_SHOWN, *_SPELLED, *ROLES, *(t.name for t in _own_types(catalog)), *columns]
    near = did_you_mean(bare, known, quote="'")
    return ToolError(
        f"{where}: params: {name}: {word!r} is neither a type nor a column{near}", hint=HINT
    )


def _type(word: str, catalog: Catalog) -> DataType | None:
    bare = " ".join(_MODIFIER.sub("", word).lower().split()).removeprefix("pg_catalog.")
    for own in _own_types(catalog):
        if word in (own.name, own.base) or own.name.rpartition(".")[2] == word:
            return own
    base = _SPELLED.get(bare, bare)
    if base in _RANGES:
        inner = DataType(_RANGES[base], _RANGES[base])
        return DataType(base, base, TypeCategory.RANGE, element=inner)
    type_ = DataType(base, base)
    try:
        maker_of(type_)
    except UnknownType:
        return None
    return type_


def _own_types(catalog: Catalog) -> Iterator[DataType]:
    """The types that columns of the target have and that are not PostgreSQL's own: enums, domains
    and composite types."""
    own = (TypeCategory.ENUM, TypeCategory.COMPOSITE)
    for relation in catalog.relations.values():
        for column in relation.columns:
            type_ = column.type
            if type_.category in own or type_.domain_checks or type_.domain_not_null:
                yield type_
