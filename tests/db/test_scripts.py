"""Scripts: COPY both ways, several statements, and what fails on the way."""

from collections.abc import Iterator

import psycopg
import pytest

from tenantfuzz.engines import Server, scratch_name, start_embedded
from tenantfuzz.strategies.scripting import copy_in, script
from tenantfuzz.wire import Clock, Wire


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with start_embedded() as running:
        yield running


@pytest.fixture
def wire(server: Server) -> Iterator[Wire]:
    name = scratch_name("scripts")
    server.create_database(name)
    with psycopg.connect(server.conninfo(name), autocommit=True) as connection:
        made = Wire(connection, Clock())
        made.execute("CREATE TABLE notes (id int PRIMARY KEY, body text)", "BEGIN")
        yield made
    server.drop_database(name)


def test_copy_brings_rows_in_and_out_again(wire: Wire) -> None:
    rows = [("1", "a\tb"), ("2", None), ("3", "back\\slash\nand line")]
    into = wire.pipeline([copy_in("notes", list(rows))])[0]
    assert (into.failure, into.affected) == (None, 3)
    out = wire.pipeline(["COPY (SELECT * FROM notes ORDER BY id) TO STDOUT"])[0]
    assert out.affected == 3
    assert out.rows == [(b"1", b"a\tb"), (b"2", None), (b"3", b"back\\slash\nand line")]


def test_the_rows_of_a_script_are_those_of_its_last_query(wire: Wire) -> None:
    text = script(
        "INSERT INTO notes VALUES (1, 'x'), (2, 'y')",
        "DECLARE c CURSOR FOR SELECT id FROM notes ORDER BY id",
        "FETCH ALL FROM c",
        "CLOSE c",
    )
    outcome = wire.pipeline([text])[0]
    assert outcome.rows == [(b"1",), (b"2",)]
    assert [c.name for c in outcome.columns()] == ["id"]


def test_a_script_stops_at_its_first_failure_and_so_does_its_group(wire: Wire) -> None:
    text = script("INSERT INTO notes VALUES (1, 'x')", "SELECT 1/0", "SELECT 2")
    outcomes = wire.groups([["SAVEPOINT s", text, "SELECT 3"], ["ROLLBACK TO s"], ["SELECT 4"]])
    assert [o.failure.sqlstate if o.failure else "" for o in outcomes] == [
        "", "22012", "25P02", "", "",
    ]  # fmt: skip
    assert outcomes[2].skipped
    assert outcomes[-1].rows == [(b"4",)]
    assert wire.query("SELECT count(*) FROM notes") == [("0",)]


def test_a_copy_that_is_refused_is_a_failure(wire: Wire) -> None:
    wire.execute("SAVEPOINT s")
    outcome = wire.pipeline([copy_in("notes", [("1", "a"), ("1", "b")])])[0]
    assert outcome.failure is not None
    assert outcome.failure.sqlstate == "23505"


def test_a_line_break_in_a_value_makes_no_script(wire: Wire) -> None:
    outcome = wire.pipeline(["INSERT INTO notes VALUES (1, 'one;\ntwo') RETURNING body"])[0]
    assert outcome.rows == [(b"one;\ntwo",)]
