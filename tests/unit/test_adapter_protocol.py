"""What is said between tenantfuzz and an adapter."""

import json

import pytest

from tenantfuzz.adapters.protocol import Declared, FaultError, listed, message, parsed, replied
from tenantfuzz.results import Failure


def test_a_question_is_one_line() -> None:
    line = message({"op": "call", "args": {"q": "a\nb é"}})
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert json.loads(line) == {"op": "call", "args": {"q": "a\nb é"}}


@pytest.mark.parametrize("line", [b"ready", b"[1]", b"", b'"x"', b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_object_is_a_fault(line: bytes) -> None:
    with pytest.raises(FaultError, match="no JSON object"):
        parsed(line)


def test_calls_are_listed_with_what_is_known_of_them() -> None:
    calls: dict[str, object] = {
        "calls": [
            {"name": "a", "params": {"q": "text"}, "kinds": "admin", "writes": ["issues"]},
            {"name": "b"},
            {"name": "c", "params": None, "more": 1},
        ]
    }
    assert listed(calls) == [
        Declared("a", {"q": "text"}, ("admin",), ("issues",)),
        Declared("b", {}),
        Declared("c", {}),
    ]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({}, "must answer list with"),
        ({"calls": {}}, "must answer list with"),
        ({"calls": [1]}, "a call without a name"),
        ({"calls": [{"name": ""}]}, "a call without a name"),
        ({"calls": [{"name": "a", "params": ["q"]}]}, "the params of a must be an object"),
        ({"calls": [{"name": "a", "kinds": [1]}]}, "the kinds of a must be a list of names"),
        ({"calls": [{"name": "a"}, {"name": "a"}]}, "lists the call 'a' twice"),
        ({"error": {"message": "no database"}}, "cannot list its calls: no database"),
    ],
)
def test_a_list_that_is_none(answer: dict[str, object], words: str) -> None:
    with pytest.raises(FaultError, match=words):
        listed(answer)


@pytest.mark.parametrize(
    ("rows", "texts"),
    [
        (None, []),
        ([], []),
        ([{"b": 1, "a": None}, {"a": 2}], [b'{"a": null, "b": 1}', b'{"a": 2}']),
        ({"total": 3}, [b'{"total": 3}']),
        ("done", [b'"done"']),
        # Rows keep their order; a list within a row came in any.
        ([{"x": [3, 1, 2]}, {"x": [1, 2, 3]}], [b'{"x": [1, 2, 3]}', b'{"x": [1, 2, 3]}']),
        ([[{"b": 1}, {"a": 2}]], [b'[{"a": 2}, {"b": 1}]']),
        ([float("nan")], [b'"nan"']),
        (["é"], ['"é"'.encode()]),
    ],
)
def test_rows(rows: object, texts: list[bytes]) -> None:
    assert replied({"rows": rows}) == [(text,) for text in texts]


def test_errors() -> None:
    full = {"code": "23505", "message": "taken", "detail": "Key (a)=(b) exists."}
    assert replied({"error": full}) == Failure("23505", "taken", "Key (a)=(b) exists.")
    assert replied({"error": "no"}) == Failure("ERROR", "no")
    assert replied({"error": {}, "rows": []}) == Failure("ERROR", "")
    assert replied({"error": {"code": 404}}) == Failure("404", "")
    assert replied({"error": None, "rows": [1]}) == [(b"1",)]


def test_an_answer_that_is_neither() -> None:
    with pytest.raises(FaultError, match="must answer call with"):
        replied({"row": []})
