"""Lookup: the names of a configuration found in the catalog, each miss kept as a problem."""

from collections.abc import Iterable

from tenantfuzz.policies.structure import Catalog, Relation
from tenantfuzz.policies.suggestions import did_you_mean, existing


class Lookup:
    """Finds relations, columns and roles. A name that does not exist adds to ``problems`` what was
    meant by it and what there is, and is answered with None or False: resolution goes on, so that
    everything that is wrong is said at once."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.problems: list[str] = []

    def problem(self, where: str, message: str) -> None:
        """Keeps one problem: the place in the file, then what is wrong there."""
        self.problems.append(f"{where}: {message}")

    def relation(self, text: str, where: str) -> Relation | None:
        """The relation that the file means by ``text``."""
        if (found := self.catalog.find(text)) is not None:
            return self.catalog.relations[found]
        names = sorted(self.catalog.relations)
        homonyms = [str(name) for name in names if name.name == text]
        if len(homonyms) > 1:
            self.problems.append(
                f"table '{text}' in {where} is in several schemas: write {' or '.join(homonyms)}"
            )
            return None
        self._unknown("table", text, where, self._tables_first())
        return None

    def column(self, relation: Relation, column: str, where: str) -> bool:
        """Whether the relation has that column."""
        if relation.column(column) is not None:
            return True
        known = [c.name for c in relation.columns]
        self._unknown("column", column, f"{where}: {relation.name} has none", known)
        return False

    def role(self, name: str, where: str) -> bool:
        """Whether the cluster has that role."""
        if name in self.catalog.roles:
            return True
        own = sorted(r for r in self.catalog.roles if not r.startswith("pg_"))
        self._unknown("role", name, where, own)
        return False

    def word(self, what: str, word: str, where: str, known: Iterable[str]) -> bool:
        """Whether ``word`` is among the known ones; ``what`` says what it would be."""
        words = list(known)
        if word in words:
            return True
        self._unknown(what, word, where, words)
        return False

    def root(self, relation: Relation) -> Relation:
        """The relation at the top of a partition tree or of an inheritance tree."""
        while relation.parent is not None and relation.parent in self.catalog.relations:
            relation = self.catalog.relations[relation.parent]
        return relation

    def _tables_first(self) -> list[str]:
        relations = self.catalog.relations
        names = sorted(relations, key=lambda name: (relations[name].is_partition, name))
        return [str(name) for name in names]

    def _unknown(self, what: str, word: str, where: str, known: list[str]) -> None:
        near = did_you_mean(word, known)
        there_are = existing(known, nearest_to=word)
        separator = "" if near else ";"
        self.problems.append(
            f"unknown {what} '{word}' in {where}{near}{separator} existing: {there_are}"
        )


def single_key(relation: Relation) -> str | None:
    """The column of a primary key that has only one; else None."""
    key = relation.primary_key
    return key.columns[0] if key is not None and len(key.columns) == 1 else None
