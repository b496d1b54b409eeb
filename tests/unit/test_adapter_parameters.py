"""What an adapter says of its parameters, and the arguments that come of it."""

import pytest

from tenantfuzz.adapters.parameters import Signature, signature_of
from tenantfuzz.adapters.protocol import FaultError
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

TEXT, NUMBER = DataType("text", "text"), DataType("bigint", "int8")
TEXTS = DataType("text[]", "_text", TypeCategory.ARRAY, element=TEXT)
ORGS, ISSUES = RelationName("public", "organizations"), RelationName("public", "issues")
STATUSES, OLD = RelationName("public", "statuses"), RelationName("archive", "issues")


def relation(
    name: RelationName, columns: dict[str, DataType], key: tuple[str, ...], *keys: ForeignKey
) -> Relation:
    return Relation(
        name=name,
        oid=1,
        kind=RelationKind.TABLE,
        owner="o",
        columns=tuple(Column(c, n, t) for n, (c, t) in enumerate(columns.items(), 1)),
        uniques=(Unique("pkey", key, primary=True),),
        foreign_keys=keys,
    )


CATALOG = Catalog(
    relations={
        OLD: relation(OLD, {"id": TEXT, "title": TEXT}, ("id",)),
        ORGS: relation(ORGS, {"id": TEXT, "name": TEXT}, ("id",)),
        STATUSES: relation(
            STATUSES,
            {"org_id": TEXT, "id": TEXT, "label": TEXT},
            ("org_id", "id"),
            ForeignKey("fk", ("org_id",), ORGS, ("id",)),
        ),
        ISSUES: relation(
            ISSUES,
            {"id": TEXT, "org_id": TEXT, "assigned_to": TEXT, "title": TEXT, "rank": NUMBER}
            | {"tags": TEXTS},
            ("id",),
            ForeignKey("fk", ("org_id",), ORGS, ("id",)),
        ),
    },
    roles={},
    grants={},
    functions=(),
    server_version=180000,
)


def signature(params: dict[str, object], call: str = "doIt", **declared: object) -> Signature:
    given = {k: v for k, v in declared.items() if isinstance(v, (str, tuple))}
    return signature_of(call, params, given, CATALOG)


def meets(params: dict[str, object], call: str = "doIt") -> list[Compared]:
    return [m for p in signature(params, call).parameters for m in p.meets]


def test_types() -> None:
    params: dict[str, object] = {"a": "text", "b": "INT", "c": "bool", "d": "number", "e": "user"}
    made = signature(params)
    assert [(p.name, p.role) for p in made.parameters] == [
        ("a", None),
        ("b", None),
        ("c", None),
        ("d", None),
        ("e", "user"),
    ]
    values = {"a": "7", "b": "7", "c": "true", "d": "7.5", "e": "u-1"}
    assert made.document(values) == {"a": "7", "b": 7, "c": True, "d": 7.5, "e": "u-1"}
    assert made.document({}) == dict.fromkeys(params)
    assert made.document({"b": "", "d": "much"})["b"] is None


def test_columns() -> None:
    assert meets({"x": "issues.title"}) == [Compared(ISSUES, "title", "equal")]
    assert meets({"x": "archive.issues.title"}) == [Compared(OLD, "title", "equal")]
    assert signature({"x": "issues.rank"}).document({"x": "3"}) == {"x": 3}
    assert signature({"x": "issues.tags"}).document({"x": '{a,"b c"}'}) == {"x": ["a", "b c"]}


@pytest.mark.parametrize(
    ("name", "type_", "call", "met"),
    [
        ("issueId", "text", "doIt", (ISSUES, "id")),  # in public before elsewhere
        ("status_id", "text", "doIt", (STATUSES, "id")),
        ("organizationID", "text", "doIt", (ORGS, "id")),
        ("id", "text", "statusGet", (STATUSES, "id")),
        ("ids", "text", "closeStatuses", (STATUSES, "id")),
        ("assignedTo", "text", "doIt", (ISSUES, "assigned_to")),
        ("rank", "int", "doIt", (ISSUES, "rank")),
    ],
)
def test_names_that_say_it(name: str, type_: str, call: str, met: tuple[object, str]) -> None:
    (found,) = meets({name: type_}, call)
    assert (found.relation, found.column, found.how) == (*met, "equal")


def test_names_that_say_nothing() -> None:
    assert meets({"rank": "text"}) == []  # a number is no text
    assert meets({"limit": "int"}, "issueList") == []
    assert meets({"q": "text"}) == []
    assert meets({"q": "text"}, "searchStatuses") == [Compared(STATUSES, "label", "like")]


def test_only_values() -> None:
    made = signature({"how": ["up", 2, None, True]})
    (parameter,) = made.parameters
    assert parameter.values == ("up", "2", None, "true")
    assert made.document({"how": "2"}) == {"how": 2}
    assert made.document({"how": "true"}) == {"how": True}


def test_objects_and_lists() -> None:
    made = signature(
        {
            "input": {"title": "text", "at": {"n": "int"}},
            "items": [{"id": "issues.id"}],
            "ids": "int[]",
        }
    )
    names = [p.name for p in made.parameters]
    assert names == [
        "input.title",
        "input.at.n",
        "items[0].id",
        "items[1].id",
        "ids[0]",
        "ids[1]",
    ]
    values = dict(zip(names, ["t", "1", "a", "b", "5", "6"], strict=True))
    assert made.document(values) == {
        "input": {"title": "t", "at": {"n": 1}},
        "items": [{"id": "a"}, {"id": "b"}],
        "ids": [5, 6],
    }


def test_what_the_target_says_counts_more() -> None:
    made = signature({"q": "text", "n": "int"}, "find", q=("a", "b"), **{"find.n": "issues.rank"})
    by_name = {p.name: p for p in made.parameters}
    assert by_name["q"].values == ("a", "b")
    assert by_name["n"].meets == (Compared(ISSUES, "rank", "equal"),)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("issues.titel", "'issues.titel' is neither a type nor a column.*'issues.title'"),
        ("txt", "'txt' is neither a type nor a column.*'text'"),
        (3, "expected a type, not 3"),
        ([], r"expected a list of values, not \[\]"),
        ([{"a": "text"}, {"b": "text"}], "expected a list of values"),
    ],
)
def test_what_is_none(spec: object, words: str) -> None:
    with pytest.raises(FaultError, match=f"doIt: x: .*{words}"):
        signature({"x": spec})
