"""The examples for CI servers: they parse, and what they run does what they say, as far as here."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

CI = Path(__file__).with_name("ci")
README = Path(__file__).parents[2] / "README.md"
SCHEMA = """
CREATE ROLE ci_app NOLOGIN;
CREATE TABLE orgs (id text PRIMARY KEY);
CREATE TABLE issues (id uuid PRIMARY KEY, org_id text NOT NULL REFERENCES orgs, title text);
ALTER TABLE issues ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON issues USING (org_id = current_setting('app.tenant', true));
GRANT SELECT ON issues TO ci_app;
"""
CONFIGURATION = """
[target]
schema = ["schema.sql"]
[tenancy]
tenants = "orgs"
column = "org_id"
[identity]
role = "ci_app"
settings = { "app.tenant" = "{tenant.id}" }
"""

Yaml = dict[Any, Any]  # a document of another program's


def read(name: str) -> Yaml:
    document: Yaml = yaml.safe_load((CI / name).read_text(encoding="utf-8"))
    return document


def github_steps() -> list[Yaml]:
    steps: list[Yaml] = read("github-actions.yml")["jobs"]["tenantfuzz"]["steps"]
    return steps


def runs(lines: Iterator[str]) -> list[list[str]]:
    return [shlex.split(line) for line in lines if line.startswith("tenantfuzz ")]


GITHUB = runs(step["run"] for step in github_steps() if "run" in step)
GITLAB = runs(line for job in read("gitlab-ci.yml").values() for line in job.get("script", ()))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "schema.sql").write_text(SCHEMA, encoding="utf-8")
    (tmp_path / "tenantfuzz.toml").write_text(CONFIGURATION, encoding="utf-8")
    return tmp_path


def run(words: list[str], cwd: Path) -> int:
    """The command of an example, with the budget of one world."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TENANTFUZZ_")}
    return subprocess.run(
        [sys.executable, "-m", *words, "--max-examples", "1", "--seed", "1"],
        cwd=cwd,
        env=kept,
        stdout=subprocess.DEVNULL,
        timeout=120,
        check=False,
    ).returncode


@pytest.mark.parametrize(
    ("commands", "written"),
    [
        (GITHUB, {"html", "md", "sarif", "xml"}),
        (GITLAB, {"html", "xml"}),
    ],
    ids=["github", "gitlab"],
)
def test_a_change_is_tested_after_the_whole(
    repository: Path, commands: list[list[str]], written: set[str]
) -> None:
    part, whole = sorted(commands, key=lambda words: "--save-snapshot" in words)
    snapshot = whole[whole.index("--save-snapshot") + 1]
    assert part[part.index("--changed-since") + 1] == snapshot
    assert run(whole, repository) == 0
    assert (repository / snapshot).exists()
    with (repository / "schema.sql").open("a") as stream:
        stream.write("CREATE POLICY support ON issues FOR SELECT USING (true);\n")
    assert run(part, repository) == 1
    assert {p.suffix[1:] for p in repository.glob("tenantfuzz.*")} == {*written, "toml"}


def test_what_github_uploads_is_what_is_written() -> None:
    [sarif] = [s["with"] for s in github_steps() if "upload-sarif" in s.get("uses", "")]
    [artifact] = [s["with"] for s in github_steps() if "upload-artifact" in s.get("uses", "")]
    caches = [s["with"]["path"] for s in github_steps() if "actions/cache" in s.get("uses", "")]
    for words in GITHUB:
        reports = {words[n + 1] for n, word in enumerate(words) if word == "--report"}
        assert sarif["sarif_file"] in reports
        assert {p for p in artifact["path"].split() if p != "corpus/"} < reports
        assert set(caches) < set(words)


def test_gitlab_shows_the_report_that_is_written() -> None:
    jobs = read("gitlab-ci.yml")
    shown = jobs[".tenantfuzz"]["artifacts"]["reports"]["junit"]
    assert len(GITLAB) == 2
    assert all(shown in words for words in GITLAB)
    caches = [job["cache"] for job in jobs.values() if "cache" in job]
    assert [c["paths"] for c in caches] == [["tenantfuzz-snapshot.json"]] * 2
    assert len({c["key"] for c in caches}) == 1


def test_the_summary_is_shown(repository: Path) -> None:
    [line] = [s["run"] for s in github_steps() if "GITHUB_STEP_SUMMARY" in s.get("run", "")]
    (repository / "tenantfuzz.md").write_text("### a summary\n", encoding="utf-8")
    summary = repository / "summary"
    environment = os.environ | {"GITHUB_STEP_SUMMARY": str(summary)}
    subprocess.run(["bash", "-ec", line], cwd=repository, env=environment, check=True)
    assert summary.read_text(encoding="utf-8") == "### a summary\n"


def test_the_readme_names_them() -> None:
    text = README.read_text(encoding="utf-8")
    for file in CI.iterdir():
        assert f"tests/docs/ci/{file.name}" in text
