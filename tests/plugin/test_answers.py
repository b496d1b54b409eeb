"""Answers of code under test, made comparable and searched; servers from fixtures; scheduling."""

from collections import namedtuple
from dataclasses import dataclass
from decimal import Decimal
from types import SimpleNamespace
from uuid import UUID

import pytest
from psycopg.conninfo import conninfo_to_dict

from tenantfuzz.errors import ToolError
from tenantfuzz.plugin.answers import comparable, is_nothing, text_of, tokens_of_keys
from tenantfuzz.plugin.scheduling import DoorScheduling
from tenantfuzz.plugin.servers import dsn_of
from tenantfuzz.policies.predictions import RowFacts
from tenantfuzz.policies.structure import RelationName

Pair = namedtuple("Pair", "one other")


@dataclass
class Record:
    title: str


class Model:
    def __init__(self, title: str) -> None:
        self.title = title
        self.parent: object = self


@pytest.mark.parametrize(
    "value",
    [
        "secret",
        b"secret",
        ["secret"],
        ("x", ["y", {"z": ("secret",)}]),
        {"secret": 1},
        Record("secret"),
        Model("secret"),
        [Pair("x", "secret")],
        {"secret"},
    ],
)
def test_texts_are_found_wherever_they_are(value: object) -> None:
    assert "secret" in text_of(value).splitlines()


def test_other_values_are_texts_too() -> None:
    identifier = "62be3fcb-0000-4000-8000-000000000003"
    assert text_of([UUID(identifier), 7, None, True, Decimal("1.5")]).splitlines() == [
        identifier,
        "7",
        "True",
        "1.5",
    ]


def test_the_order_of_rows_says_nothing_and_that_of_columns_does() -> None:
    assert comparable([(1, "a"), (2, "b")]) == comparable([(2, "b"), (1, "a")])
    assert comparable([(1, 2)]) != comparable([(2, 1)])
    assert comparable([(1,), (1,)]) != comparable([(1,)])
    assert comparable({"a": 1, "b": 2}) == comparable({"b": 2, "a": 1})
    assert comparable(Record("a")) == comparable(Record("a"))
    assert comparable(Record("a")) != comparable(Record("b"))
    assert comparable(1) != comparable("1")


@pytest.mark.parametrize("value", [None, [], (), {}, 0, False, "", [(0,)], {"total": 0}])
def test_nothing(value: object) -> None:
    assert is_nothing(value)


@pytest.mark.parametrize("value", [1, "x", [None, 2], Record(""), Decimal("0.1")])
def test_something(value: object) -> None:
    assert not is_nothing(value)


def test_keys_that_stand_for_one_row() -> None:
    orgs, issues, tags = (RelationName("public", n) for n in ("orgs", "issues", "tags"))

    def row(key: str) -> RowFacts:
        return RowFacts(key, frozenset(), frozenset(), False, "")

    def rows(*keys: str) -> dict[str, RowFacts]:
        return {key: row(key) for key in keys}

    state = {
        orgs: rows('["organization-1"]'),
        issues: rows('["issue-number-1"]', '["12345678901"]', '["short"]'),
        tags: rows('["two-columns", "of a key"]'),
    }
    # Ids of tenants are the caller's own words; numbers and short words stand anywhere.
    assert tokens_of_keys(state, orgs) == {"issue-number-1": (issues, '["issue-number-1"]')}


def test_the_server_of_a_fixture() -> None:
    assert dsn_of("postgresql://x/y", "db") == "postgresql://x/y"
    assert dsn_of(SimpleNamespace(dsn="host=x"), "db") == "host=x"
    process = SimpleNamespace(host="127.0.0.1", port=5433, user="postgres", password="it's")
    assert conninfo_to_dict(dsn_of(process, "db")) == {
        "host": "127.0.0.1",
        "port": "5433",
        "dbname": "postgres",
        "user": "postgres",
        "password": "it's",
    }
    with pytest.raises(ToolError, match="db gives no server: it is of type int"):
        dsn_of(7, "db")


def test_doors_of_one_relation_stay_together() -> None:
    scheduling = object.__new__(DoorScheduling)
    scheduling._files = frozenset({"tenantfuzz.toml"})
    split = scheduling._split_scope
    together = {split(f"tenantfuzz.toml::{o}[public.issues]") for o in ("select", "delete")}
    assert together == {"tenantfuzz.toml::[public.issues]"}
    assert split("tenantfuzz.toml::select[public.orgs]") not in together
    assert split("tenantfuzz.toml::replay[TF101-x]") == "tenantfuzz.toml::replay[TF101-x]"
    assert split("tests/test_a.py::test_one[1]") == "tests/test_a.py::test_one[1]"
