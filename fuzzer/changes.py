"""Changes: what differs between two snapshots, and which relations that concerns."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from tenantfuzz.events import CampaignFinished, Selection
from tenantfuzz.snapshot import ANYTHING, Part, Snapshot, load_snapshot


def select(path: Path, new: Snapshot, *, seed: int) -> Selection:
    """What a run that asks for what changed since the snapshot at ``path`` must test.

    Everything, where there is no such file yet or where something changed that all rests on. Where
    nothing changed that anybody reaches, one relation as a sample, which ``seed`` draws: a run that
    compares nothing says nothing. Raises ToolError for a file that is no snapshot.
    """
    since = str(path)
    if not path.exists():
        return _everything(since, f"there is no {path} yet", new)
    old = load_snapshot(path)
    if (reason := _context_changed(old, new)) is not None:
        return _everything(since, reason, new)
    concerned = dict(_concerned(old, new))
    for opener, reason in _openers(new, concerned):
        concerned.setdefault(opener, reason)
    unchanged = tuple(sorted(set(new.depends) - set(concerned)))
    sample = None
    drawn = sorted(old.covered.intersection(unchanged))
    if drawn and not concerned.keys() & old.covered:
        sample = random.Random(seed).choice(drawn)
        concerned[sample] = "a sample, so that something is compared"
        unchanged = tuple(n for n in unchanged if n != sample)
    return Selection(
        since,
        None,
        tuple(sorted(concerned.items())),
        unchanged,
        sample,
        compared=tuple(sorted(old.covered.intersection(unchanged))),
        changed=bool(_changes(old, new)),
    )


def _everything(since: str, reason: str, new: Snapshot) -> Selection:
    return Selection(since, reason, tuple((name, reason) for name in sorted(new.depends)), ())


def _context_changed(old: Snapshot, new: Snapshot) -> str | None:
    if old.target != new.target:
        return f"it is of another target, {old.target}"
    names = sorted(old.context.keys() | new.context.keys())
    changed = [n for n in names if old.context.get(n) != new.context.get(n)]
    return f"changed: {', '.join(changed)}" if changed else None


def _changes(old: Snapshot, new: Snapshot) -> Mapping[str, str]:
    """By node, as ``Node`` writes itself."""
    changes: dict[str, str] = {}
    for key in old.objects.keys() | new.objects.keys():
        before, after = old.objects.get(key), new.objects.get(key)
        if before is None or after is None:
            text = "is new" if before is None else "is gone"
            for part in Part:
                changes[f"{key}#{part.value}"] = text
            continue
        for part in Part:
            was, now = before.get(part, {}), after.get(part, {})
            names = sorted(n for n in was.keys() | now.keys() if was.get(n) != now.get(n))
            if names:
                said = [
                    f"{n} {'is new' if n not in was else 'is gone' if n not in now else 'changed'}"
                    for n in names
                ]
                more = f" and {len(said) - 2} more" if len(said) > 2 else ""
                changes[f"{key}#{part.value}"] = ", ".join(said[:2]) + more
    return changes


def _concerned(old: Snapshot, new: Snapshot) -> Iterator[tuple[str, str]]:
    """Relations whose verdict may be another now, each with the first reason that applies."""
    changes = _changes(old, new)
    for name in sorted(new.depends):
        if name in old.left:
            yield name, old.left[name]
        elif name not in old.depends:
            yield name, "is new"
        elif (reason := _reason(name, old, new, changes)) is not None:
            yield name, reason


def _reason(name: str, old: Snapshot, new: Snapshot, changes: Mapping[str, str]) -> str | None:
    own = [f"relation {name}#{part.value}" for part in Part]
    for node in own:
        if node in changes:
            return changes[node]
    # What is gone is known only to the old snapshot, what has come only to the new one.
    nodes = old.depends[name] | new.depends[name]
    for node in sorted(nodes & changes.keys()):
        key = node.partition("#")[0]
        return f"rests on {key.removeprefix('relation ')}: {changes[node]}"
    if nodes != old.depends[name] or nodes != new.depends[name]:
        return "rests on other objects now"
    if ANYTHING in nodes and changes:
        return "rests on a function that puts its statements together, and something changed"
    return None


def _openers(new: Snapshot, concerned: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Relations that the policies of a concerned one read: a write to them may open it."""
    for name in sorted(concerned):
        for other in sorted(new.openers.get(name, ())):
            yield other, f"policies of {name}, which is tested again, read it"


def with_outcome(snapshot: Snapshot, finished: CampaignFinished) -> Snapshot:
    """The snapshot with what the run left open: relations with a finding (an accepted one too) or
    an untested cell, or that were not tried at all."""
    left: dict[str, str] = {}
    for finding in (*finished.findings, *(f for f, _ in finished.accepted_findings)):
        left.setdefault(finding.relation, f"had leaked: {finding.id}")
    coverage = finished.coverage
    for cell in (*coverage.untested, *coverage.accepted):
        left.setdefault(cell.relation, f"was untested: {cell.reason}")
    tried = {relation for relation, _, _ in (*coverage.covered_cells, *coverage.closed_cells)}
    tried |= set(finished.selection.unchanged) if finished.selection is not None else set()
    for name in snapshot.depends:
        if name not in tried:
            left.setdefault(name, "was not tested")
    covered = {relation for relation, _, _ in coverage.covered_cells}
    if finished.selection is not None:
        covered.update(finished.selection.compared)
    return replace(
        snapshot,
        left={n: r for n, r in left.items() if n in snapshot.depends},
        covered=frozenset(covered),
    )
