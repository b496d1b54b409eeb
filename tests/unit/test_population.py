"""What is populated, in which order, and what is said about the rest."""

import pytest

from tenantfuzz.policies.model import Identity, Kind, Model, Ownership, OwnershipKind, Way
from tenantfuzz.policies.structure import (
    Catalog,
    Check,
    Column,
    DataType,
    ForeignKey,
    Relation,
    RelationKind,
    RelationName,
    Unique,
)
from tenantfuzz.strategies.ordering import arrange, links_of
from tenantfuzz.strategies.partitions import bound_values, partition_leaves
from tenantfuzz.strategies.population import plan_population

INT, TEXT = DataType("integer", "int4"), DataType("text", "text")
SHARED = Ownership(OwnershipKind.SHARED)


def name(text: str) -> RelationName:
    return RelationName("public", text)


def table(
    text: str,
    *references: str,
    columns: tuple[Column, ...] = (),
    checks: tuple[str, ...] = (),
    kind: RelationKind = RelationKind.TABLE,
) -> Relation:
    """A table with an integer key ``id``. A reference is ``column>target``, with ``?`` behind for
    one that may be NULL and ``!`` for one that is deferrable."""
    keys, own = [], [Column("id", 1, INT, not_null=True), *columns]
    for reference in references:
        column, _, target = reference.rstrip("?!").partition(">")
        own.append(Column(column, len(own) + 1, INT, not_null=not reference.endswith("?")))
        deferrable = reference.endswith("!")
        keys.append(
            ForeignKey(f"{column}_fk", (column,), name(target), ("id",), deferrable=deferrable)
        )
    return Relation(
        name(text),
        0,
        kind,
        "postgres",
        tuple(own),
        uniques=(Unique(f"{text}_pkey", ("id",), primary=True),),
        foreign_keys=tuple(keys),
        checks=tuple(Check(f"{text}_{at}", c, ("id",)) for at, c in enumerate(checks)),
    )


def catalog_of(*relations: Relation) -> Catalog:
    return Catalog({r.name: r for r in relations}, {}, {}, (), 180000)


def model_of(**ownership: Ownership) -> Model:
    return Model(
        tenants=name("orgs"),
        tenant_key="id",
        tenant_values=(),
        ownership={
            name("orgs"): Ownership(OwnershipKind.TENANTS, "id"),
            **{name(text): given for text, given in ownership.items()},
        },
        identity=Identity(),
        kinds=(Kind("member"),),
    )


OWNED = Ownership(OwnershipKind.COLUMN, "org")
ORGS = table("orgs")


def order_of(catalog: Catalog, model: Model) -> list[str]:
    links = {n: links_of(catalog, model, n) for n in catalog.relations}
    arrangement = arrange(links, links, first=[name("orgs")])
    assert not arrangement.failed
    return [n.name for n in arrangement.order]


def test_parents_come_first() -> None:
    catalog = catalog_of(
        table("answers", "question>questions"), table("questions", "org>orgs"), ORGS
    )
    model = model_of(questions=OWNED)
    assert order_of(catalog, model) == ["orgs", "questions", "answers"]


def test_a_tenant_column_without_a_foreign_key_counts_as_one() -> None:
    catalog = catalog_of(table("a_first", columns=(Column("org", 2, INT, not_null=True),)), ORGS)
    links = links_of(catalog, model_of(a_first=OWNED), name("a_first"))
    assert [(k.key.target.name, k.key.declared, k.hard) for k in links] == [("orgs", False, True)]


def test_a_cycle_is_broken_where_null_is_allowed() -> None:
    catalog = catalog_of(
        ORGS,
        table("documents", "org>orgs", "current>versions?"),
        table("versions", "document>documents"),
    )
    plan = plan_population(catalog, model_of(documents=OWNED, versions=SHARED))
    assert [n.name for n in plan.order] == ["orgs", "documents", "versions"]
    late = [k.key.columns for k in plan.links[name("documents")] if k.late]
    assert late == [("current",)]
    assert not any(k.late or k.ahead for k in plan.links[name("versions")])


def test_what_only_waits_for_a_cycle_does_not_break_it() -> None:
    catalog = catalog_of(
        ORGS,
        table("a_note", "document>documents?"),
        table("documents", "current>versions?"),
        table("versions", "document>documents?"),
    )
    plan = plan_population(catalog, model_of(a_note=SHARED, documents=SHARED, versions=SHARED))
    assert [n.name for n in plan.order] == ["orgs", "documents", "a_note", "versions"]
    assert not any(k.late for k in plan.links[name("a_note")])


def test_a_deferrable_cycle_refers_ahead() -> None:
    catalog = catalog_of(
        ORGS, table("carts", "org>orgs", "first>items!"), table("items", "cart>carts")
    )
    model = model_of(
        carts=OWNED,
        items=Ownership(OwnershipKind.VIA, ways=(Way(("cart",), name("carts"), ("id",)),)),
    )
    plan = plan_population(catalog, model)
    assert [n.name for n in plan.order] == ["orgs", "carts", "items"]
    assert [k.key.columns for k in plan.links[name("carts")] if k.ahead] == [("first",)]


def test_a_cycle_of_not_null_keys_is_named_and_so_is_what_needs_it() -> None:
    catalog = catalog_of(
        ORGS, table("hen", "egg>egg"), table("egg", "hen>hen"), table("nest", "hen>hen")
    )
    plan = plan_population(catalog, model_of(hen=SHARED, egg=SHARED, nest=SHARED))
    cycle = "its NOT NULL foreign keys form a cycle with {}, and none is deferrable"
    assert plan.unpopulated == {
        name("hen"): cycle.format("public.egg"),
        name("egg"): cycle.format("public.hen"),
        name("nest"): "needs a row of public.hen, which is not populated: "
        + cycle.format("public.egg"),
    }
    assert [n.name for n in plan.order] == ["orgs"]


def test_a_row_that_the_schema_inserted_ends_a_cycle() -> None:
    catalog = catalog_of(ORGS, table("hen", "egg>egg"), table("egg", "hen>hen"))
    plan = plan_population(
        catalog,
        model_of(hen=SHARED, egg=SHARED),
        existing={name("egg"): ({"id": "7", "hen": "7"},)},
    )
    assert plan.unpopulated == {}
    assert [n.name for n in plan.order] == ["orgs", "hen", "egg"]


@pytest.mark.parametrize(
    ("relations", "reason"),
    [
        ((table("notes", "x>gone"),), "needs a row of public.gone, which was not found in the"),
        (
            (table("notes", "x>seen"), table("seen", kind=RelationKind.FOREIGN)),
            "needs a row of public.seen, which is a foreign table",
        ),
        (
            (table("notes", "x>shut"), table("shut")),
            "needs a row of public.shut, which is not populated: excluded by hand",
        ),
        ((table("notes", checks=("id > 5 AND id < 3",)),), "no row of public.notes was found that"),
    ],
)
def test_what_cannot_be_populated_says_why(relations: tuple[Relation, ...], reason: str) -> None:
    plan = plan_population(
        catalog_of(ORGS, *relations),
        model_of(notes=SHARED, shut=SHARED),
        skip={name("shut"): "excluded by hand"},
    )
    assert plan.unpopulated[name("notes")].startswith(reason)
    assert name("notes") not in plan.order


def test_an_unclassified_table_is_populated_only_when_it_is_needed() -> None:
    catalog = catalog_of(ORGS, table("notes", "kind>kinds"), table("kinds"), table("strays"))
    plan = plan_population(catalog, model_of(notes=SHARED))
    assert [n.name for n in plan.order] == ["orgs", "kinds", "notes"]
    assert plan.unpopulated == {}


@pytest.mark.parametrize(
    ("bound", "key", "expected"),
    [
        ("FOR VALUES FROM ('2024-01-01') TO ('2024-02-01')", ("at",), {"at": "2024-01-01"}),
        ("FOR VALUES FROM (MINVALUE) TO ('2024-03-01')", ("at",), {"at": "2024-02-29"}),
        ("FOR VALUES FROM (MINVALUE) TO (10)", ("n",), {"n": "9"}),
        ("FOR VALUES FROM (10, 'x') TO (MAXVALUE, MAXVALUE)", ("n", "t"), {"n": "10", "t": "x"}),
        ("FOR VALUES IN ('it''s', 'b')", ("t",), {"t": "it's"}),
        ("FOR VALUES IN (NULL, 3)", ("n",), {"n": "3"}),
        ("FOR VALUES IN (true)", ("b",), {"b": "true"}),
        ("FOR VALUES WITH (modulus 4, remainder 1)", ("n",), {}),
        ("DEFAULT", ("n",), {}),
    ],
)
def test_a_bound_gives_values_inside(
    bound: str, key: tuple[str, ...], expected: dict[str, str]
) -> None:
    assert bound_values(bound, key) == expected


def part(text: str, parent: str, bound: str, key: tuple[str, ...] = ()) -> Relation:
    kind = RelationKind.PARTITIONED if key else RelationKind.TABLE
    return Relation(
        name(text),
        0,
        kind,
        "postgres",
        (),
        parent=name(parent) if parent else None,
        partition_bound=bound or None,
        partition_key=key,
    )


def test_leaves_of_nested_partitions_hold_the_values_of_every_level() -> None:
    catalog = catalog_of(
        part("log", "", "", ("at",)),
        part("log_1", "log", "FOR VALUES FROM ('2024-01-01') TO ('2024-02-01')", ("kind",)),
        part("log_1_a", "log_1", "FOR VALUES IN ('a')"),
        part("log_1_b", "log_1", "DEFAULT"),
        part("log_2", "log", "FOR VALUES FROM ('2024-02-01') TO ('2024-03-01')", ("kind",)),
        part("log_3", "log", "DEFAULT"),
    )
    # log_2 is partitioned but has no partitions: no row can go there.
    assert partition_leaves(catalog, name("log")) == (
        {"at": "2024-01-01", "kind": "a"},
        {"at": "2024-01-01"},
        {},
    )
