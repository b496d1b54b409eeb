import pytest

from tenantfuzz.loading.cluster import created_role, extension_spoken_of, why_skipped
from tenantfuzz.loading.extensions import ExtensionRequest, parse_extension
from tenantfuzz.loading.meta import MetaCommand, MetaEffect, parse_meta
from tenantfuzz.loading.sections import forward_part
from tenantfuzz.loading.statements import StatementKind, split_statements

ATOMIC = (
    "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END"
)

SPLITS = [
    ("", []),
    (";;  ;\n", []),
    ("-- only a comment; really\n/* and; another */", []),
    ("SELECT 1", [(1, "SELECT 1")]),
    ("\n\n  SELECT 1;\nSELECT 2;", [(3, "SELECT 1"), (4, "SELECT 2")]),
    ("SELECT 1; SELECT 2", [(1, "SELECT 1"), (1, "SELECT 2")]),
    ("-- a\n/* b\n*/ SELECT 1", [(3, "SELECT 1")]),
    ("/* a /* b; */ c; */ SELECT 1;", [(1, "SELECT 1")]),
    ("SELECT 1 -- x;y\n, 2;", [(1, "SELECT 1 -- x;y\n, 2")]),
    ("SELECT 'a;''b';SELECT 2", [(1, "SELECT 'a;''b'"), (1, "SELECT 2")]),
    (r"SELECT 'a\';SELECT 2", [(1, r"SELECT 'a\'"), (1, "SELECT 2")]),
    (r"SELECT E'a\';b';SELECT 2", [(1, r"SELECT E'a\';b'"), (1, "SELECT 2")]),
    (r"SELECT E'a''\';b';SELECT 2", [(1, r"SELECT E'a''\';b'"), (1, "SELECT 2")]),
    ('SELECT ";--" FROM "a""b;";SELECT 2', [(1, 'SELECT ";--" FROM "a""b;"'), (1, "SELECT 2")]),
    ("DO $$a;b$$;SELECT 2", [(1, "DO $$a;b$$"), (1, "SELECT 2")]),
    ("DO $x$a;$$;$y$;$x$;SELECT 2", [(1, "DO $x$a;$$;$y$;$x$"), (1, "SELECT 2")]),
    ("SELECT a$b$c;SELECT 2", [(1, "SELECT a$b$c"), (1, "SELECT 2")]),
    ("SELECT $1;SELECT $2", [(1, "SELECT $1"), (1, "SELECT $2")]),
    ("SELECT 'open;\nSELECT 2;", [(1, "SELECT 'open;\nSELECT 2;")]),
    ("DO $$ open; x", [(1, "DO $$ open; x")]),
    (f"{ATOMIC}; SELECT 3;", [(1, ATOMIC), (1, "SELECT 3")]),
    ("BEGIN; SELECT 1; END; SELECT 2", [(1, t) for t in ("BEGIN", "SELECT 1", "END", "SELECT 2")]),
    (
        "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); SELECT 3",
        [(1, "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)"), (1, "SELECT 3")],
    ),
    (
        "SELECT 1\n--> statement-breakpoint\nSELECT 2;--> statement-breakpoint\nSELECT 3",
        [(1, "SELECT 1"), (3, "SELECT 2"), (4, "SELECT 3")],
    ),
    ("SELECT 'ü'\r\n;\r\nSELECT 2;", [(1, "SELECT 'ü'"), (3, "SELECT 2")]),
]


@pytest.mark.parametrize(("sql", "expected"), SPLITS)
def test_splits(sql: str, expected: list[tuple[int, str]]) -> None:
    found = split_statements(sql)
    assert [(s.line, s.text) for s in found] == expected
    assert {s.kind for s in found} <= {StatementKind.SQL}


def test_offsets_cover_statement_and_semicolon() -> None:
    sql = "-- x\nSELECT 1 ;\nSELECT 2"
    first, second = split_statements(sql)
    assert sql[first.start : first.end] == "SELECT 1 ;"
    assert sql[second.start : second.end] == "SELECT 2"


def test_meta_commands_stand_apart() -> None:
    sql = "\\restrict abc\nSELECT 1;\n  \\ir sub/a.sql  \nSELECT 'x' \\gexec\nSELECT '\\i no';"
    assert [(s.line, s.kind.value, s.text) for s in split_statements(sql)] == [
        (1, "meta", "\\restrict abc"),
        (2, "sql", "SELECT 1"),
        (3, "meta", "\\ir sub/a.sql"),
        (4, "sql", "SELECT 'x'"),
        (4, "meta", "\\gexec"),
        (5, "sql", "SELECT '\\i no'"),
    ]


def test_copy_data_belongs_to_its_statement() -> None:
    sql = "COPY t (a, b) FROM stdin;\n1\tit's\n2\t;\\N\n\\.\n\nSELECT 1;"
    copy, select = split_statements(sql)
    assert (copy.kind, copy.text, copy.line) == (StatementKind.COPY, "COPY t (a, b) FROM stdin", 1)
    assert copy.data == "1\tit's\n2\t;\\N\n"
    assert (select.text, select.line) == ("SELECT 1", 6)


def test_copy_of_no_rows_and_copy_elsewhere() -> None:
    empty, select = split_statements("COPY t FROM STDIN WITH (FORMAT csv);\n\\.\nSELECT 1;")
    assert (empty.kind, empty.data) == (StatementKind.COPY, "")
    assert select.line == 3
    (to_file,) = split_statements("COPY t TO stdout;")
    assert to_file.kind is StatementKind.SQL


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\\restrict Xy", MetaCommand("restrict", MetaEffect.NOTHING)),
        ("\\echo it's fine", MetaCommand("echo", MetaEffect.NOTHING)),
        ("\\i 'open", MetaCommand("i", MetaEffect.NEEDS_PSQL)),
        ("\\connect app", MetaCommand("connect", MetaEffect.CONNECT)),
        ("\\c app", MetaCommand("c", MetaEffect.CONNECT)),
        ("\\ir 'a b.sql'", MetaCommand("ir", MetaEffect.INCLUDE, "a b.sql", relative=True)),
        ("\\i a.sql", MetaCommand("i", MetaEffect.INCLUDE, "a.sql")),
        ("\\i :dir", MetaCommand("i", MetaEffect.NEEDS_PSQL)),
        ("\\set ON_ERROR_STOP on", MetaCommand("set", MetaEffect.NOTHING)),
        ("\\set owner app", MetaCommand("set", MetaEffect.NEEDS_PSQL)),
        ("\\if :x", MetaCommand("if", MetaEffect.NEEDS_PSQL)),
        ("\\gexec", MetaCommand("gexec", MetaEffect.NEEDS_PSQL)),
        ("\\copy t from 'x'", MetaCommand("copy", MetaEffect.NEEDS_PSQL)),
    ],
)
def test_parse_meta(text: str, expected: MetaCommand) -> None:
    assert parse_meta(text) == expected


def test_parse_extension() -> None:
    assert parse_extension("CREATE EXTENSION vector") == ExtensionRequest("vector", None)
    assert parse_extension(
        'create extension if not exists "uuid-ossp" with schema "Ext"'
    ) == ExtensionRequest("uuid-ossp", "Ext")
    assert parse_extension(
        "CREATE EXTENSION pgcrypto VERSION '1.3' SCHEMA Extensions CASCADE"
    ) == ExtensionRequest("pgcrypto", "extensions")
    assert parse_extension("CREATE TABLE extension (schema int)") is None


@pytest.mark.parametrize(
    ("text", "skipped"),
    [
        ("CREATE DATABASE app", True),
        ("drop database if exists app", True),
        ("ALTER SYSTEM SET wal_level = logical", True),
        ("ALTER DATABASE app SET search_path = x", True),
        ("GRANT CONNECT, TEMP ON DATABASE app TO r", True),
        ("REVOKE ALL ON DATABASE app FROM PUBLIC", True),
        ('ALTER DATABASE "Mine" SET a.b = 1', False),
        ("ALTER DATABASE mine SET a.b = 1", True),
        ("GRANT SELECT ON t TO r", False),
        ("CREATE TABLE database (id int)", False),
    ],
)
def test_what_reaches_beyond_the_database(text: str, skipped: bool) -> None:
    assert (why_skipped(text, "Mine") is not None) is skipped


def test_names_in_statements() -> None:
    assert created_role("CREATE ROLE App LOGIN") == "app"
    assert created_role('create user "App-1"') == "App-1"
    assert created_role("CREATE USER MAPPING FOR x SERVER y") is None
    assert created_role("CREATE TABLE role (id int)") is None
    assert extension_spoken_of("COMMENT ON EXTENSION pg_cron IS 'x'") == "pg_cron"
    assert extension_spoken_of('DROP EXTENSION IF EXISTS "uuid-ossp"') == "uuid-ossp"
    assert extension_spoken_of("CREATE EXTENSION pg_cron") is None


@pytest.mark.parametrize(
    ("up", "down"),
    [
        ("-- +goose Up", "-- +goose Down"),
        ("-- +migrate Up", "-- +migrate Down"),
        ("-- migrate:up", "-- migrate:down transaction:false"),
        ("-- Up Migration", "-- Down Migration"),
    ],
)
def test_only_the_forward_part_is_kept(up: str, down: str) -> None:
    text = f"{up}\nCREATE TABLE t ();\n{down}\nDROP TABLE t;\n{up}\nSELECT 1;\n"
    assert forward_part(text) == f"{up}\nCREATE TABLE t ();\n\n\n{up}\nSELECT 1;\n"


def test_a_file_without_marks_is_kept_whole() -> None:
    text = "SELECT 1;\n-- migrate:down\nSELECT 2;\n"
    assert forward_part(text) == text
