import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tenantfuzz.engines import start_embedded
from tenantfuzz.engines.server import Server
from tenantfuzz.errors import ToolError
from tenantfuzz.loading.loader import load_sources
from tenantfuzz.loading.sources import find_sources
from tenantfuzz.presets.preset import load_preset

ADA = "11111111-1111-1111-1111-111111111111"
BOB = "22222222-2222-2222-2222-222222222222"


# The engine's own server, and each that the machine has.
BINARIES = [None, *sorted(Path("/usr/lib/postgresql").glob("*/bin"))]


@pytest.fixture(scope="module", params=BINARIES, ids=str)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with start_embedded(bindir=request.param) as started:
        yield started


@pytest.fixture
def supabase(server: Server) -> Iterator[psycopg.Connection]:
    name = "tf_scratch_supabase"
    server.create_database(name)
    try:
        with psycopg.connect(server.conninfo(name), autocommit=True) as conn:
            conn.execute(load_preset("supabase").sql.encode())
            yield conn
    finally:
        server.drop_database(name)


def value(conn: psycopg.Connection, query: str) -> object:
    row = conn.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def become(conn: psycopg.Connection, user: str, role: str = "authenticated") -> None:
    claims = json.dumps({"sub": user, "role": role, "email": "a@example.org"})
    conn.execute("SELECT set_config('request.jwt.claims', %s, false)", [claims])
    conn.execute("SET SESSION AUTHORIZATION authenticator")
    conn.execute(psycopg.sql.SQL("SET ROLE {}").format(psycopg.sql.Identifier(role)))


def test_presets_by_name() -> None:
    preset = load_preset("supabase")
    assert (preset.login, preset.role, preset.anonymous) == (
        "authenticator",
        "authenticated",
        "anon",
    )
    assert (preset.users, preset.service_role, preset.attacker) == (
        "auth.users",
        "service_role",
        "api",
    )
    assert preset.classification["auth.sessions"] == {"user": "user_id"}
    assert preset.classification["storage.buckets"] == "shared"
    assert json.loads(preset.settings["request.jwt.claims"]) == {
        "sub": "{user.id}",
        "role": "authenticated",
        "aud": "authenticated",
        "email": "{user.email}",
    }
    plain = load_preset("postgrest")
    assert (plain.sql, plain.login, plain.role, plain.users) == ("", None, None, None)
    assert list(plain.settings) == ["request.jwt.claims"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [("supabse", "Did you mean 'supabase'?"), ("django", "Presets are: supabase, postgrest.")],
)
def test_unknown_preset_names_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(ToolError, match=f"unknown preset '{name}'") as caught:
        load_preset(name)
    assert caught.value.hint == hint


def test_it_can_be_installed_twice_on_one_server(
    server: Server, supabase: psycopg.Connection
) -> None:
    server.create_database("tf_scratch_second")
    try:
        with psycopg.connect(server.conninfo("tf_scratch_second"), autocommit=True) as conn:
            conn.execute(load_preset("supabase").sql.encode())
            assert value(conn, "SELECT count(*) FROM auth.users") == 0
    finally:
        server.drop_database("tf_scratch_second")


def test_roles(supabase: psycopg.Connection) -> None:
    rows = supabase.execute(
        "SELECT rolname, rolcanlogin, rolinherit, rolbypassrls FROM pg_roles"
        " WHERE rolname IN ('anon', 'authenticated', 'service_role', 'authenticator') ORDER BY 1"
    ).fetchall()
    assert rows == [
        ("anon", False, False, False),
        ("authenticated", False, False, False),
        ("authenticator", True, False, False),
        ("service_role", False, False, True),
    ]
    config = "SELECT rolconfig FROM pg_roles WHERE rolname = 'authenticator'"
    assert value(supabase, config) == ["lock_timeout=8s", "statement_timeout=8s"]


def test_identity_functions(supabase: psycopg.Connection) -> None:
    # On this fresh connection the claims were never set; later they can only be empty.
    query = "SELECT ARRAY[auth.uid()::text, auth.role(), auth.email(), auth.jwt() ->> 'sub']"
    assert value(supabase, query) == [None] * 4
    become(supabase, ADA)
    assert value(supabase, query) == [ADA, "authenticated", "a@example.org", ADA]
    supabase.execute("RESET SESSION AUTHORIZATION")
    supabase.execute("SELECT set_config('request.jwt.claims', '', false)")
    assert value(supabase, query) == [None] * 4
    supabase.execute("SELECT set_config('request.jwt.claim.sub', %s, false)", [BOB])
    assert value(supabase, "SELECT auth.uid()::text") == BOB


def test_default_privileges_open_what_migrations_make(supabase: psycopg.Connection) -> None:
    supabase.execute("CREATE TABLE public.t (id serial)")
    supabase.execute("CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    supabase.execute("REVOKE EXECUTE ON FUNCTION public.f() FROM PUBLIC")
    for role in ("anon", "authenticated", "service_role"):
        checks = (
            f"has_table_privilege('{role}', 'public.t', 'SELECT, INSERT, UPDATE, DELETE')",
            f"has_sequence_privilege('{role}', 'public.t_id_seq', 'USAGE')",
            f"has_function_privilege('{role}', 'public.f()', 'EXECUTE')",
        )
        assert [value(supabase, f"SELECT {check}") for check in checks] == [True] * 3


@pytest.mark.parametrize("relation", ["auth.users", "auth.sessions", "vault.decrypted_secrets"])
def test_platform_tables_are_closed_to_the_api(supabase: psycopg.Connection, relation: str) -> None:
    become(supabase, ADA)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        supabase.execute(f"SELECT * FROM {relation}".encode())


def test_columns_of_users(supabase: psycopg.Connection) -> None:
    supabase.execute(
        "INSERT INTO auth.users (id, email, email_confirmed_at, raw_user_meta_data)"
        " VALUES (%s, 'a@example.org', '2024-01-02', '{}')",
        [ADA],
    )
    assert value(supabase, "SELECT confirmed_at = '2024-01-02' FROM auth.users") is True
    columns = "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'auth'"
    assert value(supabase, f"{columns} AND table_name = 'users'") == 35
    with pytest.raises(psycopg.errors.UniqueViolation, match="users_email_partial_key"):
        supabase.execute("INSERT INTO auth.users (id, email) VALUES (%s, 'a@example.org')", [BOB])


def test_storage_is_decided_by_policies(supabase: psycopg.Connection) -> None:
    supabase.execute("INSERT INTO storage.buckets (id, name) VALUES ('files', 'files')")
    supabase.execute(
        "INSERT INTO storage.objects (bucket_id, name) VALUES ('files', %s), ('files', %s)",
        [f"{ADA}/a.txt", f"{BOB}/deep/b.tar.gz"],
    )
    assert value(
        supabase,
        "SELECT array_agg(ARRAY[storage.filename(name), storage.extension(name),"
        " array_to_string(storage.foldername(name), '|'), cardinality(path_tokens)::text]"
        " ORDER BY name) FROM storage.objects",
    ) == [["a.txt", "txt", ADA, "2"], ["b.tar.gz", "gz", f"{BOB}|deep", "3"]]
    become(supabase, ADA)
    assert value(supabase, "SELECT count(*) FROM storage.objects") == 0
    supabase.execute("RESET SESSION AUTHORIZATION")
    supabase.execute(
        "CREATE POLICY own ON storage.objects FOR SELECT TO authenticated"
        " USING ((storage.foldername(name))[1] = auth.uid()::text)"
    )
    become(supabase, ADA)
    assert value(supabase, "SELECT array_agg(name) FROM storage.objects") == [f"{ADA}/a.txt"]


def test_realtime_and_vault(supabase: psycopg.Connection) -> None:
    supabase.execute("SELECT realtime.send('{\"a\": 1}', 'changed', 'room:1')")
    assert value(supabase, "SELECT topic || private FROM realtime.messages") == "room:1true"
    supabase.execute("SELECT vault.create_secret('s3cret', 'key')")
    query = "SELECT decrypted_secret FROM vault.decrypted_secrets WHERE name = 'key'"
    assert value(supabase, query) == "s3cret"


MIGRATION = """
create extension if not exists pgcrypto;
create extension if not exists "uuid-ossp" with schema extensions;
create table public.profiles (
  id uuid primary key references auth.users on delete cascade,
  token uuid default uuid_generate_v4(),
  email text
);
alter table public.profiles enable row level security;
create policy "own profile" on public.profiles for select using (auth.uid() = id);
create function public.handle_new_user() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into public.profiles (id, email) values (new.id, new.email);
  return new;
end;
$$;
create trigger on_auth_user_created after insert on auth.users
  for each row execute procedure public.handle_new_user();
alter publication supabase_realtime add table public.profiles;
insert into storage.buckets (id, name, public) values ('avatars', 'avatars', true);
create policy "topic" on realtime.messages for select to authenticated
  using (realtime.topic() = auth.uid()::text);
"""


def test_a_project_loads_on_it(supabase: psycopg.Connection, tmp_path: Path) -> None:
    folder = tmp_path / "supabase" / "migrations"
    folder.mkdir(parents=True)
    (folder / "20240101000000_init.sql").write_text(MIGRATION, encoding="utf-8")
    (tmp_path / "supabase" / "seed.sql").write_text("SELECT nosuch();", encoding="utf-8")
    load_sources(supabase, find_sources(["supabase"], tmp_path))
    for user in (ADA, BOB):
        supabase.execute("INSERT INTO auth.users (id, email) VALUES (%s, %s)", [user, f"{user}@x"])
    become(supabase, ADA)
    assert value(supabase, "SELECT array_agg(id::text) FROM public.profiles") == [ADA]
    # The extension of the migration is the one that the preset has put into `extensions`.
    assert value(supabase, "SELECT to_regproc('public.gen_random_bytes') IS NULL") is True
