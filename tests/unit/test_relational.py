"""The queries that go through an application's own scoping layer."""

from collections import Counter

import sqlglot

from tenantfuzz.policies.model import Identity, Kind, Model, Ownership, OwnershipKind
from tenantfuzz.policies.structure import (
    Catalog,
    Column,
    DataType,
    ForeignKey,
    Relation,
    RelationKind,
    RelationName,
    Unique,
)
from tenantfuzz.strategies.relational import relational_queries

TEXT = DataType("text", "text")
TICKETS, REPLIES, NOTES = (RelationName("public", n) for n in ("tickets", "replies", "notes"))


def table(name: RelationName, words: str, *keys: ForeignKey) -> Relation:
    own = tuple(Column(c, at, TEXT) for at, c in enumerate(words.split(), start=1))
    unique = (Unique("pk", ("id",), primary=True),)
    return Relation(name, 0, RelationKind.TABLE, "o", own, uniques=unique, foreign_keys=keys)


def model(*names: RelationName) -> tuple[Catalog, Model]:
    relations = {
        TICKETS: table(TICKETS, "id org subject"),
        REPLIES: table(REPLIES, "id org ticket", ForeignKey("t", ("ticket",), TICKETS, ("id",))),
        NOTES: table(NOTES, "id org"),
    }
    catalog = Catalog({n: relations[n] for n in names}, {}, {}, (), 170000)
    owned = {n: Ownership(OwnershipKind.COLUMN, "org") for n in names}
    return catalog, Model(
        tenants=None,
        tenant_key=None,
        tenant_values=("a", "b"),
        ownership=owned,
        identity=Identity(),
        kinds=(Kind("member"),),
    )


def test_a_single_table_is_written_in_every_form() -> None:
    queries = relational_queries(*model(NOTES), most=100)
    assert [q.form for q in queries if not q.hops] == [
        "",
        "",
        "union",
        "sub-select",
        "CTE",
        "derived table",
        "count",
        "page",
        "window",
        "intersection",
    ]
    by_form = {q.form: q.sql for q in queries}
    whole = "SELECT notes.id, notes.org FROM notes"
    assert by_form["union"] == f"{whole} UNION ALL {whole}"
    assert by_form["page"] == f"{whole} ORDER BY notes.id LIMIT 2"


def test_forms_are_shared_out_among_many() -> None:
    queries = relational_queries(*model(TICKETS, REPLIES, NOTES), most=1000)
    assert len({q.name for q in queries}) == len(queries)
    alone = Counter(q.root for q in queries if q.form and not q.hops)
    assert alone == {TICKETS: 2, REPLIES: 2, NOTES: 2}
    assert len({q.form for q in queries if not q.hops}) == 7  # plain, and six others
    pairs = [q for q in queries if len(q.hops) == 1 and q.form]
    assert [(q.root, q.form) for q in pairs] == [(TICKETS, "EXISTS"), (REPLIES, "union")]


def test_all_forms_are_sql() -> None:
    for query in relational_queries(*model(TICKETS, REPLIES), most=1000):
        assert sqlglot.parse_one(query.sql, dialect="postgres")
