"""Rows with their related rows as JSON, as query builders and REST layers write them."""

from tenantfuzz.policies.quoting import literal
from tenantfuzz.strategies.querying.conditions import conditions
from tenantfuzz.strategies.querying.shapes import plain
from tenantfuzz.strategies.querying.tree import Select, Source
from tenantfuzz.strategies.querying.writer import Writer


def nested(writer: Writer, root: Source) -> str:
    """A relational query in one of the ways that they are written."""
    order = writer.key_order(root)
    found = writer.child(root) or writer.related(root)
    if not order or found is None or not writer.key_order(found[0]):
        return plain(writer, root)
    child, on = found
    where = conditions(writer, root, 1)
    return writer.source.choice((_objects, _arrays, _documents, _embedded))(
        writer, root, child, on, where
    )


def _objects(writer: Writer, root: Source, child: Source, on: str, where: list[str]) -> str:
    """A sub-select in the list that builds objects."""
    writer.mark("relational:objects")
    fields = ", ".join(f"{literal(c)}, {child.named(c)}" for c in child.columns[:3])
    related = (
        f"(SELECT coalesce(json_agg(json_build_object({fields}) ORDER BY "
        f"{writer.key_order(child)}), '[]') FROM {child.table} WHERE {on}) AS related"
    )
    shown = (*(root.named(c) for c in root.columns[:3]), related)
    return Select(root, shown, where=tuple(where)).render()


def _arrays(writer: Writer, root: Source, child: Source, on: str, where: list[str]) -> str:
    """Drizzle: arrays of columns from a lateral join, a further level within."""
    writer.mark("relational:arrays")
    names = ", ".join(child.named(c) for c in writer.source.sample(child.columns, 1))
    order = writer.key_order(child)
    deeper = ""
    if (grand := writer.child(child)) is not None and writer.key_order(grand[0]):
        other, tie = grand
        inner = ", ".join(other.named(c) for c in other.columns[:2])
        deeper = (
            f", (SELECT coalesce(json_agg(json_build_array({inner}) ORDER BY "
            f"{writer.key_order(other)}), '[]'::json) FROM {other.table} WHERE {tie})"
        )
    rows = f"{child.table} WHERE {on}"
    if not deeper and _whole(child) and writer.likely(0.4):
        rows = f"(SELECT * FROM {rows} ORDER BY {order} LIMIT 2) AS {child.alias}"
    data = f"coalesce(json_agg(json_build_array({names}{deeper}) ORDER BY {order}), '[]'::json)"
    lateral = f"LEFT JOIN LATERAL (SELECT {data} AS data FROM {rows}) AS related ON true"
    shown = (*writer.some(root), "related.data AS related")
    tail = f"ORDER BY {writer.key_order(root)} LIMIT {writer.source.randrange(1, 5)}"
    return Select(root, shown, (lateral,), tuple(where), tail=tail).render()


def _documents(writer: Writer, root: Source, child: Source, on: str, where: list[str]) -> str:
    """Prisma: documents of rows, gathered level by level."""
    writer.mark("relational:documents")
    keys = writer.entry(child).key
    fields = ", ".join(f"{literal(c)}, {child.named(c)}" for c in child.columns[:4])
    order = ", ".join(f"k{i}" for i in range(len(keys)))
    ordered = ", ".join(f"{child.named(c)} AS k{i}" for i, c in enumerate(keys))
    inner = (
        f"SELECT jsonb_build_object({fields}) AS __prisma_data__, {ordered} "
        f"FROM {child.table} WHERE {on}"
    )
    lateral = (
        "LEFT JOIN LATERAL (SELECT coalesce(jsonb_agg(d.__prisma_data__), '[]') AS "
        f"__prisma_data__ FROM (SELECT s.__prisma_data__ FROM ({inner}) AS s ORDER BY {order}) "
        "AS d) AS related ON true"
    )
    shown = (*writer.some(root), "related.__prisma_data__ AS related")
    return Select(root, shown, (lateral,), tuple(where)).render()


def _embedded(writer: Writer, root: Source, child: Source, on: str, where: list[str]) -> str:
    """PostgREST: an embedded resource, and the page as one document with its count."""
    writer.mark("relational:embedded")
    names = ", ".join(child.named(c) for c in child.columns[:4])
    order = writer.key_order(child)
    inner = (
        f"SELECT json_agg(child) AS rows FROM (SELECT {names} FROM {child.table} WHERE {on} "
        f"ORDER BY {order}) AS child"
    )
    if writer.likely(0.3):  # !inner: only rows that have some
        where = [*where, "related.rows IS NOT NULL"]
    select = Select(
        root,
        (*writer.some(root), "coalesce(related.rows, '[]') AS related"),
        (f"LEFT JOIN LATERAL ({inner}) AS related ON true",),
        tuple(where),
        tail=f"ORDER BY {writer.key_order(root)} LIMIT {writer.source.randrange(1, 6)}",
    ).render()
    return (
        f"WITH pgrst_source AS ({select}) SELECT count(p) AS page_total, "
        "coalesce(json_agg(p), '[]')::text AS body FROM (SELECT * FROM pgrst_source) AS p"
    )


def _whole(source: Source) -> bool:
    return len(source.columns) == len(source.relation.columns)
