"""The scene: what the writes of a world are made from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tenantfuzz.policies.model import Model
from tenantfuzz.policies.predictions import Key, Prediction
from tenantfuzz.policies.structure import Catalog, Relation, RelationName
from tenantfuzz.policies.world import Values, World
from tenantfuzz.strategies.picking import SimplestPick
from tenantfuzz.strategies.plan import Plan, Unpopulated
from tenantfuzz.strategies.worlds import candidate_row

Rows = Mapping[Key, Values]
"""The columns, as text, of the rows that stand in a relation."""


@dataclass(slots=True)
class Scene:
    """What the writes of a world are made from; remembers what it made for others to reuse.

    ``rows`` are the present rows of each relation, ``influential`` the relations that policies of
    other relations read, directly or through the functions that they call. ``salt`` makes the keys
    of new rows differ from those of other scenes. ``fresh`` are rows that the principal has just
    made: further ones may refer to them.
    """

    plan: Plan
    world: World
    prediction: Prediction
    rows: Mapping[RelationName, Rows]
    influential: frozenset[RelationName] = frozenset()
    salt: int = 0
    fresh: Mapping[RelationName, Rows] = field(default_factory=dict)
    _candidates: dict[tuple[object, ...], Values | None] = field(default_factory=dict)

    @property
    def catalog(self) -> Catalog:
        """The catalog of the plan."""
        return self.plan.catalog

    @property
    def model(self) -> Model:
        """The model of the plan."""
        return self.plan.model

    def candidate(
        self,
        relation: Relation,
        *,
        tenant: str | None,
        user: str | None,
        fixed: Values | None = None,
        turn: int = 0,
    ) -> Values | None:
        """The values of a new row as ``candidate_row`` makes it, or None where there is none."""
        memo = (relation.name, tenant, user, tuple(sorted((fixed or {}).items())), turn)
        if memo not in self._candidates:
            try:
                row = candidate_row(
                    self.plan,
                    self.world,
                    relation.name,
                    tenant=tenant,
                    user=user,
                    pick=SimplestPick(),
                    salt=self.salt + turn,
                    fixed=fixed or {},
                )
                self._candidates[memo] = row.values
            except Unpopulated:
                self._candidates[memo] = None
        return self._candidates[memo]
