"""Reads of one relation by one principal, in every shape that the threat level has."""

import json
from collections.abc import Iterable, Iterator, Sequence

from tenantfuzz.policies.predictions import Key
from tenantfuzz.policies.quoting import column_list, literal, qualified, readable_identifier
from tenantfuzz.policies.structure import Operation, Relation
from tenantfuzz.strategies.actions import Action, Grants

_MOST_KEYS = 4


def key_condition(relation: Relation, keys: Iterable[Key]) -> str | None:
    """A WHERE condition that names rows by their key columns, or None without a key."""
    key = relation.primary_key
    if key is None:
        return None
    found = [json.loads(k) for k in keys]
    if not found:
        return None
    if len(key.columns) == 1:
        name = readable_identifier(key.columns[0])
        values = [literal(v[0]) for v in found]
        return f"{name} = {values[0]}" if len(values) == 1 else f"{name} IN ({', '.join(values)})"
    parts = [
        " AND ".join(
            f"{readable_identifier(c)} = {literal(v)}"
            for c, v in zip(key.columns, values, strict=True)
        )
        for values in found
    ]
    return parts[0] if len(parts) == 1 else " OR ".join(f"({p})" for p in parts)


def key_columns(relation: Relation, grants: Grants) -> tuple[str, ...]:
    """The key columns if the role may select them all, else what it may select."""
    key = relation.primary_key
    if key is not None and set(key.columns) <= set(grants.select):
        return key.columns
    return grants.select


def reads(
    relation: Relation,
    grants: Grants,
    hidden: Sequence[Key],
    *,
    owner_column: str | None = None,
    foreign_tenant: str | None = None,
    locking: bool = False,
) -> Iterator[Action]:
    """Every read of the relation: plain, by the keys of hidden rows, by a foreign tenant, count,
    and (``locking``: from the threat level dml) FOR UPDATE, for which UPDATE must be granted."""
    if not grants.select:
        return
    table = qualified(relation.name)
    keys = column_list(key_columns(relation, grants))

    def read(shape: str, sql: str) -> Action:
        return Action(
            relation.name,
            Operation.SELECT,
            sql,
            shape,
            hostile=bool(hidden),
            victims=frozenset(hidden),
        )

    everything = "*" if grants.whole else column_list(grants.select)
    yield read("select", f"SELECT {everything} FROM {table}")
    condition = key_condition(relation, hidden[:_MOST_KEYS])
    key = relation.primary_key
    if condition and key is not None and set(key.columns) <= set(grants.select):
        yield read("select by key", f"SELECT {keys} FROM {table} WHERE {condition}")
    if owner_column in grants.select and foreign_tenant is not None:
        where = f"{readable_identifier(owner_column or '')} = {literal(foreign_tenant)}"
        yield read("select by tenant", f"SELECT {keys} FROM {table} WHERE {where}")
    yield read("count", f"SELECT count(*) FROM {table}")
    if locking and grants.update:
        yield read("select for update", f"SELECT {keys} FROM {table} FOR UPDATE")
