"""Cross-tenant references: a foreign key that points at what its own tenant may not see."""

from collections.abc import Iterator
from dataclasses import dataclass

from tenantfuzz.oracles.containment import Change, Written, changes_between
from tenantfuzz.oracles.violation import Violation
from tenantfuzz.policies.model import Model, OwnershipKind
from tenantfuzz.policies.ownership_sql import key_expression
from tenantfuzz.policies.predictions import RowFacts
from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.quoting import identifier
from tenantfuzz.policies.structure import Catalog, ForeignKey, RelationName

_EXEMPT = frozenset({OwnershipKind.TENANTS, OwnershipKind.MEMBERS, OwnershipKind.SHARED})


@dataclass(frozen=True, slots=True)
class References:
    """Judges the foreign keys of rows that a write made or changed (TF205)."""

    catalog: Catalog
    model: Model

    def candidates(self, relation: RelationName) -> tuple[ForeignKey, ...]:
        """The foreign keys of a relation that may cross tenants at all: references to tenants,
        users and shared relations are exempt."""
        return tuple(
            fk
            for fk in self.model.foreign_keys(self.catalog, relation)
            if self.model.owner_of(fk.target).kind not in _EXEMPT
            and self.model.owner_of(fk.target).kind is not OwnershipKind.UNCLASSIFIED
            and fk.target != self.model.users
            and not self._owns_by(relation, fk)
        )

    def _owns_by(self, relation: RelationName, fk: ForeignKey) -> bool:
        """Whether the row belongs to whoever owns the row that it points at."""
        ownership = self.model.owner_of(relation)
        return (
            ownership.kind is OwnershipKind.VIA
            and len(ownership.ways) == 1
            and ownership.ways[0].columns == fk.columns
        )

    def pointing_query(self, relation: RelationName, fk: ForeignKey) -> str:
        """A query of the trusted role: key of each row, key of the row its foreign key points at,
        and the values of the foreign key, as text."""

        def source(name: RelationName, alias: str) -> str:
            return f"{identifier(name.schema)}.{identifier(name.name)} AS {alias}"

        same = " AND ".join(
            f"a.{identifier(c)}::text = b.{identifier(t)}::text"
            for c, t in zip(fk.columns, fk.target_columns, strict=True)
        )
        return (
            f"SELECT {key_expression(self.catalog, relation, 'a')}, "
            f"{key_expression(self.catalog, fk.target, 'b')} "
            f"FROM {source(relation, 'a')} JOIN {source(fk.target, 'b')} ON {same}"
        )

    def judge(
        self,
        written: Written,
        principal: Principal,
        before: dict[str, dict[str, str]],
        after: dict[str, dict[str, str]],
    ) -> Iterator[Violation]:
        """``before`` and ``after`` map a foreign key's name to the keys it points from and to."""
        changed = {
            c.after.key: c
            for c in changes_between(
                {written.relation: written.before.state.get(written.relation, {})},
                {written.relation: written.after.state.get(written.relation, {})},
            )
            if c.after is not None
        }
        for fk in self.candidates(written.relation):
            old, new = before.get(fk.name, {}), after.get(fk.name, {})
            for key, target in sorted(new.items()):
                change = changed.get(key)
                if change is None or old.get(key) == target:
                    continue
                violation = self._crossing(written, change, fk, target)
                if violation is not None:
                    yield violation

    def _crossing(
        self, written: Written, change: Change, fk: ForeignKey, target: str
    ) -> Violation | None:
        row = change.after
        found: RowFacts | None = written.after.state.get(fk.target, {}).get(target)
        if row is None or found is None or found.shared or not row.tenants:
            return None
        if any(written.after.member_may_select(t, fk.target, target) for t in row.tenants):
            return None
        if found.users and not found.tenants:
            return None
        owner = ", ".join(sorted(found.tenants)) or "nobody"
        return Violation(
            code="TF205",
            relation=written.relation,
            operation=written.operation.value,
            observed=f"its {', '.join(fk.columns)} points at a row of {fk.target} that belongs "
            f"to {owner}",
            expected=f"a row points only at rows of {fk.target} that its own tenant may see",
            before=(change.before,) if change.before else (),
            after=(row,),
            culprits=(f"foreign key {fk.name}",),
        )
