"""Reads of one relation by one principal, in every shape that the threat level has."""

import json
from collections.abc import Iterable, Iterator, Sequence

from tenantfuzz.policies.configuration import Attacker
from tenantfuzz.policies.predictions import Key
from tenantfuzz.policies.quoting import column_list, literal, qualified, readable_identifier
from tenantfuzz.policies.structure import Operation, Relation
from tenantfuzz.strategies.actions import Action, Grants
from tenantfuzz.strategies.scripting import script

_MOST_KEYS = 4
WHOLE = frozenset({"select", "copy", "cursor", "prepared statement", "temporary table"})
"""Shapes that show all columns that may be selected."""


def key_condition(
    relation: Relation, keys: Iterable[Key], *, alias: str | None = None
) -> str | None:
    """A WHERE condition that names rows by their key columns, or None without a key. In brackets
    where an ``alias`` stands before the columns, so that more can be joined to it."""
    key = relation.primary_key
    if key is None:
        return None
    found = [json.loads(k) for k in keys]
    if not found:
        return None
    before = f"{alias}." if alias is not None else ""
    if len(key.columns) == 1:
        name = before + readable_identifier(key.columns[0])
        values = [literal(v[0]) for v in found]
        return f"{name} = {values[0]}" if len(values) == 1 else f"{name} IN ({', '.join(values)})"
    parts = [
        " AND ".join(
            f"{before}{readable_identifier(c)} = {literal(v)}"
            for c, v in zip(key.columns, values, strict=True)
        )
        for values in found
    ]
    if alias is not None:
        return "(" + " OR ".join(f"({p})" for p in parts) + ")"
    return parts[0] if len(parts) == 1 else " OR ".join(f"({p})" for p in parts)


def key_columns(relation: Relation, grants: Grants) -> tuple[str, ...]:
    """The key columns if the role may select them all, else what it may select."""
    key = relation.primary_key
    if key is not None and set(key.columns) <= set(grants.select):
        return key.columns
    return grants.select


def copied_columns(relation: Relation) -> tuple[str, ...]:
    """The columns that COPY shows: generated ones are left out (manual, COPY)."""
    return tuple(c.name for c in relation.columns if not c.generated)


def reads(
    relation: Relation,
    grants: Grants,
    hidden: Sequence[Key],
    *,
    owner_column: str | None = None,
    foreign_tenant: str | None = None,
    attacker: Attacker = Attacker.API,
    thorough: bool = False,
) -> Iterator[Action]:
    """Every read of the relation: plain, by the keys of hidden rows, by a foreign tenant, count;
    from the threat level dml FOR UPDATE and FOR SHARE, for which UPDATE must be granted.

    ``thorough`` adds what cannot be pipelined: COPY from dml, cursors, prepared statements and
    temporary tables from sql.
    """
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
    if attacker.has(Attacker.DML) and grants.update:
        for strength in ("UPDATE", "SHARE"):
            yield read(
                f"select for {strength.lower()}", f"SELECT {keys} FROM {table} FOR {strength}"
            )
    if not thorough:
        return
    if attacker.has(Attacker.DML) and grants.whole:
        yield read("copy", f"COPY {table} TO STDOUT")
    if attacker.has(Attacker.SQL):
        query = f"SELECT {everything} FROM {table}"
        cursor = (f"DECLARE tf_cursor NO SCROLL CURSOR FOR {query}", "FETCH ALL FROM tf_cursor")
        yield read("cursor", script(*cursor, "CLOSE tf_cursor"))
        again = ("EXECUTE tf_plan",) * 7  # from the sixth on a generic plan may be taken
        prepared = (f"PREPARE tf_plan AS {query}", *again, "DEALLOCATE tf_plan")
        yield read("prepared statement", script(*prepared))
        kept = (f"CREATE TEMPORARY TABLE tf_kept AS {query}", "SELECT * FROM tf_kept")
        yield read("temporary table", script(*kept))
