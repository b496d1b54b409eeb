"""Cut and perturb: the same text, the same identity, in a world with less or other hidden data.

Nothing is rewritten. Where the answers differ, the answer depended on rows that the principal may
not see (noninterference: Goguen and Meseguer, 1982).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tenantfuzz.policies.model import Model, OwnershipKind
from tenantfuzz.policies.ownership_sql import rows_by_key
from tenantfuzz.policies.predictions import Key, Prediction, belongs_to
from tenantfuzz.policies.principals import CONTEXT_FREE, HostileKind, Principal
from tenantfuzz.policies.quoting import identifier, literal, qualified
from tenantfuzz.policies.structure import Catalog, Column, Relation, RelationName, TypeCategory
from tenantfuzz.strategies.reads import key_condition
from tenantfuzz.untriggered import untriggered

_KEPT = frozenset({OwnershipKind.SHARED, OwnershipKind.PRIVATE, OwnershipKind.UNCLASSIFIED})
_TEXTS = frozenset({"text", "varchar", "citext"})


def may_be_cut(principal: Principal) -> bool:
    """Malformed identities are judged by visibility, containment and provenance alone: whether a
    cast fails may depend on whether a policy looks at any row at all."""
    return principal.kind != HostileKind.MALFORMED


@dataclass(frozen=True, slots=True)
class Cut:
    """Which rows go, for one principal in one world."""

    catalog: Catalog
    model: Model
    kept: frozenset[RelationName] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kept", self._read_by_rules())

    def hidden(self, prediction: Prediction, principal: Principal) -> dict[RelationName, set[Key]]:
        """Other tenants' rows that the principal may not see, by relation.

        Kept are rows of the principal's own tenants and its own, shared and private rows, and
        relations that a rule reads. For identities that are unset or empty one hidden row stays
        in every relation that had some.
        """
        hidden: dict[RelationName, set[Key]] = {}
        for relation, rows in prediction.state.items():
            kind = self.model.owner_of(relation).kind
            if kind in _KEPT or relation in self.kept:
                continue
            if self.catalog.relations[relation].parent is not None:
                continue  # a partition's rows are those of its root
            unseen = [
                k
                for k in sorted(prediction.hidden(principal, relation))
                if not (rows[k].nobodys or belongs_to(rows[k], principal))
            ]
            if principal.kind in CONTEXT_FREE:
                unseen = unseen[1:]
            if unseen:
                hidden[relation] = set(unseen)
        return hidden

    def _read_by_rules(self) -> frozenset[RelationName]:
        words: set[str] = set()
        for rule in self.model.access.values():
            words.update(re.findall(r"\w+", (rule.predicate or "").lower()))
        return frozenset(
            n
            for n in self.catalog.relations
            if n.name.lower() in words
            and any(
                re.search(
                    rf"\b(from|join)\s+(\w+\.)?\"?{re.escape(n.name)}\b", r.predicate or "", re.I
                )
                for r in self.model.access.values()
            )
        )

    def statements(self, hidden: Mapping[RelationName, set[Key]]) -> list[str]:
        """Deletes the hidden rows, with no trigger or foreign key acting on it."""
        deletes = [
            f"DELETE FROM {qualified(relation)} WHERE {self._named(relation, keys)}"
            for relation, keys in hidden.items()
        ]
        return untriggered(deletes)

    def _named(self, relation: RelationName, keys: set[Key]) -> str:
        condition = key_condition(self.catalog.relations[relation], sorted(keys))
        return condition or rows_by_key(self.catalog, relation, keys)


@dataclass(frozen=True, slots=True)
class Perturb:
    """Changes what hidden rows say, and nothing about whose they are."""

    catalog: Catalog
    model: Model

    def statements(self, hidden: Mapping[RelationName, set[Key]]) -> list[str]:
        """Updates of hidden rows' free values: texts, numbers and flags that no key, foreign key,
        unique, check or ownership reads."""
        updates: list[str] = []
        for relation, keys in hidden.items():
            changes = [f"{identifier(c.name)} = {_changed(c)}" for c in self._free(relation)]
            if changes:
                updates.append(
                    f"UPDATE {qualified(relation)} SET {', '.join(changes)} "
                    f"WHERE {rows_by_key(self.catalog, relation, keys)}"
                )
        return untriggered(updates)

    def _free(self, name: RelationName) -> list[Column]:
        relation = self.catalog.relations[name]
        bound = _bound_columns(relation)
        ownership = self.model.owner_of(name)
        bound |= {ownership.column} | {c for w in ownership.ways for c in w.columns}
        for _, fk in self.model.references:
            bound |= set(fk.columns)
        for rule in self.model.access.values():
            bound |= set(re.findall(r"\w+", rule.predicate or ""))
        memberships = self.model.memberships
        if memberships is not None and name == memberships.relation:
            return []
        return [
            c
            for c in relation.columns
            if c.name not in bound and not c.generated and not c.identity and _changeable(c)
        ]


def _bound_columns(relation: Relation) -> set[str | None]:
    bound: set[str | None] = set()
    for unique in relation.uniques:
        bound |= set(unique.columns) | set(unique.expression_columns)
        bound |= set(re.findall(r"\w+", unique.predicate or ""))
    for fk in relation.foreign_keys:
        bound |= set(fk.columns)
    for check in relation.checks:
        bound |= set(check.columns)
    for exclusion in relation.exclusions:
        bound |= set(exclusion.columns)
    return bound | set(relation.partition_key)


def _changeable(column: Column) -> bool:
    kind = column.type
    if kind.category is not TypeCategory.BASE or kind.domain_checks:
        return False
    return kind.base in _TEXTS or kind.base in ("int4", "int8", "numeric", "bool")


def _changed(column: Column) -> str:
    name = identifier(column.name)
    if column.type.base == "bool":
        return f"NOT {name}"
    if column.type.base in _TEXTS:
        width = column.type.modifier - 4 if column.type.modifier > 4 else None
        changed = f"reverse({name}::text) || {literal('~')}"
        return f"left({changed}, {width})" if width else changed
    return f"{name} + 1"
