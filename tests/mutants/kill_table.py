"""The kill table: every planted leak, whether it is found, and how fast.

Each mutant is run in a process of its own, and seconds are counted from the start of that process;
a run ends with the first finding that the catalogue expects. Twins (the correct forms) are run
whole and must be clean. What the catalogue says is missed is swept only, and counted apart where
the run even calls it clean. Exit status 1 where another leak was missed or a twin was not quiet.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from time import monotonic
from typing import Any

from catalogue import Planted, blind, planted, shapes

ONE_RUN = Path(__file__).with_name("one_run.py")
TIME_LIMIT = 600
Answer = dict[str, Any]  # JSON

# What is gained by joining shows only when it is used: two statements are minimal.
CHAINS = ("TF209",)


@dataclass(frozen=True, slots=True)
class Arguments:
    """What the command line asks for."""

    patterns: tuple[str, ...]
    seed: int
    seconds: float | None
    jobs: int
    shrink: bool
    twins: bool
    mutants: bool
    blind: bool
    equivalents: bool


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table, and whether it is as it must be."""

    planted: Planted
    twin: bool
    answer: Answer
    good: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """The program."""
    asked = parse(arguments)
    leaks = select(asked)
    runs = [(p, False) for p in leaks if p.leaky] if asked.mutants else []
    runs += [(p, True) for p in with_twins(leaks) if asked.twins or not p.leaky]
    lines: list[Line] = []
    print(heading(), flush=True)
    with ThreadPoolExecutor(asked.jobs) as pool:
        for line in pool.map(lambda run: measure(run[0], run[1], asked), runs):
            lines.append(line)
            print("\n".join(row(line)), flush=True)
    print("\n".join(totals(lines)))
    return 0 if lines and all(line.good for line in lines) else 1


def parse(arguments: Sequence[str] | None) -> Arguments:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="kill_table.py", description=__doc__)
    parser.add_argument("patterns", nargs="*", help="globs over names; default: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--time", type=float, default=60.0, metavar="SECONDS",
        help="to fuzz for, where the sweep finds nothing; 0 for the sweep alone",
    )  # fmt: skip
    parser.add_argument("--jobs", type=int, default=2, choices=(1, 2))
    parser.add_argument(
        "--shrink", action="store_true", help="sweep only, and measure the counterexample"
    )
    parser.add_argument("--no-twins", dest="twins", action="store_false")
    parser.add_argument("--twins-only", dest="mutants", action="store_false")
    parser.add_argument("--no-blind", dest="blind", action="store_false")
    parser.add_argument(
        "--equivalents", action="store_true",
        help="also the changes that open nothing: they must be quiet, as twins must",
    )  # fmt: skip
    asked = parser.parse_args(arguments)
    return Arguments(
        patterns=tuple(asked.patterns),
        seed=asked.seed,
        seconds=asked.time or None,
        jobs=asked.jobs,
        shrink=asked.shrink,
        twins=asked.twins,
        mutants=asked.mutants,
        blind=asked.blind,
        equivalents=asked.equivalents,
    )


def select(asked: Arguments) -> list[Planted]:
    """The planted leaks that are asked for."""
    wanted = asked.patterns or ("*",)
    found = [*shapes(), *blind()] if asked.blind else shapes()
    if not all(p.startswith(("blind:", "shapes:")) for p in wanted):
        found = planted() + found
        if asked.equivalents:
            found += planted("equivalent")
    return [p for p in found if any(fnmatchcase(p.name, w) for w in wanted)]


def with_twins(leaks: Sequence[Planted]) -> Iterator[Planted]:
    """Those whose twins must be run: where the twin is the schema itself, once for each target."""
    seen: set[Path] = set()
    for leak in leaks:
        if leak.twin is not None:
            yield leak
        elif leak.leaky and leak.folder not in seen:
            seen.add(leak.folder)
            yield leak


def measure(leak: Planted, twin: bool, asked: Arguments) -> Line:
    """Runs one mutant, or its twin."""
    extra = leak.twin if twin else leak.extra
    with tempfile.TemporaryDirectory(prefix="tenantfuzz-mutant-") as scratch:
        files = []
        if extra is not None:
            file = Path(scratch, "mutant.sql")
            file.write_text(extra + "\n", encoding="utf-8")
            files.append(str(file))
        job = {
            "folder": str(leak.folder),
            "extra": files,
            "relation": leak.relation,
            "operations": leak.operations,
            "codes": leak.codes,
            "seed": asked.seed,
            "seconds": None if twin or asked.shrink or leak.missed else asked.seconds,
            "only": None,
            "shrink": asked.shrink and not twin,
            "whole": twin,
            "attacker": leak.attacker,
            "corpus": str(Path(scratch, "corpus")),
            "started": monotonic(),
        }
        answer = launch(job)
    if twin:
        # Where the door is not tested, the run of its correct form says no more than that.
        fine = ("clean", "inconclusive") if leak.missed else ("clean",)
        good = "error" not in answer and not answer["others"] and answer["hit"] is None
        good = good and answer["status"] in fine
    else:
        good = answer.get("hit") is not None and (not asked.shrink or is_small(answer))
        good = good or (leak.missed is not None and "error" not in answer)
    return Line(leak, twin, answer, good)


def launch(job: Answer) -> Answer:
    """Runs ``one_run.py``; where it fails, an answer with an error."""
    try:
        done = subprocess.run(
            [sys.executable, str(ONE_RUN)],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no end after {TIME_LIMIT} s"}
    if done.returncode != 0:
        return {"error": done.stderr.strip()[-2000:]}
    answer: Answer = json.loads(done.stdout)
    return answer


def is_small(answer: Answer) -> bool:
    """Whether the counterexample holds rows of two tenants at most and one acting statement (two
    for a chain)."""
    shrunk = answer["shrunk"]
    if shrunk is None:
        return False
    most = 2 if shrunk["id"].startswith(CHAINS) else 1
    return bool(shrunk["tenants"] <= 2 and shrunk["steps"] <= most)


def heading() -> str:
    """The head of the table."""
    return f"{'planted leak':72} {'':7} {'seconds':>7} {'checks':>7}  found"


def row(line: Line) -> list[str]:
    """One line of the table, with what went wrong below."""
    answer, name = line.answer, line.planted.name + mark(line)
    if "error" in answer:
        return [f"{name:72} ERROR", *(f"    {t}" for t in answer["error"].splitlines())]
    hit = answer["hit"]
    checks = answer.get("checks", 0)
    if line.twin:
        word = "quiet" if line.good else "NOISY"
        rows = [f"{name:72} {word:7} {'':7} {checks:7}  {answer['status']}"]
        unexpected = [*answer["others"], *([hit] if hit else [])]
    elif hit is None:
        word = "known" if line.planted.missed else "MISSED"
        rows = [
            f"{name:72} {word:7} {'':7} {checks:7}  {answer['status']}; wanted: "
            f"{wanted(line.planted)}"
        ]
        if line.planted.missed:
            rows.append(f"    known to be missed: {line.planted.missed}")
        unexpected = answer["others"]
    else:
        word = "killed" if line.good else "BIG"
        text = f"{hit['code']} {hit['relation']} {hit['operation']} by {hit['kind']}"
        if answer["shrunk"]:
            text = "{id}: {rows} rows of {tenants} tenants, {steps} statements".format(
                **answer["shrunk"]
            )
        rows = [f"{name:72} {word:7} {hit['seconds']:7.1f} {checks:7}  {text}"]
        unexpected = []
    rows += ["    " + described(f) for f in unexpected]
    return rows


def described(found: Answer) -> str:
    """A finding in one line, with what let it through."""
    where = "{code} {relation} {operation} by {kind}".format(**found)
    return f"{where}: {', '.join(found['culprits'])}"


def mark(line: Line) -> str:
    """What stands behind the name."""
    if not line.planted.leaky:
        return " (equivalent)"
    return " (twin)" if line.twin else ""


def wanted(leak: Planted) -> str:
    """What was to be found."""
    return f"{'/'.join(leak.codes)} {leak.relation} {'/'.join(leak.operations)}"


def totals(lines: Sequence[Line]) -> Iterator[str]:
    """The last lines of the table."""
    leaks = [line for line in lines if not line.twin]
    twins = [line for line in lines if line.twin]
    yield ""
    for word, some in (
        ("blind", [x for x in leaks if x.planted.name.startswith("blind:")]),
        ("operators", [x for x in leaks if not x.planted.name.startswith("blind:")]),
    ):
        seconds = sorted(x.answer["hit"]["seconds"] for x in some if x.answer.get("hit"))
        if some:
            median = f"{statistics.median(seconds):.1f}" if seconds else "-"
            slowest = f"{seconds[-1]:.1f}" if seconds else "-"
            yield (
                f"{word}: {len(seconds)} of {len(some)} killed; "
                f"seconds to the first finding: median {median}, most {slowest}"
            )
            left = [x.answer["status"] for x in some if "hit" in x.answer and not x.answer["hit"]]
            if left:
                yield f"    of the other {len(left)}, {left.count('clean')} were called clean"
    if twins:
        yield f"twins and equivalents: {sum(x.good for x in twins)} of {len(twins)} quiet"


if __name__ == "__main__":
    sys.exit(main())
