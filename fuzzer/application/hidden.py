"""Which rows an application query must not depend on, for one principal in one world."""

from dataclasses import dataclass, field

from tenantfuzz.errors import ToolError
from tenantfuzz.oracles.cut import Cut
from tenantfuzz.oracles.references import References
from tenantfuzz.policies.model import OwnershipKind
from tenantfuzz.policies.predictions import Key, Prediction, belongs_to, in_scope
from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.structure import Operation, RelationName
from tenantfuzz.stage import Stage

_KEPT = frozenset({OwnershipKind.SHARED, OwnershipKind.PRIVATE, OwnershipKind.UNCLASSIFIED})
Rows = dict[RelationName, set[Key]]
_Node = tuple[RelationName, Key]


@dataclass(slots=True)
class Hidden:
    """Sorts the rows of the world that stands on the stage.

    Without row security nothing reads other rows on the query's behalf, so that a cut may take
    rules' relations too. What a visible row refers to stays, with all that this refers to in turn:
    a world without it could not be. So does what decides, by a rule, that a stranger's row is
    visible. Whatever stays is judged by its keys, its canaries, and by changing what it says.
    """

    stage: Stage
    ground: Prediction
    _pointers: dict[_Node, list[_Node]] | None = None
    _known: dict[Principal, tuple[Rows, Rows]] = field(default_factory=dict)

    def foreign(self, principal: Principal) -> tuple[Rows, Rows]:
        """Rows that may go from a world, and rows that may say something else: those of other
        tenants that the principal may not select."""
        if principal not in self._known:
            whole = self._foreign(principal)
            kept = self._supports(principal, whole)
            gone = {r: {k for k in keys if (r, k) not in kept} for r, keys in whole.items()}
            self._known[principal] = ({r: k for r, k in gone.items() if k}, whole)
        return self._known[principal]

    def inside(self, principal: Principal) -> Rows:
        """Rows of the tenants for which it acts that rules hide from it, as far as they may go:
        who is a member, and of what, stays."""
        model, catalog = self.stage.model, self.stage.catalog
        memberships = model.memberships
        told = {model.tenants, model.users, memberships.relation if memberships else None}
        found: Rows = {}
        for relation, rows in self.ground.state.items():
            kept = relation in told or model.owner_of(relation).kind in _KEPT
            if kept or catalog.relations[relation].parent is not None:
                continue
            unseen = {
                k for k in self.ground.hidden(principal, relation) if in_scope(rows[k], principal)
            }
            if unseen:
                found[relation] = unseen
        needed = self._supports(principal, found)
        found = {r: {k for k in keys if (r, k) not in needed} for r, keys in found.items()}
        return {r: keys for r, keys in found.items() if keys}

    def under_policies(self, principal: Principal) -> tuple[Rows, Rows]:
        """The same for one whom policies bind, and who may depend on what these read."""
        rows = self.stage.cut().hidden(self.ground, principal)
        return rows, rows

    def _foreign(self, principal: Principal) -> Rows:
        model, catalog = self.stage.model, self.stage.catalog
        found: Rows = {}
        for relation, rows in self.ground.state.items():
            kind = model.owner_of(relation).kind
            if kind in _KEPT or catalog.relations[relation].parent is not None:
                continue
            unseen = {
                k
                for k in self.ground.hidden(principal, relation)
                if not (rows[k].nobodys or belongs_to(rows[k], principal))
            }
            if unseen:
                found[relation] = unseen
        return found

    def _supports(self, principal: Principal, foreign: Rows) -> set[_Node]:
        """Foreign rows without which a visible row could not stand there, or not be visible."""
        pointers = self._read_pointers()
        visible = {
            (relation, key)
            for relation in self.ground.state
            for key in self.ground.allowed(principal, relation, Operation.SELECT)
        }
        strangers = {
            (relation, key)
            for relation, key in visible
            if not belongs_to(self.ground.state[relation][key], principal)
            and not self.ground.state[relation][key].shared
        }
        cut: Cut = self.stage.cut()
        kept: set[_Node] = set()
        pending = [target for node in visible for target in pointers.get(node, ())]
        pending += [
            node
            for node, targets in pointers.items()
            if node[0] in cut.kept and any(t in strangers for t in targets)
        ]
        while pending:
            node = pending.pop()
            if node in kept or node[1] not in foreign.get(node[0], ()):
                continue
            kept.add(node)
            pending += pointers.get(node, ())
        return kept

    def _read_pointers(self) -> dict[_Node, list[_Node]]:
        if self._pointers is not None:
            return self._pointers
        stage = self.stage
        references = References(stage.catalog, stage.model)
        keys = [
            (relation, fk)
            for relation in self.ground.state
            for fk in stage.model.foreign_keys(stage.catalog, relation)
            if fk.target in self.ground.state
        ]
        queries = [references.pointing_query(relation, fk) for relation, fk in keys]
        pointers: dict[_Node, list[_Node]] = {}
        outcomes = stage.wire.pipeline(queries, prepare=True, together=True)
        for (relation, fk), outcome in zip(keys, outcomes, strict=True):
            if outcome.failure is not None:
                raise ToolError(f"the foreign key {fk.name} of {relation} cannot be followed")
            for one, other in outcome.rows:
                source = (relation, (one or b"").decode())
                pointers.setdefault(source, []).append((fk.target, (other or b"").decode()))
        self._pointers = pointers
        return pointers
