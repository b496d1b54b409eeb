"""The fixture ``tenants``, in tests of one's own, with each kind of server."""

import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tenantfuzz.engines import start_embedded

Run = Callable[..., Any]  # Any: conftest's Done; tests do not import each other
Make = Callable[..., Path]

APPLICATION = """
def titles(connection):
    return connection.execute("SELECT title FROM issues").fetchall()

def count(connection):
    return connection.execute("SELECT count(*) FROM issues").fetchone()

def rename(connection):
    connection.execute("UPDATE issues SET title = 'renamed'")

def take(connection):
    connection.execute("INSERT INTO orgs VALUES ('mine', 'mine')")

def filtered(connection, principal):
    return connection.execute(
        "SELECT id FROM issues WHERE org_id = %s", [principal.tenant]
    ).fetchall()

def unfiltered(connection, principal):
    return connection.execute("SELECT id FROM issues")

def counted(connection, principal):
    return {"total": connection.execute("SELECT count(*) FROM issues").fetchone()[0]}

def renamed(connection, principal):
    connection.execute("UPDATE issues SET title = 'x' WHERE org_id <> %s", [principal.tenant])
    connection.commit()

def failing(connection):
    connection.execute(
        "DO $$ BEGIN RAISE EXCEPTION '%', (SELECT string_agg(title, ',') FROM issues); END $$"
    )
"""

SOUND = (
    APPLICATION
    + """
import psycopg
import pytest
from hypothesis import Phase, given, settings
from tenantfuzz.plugin.isolation import NotIsolated

@pytest.mark.parametrize("function", [titles, count, rename])
def test_sound_under_policies(tenants, function):
    tenants.assert_isolated(function)

def test_sound_by_itself(tenants):
    tenants.assert_isolated(filtered, as_="service")

@pytest.mark.parametrize(
    ("function", "said"),
    [
        (unfiltered, "gets rows that are hidden from it"),
        (counted, "gets an answer that depends on rows of other tenants"),
        (renamed, "changes rows of tenant"),
    ],
)
def test_unsound_by_itself(tenants, function, said):
    with pytest.raises(NotIsolated, match=said) as told:
        tenants.assert_isolated(function, as_="service")
    assert str(told.value).startswith(f"{function.__name__} is not isolated: a member")

def test_nothing_compared(tenants):
    with pytest.raises(NotIsolated, match="nothing was compared"):
        tenants.assert_isolated(lambda connection: None)
    with pytest.raises(NotIsolated, match="permission denied for table orgs"):
        tenants.assert_isolated(take)

def test_faults_of_the_code_itself_are_the_tests_own(tenants):
    with pytest.raises(ZeroDivisionError):
        tenants.assert_isolated(lambda connection: 1 / 0)
    async def later(connection):
        return 1
    with pytest.raises(TypeError, match="coroutine"):
        tenants.assert_isolated(later)

def test_identity(tenants):
    first, second = tenants.ids[:2]
    with tenants.acting_as("member", tenant=second) as connection:
        assert isinstance(connection, psycopg.Connection)
        who = connection.execute("SELECT session_user::text, current_user::text").fetchone()
        assert who == ("plugin_app", "plugin_app")
        owners = connection.execute("SELECT DISTINCT org_id FROM issues").fetchall()
        assert owners == [(second,)]
        connection.execute("DELETE FROM issues")
        connection.commit()
        connection.rollback()
        assert connection.execute("SELECT current_setting('app.tenant')").fetchone() == (second,)
    with tenants.connect() as trusted:
        left = trusted.execute("SELECT DISTINCT org_id FROM issues").fetchall()
        assert (second,) not in left and (first,) in left
    with psycopg.connect(tenants.dsn) as connection:
        assert connection.execute("SELECT count(*) FROM orgs").fetchone() == (len(tenants.ids),)
    with pytest.raises(LookupError, match="nobody with kind 'boss' is in this world"):
        tenants.principal("boss")

def test_identity_that_was_never_set(tenants):
    with tenants.acting_as("unset") as connection:
        given = connection.execute("SELECT current_setting('app.tenant', true)").fetchone()
        assert given == (None,)

def test_the_next_test_has_a_world_of_its_own(tenants):
    with tenants.connect() as trusted:
        left = trusted.execute("SELECT DISTINCT org_id FROM issues").fetchall()
    assert set(tenants.ids[:2]) <= {owner for owner, in left}

def test_drawn_worlds(tenants):
    seen = []

    @settings(max_examples=3, deadline=None, phases=[Phase.generate])
    @given(world=tenants.worlds())
    def check(world):
        with tenants.standing(world) as here:
            assert here.ids == world.tenants
            here.assert_isolated(titles, kinds=["member"])
            seen.append(world)

    check()
    assert seen
"""
)

UNSOUND = (
    APPLICATION
    + """
def test_rows(tenants):
    tenants.assert_isolated(titles)

def test_counts(tenants):
    tenants.assert_isolated(count)

def test_texts_of_errors(tenants):
    tenants.assert_isolated(failing)
"""
)


def test_tests_of_ones_own(run_pytest: Run, make_target: Make) -> None:
    folder = make_target(test_sound=SOUND)
    done = run_pytest(folder, "tests", "-W", "error")
    assert done.status == 0, done.output


def test_a_hole_fails_tests_of_ones_own(run_pytest: Run, make_target: Make) -> None:
    folder = make_target(
        "CREATE POLICY support ON issues FOR SELECT USING (true);", test_unsound=UNSOUND
    )
    done = run_pytest(folder, "tests", "-W", "error")
    assert set(done.outcomes().values()) == {"failure"}, done.output
    text = " ".join(done.output.split())
    for said in (
        r"titles is not isolated: a member with tenant \S+ gets rows that are hidden from it",
        r"count is not isolated: a member with tenant \S+ gets an answer that depends on rows",
        r"failing is not isolated: a member with tenant \S+ gets an error that tells of rows",
        r"row public.issues: id = \S+, org_id = \S+, title = cnry",
    ):
        assert re.search(said, text), done.output


def test_a_target_that_cannot_be_loaded_says_so(run_pytest: Run, make_target: Make) -> None:
    folder = make_target("CREATE TABEL x ();", test_own="def test_own(tenants):\n    pass\n")
    done = run_pytest(folder, "tests")
    assert done.outcomes() == {"test_own": "error"}
    assert "TABEL" in done.output
    assert "Traceback" not in done.output


README = Path(__file__).parents[2] / "README.md"


def test_the_example_of_the_readme(run_pytest: Run, make_target: Make) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.S | re.M)
    [example] = [block for block in blocks if "tenants" in block]
    folder = make_target(test_example=example)
    done = run_pytest(folder, "tests", "-W", "error")
    assert done.status == 0, done.output
    assert len(done.outcomes()) == 3


ALONE = """
import pytest
from tenantfuzz.errors import ToolError

def test_sessions(tenants):
    with pytest.raises(ToolError, match="principals have no session of their own"):
        with tenants.acting_as("member"):
            pass
    with pytest.raises(ToolError, match="names no role"):
        tenants.assert_isolated(lambda connection: connection.execute("SELECT * FROM issues"))

def test_code(tenants):
    def own(connection, principal):
        text = "SELECT id FROM issues WHERE org_id = %s"
        return connection.execute(text, [principal.tenant]).fetchall()
    tenants.assert_isolated(own, as_="service")
"""


def test_where_code_alone_isolates_there_are_no_sessions(
    run_pytest: Run, make_target: Make
) -> None:
    folder = make_target("ALTER TABLE issues DISABLE ROW LEVEL SECURITY;", test_alone=ALONE)
    (folder / "tenantfuzz.toml").write_text(
        '[target]\nschema = ["schema.sql"]\n[tenancy]\ntenants = "orgs"\ncolumn = "org_id"\n'
        '[[queries]]\nname = "all"\nsql = "SELECT id FROM issues WHERE org_id = :tenant"\n',
        encoding="utf-8",
    )
    done = run_pytest(folder, "tests", "-W", "error")
    assert done.status == 0, done.output


SERVER = """
import pytest

@pytest.fixture(scope="session")
def database_server():
    yield {dsn!r}
"""
ON_SERVER = """
def test_own(tenants):
    assert {socket!r} in tenants.dsn
    tenants.assert_isolated(
        lambda connection: connection.execute("SELECT title FROM issues").fetchall()
    )
"""


@pytest.mark.slow
def test_a_server_of_the_users_own(run_pytest: Run, make_target: Make) -> None:
    with start_embedded() as server:
        dsn = server.conninfo("postgres")
        socket = str(server.directory)
        folder = make_target(
            "CREATE POLICY support ON issues FOR DELETE USING (true);\n",
            conftest=SERVER.format(dsn=dsn),
            test_own=ON_SERVER.format(socket=socket),
        )
        (folder / "tests" / "conftest.py").rename(folder / "conftest.py")
        ini = "[pytest]\ntenantfuzz = .\ntenantfuzz_dsn_fixture = database_server\n"
        (folder / "pytest.ini").write_text(ini, encoding="utf-8")
        done = run_pytest(folder, "-W", "error", "-n", "2")
        outcomes = done.outcomes()
        assert {n for n, o in outcomes.items() if o != "passed"} == {"delete[public.issues]"}
        assert outcomes["test_own"] == "passed", done.output
        assert "Traceback" not in done.output
        left = run_query(server.conninfo("postgres"), "SELECT datname FROM pg_database")
        assert not [name for (name,) in left if name.startswith("tenantfuzz_scratch")]


@pytest.mark.slow
def test_the_server_of_pytest_postgresql(run_pytest: Run, make_target: Make) -> None:
    with start_embedded() as server:
        socket = str(server.directory / "socket")
        folder = make_target(test_own=ON_SERVER.format(socket=socket))
        ini = f"""
        [pytest]
        postgresql_host = {socket}
        postgresql_port = 5432
        tenantfuzz = .
        tenantfuzz_dsn_fixture = postgresql_noproc
        """
        (folder / "pytest.ini").write_text(textwrap.dedent(ini), encoding="utf-8")
        done = run_pytest(folder)
        assert done.status == 0, done.output
        assert done.outcomes()["test_own"] == "passed"


def test_a_fixture_that_gives_no_server(run_pytest: Run, make_target: Make) -> None:
    folder = make_target(conftest=SERVER.format(dsn=7), test_own="def test_own(tenants): pass\n")
    (folder / "tests" / "conftest.py").rename(folder / "conftest.py")
    done = run_pytest(folder, "-o", "tenantfuzz_dsn_fixture=database_server", "tests")
    assert done.outcomes() == {"test_own": "error"}
    assert "the fixture database_server gives no server: it is of type int" in done.output


def run_query(dsn: str, query: str) -> list[tuple[Any, ...]]:  # Any: columns of any type
    with psycopg.connect(dsn) as connection:
        found: list[tuple[Any, ...]] = connection.execute(query).fetchall()
        return found
