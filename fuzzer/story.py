"""The story of a finding: who did what, what came back, why, and what to change."""

import shlex
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tenantfuzz.codes import named_kind
from tenantfuzz.counterexample import Counterexample
from tenantfuzz.findings import Finding
from tenantfuzz.lines import LABEL, Line, Part, visible
from tenantfuzz.policies.principals import Freshness, HostileKind, Principal
from tenantfuzz.scrubbing import scrub
from tenantfuzz.world_table import letters_of, world_lines

_MOST_STATEMENTS = 12
_LONGEST_STATEMENT = 1600
_LONGEST_OBSERVED = 1200


def story(
    finding: Finding,
    counterexample: Counterexample | None = None,
    *,
    width: int = 80,
    path: str = ".",
) -> list[Line]:
    """The lines that tell ``finding``; with its ``counterexample`` they show the world too.

    ``path`` is the target as the reader would type it. The text holds no control characters and
    no passwords, whatever the database held.
    """
    return list(_Teller(finding, counterexample, max(width, 40), path).tell())


def story_text(
    finding: Finding,
    counterexample: Counterexample | None = None,
    *,
    width: int = 80,
    path: str = ".",
) -> str:
    """The same as text."""
    return "\n".join(line.text for line in story(finding, counterexample, width=width, path=path))


def commands(finding: Finding, path: str) -> tuple[str, str]:
    """The commands that replay and that show a saved finding, quoted for a shell."""
    place, identifier = shlex.quote(path), shlex.quote(finding.id)
    corpus = corpus_option(finding, path)
    show = f"tenantfuzz show {identifier}" + ("" if path == "." else f" --path {place}") + corpus
    return f"tenantfuzz replay {place} {identifier}{corpus}", f"{show} --sql"


def corpus_option(finding: Finding, path: str) -> str:
    """``--corpus``, with a blank before it, where a finding is not in the target's own corpus."""
    if finding.corpus_file is None:
        return ""
    folder = Path(finding.corpus_file).parent
    root = Path(path) if Path(path).is_dir() else Path(path).parent
    return (
        ""
        if folder.resolve() == (root / "corpus").resolve()
        else f" --corpus {shlex.quote(str(folder))}"
    )


@dataclass(frozen=True, slots=True)
class _Teller:
    finding: Finding
    counterexample: Counterexample | None
    width: int
    path: str

    def tell(self) -> Iterator[Line]:
        finding = self.finding
        yield from self._headline()
        yield from self._labelled("where", f"{finding.operation} {finding.relation}")
        yield from self._who()
        yield from self._world()
        yield from self._did()
        yield from self._labelled("came back", _cut(finding.observed, _LONGEST_OBSERVED))
        yield from self._labelled("expected", finding.expected)
        yield from self._labelled("culprit", "\n".join(finding.culprits))
        yield from self._labelled("why", finding.explanation)
        yield from self._labelled("mend", finding.mend)
        yield from self._remarks()
        yield from self._again()

    def _headline(self) -> Iterator[Line]:
        head = f"{self.finding.code} {self.finding.severity.value}  "
        indent = " " * len(head)
        for line in self._wrapped(head + _clean(self.finding.title), indent):
            yield Line(line, Part.HEADLINE)
        yield Line(self.finding.id)

    def _who(self) -> Iterator[Line]:
        summary = self.finding.principal
        text = named_kind(summary.kind)
        if summary.tenant is not None:
            text += f"{self._relation(summary.tenant)} tenant {self._tenant(summary.tenant)}"
        if summary.role:
            text += f", as role {summary.role}"
        if summary.user is not None:
            text += f", user {summary.user}"
        yield from self._labelled("who", text)
        if self.finding.owner_tenants:
            owners = ", ".join(self._tenant(t) for t in self.finding.owner_tenants)
            yield from self._labelled("whose", f"rows of tenant {owners}")
        if self.counterexample is not None:
            yield from self._identity(self.counterexample.witness.principal)

    def _identity(self, principal: Principal) -> Iterator[Line]:
        lines = [f"{name} = {value or '(empty)'}" for name, value in principal.settings]
        lines += principal.statements
        if principal.note:
            lines.append(f"({principal.note})")
        match principal.freshness:
            case Freshness.NEVER_SET:
                lines.append("(a new connection, on which no identity was ever set)")
            case Freshness.COMMITTED:
                lines.append("(after a transaction of another identity that was committed)")
            case Freshness.ROLLED_BACK:
                lines.append("(after a transaction of another identity that was rolled back)")
        yield from self._labelled("identity", "\n".join(lines))

    def _world(self) -> Iterator[Line]:
        if self.counterexample is None:
            yield from self._labelled("world", "\n".join(self.finding.world_rows))
            return
        lines = world_lines(self.counterexample.witness, width=self.width - LABEL)
        yield from self._block("world", lines)

    def _did(self) -> Iterator[Line]:
        if self.counterexample is not None:
            statements: Sequence[str] = [s.sql for s in self.counterexample.witness.steps]
        else:
            statements = self.finding.statements
        lines: list[str] = []
        for statement in statements[:_MOST_STATEMENTS]:
            text = _cut(statement.strip().rstrip(";"), _LONGEST_STATEMENT) + ";"
            lines += self._wrapped_lines(text, self.width - LABEL, hanging="  ")
        if len(statements) > _MOST_STATEMENTS:
            lines.append(f"… and {len(statements) - _MOST_STATEMENTS} more statements")
        yield from self._block("did", lines)

    def _remarks(self) -> Iterator[Line]:
        if self.finding.latent:
            yield from self._labelled(
                "note",
                "latent: it takes a row that nobody was seen to write; it does not fail a run",
            )
        if self.finding.origin == "server":
            yield from self._labelled(
                "note", "a property of this PostgreSQL version, not of the target"
            )
        if not self.finding.minimal:
            yield from self._labelled("note", "not made minimal: there may be less to it")

    def _again(self) -> Iterator[Line]:
        if self.counterexample is None and self.finding.corpus_file is None:
            return
        replay, show = commands(self.finding, self.path)
        # Commands are not wrapped, so that they can be copied.
        yield Line("again".ljust(LABEL) + replay, Part.LABELLED)
        yield Line(" " * LABEL + show)

    def _relation(self, tenant: str) -> str:
        """How the principal stands to the tenant that its session names."""
        if self.finding.principal.kind == HostileKind.DUAL:
            return ", acting in"
        if not self._belongs(tenant):
            return ", naming"
        return ", of" if self.finding.principal.kind in set(HostileKind) else " of"

    def _belongs(self, tenant: str) -> bool:
        """Whether the principal is a member of the tenant that its session names."""
        if self.counterexample is None:
            return True
        principal = self.counterexample.witness.principal
        return tenant in principal.all_tenants | principal.tenants

    def _tenant(self, tenant: str) -> str:
        if self.counterexample is None:
            return tenant
        letter = letters_of(self.counterexample.witness.world).get(tenant)
        return tenant if letter is None or letter == tenant else f"{tenant} ({letter})"

    def _labelled(self, label: str, text: str) -> Iterator[Line]:
        return self._block(label, self._wrapped_lines(text, self.width - LABEL))

    def _block(self, label: str, lines: Sequence[str]) -> Iterator[Line]:
        for number, line in enumerate(lines):
            head = label if number == 0 else ""
            part = Part.LABELLED if number == 0 else Part.PLAIN
            yield Line((head.ljust(LABEL) + line).rstrip(), part)

    def _wrapped_lines(self, text: str, width: int, hanging: str = "") -> list[str]:
        return [
            wrapped
            for line in _clean(text).splitlines()
            if line.strip()
            for wrapped in _wrap(line, width, hanging)
        ]

    def _wrapped(self, text: str, indent: str) -> list[str]:
        return _wrap(" ".join(text.split("\n")), self.width, indent)


def _wrap(line: str, width: int, indent: str) -> list[str]:
    own = line[: len(line) - len(line.lstrip())]
    return textwrap.wrap(
        line.rstrip(),
        width,
        subsequent_indent=own + indent,
        break_on_hyphens=False,
        break_long_words=True,
        drop_whitespace=True,
        replace_whitespace=False,
    )


def _clean(text: str) -> str:
    return visible(scrub(text))


def _cut(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    return f"{text[:longest]}… ({len(text) - longest} more characters)"
