"""Arguments of application queries: one's own rows, others' rows, and what lies at the edges."""

import random

from tenantfuzz.policies.model import Identity, Kind, Model, Ownership, OwnershipKind
from tenantfuzz.policies.predictions import RowFacts
from tenantfuzz.policies.principals import Membership, Principal
from tenantfuzz.policies.query_parts import Compared
from tenantfuzz.policies.structure import (
    Catalog,
    Column,
    DataType,
    ForeignKey,
    Relation,
    RelationKind,
    RelationName,
    TypeCategory,
    Unique,
)
from tenantfuzz.strategies.arguments import Field, Parameter, argument_lists, own_arguments

TEXT, NUMBER = DataType("text", "text"), DataType("bigint", "int8")
TEXTS = DataType("text[]", "_text", TypeCategory.ARRAY, element=TEXT)
ISSUES, MACHINES = RelationName("public", "issues"), RelationName("public", "machines")


def relation(name: RelationName, columns: list[str], *keys: ForeignKey) -> Relation:
    return Relation(
        name=name,
        oid=1,
        kind=RelationKind.TABLE,
        owner="o",
        columns=tuple(Column(c, n, TEXT) for n, c in enumerate(columns, 1)),
        uniques=(Unique("pkey", ("id",), primary=True),),
        foreign_keys=keys,
    )


CATALOG = Catalog(
    relations={
        MACHINES: relation(MACHINES, ["id", "org_id", "name"]),
        ISSUES: relation(
            ISSUES,
            ["id", "org_id", "machine_id", "title"],
            ForeignKey("fk", ("machine_id",), MACHINES, ("id",)),
        ),
    },
    roles={},
    grants={},
    functions=(),
    server_version=170000,
)
OWNED = Ownership(OwnershipKind.COLUMN, "org_id")
MODEL = Model(
    tenants=None,
    tenant_key=None,
    tenant_values=("a", "b"),
    ownership={ISSUES: OWNED, MACHINES: OWNED},
    identity=Identity(),
    kinds=(Kind("member"),),
)
ROWS = {
    MACHINES: {
        "m1": {"id": "m1", "org_id": "a", "name": "Comet"},
        "m2": {"id": "m2", "org_id": "a", "name": "Comet"},
        "n1": {"id": "n1", "org_id": "b", "name": "Comet"},
    },
    ISSUES: {
        "i1": {"id": "i1", "org_id": "a", "machine_id": "m2", "title": "flipper stuck"},
        "j1": {"id": "j1", "org_id": "b", "machine_id": "n1", "title": "lamp dark"},
    },
}
STATE = {
    name: {
        key: RowFacts(key, frozenset({row["org_id"]}), frozenset(), False, str(row))
        for key, row in rows.items()
    }
    for name, rows in ROWS.items()
}
FIELD = Field(CATALOG, MODEL, STATE, ROWS)
ALICE = Principal(
    "member",
    user="u1",
    tenant="a",
    memberships=(Membership("a"),),
    all_tenants=frozenset({"a"}),
)


def lists(*parameters: Parameter, most: int = 40) -> list[dict[str, str | None]]:
    found = argument_lists(parameters, FIELD, ALICE, random.Random(1), most=most)
    return [dict(a) for a in found]


def meets(relation: RelationName, column: str, how: str = "equal") -> tuple[Compared, ...]:
    return (Compared(relation, column, how),)


def test_a_key_that_is_inserted_is_new_or_one_of_anothers_that_is_there() -> None:
    found = lists(
        Parameter("id", None, TEXT, meets(ISSUES, "id", "insert")),
        Parameter("machine", None, TEXT, meets(ISSUES, "machine_id", "insert")),
    )
    assert found[0]["id"] not in ("i1", "j1")
    assert {"id": "j1", "machine": "m1"} in found  # takes over another's, with all else one's own


def test_the_caller_is_put_in_for_parameters_that_stand_for_it() -> None:
    own = own_arguments(
        [
            Parameter("org", "tenant"),
            Parameter("orgs", "tenants"),
            Parameter("me", "user"),
            Parameter("q"),
        ],
        ALICE,
    )
    assert own == {"org": "a", "orgs": '{"a"}', "me": "u1"}


def test_nothing_is_drawn_where_there_is_nothing_to_draw() -> None:
    assert lists(Parameter("org", "tenant")) == [{}]


def test_an_id_is_ones_own_first_then_another_tenants_then_nothing() -> None:
    found = [a["id"] for a in lists(Parameter("id", None, TEXT, meets(ISSUES, "id")))]
    assert found[:2] == ["i1", "j1"]
    assert None in found


def test_parameters_of_one_call_point_at_rows_that_hang_together() -> None:
    found = lists(
        Parameter("issue", None, TEXT, meets(ISSUES, "id")),
        Parameter("machine", None, TEXT, meets(MACHINES, "id")),
    )
    assert found[0] == {"issue": "i1", "machine": "m2"}
    assert found[1] == {"issue": "j1", "machine": "n1"}
    assert {"issue": "i1", "machine": "n1"} in found
    assert {"issue": "j1", "machine": "m2"} in found


def test_lists_patterns_words_and_bounds() -> None:
    (first, *others) = lists(Parameter("ids", None, TEXTS, meets(ISSUES, "id")))
    assert first == {"ids": '{"i1"}'}
    assert {"ids": '{"j1"}'} in others
    patterns = [a["q"] for a in lists(Parameter("q", None, TEXT, meets(ISSUES, "title", "like")))]
    assert "%" in patterns
    assert "lamp dark" in patterns
    words = [a["q"] for a in lists(Parameter("q", None, TEXT, meets(ISSUES, "title", "match")))]
    assert {"flipper", "lamp"} <= set(words)
    counts = [a["n"] for a in lists(Parameter("n", None, NUMBER))]
    assert {"0", "1000"} <= set(counts)


def test_a_list_holds_ones_own_one_of_anothers_among_them_or_nothing() -> None:
    found = [a["ids"] for a in lists(Parameter("ids", None, TEXTS, meets(MACHINES, "id")))]
    assert {'{"m1"}', '{"n1"}', '{"m1","m2"}', '{"m1","m2","n1"}', "{}", None} <= set(found)
    both = lists(
        Parameter("issue", None, TEXT, meets(ISSUES, "id")),
        Parameter("ids", None, TEXTS, meets(MACHINES, "id")),
    )
    assert {"issue": "i1", "ids": '{"m1","m2","n1"}'} in both
    assert {"issue": "i1", "ids": "{}"} in both
    given = Parameter("ids", None, TEXTS, meets(MACHINES, "id"), ("x",))
    assert {a["ids"] for a in lists(given)} == {"x"}


def test_a_new_row_gets_a_new_key_and_parents_that_exist() -> None:
    found = lists(
        Parameter("id", None, TEXT, meets(ISSUES, "id", "insert")),
        Parameter("machine", None, TEXT, meets(ISSUES, "machine_id", "insert")),
    )
    assert found[0]["id"] not in ("i1", "j1")
    assert [a["machine"] for a in found[:2]] == ["m1", "n1"]
    assert "j1" in [a["id"] for a in found]  # a key that another tenant has taken


def test_only_values_that_the_application_sends() -> None:
    found = lists(Parameter("state", None, TEXT, (), ("open", "shut")))
    assert {a["state"] for a in found} <= {"open", "shut", None}
    assert {a["state"] for a in found} >= {"open", "shut"}


def test_the_same_source_gives_the_same_calls_each_once() -> None:
    parameters = (
        Parameter("issue", None, TEXT, meets(ISSUES, "id")),
        Parameter("n", None, NUMBER),
    )
    found = lists(*parameters)
    assert found == lists(*parameters)
    assert len({tuple(a.items()) for a in found}) == len(found)
    assert len(lists(*parameters, most=5)) == 5


def test_rows_that_rules_close_are_pointed_at() -> None:
    parameter = Parameter("id", meets=meets(MACHINES, "id"))
    closed = FIELD.narrowed({MACHINES: {"m2"}})
    found = argument_lists([parameter], FIELD, ALICE, random.Random(1), most=3, closed=[closed])
    assert [a["id"] for a in found] == ["m1", "n1", "m2"]
    assert FIELD.narrowed({ISSUES: set()}).of_tenant(MACHINES, "a") == FIELD.of_tenant(
        MACHINES, "a"
    )


def test_what_is_set_is_not_what_is_there() -> None:
    id_ = Parameter("id", meets=meets(MACHINES, "id"))
    org = Parameter("org", meets=meets(MACHINES, "org_id", "set"))
    name = Parameter("name", meets=meets(MACHINES, "id", "set"))
    first = lists(id_, org, name)[0]
    assert (first["id"], first["name"]) == ("m1", first["name"])
    assert first["name"] != "m1"
