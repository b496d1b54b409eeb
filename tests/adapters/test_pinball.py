"""The real drizzle-orm on the pinball target: layers of scoping, prepared statements, nested
relations, extras, batches, transactions and server actions, each right and each wrong."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tenantfuzz.campaign import Options, run_campaign
from tenantfuzz.events import CampaignFinished
from tenantfuzz.policies.configuration import Adapter
from tenantfuzz.target import find_target

README = Path(__file__).parents[2] / "README.md"
TARGET = Path(__file__).parents[2] / "corpus" / "targets" / "pinball"
# What each wrong one is found under.
LEAKS = {
    "issueList": "TF501",  # createOrgScopedQuery, whose second where takes the place of the first
    "issueBoard": "TF501",  # the root is scoped, what hangs on an assignee is not
    "issueVisible": "TF401",  # createPermissionAwareQuery gives all to who may see nothing
    "issueGet": "TF501",  # a prepared statement with a placeholder for the id alone
    "issueDetail": "TF501",  # a count in extras, correlated by a person
    "memberDirectory": "TF501",
    "modelUse": "TF501",  # a join without the organization, under an aggregate
    "commentCreate": "TF501",  # a batch of inserts that copies what it quotes
    "upvoteMany": "TF502",  # a batch of inserts
    "issueRate": "TF502",  # parallel updates in a transaction
    "renameIssue": "TF502",  # a server action that believes its form
}


def run(folder: Path, form: str, only: str = "app.*") -> CampaignFinished:
    loader = folder / "node_modules" / "tsx" / "dist" / "loader.mjs"
    command = ["node", "--import", str(loader), str(folder / "adapter.ts"), form]
    return run_command(command, only)


def run_command(command: list[str], only: str, *, shrink: bool = False) -> CampaignFinished:
    target = find_target(TARGET)
    adapter = Adapter.model_validate({"name": "app", "command": command})
    configuration = target.configuration.model_copy(update={"adapters": (adapter,)})
    options = Options(seed=1, phases=("sweep",), only=only, shrink=shrink, save=False)
    *_, finished = run_campaign(replace(target, configuration=configuration), options)
    assert isinstance(finished, CampaignFinished)
    return finished


def codes(finished: CampaignFinished) -> Mapping[str, str]:
    return {f.relation.removeprefix("app."): f.code for f in reversed(finished.findings)}


@pytest.mark.slow
def test_a_layer_of_scoping_with_drizzle(pinball: Path) -> None:
    assert codes(run(pinball, "wrong", "app.issueGet")) == {"issueGet": "TF501"}


@pytest.mark.slow
def test_the_example_of_the_readme_leaks_as_it_says(pinball: Path) -> None:
    (program,) = re.findall(r"```js\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (pinball / "adapter.mjs").write_text(program)
    finished = run_command(["node", str(pinball / "adapter.mjs")], "app.*", shrink=True)
    (finding,) = [f for f in finished.findings if f.code == "TF501"]
    assert finding.relation == "app.issueSearch"
    assert finding.statements == ('app.issueSearch({"q": "%"})',)
    assert "the answer changes when only rows that are hidden from its caller are removed" in (
        finding.explanation
    )
    assert "issues carries no condition on its tenant" in finding.explanation
    assert finding.mend == (
        "Add to WHERE, with parentheses around its OR: AND issues.organization_id = :tenant. Tried "
        "by calling it with that statement changed: the leak is gone."
    )


@pytest.mark.slow
def test_a_connection_string_leads_postgres_js_there(
    pinball: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (program,) = re.findall(r"```js\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.setenv("DATABASE_URL", "postgres://app:secret@production.example/app")
    changed = program.replace("(settings) => postgres(settings)", "() => postgres(DATABASE_URL)")
    assert changed != program
    head = "const { DATABASE_URL } = process.env;\n"
    (pinball / "adapter.mjs").write_text(head + changed)
    finished = run_command(["node", str(pinball / "adapter.mjs")], "app.*")
    assert "TF501" in {f.code for f in finished.findings}


@pytest.mark.slow
def test_every_mistake_is_found(pinball: Path) -> None:
    assert codes(run(pinball, "wrong")) == LEAKS


@pytest.mark.slow
def test_what_is_right_is_quiet_and_covered(pinball: Path) -> None:
    finished = run(pinball, "right")
    assert [(f.id, f.explanation, f.observed, f.expected) for f in finished.findings] == []
    assert finished.coverage.untested == ()
    assert {name for name, _, _ in finished.coverage.covered_cells} == {f"app.{n}" for n in LEAKS}
