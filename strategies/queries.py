"""Queries: SELECTs over the catalog as a small tree that renders to SQL.

Whatever can be written must give the same answer where the rows hidden from its principal are gone.
So a query is made of what answers alike whenever it sees the same rows: no order that is not total,
no float sums, nothing volatile.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tenantfuzz.policies.model import Model
from tenantfuzz.policies.quoting import literal, qualified, readable_identifier
from tenantfuzz.policies.structure import Catalog, ForeignKey, Relation, RelationName
from tenantfuzz.strategies.scene import Rows

_JOINS = ("JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN")
_TEXTS = ("text", "varchar", "citext")
_NO_EQUALITY = ("json", "xml", "point", "polygon", "path", "line", "geometry")
_MOST_JOINS = 2
_MOST_CONDITIONS = 2


@dataclass(frozen=True, slots=True)
class Source:
    """One table reference: the relation, its alias, the columns that may be named."""

    relation: Relation
    alias: str
    columns: tuple[str, ...]

    def named(self, column: str) -> str:
        """The column with the alias before it."""
        return f"{self.alias}.{readable_identifier(column)}"

    @property
    def table(self) -> str:
        """The reference as FROM has it."""
        return f"{qualified(self.relation.name)} AS {self.alias}"


@dataclass(frozen=True, slots=True)
class Select:
    """The tree of one SELECT. ``joins`` are pairs of a kind and what follows it."""

    root: Source
    shown: tuple[str, ...]
    joins: tuple[tuple[str, str], ...] = ()
    where: tuple[str, ...] = ()
    group: tuple[str, ...] = ()
    having: str = ""
    tail: str = ""
    distinct: bool = False
    sampled: bool = False

    def render(self) -> str:
        """The SQL text."""
        words = ["SELECT DISTINCT" if self.distinct else "SELECT", ", ".join(self.shown)]
        words += ["FROM", self.root.table]
        if self.sampled:
            words.append("TABLESAMPLE BERNOULLI (100)")
        words += [f"{kind} {rest}" for kind, rest in self.joins]
        if self.where:
            words += ["WHERE", " AND ".join(self.where)]
        if self.group:
            words += ["GROUP BY", ", ".join(self.group)]
        if self.having:
            words += ["HAVING", self.having]
        return " ".join([*words, self.tail]).rstrip()


@dataclass(frozen=True, slots=True)
class Query:
    """A query with the relations that it reads; the first is its root."""

    sql: str
    relations: tuple[RelationName, ...]


class QueryMaker:
    """Makes queries of what one role may read.

    ``readable`` maps each relation to its columns that the role may select; ``rows`` are those that
    stand there, of all tenants: an attacker guesses right. ``source`` decides everything.
    """

    def __init__(
        self,
        catalog: Catalog,
        model: Model,
        readable: Mapping[RelationName, tuple[str, ...]],
        rows: Mapping[RelationName, Rows],
        source: random.Random,
    ) -> None:
        self._catalog = catalog
        self._model = model
        self._readable = {
            name: named
            for name, columns in readable.items()
            if (named := self._comparable(catalog.relations[name], columns))
        }
        self._rows = rows
        self._source = source
        self._aliases = 0
        self._used: dict[RelationName, None] = {}
        self._children: dict[RelationName, list[tuple[RelationName, ForeignKey]]] = {}
        for name in self._readable:
            for key in model.foreign_keys(catalog, name):
                self._children.setdefault(key.target, []).append((name, key))

    def queries(self, count: int) -> list[Query]:
        """So many queries; fewer where there is nothing to read."""
        names = list(self._readable)
        return [self._query(self._source.choice(names)) for _ in range(count)] if names else []

    def _comparable(self, relation: Relation, columns: Sequence[str]) -> tuple[str, ...]:
        return tuple(
            c for c in columns if (k := relation.column(c)) and k.type.base not in _NO_EQUALITY
        )

    # Whole queries

    def _query(self, name: RelationName) -> Query:
        self._aliases, self._used = 0, {}
        root = self._reference(name)
        makers: tuple[Callable[[Source], str], ...] = (
            self._plain,
            self._plain,
            self._aggregate,
            self._grouped,
            self._window,
            self._nested,
            self._set_operation,
            self._paged,
            self._recursive,
        )
        sql = self._source.choice(makers)(root)
        if self._source.random() < 0.25:
            how = self._source.choice(("", "MATERIALIZED ", "NOT MATERIALIZED "))
            sql = sql if sql.startswith("WITH") else f"WITH q AS {how}({sql}) SELECT * FROM q"
        return Query(sql, tuple(self._used))

    def _select(self, root: Source, shown: Sequence[str], **more: object) -> Select:
        joins = tuple(self._joins(root))
        some = tuple(self._conditions(root))
        sampled = self._source.random() < 0.1 and not self._parted(root.relation)
        return Select(root, tuple(shown), joins, some, sampled=sampled, **more)  # type: ignore[arg-type]  # fields of Select by name

    def _parted(self, relation: Relation) -> bool:
        return bool(relation.partition_key)

    def _plain(self, root: Source) -> str:
        shown = self._some(root)
        if self._source.random() < 0.4 and (counted := self._child_count(root)):
            shown.append(f"({counted}) AS counted")
        return self._select(root, shown, distinct=self._source.random() < 0.2).render()

    def _aggregate(self, root: Source) -> str:
        column = root.named(self._source.choice(root.columns))
        shown = ["count(*)", f"count({column})", f"count(DISTINCT {column})"]
        condition = self._condition(root)
        if condition:
            shown.append(f"count(*) FILTER (WHERE {condition})")
        return self._select(root, shown).render()

    def _grouped(self, root: Source) -> str:
        column = root.named(self._source.choice(root.columns))
        group = self._source.choice(
            (column, f"ROLLUP ({column})", f"GROUPING SETS (({column}), ())")
        )
        having = "count(*) > 1" if self._source.random() < 0.3 else ""
        shown = [column, "count(*)"]
        return self._select(root, shown, group=(group,), having=having).render()

    def _window(self, root: Source) -> str:
        order = self._key_order(root)
        shown = [*self._some(root), "count(*) OVER () AS everybody"]
        select = Select(root, tuple(shown), where=tuple(self._conditions(root)))
        if order is None:
            return select.render()
        ranked = (*shown, f"row_number() OVER (ORDER BY {order}) AS place")
        return Select(root, ranked, where=select.where).render()

    def _nested(self, root: Source) -> str:
        """Rows with their related rows as JSON, as relational queries of ORMs have them."""
        order = self._key_order(root)
        if order is None:
            return self._plain(root)
        related = self._child(root)
        shown = [root.named(c) for c in root.columns[:3]]
        if related is not None:
            child, condition = related
            child_order = self._key_order(child)
            if child_order is not None:
                fields = ", ".join(f"{literal(c)}, {child.named(c)}" for c in child.columns[:3])
                shown.append(
                    f"(SELECT coalesce(json_agg(json_build_object({fields}) ORDER BY {child_order})"
                    f", '[]') FROM {child.table} WHERE {condition}) AS related"
                )
        return Select(root, tuple(shown), where=tuple(self._conditions(root))).render()

    def _set_operation(self, root: Source) -> str:
        column = self._source.choice(root.columns)
        other = self._reference(root.relation.name)
        word = self._source.choice(("UNION", "UNION ALL", "INTERSECT", "EXCEPT", "EXCEPT ALL"))
        one = Select(root, (root.named(column),), where=tuple(self._conditions(root)))
        two = Select(other, (other.named(column),), where=tuple(self._conditions(other)))
        return f"{one.render()} {word} {two.render()}"

    def _paged(self, root: Source) -> str:
        order = self._key_order(root)
        if order is None:
            return self._plain(root)
        tail = f"ORDER BY {order} LIMIT {self._source.randrange(1, 4)}"
        tail += f" OFFSET {self._source.randrange(3)}" if self._source.random() < 0.5 else ""
        where = tuple(self._conditions(root))
        return Select(root, tuple(self._some(root)), where=where, tail=tail).render()

    def _recursive(self, root: Source) -> str:
        """A tree walked down, where a relation refers to itself."""
        key = next(
            (
                k
                for k in self._model.foreign_keys(self._catalog, root.relation.name)
                if k.target == root.relation.name and self._joinable(k, root.relation.name)
            ),
            None,
        )
        if key is None:
            return self._plain(root)
        other = self._reference(root.relation.name)
        ids = [c for c in key.target_columns if c in root.columns]
        shown = ", ".join(root.named(c) for c in ids)
        below = ", ".join(other.named(c) for c in ids)
        on = " AND ".join(
            f"{other.named(c)} = tree.{readable_identifier(t)}"
            for c, t in zip(key.columns, key.target_columns, strict=True)
        )
        return (
            f"WITH RECURSIVE tree AS (SELECT {shown} FROM {root.table} UNION "
            f"SELECT {below} FROM {other.table} JOIN tree ON {on}) SELECT * FROM tree"
        )

    # Parts

    def _reference(self, name: RelationName) -> Source:
        self._aliases += 1
        self._used.setdefault(name)
        return Source(self._catalog.relations[name], f"t{self._aliases}", self._readable[name])

    def _some(self, root: Source) -> list[str]:
        count = self._source.randrange(1, min(4, len(root.columns)) + 1)
        return [root.named(c) for c in self._source.sample(root.columns, count)]

    def _key_order(self, source: Source) -> str | None:
        key = source.relation.primary_key
        if key is None or not set(key.columns) <= set(source.columns):
            return None
        return ", ".join(source.named(c) for c in key.columns)

    def _joins(self, root: Source) -> list[tuple[str, str]]:
        joins: list[tuple[str, str]] = []
        for _ in range(self._source.randrange(_MOST_JOINS + 1)):
            related = self._related(root)
            if related is None:
                break
            other, on = related
            kind = self._source.choice((*_JOINS, "CROSS JOIN LATERAL"))
            if kind == "CROSS JOIN LATERAL":
                inner = f"(SELECT count(*) AS n FROM {other.table} WHERE {on}) AS n{other.alias}"
                joins.append((kind, inner))
            else:
                joins.append((kind, f"{other.table} ON {on}"))
        return joins

    def _related(self, root: Source) -> tuple[Source, str] | None:
        """A relation that a foreign key ties to the root, either way, with the condition."""
        parents = [
            k
            for k in self._model.foreign_keys(self._catalog, root.relation.name)
            if k.target in self._readable and self._joinable(k, root.relation.name)
        ]
        if parents and self._source.random() < 0.5:
            key = self._source.choice(parents)
            other = self._reference(key.target)
            return other, self._pairs(root, other, key)
        return self._child(root)

    def _child(self, root: Source) -> tuple[Source, str] | None:
        found = [
            (n, k) for n, k in self._children.get(root.relation.name, ()) if self._joinable(k, n)
        ]
        if not found:
            return None
        name, key = self._source.choice(found)
        other = self._reference(name)
        return other, self._pairs(other, root, key)

    def _joinable(self, key: ForeignKey, owner: RelationName) -> bool:
        return set(key.columns) <= set(self._readable.get(owner, ())) and set(
            key.target_columns
        ) <= set(self._readable.get(key.target, ()))

    def _pairs(self, child: Source, parent: Source, key: ForeignKey) -> str:
        return " AND ".join(
            f"{child.named(c)} = {parent.named(t)}"
            for c, t in zip(key.columns, key.target_columns, strict=True)
        )

    def _child_count(self, root: Source) -> str | None:
        related = self._child(root)
        if related is None:
            return None
        child, condition = related
        return f"SELECT count(*) FROM {child.table} WHERE {condition}"

    def _conditions(self, root: Source) -> list[str]:
        made = (self._condition(root) for _ in range(self._source.randrange(_MOST_CONDITIONS + 1)))
        return [c for c in made if c is not None]

    def _condition(self, root: Source) -> str | None:
        makers: tuple[Callable[[Source], str | None], ...] = (
            self._compared,
            self._compared,
            self._null,
            self._like,
            self._exists,
            self._in,
        )
        return self._source.choice(makers)(root)

    def _compared(self, root: Source) -> str | None:
        """A column against a value that some row has, whoever owns it."""
        rows = self._rows.get(root.relation.name, {})
        if not rows:
            return None
        row = rows[self._source.choice(list(rows))]
        column = self._source.choice(root.columns)
        value = row.get(column)
        if value is None:
            return None
        sign = self._source.choice(("=", "=", "<>", ">=", "<="))
        known = root.relation.column(column)
        if known is not None and known.type.base in ("jsonb", "vector", "tsvector"):
            sign = "="
        return f"{root.named(column)} {sign} {literal(value)}"

    def _null(self, root: Source) -> str:
        sign = self._source.choice(("IS NULL", "IS NOT NULL"))
        return f"{root.named(self._source.choice(root.columns))} {sign}"

    def _like(self, root: Source) -> str | None:
        texts = [c for c in root.columns if self._is_text(root, c)]
        if not texts:
            return None
        letter = self._source.choice("aeinot")
        return f"{root.named(self._source.choice(texts))} ILIKE '%{letter}%'"

    def _is_text(self, root: Source, name: str) -> bool:
        column = root.relation.column(name)
        return column is not None and column.type.base in _TEXTS

    def _exists(self, root: Source) -> str | None:
        related = self._related(root)
        if related is None:
            return None
        other, on = related
        word = self._source.choice(("EXISTS", "NOT EXISTS"))
        return f"{word} (SELECT FROM {other.table} WHERE {on})"

    def _in(self, root: Source) -> str | None:
        """A key among the references of others; NOT IN where NULL may be among them, too."""
        found = [
            (n, k)
            for n, k in self._children.get(root.relation.name, ())
            if len(k.columns) == 1 and self._joinable(k, n)
        ]
        if not found:
            return None
        name, key = self._source.choice(found)
        other = self._reference(name)
        word = self._source.choice(("IN", "NOT IN"))
        inner = f"SELECT {other.named(key.columns[0])} FROM {other.table}"
        return f"{root.named(key.target_columns[0])} {word} ({inner})"
