from dataclasses import replace
from pathlib import Path

import pytest

from tenantfuzz.findings import Finding, PrincipalSummary, Severity
from tenantfuzz.policies.configuration import parse_configuration
from tenantfuzz.reports.account import Place
from tenantfuzz.reports.locating import locate, repository
from tenantfuzz.target import Target

FIRST = """\
-- tables
CREATE TABLE organizations (id text PRIMARY KEY);
CREATE TABLE IF NOT EXISTS public.issues (
  id text, organization_id text
);
/* a comment with CREATE TABLE ghosts (id int); */
CREATE POLICY issues_read ON issues USING (true);
CREATE TABLE app.notes (id text);
CREATE OR REPLACE FUNCTION list_issues() RETURNS void LANGUAGE sql AS $$
  CREATE TABLE inside (id int); $$;
"""
SECOND = """\
DROP POLICY issues_read ON public.issues;

CREATE POLICY "Issues Read" ON public.issues
  FOR SELECT USING (true);
CREATE POLICY issues_read ON "public"."issues" FOR SELECT
  USING (organization_id = 'x');
ALTER POLICY "Issues Read" ON issues USING (false);
CREATE MATERIALIZED VIEW counts AS SELECT count(*) FROM issues;
"""
FINDING = Finding(
    code="TF101",
    severity=Severity.CRITICAL,
    title="t",
    relation="public.issues",
    operation="select",
    principal=PrincipalSummary("member", "app", None),
    owner_tenants=(),
    explanation="",
    culprits=(),
    statements=(),
    expected="",
    observed="",
)


@pytest.fixture
def target(tmp_path: Path) -> Target:
    (tmp_path / ".git").mkdir()
    root = tmp_path / "packages" / "db"
    (root / "sql").mkdir(parents=True)
    (root / "sql" / "1.sql").write_text(FIRST, encoding="utf-8")
    (root / "sql" / "2.sql").write_text(SECOND, encoding="utf-8")
    file = root / "tenantfuzz.toml"
    configuration = parse_configuration({"target": {"schema": ["sql"]}}, source="x")
    return Target("demo", root, file, configuration)


@pytest.mark.parametrize(
    ("relation", "culprits", "file", "line"),
    [
        ("public.issues", (), "sql/1.sql", 3),
        ("public.issues", ("row security is off",), "sql/1.sql", 3),
        ("public.issues", ("issues_read",), "sql/2.sql", 5),  # the one in force
        ("public.issues", ("Issues Read",), "sql/2.sql", 7),
        ("public.issues", ("unknown", "issues_read"), "sql/2.sql", 5),
        ("public.organizations", ("issues_read",), "sql/1.sql", 2),
        ("app.notes", (), "sql/1.sql", 8),
        ("public.list_issues", (), "sql/1.sql", 9),
        ("public.counts", (), "sql/2.sql", 8),
        ("public.notes", (), "tenantfuzz.toml", None),  # another schema's
        ("public.ghosts", (), "tenantfuzz.toml", None),
        ("public.inside", (), "tenantfuzz.toml", None),
        ("issue list", (), "tenantfuzz.toml", None),
    ],
)
def test_places(
    target: Target, relation: str, culprits: tuple[str, ...], file: str, line: int | None
) -> None:
    found = locate(target).place_of(replace(FINDING, relation=relation, culprits=culprits))
    assert found == Place(f"packages/db/{file}", line)


def test_without_a_repository_paths_start_at_the_working_directory_or_the_target(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".git").rmdir()
    monkeypatch.chdir(tmp_path / "packages")
    assert repository(target.root) == tmp_path / "packages"
    monkeypatch.chdir(tmp_path / "packages" / "db" / "sql")
    assert repository(target.root) == target.root


def test_sources_that_cannot_be_read_cost_no_report(target: Target) -> None:
    (target.root / "sql" / "1.sql").write_bytes(b"\xff")
    assert locate(target).place_of(FINDING) == Place("packages/db/tenantfuzz.toml")


def test_a_file_outside_of_the_repository_is_named_alone(target: Target, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}.sql"
    outside.write_text("CREATE TABLE issues (id int);", encoding="utf-8")
    configuration = parse_configuration({"target": {"schema": [str(outside)]}}, source="x")
    found = locate(replace(target, configuration=configuration)).place_of(FINDING)
    assert found == Place(outside.name, 1)
