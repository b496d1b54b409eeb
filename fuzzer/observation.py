"""Turns raw results into what they show: which rows, by their keys."""

import json
from collections.abc import Sequence

from tenantfuzz.oracles.violation import Observation
from tenantfuzz.policies.ownership_sql import key_expression
from tenantfuzz.policies.predictions import Key
from tenantfuzz.policies.quoting import identifier, qualified
from tenantfuzz.policies.structure import Catalog, Relation
from tenantfuzz.results import Column, Outcome, RawRow, texts_of
from tenantfuzz.stage import Stage


def observe(outcome: Outcome, relation: Relation, catalog: Catalog) -> Observation:
    """What ``outcome`` shows of ``relation``.

    libpq says for each result column which table and column it comes from: where all key columns
    of the relation (or of one of its partitions) are there, every row is known by its key.
    """
    keys = row_keys(outcome.rows, outcome.columns(), relation, catalog)
    text = texts_of(outcome.rows)
    if keys is None:
        return Observation(text=text)
    return Observation(frozenset(keys), True, text)


def keys_by_values(
    stage: Stage, relation: Relation, columns: Sequence[str]
) -> dict[RawRow, frozenset[Key]]:
    """The keys of all rows of a relation by the values of these columns, read by the trusted role.

    A relation without a key is keyed by its rows' text.
    """
    alias = identifier(relation.name.name)
    key = key_expression(stage.catalog, relation.name, alias)
    names = ", ".join(f"{alias}.{identifier(c)}" for c in columns)
    outcome = stage.wire.pipeline(
        [f"SELECT {key}, {names} FROM {qualified(relation.name)} AS {alias}"], prepare=True
    )[0]
    known: dict[RawRow, set[Key]] = {}
    for found, *values in outcome.rows:
        known.setdefault(tuple(values), set()).add((found or b"").decode())
    return {values: frozenset(keys) for values, keys in known.items()}


def row_keys(
    rows: Sequence[RawRow], columns: Sequence[Column], relation: Relation, catalog: Catalog
) -> list[Key] | None:
    """The key of each row, or None where the result does not hold all key columns."""
    key = relation.primary_key
    if key is None:
        return None
    positions: list[tuple[int, str]] = []
    for name in key.columns:
        column = relation.column(name)
        if column is None:
            return None
        position = next(
            (
                i
                for i, c in enumerate(columns)
                if c.relation
                and (
                    (c.relation == relation.oid and c.number == column.number)
                    or (c.name == name and _is_part(c.relation, relation, catalog))
                )
            ),
            None,
        )
        if position is None:
            return None
        positions.append((position, column.type.base))
    return [
        json.dumps([_as_text(row[i], base) for i, base in positions], ensure_ascii=False)
        for row in rows
    ]


def _is_part(oid: int, relation: Relation, catalog: Catalog) -> bool:
    part = next((r for r in catalog.relations.values() if r.oid == oid), None)
    while part is not None and part.parent is not None:
        if part.parent == relation.name:
            return True
        part = catalog.relations.get(part.parent)
    return False


def _as_text(value: bytes | None, base: str) -> str | None:
    """A value as ``value::text`` gives it; output differs from the cast for two types."""
    if value is None:
        return None
    text = value.decode(errors="replace")
    if base == "bool":
        return "true" if text == "t" else "false"
    return text.rstrip(" ") if base == "bpchar" else text
