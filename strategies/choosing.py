"""Which rows a new row points at: one consistent choice for all of its foreign keys."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tenantfuzz.policies.structure import Relation
from tenantfuzz.policies.world import Values
from tenantfuzz.strategies.ordering import nullable
from tenantfuzz.strategies.plan import Link
from tenantfuzz.strategies.stock import Record, Stock

_TRIED = 6  # parents that are tried for one foreign key
_ALIKE = 6  # choices with the same references set
_STEPS = 400  # references that are looked at for these
MakeParent = Callable[[Link, Mapping[str, str | None]], Record | None]


@dataclass(slots=True)
class Budget:
    """How many steps a search may still take."""

    left: int

    def spend(self) -> bool:
        """Take a step; False when there is none left."""
        self.left -= 1
        return self.left >= 0


@dataclass(frozen=True, slots=True)
class Choice:
    """Values for the columns of foreign keys, and the rows that they lead to.

    ``owners`` are the rows that give the owner. ``own`` are references of the row to itself, whose
    values are its own key. ``later`` are references that a fix-up sets.
    """

    fixed: dict[str, str | None]
    owners: tuple[Record, ...] = ()
    own: tuple[Link, ...] = ()
    later: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True)
class Chooser:
    """Chooses parents for rows of ``relation`` that are made for ``tenant``.

    ``make_parent`` is asked for a row where none will do: it makes one, or gives None.
    ``must_own``: at least one owning reference must lead to a row of the tenant.
    """

    relation: Relation
    links: Sequence[Link]
    stock: Stock
    tenant: str | None
    turn: int
    make_parent: MakeParent
    must_own: bool = False

    def choices(self, fixed: Values, *, sparse: bool = False) -> Iterator[Choice]:
        """All choices worth trying, with all references set first, then with only one of those
        that may be NULL (for checks that ask for exactly one), then with none.

        With ``sparse`` those with only one come first.
        """
        free = [k for k in self.links if not k.hard and not k.late and self._open(k, fixed)]
        full: list[frozenset[int]] = [frozenset()]
        single: list[frozenset[int]] = []
        if len(free) > 1:
            start = self.turn % len(free)
            rotated = [*free[start:], *free[:start]]
            single = [frozenset(id(k) for k in free if k is not kept) for kept in rotated]
        patterns = single + full if sparse else full + single
        if free:
            patterns.append(frozenset(id(k) for k in free))
        for empty in patterns:
            search = self._extend(0, Choice(dict(fixed)), empty, Budget(_STEPS))
            yield from itertools.islice(search, _ALIKE)

    def _open(self, link: Link, fixed: Values) -> bool:
        return any(c not in fixed and nullable(self.relation, c) for c in link.key.columns)

    def _extend(
        self, at: int, choice: Choice, empty: frozenset[int], budget: Budget
    ) -> Iterator[Choice]:
        if not budget.spend():
            return
        if at == len(self.links):
            owned = any(self.tenant in r.belongs for r in choice.owners)
            if owned or not self.must_own or any(k.owning for k in choice.later):
                yield choice
            return
        link, fixed = self.links[at], choice.fixed
        if any(c in fixed and fixed[c] is None for c in link.key.columns):
            # With one NULL nothing is checked (MATCH SIMPLE); MATCH FULL wants all to be NULL.
            rest = dict.fromkeys(link.key.columns) if link.key.match_full else {}
            yield from self._extend(at + 1, _with(choice, {**fixed, **rest}), empty, budget)
            return
        if link.late:
            yield from self._extend(at + 1, self._postponed(link, choice), empty, budget)
            return
        if id(link) not in empty:
            for parent in self._parents(link, choice):
                values = _pointing(link, parent)
                if self.stock.taken.conflict(self.relation, {**fixed, **values}, partial=True):
                    continue
                owners = (*choice.owners, parent) if link.owning else choice.owners
                yield from self._extend(
                    at + 1, _with(choice, {**fixed, **values}, owners=owners), empty, budget
                )
        nulls = {c: None for c in link.key.columns if c not in fixed and nullable(self.relation, c)}
        if link.key.target == self.relation.name and link.hard:
            yield from self._extend(
                at + 1, _with(choice, fixed, own=(*choice.own, link)), empty, budget
            )
        elif nulls and not link.hard:
            yield from self._extend(at + 1, _with(choice, {**fixed, **nulls}), empty, budget)
        elif not link.hard and not link.key.declared:
            yield from self._extend(at + 1, choice, empty, budget)

    def _parents(self, link: Link, choice: Choice) -> Iterator[Record]:
        turn = self.turn + sum(
            1 for k in self.links[: self.links.index(link)] if k.key.target == link.key.target
        )
        loose = not (link.owning and self.tenant is not None)
        found = self.stock.parents(
            link,
            choice.fixed,
            tenant=self.tenant,
            turn=turn,
            loose=loose,
            roving=self.stock.is_roving(self.relation.name, link),
        )
        yield from found[:_TRIED]
        complete = all(c in choice.fixed for c in link.key.columns)
        if not found and (link.hard or (complete and link.key.declared)):
            wanted = {
                target: choice.fixed[column]
                for column, target in zip(link.key.columns, link.key.target_columns, strict=True)
                if column in choice.fixed
            }
            made = self.make_parent(link, wanted)
            if made is not None:
                yield made

    def _postponed(self, link: Link, choice: Choice) -> Choice:
        """The reference starts as NULL: in columns that are still free, where there are any."""
        columns = [c for c in link.key.columns if nullable(self.relation, c)]
        open_ones = [c for c in columns if c not in choice.fixed]
        fixed = {**choice.fixed, **dict.fromkeys(open_ones or columns)}
        return _with(choice, fixed, later=(*choice.later, link))


def _pointing(link: Link, parent: Record) -> dict[str, str | None]:
    return {
        column: parent.values.get(target)
        for column, target in zip(link.key.columns, link.key.target_columns, strict=True)
    }


def _with(
    choice: Choice,
    fixed: dict[str, str | None],
    *,
    owners: tuple[Record, ...] | None = None,
    own: tuple[Link, ...] | None = None,
    later: tuple[Link, ...] | None = None,
) -> Choice:
    return Choice(
        fixed,
        choice.owners if owners is None else owners,
        choice.own if own is None else own,
        choice.later if later is None else later,
    )
