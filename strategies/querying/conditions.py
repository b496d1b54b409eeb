"""Conditions on one table reference, by what its columns can be asked."""

import json
import re
from collections.abc import Callable, Mapping

from tenantfuzz.policies.quoting import literal
from tenantfuzz.strategies.querying.tree import Source
from tenantfuzz.strategies.querying.writer import Writer

Maker = Callable[[Writer, Source, str], str | None]

_WORD = re.compile(r"[A-Za-z]{3,}")
_FAILING = 0.25  # share of conditions on texts and numbers that fail on some values


def conditions(writer: Writer, source: Source, most: int = 2) -> list[str]:
    """Up to so many conditions, mostly few: each may leave nothing to tell apart."""
    count = min(most, writer.source.choice((0, 0, 0, 1, 1, 1, 2)))
    found = (condition(writer, source) for _ in range(count))
    return [c for c in found if c is not None]


def condition(writer: Writer, source: Source) -> str | None:
    """One condition, or None where what was drawn cannot be asked here."""
    draw = writer.source.random()
    if draw < 0.2:
        return _related(writer, source)
    if draw < 0.25:
        return _negated(writer, source)
    entry = writer.entry(source)
    if draw < (0.5 if entry.functions else 0.35) and (entry.functions or entry.operators):
        return _function(writer, source)
    column = writer.column(source)
    if column is None:
        return None
    if draw < 0.55 and writer.likely(0.4):
        return _null(writer, source, column)
    sort = next((s for s, cs in writer.entry(source).sorts.items() if column in cs), "other")
    makers = _BY_SORT.get(sort, (_equal,))
    return writer.source.choice(makers)(writer, source, column)


# Of any column


def _null(writer: Writer, source: Source, column: str) -> str:
    writer.mark("null")
    return f"{source.named(column)} {writer.source.choice(('IS NULL', 'IS NOT NULL'))}"


def _equal(writer: Writer, source: Source, column: str) -> str | None:
    value = writer.quoted(source, column)
    if value is None:
        return None
    sign = writer.source.choice(("=", "=", "<>", "IS DISTINCT FROM"))
    writer.mark("equal")
    return f"{source.named(column)} {sign} {value}"


def _compared(writer: Writer, source: Source, column: str) -> str | None:
    value = writer.quoted(source, column)
    if value is None:
        return None
    writer.mark("compared")
    sign = writer.source.choice(("=", "<>", ">=", "<=", ">", "<"))
    return f"{source.named(column)} {sign} {value}"


def _listed(writer: Writer, source: Source, column: str) -> str | None:
    values = [v for _ in range(3) if (v := writer.quoted(source, column)) is not None]
    if not values:
        return None
    writer.mark("listed")
    word = writer.source.choice(("IN", "IN", "NOT IN"))
    return f"{source.named(column)} {word} ({', '.join(dict.fromkeys(values))})"


def _greatest(writer: Writer, source: Source, column: str) -> str:
    """Against all of its like: a scalar sub-select, or one that is compared with each row."""
    other = writer.reference(source.relation.name)
    writer.mark("subselect:scalar")
    sign = writer.source.choice(("= (SELECT max", "> (SELECT min", "<= (SELECT max"))
    if writer.likely(0.3):
        quantified = writer.source.choice((">= ALL", "= ANY", "<> ALL"))
        return (
            f"{source.named(column)} {quantified} (SELECT {other.named(column)} FROM {other.table})"
        )
    return f"{source.named(column)} {sign}({other.named(column)}) FROM {other.table})"


# Of a text


def _like(writer: Writer, source: Source, column: str) -> str:
    writer.mark("like")
    letter = writer.source.choice("aeinot")
    sign = writer.source.choice(("ILIKE", "LIKE", "NOT ILIKE"))
    return f"{source.named(column)} {sign} '%{letter}%'"


def _matched(writer: Writer, source: Source, column: str) -> str:
    writer.mark("regex")
    return f"{source.named(column)} ~* '{writer.source.choice(('[aeiou]{2}', '^[a-m]', '[0-9]+'))}'"


def _long(writer: Writer, source: Source, column: str) -> str | None:
    value = writer.value(source, column)
    writer.mark("length")
    return f"length({source.named(column)}) >= {len(value)}" if value is not None else None


def _searched(writer: Writer, source: Source, column: str) -> str:
    """Full-text search over a plain text."""
    writer.mark("search:text")
    query = websearch(writer, source)
    return f"to_tsvector('english', {source.named(column)}::text) @@ {query}"


def _cast(writer: Writer, source: Source, column: str) -> str | None:
    """A cast that fails on the values that are no numbers or dates."""
    if not writer.likely(_FAILING):
        return _compared(writer, source, column)
    writer.mark("failing:cast")
    named = source.named(column)
    cast = writer.source.choice(("::int > 0", "::date < now()", "::numeric <> 1", "::uuid IS NULL"))
    return f"({named}::text){cast}"


# Of numbers and times


def _divided(writer: Writer, source: Source, column: str) -> str | None:
    value = writer.quoted(source, column)
    if value is None or not writer.likely(_FAILING):
        return _compared(writer, source, column)
    writer.mark("failing:division")
    return f"100 / ({source.named(column)} - {value}) > 0"


def _between(writer: Writer, source: Source, column: str) -> str | None:
    one, two = writer.quoted(source, column), writer.quoted(source, column)
    writer.mark("between")
    return f"{source.named(column)} BETWEEN SYMMETRIC {one} AND {two}" if one and two else None


def _odd(writer: Writer, source: Source, column: str) -> str:
    writer.mark("arithmetic")
    return f"{source.named(column)} % 2 = {writer.source.randrange(2)}"


def _of_that_month(writer: Writer, source: Source, column: str) -> str | None:
    value = writer.quoted(source, column)
    writer.mark("date part")
    if value is None:
        return f"extract(month FROM {source.named(column)}) < 7"
    return (
        f"date_trunc('month', {source.named(column)}) = date_trunc('month', {value}::timestamptz)"
    )


def _past(writer: Writer, source: Source, column: str) -> str:
    writer.mark("now")
    return f"{source.named(column)} < now()"


def _true(writer: Writer, source: Source, column: str) -> str:
    writer.mark("boolean")
    return f"{source.named(column)} {writer.source.choice(('IS TRUE', 'IS NOT TRUE', '= false'))}"


# Of documents, texts to search, ranges and arrays


def _document(writer: Writer, source: Source, column: str) -> str | None:
    value = writer.value(source, column)
    document = json.loads(value) if value is not None else None
    named = source.named(column)
    writer.mark("jsonb")
    if isinstance(document, dict) and document:
        key = writer.source.choice(list(document))
        part = json.dumps({key: document[key]}, ensure_ascii=False)
        path = literal(f"$.{json.dumps(key, ensure_ascii=False)}")
        return writer.source.choice(
            (
                f"{named} @> {literal(part)}",
                f"{named} ? {literal(key)}",
                f"{named} ->> {literal(key)} IS NOT NULL",
                f"{named} -> {literal(key)} = {literal(json.dumps(document[key]))}",
                f"{named} @? {path}",
                f"jsonb_path_exists({named}, {path})",
            )
        )
    if value is None:
        return f"jsonb_typeof({named}) = 'object'"
    return f"{named} <@ {literal(value)}"


def _vector_of_words(writer: Writer, source: Source, column: str) -> str:
    writer.mark("search:tsvector")
    return f"{source.named(column)} @@ {websearch(writer, source)}"


def websearch(writer: Writer, source: Source) -> str:
    """A search for words that stand in some text of the relation, or for all without one."""
    columns = writer.entry(source).sorts.get("text", ())
    row = writer.row(source) or {}
    words = [w for c in columns for w in _WORD.findall(row.get(c) or "")] or ["something"]
    if writer.likely(0.3):
        sought = "-" + writer.source.choice(words)
    else:
        sought = " or ".join(dict.fromkeys(writer.source.sample(words, min(3, len(words)))))
    return f"websearch_to_tsquery('english', {literal(sought)})"


def _ranged(writer: Writer, source: Source, column: str) -> str | None:
    value = writer.quoted(source, column)
    named = source.named(column)
    writer.mark("range")
    if value is None:
        return f"NOT isempty({named})"
    sign = writer.source.choice(("&&", "@>", "<@", "<<", "&<", "-|-", "="))
    return f"{named} {sign} {value}"


def _array(writer: Writer, source: Source, column: str) -> str | None:
    value = writer.quoted(source, column)
    named = source.named(column)
    writer.mark("array")
    if value is None:
        return f"cardinality({named}) > 0"
    return f"{named} {writer.source.choice(('&&', '@>', '<@', '='))} {value}"


# Of other relations, and of what the target or an extension adds


def _related(writer: Writer, source: Source) -> str | None:
    """Whether there is, or is no, row of another relation; a key among the references of others,
    and NOT IN where NULL may be among them, too."""
    single = [k for k in writer.entry(source).links if len(k.columns) == 1]
    if single and writer.likely(0.4):
        link = writer.source.choice(single)
        down = link.parent == source.relation.name
        mine, theirs = link.columns[0][::-1] if down else link.columns[0]
        other = writer.reference(link.child if down else link.parent)
        word = writer.source.choice(("IN", "NOT IN"))
        writer.mark(f"subselect:{word}")
        further = condition(writer, other) if writer.likely(0.3) else None
        where = f" WHERE {further}" if further else ""
        return (
            f"{source.named(mine)} {word} (SELECT {other.named(theirs)} FROM {other.table}{where})"
        )
    found = writer.related(source) if writer.likely(0.8) else writer.alike(source)
    if found is None:
        return None
    other, on = found
    if writer.likely(0.25):
        writer.mark("subselect:count")
        sign = writer.source.choice(("= 0", "> 1"))
        return f"(SELECT count(*) FROM {other.table} WHERE {on}) {sign}"
    word = writer.source.choice(("EXISTS", "NOT EXISTS"))
    further = condition(writer, other) if writer.likely(0.3) else None
    writer.mark(f"subselect:{word}")
    return f"{word} (SELECT FROM {other.table} WHERE {on}{f' AND {further}' if further else ''})"


def _negated(writer: Writer, source: Source) -> str | None:
    one, two = condition(writer, source), condition(writer, source)
    if one is None or two is None:
        return one or two
    writer.mark("boolean:or")
    return writer.source.choice((f"({one} OR {two})", f"NOT ({one})", f"NOT ({one} AND {two})"))


def _function(writer: Writer, source: Source) -> str | None:
    """An operator of an extension or of the target, or a function of the target's."""
    entry = writer.entry(source)
    if entry.functions and writer.likely(0.5):
        called, column = writer.source.choice(entry.functions)
        writer.mark(f"function:{called}({column})")
        given = source.named(column) if column else source.alias
        return f"{called}({given}) IS NOT NULL"
    if not entry.operators:
        return None
    operator, column = writer.source.choice(entry.operators)
    value = writer.quoted(source, column)
    if value is None:
        return None
    writer.mark(f"operator:{operator.symbol}")
    applied = f"{source.named(column)} {operator.written} {value}"
    return applied if operator.result == "bool" else f"({applied}) IS NOT NULL"


_BY_SORT: Mapping[str, tuple[Maker, ...]] = {
    "text": (_equal, _compared, _listed, _like, _matched, _long, _searched, _cast, _greatest),
    "number": (_equal, _compared, _between, _odd, _divided, _greatest),
    "float": (_compared, _between),
    "time": (_compared, _between, _of_that_month, _past, _greatest),
    "bool": (_true,),
    "uuid": (_equal, _listed),
    "enum": (_equal, _compared, _listed),
    "jsonb": (_document,),
    "tsvector": (_vector_of_words,),
    "range": (_ranged,),
    "multirange": (_ranged,),
    "array": (_array,),
}
