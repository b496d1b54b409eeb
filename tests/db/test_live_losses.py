"""What of a live database cannot be copied costs what depends on it, and is said."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tenantfuzz.catalog import read_catalog
from tenantfuzz.engines import scratch_name, start_embedded
from tenantfuzz.live.copying import copy_structure, read_structure
from tenantfuzz.live.entries import read_entries
from tenantfuzz.live.restoration import Restored
from tenantfuzz.policies.structure import RelationName

EXTENSION = """
CREATE TYPE @extschema@.shape AS (width int, height int);
CREATE FUNCTION @extschema@.shape_in_use(int) RETURNS boolean LANGUAGE sql IMMUTABLE
  AS 'SELECT $1 > 0';
"""
SCHEMA = """
CREATE ROLE member;
CREATE SCHEMA geo;
CREATE EXTENSION shapes WITH SCHEMA geo;
CREATE TABLE public.orgs (id int PRIMARY KEY);
CREATE TABLE public.places (id int PRIMARY KEY, org_id int REFERENCES orgs, outline geo.shape);
CREATE VIEW public.outlines AS SELECT org_id, outline FROM public.places;
CREATE TABLE public.visits (
  id int PRIMARY KEY, org_id int REFERENCES orgs, place_id int REFERENCES places
);
CREATE TABLE public.guarded (id int PRIMARY KEY, org_id int REFERENCES orgs);
ALTER TABLE public.guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON public.guarded USING (org_id = current_setting('app.org')::int);
CREATE POLICY narrow ON public.guarded AS RESTRICTIVE USING (geo.shape_in_use(id));
CREATE INDEX guarded_shapes ON public.visits (geo.shape_in_use(id));
CREATE FUNCTION public.area(geo.shape) RETURNS int LANGUAGE plpgsql
  AS 'BEGIN RETURN ($1).width * ($1).height; END';
CREATE FUNCTION public.later() RETURNS boolean LANGUAGE plpgsql
  AS 'BEGIN RETURN geo.shape_in_use(1); END';
GRANT SELECT ON ALL TABLES IN SCHEMA public TO member;
CREATE EXTENSION postgres_fdw;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'db.example.org');
CREATE USER MAPPING FOR member SERVER elsewhere OPTIONS (user 'u', password 'hush');
CREATE FOREIGN TABLE public.remote (id int) SERVER elsewhere;
CREATE FUNCTION public.ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION public.ddl();
"""


@pytest.fixture(scope="module")
def extensions() -> Iterator[Path]:
    # Readable for the server's account, as pytest's own directories are not.
    folder = Path(tempfile.mkdtemp(prefix="tenantfuzz-test-"))
    try:
        folder.chmod(0o755)
        (folder / "extension").mkdir()
        control = "default_version = '1.0'\nrelocatable = false\n"
        (folder / "extension" / "shapes.control").write_text(control)
        (folder / "extension" / "shapes--1.0.sql").write_text(EXTENSION)
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def restored(extensions: Path) -> Iterator[tuple[psycopg.Connection[Any], Restored]]:
    path = {"extension_control_path": f"{extensions}:$system"}
    with start_embedded(settings=path) as source, start_embedded() as scratch:
        source.create_database("shop")
        with psycopg.connect(source.conninfo("shop"), autocommit=True) as connection:
            connection.execute(SCHEMA.encode())
        structure = read_structure(source.conninfo("shop"))
        database = scratch_name()
        scratch.create_database(database)
        found = copy_structure(structure, scratch, database)
        with psycopg.connect(scratch.conninfo(database), autocommit=True) as connection:
            yield connection, found


def names(connection: psycopg.Connection[Any]) -> set[str]:
    return {name.name for name in read_catalog(connection).relations}


def test_what_does_not_depend_on_the_extension_is_there(
    restored: tuple[psycopg.Connection[Any], Restored],
) -> None:
    connection, _ = restored
    assert names(connection) == {"orgs", "visits", "guarded"}
    functions = {f.name.name for f in read_catalog(connection).functions}
    assert functions == {"later"}


def test_what_is_not_there_is_named(
    restored: tuple[psycopg.Connection[Any], Restored],
) -> None:
    _, found = restored
    assert {(name, operation) for name, operation, _ in found.missing} == {
        *(("public.places", word) for word in ("select", "insert", "update", "delete")),
        *(("public.remote", word) for word in ("select", "insert", "update", "delete")),
        ("public.outlines", "select"),
        ("public.area", "call"),
    }
    reasons = {name: reason for name, _, reason in found.missing}
    assert 'type "geo.shape" does not exist' in reasons["public.places"]
    assert "another database" in reasons["public.remote"]
    text = "\n".join(found.warnings)
    assert "has no extension shapes" in text
    assert 'engine = "server"' in text
    assert "event triggers are not copied (1)" in text
    assert "hush" not in text


def test_a_relation_without_one_of_its_policies_is_not_trusted(
    restored: tuple[psycopg.Connection[Any], Restored],
) -> None:
    _, found = restored
    # `visits` lacks an index and a foreign key to what is missing: neither opens anything.
    assert set(found.unfaithful) == {RelationName("public", "guarded")}
    assert "policy" in found.unfaithful[RelationName("public", "guarded")]


def test_nothing_of_a_foreign_server_is_copied(
    restored: tuple[psycopg.Connection[Any], Restored],
) -> None:
    connection, _ = restored
    for catalog in ("pg_foreign_server", "pg_user_mappings", "pg_event_trigger"):
        row = connection.execute(f"SELECT count(*) FROM {catalog}".encode()).fetchone()
        assert row == (0,), catalog


@pytest.mark.parametrize("bindir", [*Path("/usr/lib/postgresql").glob("*/bin")], ids=str)
def test_collations_that_the_engine_lacks(bindir: Path) -> None:
    with start_embedded(bindir=bindir) as source, start_embedded() as scratch:
        source.create_database("shop")
        with psycopg.connect(source.conninfo("shop"), autocommit=True) as connection:
            connection.execute(
                "CREATE TABLE plain (id int);"
                'CREATE TABLE people (email text COLLATE "en-x-icu" PRIMARY KEY)'
            )
        structure = read_structure(source.conninfo("shop"))
        database = scratch_name()
        scratch.create_database(database)
        found = copy_structure(structure, scratch, database)
    assert found.absent == {RelationName("public", "people")}
    assert [w for w in found.warnings if "--postgres" in w and "collations" in w]


DUMP = """
SET statement_timeout = 0;

--
-- Name: issues; Type: TABLE; Schema: public; Owner: owner
--

CREATE TABLE "public"."issues" (
    "id" integer NOT NULL
);

ALTER TABLE ONLY "public"."issues" FORCE ROW LEVEL SECURITY;

--
-- Name: note(text); Type: FUNCTION; Schema: public; Owner: owner
--

CREATE FUNCTION "public"."note"("text") RETURNS "void"
    LANGUAGE "plpgsql"
    AS $_$
-- Name: orgs; Type: TABLE; Schema: public; Owner: owner
BEGIN NULL; END $_$;

--
-- Name: odd " name; Type: RULE; Schema: public; Owner: owner
--

CREATE RULE "odd "" name" AS
    ON INSERT TO "public"."issues" DO INSTEAD NOTHING;

--
-- Name: COLUMN "issues"."id"; Type: ACL; Schema: public; Owner: owner
--

GRANT SELECT("id") ON TABLE "public"."issues" TO "member";
"""


def test_statements_are_known_by_the_comments_of_the_dump() -> None:
    found = [
        (entry.type, entry.name, str(entry.relation), entry.number) for entry in read_entries(DUMP)
    ]
    issues = "public.issues"
    assert [f[:3] for f in found] == [
        ("", "", "None"),
        ("TABLE", "issues", issues),
        ("TABLE", "issues", issues),
        ("FUNCTION", "note(text)", "None"),
        ("RULE", 'odd " name', issues),
        ("ACL", 'COLUMN "issues"."id"', issues),
    ]
    assert found[1][3] == found[2][3] != found[3][3]
