"""The wheel in somebody else's repository, which has packages named as our folders are."""

import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
Run = Callable[..., Any]  # Any: conftest's Done; tests do not import each other

# A Supabase project: two tables of teams, and a policy on one of them that forgot the team.
MIGRATION = """
create table public.teams (id uuid primary key default gen_random_uuid(), name text not null);
create table public.team_members (
  team_id uuid not null references public.teams (id),
  user_id uuid not null references auth.users (id),
  primary key (team_id, user_id)
);
create table public.projects (
  id uuid primary key default gen_random_uuid(),
  team_id uuid not null references public.teams (id),
  name text not null,
  unique (id, team_id)
);
create table public.tasks (
  id uuid primary key default gen_random_uuid(),
  team_id uuid not null references public.teams (id),
  project_id uuid not null,
  title text not null,
  foreign key (project_id, team_id) references public.projects (id, team_id)
);
alter table public.teams enable row level security;
alter table public.team_members enable row level security;
alter table public.projects enable row level security;
alter table public.tasks enable row level security;
create function public.my_teams() returns setof uuid language sql stable security definer
  set search_path = '' as $$
    select team_id from public.team_members where user_id = (select auth.uid())
  $$;
revoke execute on function public.my_teams() from public, anon;
create policy "own teams" on public.teams for select to authenticated
  using (id in (select public.my_teams()));
create policy "own memberships" on public.team_members for select to authenticated
  using (user_id = (select auth.uid()));
create policy "team projects" on public.projects to authenticated
  using (team_id in (select public.my_teams()));
"""
HOLE = 'create policy "team tasks" on public.tasks to authenticated using (true);\n'
MEND = """
create policy "team tasks" on public.tasks to authenticated
  using (team_id in (select public.my_teams()));
"""
CONFIGURATION = """
[pytest]
testpaths = tests
tenantfuzz = .
"""
ACCEPTED = """
[target]
schema = ["supabase/migrations"]
preset = "supabase"
[tenancy]
tenants = "teams"
column = "team_id"
[identity]
memberships = { table = "team_members", user = "user_id", tenant = "team_id" }
[[accept]]
relation = "public.my_teams"
reason = "a policy's helper: it answers about the caller itself"
"""
OWN_PACKAGES = """
import fuzzer
import policies
import strategies

def test_own_packages():
    assert (fuzzer.WHOSE, policies.WHOSE, strategies.WHOSE) == ("ours",) * 3
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python of a new environment with the built wheel, and with everything that it needs."""
    place = tmp_path_factory.mktemp("installed")
    source = place / "source"
    parts = ("fuzzer", "policies", "strategies", "pyproject.toml", "README.md", "LICENSE")
    source.mkdir()
    for part in parts:
        if (ROOT / part).is_dir():
            shutil.copytree(
                ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(ROOT / part, source / part)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheels = place / "wheels"
    options = ["--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "wheel", *options, "-w", wheels, source], check=True, timeout=300)
    [wheel] = wheels.glob("tenantfuzz-*.whl")
    environment = place / "environment"
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", environment], check=True, timeout=120
    )
    packages = next((environment / "lib").glob("python*")) / "site-packages"
    subprocess.run(
        [*pip, "install", "--no-deps", "--no-index", "--target", packages, wheel],
        check=True,
        timeout=120,
    )
    # Dependencies come from where the tests run; its own editable installation does not, for
    # the files by which it is found are read in a site's own folder only.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin" / "python"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "supabase" / "migrations").mkdir(parents=True)
    (tmp_path / "pytest.ini").write_text(CONFIGURATION, encoding="utf-8")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_own.py").write_text(OWN_PACKAGES, encoding="utf-8")
    (tmp_path / "tenantfuzz.toml").write_text(ACCEPTED, encoding="utf-8")
    for name in ("fuzzer", "policies", "strategies"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text('WHOSE = "ours"\n', encoding="utf-8")
    return tmp_path


def migrate(repository: Path, policy: str) -> None:
    file = repository / "supabase" / "migrations" / "20250101000000_teams.sql"
    file.write_text(MIGRATION + policy, encoding="utf-8")


@pytest.mark.slow
def test_red_with_the_hole_and_green_after_the_mend(
    run_pytest: Run, installed: Path, repository: Path
) -> None:
    where = subprocess.run(
        [installed, "-c", "import tenantfuzz; print(tenantfuzz.__file__)"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "environment" in where.stdout, where.stdout
    for policy, expected in ((HOLE, 1), (MEND, 0)):
        migrate(repository, policy)
        for workers in ((), ("-n", "2")):
            begun = time.monotonic()
            done = run_pytest(repository, *workers, python=str(installed))
            print(f"{expected} {workers}: {time.monotonic() - begun:.1f} s")
            assert done.status == expected, done.output
            outcomes = done.outcomes()
            assert outcomes["test_own_packages"] == "passed"
            red = {name for name, outcome in outcomes.items() if outcome != "passed"}
            assert "call[public.my_teams]" in red  # skipped, with the reason
            holes = {f"{o}[public.tasks]" for o in ("select", "insert", "update", "delete")}
            assert red - {"call[public.my_teams]"} == (holes if expected else set())
            assert ("culprit    team tasks" in done.output) == bool(expected)
