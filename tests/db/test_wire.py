"""The wire: errors are results, order is kept, batches of any size come through."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tenantfuzz.engines import Server, scratch_name, start_embedded
from tenantfuzz.errors import ToolError
from tenantfuzz.patience import PatientConnection, SilentServerError
from tenantfuzz.results import Column, Outcome, texts_of
from tenantfuzz.wire import Clock, ServerLostError, Wire


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with start_embedded() as running:
        yield running


@pytest.fixture(scope="module")
def database(server: Server) -> Iterator[str]:
    name = scratch_name("wire")
    server.create_database(name)
    with psycopg.connect(server.conninfo(name), autocommit=True) as connection:
        connection.execute("CREATE TABLE t (id int PRIMARY KEY, note text)")
    yield name
    server.drop_database(name)


@pytest.fixture
def wire(server: Server, database: str) -> Iterator[Wire]:
    connection = psycopg.connect(server.conninfo(database), autocommit=True)
    yield Wire(connection, Clock())
    connection.close()


def states(outcomes: list[Outcome]) -> list[str]:
    """ok, skipped, or the SQLSTATE of each outcome."""
    return ["skipped" if o.skipped else o.failure.sqlstate if o.failure else "ok" for o in outcomes]


def prepared(wire: Wire) -> list[str]:
    found = wire.connection.execute("SELECT statement FROM pg_prepared_statements ORDER BY 1")
    return [row[0] for row in found]


def test_rows_are_raw_and_null_is_no_empty_string(wire: Wire) -> None:
    outcome = wire.attempt(
        "SELECT NULL::text, '', 'é', 7, true UNION ALL SELECT 'x', ' ', '', 0, null"
    )
    assert outcome.rows == [
        (None, b"", "é".encode(), b"7", b"t"),
        (b"x", b" ", b"", b"0", None),
    ]
    assert (outcome.tag, outcome.affected, outcome.failure) == ("SELECT 2", 2, None)
    assert texts_of(outcome.rows) == "\né\n7\nt\nx\n \n\n0"


def test_columns_name_where_they_come_from(wire: Wire) -> None:
    outcome = wire.attempt("SELECT note AS remark, id + 1 AS next, id FROM t")
    (oid,) = wire.query("SELECT 't'::regclass::oid")[0]
    relation = int(oid or 0)
    assert outcome.columns() == (
        Column("remark", relation, 2),
        Column("next", 0, 0),
        Column("id", relation, 1),
    )
    assert wire.attempt("SELECT nope").columns() == ()


def test_tags_count_what_was_affected(wire: Wire) -> None:
    outcomes = wire.pipeline(
        [
            "BEGIN",
            "INSERT INTO t VALUES (1, 'a'), (2, 'b')",
            "UPDATE t SET note = 'c'",
            "DELETE FROM t WHERE id = 1",
            "SET LOCAL work_mem = '1MB'",
            "",
            "ROLLBACK",
        ]
    )
    assert states(outcomes) == ["ok"] * 7
    assert [o.affected for o in outcomes] == [0, 2, 2, 1, 0, 0, 0]
    assert outcomes[1].tag == "INSERT 0 2"


def test_an_error_is_a_result_and_the_next_statement_runs(wire: Wire) -> None:
    outcomes = wire.pipeline(["SELECT 1", "SELECT 1 / 0", "SELEC", "SELECT 2"])
    assert states(outcomes) == ["ok", "22012", "42601", "ok"]
    assert outcomes[1].failure is not None
    assert outcomes[1].failure.message == "division by zero"
    assert outcomes[1].rows == []
    assert outcomes[3].rows == [(b"2",)]


def test_a_failure_has_every_text_that_the_server_sent(wire: Wire) -> None:
    outcome = wire.attempt(
        "DO $$BEGIN RAISE 'm' USING DETAIL = 'd', HINT = 'h', ERRCODE = 'TF001'; END$$"
    )
    failure = outcome.failure
    assert failure is not None
    assert (failure.sqlstate, failure.message, failure.detail, failure.hint) == (
        "TF001",
        "m",
        "d",
        "h",
    )
    assert failure.context.startswith("PL/pgSQL function")
    assert failure.texts == f"m\nd\nh\n{failure.context}"


def test_a_failed_statement_in_a_transaction_aborts_what_follows_but_is_not_skipped(
    wire: Wire,
) -> None:
    outcomes = wire.pipeline(["BEGIN", "SELECT 1 / 0", "SELECT 1", "ROLLBACK", "SELECT 2"])
    assert states(outcomes) == ["ok", "22012", "25P02", "ok", "ok"]
    assert not outcomes[2].skipped


def test_after_a_failure_the_rest_of_its_own_group_is_skipped(wire: Wire) -> None:
    outcomes = wire.groups(
        [["SELECT 1", "SELECT 1 / 0", "SELECT 2", "SELECT 3"], ["SELECT 4"], ["SELEC", "SELECT 5"]]
    )
    assert states(outcomes) == ["ok", "22012", "skipped", "skipped", "ok", "42601", "skipped"]
    assert outcomes[4].rows == [(b"4",)]


def test_a_group_without_a_transaction_is_undone_as_a_whole(wire: Wire) -> None:
    wire.groups([["INSERT INTO t VALUES (1)", "SELECT 1 / 0"]])
    assert wire.query("SELECT count(*) FROM t") == [("0",)]


def test_together_stops_at_the_first_failure_however_many_there_are(wire: Wire) -> None:
    statements = [f"SELECT {n}" for n in range(300)]
    statements[200] = "SELECT 1 / 0"
    outcomes = wire.pipeline(statements, together=True)
    assert states(outcomes) == ["ok"] * 200 + ["22012"] + ["skipped"] * 99
    assert [o.rows for o in outcomes[:200]] == [[(str(n).encode(),)] for n in range(200)]


@pytest.mark.parametrize("prepare", [False, True])
def test_large_batches_keep_their_order_and_their_errors(wire: Wire, prepare: bool) -> None:
    statements = [f"SELECT {n} / ({n} % 50)" for n in range(1000)]
    outcomes = wire.pipeline(statements, prepare=prepare)
    assert states(outcomes) == ["22012" if n % 50 == 0 else "ok" for n in range(1000)]
    for n in (1, 49, 149, 999):
        assert outcomes[n].rows == [(str(n // (n % 50)).encode(),)]


def test_large_results_and_large_texts_pass_both_ways(wire: Wire) -> None:
    note = "x" * 200_000
    outcomes = wire.pipeline([f"SELECT '{note}{n}'" for n in range(20)])
    assert [o.rows for o in outcomes] == [[(f"{note}{n}".encode(),)] for n in range(20)]
    outcomes = wire.pipeline(["SELECT repeat('y', 100000) FROM generate_series(1, 20)"] * 10)
    assert [len(o.rows) for o in outcomes] == [20] * 10


def test_a_group_longer_than_a_batch_stays_one_group(wire: Wire) -> None:
    group = [f"SELECT {n}" for n in range(400)]
    outcomes = wire.groups([group, ["SELECT 1 / 0", *group]])
    assert states(outcomes) == ["ok"] * 400 + ["22012"] + ["skipped"] * 400


def test_no_statements_no_outcomes(wire: Wire) -> None:
    assert wire.pipeline([]) == []
    assert wire.groups([[], ["SELECT 1"], []])[0].rows == [(b"1",)]


# Prepared texts


def test_a_text_is_prepared_when_it_is_seen_again(wire: Wire) -> None:
    text = "SELECT id FROM t WHERE id = 1"
    first = wire.pipeline([text], prepare=True)
    assert prepared(wire) == []
    again = wire.pipeline([text, text, "SELECT 2"], prepare=True)
    assert prepared(wire) == [text]
    more = wire.pipeline([text] * 3, prepare=True)
    assert prepared(wire) == [text]
    assert states([*first, *again, *more]) == ["ok"] * 7
    wire.pipeline(["SELECT 3"] * 3)
    assert prepared(wire) == [text]


def test_a_text_that_cannot_be_prepared_fails_every_time_it_is_sent(wire: Wire) -> None:
    outcomes = wire.pipeline(["SELECT nope FROM t"] * 4, prepare=True)
    assert states(outcomes) == ["42703"] * 4
    wire.execute("CREATE TEMP TABLE late (id int)")
    text = "SELECT count(*) FROM late WHERE id = 1"
    assert states(wire.pipeline(["SELEC", text, text, text], prepare=True)) == [
        "42601",
        "ok",
        "ok",
        "ok",
    ]


def test_a_text_whose_preparation_was_skipped_is_prepared_later(wire: Wire) -> None:
    text = "SELECT 41 + 1"
    wire.pipeline([text], prepare=True)
    outcomes = wire.groups([["SELECT 1 / 0", text]], prepare=True)
    assert states(outcomes) == ["22012", "skipped"]
    assert prepared(wire) == []
    assert wire.pipeline([text, text], prepare=True)[1].rows == [(b"42",)]
    assert prepared(wire) == [text]


def test_a_prepared_statement_that_fails_when_run_stays_prepared(wire: Wire) -> None:
    text = "INSERT INTO t SELECT 1 UNION ALL SELECT 1"
    assert states(wire.pipeline([text] * 3, prepare=True)) == ["23505"] * 3
    assert prepared(wire) == [text]


def test_prepared_statements_survive_a_rollback(wire: Wire) -> None:
    text = "SELECT count(*) FROM t WHERE id > 0"
    wire.execute("BEGIN")
    wire.pipeline([text, text], prepare=True)
    wire.execute("ROLLBACK")
    assert wire.pipeline([text], prepare=True)[0].rows == [(b"0",)]


# The tool's own statements


def test_the_tools_own_statements_must_not_fail(wire: Wire) -> None:
    assert wire.execute("SELECT 1", "SELECT 2").rows == [(b"2",)]
    with pytest.raises(ToolError, match=r"division by zero \(22012\)\n  SELECT 1 / 0"):
        wire.execute("SELECT 1", "SELECT 1 / 0", "SELECT 2")
    assert wire.query("SELECT 'é', NULL") == [("é", None)]


def test_notices_are_kept_with_their_detail(wire: Wire) -> None:
    wire.execute("DO $$BEGIN RAISE NOTICE 'n' USING DETAIL = 'd'; RAISE WARNING 'w'; END$$")
    assert wire.notices == ["n\nd", "w"]


def test_the_clock_counts_statements_over_all_wires(server: Server, database: str) -> None:
    clock = Clock()
    for _ in range(2):
        with psycopg.connect(server.conninfo(database), autocommit=True) as connection:
            Wire(connection, clock).pipeline(["SELECT pg_sleep(0.01)", "SELEC", "SELECT 1"])
    assert clock.statements == 6
    assert clock.database >= 0.02


# A lost server


def test_a_connection_that_is_cut_is_a_lost_server(
    wire: Wire, server: Server, database: str
) -> None:
    pid = wire.query("SELECT pg_backend_pid()")[0][0]
    with psycopg.connect(server.conninfo(database), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (int(pid or 0),))
    with pytest.raises(ServerLostError, match="the connection to the server was lost"):
        wire.pipeline(["SELECT 1"] * 300)
    with pytest.raises(ServerLostError):
        wire.execute("SELECT 1")


def test_a_connection_that_is_cut_while_it_works(wire: Wire) -> None:
    with pytest.raises(ServerLostError, match="terminating connection"):
        wire.pipeline(["SELECT 1", "SELECT pg_terminate_backend(pg_backend_pid())", "SELECT 2"])


def test_a_cancelled_statement_is_a_failure_and_no_lost_server(wire: Wire) -> None:
    wire.execute("SET statement_timeout = '20ms'")
    assert states(wire.pipeline(["SELECT pg_sleep(5)", "SELECT 1"])) == ["57014", "ok"]


@contextmanager
def stopped(connection: "psycopg.Connection[tuple[object, ...]]") -> Iterator[None]:
    """The session's process stands still, as that of a server that hangs."""
    pid = connection.info.backend_pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("statement", ["SELECT 1 AS  one", "COPY t TO STDOUT"])
def test_a_server_that_hangs_is_given_up(server: Server, database: str, statement: str) -> None:
    connection = psycopg.connect(server.conninfo(database), autocommit=True)
    wire = Wire(connection, Clock(), patience=0.5)
    with stopped(connection):
        with pytest.raises(ServerLostError) as caught:
            wire.attempt(statement)
        quoted = " ".join(statement.split())
        said = f"the server has not answered for 0.5 s; under way was {quoted}"
        assert str(caught.value) == said
        with pytest.raises(ServerLostError) as again:  # at once, with the same reason
            wire.attempt("ROLLBACK")
    assert again.value is caught.value


def test_a_server_that_reads_no_more_is_given_up(server: Server, database: str) -> None:
    connection = psycopg.connect(server.conninfo(database), autocommit=True)
    wire = Wire(connection, Clock(), patience=0.5)
    long = f"SELECT '{'x' * 5_000_000}'"
    with stopped(connection), pytest.raises(ServerLostError, match="has not answered"):
        wire.attempt(long)


def test_what_takes_long_is_waited_for_while_it_answers(server: Server, database: str) -> None:
    with psycopg.connect(server.conninfo(database), autocommit=True) as connection:
        wire = Wire(connection, Clock(), patience=0.5)
        outcomes = wire.pipeline(["SELECT pg_sleep(0.3)"] * 3)
    assert states(outcomes) == ["ok", "ok", "ok"]


def test_ctrl_c_goes_through_whoever_wants_to_tidy_up(server: Server, database: str) -> None:
    connection = psycopg.connect(server.conninfo(database), autocommit=True)
    wire = Wire(connection, Clock())

    def ring(number: int, frame: object) -> None:
        raise KeyboardInterrupt("by a bell")

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt, match="by a bell"):
            try:
                wire.attempt("SELECT pg_sleep(20)")
            finally:
                wire.execute("ROLLBACK")
    finally:
        signal.signal(signal.SIGALRM, before)
        connection.close()


def test_a_patient_connection_gives_up_too(server: Server, database: str) -> None:
    connection = PatientConnection.open(server.conninfo(database), patience=0.5)
    with stopped(connection), pytest.raises(SilentServerError, match=r"answered for 0\.5 s"):
        connection.execute("SELECT 1")
    assert connection.closed
    with PatientConnection.open(server.conninfo(database), patience=0.5) as other:
        assert other.execute("SELECT pg_sleep(0.2), 1").fetchone() == ("", 1)


def test_a_full_server_is_asked_again_for_a_while() -> None:
    settings = {"max_connections": "4", "superuser_reserved_connections": "0"}
    with start_embedded(settings=settings) as full:
        dsn = full.conninfo("postgres")
        others = [psycopg.connect(dsn) for _ in range(4)]
        leaving = threading.Timer(0.7, others.pop().close)
        leaving.start()
        with PatientConnection.open(dsn) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        leaving.join()
        for other in others:
            other.close()
