"""The same planted leaks before tenantfuzz and before rlsgrid, in one run: `make peers`.

rlsgrid is installed into an environment of its own below build/. It knows JSON Web Tokens only, so
the target is `pinball`, with each leak that the catalogue plants there. It is configured by its own
`init --from-db`, and gets as many iterations as it takes seconds like ours. Names of files given on
the command line are globs over the names of leaks.
"""

import json
import os
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic, perf_counter
from typing import Any

from tenantfuzz.preparation import prepare

ROOT = Path(__file__).parents[2]
HOME = ROOT / "build" / "peers"
RLSGRID = "rlsgrid==0.5.7"
ITERATIONS = 2000

sys.path.insert(0, str(ROOT / "tests" / "mutants"))
import one_run  # noqa: E402  (it stands beside the mutants, not in a package)
from catalogue import Planted, planted  # noqa: E402


@dataclass(frozen=True, slots=True)
class Result:
    """What one tool made of one leak: found or not, seconds, probes that it made."""

    found: bool
    seconds: float
    probes: int


def main(patterns: Sequence[str]) -> None:
    """Prints a line for each leak, then the sums."""
    program = installed()
    leaks = [
        p
        for p in planted()
        if p.name.startswith("pinball:")
        and p.missed is None
        and any(fnmatchcase(p.name, w) for w in patterns or ("*",))
    ]
    print(f"{'leak':<66}{'tenantfuzz':>14}{'rlsgrid':>14}")
    pairs: list[tuple[Result, Result]] = []
    for leak in leaks:
        with TemporaryDirectory(prefix="tenantfuzz-peers-") as scratch:
            pair = ours(leak, Path(scratch)), theirs(leak, Path(scratch), program)
        pairs.append(pair)
        print(f"{leak.name[:65]:<66}" + "".join(f"{_cell(r):>14}" for r in pair), flush=True)
    for name, results in zip(("tenantfuzz", "rlsgrid"), zip(*pairs, strict=True), strict=True):
        found = [r for r in results if r.found]
        rate = sum(r.probes for r in results) / sum(r.seconds for r in results)
        first = f", median {median(r.seconds for r in found):.1f} s" if found else ""
        print(f"{name}: {len(found)} of {len(results)} found{first}; {rate:,.0f} probes/s")


def _cell(result: Result) -> str:
    return f"{'found' if result.found else '-'} {result.seconds:.1f} s"


def ours(leak: Planted, scratch: Path) -> Result:
    """Until the leak is found, or the sweep is over."""
    file = scratch / "leak.sql"
    file.write_text(leak.extra + "\n", encoding="utf-8")
    begun = monotonic()
    job = {
        "folder": str(leak.folder),
        "extra": [str(file)],
        "relation": leak.relation,
        "operations": leak.operations,
        "codes": leak.codes,
        "seed": 1,
        "seconds": None,
        "only": None,
        "shrink": False,
        "whole": False,
        "corpus": None,
        "started": begun,
    }
    answer = one_run.run(job)
    hit = answer["hit"]
    seconds = hit["seconds"] if hit is not None else monotonic() - begun
    return Result(hit is not None, seconds, answer["checks"])


def theirs(leak: Planted, scratch: Path, program: Path) -> Result:
    """One `rlsgrid check` on a database with the leak; found if any breach is of its relation."""
    file = scratch / "leak.sql"
    target = one_run.target_with(leak.folder, (str(file),), None)
    with prepare(target) as prepared:
        dsn = prepared.server.conninfo(prepared.database)
        environment = {**os.environ, "DATABASE_URL": dsn}
        run(program, "init", "--from-db", "--force", folder=scratch, environment=environment)
        configuration = scratch / "rlsgrid.toml"
        text = configuration.read_text(encoding="utf-8")
        text = text.replace("iterations = 300", f"iterations = {ITERATIONS}")
        configuration.write_text(text, encoding="utf-8")
        begun = perf_counter()
        shown = run(program, "check", "--json", folder=scratch, environment=environment)
        seconds = perf_counter() - begun
    try:
        answer: dict[str, Any] = json.loads(shown)  # JSON
    except ValueError:
        return Result(False, seconds, 0)
    breaches = {f"{b['schema']}.{b['table']}" for b in answer["breaches"]}
    found = any(fnmatchcase(name, leak.relation) for name in breaches)
    return Result(found, seconds, answer["iterations"] - answer["skipped"])


def run(program: Path, *arguments: str, folder: Path, environment: Mapping[str, str]) -> str:
    """What the other tool prints; its exit status is 1 where it found something."""
    done = subprocess.run(
        [program, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if done.returncode not in (0, 1):
        raise SystemExit(f"rlsgrid {arguments[0]} failed:\n{done.stderr or done.stdout}")
    return done.stdout


def installed() -> Path:
    """rlsgrid in an environment of its own, made when it is not there yet."""
    program = HOME / "bin" / "rlsgrid"
    if not program.exists():
        print(f"installing {RLSGRID} into {HOME}", flush=True)
        venv.create(HOME, with_pip=True, clear=True)
        pip = [str(HOME / "bin" / "python"), "-m", "pip", "install", "--quiet", RLSGRID]
        subprocess.run(pip, check=True)
    return program


if __name__ == "__main__":
    main(sys.argv[1:])
