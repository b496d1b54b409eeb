"""A live database is copied, structure and roles, and only read."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tenantfuzz.engines import scratch_name, start_embedded
from tenantfuzz.engines.embedded import EmbeddedServer
from tenantfuzz.errors import ToolError
from tenantfuzz.live import copying
from tenantfuzz.live.copying import copy_structure, read_structure
from tenantfuzz.live.dumping import dump_structure
from tenantfuzz.live.relay import Relay
from tenantfuzz.live.restoration import Restored
from tenantfuzz.live.source import Source, open_source

# The engine's own server, and each that the machine has.
BINARIES = [None, *sorted(Path("/usr/lib/postgresql").glob("*/bin"))]

ROLES = """
CREATE ROLE reader LOGIN PASSWORD 'never copied';
CREATE ROLE boss NOLOGIN SUPERUSER;
CREATE ROLE owner NOLOGIN;
CREATE ROLE app LOGIN NOINHERIT;
CREATE ROLE member NOLOGIN;
CREATE ROLE service NOLOGIN BYPASSRLS;
CREATE ROLE "Odd Name" LOGIN;
GRANT member TO app;
GRANT service TO "Odd Name" WITH ADMIN OPTION;
GRANT pg_read_all_data TO service;
"""
SETTINGS = """
ALTER ROLE app SET statement_timeout = '3s';
ALTER ROLE app IN DATABASE {database} SET app.mode = 'it''s on';
ALTER DATABASE {database} SET search_path = "$user", public, "my schema";
ALTER DATABASE {database} SET default_transaction_read_only = on;
ALTER DATABASE {database} OWNER TO owner;
REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC;
GRANT CREATE ON DATABASE {database} TO member;
"""
SCHEMA = """
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO member, service;
CREATE SCHEMA "my schema" AUTHORIZATION owner;
CREATE TABLE orgs (id int PRIMARY KEY, name text);
CREATE TABLE issues (
  id int PRIMARY KEY, org_id int NOT NULL REFERENCES orgs, title text, secret text
);
ALTER TABLE orgs OWNER TO owner;
ALTER TABLE issues OWNER TO owner;
ALTER TABLE issues ENABLE ROW LEVEL SECURITY;
ALTER TABLE issues FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON issues TO member USING (org_id = current_setting('app.org')::int);
CREATE POLICY strict ON issues AS RESTRICTIVE FOR UPDATE TO member USING (title <> '-- Name: x');
GRANT SELECT (id, org_id, title), UPDATE ON issues TO member;
CREATE VIEW titles AS SELECT org_id, title FROM issues;
ALTER VIEW titles OWNER TO service;
GRANT SELECT ON titles TO member;
CREATE FUNCTION count_all() RETURNS bigint LANGUAGE sql SECURITY DEFINER
  AS 'SELECT count(*) FROM public.issues';
ALTER FUNCTION count_all() OWNER TO service;
REVOKE EXECUTE ON FUNCTION count_all() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION count_all() TO member;
CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
-- Name: orgs; Type: TABLE; Schema: public; Owner: nobody
  NEW.title := NEW.title || '';
  RETURN NEW;
END $$;
CREATE TRIGGER touched BEFORE UPDATE ON issues FOR EACH ROW EXECUTE FUNCTION touched();
CREATE MATERIALIZED VIEW totals AS SELECT org_id, count(*) FROM issues GROUP BY org_id;
CREATE TABLE events (org_id int, at date NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE events_2024 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE SEQUENCE numbers;
ALTER DEFAULT PRIVILEGES FOR ROLE owner IN SCHEMA public GRANT SELECT ON TABLES TO member;
INSERT INTO orgs VALUES (1, 'a row that stays where it is');
"""


def value(connection: psycopg.Connection[Any], query: str) -> Any:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def connect(server: EmbeddedServer, database: str) -> psycopg.Connection[Any]:
    return psycopg.connect(server.conninfo(database), autocommit=True)


@pytest.fixture(scope="module", params=BINARIES, ids=str)
def source(request: pytest.FixtureRequest) -> Iterator[EmbeddedServer]:
    with start_embedded(bindir=request.param) as server:
        server.create_database("shop")
        with connect(server, "shop") as connection:
            connection.execute(ROLES.encode())
            connection.execute(SCHEMA.encode())
            connection.execute(SETTINGS.format(database="shop").encode())
        yield server


@pytest.fixture(scope="module")
def scratch() -> Iterator[EmbeddedServer]:
    with start_embedded() as server:
        yield server


def copied(dsn: str, server: EmbeddedServer) -> tuple[str, Restored]:
    database = scratch_name()
    structure = read_structure(dsn)
    server.create_database(database)
    return database, copy_structure(structure, server, database)


@pytest.fixture(scope="module")
def copy(source: EmbeddedServer, scratch: EmbeddedServer) -> Iterator[psycopg.Connection[Any]]:
    # `reader` has no right on any table nor on any schema.
    database, restored = copied(source.conninfo("shop", user="reader"), scratch)
    assert restored.missing == ()
    assert restored.unfaithful == {}
    assert [w for w in restored.warnings if "worlds are tried on" not in w] == []
    with connect(scratch, database) as connection:
        yield connection
    scratch.drop_database(database)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (
            "SELECT array_agg(rolname::text ORDER BY rolname) FROM pg_roles WHERE rolsuper",
            ["boss", "postgres"],
        ),
        ("SELECT rolcanlogin AND NOT rolinherit FROM pg_roles WHERE rolname = 'app'", True),
        ("SELECT rolbypassrls AND rolinherit FROM pg_roles WHERE rolname = 'service'", True),
        ("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'Odd Name'", True),
        ("SELECT count(*) FROM pg_authid WHERE rolpassword IS NOT NULL", 0),
        ("SELECT pg_has_role('app', 'member', 'MEMBER')", True),
        ("SELECT pg_has_role('app', 'member', 'USAGE')", False),
        ("SELECT pg_has_role('Odd Name', 'service', 'MEMBER WITH ADMIN OPTION')", True),
        ("SELECT pg_has_role('service', 'pg_read_all_data', 'USAGE')", True),
        (
            "SELECT setconfig FROM pg_db_role_setting WHERE setrole = 'app'::regrole"
            " AND setdatabase = 0",
            ["statement_timeout=3s"],
        ),
        (
            "SELECT setconfig FROM pg_db_role_setting s JOIN pg_database d"
            " ON d.oid = s.setdatabase AND d.datname = current_database()"
            " WHERE setrole = 'app'::regrole",
            ["app.mode=it's on"],
        ),
        ("SHOW search_path", '"$user", public, "my schema"'),
        ("SHOW default_transaction_read_only", "off"),
        (
            "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()",
            "owner",
        ),
        ("SELECT has_database_privilege('app', current_database(), 'TEMPORARY')", False),
        ("SELECT has_database_privilege('app', current_database(), 'CONNECT')", True),
        ("SELECT has_database_privilege('member', current_database(), 'CREATE')", True),
        ("SELECT has_schema_privilege('app', 'public', 'USAGE')", False),
        ("SELECT has_schema_privilege('member', 'public', 'CREATE')", False),
        ("SELECT has_table_privilege('member', 'issues', 'SELECT')", False),
        ("SELECT has_column_privilege('member', 'issues', 'title', 'SELECT')", True),
        ("SELECT has_column_privilege('member', 'issues', 'secret', 'SELECT')", False),
        ("SELECT has_table_privilege('member', 'issues', 'UPDATE')", True),
        ("SELECT has_function_privilege('app', 'count_all()', 'EXECUTE')", False),
        ("SELECT has_function_privilege('member', 'count_all()', 'EXECUTE')", True),
        ("SELECT proowner::regrole::text FROM pg_proc WHERE proname = 'count_all'", "service"),
        ("SELECT relowner::regrole::text FROM pg_class WHERE relname = 'titles'", "service"),
        ("SELECT relowner::regrole::text FROM pg_class WHERE relname = 'issues'", "owner"),
        (
            "SELECT relrowsecurity AND relforcerowsecurity FROM pg_class WHERE relname = 'issues'",
            True,
        ),
        (
            "SELECT array_agg(polname::text || polcmd::text || polpermissive ORDER BY polname)"
            " FROM pg_policy WHERE polroles = ARRAY['member'::regrole::oid]",
            ["own*true", "strictwfalse"],
        ),
        ("SELECT count(*) FROM pg_trigger WHERE tgname = 'touched'", 1),
        ("SELECT relispopulated FROM pg_class WHERE relname = 'totals'", True),
        ("SELECT count(*) FROM pg_inherits WHERE inhparent = 'events'::regclass", 1),
        ("SELECT count(*) FROM pg_default_acl WHERE defaclrole = 'owner'::regrole", 1),
        ("SELECT count(*) FROM orgs", 0),
    ],
)
def test_what_the_copy_has(copy: psycopg.Connection[Any], query: str, expected: object) -> None:
    assert value(copy, query) == expected


def test_copies_of_a_copy_have_its_settings_and_privileges(
    source: EmbeddedServer, scratch: EmbeddedServer
) -> None:
    original, _ = copied(source.conninfo("shop", user="reader"), scratch)
    database = scratch_name()
    try:
        scratch.create_database(database, template=original)
        with connect(scratch, database) as again:
            assert value(again, "SHOW search_path") == '"$user", public, "my schema"'
            mine = "current_database(), 'TEMPORARY'"
            assert value(again, f"SELECT has_database_privilege('app', {mine})") is False
        with psycopg.connect(scratch.conninfo(database, user="app")) as login:
            assert value(login, "SELECT current_setting('app.mode')") == "it's on"
    finally:
        scratch.drop_database(database)
        scratch.drop_database(original)


def test_nothing_is_written_nor_locked_at_the_source(
    source: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.create_database("watched")
    try:
        with connect(source, "watched") as connection:
            connection.execute(
                """
                CREATE TABLE log (what text);
                CREATE TABLE things (id serial PRIMARY KEY, name text);
                CREATE VIEW names AS SELECT name FROM things;
                CREATE POLICY p ON things USING (name <> '');
                ALTER TABLE things ADD CHECK (id > 0);
                CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
                  'BEGIN INSERT INTO public.log VALUES (TG_OP); RETURN NULL; END';
                CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON things
                  EXECUTE FUNCTION note();
                CREATE FUNCTION ddl() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS
                  'BEGIN INSERT INTO public.log VALUES (TG_TAG); END';
                CREATE EVENT TRIGGER ddl ON ddl_command_start EXECUTE FUNCTION ddl();
                REVOKE ALL ON SCHEMA public FROM PUBLIC;
                """
            )
            connection.execute("CREATE TABLE seen (id int)")  # the event trigger does work
            noted = value(connection, "SELECT count(*) FROM log")
            assert noted > 0
            counters = (
                "SELECT txid_snapshot_xmax(txid_current_snapshot()),"
                " (SELECT last_value FROM things_id_seq)"
            )
            before = connection.execute(counters).fetchone()
            dump = dump_structure

            def looking_on(opened: Source) -> str:
                text = dump(opened)
                held = "SELECT count(*) FROM pg_locks WHERE relation = 'things'::regclass"
                assert value(connection, held) == 0
                return text

            monkeypatch.setattr(copying, "dump_structure", looking_on)
            structure = read_structure(source.conninfo("watched", user="reader"))
            # No transaction since has written anything, or it would have got a number.
            assert connection.execute(counters).fetchone() == before
            assert value(connection, "SELECT count(*) FROM log") == noted
        assert "things" in {entry.name for entry in structure.entries if entry.type == "TABLE"}
    finally:
        source.drop_database("watched")


def test_the_relay_takes_reads_alone(source: EmbeddedServer) -> None:
    with open_source(source.conninfo("shop")) as opened:
        relay = Relay(opened.connection)
        ours, theirs = socket.socketpair()
        thread = threading.Thread(target=relay.serve, args=(theirs,))
        thread.start()
        with closing(ours), closing(theirs):
            ours.sendall(struct.pack("!ii", 8, 196608))
            assert answers(ours)[0] == (b"R", b"\0\0\0\0")
            for text, kind, part in (
                ("INSERT INTO public.orgs VALUES (9, '')", b"E", b"only read"),
                ("DO $$ BEGIN END $$", b"E", b"only read"),
                ("COPY public.orgs TO STDOUT", b"E", b"only read"),
                ("LOCK TABLE public.orgs IN ACCESS SHARE MODE", b"C", b"LOCK TABLE"),
                ("SET statement_timeout = 0", b"C", b"SET"),
                ("BEGIN", b"C", b"BEGIN"),
                ("COMMIT", b"C", b"COMMIT"),
                ("SELECT 'x' AS a, NULL AS b", b"T", b"a\0"),
                ("SELECT nextval('public.numbers')", b"E", b"25006"),
            ):
                body = text.encode() + b"\0"
                ours.sendall(b"Q" + struct.pack("!i", len(body) + 4) + body)
                first = answers(ours)[0]
                assert (first[0], part in first[1]) == (kind, True), text
            ours.sendall(b"X\0\0\0\4")
            thread.join(10)
        assert not thread.is_alive()
        opened.forget([])
        assert opened.rows("SHOW statement_timeout") == [("1min",)]
        assert opened.rows("SHOW transaction_read_only") == [("on",)]


def answers(client: socket.socket) -> list[tuple[bytes, bytes]]:
    """The messages up to ReadyForQuery."""
    found: list[tuple[bytes, bytes]] = []
    with client.makefile("rb", buffering=0) as stream:
        while not found or found[-1][0] != b"Z":
            kind, length = struct.unpack("!ci", stream.read(5))
            found.append((kind, stream.read(length - 4) if length > 4 else b""))
    return found


def test_a_structure_that_changes_meanwhile_is_read_again(
    source: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    dump = dump_structure
    changes = 1

    def while_it_changes(opened: Source) -> str:
        nonlocal changes
        text = dump(opened)
        if changes:
            changes -= 1
            with connect(source, "shop") as connection:
                connection.execute("SET default_transaction_read_only = off")
                connection.execute(f"CREATE TABLE late_{changes} (id int)".encode())
        return text

    monkeypatch.setattr(copying, "dump_structure", while_it_changes)
    structure = read_structure(source.conninfo("shop", user="reader"))
    assert structure.warnings == ()
    assert "late_0" in {entry.name for entry in structure.entries}

    changes = 9
    structure = read_structure(source.conninfo("shop", user="reader"))
    assert [w for w in structure.warnings if "changed while it was read" in w]
    assert changes == 6
    with connect(source, "shop") as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute("DROP TABLE late_0, late_8, late_7, late_6")


def test_the_hash_is_that_of_structure_and_roles(source: EmbeddedServer) -> None:
    dsn = source.conninfo("shop", user="reader")
    first = read_structure(dsn).hash
    assert read_structure(dsn).hash == first
    with connect(source, "shop") as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute("ALTER ROLE member BYPASSRLS")
        changed = read_structure(dsn).hash
        connection.execute("ALTER ROLE member NOBYPASSRLS")
    assert changed != first
    assert read_structure(dsn).hash == first


def test_an_ordinary_role_with_the_superusers_name_stays_ordinary() -> None:
    with start_embedded() as source, start_embedded() as scratch:
        source.rename_superuser("rdsadmin")
        source.create_database("hosted")
        with connect(source, "hosted") as connection:
            connection.execute(
                """
                CREATE ROLE postgres LOGIN CREATEROLE;
                CREATE TABLE issues (id int);
                ALTER TABLE issues OWNER TO postgres;
                """
            )
        database, _ = copied(source.conninfo("hosted", user="postgres"), scratch)
        with connect(scratch, database) as connection:
            superusers = (
                "SELECT array_agg(rolname::text ORDER BY rolname) FROM pg_roles WHERE rolsuper"
            )
            assert value(connection, superusers) == ["rdsadmin", scratch.superuser]
            owner = "SELECT relowner::regrole::text FROM pg_class WHERE relname = 'issues'"
            assert value(connection, owner) == "postgres"
        scratch.drop_database(database)


def test_roles_of_others_with_other_powers_stand_in_the_way(scratch: EmbeddedServer) -> None:
    with start_embedded() as source:
        source.create_database("shop")
        with connect(source, "shop") as connection:
            connection.execute("CREATE ROLE clerk; CREATE ROLE auditor")
        with connect(scratch, "postgres") as connection:
            connection.execute("CREATE ROLE clerk BYPASSRLS; CREATE ROLE auditor")
        try:
            with pytest.raises(ToolError, match="role clerk is BYPASSRLS there") as caught:
                copied(source.conninfo("shop"), scratch)
            assert "auditor" not in str(caught.value)
        finally:
            with connect(scratch, "postgres") as connection:
                connection.execute("DROP ROLE clerk; DROP ROLE auditor")


STATE = """
SELECT (SELECT array_agg(m::text ORDER BY m::text) FROM pg_auth_members m),
       (SELECT array_agg(r::text ORDER BY r::text) FROM pg_roles r),
       (SELECT array_agg(s::text ORDER BY s::text) FROM pg_db_role_setting s
        JOIN pg_database d ON d.oid = setdatabase WHERE d.datname !~ '^tenantfuzz'),
       (SELECT array_agg(s::text ORDER BY s::text) FROM pg_db_role_setting s WHERE setdatabase = 0)
"""


def test_roles_of_the_very_server_that_is_read_are_not_touched(source: EmbeddedServer) -> None:
    """A scratch database beside the live one: its roles are the live database's own."""
    with connect(source, "postgres") as connection:
        before = connection.execute(STATE.encode()).fetchone()
        database, restored = copied(source.conninfo("shop", user="reader"), source)
        try:
            assert connection.execute(STATE.encode()).fetchone() == before
            assert restored.warnings == ()
        finally:
            source.drop_database(database)


def test_a_second_copy_brings_its_own_roles_up_to_date() -> None:
    with start_embedded() as source, start_embedded() as scratch:
        source.create_database("shop")
        with connect(source, "shop") as connection:
            connection.execute(
                "CREATE ROLE clerk BYPASSRLS; CREATE ROLE staff; GRANT staff TO clerk"
            )
            first, _ = copied(source.conninfo("shop"), scratch)
            connection.execute("ALTER ROLE clerk NOBYPASSRLS; REVOKE staff FROM clerk")
            second, _ = copied(source.conninfo("shop"), scratch)
        with connect(scratch, second) as connection:
            bypass = "SELECT rolbypassrls FROM pg_roles WHERE rolname = 'clerk'"
            assert value(connection, bypass) is False
            assert value(connection, "SELECT pg_has_role('clerk', 'staff', 'MEMBER')") is False
        for database in (first, second):
            scratch.drop_database(database)


def test_nothing_of_the_session_is_left_for_the_next_client_of_a_pooler(
    source: EmbeddedServer,
) -> None:
    settings = "SELECT name, setting FROM pg_settings WHERE name !~ '^transaction_' ORDER BY 1"
    with open_source(source.conninfo("shop", user="reader")) as opened:
        dump_structure(opened)
        opened.connection.execute("ROLLBACK")
        after = opened.rows(settings)
        assert opened.rows("SELECT name FROM pg_prepared_statements") == []
        assert opened.rows("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)]
    with psycopg.connect(source.conninfo("shop", user="reader")) as fresh:
        fresh.execute("SET client_encoding = 'UTF8'; SET application_name = 'tenantfuzz'")
        assert after == fresh.execute(settings.encode()).fetchall()
