"""How an identity becomes statements, and what the catalog forbids outright."""

from collections.abc import Mapping

import pytest

from tenantfuzz.identity import (
    bypasses_row_security,
    identity_statements,
    is_closed,
    permissive_policies,
    readable_identity,
    roles_of,
)
from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.structure import (
    Catalog,
    Grant,
    Policy,
    Privilege,
    Relation,
    RelationKind,
    RelationName,
    Role,
)

ISSUES = RelationName("public", "issues")
APP = Role("app")
EVERYTHING = Grant(frozenset(Privilege))


def table(*policies: Policy, on: bool = True, forced: bool = False) -> Relation:
    return Relation(
        ISSUES,
        1,
        RelationKind.TABLE,
        "owner",
        (),
        row_security=on,
        force_row_security=forced,
        policies=policies,
    )


def policy(
    command: str = "all",
    using: str | None = "org = 1",
    check: str | None = None,
    roles: tuple[str, ...] = (),
    permissive: bool = True,
) -> Policy:
    return Policy(f"p_{command}", command, permissive, roles, using, check)


def closed(
    relation: Relation, command: str = "select", role: Role = APP, grant: Grant = EVERYTHING
) -> bool:
    grants: Mapping[tuple[str, RelationName], Grant] = {(role.name, ISSUES): grant}
    catalog = Catalog({ISSUES: relation}, {role.name: role}, grants, (), 180000)
    return is_closed(role, relation, command, catalog)


COMMANDS = ("select", "insert", "update", "delete")


@pytest.mark.parametrize("command", COMMANDS)
def test_no_privilege_closes_whatever_policies_say(command: str) -> None:
    others = Grant(frozenset(Privilege) - {Privilege(command)})
    assert closed(table(policy()), command, grant=others)
    assert closed(table(on=False), command, grant=others)
    assert not closed(table(on=False), command)


@pytest.mark.parametrize("command", ["select", "insert", "update"])
def test_a_privilege_on_one_column_opens(command: str) -> None:
    one = Grant(columns={Privilege(command): frozenset({"title"})})
    none = Grant(columns={Privilege(command): frozenset()})
    assert not closed(table(policy()), command, grant=one)
    assert closed(table(policy()), command, grant=none)
    others = {"select", "insert", "update"} - {command}
    assert all(closed(table(policy()), other, grant=one) for other in others)


@pytest.mark.parametrize("command", COMMANDS)
def test_row_security_without_a_policy_for_the_command_closes(command: str) -> None:
    assert closed(table(), command)
    assert not closed(table(policy(command, check="true")), command)
    for other in set(COMMANDS) - {command}:
        assert closed(table(policy(other, check="true")), command)


def test_policies_do_not_matter_while_row_security_is_off() -> None:
    assert not closed(table(policy(using="false"), on=False))


def test_restrictive_policies_open_nothing() -> None:
    assert closed(table(policy(permissive=False)))


def test_policies_speak_for_roles_and_their_members() -> None:
    assert closed(table(policy(roles=("staff",))))
    assert not closed(table(policy(roles=("staff", "app"))))
    # A member of a role is addressed by its policies even without inheriting from it.
    assert not closed(
        table(policy(roles=("staff",))), role=Role("app", member_of=frozenset({"staff"}))
    )


@pytest.mark.parametrize("text", ["false", "(false)", "FALSE", "((false))"])
def test_a_literal_false_opens_nothing(text: str) -> None:
    assert closed(table(policy(using=text)))
    assert not closed(table(policy(using=text), policy("select", "org = 1")))


@pytest.mark.parametrize("text", ["false OR org = 1", "NOT false", "org = 1"])
def test_what_only_holds_the_word_false_may_open(text: str) -> None:
    assert not closed(table(policy(using=text)))


def test_insert_goes_by_the_check_and_by_using_where_there_is_none() -> None:
    assert closed(table(policy(using="true", check="false")), "insert")
    assert closed(table(policy(using="false")), "insert")
    assert not closed(table(policy(using="false", check="true")), "insert")
    assert not closed(table(policy("insert", None, "org = 1")), "insert")


def test_update_goes_by_using() -> None:
    assert closed(table(policy("update", "false", "true")), "update")
    assert not closed(table(policy("update", "org = 1", "true")), "update")


def test_superusers_and_bypassrls() -> None:
    assert not closed(table(), role=Role("root", superuser=True), grant=Grant())
    bypass = Role("svc", bypass_row_security=True)
    assert not closed(table(), role=bypass)
    assert closed(table(), role=bypass, grant=Grant())  # it needs the privilege all the same


@pytest.mark.parametrize(
    "role",
    [
        Role("owner"),
        Role("app", member_of=frozenset({"owner"}), inherits_from=frozenset({"owner"})),
    ],
    ids=["owner", "inherits"],
)
def test_owners_are_bound_only_by_force(role: Role) -> None:
    assert not closed(table(), role=role)
    assert closed(table(forced=True), role=role)


def test_a_member_of_the_owner_that_does_not_inherit_is_bound() -> None:
    role = Role("app", inherit=False, member_of=frozenset({"owner"}))
    assert closed(table(), role=role)
    assert bypasses_row_security(role, table()) is None


def test_why_policies_do_not_bind() -> None:
    def why(role: Role, relation: Relation) -> str | None:
        return bypasses_row_security(role, relation)

    assert why(APP, table()) is None
    assert why(Role("root", superuser=True), table()) == (
        "role root is a superuser: policies are not applied"
    )
    assert why(Role("svc", bypass_row_security=True), table(forced=True)) == (
        "role svc has BYPASSRLS: policies are not applied"
    )
    owner = "role owner owns the table and row security is not forced"
    assert why(Role("owner"), table()) == owner
    assert why(Role("owner"), table(forced=True)) is None
    assert why(Role("owner"), table(on=False)) is None
    heir = Role("app", inherits_from=frozenset({"owner"}))
    assert why(heir, table()) == (
        "role app inherits from the table's owner and row security is not forced"
    )


def test_permissive_policies_for_a_role_and_a_command() -> None:
    relation = table(
        Policy("all", "all", True, (), "true", None),
        Policy("mine", "select", True, ("app",), "true", None),
        Policy("staff", "select", True, ("staff",), "true", None),
        Policy("strict", "select", False, (), "true", None),
        Policy("upd", "update", True, (), "true", None),
    )
    assert permissive_policies(APP, relation, "select") == ["all", "mine"]
    assert permissive_policies(APP, relation, "update") == ["all", "upd"]
    staff = Role("app", member_of=frozenset({"staff"}))
    assert permissive_policies(staff, relation, "select") == ["all", "mine", "staff"]


# Statements

AUTH = Role(
    "auth",
    settings=(("search_path", "app, public"), ("statement_timeout", "8s"), ("App.x", "it's")),
)
CATALOG = Catalog({}, {"auth": AUTH, "app": APP}, {}, (), 180000)


def test_a_login_brings_its_settings_then_role_settings_and_statements_follow() -> None:
    principal = Principal(
        "member",
        login="auth",
        role="app",
        settings=(("request.sub", "a'b"), ("app.org", "")),
        statements=("SELECT enter()",),
    )
    assert identity_statements(principal, CATALOG) == [
        "SELECT set_config('search_path', 'app, public', true)",
        "SELECT set_config('App.x', 'it''s', true)",
        'SET LOCAL SESSION AUTHORIZATION "auth"',
        'SET LOCAL ROLE "app"',
        "SELECT set_config('request.sub', 'a''b', true)",
        "SELECT set_config('app.org', '', true)",
        "SELECT enter()",
    ]


def test_without_a_login_the_role_is_the_login() -> None:
    assert identity_statements(Principal("member", role="app"), CATALOG) == [
        'SET LOCAL SESSION AUTHORIZATION "app"'
    ]
    assert identity_statements(Principal("member", role="app", login="app"), CATALOG) == [
        'SET LOCAL SESSION AUTHORIZATION "app"'
    ]
    assert identity_statements(Principal("member"), CATALOG) == []


def test_identity_for_people() -> None:
    principal = Principal(
        "member", role="App", settings=(("app.org", "1"),), statements=("SELECT enter(); ", "BEG")
    )
    assert readable_identity(principal) == [
        'SET LOCAL ROLE "App";',
        "SELECT set_config('app.org', '1', true);",
        "SELECT enter();",
        "BEG;",
    ]
    other = Principal("member", role="app", login="auth")
    assert readable_identity(other) == [
        "SET LOCAL SESSION AUTHORIZATION auth;",
        "SET LOCAL ROLE app;",
    ]


def test_roles_that_principals_act_in() -> None:
    principals = [
        Principal("member", role="app", login="auth"),
        Principal("anonymous", login="auth"),
        Principal("unset"),
        Principal("dual", role="app"),
    ]
    assert roles_of(principals) == ("app", "auth")
