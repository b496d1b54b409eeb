"""Statements that code sent: cut at their parameters, changed, and recognised as ends."""

import pytest

from tenantfuzz.application.sending import Sent, is_ordered, of_protocol, of_psycopg
from tenantfuzz.lending import ends_transaction
from tenantfuzz.policies.query_text import QueryText, Slot

OWN = {"tenant": "o'rg", "user": "u"}


def with_condition(sent: Sent) -> QueryText:
    pieces = (*sent.text.pieces, " AND org = ", Slot("tenant"))
    return QueryText(pieces, (*sent.text.names, "tenant"))


@pytest.mark.parametrize(
    ("sent", "spelled"),
    [
        (
            of_psycopg("SELECT 1 FROM t WHERE a LIKE '%%' || %s AND b = %s", ["x", 2]),
            "SELECT 1 FROM t WHERE a LIKE '%%' || %s AND b = %s AND org = 'o''rg'",
        ),
        (
            of_psycopg("SELECT 1 FROM t WHERE a = %(a)s::text", {"a": None}),
            "SELECT 1 FROM t WHERE a = %(a)s::text AND org = 'o''rg'",
        ),
        (
            of_psycopg("SELECT 1 FROM t WHERE a LIKE '50%'", None),
            "SELECT 1 FROM t WHERE a LIKE '50%' AND org = 'o''rg'",
        ),
        (
            of_protocol("SELECT 1 FROM t WHERE a = $2 AND b = $1", ["1", "2"]),
            "SELECT 1 FROM t WHERE a = $2 AND b = $1 AND org = 'o''rg'",
        ),
    ],
)
def test_a_changed_statement_is_spelled_as_it_was_sent(sent: Sent, spelled: str) -> None:
    assert sent.spelled(with_condition(sent), OWN) == spelled


def test_parameters_without_names_must_keep_their_places() -> None:
    sent = of_psycopg("SELECT %s, %s", ["a", "b"])
    assert sent.values == {"1": "a", "2": "b"}
    turned = QueryText(("SELECT ", Slot("2"), ", ", Slot("1")), ("2", "1"))
    assert sent.spelled(turned, OWN) is None
    named = of_protocol("SELECT $1, $2", ["a", "b"])
    assert named.spelled(turned, OWN) == "SELECT $2, $1"


@pytest.mark.parametrize(
    ("sql", "ordered"),
    [
        ("SELECT a FROM t ORDER BY a", True),
        ("(SELECT a FROM t ORDER BY a)", True),
        ("SELECT a FROM t UNION SELECT b FROM u ORDER BY 1", True),
        ("SELECT a FROM (SELECT a FROM t ORDER BY a) AS t", False),
        ("SELECT array_agg(a ORDER BY a) FROM t", False),
        ("SELECT a FROM t", False),
        ("not sql ORDER BY", False),
    ],
)
def test_which_statements_ask_for_an_order(sql: str, ordered: bool) -> None:
    assert is_ordered([of_protocol("SELECT 1", []), of_protocol(sql, [])]) is ordered


@pytest.mark.parametrize(
    ("sql", "ends"),
    [
        ("COMMIT", True),
        ("  commit work;", True),
        ("/* done */ END", True),
        ("-- done\nCOMMIT AND CHAIN", True),
        ("ROLLBACK;", True),
        ("abort transaction", True),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE", True),
        ("START TRANSACTION READ ONLY", True),
        ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", True),
        ("ROLLBACK TO SAVEPOINT a", False),
        ("ROLLBACK WORK TO a", False),
        ("COMMIT PREPARED 'a'", False),
        ("ROLLBACK PREPARED 'a'", False),
        ("SAVEPOINT a", False),
        ("SELECT 'COMMIT'", False),
        ("UPDATE t SET a = 'x; COMMIT'", False),
        ("SET LOCAL transaction_timeout = 0", False),
        ("DO $$ BEGIN COMMIT; END $$", False),
        ("ENDPOINT", False),
    ],
)
def test_what_begins_or_ends_a_transaction(sql: str, ends: bool) -> None:
    assert ends_transaction(sql) is ends
