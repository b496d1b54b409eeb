"""Markdown for a pull request: short, within the limit of a comment on GitHub."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tenantfuzz.exit_status import ExitStatus
from tenantfuzz.lines import visible
from tenantfuzz.reports.account import Account, Told, why_not_clean
from tenantfuzz.scrubbing import scrub
from tenantfuzz.summary import plural, seconds_text, unchanged_sentence, untested_groups

LONGEST = 65_000
"""GitHub takes 65,536 characters (UTF-16 units) in a comment; a caller may add a heading."""

_MOST_ROWS = 50
_MOST_LINES = 40
# Underscores inside a word and colons in prose are no markup; a scheme would become a link.
_SPECIAL = re.compile(r"([\\`*\[\]<>#|~@&$]|(?<!\w)_|_(?!\w)|:(?=//))")
_HEADS = {"clean": "✅", "leaks": "❌", "inconclusive": "⚠️"}


def markdown_text(account: Account) -> str:
    """The account as GitHub-flavoured Markdown of at most ``LONGEST`` characters. What does not fit
    is counted: stories go first, then the lists of what is untested, accepted and warned of."""
    head = "\n".join(_head(account))
    foot = "\n".join(_foot(account))
    room = LONGEST - _length(head) - _length(foot) - 200  # for the sentence about what is left out
    sections = _Sections(room)
    for told in account.standing:
        sections.put(_story(told), "story", "stories")
    for section in _details(account):
        sections.put(section, "list", "lists")
    return (
        "\n\n".join(part for part in (head, *sections.kept, sections.rest(), foot) if part) + "\n"
    )


@dataclass(slots=True)
class _Sections:
    room: int
    kept: list[str]
    left_out: dict[tuple[str, str], int]  # how many, by the words for one and for several

    def __init__(self, room: int) -> None:
        self.room, self.kept, self.left_out = room, [], {}

    def put(self, text: str, one: str, many: str) -> None:
        length = _length(text) + 2
        if length <= self.room:
            self.kept.append(text)
            self.room -= length
            return
        self.left_out[one, many] = self.left_out.get((one, many), 0) + 1

    def rest(self) -> str:
        if not self.left_out:
            return ""
        counted = " and ".join(
            f"{number} {one if number == 1 else many}"
            for (one, many), number in self.left_out.items()
        )
        return f"_{counted} did not fit here; the other reports have everything._"


def _head(account: Account) -> Iterator[str]:
    finished = account.finished
    failing = [t for t in account.standing if account.fails(t)]
    yield f"### {_HEADS.get(finished.status, '')} tenantfuzz: {_escaped(finished.target)}"
    yield ""
    yield f"**{finished.status}**: {_verdict(account, failing)}"
    if not account.standing:
        return
    yield ""
    yield "| | code | where | finding |"
    yield "|---|---|---|---|"
    for told in account.standing[:_MOST_ROWS]:
        finding = told.finding
        mark = finding.severity.value if account.fails(told) else f"({finding.severity.value})"
        where = _code(f"{finding.operation} {finding.relation}") + _at(told)
        yield f"| {mark} | {finding.code} | {where} | {_escaped(finding.title)} |"
    if len(account.standing) > _MOST_ROWS:
        yield f"| | | | … and {len(account.standing) - _MOST_ROWS} more |"


def _verdict(account: Account, failing: Sequence[Told]) -> str:
    standing = account.standing
    if not standing:
        text = "no findings"
    elif len(failing) == len(standing):
        text = plural(len(standing), "finding")
    else:
        rest = len(standing) - len(failing)
        text = f"{plural(len(standing), 'finding')}, {rest} of them below the line (in brackets)"
    reason = why_not_clean(account)
    return text + (f"; {_escaped(reason)}" if reason else "")


def _at(told: Told) -> str:
    if told.place.line is None:
        return ""
    return " " + _code(f"{told.place.file}:{told.place.line}")


def _story(told: Told) -> str:
    title = _html(f"{told.finding.code} {told.finding.title}")
    return "\n".join(
        [f"<details><summary>{title}</summary>", "", _fenced(told.story), "", "</details>"]
    )


def _details(account: Account) -> Iterator[str]:
    finished = account.finished
    groups = untested_groups(finished.coverage.untested)
    if groups:
        lines = []
        for group in groups:
            lines.append(f"- {_escaped(group.reason)} ({plural(group.cells, 'cell')})")
            lines += [f"  - {_escaped(line)}" for line in group.lines]
        title = f"untested: {plural(len(finished.coverage.untested), 'cell')}"
        yield _folded(title, lines)
    accepted = [
        f"- {_code(t.finding.id)}: {_escaped(t.accepted)}"
        for t in account.findings
        if t.accepted is not None
    ]
    accepted += [
        f"- {_code(f'{c.operation} {c.relation}')} ({_escaped(c.kind)}): "
        f"{_escaped(c.accepted or c.reason)}"
        for c in finished.coverage.accepted
    ]
    if accepted:
        yield _folded(f"accepted: {len(accepted)}", accepted)
    warnings = [
        f"- {w.code} {_escaped(f'{w.relation}: ' if w.relation else '')}{_escaped(w.message)}"
        for w in dict.fromkeys(finished.warnings)
    ]
    if warnings:
        yield _folded(plural(len(warnings), "warning"), warnings)


def _foot(account: Account) -> Iterator[str]:
    finished, coverage = account.finished, account.finished.coverage
    if coverage.cells:
        yield (
            f"{plural(coverage.cells, 'cell')} (relation × operation × kind): "
            f"{coverage.covered:,} covered, {coverage.closed:,} closed, "
            f"**{len(coverage.untested):,} untested**"
            + (f", {len(coverage.accepted):,} accepted" if coverage.accepted else "")
            + "."
        )
    if finished.selection is not None:
        yield f"{_escaped(unchanged_sentence(finished.selection))}."
    yield (
        f"{plural(finished.checks, 'check')} in {seconds_text(finished.seconds)} on PostgreSQL "
        f"{_escaped(finished.server_version)}, seed {finished.seed}."
    )
    yield ""
    yield "To repeat the run:"
    yield ""
    yield _fenced(account.repeat, "sh")
    if account.exit_status is ExitStatus.CLEAN and not account.standing:
        yield ""
        yield "_Clean speaks of the cells above, for the worlds that were generated._"


def _folded(title: str, lines: Sequence[str]) -> str:
    shown = list(lines[:_MOST_LINES])
    if len(lines) > _MOST_LINES:
        shown.append(f"- … and {len(lines) - _MOST_LINES} more")
    head = f"<details><summary>{_html(title)}</summary>"
    return "\n".join([head, "", *shown, "", "</details>"])


def _fenced(text: str, language: str = "text") -> str:
    """A fenced block; the fence is longer than any run of backticks inside."""
    clean = _clean(text)
    longest = max((len(run) for run in re.findall("`+", clean)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{clean}\n{fence}"


def _code(text: str) -> str:
    """A code span in a table: pipes are escaped there even inside code."""
    line = " ".join(_clean(text).split()).replace("|", "\\|")
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    ticks = "`" * (longest + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{ticks}{pad}{line}{pad}{ticks}"


def _escaped(text: str) -> str:
    """One line of plain text: nothing in it is markup, a link or a mention of somebody."""
    return _SPECIAL.sub(r"\\\1", " ".join(_clean(text).split())).replace("\\@", "@\u200b")


def _html(text: str) -> str:
    line = " ".join(_clean(text).split())
    for char, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("@", "@\u200b")):
        line = line.replace(char, entity)
    return line


def _clean(text: str) -> str:
    return visible(scrub(text))


def _length(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
