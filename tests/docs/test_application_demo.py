"""The leak of an application query that the README shows is real."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BILLING = ROOT / "tests" / "applications" / "billing"


def block(language: str) -> str:
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    (found,) = [b for b in blocks if "invoice list" in b]
    return str(found)


def one_line(text: str) -> str:
    return " ".join(text.split())


def test_the_query_is_the_one_in_the_file() -> None:
    assert block("sql") == (BILLING / "queries.sql").read_text(encoding="utf-8")


def test_the_output_shown_is_real(tmp_path: Path) -> None:
    """Every piece between the dots stands in the output, in this order."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TENANTFUZZ_")}
    command = [sys.executable, "-m", "tenantfuzz", "run", str(BILLING), "--phase", "sweep"]
    command += ["--seed", "1", "--only", "invoice list", "--corpus", str(tmp_path)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment | {"COLUMNS": "80", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    real = one_line(done.stdout)
    at = 0
    for piece in block("txt").split("…"):
        wanted = one_line(piece)
        found = real.find(wanted, at)
        assert found >= 0, f"not in the output: {wanted}"
        at = found + len(wanted)
