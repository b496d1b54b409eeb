"""Predictions: what the model says a principal may see and change in a world."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tenantfuzz.policies.model import Model, OwnershipKind
from tenantfuzz.policies.placeholders import Binding, bind_sql
from tenantfuzz.policies.principals import Membership, Principal
from tenantfuzz.policies.structure import Operation, RelationName

Key = str
"""A row's key within its relation: a JSON array of its key columns as text."""


@dataclass(frozen=True, slots=True)
class RowFacts:
    """One row as the trusted role sees it: who owns it, and its text."""

    key: Key
    tenants: frozenset[str]
    users: frozenset[str]
    shared: bool
    text: str

    @property
    def nobodys(self) -> bool:
        """Neither a tenant's nor a user's nor shared: private."""
        return not (self.tenants or self.users or self.shared)


State = Mapping[RelationName, Mapping[Key, RowFacts]]
"""All rows of all relations that are judged, by relation and key."""

Question = tuple[RelationName, str]
"""Which rows of a relation satisfy a bound predicate?"""

EvaluateRules = Callable[[Sequence[Question]], Sequence[frozenset[Key]]]
"""The keys of those rows in the present state, for each question."""


@dataclass(slots=True)
class Prediction:
    """What one model predicts over one state. ``evaluate`` asks the server for rules' rows."""

    model: Model
    state: State
    evaluate: EvaluateRules
    _answers: dict[Question, frozenset[Key]] = field(default_factory=dict)
    _allowed: dict[tuple[Principal, RelationName, Operation], frozenset[Key]] = field(
        default_factory=dict
    )

    def allowed(
        self, principal: Principal, relation: RelationName, operation: Operation
    ) -> frozenset[Key]:
        """Keys of the rows that ``principal`` may select, update or delete, or (for insert) may
        have put there: the operation is judged on the rows of this very state."""
        memo = (principal, relation, operation)
        if memo not in self._allowed:
            self._allowed[memo] = self._compute(principal, relation, operation)
        return self._allowed[memo]

    def settle(self, principal: Principal, relation: RelationName) -> None:
        """Evaluates now what rules say of the present rows: a write is about to change them."""
        doors = [(relation, operation) for operation in Operation]
        doors += [(other, Operation.SELECT) for other in self.state]
        self.foresee(principal, doors)
        for door in doors:
            self.allowed(principal, *door)

    def foresee(
        self, principal: Principal, doors: Iterable[tuple[RelationName, Operation]]
    ) -> None:
        """Asks at once all that ``allowed`` is going to need for these relations and operations."""
        questions: dict[Question, None] = {}
        for relation, operation in doors:
            if (principal, relation, operation) in self._allowed:
                continue
            for membership in principal.memberships or (None,):
                question = self._question(membership, principal, relation, operation)
                if question is not None and question not in self._answers:
                    questions[question] = None
        self._ask(list(questions))

    def _ask(self, questions: Sequence[Question]) -> None:
        if questions:
            self._answers.update(zip(questions, self.evaluate(questions), strict=True))

    def hidden(self, principal: Principal, relation: RelationName) -> frozenset[Key]:
        """Keys of the rows that the principal may not select."""
        rows = self.state.get(relation, {})
        return frozenset(rows) - self.allowed(principal, relation, Operation.SELECT)

    def foreign(self, principal: Principal, relation: RelationName) -> frozenset[Key]:
        """Keys of the hidden rows that are no rows of the principal's tenants or its own."""
        rows = self.state.get(relation, {})
        return frozenset(
            k for k in self.hidden(principal, relation) if not belongs_to(rows[k], principal)
        )

    def member_may_select(self, tenant: str, relation: RelationName, key: Key) -> bool:
        """Whether an ordinary member of only ``tenant`` may select that row."""
        member = Principal(
            kind=self.model.kinds[-1].name,
            tenant=tenant,
            memberships=(Membership(tenant, self.model.kinds[-1].name),),
            all_tenants=frozenset({tenant}),
        )
        return key in self.allowed(member, relation, Operation.SELECT)

    def _compute(
        self, principal: Principal, relation: RelationName, operation: Operation
    ) -> frozenset[Key]:
        rows = self.state.get(relation, {})
        ownership = self.model.owner_of(relation)
        if ownership.kind is OwnershipKind.UNCLASSIFIED:
            return frozenset(rows)
        allowed: set[Key] = set()
        for membership in principal.memberships or (None,):
            allowed |= self._under(membership, principal, relation, operation, rows)
        if operation is Operation.SELECT:
            allowed |= {k for k, r in rows.items() if r.shared}
            if self._own_always(relation) and principal.user is not None:
                allowed |= {k for k, r in rows.items() if principal.user in r.users}
        return frozenset(allowed)

    def _own_always(self, relation: RelationName) -> bool:
        memberships = self.model.memberships
        return relation == self.model.users or (
            memberships is not None and relation == memberships.relation
        )

    def _under(
        self,
        membership: Membership | None,
        principal: Principal,
        relation: RelationName,
        operation: Operation,
        rows: Mapping[Key, RowFacts],
    ) -> set[Key]:
        kind = membership.kind if membership is not None else principal.kind
        rule = self.model.rule(kind, relation, operation)
        tenant = membership.tenant if membership is not None else None
        default = {
            k
            for k, r in rows.items()
            if (tenant is not None and tenant in r.tenants)
            or (principal.user is not None and principal.user in r.users)
        }
        if rule is None:
            return default
        if rule.predicate is None:
            return set()
        question = self._question(membership, principal, relation, operation)
        if question is None:
            return default
        if question not in self._answers:
            self._ask([question])
        satisfying = self._answers[question] & rows.keys()
        return set(satisfying) if rule.widens else default & satisfying

    def _question(
        self,
        membership: Membership | None,
        principal: Principal,
        relation: RelationName,
        operation: Operation,
    ) -> Question | None:
        """What the rule for this membership asks of the rows; None where it asks nothing."""
        kind = membership.kind if membership is not None else principal.kind
        rule = self.model.rule(kind, relation, operation)
        if rule is None or rule.predicate is None:
            return None
        tenant = membership.tenant if membership is not None else None
        binding = Binding(tenant, principal.user, sorted(principal.tenants))
        return relation, bind_sql(rule.predicate, binding)


def belongs_to(row: RowFacts, principal: Principal) -> bool:
    """Whether the row is one of the principal's tenants (whatever the scope) or its own."""
    return bool(row.tenants & principal.all_tenants) or _is_own(row, principal)


def in_scope(row: RowFacts, principal: Principal) -> bool:
    """Whether the row is one of the tenants that the principal acts for, or its own: what it does
    there beyond the prediction crosses no tenant's border."""
    return bool(row.tenants & principal.tenants) or _is_own(row, principal)


def _is_own(row: RowFacts, principal: Principal) -> bool:
    return principal.user is not None and principal.user in row.users


def owners_of(rows: Iterable[RowFacts]) -> tuple[str, ...]:
    """The tenants that own any of these rows, sorted."""
    return tuple(sorted({t for r in rows for t in r.tenants}))
