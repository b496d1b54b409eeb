"""The demo: finds a leak in a real application's database, explains it, saves it.

Runs the command that a person would type, on the target with known holes; a corpus folder of its
own (the one argument, or .demo/corpus) keeps the target clean.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGET = "corpus/targets/pinball-leaky"
ONLY = "public.issues"


def main(corpus: str = ".demo/corpus") -> int:
    """Runs the demo; 0 if it found leaks, as it must. What it saved before is removed."""
    for old in (ROOT / corpus).glob("TF*.json"):
        old.unlink()
    tool = str(Path(sys.executable).with_name("tenantfuzz"))
    run = ["run", TARGET, "--phase", "sweep", "--seed", "1", "--only", ONLY, "--corpus", corpus]
    print(f"$ tenantfuzz {' '.join(run)}", flush=True)
    environment = {**os.environ, "COLUMNS": os.environ.get("COLUMNS", "80")}
    status = subprocess.run([tool, *run], cwd=ROOT, env=environment, check=False).returncode
    saved = sorted((ROOT / corpus).glob("TF101-*.json"))
    if status != 1 or not saved:
        print(f"the demo was to find a leak and did not (exit status {status})", file=sys.stderr)
        return 1
    name = saved[0].stem
    print(f"""
The leak is saved. What you can do with it (with {tool}):
  tenantfuzz replay {TARGET} {name} --corpus {corpus}
      says whether it still leaks: now, and after you mended it
  tenantfuzz show {name} --path {TARGET} --corpus {corpus} --sql
      prints a script that plain psql runs on an empty database and that shows the leak""")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
