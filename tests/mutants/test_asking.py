"""Leaks that only generated queries show are found, and their correct twins are quiet."""

import re
import tomllib
from pathlib import Path
from time import monotonic
from typing import Any

import one_run
import pytest

from tenantfuzz.campaign import Options, run_campaign
from tenantfuzz.events import CampaignFinished
from tenantfuzz.target import find_target

FOLDER = Path(__file__).with_name("asking")
LEAKS: list[dict[str, Any]] = tomllib.loads((FOLDER / "leaks.toml").read_text())["leak"]
SECONDS = 40.0
FAST = ("a computed column counts for its owner",)
CASES = [
    pytest.param(e, id=e["name"], marks=[] if e["name"] in FAST else [pytest.mark.slow])
    for e in LEAKS
]


def run(entry: dict[str, Any], form: str, folder: Path, *, twin: bool = False) -> dict[str, Any]:
    file = folder / "extra.sql"
    file.write_text(entry[form], encoding="utf-8")
    job = {
        "folder": str(FOLDER),
        "extra": [str(file)],
        "relation": entry["relation"],
        "operations": ["select", "update", "insert", "delete"],
        "codes": entry["codes"],
        "seed": 1,
        "seconds": SECONDS if not twin else 3.0,
        "only": None,
        "shrink": False,
        "whole": twin,
        "corpus": None,
        "started": monotonic(),
        "attacker": None,
    }
    return one_run.run(job)


@pytest.mark.parametrize("entry", CASES)
def test_a_leak_that_only_queries_show_is_found(entry: dict[str, Any], tmp_path: Path) -> None:
    result = run(entry, "sql", tmp_path)
    assert result["hit"] is not None, result["others"]


@pytest.mark.parametrize("entry", CASES)
def test_its_correct_twin_is_quiet(entry: dict[str, Any], tmp_path: Path) -> None:
    result = run(entry, "twin", tmp_path, twin=True)
    assert (result["hit"], result["others"]) == (None, [])
    assert result["status"] == "clean", result["untested"]


def test_a_query_is_reduced_to_what_a_person_would_write(tmp_path: Path) -> None:
    for name in ("schema.sql", "tenantfuzz.toml"):
        (tmp_path / name).write_text((FOLDER / name).read_text(encoding="utf-8"), encoding="utf-8")
    with (tmp_path / "schema.sql").open("a", encoding="utf-8") as schema:
        schema.write(LEAKS[0]["sql"])
    options = Options(seed=1, phases=("sweep",), shrink_seconds=120)
    *_, finished = run_campaign(find_target(tmp_path), options)
    assert isinstance(finished, CampaignFinished)
    assert finished.findings
    for finding in finished.findings:
        assert finding.code == "TF304"
        assert finding.minimal
        assert finding.culprits == ("function public.page_of",)
        assert finding.mend == "ALTER FUNCTION public.page_of(title text) NOT LEAKPROOF;"
        assert re.fullmatch(
            r"SELECT t\d\.\w+ FROM public\.(notes|folders) AS (t\d) "
            r"WHERE public\.page_of\(\2\.(title|body)\) IS NOT NULL;",
            finding.statements[-1],
        ), finding.statements[-1]
