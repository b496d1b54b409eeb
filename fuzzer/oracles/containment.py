"""Containment: after a write only predicted rows changed, were created or vanished."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from tenantfuzz.oracles.violation import Violation
from tenantfuzz.policies.model import Model, OwnershipKind
from tenantfuzz.policies.predictions import (
    Prediction,
    RowFacts,
    State,
    belongs_to,
    in_scope,
    owners_of,
)
from tenantfuzz.policies.principals import MembershipFact, Population, Principal
from tenantfuzz.policies.structure import Catalog, Operation, RelationName


@dataclass(frozen=True, slots=True)
class Change:
    """One row that a write changed (both), created (no ``before``) or removed (no ``after``)."""

    relation: RelationName
    before: RowFacts | None
    after: RowFacts | None


def changes_between(before: State, after: State) -> list[Change]:
    """The rows that differ, by relation and key. A row whose key changed is removed and created."""
    changes: list[Change] = []
    for relation, rows in before.items():
        now = after.get(relation, {})
        for key, row in rows.items():
            new = now.get(key)
            if new is None:
                changes.append(Change(relation, row, None))
            elif new.text != row.text:
                changes.append(Change(relation, row, new))
        changes += [Change(relation, None, new) for key, new in now.items() if key not in rows]
    return changes


def paired(changes: list[Change]) -> list[Change]:
    """Joins rows that an UPDATE removed under one key and created under another: the pairs that
    share most of their text."""
    removed = [c for c in changes if c.after is None]
    created = [c for c in changes if c.before is None]
    kept = [c for c in changes if c.before is not None and c.after is not None]
    for gone in removed:
        best = max(
            (c for c in created if c.relation == gone.relation),
            key=lambda c: _likeness(gone.before, c.after),
            default=None,
        )
        if best is None:
            kept.append(gone)
        else:
            created.remove(best)
            kept.append(Change(gone.relation, gone.before, best.after))
    return kept + created


def _likeness(one: RowFacts | None, other: RowFacts | None) -> int:
    if one is None or other is None:
        return 0
    parts = set(one.text.strip("()").split(","))
    return len(parts & set(other.text.strip("()").split(",")))


@dataclass(frozen=True, slots=True)
class Written:
    """A write as the oracle sees it: what was named, what was so before, and what is so now."""

    relation: RelationName
    operation: Operation
    before: Prediction
    after: Prediction
    population: Population | None  # after the write, if it touched the memberships
    founded: frozenset[str] = frozenset()  # tenants that the principal itself created before
    truncates: bool = False
    upsert: bool = False  # the statement may change rows that were there (ON CONFLICT, MERGE)


@dataclass(frozen=True, slots=True)
class Containment:
    """Judges the whole state before and after a write."""

    catalog: Catalog
    model: Model

    def judge(self, principal: Principal, written: Written) -> Iterator[Violation]:
        """Violations of the write: in the relation that it named by the model's rules, elsewhere
        by tenant ownership only (and on shared and private relations not at all)."""
        changes = changes_between(written.before.state, written.after.state)
        family = self._family(written.relation)
        founded = written.founded | self._founded(principal, changes)
        direct = [c for c in changes if c.relation == written.relation]
        if written.operation is Operation.UPDATE:
            direct = paired(direct)
        crossed = False
        for change in direct:
            violation = self._direct(principal, written, change, founded)
            if violation is not None:
                crossed = True
                yield violation
        if crossed:
            return  # what else it did is a consequence of that
        for change in changes:
            if change.relation not in family:
                violation = self._side_effect(principal, written, change, founded)
                if violation is not None:
                    yield violation

    def _family(self, relation: RelationName) -> frozenset[RelationName]:
        """The relation with its ancestors and descendants: they hold the same rows. A door that is
        no relation (an application query) has none."""
        if relation not in self.catalog.relations:
            return frozenset()
        family = {relation}
        grown = True
        while grown:
            grown = False
            for name, other in self.catalog.relations.items():
                related = other.parent in family or (
                    name in {self.catalog.relations[f].parent for f in family}
                )
                if related and name not in family:
                    family.add(name)
                    grown = True
        return frozenset(family)

    def _founded(self, principal: Principal, changes: list[Change]) -> frozenset[str]:
        """Tenants that these changes created: founding a tenant and joining it is lawful."""
        return frozenset(
            t
            for c in changes
            if c.relation == self.model.tenants and c.before is None and c.after is not None
            for t in c.after.tenants
        )

    def _direct(
        self, principal: Principal, written: Written, change: Change, founded: frozenset[str]
    ) -> Violation | None:
        match written.operation:
            case Operation.INSERT:
                return self._inserted(principal, written, change, founded)
            case Operation.DELETE:
                if change.before is not None and change.after is None:
                    return self._deleted(principal, written, change.before)
                return self._updated(principal, written, change, founded)
            case _:
                return self._updated(principal, written, change, founded)

    # Insert

    def _inserted(
        self, principal: Principal, written: Written, change: Change, founded: frozenset[str]
    ) -> Violation | None:
        if change.before is not None:  # ON CONFLICT DO UPDATE, or a trigger
            violation = self._updated(principal, written, change, founded)
            if violation is None or written.upsert:
                return violation
            return replace(violation, side_effect=True)
        row = change.after
        if row is None or (row.tenants and row.tenants <= founded):
            return None
        gained = self._gained(principal, written, row)
        if gained is not None and gained <= founded:
            return None
        allowed = written.after.allowed(principal, written.relation, Operation.INSERT)
        if gained is not None:
            return _violation(
                "TF209",
                written,
                after=row,
                observed=f"it is now a member of tenant {', '.join(sorted(gained))}",
                expected="nobody makes itself a member of a tenant that is not its own",
            )
        if row.key in allowed:
            return None
        code = "TF402" if in_scope(row, principal) else "TF201"
        return _violation(
            code,
            written,
            after=row,
            observed=f"a new row that belongs to {_owners(row)}",
            expected="the row is refused",
        )

    # Delete

    def _deleted(self, principal: Principal, written: Written, row: RowFacts) -> Violation | None:
        if row.key in written.before.allowed(principal, written.relation, Operation.DELETE):
            return None
        foreign = "TF208" if written.truncates else "TF203"
        code = "TF402" if in_scope(row, principal) else foreign
        return _violation(
            code,
            written,
            before=row,
            observed=f"a row of {_owners(row)} is gone",
            expected="the row is still there",
        )

    # Update

    def _updated(
        self, principal: Principal, written: Written, change: Change, founded: frozenset[str]
    ) -> Violation | None:
        old, new = change.before, change.after
        if new is not None:
            gained = self._gained(principal, written, new)
            if gained is not None and not gained <= founded:
                return _violation(
                    "TF209",
                    written,
                    before=old,
                    after=new,
                    observed=f"it is now a member of tenant {', '.join(sorted(gained))}",
                    expected="nobody makes itself a member of a tenant that is not its own",
                )
        may_old = old is None or old.key in written.before.allowed(
            principal, written.relation, Operation.UPDATE
        )
        may_new = new is None or new.key in written.after.allowed(
            principal, written.relation, Operation.UPDATE
        )
        if old is not None and new is not None and _moved(old, new):
            return self._moved(principal, written, old, new, founded)
        if may_old and may_new:
            return None
        if self._raised(principal, written, old, new):
            return _violation(
                "TF209",
                written,
                before=old,
                after=new,
                observed="its own membership now says something else",
                expected="nobody changes its own role where the rules forbid it",
            )
        shown = new if may_old and new is not None else old or new
        if shown is None:
            return None
        foreign = "TF207" if written.upsert else "TF202"
        code = "TF402" if in_scope(shown, principal) else foreign
        return _violation(
            code,
            written,
            before=old,
            after=new,
            observed=f"a row of {_owners(shown)} was changed",
            expected="the row is as it was",
        )

    def _moved(
        self,
        principal: Principal,
        written: Written,
        old: RowFacts,
        new: RowFacts,
        founded: frozenset[str],
    ) -> Violation | None:
        """Lawful to one who may delete the row here and insert it there."""
        may_take = old.key in written.before.allowed(principal, written.relation, Operation.DELETE)
        may_put = new.key in written.after.allowed(
            principal, written.relation, Operation.INSERT
        ) or bool(new.tenants and new.tenants <= founded)
        may_update = old.key in written.before.allowed(
            principal, written.relation, Operation.UPDATE
        )
        if may_take and may_put and may_update:
            return None
        if may_put and not may_update and not in_scope(old, principal):
            what = f"a row of {_owners(old)} now belongs to {_owners(new)}"
        else:
            what = f"a row moved from {_owners(old)} to {_owners(new)}"
        return _violation(
            "TF204", written, before=old, after=new, observed=what, expected="the row stays"
        )

    # Memberships

    def _gained(
        self, principal: Principal, written: Written, row: RowFacts
    ) -> frozenset[str] | None:
        """Tenants that the principal's user belongs to now and did not before, if this row is one
        of its memberships; else None."""
        memberships = self.model.memberships
        if memberships is None or written.relation != memberships.relation:
            return None
        if written.population is None or principal.user is None or principal.user not in row.users:
            return None
        now = {m.tenant for m in _of(principal.user, written.population) if m.active}
        gained = frozenset(now & row.tenants) - principal.all_tenants
        return gained or None

    def _raised(
        self,
        principal: Principal,
        written: Written,
        old: RowFacts | None,
        new: RowFacts | None,
    ) -> bool:
        """Whether the change is of the principal's own membership and rules forbid it."""
        memberships = self.model.memberships
        if memberships is None or written.relation != memberships.relation or old is None:
            return False
        return principal.user is not None and principal.user in old.users and new is not None

    # Elsewhere

    def _side_effect(
        self, principal: Principal, written: Written, change: Change, founded: frozenset[str]
    ) -> Violation | None:
        kind = self.model.owner_of(change.relation).kind
        if kind in (OwnershipKind.SHARED, OwnershipKind.PRIVATE, OwnershipKind.UNCLASSIFIED):
            return None
        old, new = change.before, change.after
        for row in (old, new):
            if row is None or row.nobodys or row.shared:
                continue
            if belongs_to(row, principal) or (row.tenants and row.tenants <= founded):
                continue
            if not row.tenants:
                continue  # another user's own row: judged by tenant ownership only
            if old is None:
                code, what = "TF201", f"a new row of {_owners(row)}"
            elif new is None:
                code, what = "TF203", f"a row of {_owners(row)} is gone"
            elif _moved(old, new):
                code, what = "TF204", f"a row moved from {_owners(old)} to {_owners(new)}"
            else:
                code, what = "TF202", f"a row of {_owners(row)} was changed"
            return Violation(
                code=code,
                relation=change.relation,
                operation=written.operation.value,
                observed=f"{what} in {change.relation}",
                expected=f"no row of another tenant changes in {change.relation}",
                before=(old,) if old else (),
                after=(new,) if new else (),
                side_effect=True,
            )
        return None


def _moved(old: RowFacts, new: RowFacts) -> bool:
    return old.tenants != new.tenants or (not old.tenants and old.users != new.users)


def _of(user: str, population: Population) -> list[MembershipFact]:
    return [m for m in population.memberships if m.user == user]


def _owners(row: RowFacts) -> str:
    if row.tenants:
        return "tenant " + ", ".join(owners_of([row]))
    if row.users:
        return "user " + ", ".join(sorted(row.users))
    return "everybody (it is shared)" if row.shared else "nobody"


def _violation(
    code: str,
    written: Written,
    *,
    observed: str,
    expected: str,
    before: RowFacts | None = None,
    after: RowFacts | None = None,
) -> Violation:
    return Violation(
        code=code,
        relation=written.relation,
        operation=written.operation.value,
        observed=observed,
        expected=expected,
        before=(before,) if before else (),
        after=(after,) if after else (),
    )


def memberships_now(
    principal: Principal, population: Population | None
) -> Mapping[str, str] | None:
    """The principal's memberships in force, tenant to kind, as they are after its writes; None
    where they are as they were."""
    if principal.user is None or population is None:
        return None
    return {m.tenant: m.kind for m in _of(principal.user, population) if m.active}
