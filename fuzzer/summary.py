"""The summary of a campaign: what is known now, what is not, and what to do next."""

import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tenantfuzz.events import CampaignFinished, Selection, UntestedCell
from tenantfuzz.findings import Finding, Severity
from tenantfuzz.lines import visible
from tenantfuzz.story import corpus_option

_MOST_GROUPS = 8
_MOST_RELATIONS = 12
_MOST_KINDS = 4
_MOST_WARNINGS = 10


@dataclass(frozen=True, slots=True)
class UntestedGroup:
    """Cells with one reason, as lines ``relation: operations (kinds)``."""

    reason: str
    cells: int
    lines: tuple[str, ...]


def untested_groups(cells: Sequence[UntestedCell]) -> list[UntestedGroup]:
    """The cells by reason, the most frequent first; in each, by relation.

    Kinds that share the same operations of a relation are told together.
    """
    by_reason: dict[str, list[UntestedCell]] = {}
    for cell in cells:
        by_reason.setdefault(cell.reason, []).append(cell)
    kinds = {cell.kind for cell in cells}
    groups = [
        UntestedGroup(reason, len(found), tuple(_lines(found, len(kinds))))
        for reason, found in by_reason.items()
    ]
    return sorted(groups, key=lambda g: (-g.cells, g.reason))


def summary_lines(
    finished: CampaignFinished,
    *,
    path: str,
    repeat: str | None = None,
    width: int = 80,
    verbose: bool = False,
) -> Iterator[str]:
    """The lines after the stories; the first begins with the status word.

    ``path`` is the target as the reader would type it, ``repeat`` the command of the run with the
    options that matter, but for the seed. ``verbose`` lists everything that is
    otherwise counted.
    """
    yield f"{finished.status}: {_counts(finished.findings)}"
    if finished.interrupted is not None:
        yield f"interrupted: {visible(finished.interrupted)}"
    yield from _apart(finished.findings)
    yield from _coverage(finished, verbose=verbose, width=width)
    if finished.selection is not None:
        yield from _wrapped(unchanged_sentence(finished.selection), "", width)
    yield from _replayed(finished, width=width)
    yield from _accepted(finished, width=width)
    yield from _warnings(finished, verbose=verbose, width=width)
    yield from _work(finished)
    yield from _next(finished, path, repeat or f"tenantfuzz run {shlex.quote(path)}")


def unchanged_sentence(selection: Selection) -> str:
    """What a run with --changed-since does not speak of."""
    if selection.everything is not None:
        return f"everything was tested: {selection.everything}"
    if not selection.unchanged:
        return (
            f"everything was tested: each relation is concerned by what changed ({selection.since})"
        )
    one = len(selection.unchanged) == 1
    text = f"{plural(len(selection.unchanged), 'relation')} {'is' if one else 'are'} unchanged"
    text += f" since {selection.since} and {'was' if one else 'were'} not tested again"
    if selection.sample is not None:
        text += f"; {selection.sample} was, as a sample"
    return text


def selection_lines(
    selection: Selection, *, width: int = 80, verbose: bool = False
) -> Iterator[str]:
    """What is tested again and why, as a run with --changed-since begins."""
    if selection.everything is not None:
        yield from _wrapped(f"everything is tested: {selection.everything}", "", width)
        return
    number = plural(len(selection.tested), "relation")
    total = len(selection.tested) + len(selection.unchanged)
    yield f"tested again: {number} of {total:,}, by what changed since {selection.since}"
    shown = selection.tested if verbose else selection.tested[:_MOST_RELATIONS]
    for relation, reason in shown:
        yield from _wrapped(f"{relation}: {reason}", "  ", width)
    if len(selection.tested) > len(shown):
        yield f"  … and {len(selection.tested) - len(shown)} more (--verbose lists all)"
    if verbose:
        for relation in selection.unchanged:
            yield from _wrapped(f"unchanged: {relation}", "  ", width)


def seconds_text(seconds: float) -> str:
    """``0.4 s``, ``12.3 s``, ``2 min 05 s``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s"


def plural(number: int, word: str) -> str:
    """``1 row``, ``1,200 rows``."""
    return f"{number:,} {word}" + ("" if number == 1 else "s")


def _counts(findings: Sequence[Finding]) -> str:
    if not findings:
        return "no findings"
    counted = [
        f"{number} {severity.value}"
        for severity in reversed(Severity)
        if (number := sum(f.severity is severity for f in findings))
    ]
    return f"{plural(len(findings), 'finding')} ({', '.join(counted)})"


def _apart(findings: Sequence[Finding]) -> Iterator[str]:
    latent = sum(f.latent for f in findings)
    server = sum(f.origin == "server" for f in findings)
    if latent:
        yield f"  {latent} of them latent: they do not fail a run"
    if server:
        yield f"  {server} of them a property of the server: they do not fail a run"


def _coverage(finished: CampaignFinished, *, verbose: bool, width: int) -> Iterator[str]:
    coverage = finished.coverage
    if not coverage.cells and finished.interrupted is not None:
        yield "cells: not known"
        return
    yield (
        f"{plural(coverage.cells, 'cell')}: {coverage.covered:,} covered, "
        f"{coverage.closed:,} closed, {len(coverage.untested):,} untested"
        + (f", {len(coverage.accepted):,} accepted" if coverage.accepted else "")
    )
    groups = untested_groups(coverage.untested)
    shown = groups if verbose else groups[:_MOST_GROUPS]
    for group in shown:
        yield from _wrapped(
            f"untested: {group.reason} ({plural(group.cells, 'cell')})", "  ", width
        )
        lines = group.lines if verbose else group.lines[:_MOST_RELATIONS]
        for line in lines:
            yield from _wrapped(line, "    ", width)
        if len(group.lines) > len(lines):
            yield f"    … and {plural(len(group.lines) - len(lines), 'relation')} more"
    if len(groups) > len(shown):
        rest = sum(g.cells for g in groups[len(shown) :])
        yield f"  … and {plural(rest, 'cell')} for other reasons (--verbose lists all)"
    if verbose and coverage.closed_cells:
        yield "  closed:"
        cells = [UntestedCell(r, o, k, "") for r, o, k in coverage.closed_cells]
        for line in _lines(cells, len({c.kind for c in cells})):
            yield from _wrapped(line, "    ", width)


def _lines(cells: Sequence[UntestedCell], all_kinds: int) -> Iterator[str]:
    """``public.issues: insert, update (member, admin)``: kinds with the same operations joined."""
    by_relation: dict[str, dict[str, list[str]]] = {}
    for cell in cells:
        operations = by_relation.setdefault(cell.relation, {}).setdefault(cell.kind, [])
        if cell.operation not in operations:
            operations.append(cell.operation)
    for relation, by_kind in sorted(by_relation.items()):
        joined: dict[tuple[str, ...], list[str]] = {}
        for kind, operations in by_kind.items():
            joined.setdefault(tuple(operations), []).append(kind)
        parts = [
            f"{', '.join(operations)} ({_kinds(kinds, all_kinds)})"
            for operations, kinds in joined.items()
        ]
        yield f"{relation}: {'; '.join(parts)}"


def _kinds(kinds: Sequence[str], all_kinds: int) -> str:
    if len(kinds) == all_kinds and all_kinds > 1:
        return f"all {all_kinds} kinds"
    if len(kinds) <= _MOST_KINDS + 1:
        return ", ".join(kinds)
    return f"{', '.join(kinds[:_MOST_KINDS])} and {len(kinds) - _MOST_KINDS} more kinds"


def _replayed(finished: CampaignFinished, *, width: int) -> Iterator[str]:
    if not finished.replayed:
        return
    verdicts = [r.verdict for r in finished.replayed]
    counted = [f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts)]
    yield f"replayed {plural(len(verdicts), 'counterexample')}: {', '.join(counted)}"
    for result in finished.replayed:
        if result.verdict == "cannot replay":
            yield from _wrapped(f"cannot replay {result.id}: {result.reason}", "  ", width)


def _accepted(finished: CampaignFinished, *, width: int) -> Iterator[str]:
    for finding, reason in finished.accepted_findings:
        yield from _wrapped(f"accepted: {finding.id}: {reason}", "", width)
    by_reason: dict[str, list[UntestedCell]] = {}
    for cell in finished.coverage.accepted:
        by_reason.setdefault(cell.accepted or cell.reason, []).append(cell)
    for reason, cells in by_reason.items():
        relations = list(dict.fromkeys(cell.relation for cell in cells))
        named = ", ".join(relations[:4]) + (", …" if len(relations) > 4 else "")
        text = f"accepted: {plural(len(cells), 'untested cell')} of {named}: {reason}"
        yield from _wrapped(text, "", width)


def _warnings(finished: CampaignFinished, *, verbose: bool, width: int) -> Iterator[str]:
    found = list(dict.fromkeys(finished.warnings))
    shown = found if verbose else found[:_MOST_WARNINGS]
    for warning in shown:
        head = f"{warning.code} " if warning.code else ""
        where = f"{warning.relation}: " if warning.relation else ""
        yield from _wrapped(f"warning: {head}{where}{warning.message}", "", width)
    if len(found) > len(shown):
        yield f"… and {plural(len(found) - len(shown), 'warning')} more (--verbose lists all)"


def _work(finished: CampaignFinished) -> Iterator[str]:
    rate = finished.checks / finished.seconds if finished.seconds > 0 else 0.0
    examples = f", {plural(finished.examples, 'world')}" if finished.examples else ""
    yield (
        f"{plural(finished.checks, 'check')} in {seconds_text(finished.seconds)} "
        f"({rate:,.0f} a second){examples}"
    )
    yield from _queries(finished.counters)
    timings = finished.timings
    total = timings.generation + timings.database + timings.oracle
    if total > 0:
        yield (
            f"time: generation {timings.generation / total:.0%}, "
            f"database {timings.database / total:.0%}, oracle {timings.oracle / total:.0%}"
        )


def _queries(counters: Mapping[str, int]) -> Iterator[str]:
    """What generated queries came to: valid for the server; put to the trusted role, answered
    otherwise where hidden rows are gone; and the shapes of plans that were seen."""
    asked, measured = counters.get("queries", 0), counters.get("queries_measured", 0)
    if not asked:
        return
    parts = [f"{asked:,} asked", f"{1 - counters['queries_invalid'] / asked:.1%} valid"]
    if measured:
        parts.append(f"{counters['queries_discriminating'] / measured:.0%} discriminating")
    if counters["plans"]:
        parts.append(plural(counters["plans"], "plan"))
    yield f"queries: {', '.join(parts)}"


def _next(finished: CampaignFinished, path: str, repeat: str) -> Iterator[str]:
    place = shlex.quote(path)
    yield f"seed {finished.seed}; to repeat: {repeat} --seed {finished.seed}"
    saved = [f for f in finished.findings if f.corpus_file]
    if saved:
        yield f"saved {plural(len(saved), 'counterexample')}:"
        for finding in saved:
            yield f"  {finding.corpus_file}"
        option = "" if path == "." else f" --path {place}"
        option += corpus_option(saved[0], path)
        yield f"next: tenantfuzz show {shlex.quote(saved[0].id)}{option}"
        yield f"      tenantfuzz replay {place}{corpus_option(saved[0], path)}"
    elif finished.findings:
        yield f"next: tenantfuzz explain {finished.findings[0].code}"


def _wrapped(text: str, indent: str, width: int) -> list[str]:
    clean = " ".join(visible(text).split())
    return textwrap.wrap(
        clean,
        width,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_on_hyphens=False,
    )
