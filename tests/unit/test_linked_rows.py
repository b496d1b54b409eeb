"""Linked rows: parents and children by every foreign key, in whatever order the rows stand."""

from tenantfuzz.linked_rows import LinkedRows
from tenantfuzz.policies.model import Identity, Model
from tenantfuzz.policies.structure import (
    Catalog,
    Column,
    DataType,
    ForeignKey,
    Relation,
    RelationKind,
    RelationName,
)
from tenantfuzz.policies.world import Row

ORGS, TASKS, NOTES = (RelationName("public", n) for n in ("orgs", "tasks", "notes"))
TEXT = DataType("text", "text")


def table(name: RelationName, columns: str, *keys: ForeignKey) -> Relation:
    own = tuple(Column(c, at, TEXT) for at, c in enumerate(columns.split(), start=1))
    return Relation(name, 0, RelationKind.TABLE, "postgres", own, foreign_keys=keys)


CATALOG = Catalog(
    {
        r.name: r
        for r in (
            table(ORGS, "id"),
            table(
                TASKS,
                "org id before",
                ForeignKey("o", ("org",), ORGS, ("id",)),
                ForeignKey("b", ("org", "before"), TASKS, ("org", "id")),
            ),
            table(NOTES, "org task", ForeignKey("t", ("org", "task"), TASKS, ("org", "id"))),
        )
    },
    {},
    {},
    (),
    180000,
)
MODEL = Model(
    tenants=ORGS, tenant_key="id", tenant_values=(), ownership={}, identity=Identity(), kinds=()
)


def row(relation: RelationName, **values: str | None) -> Row:
    return Row(relation, values, None, "")


ROWS = (
    row(NOTES, org="A", task="2"),  # 0: stands before what it points at
    row(ORGS, id="A"),  # 1
    row(ORGS, id="B"),  # 2
    row(TASKS, org="A", id="1", before=None),  # 3
    row(TASKS, org="A", id="2", before="1"),  # 4
    row(TASKS, org="B", id="1", before="2"),  # 5: points at nothing, 2 is of another org
    row(NOTES, org="B", task=None),  # 6
)


def test_parents_are_found_by_all_columns_of_a_key() -> None:
    links = LinkedRows(ROWS, CATALOG, MODEL)
    assert [links.parents(at) for at in range(7)] == [{4}, set(), set(), {1}, {1, 3}, {2}, set()]


def test_what_a_row_needs() -> None:
    links = LinkedRows(ROWS, CATALOG, MODEL)
    assert links.with_parents({0}) == {0, 4, 3, 1}
    assert links.with_parents({5, 6}) == {5, 2, 6}
    assert links.with_parents(set()) == set()


def test_what_goes_with_a_row() -> None:
    links = LinkedRows(ROWS, CATALOG, MODEL)
    assert links.with_children({3}) == {3, 4, 0}
    assert links.with_children({1}) == {1, 3, 4, 0}
    assert links.with_children({2}) == {2, 5}


def test_rows_that_point_at_each_other() -> None:
    knot = (
        row(TASKS, org="A", id="1", before="2"),
        row(TASKS, org="A", id="2", before="1"),
        row(TASKS, org="A", id="3", before="3"),
    )
    links = LinkedRows(knot, CATALOG, MODEL)
    assert links.with_children({0}) == links.with_parents({1}) == {0, 1}
    assert links.with_children({2}) == {2}
