"""Perturb changes what hidden rows say, and nothing that keeps them from standing there."""

from tenantfuzz.oracles.cut import Perturb
from tenantfuzz.policies.model import Identity, Kind, Model, Ownership, OwnershipKind
from tenantfuzz.policies.structure import (
    Catalog,
    Column,
    DataType,
    Relation,
    RelationKind,
    RelationName,
    Unique,
)

STATUSES = RelationName("public", "statuses")
TEXT, FLAG = DataType("text", "text"), DataType("boolean", "bool")


def test_the_columns_of_a_partial_keys_condition_stay() -> None:
    """One default for each tenant: were the flag turned over, there would be several."""
    statuses = Relation(
        name=STATUSES,
        oid=1,
        kind=RelationKind.TABLE,
        owner="o",
        columns=(
            Column("id", 1, TEXT),
            Column("org_id", 2, TEXT),
            Column("label", 3, TEXT),
            Column("is_default", 4, FLAG),
            Column("is_open", 5, FLAG),
        ),
        uniques=(
            Unique("pkey", ("id",), primary=True),
            Unique("default_key", ("org_id",), predicate="is_default"),
        ),
    )
    catalog = Catalog({STATUSES: statuses}, {}, {}, (), 180000)
    model = Model(
        tenants=None,
        tenant_key=None,
        tenant_values=("a", "b"),
        ownership={STATUSES: Ownership(OwnershipKind.COLUMN, "org_id")},
        identity=Identity(),
        kinds=(Kind("member"),),
    )
    _, update, _ = Perturb(catalog, model).statements({STATUSES: {'["s-1"]'}})
    changed = update.partition(" SET ")[2].partition(" WHERE ")[0]
    assert changed == '"label" = reverse("label"::text) || \'~\', "is_open" = NOT "is_open"'
