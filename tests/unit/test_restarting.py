"""Importing application code anew: what it kept is gone, and afterwards all is as it was."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenantfuzz.application.code import load_code
from tenantfuzz.application.restarting import imported_anew


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Path]:
    package = tmp_path / "keptshop"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "store.py").write_text("kept = []\n")
    (package / "calls.py").write_text(
        "from keptshop import store\n"
        "def count(value):\n"
        "    from keptshop.store import kept\n"
        "    kept.append(value)\n"
        "    return len(store.kept)\n"
    )
    yield tmp_path
    for name in [n for n in sys.modules if n.partition(".")[0] == "keptshop"]:
        del sys.modules[name]


def test_it_has_kept_nothing_inside_and_everything_after(shop: Path) -> None:
    count = load_code("keptshop.calls:count", shop, "here")
    assert [count("a"), count("b")] == [1, 2]
    with imported_anew("keptshop.calls:count", shop, "here") as again:
        assert again is not None
        assert [again("c"), again("d"), again("e")] == [1, 2, 3]
    assert count("f") == 3
    assert load_code("keptshop.calls:count", shop, "here") is count


def test_modules_that_cannot_be_imported_twice_stay_as_they_are(shop: Path) -> None:
    count = load_code("keptshop.calls:count", shop, "here")
    assert count("a") == 1
    (shop / "keptshop" / "calls.py").write_text("raise RuntimeError('once')\n")
    with imported_anew("keptshop.calls:count", shop, "here") as again:
        assert again is None
        assert count("b") == 2
    assert sys.modules["keptshop.calls"].count is count


def test_a_library_is_not_imported_anew(tmp_path: Path) -> None:
    with imported_anew("psycopg:connect", tmp_path, "here") as again:
        assert again is None
