"""Templates of identities: attributes that nobody can have are told at once."""

import pytest

from tenantfuzz.policies.attributes import check_templates
from tenantfuzz.policies.configuration import parse_configuration
from tenantfuzz.policies.lookup import Lookup
from tenantfuzz.policies.structure import Catalog, Column, DataType, Relation, RelationKind
from tenantfuzz.policies.structure import RelationName as Name


def relation(name: str, *columns: str) -> Relation:
    text = DataType("text", "text")
    return Relation(
        Name("public", name),
        1,
        RelationKind.TABLE,
        "owner",
        tuple(Column(c, n, text) for n, c in enumerate(columns, 1)),
    )


TENANTS = relation("orgs", "id", "slug")
CATALOG = Catalog({TENANTS.name: TENANTS}, {}, {}, (), 180000)


def problems(template: str) -> list[str]:
    data = {"identity": {"role": "app", "settings": {"app.org": template}}}
    lookup = Lookup(CATALOG)
    check_templates(
        parse_configuration(data, source="t"), lookup, tenants=TENANTS, users=None, memberships=None
    )
    return lookup.problems


@pytest.mark.parametrize("template", ["{tenant.id}", "{tenant.slug}", "{user.id}", "plain", "{a}"])
def test_what_identities_have(template: str) -> None:
    assert problems(template) == []


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        ("{tenant.idd}", "unknown attribute 'tenant.idd' in identity.settings.app.org"),
        ("{tenants.id}", "unknown attribute 'tenants' in identity.settings.app.org"),
        ('{"sub": "{user.email}"}', "unknown attribute 'user.email'"),
    ],
)
def test_what_nobody_has(template: str, wanted: str) -> None:
    (problem,) = problems(template)
    assert problem.startswith(wanted)


def test_the_nearest_is_named() -> None:
    (problem,) = problems("{tenant.slag}")
    assert "did you mean tenant.slug" in problem
