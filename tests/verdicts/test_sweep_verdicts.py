"""Runs the verdict cases about cells and statuses: whole sweeps of tiny targets."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from tenantfuzz.campaign import Options, run_campaign
from tenantfuzz.events import CampaignFinished, Coverage
from tenantfuzz.target import find_target

CASES = sorted((Path(__file__).parent / "cases").glob("*.toml"))
Case = dict[str, Any]  # a TOML document


def load(path: Path) -> Case:
    return tomllib.loads(path.read_text(encoding="utf-8"))


SWEEPS = [p for p in CASES if load(p).get("mode") == "sweep"]


def state_of(coverage: Coverage, relation: str, operation: str, kind: str) -> str:
    cell = (relation, operation, kind)
    if cell in coverage.closed_cells:
        return "closed"
    untested = (*coverage.untested, *coverage.accepted)
    if any((c.relation, c.operation, c.kind) == cell for c in untested):
        return "untested"
    return "covered"


@pytest.mark.parametrize("path", SWEEPS, ids=lambda p: p.stem)
def test_sweep(path: Path, tmp_path: Path) -> None:
    case = load(path)
    (tmp_path / "schema.sql").write_text(case["schema"], encoding="utf-8")
    text = '[target]\nschema = ["schema.sql"]\n' + case["config"]
    (tmp_path / "tenantfuzz.toml").write_text(text, encoding="utf-8")
    options = Options(seed=1, phases=("sweep",), shrink=False, save=False)
    *_, finished = run_campaign(find_target(tmp_path), options)
    assert isinstance(finished, CampaignFinished)
    expected = case["verdict"]
    story = "\n".join(f"{f.id}: {f.explanation}" for f in finished.findings)
    untested = "\n".join(str(c) for c in finished.coverage.untested)
    if "codes" in expected:
        assert sorted({f.code for f in finished.findings}) == sorted(expected["codes"]), story
    for cell in expected.get("cells", []):
        name = (cell["relation"], cell["operation"], cell["kind"])
        assert state_of(finished.coverage, *name) == cell["state"], f"{name}\n{untested}"
    if "status" in expected:
        assert finished.status == expected["status"], f"{story}\n{untested}"
