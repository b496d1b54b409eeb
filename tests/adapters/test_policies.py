"""Application code that leaves it to policies: it logs in as the application does."""

import sys
from dataclasses import replace
from pathlib import Path

from tenantfuzz.campaign import Options, run_campaign
from tenantfuzz.events import CampaignFinished
from tenantfuzz.policies.configuration import Adapter
from tenantfuzz.target import find_target

HERE = Path(__file__).parent
TARGET = HERE.parents[1] / "corpus" / "targets" / "saas-guc"


def run(form: str, actor: str) -> CampaignFinished:
    target = find_target(TARGET)
    command = [sys.executable, str(HERE / "guc_adapter.py"), form]
    adapter = Adapter.model_validate({"name": "app", "command": command, "as": actor})
    configuration = target.configuration.model_copy(update={"adapters": (adapter,)})
    options = Options(seed=1, phases=("sweep",), only="app.*", shrink=False, save=False)
    *_, finished = run_campaign(replace(target, configuration=configuration), options)
    assert isinstance(finished, CampaignFinished)
    return finished


def test_policies_hold_where_the_tenant_is_named_anew() -> None:
    finished = run("right", "principal")
    assert [(f.id, f.explanation, f.observed) for f in finished.findings] == []
    assert finished.coverage.untested == ()
    assert {(n, kind) for n, _, kind in finished.coverage.covered_cells} == {
        ("app.invoices", "member"),
        ("app.annotate", "member"),
    }


def test_what_an_earlier_caller_left_on_a_connection_is_found() -> None:
    found = {(f.relation, f.code) for f in run("wrong", "principal").findings}
    assert {("app.invoices", "TF501"), ("app.annotate", "TF502")} <= found


def test_rules_hold_where_a_call_says_what_it_writes() -> None:
    (finding,) = run("amends", "service").findings
    assert (finding.relation, finding.code) == ("app.amend", "TF402")
    assert "public.events" in finding.observed or "was changed" in finding.observed


def test_as_a_service_no_policy_binds_it() -> None:
    found = {(f.relation, f.code) for f in run("right", "service").findings}
    assert {("app.invoices", "TF501"), ("app.annotate", "TF502")} <= found
