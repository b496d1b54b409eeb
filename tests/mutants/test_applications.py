"""Applications with a hole that reviewers miss: it is found, and nothing where it is closed."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenantfuzz.campaign import Options, run_campaign
from tenantfuzz.events import CampaignFinished
from tenantfuzz.target import find_target

APPLICATIONS = Path(__file__).parents[2] / "corpus" / "applications"
HOLES = {
    "vet": ("TF501", "invoice draft"),
    "freight": ("TF502", "applyFuelUpload"),
    "school": ("TF501", "class list"),
    "legal": ("TF401", "list matters"),
    "helpcentre": ("TF501", "article search"),
    "fieldservice": ("TF502", "push visit"),
    "hotel": ("TF502", "block_rooms"),
    "lab": ("TF205", "add_assays"),
    "recruiting": ("TF501", "report scoping"),
    "insurance": ("TF501", "premium"),
    # By code alone: no row security, no roles.
    "clinic": ("TF501", "patient notes"),
    "fitness": ("TF502", "removeInstructor"),
    "donations": ("TF501", "donor ranking"),
    "warehouse": ("TF502", "record count"),
    "lawfirm": ("TF501", "list documents"),
    "ledger": ("TF501", "account subtree"),
    "newsletter": ("TF501", "subscribers.export"),
    "restaurant": ("TF502", "mark ready"),
}
QUICK = ("vet", "fieldservice", "warehouse")
CASES = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow, id=name) for name in HOLES
]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder; what is imported from it is forgotten afterwards."""
    known, path = set(sys.modules), list(sys.path)
    yield tmp_path / "app"
    sys.path[:] = path
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]


def run(folder: Path) -> CampaignFinished:
    options = Options(seed=1, phases=("sweep",), shrink=False, save=False)
    *_, finished = run_campaign(find_target(folder), options)
    assert isinstance(finished, CampaignFinished)
    return finished


@pytest.mark.parametrize("name", CASES)
def test_the_hole_is_found(name: str, folder: Path) -> None:
    shutil.copytree(APPLICATIONS / name / "app", folder)
    finished = run(folder)
    assert HOLES[name] in {(f.code, f.relation) for f in finished.findings}


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_found_where_it_is_closed(name: str, folder: Path) -> None:
    shutil.copytree(APPLICATIONS / name / "app", folder)
    shutil.copytree(APPLICATIONS / name / "mended", folder, dirs_exist_ok=True)
    finished = run(folder)
    assert [(f.code, f.relation, f.observed) for f in finished.findings] == []
    assert [(c.relation, c.reason) for c in finished.coverage.untested] == []
    assert finished.status == "clean"
