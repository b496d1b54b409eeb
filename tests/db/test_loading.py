import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tenantfuzz.engines import start_embedded
from tenantfuzz.engines.server import Server
from tenantfuzz.loading.errors import LoadError
from tenantfuzz.loading.loader import load_sources
from tenantfuzz.loading.sources import find_sources

needs_psql = pytest.mark.skipif(shutil.which("psql") is None, reason="no psql on the PATH")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with start_embedded() as started:
        yield started


class Scratch:
    """A database of its own, and the files of one test."""

    def __init__(self, server: Server, folder: Path, name: str) -> None:
        self.conninfo = server.conninfo(name)
        self.conn = psycopg.connect(self.conninfo, autocommit=True)
        self.folder = folder

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def load(self, *entries: str, psql: bool = False) -> list[str]:
        sources = find_sources(entries, self.folder)
        return load_sources(self.conn, sources, psql=self.conninfo if psql else None)

    def fails(self, *entries: str, psql: bool = False) -> LoadError:
        with pytest.raises(LoadError) as caught:
            self.load(*entries, psql=psql)
        return caught.value

    def value(self, query: str) -> object:
        row = self.conn.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]


@pytest.fixture
def scratch(server: Server, tmp_path: Path) -> Iterator[Scratch]:
    name = "tf_scratch_loading"
    server.create_database(name)
    made = Scratch(server, tmp_path, name)
    try:
        yield made
    finally:
        made.conn.close()
        server.drop_database(name)


def test_files_run_in_order_and_statements_outside_transactions(scratch: Scratch) -> None:
    scratch.write("1.sql", "CREATE TABLE t (id int, s text);\nINSERT INTO t VALUES (1, '100%');")
    scratch.write("2.sql", "BEGIN; INSERT INTO t VALUES (2); COMMIT;\nVACUUM t;")
    scratch.write("3.sql", "CREATE INDEX CONCURRENTLY i ON t (id);")
    assert scratch.load("1.sql", "2.sql", "3.sql") == []
    assert scratch.value("SELECT count(*) FROM t") == 2
    assert scratch.value("SELECT to_regclass('i') IS NOT NULL") is True


def test_rollback_in_a_file_is_honoured(scratch: Scratch) -> None:
    scratch.write("a.sql", "CREATE TABLE t (); BEGIN; DROP TABLE t; ROLLBACK;")
    assert scratch.load("a.sql") == []
    assert scratch.value("SELECT to_regclass('t') IS NOT NULL") is True


def test_a_transaction_left_open_is_an_error(scratch: Scratch) -> None:
    scratch.write("a.sql", "SELECT 1;\n\nBEGIN;\nCREATE TABLE t ();\n")
    error = scratch.fails("a.sql")
    assert (error.file, error.line) == ("a.sql", 3)
    assert "never committed" in str(error)
    assert scratch.value("SELECT to_regclass('t') IS NULL") is True


def test_error_names_file_line_and_statement(scratch: Scratch) -> None:
    scratch.write(
        "m/1.sql",
        "SELECT 1;\n\nCREATE TABLE t (\n  id int,\n  n nosuchtype,\n  a int,\n  b int,\n"
        "  c int\n);\n",
    )
    error = scratch.fails("m")
    assert (error.file, error.line, error.sqlstate) == ("m/1.sql", 5, "42704")
    assert str(error).splitlines() == [
        'm/1.sql:5: type "nosuchtype" does not exist (SQLSTATE 42704)',
        "      3 | CREATE TABLE t (",
        "      4 |   id int,",
        ">     5 |   n nosuchtype,",
        "      6 |   a int,",
        "      7 |   b int,",
        "        | …",
    ]


def test_error_deep_in_a_long_statement_is_shown(scratch: Scratch) -> None:
    columns = ",\n".join(f"  c{n} int" for n in range(20))
    scratch.write("a.sql", f"CREATE TABLE t (\n{columns},\n  x nosuchtype\n);")
    error = scratch.fails("a.sql")
    assert error.line == 22
    assert ">    22 |   x nosuchtype" in str(error)


def test_error_ends_the_transaction_of_the_file(scratch: Scratch) -> None:
    scratch.write("a.sql", "BEGIN;\nCREATE TABLE t ();\nSELECT * FROM nowhere;\nCOMMIT;")
    assert scratch.fails("a.sql").line == 3
    assert scratch.value("SELECT to_regclass('t') IS NULL") is True


def test_hint_for_the_supabase_preset(scratch: Scratch) -> None:
    scratch.write("a.sql", "CREATE TABLE t (id uuid REFERENCES auth.users (id));")
    assert 'preset = "supabase"' in (scratch.fails("a.sql").hint or "")


def test_hint_for_a_role_that_a_dump_leaves_out(scratch: Scratch) -> None:
    scratch.write("a.sql", 'CREATE TABLE t ();\nALTER TABLE t OWNER TO "tf App";')
    error = scratch.fails("a.sql")
    assert (error.line, error.sqlstate) == (2, "42704")
    assert 'CREATE ROLE "tf App";' in (error.hint or "")


def test_what_a_dump_says_needlessly(scratch: Scratch) -> None:
    scratch.write(
        "a.sql",
        "SET tf_no_such_timeout = 0;\nCREATE SCHEMA public;\nCOMMENT ON SCHEMA public IS 'mine';\n",
    )
    assert scratch.load("a.sql") == [
        'a.sql:1: skipped, unrecognized configuration parameter "tf_no_such_timeout"'
    ]
    assert scratch.value("SELECT obj_description('public'::regnamespace)") == "mine"
    scratch.write("b.sql", "SET search_path = 5 5;")
    assert scratch.fails("b.sql").sqlstate == "42601"
    scratch.write("c.sql", "DROP SCHEMA public;\nCREATE SCHEMA public;\nCREATE TABLE public.t ();")
    assert scratch.load("c.sql") == []


def test_copy_data_is_loaded_and_its_error_has_its_own_line(scratch: Scratch) -> None:
    scratch.write(
        "a.sql", "CREATE TABLE t (id int, s text);\nCOPY t FROM stdin;\n1\tx;\n2\t\\N\n\\.\n"
    )
    scratch.write("b.sql", "COPY public.t (id) FROM stdin;\n3\nnot a number\n\\.\n")
    scratch.load("a.sql")
    assert scratch.value("SELECT array_agg(id || coalesce(s, '-') ORDER BY id) FROM t") == [
        "1x;",
        "2-",
    ]
    error = scratch.fails("b.sql")
    assert (error.line, error.sqlstate) == (3, "22P02")


def test_each_file_starts_with_a_fresh_session(scratch: Scratch) -> None:
    scratch.write(
        "dump.sql",
        "CREATE ROLE tf_loading_owner;\nSELECT set_config('search_path', '', false);\n"
        "SET ROLE tf_loading_owner;\nSET check_function_bodies = off;\n",
    )
    scratch.write("more.sql", "CREATE TABLE t AS SELECT current_user::text AS who;")
    scratch.load("dump.sql", "more.sql")
    assert scratch.value("SELECT who = session_user FROM public.t") is True
    scratch.conn.execute("DROP ROLE tf_loading_owner")


def test_search_path_of_the_database_counts_at_once(scratch: Scratch) -> None:
    scratch.write(
        "a.sql",
        "CREATE SCHEMA app;\nALTER DATABASE tf_scratch_loading SET search_path TO app, public;",
    )
    scratch.write("b.sql", "CREATE TABLE t ();")
    assert scratch.load("a.sql", "b.sql") == []
    assert scratch.value("SELECT to_regclass('app.t') IS NOT NULL") is True


def test_a_role_that_exists_is_kept_with_a_warning(scratch: Scratch) -> None:
    scratch.write("a.sql", "BEGIN;\nCREATE ROLE tf_loading_twice BYPASSRLS;\nCOMMIT;\nSELECT 1;")
    try:
        assert scratch.load("a.sql") == []
        assert scratch.load("a.sql") == [
            "a.sql:2: role tf_loading_twice exists already and is kept as it is (BYPASSRLS)"
        ]
    finally:
        scratch.conn.execute("DROP ROLE tf_loading_twice")


def test_statements_for_other_databases_are_skipped(scratch: Scratch) -> None:
    scratch.write(
        "a.sql",
        "CREATE DATABASE tf_loading_other;\n\\connect tf_loading_other\n"
        "ALTER DATABASE postgres SET search_path = nowhere;\nCREATE TABLE t ();\n",
    )
    assert scratch.load("a.sql") == [
        "a.sql:1: skipped, the scratch database is used instead: CREATE DATABASE tf_loading_other",
        "a.sql:2: \\connect tf_loading_other: skipped, all runs in one database",
        "a.sql:3: skipped, it is about the database postgres, not the scratch database: "
        "ALTER DATABASE postgres SET search_path = nowhere",
    ]
    assert scratch.value("SELECT count(*) FROM pg_database WHERE datname ~ '_other'") == 0
    assert scratch.value("SELECT to_regclass('t') IS NOT NULL") is True


def test_an_unknown_extension_is_skipped_and_named_when_it_is_missed(scratch: Scratch) -> None:
    scratch.write(
        "a.sql",
        "CREATE EXTENSION IF NOT EXISTS tf_nothing;\nCOMMENT ON EXTENSION tf_nothing IS 'x';\n",
    )
    scratch.write("b.sql", "SELECT tf_nothing_f();")
    (warning,) = scratch.load("a.sql")
    assert warning.startswith("a.sql:1: PostgreSQL ")
    assert "no extension tf_nothing; skipped" in warning
    error = scratch.fails("a.sql", "b.sql")
    assert error.file == "b.sql"
    assert "extension tf_nothing" in (error.hint or "")
    scratch.write("c.sql", "SELECT 1 / 0;")
    assert "tf_nothing" not in (scratch.fails("a.sql", "c.sql").hint or "")


def test_stand_ins_for_pgcrypto_and_uuid_ossp(scratch: Scratch) -> None:
    query = "SELECT count(*) FROM pg_available_extensions WHERE name IN ('pgcrypto', 'uuid-ossp')"
    if scratch.value(query) != 0:
        pytest.skip("this server has the extensions themselves")
    scratch.write(
        "a.sql",
        'CREATE SCHEMA ext;\nCREATE EXTENSION pgcrypto SCHEMA ext;\nCREATE EXTENSION "uuid-ossp";\n'
        "CREATE EXTENSION IF NOT EXISTS pgcrypto;\n"
        "CREATE TABLE t (id uuid DEFAULT uuid_generate_v4());",
    )
    crypto, uuid = scratch.load("a.sql")
    assert crypto.startswith("a.sql:2: ")
    assert "pgp_* are missing" in crypto
    assert uuid.startswith("a.sql:3: ")
    # The known answers for "abc" (FIPS 180-4, RFC 1321).
    assert scratch.value("SELECT encode(ext.digest('abc', 'sha256'), 'hex')") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    assert scratch.value("SELECT encode(ext.digest('abc'::bytea, 'md5'), 'hex')") == (
        "900150983cd24fb0d6963f7d28e17f72"
    )
    assert scratch.value("SELECT length(ext.gen_random_bytes(33))") == 33
    assert scratch.value("SELECT to_regproc('public.gen_random_bytes') IS NULL") is True
    form = "SELECT {}::text ~ '^.{{14}}{}.{{4}}[89ab]'"
    for call, version in [
        ("uuid_generate_v1()", 1),
        ("uuid_generate_v3(uuid_ns_dns(), 'x')", 3),
        ("uuid_generate_v4()", 4),
        ("uuid_generate_v5(uuid_ns_url(), 'x')", 5),
    ]:
        assert scratch.value(form.format(call, version)) is True, call
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="no such hash"):
        scratch.conn.execute("SELECT ext.digest('abc', 'sha1')")


def test_stand_in_in_a_schema_that_is_not_there(scratch: Scratch) -> None:
    if scratch.value("SELECT count(*) FROM pg_available_extensions WHERE name = 'pgcrypto'"):
        pytest.skip("this server has the extension itself")
    scratch.write("a.sql", "CREATE EXTENSION pgcrypto WITH SCHEMA nowhere;")
    assert scratch.fails("a.sql").sqlstate == "3F000"


def test_stand_ins_for_jobs_and_requests(scratch: Scratch) -> None:
    scratch.write(
        "a.sql",
        "CREATE EXTENSION pg_cron WITH SCHEMA pg_catalog;\nCREATE EXTENSION pg_net;\n"
        "SELECT cron.schedule('nightly', '0 3 * * *', 'SELECT 1');\n"
        "SELECT cron.schedule('nightly', '0 4 * * *', 'SELECT 1');\n"
        "SELECT net.http_post(url := 'https://example.org', body := '{}'::jsonb);",
    )
    assert len(scratch.load("a.sql")) == 2
    assert scratch.value("SELECT array_agg(schedule) FROM cron.job") == ["0 4 * * *"]


def test_includes_are_followed(scratch: Scratch) -> None:
    scratch.write("main.sql", "\\set ON_ERROR_STOP on\n\\ir parts/a.sql\n\\i parts/b.sql\n")
    scratch.write("parts/a.sql", "\\ir deep.sql\nCREATE TABLE a ();")
    scratch.write("parts/deep.sql", "CREATE TABLE deep ();")
    scratch.write("parts/b.sql", "CREATE TABLE b ();\nSELECT nosuch();")
    error = scratch.fails("main.sql")
    assert (error.file, error.line) == ("parts/b.sql", 2)
    query = "SELECT count(to_regclass(x)) FROM unnest(ARRAY['a', 'deep', 'b']) x"
    assert scratch.value(query) == 3


def test_includes_that_lead_nowhere_or_in_a_ring(scratch: Scratch) -> None:
    scratch.write("a.sql", "SELECT 1;\n\\ir none.sql\n")
    scratch.write("b.sql", "\\ir b.sql\n")
    error = scratch.fails("a.sql")
    assert str(error) == "a.sql:2: none.sql does not exist"
    assert "includes itself" in str(scratch.fails("b.sql"))


def test_psql_is_asked_for_by_name(scratch: Scratch) -> None:
    scratch.write("a.sql", "SELECT 1;\n\\set owner app\n")
    error = scratch.fails("a.sql")
    assert str(error) == "a.sql:2: \\set needs psql"


@needs_psql
def test_psql_runs_what_only_it_understands(scratch: Scratch) -> None:
    scratch.write(
        "a.sql",
        "\\set name tf_items\nCREATE EXTENSION tf_nothing;\nCREATE ROLE tf_loading_psql;\n"
        "CREATE TABLE :name (id int);\nSELECT 'CREATE TABLE made ()' \\gexec\n\\ir parts/b.sql\n",
    )
    scratch.write("parts/b.sql", "CREATE TABLE included ();")
    scratch.conn.execute("CREATE ROLE tf_loading_psql")
    try:
        warnings = scratch.load("a.sql", psql=True)
    finally:
        scratch.conn.execute("DROP ROLE tf_loading_psql")
    assert ["tf_nothing" in warnings[0], "role tf_loading_psql" in warnings[1]] == [True, True]
    query = "SELECT count(to_regclass(x)) FROM unnest(ARRAY['tf_items', 'made', 'included']) x"
    assert scratch.value(query) == 3


@needs_psql
def test_errors_of_psql_are_read(scratch: Scratch) -> None:
    scratch.write(
        "a.sql",
        "\\set x 1\nCREATE TABLE t (id int);\n\nCREATE TABLE u (\n  id int,\n  n nosuchtype\n);\n",
    )
    error = scratch.fails("a.sql", psql=True)
    assert (error.file, error.line, error.sqlstate) == ("a.sql", 6, "42704")
    assert str(error).splitlines() == [
        'a.sql:6: type "nosuchtype" does not exist (SQLSTATE 42704)',
        "      4 | CREATE TABLE u (",
        "      5 |   id int,",
        ">     6 |   n nosuchtype",
        "      7 | )",
    ]
    scratch.write("b.sql", "\\set x 1\n\\ir parts/c.sql\n")
    scratch.write("parts/c.sql", "SELECT 1;\nSELECT nosuch();\n")
    error = scratch.fails("b.sql", psql=True)
    assert (error.file, error.line, error.sqlstate) == ("parts/c.sql", 2, "42883")


def test_migrations_of_both_ways(scratch: Scratch) -> None:
    scratch.write(
        "goose/00001_a.sql",
        "-- +goose Up\n-- +goose StatementBegin\nCREATE TABLE t ();\n-- +goose StatementEnd\n"
        "-- +goose Down\nDROP TABLE t;\n",
    )
    scratch.write("sqlx/1_u.up.sql", "CREATE TABLE u ();")
    scratch.write("sqlx/1_u.down.sql", "DROP TABLE u;")
    assert scratch.load("goose", "sqlx") == []
    assert scratch.value("SELECT count(to_regclass(x)) FROM unnest(ARRAY['t', 'u']) x") == 2


def test_autocommit_is_put_back(scratch: Scratch, server: Server) -> None:
    scratch.write("a.sql", "CREATE TABLE t ();")
    with psycopg.connect(scratch.conninfo) as conn:
        load_sources(conn, find_sources(["a.sql"], scratch.folder))
        assert conn.autocommit is False
    assert scratch.value("SELECT to_regclass('t') IS NOT NULL") is True
