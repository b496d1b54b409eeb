"""Solved rows are accepted by a real server: the constructs that schemas in the wild hold."""

import random
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from tenantfuzz.catalog import read_catalog
from tenantfuzz.engines import scratch_name, start_embedded
from tenantfuzz.policies.structure import Catalog, Relation, RelationName
from tenantfuzz.strategies.dictionary import build_dictionary
from tenantfuzz.strategies.picking import SeededPick, SimplestPick
from tenantfuzz.strategies.solving import Unsolvable, canary_column, mutate_value, solve_row

SCHEMA = """
CREATE SCHEMA app;
CREATE TYPE app.mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN app.email AS text CHECK (VALUE ~* '^[^@\\s]+@[^@\\s]+[.][a-z]{2,}$');
CREATE DOMAIN app.cents AS bigint NOT NULL CHECK (VALUE >= 0) CHECK (VALUE < 1000000);
CREATE DOMAIN app.code AS varchar(8) CHECK (VALUE ~ '^[A-Z]{2,4}-[0-9]{2}$');
CREATE DOMAIN app.share AS numeric(5,4) CHECK (VALUE > 0 AND VALUE < 1);
CREATE TYPE app.place AS (street text, number int, tag app.code);

CREATE TABLE numbers (
  a smallint PRIMARY KEY, b int NOT NULL, c bigint NOT NULL, d numeric(4,2) NOT NULL,
  e numeric NOT NULL, f real NOT NULL, g double precision NOT NULL, h money NOT NULL,
  i numeric(3,3) NOT NULL, j serial, k oid NOT NULL, l pg_lsn NOT NULL);
CREATE TABLE times (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a date NOT NULL, b time NOT NULL,
  c timetz NOT NULL, d timestamp NOT NULL, e timestamptz NOT NULL, f interval NOT NULL,
  starts_at timestamptz NOT NULL, ends_at timestamptz NOT NULL, deleted_at timestamptz,
  expires_at timestamptz NOT NULL CHECK (expires_at > now()),
  born date CHECK (born <= CURRENT_DATE),
  month date NOT NULL, CHECK (starts_at < ends_at),
  CHECK (date_trunc('month', month) = month));
CREATE TABLE texts (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), a text NOT NULL, b varchar(5) NOT NULL,
  c char(3) NOT NULL, d name NOT NULL, e "char" NOT NULL, f varchar(1) NOT NULL,
  g character NOT NULL, body text, UNIQUE (b), UNIQUE (d));
CREATE TABLE others (
  id int PRIMARY KEY, a json NOT NULL, b jsonb NOT NULL, c bytea NOT NULL, d inet NOT NULL,
  e cidr NOT NULL, f macaddr NOT NULL, g macaddr8 NOT NULL, h bit(5) NOT NULL, i varbit NOT NULL,
  j int4range NOT NULL, k tstzrange NOT NULL, l numrange NOT NULL, m daterange NOT NULL,
  n int[] NOT NULL, o text[] NOT NULL, p app.mood NOT NULL, q app.mood[] NOT NULL,
  r app.place NOT NULL, s tsvector NOT NULL, t tsquery NOT NULL, u point NOT NULL,
  v box NOT NULL, w path NOT NULL, x polygon NOT NULL, y line NOT NULL, z lseg NOT NULL,
  aa circle NOT NULL, ab xid NOT NULL, ac regclass NOT NULL, ad int8range[] NOT NULL,
  ae bool NOT NULL, af bool[] NOT NULL, ag jsonpath NOT NULL, ah timestamptz[] NOT NULL);
CREATE TABLE domains (
  id app.code PRIMARY KEY, mail app.email NOT NULL UNIQUE, price app.cents, part app.share NOT NULL,
  mails app.email[] NOT NULL, codes app.code[] NOT NULL CHECK (cardinality(codes) >= 2),
  place app.place NOT NULL);
CREATE TABLE issues (
  id uuid PRIMARY KEY, status varchar(20) NOT NULL DEFAULT 'open',
  priority int NOT NULL, title text NOT NULL, slug text NOT NULL, key varchar(12) NOT NULL UNIQUE,
  done_at timestamptz, closed_by text, hours numeric(6,2), colour text, currency char(3) NOT NULL,
  CHECK (status = ANY (ARRAY['open', 'doing', 'done'])), CHECK (priority BETWEEN 1 AND 5),
  CHECK (char_length(title) BETWEEN 3 AND 12), CHECK (slug = lower(slug)),
  CHECK (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$'), CHECK (key ~ '^[A-Z]+-[0-9]+$'),
  CHECK ((status = 'done') = (done_at IS NOT NULL)),
  CHECK (closed_by IS NULL OR status = 'done'), CHECK (hours >= 0.25),
  CHECK (currency ~ '^[A-Z]{3}$'),
  CHECK (colour ~* '^#[0-9a-f]{6}$'), CHECK (btrim(title) <> ''));
CREATE TABLE targets (
  id int PRIMARY KEY, user_id int, team_id int, link text,
  CHECK (num_nonnulls(user_id, team_id, link) = 1));
CREATE TABLE picks (
  id int PRIMARY KEY, a int, b text,
  CHECK (((a IS NOT NULL)::int + (b IS NOT NULL)::int) = 1),
  CHECK (CASE WHEN a IS NULL THEN length(b) > 20 ELSE a % 7 = 3 END));
CREATE TABLE payments (
  id int PRIMARY KEY, kind text NOT NULL CHECK (kind IN ('card', 'bank', 'cash')),
  card text, iban text, amount numeric(10,2) NOT NULL CHECK (amount > 0),
  fee numeric(10,2) NOT NULL, total numeric(10,2) NOT NULL,
  CHECK (kind <> 'card' OR card IS NOT NULL), CHECK (kind = 'card' OR card IS NULL),
  CHECK (kind <> 'bank' OR iban ~ '^[A-Z]{2}[0-9]{20}$'), CHECK (kind = 'bank' OR iban IS NULL),
  CHECK (fee < amount), CHECK (total >= amount + fee));
CREATE TABLE documents (
  id int PRIMARY KEY, data jsonb NOT NULL DEFAULT '{}', list jsonb NOT NULL, kind jsonb NOT NULL,
  tags text[] NOT NULL DEFAULT '{}',
  words tsvector GENERATED ALWAYS AS (to_tsvector('simple', 'x')) STORED,
  hash bytea NOT NULL, embedding float8[] NOT NULL,
  CHECK (jsonb_typeof(data) = 'object'), CHECK (jsonb_typeof(list) = 'array'),
  CHECK (kind ->> 'type' = 'note'), CHECK (cardinality(tags) <= 5),
  CHECK (tags <@ ARRAY['a','b','c']),
  CHECK (octet_length(hash) = 32), CHECK (array_length(embedding, 1) = 3));
CREATE TABLE bookings (
  room int NOT NULL, during tstzrange NOT NULL, days int4range NOT NULL, at timestamptz NOT NULL,
  till timestamptz NOT NULL, CHECK (NOT isempty(during)), CHECK (lower(days) < upper(days)),
  CHECK (till > at), EXCLUDE USING gist (during WITH &&), EXCLUDE USING gist (days WITH &&),
  EXCLUDE USING gist (tstzrange(at, till) WITH &&));
CREATE TABLE members (
  org int NOT NULL, person int NOT NULL, role text NOT NULL DEFAULT 'member',
  active boolean NOT NULL DEFAULT true, email text, PRIMARY KEY (org, person),
  CHECK (role IN ('owner', 'admin', 'member')));
CREATE UNIQUE INDEX ON members (lower(email));
CREATE UNIQUE INDEX ON members (org) WHERE role = 'owner' AND active;
CREATE TABLE "Mixed Case" ("Id" serial PRIMARY KEY, "parentId" int CHECK ("parentId" <> "Id"),
  "Title" text NOT NULL CHECK ("Title" LIKE 'T%'), "isPublic" bool NOT NULL DEFAULT false,
  "end" date NOT NULL, "start" date NOT NULL, CHECK ("end" - "start" >= 14));
CREATE TABLE limits (
  id int PRIMARY KEY, low int NOT NULL, high int NOT NULL, step int NOT NULL, pct int NOT NULL,
  rate numeric(4,3) NOT NULL, year int NOT NULL, phone text NOT NULL, url text NOT NULL,
  sha text NOT NULL, lat double precision NOT NULL, port int NOT NULL, negative int NOT NULL,
  CHECK (low < high), CHECK (step > 0 AND step <= high - low), CHECK (pct >= 0 AND pct <= 100),
  CHECK (rate >= 0 AND rate <= 1), CHECK (year >= 1990 AND year <= 2100),
  CHECK (phone ~ '^[+]?[1-9][0-9]{6,14}$'), CHECK (url ~* '^https?://'),
  CHECK (length(sha) = 64), CHECK (sha ~ '^[a-f0-9]+$'), CHECK (lat >= -90 AND lat <= 90),
  CHECK (port BETWEEN 1 AND 65535), CHECK (negative < 0));
"""
CITEXT = """
CREATE EXTENSION citext; CREATE TABLE folded (
  id int PRIMARY KEY, handle citext NOT NULL UNIQUE CHECK (handle ~ '^[a-z][a-z0-9_-]{2,19}$'),
  mode citext NOT NULL CHECK (mode = ANY (ARRAY['Fast'::citext, 'Slow'::citext])));
"""
EXTENSIONS = {
    "citext": CITEXT,
    "ltree": "CREATE EXTENSION ltree; CREATE TABLE trees (id int PRIMARY KEY, p ltree NOT NULL)",
    "hstore": "CREATE EXTENSION hstore; CREATE TABLE stores (id int PRIMARY KEY, h hstore)",
}
MULTIRANGES = "CREATE TABLE spans (id int PRIMARY KEY, a int4multirange NOT NULL);"
ROWS = 60


@pytest.fixture(scope="module")
def connection() -> Iterator[psycopg.Connection]:
    with start_embedded() as server:
        name = scratch_name("values")
        server.create_database(name)
        with psycopg.connect(server.conninfo(name)) as opened:
            opened.execute(SCHEMA.encode())
            if server.version >= 140000:
                opened.execute(MULTIRANGES.encode())
            there = {r[0] for r in opened.execute("SELECT name FROM pg_available_extensions")}
            for extension, statements in EXTENSIONS.items():
                if extension in there:
                    opened.execute(statements.encode())
            opened.execute("SET CONSTRAINTS ALL IMMEDIATE")
            yield opened
            opened.rollback()
        server.drop_database(name)


@pytest.fixture(scope="module")
def catalog(connection: psycopg.Connection) -> Catalog:
    return read_catalog(connection)


def insert(
    connection: psycopg.Connection, relation: Relation, row: dict[str, str | None]
) -> str | None:
    """Inserts the row; returns the server's refusal, or None."""
    statement = sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({})").format(
        sql.Identifier(relation.name.schema, relation.name.name),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(sql.Literal(v) if v is not None else sql.NULL for v in row.values()),
    )
    try:
        with connection.transaction():
            connection.execute(statement)
    except psycopg.Error as refused:
        return f"{relation.name}: {refused} {row}"
    return None


def test_every_row_is_accepted(connection: psycopg.Connection, catalog: Catalog) -> None:
    dictionary = build_dictionary(catalog)
    assert len(catalog.relations) >= 14
    refusals: list[str | None] = []
    for relation in catalog.relations.values():
        for n in range(ROWS):
            pick = SimplestPick() if n < 20 else SeededPick(random.Random(n))
            fixed: dict[str, str | None] = {}
            if relation.name.name == "members":  # who is in what is decided by others
                fixed = {"org": str(n), "person": str(n)}
            try:
                row = solve_row(
                    relation, fixed, pick=pick, ordinal=n, natural=n % 7, canary=f"cnry{n:06x}",
                    dictionary=dictionary,
                )  # fmt: skip
            except Unsolvable as unsolvable:
                refusals.append(unsolvable.reason)
                continue
            refusals.append(insert(connection, relation, {**fixed, **row}))
    assert [r for r in refusals if r is not None] == []


def test_a_mutated_value_is_accepted(connection: psycopg.Connection, catalog: Catalog) -> None:
    relation = catalog.relations[RelationName("public", "others")]
    row = solve_row(relation, {}, pick=SimplestPick(), ordinal=900, natural=0, canary="")
    assert insert(connection, relation, row) is None
    changed = 0
    for column in relation.columns:
        value = mutate_value(column, relation, row[column.name], salt=3)
        statement = sql.SQL("UPDATE others SET {} = {} WHERE id = 901").format(
            sql.Identifier(column.name), sql.Literal(value)
        )
        with connection.transaction(force_rollback=True):
            assert connection.execute(statement).rowcount == 1
        changed += value != row[column.name]
    assert changed >= len(relation.columns) - 2


def test_the_canary_arrives(connection: psycopg.Connection, catalog: Catalog) -> None:
    for name, expected in (("texts", "body"), ("others", "a")):
        relation = catalog.relations[RelationName("public", name)]
        assert canary_column(relation) == expected
        assert insert_has_canary(connection, relation, expected)


def insert_has_canary(connection: psycopg.Connection, relation: Relation, column: str) -> bool:
    row = solve_row(relation, {}, pick=SimplestPick(), ordinal=700, natural=0, canary="cnry7f3a2k")
    assert insert(connection, relation, row) is None
    query = sql.SQL("SELECT count(*) FROM {} WHERE {}::text LIKE '%cnry7f3a2k%'").format(
        sql.Identifier(relation.name.name), sql.Identifier(column)
    )
    found = connection.execute(query).fetchone()
    return found is not None and found[0] == 1
