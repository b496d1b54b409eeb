"""Planted leaks in application queries are found, and their correct twins are quiet."""

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tenantfuzz.campaign import Options, run_campaign
from tenantfuzz.events import CampaignFinished
from tenantfuzz.policies.configuration import Query
from tenantfuzz.target import find_target

HERE = Path(__file__).parent
TARGETS = HERE.parents[1] / "corpus" / "targets"
PLANTED: list[dict[str, Any]] = tomllib.loads((HERE / "queries.toml").read_text())["query"]
TARGETS_TRIED = [pytest.param("pinball", marks=pytest.mark.slow), "saas-guc"]
KINDS = {"pinball": ["admin", "member"], "saas-guc": []}
MARK = "app:"  # so that --only picks queries and no relation


def run(target: str, form: str) -> CampaignFinished:
    found = find_target(TARGETS / target)
    queries = tuple(
        Query.model_validate(
            {
                "name": MARK + entry["name"],
                "sql": entry[form],
                "kinds": entry.get("kinds", KINDS[target]),
            }
        )
        for entry in PLANTED
        if entry["target"] == target
    )
    configuration = found.configuration.model_copy(update={"queries": queries})
    phases = ("sweep", "fuzz")  # some words of theirs stand in few rows
    options = Options(
        seed=1, phases=phases, max_examples=12, only=f"{MARK}*", shrink=False, save=False
    )
    *_, finished = run_campaign(replace(found, configuration=configuration), options)
    assert isinstance(finished, CampaignFinished)
    return finished


def by_query(finished: CampaignFinished) -> Mapping[str, set[tuple[str, tuple[str, ...]]]]:
    found: dict[str, set[tuple[str, tuple[str, ...]]]] = {}
    for finding in finished.findings:
        name = finding.relation.removeprefix(MARK)
        found.setdefault(name, set()).add((finding.code, finding.culprits))
    return found


@pytest.mark.parametrize("target", TARGETS_TRIED)
def test_every_leaking_query_is_found_and_blamed_on_the_right_table(target: str) -> None:
    found = by_query(run(target, "leak"))
    wrong = {}
    for entry in PLANTED:
        if entry["target"] != target:
            continue
        hits = found.get(entry["name"], set())
        if not any(c in entry["codes"] and entry["culprit"] in culprits for c, culprits in hits):
            wrong[entry["name"]] = hits
    assert wrong == {}


@pytest.mark.parametrize("target", TARGETS_TRIED)
def test_every_correct_twin_is_quiet_and_covered(target: str) -> None:
    finished = run(target, "twin")
    assert by_query(finished) == {}
    assert [c for c in finished.coverage.untested if c.operation == "query"] == []


def test_there_are_enough_of_them() -> None:
    assert len(PLANTED) >= 45
    assert len({e["name"] for e in PLANTED}) == len(PLANTED)
