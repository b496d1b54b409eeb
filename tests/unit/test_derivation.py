"""Principals derived from the memberships of a world."""

import json
from collections.abc import Mapping

import pytest

from tenantfuzz.policies.derivation import derive_principals
from tenantfuzz.policies.model import (
    Context,
    Identity,
    Kind,
    Memberships,
    Model,
    Ownership,
    OwnershipKind,
    Scope,
    SqlTemplate,
)
from tenantfuzz.policies.placeholders import Binding
from tenantfuzz.policies.principals import (
    Freshness,
    Membership,
    MembershipFact,
    Population,
    Principal,
)
from tenantfuzz.policies.structure import RelationName

ISSUES = RelationName("public", "issues")
MEMBERS = Memberships(RelationName("public", "memberships"), "user_id", "org_id", "NOT gone")
UUID = "6c0e15e3-2b6d-48ba-9307-6f02040d333d"
BOTH = {"app.user": "{user.id}", "app.org": "{tenant.id}"}


def model(
    settings: Mapping[str, str | SqlTemplate] | None = None,
    *,
    context: Context = Context.VERIFIED,
    scope: Scope = Scope.MEMBERSHIPS,
    role: str | SqlTemplate | None = "app",
    login: str | None = None,
    anonymous: str | None = None,
    claims: bool = False,
    kinds: tuple[Kind, ...] = (Kind("member"),),
    memberships: Memberships | None = MEMBERS,
) -> Model:
    return Model(
        tenants=None,
        tenant_key=None,
        tenant_values=(),
        ownership={ISSUES: Ownership(OwnershipKind.COLUMN, "customer_id")},
        identity=Identity(
            role=role,
            login=login,
            anonymous=anonymous,
            settings={} if settings is None else settings,
            context=context,
            user_claims=claims,
            statements=("SELECT enter()",),
        ),
        kinds=kinds,
        memberships=memberships,
        scope=scope,
    )


def population(
    *facts: tuple[str, str, str] | tuple[str, str, str, bool],
    users: tuple[str, ...] = (),
    tenants: tuple[str, ...] = ("A", "B"),
) -> Population:
    """Memberships as user, tenant, kind and whether in force; ``users`` have none."""
    memberships = [
        MembershipFact(f[0], f[1], f[2], f[3] if len(f) > 3 else True, {"level": f"{f[2]}-level"})
        for f in facts
    ]
    names = dict.fromkeys([*(m.user for m in memberships), *users])
    return Population(
        {t: {"id": t, "slug": t.lower()} for t in tenants},
        {u: {"id": u, "email": f"{u}@x"} for u in names},
        memberships,
        has_users=True,
    )


def unresolved(sql: str, binding: Binding) -> str | None:
    raise AssertionError(f"nothing is declared as SQL, yet asked: {sql}")


def derive(the_model: Model, people: Population) -> tuple[Principal, ...]:
    return derive_principals(the_model, people, resolve=unresolved)


def of_kind(principals: tuple[Principal, ...], kind: str) -> list[Principal]:
    return [p for p in principals if p.kind == kind]


# Members


def test_each_member_acts_with_its_own_identity() -> None:
    people = population(("u1", "A", "member"), ("u2", "B", "member"))
    first, second = derive(model(BOTH, login="auth"), people)[:2]
    assert first == Principal(
        kind="member",
        user="u1",
        tenant="A",
        memberships=(Membership("A", "member"),),
        all_tenants=frozenset({"A"}),
        role="app",
        login="auth",
        settings=(("app.user", "u1"), ("app.org", "A")),
        statements=("SELECT enter()",),
    )
    assert (second.user, second.tenant) == ("u2", "B")


def test_attributes_of_user_tenant_and_membership_are_there() -> None:
    settings = {"x": "{user.email}/{tenant.slug}/{membership.level}"}
    first = derive(model(settings), population(("u1", "A", "member")))[0]
    assert first.settings == (("x", "u1@x/a/member-level"),)


def test_a_kind_brings_its_own_role_login_and_settings() -> None:
    admin = Kind("admin", "x", role="app_admin", login="ops", settings={"app.org": "all"})
    people = population(("u1", "A", "admin"), ("u2", "A", "member"))
    principals = derive(model(BOTH, kinds=(admin, Kind("member"))), people)
    one, two = principals[:2]
    assert (one.kind, one.role, one.login) == ("admin", "app_admin", "ops")
    assert one.settings == (("app.user", "u1"), ("app.org", "all"))
    assert (two.kind, two.role, two.login) == ("member", "app", None)
    assert two.settings == (("app.user", "u2"), ("app.org", "A"))


def test_roles_may_be_templates() -> None:
    first = derive(model(role="tenant_{tenant.slug}"), population(("u1", "B", "member")))[0]
    assert first.role == "tenant_b"


def test_roles_and_settings_as_sql_are_resolved_with_what_the_principal_is() -> None:
    asked: list[tuple[str, Binding]] = []

    def resolve(sql: str, binding: Binding) -> str | None:
        asked.append((sql, binding))
        return f"{sql[-4:]}!"

    the_model = model(
        {"app.orgs": SqlTemplate("SELECT :user x orgs")}, role=SqlTemplate("SELECT :tenant role")
    )
    people = population(("u1", "A", "member"), ("u1", "B", "member"))
    first = derive_principals(the_model, people, resolve=resolve)[0]
    assert first.role == "role!"
    assert first.settings == (("app.orgs", "orgs!"),)
    binding = Binding("A", "u1", ["A", "B"])
    assert asked[:2] == [("SELECT :tenant role", binding), ("SELECT :user x orgs", binding)]


def test_without_users_there_is_one_principal_for_each_tenant() -> None:
    people = Population({"A": {"id": "A"}, "B": {"id": "B"}}, {}, (), has_users=False)
    principals = derive(model({"app.org": "{tenant.id}"}, memberships=None), people)
    members = of_kind(principals, "member")
    assert [(p.user, p.tenant, p.settings) for p in members] == [
        (None, "A", (("app.org", "A"),)),
        (None, "B", (("app.org", "B"),)),
    ]
    assert members[0].memberships == (Membership("A"),)
    assert {p.kind for p in principals} == {"member", "unset", "empty", "residual", "malformed"}


# Members of several tenants


def test_under_scope_memberships_all_count_and_each_named_tenant_is_one_identity() -> None:
    people = population(("u1", "A", "member"), ("u1", "B", "admin"))
    dual = of_kind(derive(model(BOTH), people), "dual")
    assert [(p.tenant, p.memberships, p.all_tenants) for p in dual] == [
        (t, (Membership("A", "member"), Membership("B", "admin")), frozenset({"A", "B"}))
        for t in ("A", "B")
    ]
    assert dual[0].note == "member of tenant A and admin of tenant B"


def test_where_no_setting_names_the_tenant_one_identity_is_all_there_is() -> None:
    people = population(("u1", "A", "member"), ("u1", "B", "member"))
    dual = of_kind(derive(model({"app.user": "{user.id}"}), people), "dual")
    assert [(p.tenant, p.tenants, p.note) for p in dual] == [("A", frozenset("AB"), "")]


def test_under_scope_active_only_the_active_tenant_counts() -> None:
    people = population(("u1", "A", "member"), ("u1", "B", "member"))
    dual = of_kind(derive(model(BOTH, scope=Scope.ACTIVE), people), "dual")
    assert [(p.tenant, p.tenants, p.all_tenants) for p in dual] == [
        ("A", frozenset("A"), frozenset("AB")),
        ("B", frozenset("B"), frozenset("AB")),
    ]


def test_two_memberships_of_one_tenant_are_no_dual() -> None:
    people = population(("u1", "A", "member"), ("u1", "A", "admin"))
    principals = derive(model(BOTH), people)
    assert of_kind(principals, "dual") == []
    assert [p.kind for p in principals[:2]] == ["member", "admin"]


# Who is no member


def test_under_a_verified_context_an_outsider_names_no_tenant() -> None:
    people = population(("u1", "A", "member"), users=("o1", "o2"))
    outsiders = of_kind(derive(model(BOTH), people), "outsider")
    assert [(p.user, p.tenant, p.tenants, p.settings) for p in outsiders] == [
        ("o1", None, frozenset(), (("app.user", "o1"),))
    ]


def test_under_a_chosen_context_outsiders_and_members_name_foreign_tenants() -> None:
    people = population(("u1", "A", "member"), users=("o1",))
    outsiders = of_kind(derive(model(BOTH, context=Context.CHOSEN), people), "outsider")
    assert [(p.user, p.tenant, p.all_tenants, p.settings) for p in outsiders] == [
        ("o1", None, frozenset(), (("app.user", "o1"),)),
        ("o1", "A", frozenset(), (("app.user", "o1"), ("app.org", "A"))),
        ("u1", "B", {"A"}, (("app.user", "u1"), ("app.org", "B"))),
    ]
    # One that strays keeps what it is a member of: those rows are no other organisation's.
    assert outsiders[2].memberships == (Membership("A", "member"),)


def test_a_chosen_context_that_names_no_tenant_has_nothing_to_choose() -> None:
    people = population(("u1", "A", "member"), users=("o1",))
    settings = {"app.user": "{user.id}"}
    outsiders = of_kind(derive(model(settings, context=Context.CHOSEN), people), "outsider")
    assert [(p.user, p.tenant) for p in outsiders] == [("o1", None)]


@pytest.mark.parametrize(
    ("context", "tenants"), [(Context.VERIFIED, [None]), (Context.CHOSEN, [None, "A"])]
)
def test_former_members(context: Context, tenants: list[str | None]) -> None:
    people = population(
        ("u1", "B", "member"),
        ("f1", "A", "member", False),
        ("u1", "A", "member", False),  # in force elsewhere: no former member
    )
    former = of_kind(derive(model(BOTH, context=context), people), "former")
    assert [(p.user, p.tenant) for p in former] == [("f1", t) for t in tenants]
    assert all(p.memberships == () and p.all_tenants == frozenset() for p in former)


def test_where_memberships_are_deleted_the_last_user_without_one_is_the_former_member() -> None:
    deleting = Memberships(MEMBERS.relation, "user_id", "org_id", None)
    people = population(("u1", "A", "member"), users=("o1", "o2"))
    former = of_kind(derive(model(BOTH, memberships=deleting), people), "former")
    assert [p.user for p in former] == ["o2"]
    assert of_kind(derive(model(BOTH), people), "former") == []


def test_the_anonymous_role_gets_what_needs_no_user() -> None:
    settings = {
        "claims": '{"sub": "{user.id}", "role": "app"}',
        "app.user": "{user.id}",
        "app.org": "{tenant.id}",
    }
    people = population(("u1", "A", "member"))
    (one,) = of_kind(derive(model(settings, anonymous="anon", login="auth"), people), "anonymous")
    assert (one.role, one.login, one.user, one.tenant) == ("anon", "auth", None, None)
    assert one.settings == (("claims", '{"role": "anon"}'),)
    chosen = model(settings, anonymous="anon", context=Context.CHOSEN)
    both = of_kind(derive(chosen, people), "anonymous")
    assert [(p.tenant, p.settings[1:]) for p in both] == [(None, ()), ("A", (("app.org", "A"),))]


def test_without_an_anonymous_role_nobody_is_anonymous() -> None:
    assert of_kind(derive(model(BOTH), population(("u1", "A", "member"))), "anonymous") == []


# Identities that are unset, empty or left over


def test_without_settings_there_is_nothing_to_unset() -> None:
    principals = derive(model(), population(("u1", "A", "member")))
    assert [p.kind for p in principals] == ["member"]


def test_one_setting_can_be_unset_empty_or_left_over() -> None:
    principals = derive(model({"app.user": "{user.id}"}), population(("u1", "A", "member")))
    free = [p for p in principals if p.kind in ("unset", "empty", "residual")]
    left = (("app.user", "u1"),)
    assert [(p.kind, p.settings, p.freshness, p.earlier) for p in free] == [
        ("unset", (), Freshness.NEVER_SET, ()),
        ("empty", (("app.user", ""),), Freshness.ANY, ()),
        ("residual", (), Freshness.COMMITTED, left),
        ("residual", (), Freshness.ROLLED_BACK, left),
    ]
    assert all(p.role == "app" and p.user is None and not p.all_tenants for p in free)


Partial = tuple[str, str | None, str | None, frozenset[str], tuple[tuple[str, str], ...]]


def partial(settings: Mapping[str, str | SqlTemplate], context: Context) -> list[Partial]:
    principals = derive(model(settings, context=context), population(("u1", "A", "member")))
    return [
        (p.kind, p.user, p.tenant, p.tenants, p.settings)
        for p in principals
        if p.kind in ("unset", "empty") and "the other settings" in p.note
    ]


A = frozenset({"A"})
NONE: frozenset[str] = frozenset()


def test_partial_settings_under_a_verified_context_keep_what_is_vouched_for() -> None:
    assert partial(BOTH, Context.VERIFIED) == [
        ("unset", None, "A", A, (("app.org", "A"),)),
        ("empty", None, "A", A, (("app.org", "A"), ("app.user", ""))),
        ("unset", "u1", None, A, (("app.user", "u1"),)),
        ("empty", "u1", None, A, (("app.user", "u1"), ("app.org", ""))),
    ]


def test_partial_settings_under_a_chosen_context_vouch_only_for_the_user() -> None:
    assert partial(BOTH, Context.CHOSEN) == [
        ("unset", None, "A", NONE, (("app.org", "A"),)),
        ("empty", None, "A", NONE, (("app.org", "A"), ("app.user", ""))),
        ("unset", "u1", None, A, (("app.user", "u1"),)),
        ("empty", "u1", None, A, (("app.user", "u1"), ("app.org", ""))),
    ]


def test_a_setting_that_carries_no_one_vouches_for_nobody() -> None:
    settings = {"app.user": "{user.id}", "app.mode": "strict"}
    assert partial(settings, Context.VERIFIED) == [
        ("unset", None, None, NONE, (("app.mode", "strict"),)),
        ("empty", None, None, NONE, (("app.mode", "strict"), ("app.user", ""))),
        ("unset", "u1", None, A, (("app.user", "u1"),)),
        ("empty", "u1", None, A, (("app.user", "u1"), ("app.mode", ""))),
    ]


# Malformed identities


def malformed(
    settings: Mapping[str, str | SqlTemplate],
    *,
    context: Context = Context.VERIFIED,
    user: str = "u1",
) -> list[tuple[str | None, str | None, frozenset[str], dict[str, str]]]:
    people = population((user, "A", "member"))
    found = of_kind(derive(model(settings, context=context), people), "malformed")
    return [(p.user, p.tenant, p.tenants, dict(p.settings)) for p in found]


@pytest.mark.parametrize(
    ("user", "unknown"),
    [("u1", "nobody"), ("17", "-1"), (UUID, "00000000-0000-4000-8000-00000000dead")],
)
def test_plain_values_are_malformed_in_the_style_of_the_value(user: str, unknown: str) -> None:
    assert malformed({"app.user": "{user.id}"}, user=user) == [
        (None, None, NONE, {"app.user": bad}) for bad in ("%", "' OR true --", unknown)
    ]


def test_claims_are_malformed_as_json() -> None:
    found = malformed({"claims": '{"sub": "{user.id}", "role": "app"}'})
    assert [(user, tenant, tenants) for user, tenant, tenants, _ in found] == [
        (None, None, NONE)
    ] * 6
    values = [settings["claims"] for *_, settings in found]
    assert values[:4] == ["not json", "[]", "null", "{}"]
    assert [json.loads(v) for v in values[4:]] == [
        {"sub": "nobody", "role": "app"},
        {"sub": None, "role": "app"},
    ]


def test_under_a_verified_context_a_wrong_subject_leaves_its_tenant_in_force() -> None:
    settings = {"claims": '{"sub": "{user.id}", "org": "{tenant.id}"}'}
    found = malformed(settings)
    assert [(user, tenants) for user, _, tenants, _ in found[:4]] == [(None, NONE)] * 4
    assert [(user, tenants) for user, _, tenants, _ in found[4:]] == [(None, A)] * 2
    # A chosen tenant with a wrong user: not tried, for whose rows those are nobody can say.
    assert len(malformed(settings, context=Context.CHOSEN)) == 4


def test_beside_a_malformed_setting_the_other_one_says_who_it_is() -> None:
    by_setting: dict[str, list[tuple[str | None, frozenset[str]]]] = {"app.user": [], "app.org": []}
    for user, tenant, tenants, settings in malformed(BOTH):
        assert tenant is None
        name = "app.org" if settings["app.user"] == "u1" else "app.user"
        by_setting[name].append((user, tenants))
    assert by_setting == {"app.user": [(None, A)] * 3, "app.org": [("u1", A)] * 3}
    chosen = malformed(BOTH, context=Context.CHOSEN)
    wrong_user = [(u, ts) for u, _, ts, settings in chosen if settings["app.org"] == "A"]
    assert wrong_user == [(None, NONE)] * 3


# Claims that users write


def test_claims_that_the_user_writes_name_another_tenant() -> None:
    settings = {"claims": '{"sub": "{user.id}", "user_metadata": {"theme": "dark"}}'}
    people = population(("u1", "A", "member"))
    (claim,) = of_kind(derive(model(settings, claims=True), people), "claim")
    written = json.loads(dict(claim.settings)["claims"])
    assert written["sub"] == "u1"
    metadata = written["user_metadata"]
    assert metadata["theme"] == "dark"
    # The ownership column of the model is among the names that are tried.
    assert {metadata[k] for k in ("org_id", "tenant_id", "customer_id")} == {"B"}
    assert metadata["role"] == "admin"
    assert (claim.user, claim.tenants) == ("u1", A)  # it stays a member of A and no more


def test_no_claims_without_a_second_tenant_or_where_users_write_none() -> None:
    settings = {"claims": '{"sub": "{user.id}"}'}
    alone = population(("u1", "A", "member"), tenants=("A",))
    assert of_kind(derive(model(settings, claims=True), alone), "claim") == []
    assert of_kind(derive(model(settings), population(("u1", "A", "member"))), "claim") == []


def test_members_come_first_and_the_order_is_stable() -> None:
    people = population(
        ("u1", "A", "member"), ("u2", "B", "member"), ("d", "A", "member"), ("d", "B", "member")
    )
    principals = derive(model(BOTH, anonymous="anon"), people)
    kinds = list(dict.fromkeys(p.kind for p in principals))
    assert kinds == ["member", "dual", "anonymous", "unset", "empty", "residual", "malformed"]
    assert derive(model(BOTH, anonymous="anon"), people) == principals
