"""Shrinking: the smallest world that still shows a finding, found by Hypothesis.

A witness is reduced over what stands in it: every row may go (with all rows that refer to it),
and every row may lose the values that it need not have. Coarse
steps go first; then Hypothesis draws what becomes of each row, and shrinks toward everything gone:
what is left is what the leak needs.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import monotonic

from hypothesis import HealthCheck, Phase, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from tenantfuzz.counterexample import Witness
from tenantfuzz.findings import Finding
from tenantfuzz.linked_rows import LinkedRows
from tenantfuzz.policies.model import Model, OwnershipKind
from tenantfuzz.policies.predictions import Key
from tenantfuzz.policies.structure import Catalog, ForeignKey, Relation, RelationName
from tenantfuzz.policies.world import Fixup, Row, World
from tenantfuzz.simpler_queries import with_simpler_query
from tenantfuzz.stage import Stage
from tenantfuzz.strategies.influence import influential_relations
from tenantfuzz.trial import NEED_CUTS, Trial

_OF_USERS = (OwnershipKind.USER, OwnershipKind.MEMBERS)
_FEW = 12  # rows that need no coarse steps first
# What is drawn for a row: it goes, it keeps only what it must have, it stays as it is. Nearly all
# random draws keep it, so that Hypothesis starts near the whole.
_GONE, _BARE, _FULL, _WHOLE = 0, 1, 2, 511


class _OutOfTime(BaseException):
    """Ends a search; no Exception, so that Hypothesis does not take it for a result."""


@dataclass(frozen=True, slots=True)
class Shrunk:
    """A witness and its finding; ``minimal`` if no single row can be left out any more."""

    finding: Finding
    witness: Witness
    minimal: bool


class Shrinker:
    """Makes witnesses minimal on one target, within a budget of seconds for each."""

    def __init__(self, trial: Trial, catalog: Catalog, model: Model, *, seed: int) -> None:
        self._trial = trial
        self._catalog = catalog
        self._model = model
        self._seed = seed
        self._influential = influential_relations(catalog)

    def shrink(
        self, stage: Stage, finding: Finding, witness: Witness, *, seconds: float
    ) -> Shrunk | None:
        """The smallest witness found in time; None if the finding does not show again at all."""
        deadline = monotonic() + seconds
        best = self._first(stage, finding, witness)
        if best is None:
            return None
        best = self._plainer(stage, best, monotonic() + seconds / 2)
        best = self._by_relation(stage, best, deadline)
        best = self._unlinked(stage, best, deadline)
        best = self._one_by_one(stage, best, deadline)
        smaller = self._by_hypothesis(stage, best, deadline)
        if len(smaller.witness.world.rows) < len(best.witness.world.rows):
            return self._one_by_one(stage, smaller, deadline)
        finding = replace(smaller.finding, minimal=best.minimal)
        return replace(smaller, finding=finding, minimal=best.minimal)

    def _plainer(self, stage: Stage, best: Shrunk, deadline: float) -> Shrunk:
        """The last statement without what the finding does not need."""
        finding, witness = with_simpler_query(
            self._trial, stage, best.finding, best.witness, deadline=deadline
        )
        return replace(best, finding=finding, witness=witness)

    # A good start

    def _first(self, stage: Stage, finding: Finding, witness: Witness) -> Shrunk | None:
        """The witness itself, or already the part of it that its statements speak of."""
        verdict = self._trial.verdict(stage, witness, cuts=finding.code in NEED_CUTS)
        leaked = {} if isinstance(verdict, str) else verdict.leaked
        where = leaked.get(finding.fingerprint)
        for world in (
            self._kernel(witness, where, policies=False),
            self._kernel(witness, where, policies=True),
            self._two_tenants(witness),
            witness.world,
        ):
            if world is None:
                continue
            smaller = replace(witness, world=world)
            found = self._trial.shows(stage, smaller, finding)
            if found is not None:
                return Shrunk(found, smaller, minimal=False)
        return None

    def _kernel(
        self,
        witness: Witness,
        leaked: tuple[RelationName, frozenset[Key]] | None,
        *,
        policies: bool,
    ) -> World | None:
        """One row that leaked, the rows that the statements name, those of the principal, and all
        that they refer to; with ``policies`` also what policies read of those tenants."""
        rows = witness.world.rows
        principal = witness.principal
        words = " ".join(s.sql for s in witness.steps)
        chosen: set[int] = set()
        for index, row in enumerate(rows):
            key = self._key(row)
            named = bool(key) and all(v is not None and f"'{v}'" in words for v in key or ())
            mine = principal.user is not None and principal.user in row.values.values()
            about = row.relation in (self._model.users, self._members()) and mine
            if named or about:
                chosen.add(index)
        chosen |= self._leaked_row(rows, leaked)
        tenants = {*principal.all_tenants, principal.tenant}
        chosen |= {
            i
            for i, r in enumerate(rows)
            if r.relation == self._model.tenants
            and r.values.get(self._model.tenant_key or "") in tenants
        }
        chosen = self._with_parents(rows, chosen)
        if policies:
            present = {rows[i].tenant for i in chosen} | tenants
            chosen |= {
                i
                for i, r in enumerate(rows)
                if r.relation in self._influential and r.tenant in present
            }
            chosen = self._with_parents(rows, chosen)
        return self._part(witness.world, chosen)

    def _leaked_row(
        self, rows: Sequence[Row], leaked: tuple[RelationName, frozenset[Key]] | None
    ) -> set[int]:
        if leaked is None:
            return set()
        relation, keys = leaked
        hits = [
            i
            for i, r in enumerate(rows)
            if r.relation == relation and json.dumps(self._key(r), ensure_ascii=False) in keys
        ]
        owned = [i for i in hits if rows[i].tenant is not None]
        return set((owned or hits)[:1])

    def _members(self) -> RelationName | None:
        memberships = self._model.memberships
        return memberships.relation if memberships is not None else None

    def _two_tenants(self, witness: Witness) -> World | None:
        """Without the rows of all tenants but the principal's and one more."""
        own = witness.principal.all_tenants
        others = [t for t in witness.world.tenants if t not in own]
        keep = {*own, *others[:1], None}
        rows = witness.world.rows
        chosen = {i for i, r in enumerate(rows) if r.tenant in keep}
        return self._part(witness.world, self._with_parents(rows, chosen))

    def _by_relation(self, stage: Stage, best: Shrunk, deadline: float) -> Shrunk:
        """Drops whole relations, last first: most have nothing to do with it."""
        if len(best.witness.world.rows) <= _FEW:
            return best
        for relation in reversed(list(dict.fromkeys(r.relation for r in best.witness.world.rows))):
            if monotonic() > deadline:
                break
            rows = best.witness.world.rows
            gone = {i for i, r in enumerate(rows) if r.relation == relation}
            gone = self._with_children(rows, gone)
            left = [r for i, r in enumerate(rows) if i not in gone]
            smaller = replace(best.witness, world=self._rebuilt(best.witness.world, left))
            found = self._trial.shows(stage, smaller, best.finding)
            if found is not None:
                best = Shrunk(found, smaller, minimal=False)
        return best

    def _unlinked(self, stage: Stage, best: Shrunk, deadline: float) -> Shrunk:
        """Takes references away that may be NULL, all at once or row by row: each holds on to rows
        that have nothing else to do with it."""
        loose = self._free_references(best.witness.world)
        if not loose:
            return best
        for some in [loose, *([index] for index in reversed(loose))] if len(loose) > 1 else [loose]:
            if monotonic() > deadline:
                break
            world = self._without_references(best.witness.world, set(some))
            smaller = replace(best.witness, world=world)
            found = self._trial.shows(stage, smaller, best.finding)
            if found is not None:
                best = Shrunk(found, smaller, minimal=False)
                if some is loose:
                    break
        return best

    def _free_references(self, world: World) -> list[int]:
        return [
            index
            for index, row in enumerate(world.rows)
            if any(row.values.get(c) is not None for c in self._free_columns(row))
            or any(_is_of(f, row) for f in world.fixups)
        ]

    def _free_columns(self, row: Row) -> set[str]:
        """The columns of references that may be NULL and that say nothing of whose the row is."""
        relation = self._catalog.relations[row.relation]
        columns = {c for fk in self._keys(row) for c in fk.columns}
        columns -= _owning_columns(relation, self._model)
        return {c for c in columns if (found := relation.column(c)) and not found.not_null}

    def _without_references(self, world: World, chosen: set[int]) -> World:
        rows = list(world.rows)
        for index in chosen:
            free = self._free_columns(rows[index])
            values = {c: v for c, v in rows[index].values.items() if c not in free}
            rows[index] = replace(rows[index], values=values)
        kept = [rows[i] for i in range(len(rows)) if i not in chosen]
        fixups = tuple(f for f in world.fixups if any(_is_of(f, row) for row in kept))
        return self._rebuilt(replace(world, fixups=fixups), rows)

    # Hypothesis

    def _by_hypothesis(self, stage: Stage, start: Shrunk, deadline: float) -> Shrunk:
        best = start
        rows = start.witness.world.rows
        flags = st.lists(st.integers(_GONE, _WHOLE), min_size=len(rows), max_size=len(rows))
        tried: dict[tuple[int, ...], bool] = {}

        def leaks(drawn: Sequence[int]) -> bool:
            nonlocal best
            if monotonic() > deadline:
                raise _OutOfTime
            kept = tuple(min(flag, _FULL) for flag in drawn)
            if kept not in tried:
                witness = replace(start.witness, world=self._reduced(start.witness.world, kept))
                found = self._trial.shows(stage, witness, start.finding)
                tried[kept] = found is not None
                if found is not None and _size(witness) <= _size(best.witness):
                    best = Shrunk(found, witness, minimal=False)
            return tried[kept]

        try:
            find(
                flags,
                leaks,
                random=random.Random(self._seed),
                settings=settings(
                    max_examples=60,
                    database=None,
                    deadline=None,
                    phases=(Phase.generate, Phase.shrink),
                    suppress_health_check=list(HealthCheck),
                ),
            )
        except (NoSuchExample, _OutOfTime):
            return best
        return best

    def _reduced(self, world: World, kept: Sequence[int]) -> World:
        rows = list(world.rows)
        gone = self._with_children(rows, {i for i, flag in enumerate(kept) if flag == _GONE})
        reduced = [
            self._bare(row) if flag == _BARE else row
            for i, (row, flag) in enumerate(zip(rows, kept, strict=True))
            if i not in gone
        ]
        return self._rebuilt(world, reduced)

    def _one_by_one(self, stage: Stage, best: Shrunk, deadline: float) -> Shrunk:
        """Tries each remaining row once more: what this leaves is minimal for certain."""
        index = len(best.witness.world.rows) - 1
        while index >= 0:
            if monotonic() > deadline:
                return best
            rows = best.witness.world.rows
            gone = self._with_children(rows, {index})
            left = [r for i, r in enumerate(rows) if i not in gone]
            smaller = replace(best.witness, world=self._rebuilt(best.witness.world, left))
            found = self._trial.shows(stage, smaller, best.finding)
            if found is not None:
                best = Shrunk(found, smaller, minimal=False)
                index = min(index, len(left)) - 1
            else:
                index -= 1
        return replace(best, finding=replace(best.finding, minimal=True), minimal=True)

    # Rows and what refers to them

    def _keys(self, row: Row) -> tuple[ForeignKey, ...]:
        return self._model.foreign_keys(self._catalog, row.relation)

    def _with_children(self, rows: Sequence[Row], gone: set[int]) -> set[int]:
        """The rows that go when these go: all that refer to them."""
        return LinkedRows(rows, self._catalog, self._model).with_children(gone)

    def _with_parents(self, rows: Sequence[Row], chosen: set[int]) -> set[int]:
        return LinkedRows(rows, self._catalog, self._model).with_parents(chosen)

    def _part(self, world: World, chosen: set[int]) -> World | None:
        if len(chosen) == len(world.rows) or not chosen:
            return None
        return self._rebuilt(world, [r for i, r in enumerate(world.rows) if i in chosen])

    def _rebuilt(self, world: World, rows: Sequence[Row]) -> World:
        fixups = tuple(f for f in world.fixups if any(_is_of(f, r) for r in rows))
        users = self._users(rows)
        present = {r.tenant for r in rows if r.tenant is not None}
        tenants = self._model.tenants
        if tenants is not None:
            ids = (
                r.values.get(self._model.tenant_key or "") for r in rows if r.relation == tenants
            )
            present |= {i for i in ids if i is not None}
        return World(
            rows=tuple(rows),
            fixups=fixups,
            tenants=tuple(t for t in world.tenants if t in present),
            users=tuple(u for u in world.users if u in users),
        )

    def _users(self, rows: Sequence[Row]) -> set[str | None]:
        """The ids of the users that these rows are about."""
        model = self._model
        columns = {(n, o.column) for n, o in model.ownership.items() if o.kind in _OF_USERS}
        if model.users is not None:
            columns.add((model.users, model.user_key))
        if model.memberships is not None:
            columns.add((model.memberships.relation, model.memberships.user))
        return {r.values.get(c) for r in rows for name, c in columns if c and r.relation == name}

    def _key(self, row: Row) -> tuple[str | None, ...] | None:
        key = self._catalog.relations[row.relation].primary_key
        return tuple(row.values.get(c) for c in key.columns) if key else None

    def _bare(self, row: Row) -> Row:
        """The row without the values that it need not have: nullable, or with a default."""
        relation = self._catalog.relations[row.relation]
        needed = _needed_columns(relation, self._model)
        values = {
            c: v
            for c, v in row.values.items()
            if c in needed or not _may_be_left_out(relation, c, v)
        }
        return replace(row, values=values)


def _needed_columns(relation: Relation, model: Model) -> set[str]:
    needed = {c for fk in relation.foreign_keys for c in fk.columns}
    return needed | _owning_columns(relation, model)


def _owning_columns(relation: Relation, model: Model) -> set[str]:
    """The columns of the key, of the partition, and those that say whose the row is."""
    key = relation.primary_key
    columns = set(key.columns) if key else set[str]()
    ownership = model.owner_of(relation.name)
    columns |= {ownership.column or ""} | {c for w in ownership.ways for c in w.columns}
    memberships = model.memberships
    if memberships is not None and relation.name == memberships.relation:
        columns |= {c.name for c in relation.columns}
    return columns | set(relation.partition_key)


def _is_of(fixup: Fixup, row: Row) -> bool:
    """Whether the fix-up completes that row."""
    return row.relation == fixup.relation and all(
        row.values.get(c) == v for c, v in fixup.key.items()
    )


def _may_be_left_out(relation: Relation, name: str, value: str | None) -> bool:
    column = relation.column(name)
    if column is None:
        return False
    stable = column.default is not None and "(" not in column.default
    return value is None or not column.not_null or stable


def _size(witness: Witness) -> tuple[int, int]:
    rows = witness.world.rows
    return len(rows), sum(len(r.values) for r in rows)
