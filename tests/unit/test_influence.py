"""Which relations decide what is visible in others."""

from tenantfuzz.policies.structure import (
    Catalog,
    Function,
    Policy,
    Relation,
    RelationKind,
    RelationName,
)
from tenantfuzz.strategies.influence import influential_relations


def named(name: str) -> RelationName:
    return RelationName("public", name)


def table(name: str, using: str | None = None, check: str | None = None) -> Relation:
    policies = (Policy("p", "all", True, (), using, check),) if using or check else ()
    return Relation(named(name), 1, RelationKind.TABLE, "owner", (), policies=policies)


def function(name: str, source: str) -> Function:
    return Function(named(name), 2, "", "boolean", "sql", True, False, "owner", source)


def catalog(*relations: Relation, functions: tuple[Function, ...] = ()) -> Catalog:
    return Catalog({r.name: r for r in relations}, {}, {}, functions, 180000)


def test_relations_that_policies_of_others_name() -> None:
    found = influential_relations(
        catalog(
            table("issues", "org_id IN (SELECT m.org_id FROM Memberships m)"),
            table("memberships"),
            table("plans"),
        )
    )
    assert found == {named("memberships")}


def test_with_check_counts_as_much_as_using() -> None:
    found = influential_relations(
        catalog(table("issues", check="EXISTS (SELECT FROM projects)"), table("projects"))
    )
    assert found == {named("projects")}


def test_a_relation_that_only_its_own_policy_names_decides_nothing_elsewhere() -> None:
    assert influential_relations(catalog(table("issues", "issues.org_id = 1"))) == frozenset()


def test_parts_of_words_are_no_names() -> None:
    found = influential_relations(
        catalog(table("issues", "memberships_old.x = a.member"), table("memberships"))
    )
    assert found == frozenset()


def test_functions_are_followed_through_the_functions_that_they_call() -> None:
    relations = (table("issues", "app_member(org_id)"), table("memberships"), table("plans"))
    functions = (
        function("app_member", "SELECT app_inner($1)"),
        function("app_inner", "SELECT EXISTS (SELECT FROM memberships)"),
        function("unrelated", "SELECT 1 FROM plans"),
    )
    assert influential_relations(catalog(*relations, functions=functions)) == {named("memberships")}
