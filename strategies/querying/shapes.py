"""Shapes: whole SELECTs around one root."""

from collections.abc import Callable

from tenantfuzz.policies.quoting import literal, readable_identifier
from tenantfuzz.strategies.querying.conditions import condition, conditions, websearch
from tenantfuzz.strategies.querying.joining import joins
from tenantfuzz.strategies.querying.tree import Select, Source
from tenantfuzz.strategies.querying.writer import Writer

Shape = Callable[[Writer, Source], str]


def plain(writer: Writer, root: Source) -> str:
    """Columns of one table and of what is joined to it."""
    clauses, there = joins(writer, root)
    shown = writer.some(root)
    for other in there[1:]:
        shown += writer.some(other, 2)
    if writer.likely(0.3):
        shown += _correlated(writer, writer.source.choice(there))
    if writer.likely(0.2):
        shown.append(_computed(writer, root))
    where = conditions(writer, root)
    if len(there) > 1 and writer.likely(0.4):
        where += conditions(writer, there[-1], 1)
    distinct = "DISTINCT" if writer.likely(0.15) else ""
    sample = "BERNOULLI (100)" if writer.likely(0.05) and not writer.entry(root).parted else ""
    writer.mark("sample:all" if sample else "")
    writer.mark("distinct" if distinct else "")
    return Select(
        root, tuple(shown), tuple(clauses), tuple(where), distinct=distinct, sample=sample
    ).render()


def _correlated(writer: Writer, source: Source) -> list[str]:
    """Sub-selects in the list: a count of what refers to the row, its like, the greatest of it."""
    found = writer.related(source) if writer.likely(0.8) else writer.alike(source)
    if found is None:
        return []
    other, on = found
    draw = writer.source.random()
    further = condition(writer, other) if writer.likely(0.3) else None
    where = f"{on} AND {further}" if further else on
    column = writer.column(other, "text", "number", "time", "float")
    if draw < 0.5 or column is None:
        writer.mark("list:count")
        return [f"(SELECT count(*) FROM {other.table} WHERE {where}) AS counted"]
    if draw < 0.7:
        writer.mark("list:max")
        return [f"(SELECT max({other.named(column)}) FROM {other.table} WHERE {where}) AS greatest"]
    if draw < 0.85:
        writer.mark("list:exists")
        return [f"EXISTS (SELECT FROM {other.table} WHERE {where}) AS has_any"]
    writer.mark("list:array")
    named = other.named(column)
    return [f"ARRAY(SELECT {named} FROM {other.table} WHERE {where} ORDER BY {named}) AS listed"]


def _computed(writer: Writer, root: Source) -> str:
    """An expression over columns."""
    entry = writer.entry(root)
    if entry.functions and writer.likely(0.5):
        called, column = writer.source.choice(entry.functions)
        writer.mark(f"function:{called}({column})")
        return f"{called}({root.named(column) if column else root.alias}) AS computed"
    column = writer.source.choice(root.columns)
    other = writer.source.choice(root.columns)
    named, second = root.named(column), root.named(other)
    writer.mark("list:expression")
    return writer.source.choice(
        (
            f"CASE WHEN {named} IS NULL THEN 'none' ELSE {named}::text END AS computed",
            f"coalesce({named}::text, '-') || {second}::text AS computed",
            f"md5({named}::text) AS computed",
            f"to_jsonb({named}) AS computed",
            f"ROW({named}, {second}) AS computed",
            f"pg_typeof({named}) AS computed",
        )
    )


def aggregate(writer: Writer, root: Source) -> str:
    """One row about all."""
    clauses, there = joins(writer, root, 2)
    source = writer.source.choice(there)
    column = source.named(writer.source.choice(source.columns))
    shown = ["count(*)", f"count({column})", f"count(DISTINCT {column})"]
    found = condition(writer, root)
    if found:
        writer.mark("filter")
        shown.append(f"count(*) FILTER (WHERE {found})")
    shown += _aggregates(writer, source)
    where = conditions(writer, root)
    return Select(root, tuple(shown), tuple(clauses), tuple(where)).render()


def _aggregates(writer: Writer, source: Source) -> list[str]:
    shown: list[str] = []
    if (number := writer.column(source, "number")) and writer.likely(0.6):
        shown.append(f"sum({source.named(number)}), max({source.named(number)})")
    if (time := writer.column(source, "time")) and writer.likely(0.4):
        shown.append(f"min({source.named(time)})")
    if (flag := writer.column(source, "bool")) and writer.likely(0.4):
        shown.append(f"bool_or({source.named(flag)})")
    order = writer.key_order(source)
    if order and (text := writer.column(source, "text")) and writer.likely(0.4):
        writer.mark("aggregate:ordered")
        shown.append(f"string_agg({source.named(text)}, ',' ORDER BY {order})")
    if (sorted_by := writer.column(source, "number", "time")) and writer.likely(0.2):
        writer.mark("aggregate:within group")
        shown.append(f"percentile_disc(0.5) WITHIN GROUP (ORDER BY {source.named(sorted_by)})")
    return shown


def grouped(writer: Writer, root: Source) -> str:
    """A row for each group."""
    clauses, there = joins(writer, root, 2)
    column = root.named(writer.source.choice(root.columns))
    other = writer.source.choice(there)
    second = other.named(writer.source.choice(other.columns))
    group = writer.source.choice(
        (
            column,
            f"{column}, {second}",
            f"ROLLUP ({column}, {second})",
            f"CUBE ({column}, {second})",
            f"GROUPING SETS (({column}), ({second}), ())",
        )
    )
    writer.mark("group:" + group.partition(" ")[0] if "(" in group else "group")
    two = second in group
    shown = [column, *([second] if two else []), "count(*)", *_aggregates(writer, root)]
    if "(" in group:
        shown.append(f"grouping({column})")
    having = ""
    if writer.likely(0.3):
        writer.mark("having")
        found = condition(writer, root) if writer.likely(0.3) else None
        having = f"count(*) FILTER (WHERE {found}) > 0" if found else "count(*) > 1"
    where = conditions(writer, root, 1)
    return Select(root, tuple(shown), tuple(clauses), tuple(where), group, having).render()


def window(writer: Writer, root: Source) -> str:
    """Every row with what is said of it among the others."""
    order = writer.key_order(root)
    where = tuple(conditions(writer, root))
    shown = [*writer.some(root, 3), "count(*) OVER () AS everybody"]
    part = root.named(writer.source.choice(root.columns))
    by = root.named(writer.source.choice(root.columns))
    writer.mark("window")
    shown.append(f"rank() OVER (PARTITION BY {part} ORDER BY {by}) AS among")
    shown.append(f"dense_rank() OVER (ORDER BY {by} DESC NULLS LAST) AS place")
    if order:
        named = root.named(writer.source.choice(root.columns))
        shown.append(
            writer.source.choice(
                (
                    f"row_number() OVER (ORDER BY {order}) AS number",
                    f"lag({named}) OVER (ORDER BY {order}) AS previous",
                    f"first_value({named}) OVER (PARTITION BY {part} ORDER BY {order}) AS first",
                    f"ntile(3) OVER (ORDER BY {order}) AS third",
                    f"count(*) OVER (ORDER BY {order} ROWS 2 PRECEDING) AS near",
                )
            )
        )
    return Select(root, tuple(shown), where=where).render()


def set_operation(writer: Writer, root: Source) -> str:
    """Two or three arms over columns of one type."""
    column = writer.source.choice(root.columns)
    alike = [(n, c) for mine, n, c in writer.entry(root).likes if mine == column]
    keys = () if alike and writer.likely(0.4) else writer.entry(root).key

    def arm(source: Source, shown: str) -> str:
        columns = tuple(dict.fromkeys(source.named(c) for c in (shown, *keys)))
        return Select(source, columns, where=tuple(conditions(writer, source))).render()

    arms = [arm(root, column)]
    for _ in range(writer.source.choice((1, 1, 2))):
        name, theirs = root.relation.name, column
        if alike and not keys and writer.likely(0.7):
            name, theirs = writer.source.choice(alike)
        other = writer.reference(name)
        word = writer.source.choice(
            ("UNION", "UNION ALL", "INTERSECT", "INTERSECT ALL", "EXCEPT", "EXCEPT ALL")
        )
        writer.mark(f"set:{word}")
        arms.append(f"{word} {arm(other, theirs)}")
    return " ".join(arms)


def paged(writer: Writer, root: Source) -> str:
    """A page of rows in a total order."""
    order = writer.key_order(root)
    if not order:
        return plain(writer, root)
    where = conditions(writer, root)
    first = writer.column(root, "text", "number", "time", "float")
    if first is not None and writer.likely(0.5):
        row = writer.row(root)
        last = [row.get(c) for c in (first, *writer.entry(root).key)] if row is not None else [None]
        if writer.likely(0.4) and all(v is not None for v in last):
            writer.mark("paged:from a row")
            given = ", ".join(literal(v) for v in last)
            where.append(f"({root.named(first)}, {order}) > ({given})")
        direction = writer.source.choice(("", " DESC", " DESC NULLS LAST"))
        order = f"{root.named(first)}{direction}, {order}"
    elif writer.entry(root).operators and writer.likely(0.7):
        order = f"{_distance(writer, root)}{order}"
    writer.mark("paged")
    limit = writer.source.randrange(1, 7)
    tail = f"ORDER BY {order} LIMIT {limit}"
    if writer.likely(0.4):
        tail += f" OFFSET {writer.source.randrange(1, 3)}"
    elif writer.likely(0.1) and writer.lexicon.catalog.server_version >= 130000:
        tail = f"ORDER BY {order} FETCH FIRST {limit} ROWS WITH TIES"
    return Select(root, tuple(writer.some(root)), where=tuple(where), tail=tail).render()


def _distance(writer: Writer, root: Source) -> str:
    """How far a row is from a value that stands somewhere, by an operator of an extension."""
    measures = [(o, c) for o, c in writer.entry(root).operators if o.result in ("float4", "float8")]
    if not measures:
        return ""
    operator, column = writer.source.choice(measures)
    value = writer.quoted(root, column)
    if value is None:
        return ""
    writer.mark(f"distance:{operator.symbol}")
    return f"{root.named(column)} {operator.written} {value}, "


def ranked(writer: Writer, root: Source) -> str:
    """The best hits of a full-text search."""
    column = writer.column(root, "tsvector") or writer.column(root, "text")
    order = writer.key_order(root)
    if column is None or not order:
        return paged(writer, root)
    searched = root.named(column)
    if column not in writer.entry(root).sorts.get("tsvector", ()):
        searched = f"to_tsvector('english', {searched}::text)"
    query = websearch(writer, root)
    writer.mark("search:ranked")
    shown = [f"ts_rank({searched}, {query}) AS relevance", *writer.some(root, 2)]
    where = (f"{searched} @@ {query}", *conditions(writer, root, 1))
    tail = f"ORDER BY 1 DESC, {order} LIMIT {writer.source.randrange(1, 7)}"
    return Select(root, tuple(shown), where=where, tail=tail).render()


def first_of_each(writer: Writer, root: Source) -> str:
    """DISTINCT ON in a total order."""
    order = writer.key_order(root)
    if not order:
        return plain(writer, root)
    column = root.named(writer.source.choice(root.columns))
    writer.mark("distinct on")
    return Select(
        root,
        (column, *writer.some(root, 3)),
        where=tuple(conditions(writer, root)),
        distinct=f"DISTINCT ON ({column})",
        tail=f"ORDER BY {column}, {order}",
    ).render()


def recursive(writer: Writer, root: Source) -> str:
    """A tree walked down, where a relation refers to itself."""
    links = writer.entry(root).own_links
    if not links:
        return grouped(writer, root)
    link = writer.source.choice(links)
    other = writer.reference(root.relation.name)
    ids = [p for _, p in link.columns]
    shown = ", ".join(root.named(c) for c in ids)
    below = ", ".join(other.named(c) for c in ids)
    on = " AND ".join(f"{other.named(c)} = tree.{readable_identifier(p)}" for c, p in link.columns)
    first = conditions(writer, root, 1)
    where = f" WHERE {first[0]}" if first else ""
    writer.mark("recursive")
    return (
        f"WITH RECURSIVE tree AS (SELECT {shown} FROM {root.table}{where} UNION "
        f"SELECT {below} FROM {other.table} JOIN tree ON {on}) SELECT * FROM tree"
    )
