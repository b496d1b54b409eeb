"""Parameters of Python functions: annotations, what ``params`` says, and the values they get."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal, NewType, Optional
from uuid import UUID

import pytest

from tenantfuzz.application.code import CallerTypes, caller_of
from tenantfuzz.application.functions import PythonFunction, python_function
from tenantfuzz.application.specs import read_spec
from tenantfuzz.errors import ToolError
from tenantfuzz.policies.principals import Membership, Principal
from tenantfuzz.policies.query_parts import Compared
from tenantfuzz.policies.structure import (
    Catalog,
    Column,
    DataType,
    Relation,
    RelationKind,
    RelationName,
    TypeCategory,
    Unique,
)

if TYPE_CHECKING:
    from collections.abc import Set as AnySet

    from sqlalchemy.orm import Session

TEXT, NUMBER = DataType("text", "text"), DataType("integer", "int4")
KEY, DAY = DataType("uuid", "uuid"), DataType("date", "date")
STATE = DataType("order_state", "order_state", TypeCategory.ENUM, labels=("draft", "sent"))
TAGS = DataType("text[]", "_text", TypeCategory.ARRAY, element=TEXT)
ASSAYS, ROOMS = RelationName("public", "assays"), RelationName("public", "rooms")


def relation(name: RelationName, columns: dict[str, DataType]) -> Relation:
    return Relation(
        name=name,
        oid=1,
        kind=RelationKind.TABLE,
        owner="o",
        columns=tuple(Column(c, n, t) for n, (c, t) in enumerate(columns.items(), 1)),
        uniques=(Unique("pkey", ("id",), primary=True),),
    )


CATALOG = Catalog(
    relations={
        ASSAYS: relation(ASSAYS, {"id": KEY, "code": TEXT, "state": STATE, "tags": TAGS}),
        ROOMS: relation(ROOMS, {"id": NUMBER, "arrival": DAY}),
    },
    roles={},
    grants={},
    functions=(),
    server_version=180000,
)
ONE, TWO = UUID(int=1), UUID(int=2)
BOTH = f"{{{ONE},{TWO}}}"


class Colour(enum.Enum):
    RED = 1


RoomId = NewType("RoomId", int)


def made(code: Callable[..., Any], **declared: str | tuple[str | None, ...]) -> PythonFunction:
    return python_function("f", code, declared, CATALOG, CallerTypes(NUMBER, KEY), "t.toml: f")


def plain(
    connection: Any,
    caller: Any,
    day: dt.date,
    at: dt.datetime | None,
    it: Optional[UUID],  # noqa: UP045  (as older code has it)
    price: Decimal,
    n: Annotated[int, "few"],
    room: RoomId,
    flag: bool,
    body: dict[str, Any],
) -> None: ...


def test_an_annotation_makes_the_value() -> None:
    function = made(plain)
    texts = {
        "day": "2024-01-10 09:00:00+00",
        "at": "2024-01-10 09:00:00+00",
        "it": str(ONE),
        "price": "1.50",
        "n": "7",
        "room": "8",
        "flag": "true",
        "body": '{"a": 1}',
    }
    values = {n: function.shapes[n].value(t) for n, t in texts.items()}
    assert values == {
        "day": dt.date(2024, 1, 10),
        "at": dt.datetime(2024, 1, 10, 9, tzinfo=dt.UTC),
        "it": ONE,
        "price": Decimal("1.50"),
        "n": 7,
        "room": 8,
        "flag": True,
        "body": {"a": 1},
    }
    assert {p.name: p.type.base for p in function.parameters if p.type is not None} == {
        "day": "date",
        "at": "timestamptz",
        "it": "uuid",
        "price": "numeric",
        "n": "int8",
        "room": "int8",
        "flag": "bool",
        "body": "jsonb",
    }


@pytest.mark.parametrize("name", ["day", "at", "it", "price", "n", "room", "body"])
@pytest.mark.parametrize("text", [None, "", "%", "{"])
def test_what_is_no_such_value_is_none(name: str, text: str | None) -> None:
    assert made(plain).shapes[name].value(text) is None


def lists(
    connection: Any,
    caller: Any,
    assay_ids: list[UUID],
    ns: Sequence[int] | None,
    codes: tuple[str, ...],
    tags: list[str],
    unsure: AnySet[UUID],
    bare: list,  # type: ignore[type-arg]
) -> None: ...


def test_a_list_is_a_list() -> None:
    function = made(lists)
    value = {name: shape.value for name, shape in function.shapes.items()}
    assert value["assay_ids"](BOTH) == [ONE, TWO]
    assert value["assay_ids"]("{}") == []
    assert value["assay_ids"](str(ONE)) == [ONE]
    assert value["assay_ids"]("{x}") is None
    assert value["ns"]("{1,NULL}") == [1, None]
    assert value["codes"]('{"a b","c,d"}') == ("a b", "c,d")
    assert value["bare"]("{a}") == ["a"]
    assert function.shown({"assay_ids": f"{{{ONE}}}"}) == (
        f"f(connection, caller, assay_ids=[{ONE!r}])"
    )


def test_a_list_meets_what_one_would_meet() -> None:
    met = {p.name: p.meets for p in made(lists).parameters}
    assert met["assay_ids"] == (Compared(ASSAYS, "id", "equal"),)
    assert met["codes"] == (Compared(ASSAYS, "code", "equal"),)
    assert met["tags"] == (Compared(ASSAYS, "tags", "equal"),)
    assert met["ns"] == ()


def test_one_text_stays_one_though_its_column_holds_lists() -> None:
    def code(connection: Any, caller: Any, tags: str) -> None: ...

    assert made(code).shapes["tags"].value("{a,b}") == "{a,b}"
    assert made(code, tags="assays.tags").shapes["tags"].value("{a,b}") == ["a", "b"]


def test_what_is_imported_for_annotations_alone() -> None:
    def code(db: Session, caller: Any, assay_id: UUID, x: AnySet[int]) -> None: ...

    function = made(code)
    assert function.wants_session
    assert function.shapes["assay_id"].value(str(ONE)) == ONE
    assert function.shapes["x"].value("1") == "1"  # nothing is known of it


def test_without_annotations() -> None:
    def code(connection, caller, room_id, assay_id, assay_ids, code, q):  # type: ignore[no-untyped-def]
        return None

    shapes = made(code).shapes
    assert shapes["room_id"].value("5") == 5
    assert shapes["assay_id"].value(str(ONE)) == str(ONE)
    assert shapes["assay_ids"].value(BOTH) == [str(ONE), str(TWO)]
    assert shapes["q"].value("5") == "5"


def test_only_values_that_an_annotation_allows() -> None:
    def code(connection: Any, caller: Any, how: Literal["up", "down"], c: Colour) -> None: ...

    function = made(code)
    assert [p.values for p in function.parameters] == [("up", "down"), ("1",)]
    assert function.shapes["c"].value("1") is Colour.RED
    assert function.shapes["c"].value("%") is None


@pytest.mark.parametrize(
    ("word", "text", "value"),
    [
        ("assays.id[]", BOTH, [ONE, TWO]),
        ("assays.id", str(ONE), ONE),
        ("public.rooms.arrival", "2024-01-10", dt.date(2024, 1, 10)),
        ("date", "2024-01-10", dt.date(2024, 1, 10)),
        ("uuid[]", BOTH, [ONE, TWO]),
        ("BIGINT", "5", 5),
        ("numeric(10, 2)", "5.25", Decimal("5.25")),
        (
            "timestamp with time zone",
            "2024-01-10 00:00:00+00",
            dt.datetime(2024, 1, 10, tzinfo=dt.UTC),
        ),
        ("order_state", "draft", "draft"),
        ("tenant", "7", 7),
        ("tenants", "{7,8}", [7, 8]),
        ("user", str(ONE), ONE),
        (("a", None), "a", "a"),
    ],
)
def test_what_params_say(word: str | tuple[str | None, ...], text: str, value: object) -> None:
    def code(connection, caller, x):  # type: ignore[no-untyped-def]
        return None

    assert made(code, x=word).shapes["x"].value(text) == value


def test_a_column_that_is_named_is_met() -> None:
    def code(connection: Any, caller: Any, day: str, ids: list[str]) -> None: ...

    day, ids = made(code, day="rooms.arrival", ids="assays.id").parameters
    assert day.meets == (Compared(ROOMS, "arrival", "equal"),)
    assert ids.meets == (Compared(ASSAYS, "id", "equal"),)
    assert ids.type == DataType("uuid[]", "_uuid", TypeCategory.ARRAY, element=KEY)
    shapes = made(code, day="rooms.arrival", ids="assays.id").shapes
    assert shapes["day"].value("2024-01-10") == "2024-01-10"  # as annotated
    assert shapes["ids"].value(BOTH) == [str(ONE), str(TWO)]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("assay.id[]", r"t.toml: f: params: q: 'assay.id\[\]' is neither .* 'assays.id'\?"),
        ("dat", "'dat' is neither a type nor a column; did you mean 'date'"),
        ("uuid[][]", "is neither a type nor a column"),
        ("assays", "is neither a type nor a column"),
        ("", "is neither a type nor a column"),
    ],
)
def test_what_is_neither_is_an_error(word: str, message: str) -> None:
    def code(connection: Any, caller: Any, q: str) -> None: ...

    with pytest.raises(ToolError, match=message) as wrong:
        made(code, q=word)
    assert '"orders.id[]"' in (wrong.value.hint or "")


def test_a_parameter_that_is_not_there() -> None:
    def code(connection: Any, caller: Any, assay_ids: str) -> None: ...

    with pytest.raises(ToolError, match="no parameter 'asay_ids'; did you mean 'assay_ids'"):
        made(code, asay_ids="uuid[]")


def test_types_of_the_target_itself() -> None:
    spec = read_spec("order_state[]", CATALOG)
    assert spec is not None
    assert spec.several
    assert spec.type.element == STATE


def test_a_callers_ids_are_of_the_types_of_their_keys() -> None:
    memberships = (Membership("8"), Membership("7"))
    principal = Principal("member", user=str(ONE), tenant="7", memberships=memberships)
    native = caller_of(principal, CallerTypes(NUMBER, KEY))
    assert (native.tenant, native.tenants, native.user) == (7, (7, 8), ONE)
    texts = caller_of(principal, CallerTypes(TEXT))
    assert (texts.tenant, texts.tenants, texts.user) == ("7", ("7", "8"), str(ONE))
    nobody = caller_of(Principal(kind="anonymous"), CallerTypes(NUMBER, KEY))
    assert (nobody.tenant, nobody.tenants, nobody.user) == (None, (), None)
