"""Names and values become SQL text that a server reads back as the same."""

import pytest

from tenantfuzz.policies.quoting import (
    column_list,
    identifier,
    literal,
    qualified,
    readable_identifier,
)
from tenantfuzz.policies.structure import RelationName


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("issues", '"issues"'),
        ("select", '"select"'),
        ("Mixed Case", '"Mixed Case"'),
        ('a"b', '"a""b"'),
        ('"', '""""'),
        ('x"; DROP TABLE y --', '"x""; DROP TABLE y --"'),
        ("ünï", '"ünï"'),
    ],
)
def test_identifiers_are_always_quoted(name: str, quoted: str) -> None:
    assert identifier(name) == quoted


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("issues", "issues"),
        ("_x1", "_x1"),
        ("Issues", '"Issues"'),
        ("1st", '"1st"'),
        ("a-b", '"a-b"'),
        ("a b", '"a b"'),
        ("", '""'),
        ("straße", '"straße"'),
        ("issues\n", '"issues\n"'),
        # Reserved, and words that may be columns but not functions or types.
        ("order", '"order"'),
        ("user", '"user"'),
        ("values", '"values"'),
        ("merge_action", '"merge_action"'),
        # Unreserved keywords stand as they are.
        ("name", "name"),
        ("status", "status"),
        ("key", "key"),
    ],
)
def test_identifiers_for_people_are_quoted_where_they_must_be(name: str, shown: str) -> None:
    assert readable_identifier(name) == shown


def test_each_part_of_a_relation_is_quoted_for_itself() -> None:
    assert qualified(RelationName("public", "issues")) == "public.issues"
    assert qualified(RelationName("App", "order")) == '"App"."order"'
    assert qualified(RelationName("public", "a.b")) == 'public."a.b"'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "NULL"),
        ("", "''"),
        ("NULL", "'NULL'"),
        ("it's", "'it''s'"),
        ("''", "''''''"),
        ("' OR true --", "''' OR true --'"),
        ("a\\b", "E'a\\\\b'"),
        ("\\", "E'\\\\'"),
        ("\\'", "E'\\\\'''"),
        ("line\nbreak", "'line\nbreak'"),
    ],
)
def test_literals(value: str | None, text: str) -> None:
    assert literal(value) == text


def test_column_lists() -> None:
    assert column_list(["id", "order", "Mixed"]) == 'id, "order", "Mixed"'
    assert column_list([]) == ""
