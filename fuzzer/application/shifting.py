"""Shift: hidden rows say something smaller, or something greater, than any visible row."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tenantfuzz.policies.model import Model
from tenantfuzz.policies.ownership_sql import rows_by_key
from tenantfuzz.policies.predictions import Key
from tenantfuzz.policies.quoting import identifier, literal, qualified
from tenantfuzz.policies.structure import Catalog, Column, Relation, RelationName, TypeCategory
from tenantfuzz.strategies.values import TEXT_BASES
from tenantfuzz.untriggered import untriggered

_NUMBERS = frozenset({"int4", "int8", "numeric", "float4", "float8"})
_STEP = 100_000
# Digits come first and the last letters last in every collation.
_SMALL, _GREAT = "0", "zz"


@dataclass(frozen=True, slots=True)
class Shift:
    """Moves hidden values out of the range of visible ones: the least, the greatest, the first in
    order, a sum are told apart by it where equal or middling values would not be.

    Values that only a unique key binds are moved too, since all move alike.
    """

    catalog: Catalog
    model: Model

    def statements(self, hidden: Mapping[RelationName, set[Key]], *, upwards: bool) -> list[str]:
        """Updates of the hidden rows, with no trigger acting on them."""
        updates: list[str] = []
        for name, keys in hidden.items():
            columns = list(self._free(self.catalog.relations[name]))
            moved = [(c.name, _moved(c, upwards)) for c in columns]
            changes = ", ".join(f"{identifier(n)} = {m}" for n, m in moved if m is not None)
            if not changes:
                continue
            where = rows_by_key(self.catalog, name, keys)
            updates.append(f"UPDATE {qualified(name)} SET {changes} WHERE {where}")
        return untriggered(updates)

    def _free(self, relation: Relation) -> Iterator[Column]:
        bound: set[str | None] = {c for check in relation.checks for c in check.columns}
        bound |= {c for fk in relation.foreign_keys for c in fk.columns}
        bound |= {c for x in relation.exclusions for c in x.columns} | {*relation.partition_key}
        bound |= {c for owner, fk in self.model.references for c in fk.columns}
        key = relation.primary_key
        bound |= set(key.columns) if key is not None else set()
        bound |= self._referred(relation.name)
        ownership = self.model.owner_of(relation.name)
        bound |= {ownership.column} | {c for w in ownership.ways for c in w.columns}
        for rule in self.model.access.values():
            bound |= set(re.findall(r"\w+", rule.predicate or ""))
        memberships = self.model.memberships
        if memberships is not None and relation.name == memberships.relation:
            return
        for column in relation.columns:
            if column.name not in bound and not column.generated and not column.identity:
                kind = column.type
                plain = kind.category is TypeCategory.BASE and not kind.domain_checks
                roomy = kind.base in TEXT_BASES and kind.modifier < 0
                if plain and (roomy or kind.base in _NUMBERS) and kind.base not in ("char", "name"):
                    yield column

    def _referred(self, name: RelationName) -> set[str | None]:
        """The columns that foreign keys of other relations, or ways to an owner, point at."""
        found: set[str | None] = set()
        for other, relation in self.catalog.relations.items():
            for fk in self.model.foreign_keys(self.catalog, other):
                found |= set(fk.target_columns) if fk.target == name else set()
            for way in self.model.owner_of(relation.name).ways:
                found |= set(way.target_columns) if way.target == name else set()
        return found


def _moved(column: Column, upwards: bool) -> str | None:
    name = identifier(column.name)
    if column.type.base in TEXT_BASES:
        return f"{literal(_GREAT if upwards else _SMALL)} || {name}"
    if column.type.base == "numeric" and column.type.modifier >= 4:
        return None if upwards else f"-{name}"  # greater ones might have too many digits
    return f"{name} {'+' if upwards else '-'} {_STEP}"
