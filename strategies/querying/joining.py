"""Joins of every kind, along foreign keys and not."""

from tenantfuzz.policies.quoting import literal
from tenantfuzz.strategies.querying.conditions import condition
from tenantfuzz.strategies.querying.tree import Source
from tenantfuzz.strategies.querying.writer import Writer

_KINDS = ("JOIN", "JOIN", "LEFT JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "LATERAL")


def joins(writer: Writer, root: Source, most: int = 3) -> tuple[list[str], list[Source]]:
    """Up to so many joins, each with a table that stands there already; and the tables whose
    columns may be named."""
    clauses: list[str] = []
    there = [root]
    for _ in range(writer.source.choice((0, 0, 1, 1, 2, most))):
        clause, new = _join(writer, writer.source.choice(there))
        if clause:
            clauses.append(clause)
            there += new
    return clauses, there


def _join(writer: Writer, source: Source) -> tuple[str, list[Source]]:
    if writer.likely(0.08):
        return _values(writer, source), []
    if writer.likely(0.1):
        return _unnested(writer, source), []
    if writer.likely(0.05):
        other = writer.reference(source.relation.name)
        writer.mark("join:cross")
        return f"CROSS JOIN {other.table}", [other]
    found = writer.alike(source) if writer.likely(0.15) else writer.related(source)
    if found is None:
        return "", []
    other, on = found
    kind = writer.source.choice(_KINDS)
    writer.mark(f"join:{kind}")
    if kind == "LATERAL":
        return _lateral(writer, other, on), []
    if kind in ("JOIN", "LEFT JOIN") and writer.likely(0.3):
        further = condition(writer, other)
        on = f"{on} AND {further}" if further else on
    return f"{kind} {other.table} ON {on}", [other]


def _lateral(writer: Writer, other: Source, on: str) -> str:
    """A sub-select for each row: how many there are, or the first by their key."""
    order = writer.key_order(other)
    name = f"n{other.alias}"
    if order and writer.likely(0.5):
        shown = other.named(writer.source.choice(other.columns))
        inner = f"SELECT {shown} AS v FROM {other.table} WHERE {on} ORDER BY {order} LIMIT 2"
        return f"LEFT JOIN LATERAL ({inner}) AS {name} ON true"
    return f"CROSS JOIN LATERAL (SELECT count(*) AS n FROM {other.table} WHERE {on}) AS {name}"


def _values(writer: Writer, source: Source) -> str:
    """A list of guesses."""
    column = writer.column(source, "text", "uuid", "number", "enum")
    if column is None:
        return ""
    values = [v for _ in range(3) if (v := writer.value(source, column)) is not None]
    if not values:
        return ""
    writer.mark("join:values")
    name = writer.alias()
    listed = ", ".join(f"({literal(v)})" for v in dict.fromkeys(values))
    return (
        f"JOIN (VALUES {listed}) AS {name} (guess) ON {source.named(column)}::text = {name}.guess"
    )


def _unnested(writer: Writer, source: Source) -> str:
    """The parts of an array or a document, for each row."""
    column = writer.column(source, "array", "jsonb")
    if column is None:
        return ""
    writer.mark("join:function")
    named, name = source.named(column), writer.alias()
    if column in writer.entry(source).sorts.get("array", ()):
        return f"LEFT JOIN LATERAL unnest({named}) WITH ORDINALITY AS {name} (part, place) ON true"
    return f"LEFT JOIN LATERAL jsonb_path_query({named}, '$.*') AS {name} ON true"
