"""Existence: constraint errors do not tell that hidden data exist."""

from collections.abc import Iterator
from dataclasses import dataclass

from tenantfuzz.oracles.violation import Violation
from tenantfuzz.policies.model import Model
from tenantfuzz.policies.structure import Catalog, Column, Relation, Unique
from tenantfuzz.results import Outcome

_CODES = {"23505": "TF301", "23503": "TF302", "23P01": "TF303"}
_SURROGATE_DEFAULTS = ("nextval(", "gen_random_uuid", "uuid_generate", "uuidv7", "uuidv4")


@dataclass(frozen=True, slots=True)
class Existence:
    """Judges how a write ends in the world and in its cut."""

    catalog: Catalog
    model: Model

    def telling(self, operation: str, outcome: Outcome) -> bool:
        """Whether the way it ended could tell of hidden rows at all."""
        if outcome.failure is not None:
            return outcome.failure.sqlstate in _CODES
        return operation == "insert" and outcome.affected == 0

    def hinges_on_parents(self, relation: Relation) -> bool:
        """Whether a write may succeed only because a row with a natural key exists."""
        return any(
            is_natural(self.catalog.relations[fk.target], column)
            for fk in relation.foreign_keys
            for column in (self.catalog.relations[fk.target].column(c) for c in fk.target_columns)
            if column is not None
        )

    def judge(
        self, relation: Relation, operation: str, here: Outcome, there: Outcome
    ) -> Iterator[Violation]:
        """A violation if a constraint was broken in one of the two worlds only, by a natural key.

        What a surrogate key decides (uuid, identity, serial) is no finding: it cannot be guessed
        or means nothing.
        """
        failure = here.failure or there.failure
        if failure is None:
            yield from self._skipped(relation, operation, here, there)
            return
        if (here.failure is None) == (there.failure is None):
            return
        code = _CODES.get(failure.sqlstate)
        if code is None:
            return
        constraint = self._constraint(relation, failure.texts)
        if constraint is None or not self._natural(relation, constraint, code):
            return
        ended = {True: "is refused", False: "succeeds"}
        yield Violation(
            code=code,
            relation=relation.name,
            operation=operation,
            expected="it ends the same whether or not the hidden row exists",
            observed=f"it {ended[here.failure is not None]} ({failure.sqlstate}, {constraint}), "
            f"and {ended[there.failure is not None]} once the hidden rows are gone",
            culprits=(constraint,),
        )

    def _skipped(
        self, relation: Relation, operation: str, here: Outcome, there: Outcome
    ) -> Iterator[Violation]:
        """ON CONFLICT DO NOTHING: fewer rows inserted because a hidden one stands in the way."""
        if operation != "insert" or here.affected >= there.affected:
            return
        natural = [u.name for u in relation.uniques if has_natural_key(relation, u)]
        if natural:
            yield Violation(
                code="TF301",
                relation=relation.name,
                operation=operation,
                expected="it inserts the same whether or not the hidden row exists",
                observed=f"{here.tag}, and {there.tag} once the hidden rows are gone",
                culprits=(natural[0],),
            )

    def _constraint(self, relation: Relation, text: str) -> str | None:
        names = [u.name for u in relation.uniques]
        names += [fk.name for r in self.catalog.relations.values() for fk in r.foreign_keys]
        names += [e.name for e in relation.exclusions]
        hits = [n for n in names if f'"{n}"' in text]
        return max(hits, key=len, default=None)

    def _natural(self, relation: Relation, constraint: str, code: str) -> bool:
        if code == "TF303":
            return True
        if code == "TF302":
            for fk in relation.foreign_keys:
                if fk.name == constraint:
                    target = self.catalog.relations[fk.target]
                    named = (target.column(c) for c in fk.target_columns)
                    return any(c is not None and is_natural(target, c) for c in named)
            return False
        unique = next((u for u in relation.uniques if u.name == constraint), None)
        return unique is not None and has_natural_key(relation, unique)


def has_natural_key(relation: Relation, unique: Unique) -> bool:
    """Whether a unique key says something about the world: it has a column, or an expression
    over one, that is neither a surrogate nor a reference."""
    columns = (*unique.columns, *unique.expression_columns)
    found = [relation.column(c) for c in columns]
    return any(c is not None and is_natural(relation, c) for c in found)


def is_natural(relation: Relation, column: Column) -> bool:
    """Whether a column's values can be guessed and mean something outside the database."""
    if column.identity or column.type.base == "uuid":
        return False
    if any(word in (column.default or "") for word in _SURROGATE_DEFAULTS):
        return False
    if any(column.name in fk.columns for fk in relation.foreign_keys):
        return False
    key = relation.primary_key
    lone_key = key is not None and key.primary and key.columns == (column.name,)
    if lone_key and (column.type.base in ("int2", "int4", "int8") or is_id(column.name)):
        return False
    composite_part = key is not None and key.primary and column.name in key.columns
    return not (composite_part and is_id(column.name))


def is_id(name: str) -> bool:
    """Whether a column's name says that it identifies and nothing else: id, issue_id, uid."""
    lowered = name.lower()
    return lowered in ("id", "uid", "uuid", "key_id") or lowered.endswith("_id")
