"""pytest runs of their own, in folders of their own."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

# A small application: issues of organizations, and one policy for all that is done to them.
SCHEMA = """
DO $$ BEGIN CREATE ROLE plugin_app NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
CREATE TABLE orgs (id text PRIMARY KEY, name text);
CREATE TABLE issues (id uuid PRIMARY KEY, org_id text NOT NULL REFERENCES orgs, title text);
ALTER TABLE issues ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON issues USING (org_id = current_setting('app.tenant', true));
GRANT SELECT, INSERT, UPDATE, DELETE ON issues TO plugin_app;
"""
CONFIGURATION = """
[target]
schema = ["schema.sql"]
[tenancy]
tenants = "orgs"
column = "org_id"
[identity]
role = "plugin_app"
settings = { "app.tenant" = "{tenant.id}" }
"""


@dataclass(frozen=True)
class Done:
    """A run of pytest that is over."""

    status: int
    output: str
    folder: Path

    def outcomes(self) -> dict[str, str]:
        """The outcome of each item by its name, as the JUnit report has it."""
        found = {}
        for case in self.cases():
            below = {child.tag for child in case} & {"failure", "error", "skipped"}
            found[case.get("name", "")] = "".join(below) or "passed"
        return found

    def cases(self) -> list[ElementTree.Element]:
        """The test cases of the JUnit report."""
        return list(ElementTree.parse(self.folder / "junit.xml").getroot().iter("testcase"))

    def properties(self, name: str) -> set[str]:
        """The values of a property, over all items."""
        return {
            p.get("value", "")
            for case in self.cases()
            for p in case.iter("property")
            if p.get("name") == name
        }


Run = Callable[..., Done]


@pytest.fixture(scope="session")
def run_pytest() -> Run:
    """Runs pytest in a folder, with a JUnit report."""

    def run(
        folder: Path,
        *arguments: str,
        python: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Done:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("TENANTFUZZ_", "PYTEST_"))}
        done = subprocess.run(
            [
                python or sys.executable,
                "-m",
                "pytest",
                "--junit-xml=junit.xml",
                "-p",
                "no:randomly",
                *arguments,
            ],
            cwd=folder,
            env={**kept, "COLUMNS": "80", "NO_COLOR": "1", **(environment or {})},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        return Done(done.returncode, done.stdout + done.stderr, folder)

    return run


Make = Callable[..., Path]


@pytest.fixture
def make_target(tmp_path: Path) -> Make:
    """Writes a target: the small application with more SQL, more configuration."""

    def make(sql: str = "", configuration: str = "", **files: str) -> Path:
        (tmp_path / "schema.sql").write_text(SCHEMA + sql, encoding="utf-8")
        (tmp_path / "tenantfuzz.toml").write_text(CONFIGURATION + configuration, encoding="utf-8")
        (tmp_path / "tests").mkdir(exist_ok=True)
        for name, text in files.items():
            (tmp_path / "tests" / f"{name}.py").write_text(text, encoding="utf-8")
        return tmp_path

    return make
