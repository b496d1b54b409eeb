"""What npm brings, installed once and kept between runs."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

PINBALL = Path(__file__).parent / "pinball"
TARGET = Path(__file__).parents[2] / "corpus" / "targets" / "pinball"


@pytest.fixture(scope="session")
def pinball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pinball application, ready for node."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    folder = tmp_path_factory.mktemp("pinball")
    for source in (*PINBALL.glob("*.ts"), *PINBALL.glob("*.json"), TARGET / "src" / "schema.ts"):
        shutil.copy(source, folder)
    (folder / "node_modules").symlink_to(_installed() / "node_modules")
    return folder


def _installed() -> Path:
    """Where the packages of the lock file are."""
    lock = (PINBALL / "package-lock.json").read_bytes()
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tenantfuzz"
    folder = home / f"npm-{hashlib.sha256(lock).hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    part = home / f"{folder.name}.{os.getpid()}"
    part.mkdir(parents=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(PINBALL / name, part)
    done = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
        cwd=part,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        shutil.rmtree(part)
        pytest.skip(f"npm ci failed: {done.stderr.strip()[-200:]}")
    try:
        part.rename(folder)
    except OSError:  # another process was faster
        shutil.rmtree(part)
    return folder
