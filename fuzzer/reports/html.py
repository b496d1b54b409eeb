"""One self-contained HTML page: findings with their stories, coverage, timings.

It loads nothing and runs nothing: no script, and a policy in the page itself that forbids both.
"""

from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files

from tenantfuzz import __version__
from tenantfuzz.events import Timings
from tenantfuzz.lines import visible
from tenantfuzz.reports.account import Account, Told, why_not_clean
from tenantfuzz.reports.doors import CellState, Door, doors, rank
from tenantfuzz.scrubbing import scrub
from tenantfuzz.summary import plural, seconds_text, unchanged_sentence, untested_groups

_LETTERS = {
    CellState.COVERED: "✓",
    CellState.CLOSED: "–",
    CellState.UNTESTED: "?",
    CellState.ACCEPTED: "a",
}
_OPENED = 3  # stories that are unfolded at once


def html_text(account: Account) -> str:
    """The account as an HTML page. Everything that comes from outside is escaped."""
    finished = account.finished
    title = _text(f"tenantfuzz: {finished.target}: {finished.status}")
    style = (files("tenantfuzz.reports") / "page.css").read_text(encoding="utf-8")
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    body = "\n".join(_body(account))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n{body}\n"
        "</body>\n</html>\n"
    )


def _body(account: Account) -> Iterator[str]:
    found = doors(account)
    yield from _head(account)
    yield from _findings(account)
    yield from _coverage(account, found)
    yield from _selection(account)
    yield from _untested(account)
    yield from _remarks(account)
    yield from _timings(account)
    yield "<h2>Again</h2>"
    yield f"<pre>{_text(account.repeat)}</pre>"
    yield f'<p class="dim">tenantfuzz {_text(__version__)}</p>'


def _head(account: Account) -> Iterator[str]:
    finished, coverage = account.finished, account.finished.coverage
    yield f"<header>\n<h1>{_text(finished.target)}</h1>"
    reason = why_not_clean(account)
    count = plural(len(account.standing), "finding") if account.standing else "no findings"
    yield (
        f'<p><span class="status {_text(finished.status)}">{_text(finished.status)}</span>: '
        f"{count}{f'; {_text(reason)}' if reason else ''}</p>"
    )
    yield (
        f'<p class="dim">schema {_text(finished.target_hash)} on PostgreSQL '
        f"{_text(finished.server_version)}; seed {finished.seed}; "
        f"{plural(finished.checks, 'check')} in {seconds_text(finished.seconds)}</p>"
    )
    yield (
        f'<p class="dim">{plural(coverage.cells, "cell")}: {coverage.covered:,} covered, '
        f"{coverage.closed:,} closed, {len(coverage.untested):,} untested, "
        f"{len(coverage.accepted):,} accepted</p>\n</header>"
    )


def _findings(account: Account) -> Iterator[str]:
    if not account.findings:
        return
    yield "<h2>Findings</h2>"
    for number, told in enumerate(account.findings):
        yield _finding(told, account, unfolded=number < _OPENED and told.accepted is None)


def _finding(told: Told, account: Account, *, unfolded: bool) -> str:
    finding = told.finding
    severity = finding.severity.value
    if told.accepted is not None:
        note = f" (accepted: {told.accepted})"
    elif finding.latent or finding.origin != "target":
        note = " (latent)" if finding.latent else " (a property of the server)"
    else:
        note = "" if account.fails(told) else " (does not fail this run)"
    parts = [
        f'<details{" open" if unfolded else ""} id="{_text(finding.id)}">',
        f'<summary><b class="{severity}">{_text(finding.code)} {severity}</b> '
        f"{_text(finding.title)}{_text(note)}</summary>",
        f"<pre>{_text(told.story)}</pre>",
    ]
    line = "" if told.place.line is None else f":{told.place.line}"
    parts.append(f'<p class="dim">made in {_text(told.place.file)}{line}</p>')
    return "\n".join([*parts, "</details>"])


def _coverage(account: Account, found: Sequence[Door]) -> Iterator[str]:
    if not found:
        return
    operations = sorted({d.operation for d in found}, key=lambda o: (rank(o), o))
    kinds = list(dict.fromkeys(kind for d in found for kind in d.cells))
    yield "<h2>Coverage</h2>"
    yield f'<p class="dim">In each square, one mark a kind: {_text(", ".join(kinds))}.</p>'
    legend = "".join(
        f'<span><span class="cells"><i class="{css}">{letter}</i></span> {word}</span>'
        for css, letter, word in _legend(unchanged=any(d.unchanged for d in found))
    )
    yield f'<p class="legend dim">{legend}</p>'
    heads = "".join(f"<th>{_text(o)}</th>" for o in operations)
    yield f'<div class="scroll"><table>\n<tr><th>relation</th>{heads}</tr>'
    by_place = {(d.relation, d.operation): d for d in found}
    for relation in dict.fromkeys(d.relation for d in found):
        squares = "".join(
            f"<td>{_square(by_place.get((relation, o)), kinds)}</td>" for o in operations
        )
        yield f"<tr><td>{_text(relation)}</td>{squares}</tr>"
    yield "</table></div>"


def _legend(*, unchanged: bool) -> Iterator[tuple[str, str, str]]:
    yield "leak", "!", "leak"
    for state, letter in _LETTERS.items():
        yield state.value, letter, state.value
    if unchanged:
        yield "unchanged", "=", "unchanged, not tested again"


def _square(door: Door | None, kinds: Sequence[str]) -> str:
    if door is None:
        return ""
    if door.unchanged and not door.findings:
        return '<span class="cells"><i class="unchanged" title="unchanged">=</i></span>'
    leaks = {t.finding.principal.kind: t.finding.code for t in door.findings if t.accepted is None}
    marks = []
    counted: dict[str, int] = {}
    for kind in [*kinds, *(k for k in leaks if k not in kinds)]:
        cell = door.cells.get(kind)
        if kind in leaks:
            css, letter, word = "leak", "!", leaks[kind]
        elif cell is not None:
            css, letter, word = cell.state.value, _LETTERS[cell.state], cell.state.value
            word += f": {cell.accepted or cell.reason}" if cell.accepted or cell.reason else ""
        else:
            continue
        counted[css] = counted.get(css, 0) + 1
        marks.append(f'<i class="{css}" title="{_text(f"{kind}: {word}")}">{letter}</i>')
    label = ", ".join(f"{number} {css}" for css, number in counted.items())
    return f'<span class="cells" role="img" aria-label="{_text(label)}">{"".join(marks)}</span>'


def _selection(account: Account) -> Iterator[str]:
    selection = account.finished.selection
    if selection is None:
        return
    yield f"<h2>Since {_text(selection.since)}</h2>"
    yield f"<p>{_text(unchanged_sentence(selection))}.</p>"
    if selection.everything is None:
        items = "\n".join(
            f"<li>{_text(relation)}: {_text(reason)}</li>" for relation, reason in selection.tested
        )
        yield f"<p>Tested again:</p>\n<ul>\n{items}\n</ul>"


def _untested(account: Account) -> Iterator[str]:
    groups = untested_groups(account.finished.coverage.untested)
    if not groups:
        return
    yield "<h2>Untested</h2>"
    for group in groups:
        head = f"{_text(group.reason)} ({plural(group.cells, 'cell')})"
        lines = "\n".join(_text(line) for line in group.lines)
        yield f"<details><summary>{head}</summary>\n<pre>{lines}</pre>\n</details>"


def _remarks(account: Account) -> Iterator[str]:
    finished = account.finished
    lists = {
        "Accepted": [
            f"{c.operation} {c.relation} ({c.kind}): {c.accepted or c.reason}"
            for c in finished.coverage.accepted
        ],
        "Replayed": [
            f"{r.verdict}: {r.id}" + (f": {r.reason}" if r.reason else "")
            for r in finished.replayed
        ],
        "Warnings": [
            " ".join(part for part in (w.code, w.relation and f"{w.relation}:", w.message) if part)
            for w in dict.fromkeys(finished.warnings)
        ],
    }
    for title, lines in lists.items():
        if lines:
            items = "\n".join(f"<li>{_text(line)}</li>" for line in lines)
            yield f"<h2>{title}</h2>\n<ul>\n{items}\n</ul>"


def _timings(account: Account) -> Iterator[str]:
    timings: Timings = account.finished.timings
    parts = {
        "generation": timings.generation,
        "database": timings.database,
        "oracle": timings.oracle,
    }
    total = sum(parts.values())
    if total <= 0 and not account.phases:
        return
    yield "<h2>Time</h2>"
    if total > 0:
        shares = "".join(
            f'<span style="width:{seconds / total:.1%}"></span>' for seconds in parts.values()
        )
        words = ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in parts.items())
        yield f'<div class="bar" role="img" aria-label="{words}">{shares}</div>'
        yield f'<p class="dim">{words}</p>'
    if account.phases:
        yield '<table>\n<tr><th>phase</th><th class="number">checks</th>'
        yield '<th class="number">time</th></tr>'
        for phase in account.phases:
            yield (
                f'<tr><td>{_text(phase.phase)}</td><td class="number">{phase.checks:,}</td>'
                f'<td class="number">{seconds_text(phase.seconds)}</td></tr>'
            )
        yield "</table>"


def _text(text: str) -> str:
    return escape(visible(scrub(text)))
