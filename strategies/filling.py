"""Fills in the columns of one row, given the rows that it points at."""

from dataclasses import dataclass, field

from tenantfuzz.policies.structure import Check, Relation, RelationName
from tenantfuzz.policies.world import Values
from tenantfuzz.strategies.canaries import Canaries, held
from tenantfuzz.strategies.choosing import Choice
from tenantfuzz.strategies.conditions import Condition, Truth, condition_of
from tenantfuzz.strategies.picking import Pick, ShiftedPick
from tenantfuzz.strategies.plan import Plan
from tenantfuzz.strategies.solving import Unsolvable, solve_row
from tenantfuzz.strategies.uniqueness import Key, TakenKeys

_NUMBERS = 4  # pairs of ordinal and natural number that are tried for one choice
_UNMIRRORED = 20  # natural numbers from here on are of rows that cannot mirror others
_STRIDE = 997  # keeps the numbers of further attempts apart
_AHEAD = 50  # numbers that are tried for a key that is made before its row


@dataclass(frozen=True, slots=True)
class Wish:
    """A row that is wanted: for whom, with which columns given, under which numbers.

    ``natural`` is equal for the mirrored rows of different tenants; ``turn`` rotates parents,
    ``value`` the values of deciding columns; ``ordinal`` is given where a key was made before the
    row.
    """

    tenant: str | None
    natural: int = 0
    turn: int = 0
    value: int = 0
    fixed: Values = field(default_factory=dict)
    ordinal: int | None = None


class Filler:
    """Solves rows so that their unique keys are not among those ``taken``.

    ``payload`` chooses values that decide nothing. Values that decide verdicts are each shown
    alone; those of relations with a number in ``turns``, and in a ``crowded`` world all beyond,
    follow from ``chance``.
    """

    def __init__(
        self, plan: Plan, payload: Pick, taken: TakenKeys, canaries: Canaries, chance: int
    ) -> None:
        self.turns: dict[RelationName, int] = {}
        self.crowded = False
        self._chance = chance
        self._plan = plan
        self._payload = payload
        self._taken = taken
        self._canaries = canaries
        self._shift = 0
        self._ordinals: dict[RelationName, int] = {}
        self._broken: dict[RelationName, list[tuple[Check, Condition]]] = {}
        self._promises: set[tuple[RelationName, tuple[str, ...], Key]] = set()

    def number_from(self, name: RelationName, start: int) -> None:
        """Number the further rows of a relation from ``start`` on."""
        self._ordinals[name] = start

    def key_ahead(
        self, name: RelationName, columns: tuple[str, ...], fixed: Values
    ) -> tuple[int, dict[str, str | None]]:
        """The ordinal of a row that is made later, and values for its key columns.

        Raises Unsolvable.
        """
        relation = self._plan.catalog.relations[name]
        self._shift = 0
        for _ in range(_AHEAD):
            ordinal = self._next_ordinal(name)
            values = self._solve(relation, fixed, ordinal, ordinal, "", 0)
            key = {c: values.get(c) for c in columns}
            if None in key.values():
                raise Unsolvable(f"no value can be made for {', '.join(columns)}")
            promised = (name, columns, tuple(key.values()))
            taken = self._taken.conflict(relation, key, partial=True)
            if taken is None and promised not in self._promises:
                self._promises.add(promised)
                return ordinal, key
        raise Unsolvable("all keys that could be made for it are taken")

    def preferred(self, name: RelationName, turn: int, ordinal: int) -> dict[str, str | None]:
        """What a row with this turn would rather have, by column."""
        rotation, chance = self.turns.get(name, 0), None
        crowded = self.crowded and turn >= self._plan.variety(name)
        if rotation or crowded:
            chance = f"{self._chance}/{rotation}"
        return self._plan.preferred(name, turn, ordinal, chance=chance, together=crowded)

    def _next_ordinal(self, name: RelationName) -> int:
        ordinal = self._ordinals.get(name, 0)
        self._ordinals[name] = ordinal + 1
        return ordinal

    def fill(
        self, relation: Relation, choice: Choice, wish: Wish
    ) -> tuple[dict[str, str | None], str] | None:
        """The values of a row for one choice of parents, and the canary that they hold ("" for
        none); None where its unique keys are taken. Raises Unsolvable."""
        name = relation.name
        ordinal = self._next_ordinal(name) if wish.ordinal is None else wish.ordinal
        canary = self._canaries.token(name, ordinal)
        for attempt in range(_NUMBERS):
            # What would be equal for mirrored rows may have to differ: then for every row.
            natural = _UNMIRRORED + ordinal + _STRIDE * (attempt - 1) if attempt else wish.natural
            # At first only numbers change; then other values, for partial unique indexes.
            self._shift = max(0, attempt - 1)
            turn = wish.value + self._shift
            values = self._solve(relation, choice.fixed, ordinal, natural, canary, turn)
            if choice.own:
                itself = {
                    column: values[target]
                    for link in choice.own
                    for column, target in zip(
                        link.key.columns, link.key.target_columns, strict=True
                    )
                }
                fixed = {**choice.fixed, **itself}
                values = self._solve(relation, fixed, ordinal, natural, canary, turn)
            if self._taken.conflict(relation, values) is None:
                generated = {c.name for c in relation.columns if c.generated}
                stored = {c: v for c, v in values.items() if c not in generated}
                return stored, held(canary, stored)
            if wish.ordinal is None:
                ordinal = self._next_ordinal(name)
        return None

    def _solve(
        self,
        relation: Relation,
        fixed: Values,
        ordinal: int,
        natural: int,
        canary: str,
        turn: int,
    ) -> dict[str, str | None]:
        """All values of a row: with those that its turn prefers, or, if that cannot be, without."""
        name = relation.name
        preferred = {**self.preferred(name, turn, ordinal), **fixed}
        overrides = self._plan.values.get(name, {})
        shift = self._plan.variants.get(name, 0) + self._shift
        pick = ShiftedPick(self._payload, shift) if shift else self._payload

        def solve(given: Values) -> dict[str, str | None]:
            solved = solve_row(
                relation,
                given,
                pick=pick,
                ordinal=ordinal,
                natural=natural,
                canary=canary,
                overrides=overrides,
                dictionary=self._plan.dictionary,
                plain=self._plan.cycling.get(name, ()),
            )
            row = {**solved, **given}
            self._require(relation, row, given)
            return row

        if len(preferred) == len(fixed):
            return solve(fixed)
        try:
            return solve(preferred)
        except Unsolvable:
            return solve(fixed)

    def _require(self, relation: Relation, row: Values, given: Values) -> None:
        """Raise Unsolvable where given values alone break a check: solving looks at others only."""
        broken = self._broken.get(relation.name)
        if broken is None:
            broken = self._broken[relation.name] = [
                (check, condition_of(relation, f"NOT ({check.expression})"))
                for check in relation.checks
            ]
        for check, condition in broken:
            if all(c in given for c in check.columns) and condition(row) is Truth.YES:
                raise Unsolvable(f"no row of {relation.name} was found that holds {check.name}")
