"""The tree of a query, and the query that it becomes."""

from dataclasses import dataclass

from tenantfuzz.policies.quoting import qualified, readable_identifier
from tenantfuzz.policies.structure import Relation, RelationName
from tenantfuzz.strategies.scripting import script


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
    """The tree of one SELECT. ``joins`` are whole join clauses, ``sample`` what TABLESAMPLE says,
    ``tail`` what follows the last clause (order, limit, locking)."""

    root: Source
    shown: tuple[str, ...]
    joins: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    group: str = ""
    having: str = ""
    tail: str = ""
    distinct: str = ""
    sample: str = ""

    def render(self) -> str:
        """The SQL text."""
        words = ["SELECT", self.distinct, ", ".join(self.shown), "FROM", self.root.table]
        words += [f"TABLESAMPLE {self.sample}" if self.sample else "", *self.joins]
        words.append("WHERE " + " AND ".join(self.where) if self.where else "")
        words.append(f"GROUP BY {self.group}" if self.group else "")
        words.append(f"HAVING {self.having}" if self.having else "")
        return " ".join(w for w in [*words, self.tail] if w)


@dataclass(frozen=True, slots=True)
class Query:
    """A query with the relations that it reads, the first of which is its root.

    ``features`` name what it is made of. ``chance``: the order in which rows are stored, the
    plan or chance itself has a say in the answer, or further policies than those for SELECT do; it
    is no question of equality then, and only what it shows can be judged.
    """

    sql: str
    relations: tuple[RelationName, ...]
    features: tuple[str, ...] = ()
    chance: bool = False

    def planned(self, settings: tuple[str, ...]) -> str:
        """The same as a statement that says itself how it is to be planned."""
        return script(*[f"SET LOCAL {s}" for s in settings], self.sql) if settings else self.sql
