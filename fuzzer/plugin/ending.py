"""The account at the end of a run of pytest, from all workers."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tenantfuzz.lines import visible
from tenantfuzz.summary import plural, seconds_text

if TYPE_CHECKING:
    from tenantfuzz.plugin.target_session import TargetSession

_WIDTH = 80
_MOST = 12

Document = Mapping[str, Any]
"""An account as execnet carries it: strings, numbers, lists."""


def document(session: "TargetSession") -> dict[str, Any]:  # Any: what execnet carries
    """What a session did, in values that a worker can send."""
    account = session.account()
    return {
        "file": str(session.file),
        "seed": account.seed,
        "checks": account.checks,
        "worlds": account.worlds,
        "drawn": account.drawn,
        "generation": account.generation,
        "database": account.database,
        "warnings": list(account.warnings),
    }


def summary(
    accounts: Sequence[Document], reports: Sequence[object], names: Mapping[str, str]
) -> Iterator[str]:
    """The lines of the section: work, then what was accepted or is mild, then warnings.

    ``reports`` are pytest's; ``names`` says how node ids name the targets' files.
    """
    for file in dict.fromkeys(a["file"] for a in accounts):
        mine = [a for a in accounts if a["file"] == file]
        if not any(a["checks"] for a in mine):
            continue
        name = names.get(file, file)
        properties = list(_properties(reports, name))
        findings = dict.fromkeys(v for k, v in properties if k == "tenantfuzz.finding")
        untested = sum(int(v) for k, v in properties if k == "tenantfuzz.untested")
        yield (
            f"{name}: {plural(len(findings), 'finding')}, "
            f"{plural(sum(a['checks'] for a in mine), 'check')} in "
            f"{plural(mine[0]['worlds'] + sum(a['drawn'] for a in mine), 'world')}, "
            f"{plural(untested, 'cell')} untested, seed {mine[0]['seed']}"
        )
        yield (
            f"time: generation {seconds_text(sum(a['generation'] for a in mine))}, "
            f"database {seconds_text(sum(a['database'] for a in mine))}"
        )
        yield from _some("saved", [v for k, v in properties if k == "tenantfuzz.saved"])
        yield from _some("does not fail", [v for k, v in properties if k == "tenantfuzz.mild"])
        yield from _some("accepted", [v for k, v in properties if k == "tenantfuzz.accepted"])
        yield from _some("note", [w for a in mine for w in a["warnings"]])


def _properties(reports: Sequence[object], file: str) -> Iterator[tuple[str, Any]]:
    """The properties of each item of this file, from the last report that has them all."""
    last: dict[str, Sequence[tuple[str, Any]]] = {}
    for report in reports:
        nodeid = getattr(report, "nodeid", "")
        if nodeid.startswith(f"{file}::"):
            last[nodeid] = getattr(report, "user_properties", [])
    for properties in last.values():
        yield from properties


def _some(label: str, texts: Sequence[str]) -> Iterator[str]:
    """Each text once, in its order, with how often it was said."""
    counts: dict[str, int] = {}
    for text in texts:
        counts[text] = counts.get(text, 0) + 1
    for text in list(counts)[:_MOST]:
        yield from textwrap.wrap(
            f"{label}: {' '.join(visible(str(text)).split())}",
            _WIDTH,
            subsequent_indent="  ",
            break_on_hyphens=False,
            break_long_words=False,
        )
    if len(counts) > _MOST:
        yield f"… and {len(counts) - _MOST} more"
