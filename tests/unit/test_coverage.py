"""The ledger of cells: covered, closed, untested and why."""

import pytest

from tenantfuzz.coverage import Cell, Ledger, matches
from tenantfuzz.events import Coverage
from tenantfuzz.policies.configuration import Acceptance
from tenantfuzz.policies.model import Identity, Kind, Model, Ownership, OwnershipKind, Rule
from tenantfuzz.policies.principals import HostileKind, Principal
from tenantfuzz.policies.structure import (
    Catalog,
    Function,
    Grant,
    Operation,
    Policy,
    Privilege,
    Relation,
    RelationKind,
    RelationName,
    Role,
)
from tenantfuzz.results import Failure

ISSUES = RelationName("public", "issues")
PLANS = RelationName("public", "plans")
VIEW = RelationName("public", "open_issues")
PART = RelationName("public", "issues_2024")
SELECT, INSERT, UPDATE, DELETE = Operation
MEMBER = Principal("member", role="app")
ANONYMOUS = Principal("anonymous", role="anon")


def relation(
    name: RelationName,
    *,
    kind: RelationKind = RelationKind.TABLE,
    row_security: bool = False,
    parent: RelationName | None = None,
) -> Relation:
    policies = (Policy("p", "all", True, (), "org = 1", None),) if row_security else ()
    return Relation(
        name, 1, kind, "owner", (), row_security=row_security, policies=policies, parent=parent
    )


def ledger(
    *relations: Relation,
    grants: dict[tuple[str, RelationName], Grant] | None = None,
    owned: tuple[RelationName, ...] = (ISSUES, PLANS, VIEW, PART),
    kinds: tuple[Kind, ...] = (Kind("member"),),
    access: dict[tuple[str, RelationName, Operation], Rule] | None = None,
    functions: tuple[Function, ...] = (),
) -> Ledger:
    everything = Grant(frozenset(Privilege))
    catalog = Catalog(
        {r.name: r for r in relations},
        {"app": Role("app"), "anon": Role("anon")},
        {("app", r.name): everything for r in relations} if grants is None else grants,
        functions,
        180000,
    )
    model = Model(
        tenants=None,
        tenant_key=None,
        tenant_values=("A",),
        ownership={n: Ownership(OwnershipKind.COLUMN, "org") for n in owned},
        identity=Identity(),
        kinds=kinds,
        access=access or {},
    )
    return Ledger(catalog, model, functions=functions)


def reasons(coverage: Coverage) -> dict[tuple[str, str, str], str]:
    return {(c.relation, c.operation, c.kind): c.reason for c in coverage.untested}


def test_every_table_has_a_cell_for_each_operation_and_kind() -> None:
    book = ledger(relation(ISSUES), relation(VIEW, kind=RelationKind.VIEW))
    book.meet([MEMBER, ANONYMOUS])
    expected: list[Cell] = [
        (ISSUES, op, kind)
        for op in (SELECT, INSERT, UPDATE, DELETE)
        for kind in ("member", "anonymous")
    ]
    assert list(book.cells()) == [*expected, (VIEW, SELECT, "member"), (VIEW, SELECT, "anonymous")]


def test_only_those_relations_that_were_asked_for() -> None:
    book = ledger(relation(ISSUES), relation(PLANS))
    book.meet([MEMBER])
    book.only = frozenset({PLANS})
    assert {c[0] for c in book.cells()} == {PLANS}
    coverage = book.summary(())
    assert coverage.cells == 4
    assert {c.relation for c in coverage.untested} == {"public.plans"}


def test_a_cell_that_was_tried_is_covered() -> None:
    book = ledger(relation(ISSUES))
    book.meet([MEMBER])
    book.tried.add((ISSUES, SELECT, "member"))
    assert book.progress() == (1, 4)
    coverage = book.summary(())
    assert (coverage.cells, coverage.covered, coverage.closed) == (4, 1, 0)
    why = "no row was there that this kind of principal must not reach"
    assert reasons(coverage) == {
        ("public.issues", op, "member"): why for op in ("insert", "update", "delete")
    }


def test_denials_of_a_policy_that_never_let_anybody_through_prove_nothing() -> None:
    book = ledger(relation(ISSUES, row_security=True))
    book.meet([MEMBER])
    book.tried |= {(ISSUES, op, "member") for op in Operation}
    book.let_through.add((ISSUES, SELECT))
    coverage = book.summary(())
    assert coverage.covered == 1
    assert set(reasons(coverage).values()) == {
        "its policies never let anybody through: their denials prove nothing"
    }
    assert ("public.issues", "select", "member") not in reasons(coverage)


def test_cells_without_a_privilege_are_closed() -> None:
    book = ledger(relation(ISSUES), grants={("app", ISSUES): Grant(frozenset({Privilege.SELECT}))})
    book.meet([MEMBER, ANONYMOUS])
    coverage = book.summary(())
    assert coverage.closed_cells == (
        ("public.issues", "select", "anonymous"),
        ("public.issues", "insert", "member"),
        ("public.issues", "insert", "anonymous"),
        ("public.issues", "update", "member"),
        ("public.issues", "update", "anonymous"),
        ("public.issues", "delete", "member"),
        ("public.issues", "delete", "anonymous"),
    )
    assert (coverage.cells, coverage.closed) == (8, 7)
    assert set(reasons(coverage)) == {("public.issues", "select", "member")}
    assert book.progress() == (7, 8)
    assert book.is_open(ISSUES)


def test_a_kind_is_closed_only_if_all_of_its_roles_are() -> None:
    book = ledger(relation(ISSUES))
    book.meet([Principal("member", role="anon")])
    assert book.summary(()).closed == 4
    assert not book.is_open(ISSUES)
    book.meet([MEMBER])
    assert book.summary(()).closed == 0
    assert book.is_open(ISSUES)


def test_a_kind_that_never_arose_is_untested() -> None:
    book = ledger(relation(ISSUES), kinds=(Kind("admin", "x"), Kind("member")))
    book.meet([MEMBER])
    missing = {k: v for k, v in reasons(book.summary(())).items() if k[2] == "admin"}
    assert set(missing.values()) == {"no principal of kind admin arose in any world"}
    assert len(missing) == 4


def test_the_default_kind_counts_only_where_something_is_left_to_it() -> None:
    kinds = (Kind("admin", "x"), Kind("member"))
    admin = Principal("admin", role="app")
    book = ledger(relation(ISSUES), kinds=kinds)
    book.meet([admin])
    assert {c[2] for c in book.cells()} == {"admin"}
    spoken = ledger(relation(ISSUES), kinds=kinds, access={("member", ISSUES, DELETE): Rule(None)})
    spoken.meet([admin])
    assert {c[2] for c in spoken.cells()} == {"admin", "member"}
    alone = ledger(relation(ISSUES))
    assert {c[2] for c in alone.cells()} == {"member"}


def test_unclassified_unpopulated_and_refused() -> None:
    book = ledger(relation(ISSUES), relation(PLANS), owned=(ISSUES,))
    book.meet([MEMBER])
    book.tried |= {(PLANS, op, "member") for op in Operation}
    book.tried |= {(ISSUES, op, "member") for op in Operation}
    book.unpopulated = {ISSUES: "a check refuses every row"}
    found = reasons(book.summary(()))
    assert found["public.plans", "select", "member"] == (
        "unclassified: nothing says whose its rows are"
    )
    assert found["public.issues", "select", "member"] == "not populated: a check refuses every row"
    book.unpopulated = {}
    book.tried.clear()
    book.refusals[ISSUES, INSERT] = "no insert succeeds"
    assert reasons(book.summary(()))["public.issues", "insert", "member"] == "no insert succeeds"


def test_a_partition_is_populated_through_its_root() -> None:
    book = ledger(relation(ISSUES, kind=RelationKind.PARTITIONED), relation(PART, parent=ISSUES))
    book.meet([MEMBER])
    book.unpopulated = {ISSUES: "why"}
    assert reasons(book.summary(()))["public.issues_2024", "select", "member"] == (
        "not populated: why"
    )


def test_functions_and_queries_are_listed() -> None:
    def function(name: str, *roles: str) -> Function:
        return Function(
            RelationName("public", name),
            1,
            "",
            "int",
            "sql",
            True,
            True,
            "owner",
            "",
            executable_by=frozenset(roles),
        )

    book = ledger(functions=(function("f", "app"), function("g")))
    book.query_cells = {("issue list", "service"): "it fails", ("issue get", "service"): None}
    book.meet([MEMBER, ANONYMOUS])
    coverage = book.summary(())
    assert [(c.relation, c.operation, c.kind) for c in coverage.untested] == [
        ("public.f", "call", "member"),
        ("issue list", "query", "service"),
    ]
    assert coverage.covered_cells == (("issue get", "query", "service"),)
    assert coverage.cells == 3


def test_accepted_cells_are_listed_with_their_reason() -> None:
    book = ledger(relation(ISSUES))
    book.meet([MEMBER])
    accepted = (
        Acceptance(code="TF101", relation="public.issues", reason="that is a finding's"),
        Acceptance(relation="issues", operation="delete", reason="never deleted"),
        Acceptance(relation="public.*", operation="del*", reason="too late"),
    )
    coverage = book.summary(accepted)
    assert [(c.operation, c.accepted) for c in coverage.accepted] == [("delete", "never deleted")]
    assert {c.operation for c in coverage.untested} == {"select", "insert", "update"}
    assert coverage.cells == 4


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (Acceptance(relation="public.issues", reason="r"), True),
        (Acceptance(relation="issues", reason="r"), True),
        (Acceptance(relation="iss*", reason="r"), True),
        (Acceptance(relation="app.*", reason="r"), False),
        (Acceptance(relation="Issues", reason="r"), False),
        (Acceptance(operation="*", kind="mem*", reason="r"), True),
        (Acceptance(relation="issues", operation="insert", reason="r"), False),
        (Acceptance(relation="issues", kind="dual", reason="r"), False),
    ],
)
def test_what_an_acceptance_matches(accept: Acceptance, expected: bool) -> None:
    assert matches(accept, "public.issues", "select", "member") is expected


# Errors that are no denial


def failed(book: Ledger, sqlstate: str, operation: Operation, kind: str = "member") -> None:
    book.failed(ISSUES, operation, Principal(kind, role="app"), Failure(sqlstate, "boom"))


def test_recursion_breaks_the_door_for_anybody() -> None:
    book = ledger(relation(ISSUES))
    failed(book, "42P17", UPDATE, HostileKind.OUTSIDER)
    book.let_through.add((ISSUES, UPDATE))
    assert list(book.breakages()) == [("TF801", "update always fails: boom", ISSUES)]


def test_what_takes_too_long_is_named_as_the_reason() -> None:
    book = ledger(relation(ISSUES))
    book.meet([MEMBER])
    failed(book, "57014", SELECT)
    assert list(book.breakages()) == [("TF905", "select took too long: boom", ISSUES)]
    assert reasons(book.summary(()))["public.issues", "select", "member"] == (
        "the statement took too long and was cancelled"
    )


def test_reads_that_fail_for_all_members_are_a_breakage() -> None:
    book = ledger(relation(ISSUES))
    failed(book, "22P02", SELECT)
    assert list(book.breakages()) == [("TF802", "select fails: boom", ISSUES)]
    book.let_through.add((ISSUES, SELECT))
    assert list(book.breakages()) == []


@pytest.mark.parametrize(
    ("sqlstate", "operation", "kind"),
    [("42501", SELECT, "member"), ("22P02", UPDATE, "member"), ("22P02", SELECT, "malformed")],
    ids=["denied", "a write", "hostile"],
)
def test_denials_failed_writes_and_errors_of_hostile_kinds_are_none(
    sqlstate: str, operation: Operation, kind: str
) -> None:
    book = ledger(relation(ISSUES))
    failed(book, sqlstate, operation, kind)
    assert list(book.breakages()) == []
