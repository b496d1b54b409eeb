"""The writer: what all makers of queries share: chance, aliases, values, joins."""

import random
from collections.abc import Mapping, Sequence

from tenantfuzz.policies.predictions import Key
from tenantfuzz.policies.quoting import literal
from tenantfuzz.policies.structure import RelationName
from tenantfuzz.policies.world import Values
from tenantfuzz.strategies.querying.lexicon import Entry, Lexicon, Link
from tenantfuzz.strategies.querying.tree import Source
from tenantfuzz.strategies.scene import Rows

_AIMED = 0.75  # share of values that stand in rows which the principal must not see


class Writer:
    """Writes the parts of one query after another.

    ``rows`` are those that stand in the world, of all tenants, ``aims`` the keys of those that are
    hidden from the principal and not of its own tenants: an attacker guesses right. ``source``
    decides everything.
    """

    def __init__(
        self,
        lexicon: Lexicon,
        rows: Mapping[RelationName, Rows],
        aims: Mapping[RelationName, Sequence[Key]],
        source: random.Random,
    ) -> None:
        self.lexicon = lexicon
        self.rows = rows
        self.aims = aims
        self.source = source
        self._aliases = 0
        self.used: dict[RelationName, None] = {}
        self.features: dict[str, None] = {}
        self.chance = False

    def begin(self) -> None:
        """A new query."""
        self._aliases, self.used, self.features, self.chance = 0, {}, {}, False

    def mark(self, feature: str) -> None:
        """Notes what the query is made of."""
        self.features.setdefault(feature)

    def likely(self, share: float) -> bool:
        """True in that share of cases."""
        return self.source.random() < share

    # Tables

    def alias(self) -> str:
        """A new alias."""
        self._aliases += 1
        return f"t{self._aliases}"

    def reference(self, name: RelationName) -> Source:
        """A new reference to that relation."""
        self.used.setdefault(name)
        entry = self.lexicon.entries[name]
        return Source(entry.relation, self.alias(), entry.columns)

    def entry(self, source: Source) -> Entry:
        """What may be asked of the relation behind a reference."""
        return self.lexicon.entries[source.relation.name]

    def column(self, source: Source, *sorts: str) -> str | None:
        """One of its columns, of one of these sorts; the bare name."""
        found = self.entry(source).sorts
        named = [c for s in sorts for c in found.get(s, ())] if sorts else source.columns
        return self.source.choice(named) if named else None

    def some(self, source: Source, most: int = 4) -> list[str]:
        """A few of its columns, with the alias."""
        count = self.source.randrange(1, min(most, len(source.columns)) + 1)
        return [source.named(c) for c in self.source.sample(source.columns, count)]

    def key_order(self, source: Source) -> str:
        """Its key columns as a total order; "" where there is none."""
        return ", ".join(source.named(c) for c in self.entry(source).key)

    # Joins

    def related(self, source: Source) -> tuple[Source, str] | None:
        """A relation that a foreign key ties to this one, either way, and the condition."""
        links = self.entry(source).links
        if not links:
            return None
        link = self.source.choice(links)
        if link.child == source.relation.name and (link.parent != link.child or self.likely(0.5)):
            other = self.reference(link.parent)
            return other, self.tied(source, other, link)
        other = self.reference(link.child)
        return other, self.tied(other, source, link)

    def child(self, source: Source) -> tuple[Source, str] | None:
        """A relation that refers to this one, and the condition."""
        links = [k for k in self.entry(source).links if k.parent == source.relation.name]
        if not links:
            return None
        link = self.source.choice(links)
        other = self.reference(link.child)
        return other, self.tied(other, source, link)

    def alike(self, source: Source) -> tuple[Source, str] | None:
        """A relation with a column of the same type, tied by nothing but that."""
        likes = self.entry(source).likes
        if not likes:
            return None
        column, name, theirs = self.source.choice(likes)
        other = self.reference(name)
        return other, f"{source.named(column)} = {other.named(theirs)}"

    def tied(self, child: Source, parent: Source, link: Link) -> str:
        """The condition that joins along a foreign key."""
        return " AND ".join(f"{child.named(c)} = {parent.named(p)}" for c, p in link.columns)

    # Values

    def row(self, source: Source) -> Values | None:
        """A row that stands in the relation, mostly one that is hidden; None where it is empty."""
        name = source.relation.name
        rows = self.rows.get(name, {})
        if not rows:
            return None
        aims = self.aims.get(name, ())
        if aims and self.likely(_AIMED):
            found = rows.get(self.source.choice(aims))
            if found is not None:
                return found
        return rows[self.source.choice(list(rows))]

    def value(self, source: Source, column: str) -> str | None:
        """A value that stands in that column; None where the row drawn has none."""
        row = self.row(source)
        return row.get(column) if row is not None else None

    def quoted(self, source: Source, column: str) -> str | None:
        """The same as a literal."""
        value = self.value(source, column)
        return literal(value) if value is not None else None
