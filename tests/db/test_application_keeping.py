"""Code that keeps answers between calls, and code that lets in who is no member any more."""

from dataclasses import replace
from pathlib import Path

import pytest

from tenantfuzz.campaign import Options, replay, run_campaign
from tenantfuzz.corpus import load
from tenantfuzz.events import CampaignFinished
from tenantfuzz.findings import Finding
from tenantfuzz.policies.configuration import Adapter
from tenantfuzz.target import Target, find_target

RATES = Path(__file__).parents[1] / "applications" / "rates"


def rates(**functions: str) -> Target:
    target = find_target(RATES)
    adapters = tuple(Adapter(name=f"app {n}", python=f"rates:{f}") for n, f in functions.items())
    configuration = target.configuration.model_copy(update={"adapters": adapters})
    return replace(target, configuration=configuration)


def found_in(target: Target, corpus: Path) -> tuple[Finding, ...]:
    options = Options(seed=1, phases=("sweep",), only="app*", corpus=corpus)
    *_, finished = run_campaign(target, options)
    assert isinstance(finished, CampaignFinished)
    assert finished.interrupted is None
    return tuple(finished.findings)


def test_an_answer_kept_from_another_caller_is_replayed_with_that_call(tmp_path: Path) -> None:
    (found,) = found_in(rates(rate="rate_wrong"), tmp_path)
    assert (found.code, found.relation) == ("TF501", "app rate")
    assert found.minimal
    assert "kept from another caller" in found.explanation
    assert "by the tenant" in found.mend
    (file,) = tmp_path.glob("*.json")
    before, last = load(file).witness.steps
    assert before.arguments == last.arguments
    # Twice, since the first replay must not be what the second one lives on.
    for _ in range(2):
        (result,) = replay(rates(rate="rate_wrong"), corpus=tmp_path)
        assert result.verdict == "still leaks"
    (result,) = replay(rates(rate="rate_right"), corpus=tmp_path)
    assert result.verdict == "fixed"


def test_what_is_kept_by_tenant_is_quiet(tmp_path: Path) -> None:
    assert found_in(rates(rate="rate_right"), tmp_path) == ()


def test_a_witness_that_was_saved_without_the_earlier_call_leaks_all_the_same(
    tmp_path: Path,
) -> None:
    found_in(rates(rate="rate_wrong"), tmp_path)
    (file,) = tmp_path.glob("*.json")
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("application code, before, for members of other tenants", ""))
    (result,) = replay(rates(rate="rate_wrong"), corpus=tmp_path)
    assert result.verdict == "still leaks"


def test_what_needs_calls_that_nobody_knows_is_never_fixed(tmp_path: Path) -> None:
    findings = found_in(rates(newest="newest", last="last_wrong"), tmp_path)
    assert [(f.code, f.relation, f.minimal) for f in findings] == [("TF501", "app last", False)]
    assert "came from other calls before" in findings[0].explanation
    (result,) = replay(rates(newest="newest", last="last_wrong"), corpus=tmp_path)
    assert result.verdict == "cannot replay"
    assert "calls before it that nobody knows" in result.reason


@pytest.mark.parametrize("function", ["rates_wrong", "rates_right"])
def test_a_membership_that_is_not_in_force_is_to_blame_and_no_condition(
    function: str, tmp_path: Path
) -> None:
    findings = found_in(rates(rates=function), tmp_path)
    if function == "rates_right":
        assert findings == ()
        return
    (found,) = findings
    assert found.principal.kind == "former"
    assert "lets its caller in although its membership of tenant" in found.explanation
    assert "carries no condition" not in found.explanation
    assert found.mend == (
        "Check the caller's membership before anything is done: a row of public.staff with its "
        "person_id and the broker_id that is named, for which left_on IS NULL holds."
    )
