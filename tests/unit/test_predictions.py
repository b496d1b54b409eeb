"""What a model predicts over a state, with rules answered by a table in place of a server."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from tenantfuzz.policies.model import (
    Identity,
    Kind,
    Memberships,
    Model,
    Ownership,
    OwnershipKind,
    Rule,
)
from tenantfuzz.policies.predictions import (
    Prediction,
    Question,
    RowFacts,
    belongs_to,
    in_scope,
    owners_of,
)
from tenantfuzz.policies.principals import Membership, Principal
from tenantfuzz.policies.structure import Operation, RelationName

ISSUES = RelationName("public", "issues")
USERS = RelationName("public", "users")
MEMBERS = RelationName("public", "memberships")
ODD = RelationName("public", "odd")


def row(key: str, *tenants: str, users: tuple[str, ...] = (), shared: bool = False) -> RowFacts:
    return RowFacts(key, frozenset(tenants), frozenset(users), shared, f"({key})")


def rows(*facts: RowFacts) -> dict[str, RowFacts]:
    return {f.key: f for f in facts}


STATE = {
    ISSUES: rows(
        row("a1", "A"),
        row("a2", "A"),
        row("b1", "B"),
        row("ab", "A", "B"),
        row("mine", users=("u1",)),
        row("all", shared=True),
        row("none"),
    ),
    USERS: rows(row("u1", users=("u1",)), row("u2", "A", users=("u2",))),
    ODD: rows(row("x"), row("y", "B")),
}


@dataclass
class Answers:
    """Stands in for the server: keys by bound predicate; remembers what was asked."""

    keys: Mapping[str, frozenset[str]] = field(default_factory=dict)
    asked: list[tuple[RelationName, str]] = field(default_factory=list)

    def __call__(self, questions: Sequence[Question]) -> list[frozenset[str]]:
        self.asked += questions
        return [self.keys[predicate] for _, predicate in questions]


def model(
    access: Mapping[tuple[str, RelationName, Operation], Rule] | None = None,
    users: RelationName | None = None,
    memberships: Memberships | None = None,
) -> Model:
    column = Ownership(OwnershipKind.COLUMN, "org_id")
    return Model(
        tenants=None,
        tenant_key=None,
        tenant_values=("A", "B"),
        ownership={ISSUES: column, USERS: column},
        identity=Identity(),
        kinds=(Kind("admin", "membership.admin"), Kind("member")),
        access=access or {},
        users=users,
        memberships=memberships,
    )


def predict(the_model: Model, answers: Answers | None = None) -> Prediction:
    return Prediction(the_model, STATE, answers or Answers())


def member(*tenants: str, user: str | None = "u1", kind: str = "member") -> Principal:
    return Principal(
        kind,
        user,
        tenants[0] if tenants else None,
        tuple(Membership(t, kind) for t in tenants),
        frozenset(tenants),
    )


def test_a_member_has_the_rows_of_its_tenant_and_its_own_and_reads_the_shared_ones() -> None:
    prediction = predict(model())
    one = member("A")
    assert prediction.allowed(one, ISSUES, Operation.SELECT) == {"a1", "a2", "ab", "mine", "all"}
    for operation in (Operation.INSERT, Operation.UPDATE, Operation.DELETE):
        assert prediction.allowed(one, ISSUES, operation) == {"a1", "a2", "ab", "mine"}
    assert prediction.hidden(one, ISSUES) == {"b1", "none"}


def test_memberships_add_up_and_without_one_only_own_and_shared_rows_are_left() -> None:
    prediction = predict(model())
    both = prediction.allowed(member("A", "B"), ISSUES, Operation.UPDATE)
    assert both == {"a1", "a2", "ab", "b1", "mine"}
    assert prediction.allowed(member(), ISSUES, Operation.SELECT) == {"mine", "all"}
    nobody = member(user=None)
    assert prediction.allowed(nobody, ISSUES, Operation.SELECT) == {"all"}
    assert prediction.allowed(nobody, ISSUES, Operation.DELETE) == frozenset()


def test_unclassified_relations_allow_everything_and_absent_ones_have_nothing() -> None:
    prediction = predict(model())
    assert prediction.allowed(member("A"), ODD, Operation.DELETE) == {"x", "y"}
    assert prediction.hidden(member("A"), MEMBERS) == frozenset()


def test_a_rule_narrows_the_default() -> None:
    narrowed = Rule("assignee = :user AND org = :tenant")
    answers = Answers({"assignee = 'u1' AND org = 'A'": frozenset({"a1", "b1", "all", "gone"})})
    prediction = predict(model({("member", ISSUES, Operation.UPDATE): narrowed}), answers)
    # b1 is another tenant's, all is shared (not A's), gone is no row of the state.
    assert prediction.allowed(member("A"), ISSUES, Operation.UPDATE) == {"a1"}
    assert prediction.allowed(member("A"), ISSUES, Operation.DELETE) == {"a1", "a2", "ab", "mine"}


def test_a_rule_that_widens_replaces_the_default() -> None:
    wide = Rule("is_template", widens=True)
    answers = Answers({"is_template": frozenset({"b1", "none", "gone"})})
    prediction = predict(model({("member", ISSUES, Operation.SELECT): wide}), answers)
    # The shared row stays readable; a1 and its own row do not.
    assert prediction.allowed(member("A"), ISSUES, Operation.SELECT) == {"b1", "none", "all"}


def test_a_rule_that_closes_leaves_shared_rows_readable() -> None:
    closed = {
        ("*", ISSUES, Operation.SELECT): Rule(None),
        ("*", ISSUES, Operation.DELETE): Rule(None),
    }
    prediction = predict(model(closed))
    assert prediction.allowed(member("A"), ISSUES, Operation.SELECT) == {"all"}
    assert prediction.allowed(member("A"), ISSUES, Operation.DELETE) == frozenset()


def test_the_rule_of_the_kind_goes_before_the_rule_of_all() -> None:
    access = {
        ("*", ISSUES, Operation.DELETE): Rule(None),
        ("admin", ISSUES, Operation.DELETE): Rule("true", widens=True),
    }
    prediction = predict(model(access), Answers({"true": frozenset(STATE[ISSUES])}))
    assert prediction.allowed(member("A"), ISSUES, Operation.DELETE) == frozenset()
    admin = member("A", kind="admin")
    assert prediction.allowed(admin, ISSUES, Operation.DELETE) == frozenset(STATE[ISSUES])


def test_each_membership_has_the_rule_of_its_own_kind_and_binds_its_own_tenant() -> None:
    access = {("admin", ISSUES, Operation.UPDATE): Rule("x = :tenant AND y = ANY (:tenants)")}
    bound = "x = 'B' AND y = ANY ('{\"A\",\"B\"}')"
    answers = Answers({bound: frozenset({"b1", "a1"})})
    mixed = Principal(
        "dual", "u9", "A", (Membership("A"), Membership("B", "admin")), frozenset({"A", "B"})
    )
    # Of A as a plain member: all; of B as admin: what the rule says of B's rows (not ab).
    allowed = predict(model(access), answers).allowed(mixed, ISSUES, Operation.UPDATE)
    assert allowed == {"a1", "a2", "ab", "b1"}
    assert answers.asked == [(ISSUES, bound)]


def test_under_scope_active_the_tenants_of_a_rule_are_the_active_one() -> None:
    access = {("member", ISSUES, Operation.SELECT): Rule("x = ANY (:tenants)", widens=True)}
    answers = Answers({"x = ANY ('{\"A\"}')": frozenset({"a1"})})
    active = Principal("dual", "u9", "A", (Membership("A"),), frozenset({"A", "B"}))
    allowed = predict(model(access), answers).allowed(active, ISSUES, Operation.SELECT)
    assert allowed == {"a1", "all"}


def test_rules_of_one_without_memberships_bind_null() -> None:
    access = {("outsider", ISSUES, Operation.SELECT): Rule("org = :tenant", widens=True)}
    answers = Answers({"org = NULL": frozenset()})
    outsider = Principal("outsider", "u1", "B")
    allowed = predict(model(access), answers).allowed(outsider, ISSUES, Operation.SELECT)
    assert allowed == {"all"}
    assert answers.asked == [(ISSUES, "org = NULL")]


@pytest.mark.parametrize(
    ("is_users", "expected"), [(True, {"u1"}), (False, set())], ids=["users", "other"]
)
def test_the_own_user_row_is_readable_whatever_rules_say(
    is_users: bool, expected: set[str]
) -> None:
    closed = {("*", USERS, Operation.SELECT): Rule(None)}
    prediction = predict(model(closed, users=USERS if is_users else None))
    assert prediction.allowed(member("A"), USERS, Operation.SELECT) == expected


def test_own_memberships_are_readable_whatever_rules_say() -> None:
    closed = {
        ("*", USERS, Operation.SELECT): Rule(None),
        ("*", USERS, Operation.UPDATE): Rule(None),
    }
    prediction = predict(model(closed, memberships=Memberships(USERS, "id", "org_id")))
    assert prediction.allowed(member("A"), USERS, Operation.SELECT) == {"u1"}
    assert prediction.allowed(member("A"), USERS, Operation.UPDATE) == frozenset()


def test_foreign_rows_are_hidden_ones_of_no_tenant_of_the_principal() -> None:
    closed = {("member", ISSUES, Operation.SELECT): Rule(None)}
    prediction = predict(model(closed))
    assert prediction.hidden(member("A"), ISSUES) == {"a1", "a2", "ab", "b1", "mine", "none"}
    assert prediction.foreign(member("A"), ISSUES) == {"b1", "none"}
    # Under scope "active" the other tenant is out of scope, but not foreign.
    active = Principal("dual", "u1", "A", (Membership("A"),), frozenset({"A", "B"}))
    assert prediction.foreign(active, ISSUES) == {"none"}


def test_what_an_ordinary_member_of_one_tenant_may_select() -> None:
    prediction = predict(model())
    assert prediction.member_may_select("B", ISSUES, "b1")
    assert prediction.member_may_select("B", ISSUES, "all")
    assert not prediction.member_may_select("B", ISSUES, "a1")
    assert not prediction.member_may_select("B", ISSUES, "mine")


def test_answers_are_kept_once_settled() -> None:
    access = {
        ("member", ISSUES, Operation.UPDATE): Rule("u"),
        ("member", USERS, Operation.SELECT): Rule("s"),
        ("member", USERS, Operation.UPDATE): Rule("not this one"),
    }
    answers = Answers({"u": frozenset({"a1"}), "s": frozenset({"u2"})})
    prediction = predict(model(access), answers)
    prediction.settle(member("A"), ISSUES)
    assert sorted(answers.asked) == [(ISSUES, "u"), (USERS, "s")]
    answers.asked.clear()
    assert prediction.allowed(member("A"), ISSUES, Operation.UPDATE) == {"a1"}
    assert prediction.allowed(member("A"), USERS, Operation.SELECT) == {"u2"}
    assert answers.asked == []


def test_all_that_is_needed_is_asked_at_once_and_the_same_never_again() -> None:
    asked: list[list[Question]] = []

    def evaluate(questions: Sequence[Question]) -> list[frozenset[str]]:
        asked.append(list(questions))
        return [frozenset({"a1"}) for _ in questions]

    access = {("member", ISSUES, o): Rule("mine") for o in Operation}
    access["member", USERS, Operation.SELECT] = Rule("s")
    prediction = Prediction(model(access), STATE, evaluate)
    doors = [(r, o) for r in (ISSUES, USERS) for o in Operation]
    prediction.foresee(member("A"), doors)
    assert asked == [[(ISSUES, "mine"), (USERS, "s")]]
    for relation, operation in doors:
        prediction.allowed(member("A"), relation, operation)
    prediction.foresee(member("A"), doors)
    assert len(asked) == 1


def test_whose_rows() -> None:
    active = Principal("dual", "u1", "A", (Membership("A"),), frozenset({"A", "B"}))
    b1, own, none = STATE[ISSUES]["b1"], STATE[ISSUES]["mine"], STATE[ISSUES]["none"]
    assert (belongs_to(b1, active), in_scope(b1, active)) == (True, False)
    assert (belongs_to(own, active), in_scope(own, active)) == (True, True)
    assert (belongs_to(none, active), in_scope(none, active)) == (False, False)
    assert not belongs_to(own, Principal("unset"))
    assert none.nobodys
    assert not any(STATE[ISSUES][k].nobodys for k in ("a1", "mine", "all"))
    assert owners_of(STATE[ISSUES].values()) == ("A", "B")
