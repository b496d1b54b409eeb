"""The reporter: listens to a campaign and writes the reports that were asked for."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from tenantfuzz import corpus as corpus_files
from tenantfuzz.changes import with_outcome
from tenantfuzz.documents import json_text, write_text
from tenantfuzz.errors import ToolError
from tenantfuzz.events import CampaignFinished, Event, PhaseFinished, StructureRead
from tenantfuzz.findings import Finding, Severity
from tenantfuzz.outcome import Seen
from tenantfuzz.reports.account import Account, Told, in_order
from tenantfuzz.reports.html import html_text
from tenantfuzz.reports.junit import junit_text
from tenantfuzz.reports.locating import Sources, locate
from tenantfuzz.reports.markdown import markdown_text
from tenantfuzz.reports.ndjson import event_line
from tenantfuzz.reports.sarif import sarif_text
from tenantfuzz.result import result_document
from tenantfuzz.snapshot import Snapshot, save_snapshot
from tenantfuzz.story import story_text
from tenantfuzz.target import Target

LIVE = ".ndjson"
_WIDTH = 100

_WRITERS: Mapping[str, Callable[[Account], str]] = {
    ".json": lambda account: json_text(result_document(account.finished)),
    ".sarif": sarif_text,
    ".xml": junit_text,
    ".md": markdown_text,
    ".html": html_text,
}


class Reporter:
    """Writes ``files`` in the form that each suffix says: ``.ndjson`` line by line as the run goes,
    the others when it is over, whole or not at all.

    ``path`` is the target as the reader would type it, ``repeat`` the command of the run but for
    its seed; ``snapshot`` the file for a snapshot. A file that cannot be written stops neither the
    run nor the other files: ``write`` raises for it at the end.
    """

    def __init__(
        self,
        files: Sequence[Path],
        target: Target,
        *,
        path: str,
        repeat: str,
        fail_on: Severity,
        snapshot: Path | None = None,
    ) -> None:
        self._files = [f for f in dict.fromkeys(files) if f.suffix != LIVE]
        self._live = {f: None for f in dict.fromkeys(files) if f.suffix == LIVE}
        self._streams: dict[Path, TextIO] = {}
        self._target = target
        self._path = path
        self._repeat = repeat
        self._fail_on = fail_on
        self._snapshot = snapshot
        self._structure: Snapshot | None = None
        self._seen = Seen()
        self._phases: list[PhaseFinished] = []
        self._problems: list[ToolError] = []
        self._written = False

    def __enter__(self) -> Self:
        for file in self._live:
            try:
                self._streams[file] = file.open("w", encoding="ascii", newline="\n")
            except OSError as error:
                self._problems.append(_problem(file, error))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Writes the reports of a run that broke off, so that no older ones are taken for its."""
        if error is not None and not self._written:
            reason = str(error).strip() or type(error).__name__
            try:
                self.write(self._seen.finished or self._broken_off(reason))
            except ToolError as problem:
                error.add_note(str(problem))
        for stream in self._streams.values():
            with suppress(OSError):  # every line was flushed
                stream.close()

    def take(self, event: Event) -> None:
        """Takes one event."""
        self._seen.take(event)
        match event:
            case PhaseFinished():
                self._phases.append(event)
            case StructureRead(snapshot=structure):
                self._structure = structure
            case _:
                pass
        for file, stream in list(self._streams.items()):
            try:
                stream.write(event_line(event))
                stream.flush()
            except OSError as error:
                self._problems.append(_problem(file, error))
                del self._streams[file]

    def write(self, finished: CampaignFinished) -> None:
        """Writes all reports of the run that came to this end. Raises ToolError where one could
        not be written, after the others were."""
        self._written = True
        if self._seen.finished is None:
            self.take(finished)
        if self._files:
            account = self._account(finished)
            for file in self._files:
                try:
                    write_text(_WRITERS[file.suffix](account), file)
                except ToolError as error:
                    self._problems.append(error)
        if self._snapshot is not None:
            try:
                self._save(self._snapshot, finished)
            except ToolError as error:
                self._problems.append(error)
        if self._problems:
            first = self._problems[0]
            others = [str(p) for p in self._problems[1:]]
            raise ToolError("\n".join([str(first), *others]), hint=first.hint) from first

    def _save(self, file: Path, finished: CampaignFinished) -> None:
        """A snapshot of a run that was cut short would vouch for what it never came to."""
        if self._structure is None or finished.interrupted is not None:
            raise ToolError(
                f"{file} is left as it was: the run was cut short",
                hint="a snapshot takes a whole run",
            )
        save_snapshot(with_outcome(self._structure, finished), file)

    def _broken_off(self, reason: str) -> CampaignFinished:
        finished = self._seen.account(reason)
        if self._seen.started is not None:
            return finished
        return replace(finished, target=self._target.name)

    def _account(self, finished: CampaignFinished) -> Account:
        sources = locate(self._target)
        told = [self._told(f, sources) for f in finished.findings]
        told += [self._told(f, sources, reason) for f, reason in finished.accepted_findings]
        return Account(
            finished=finished,
            findings=in_order(told),
            fail_on=self._fail_on,
            repeat=f"{self._repeat} --seed {finished.seed}",
            configuration=sources.fallback,
            started=self._seen.started,
            phases=tuple(self._phases),
        )

    def _told(self, finding: Finding, sources: Sources, accepted: str | None = None) -> Told:
        counterexample = None
        if finding.corpus_file is not None:
            try:
                counterexample = corpus_files.load(Path(finding.corpus_file))
            except ToolError:
                counterexample = None  # the finding itself has all that matters
        return Told(
            finding=finding,
            story=story_text(finding, counterexample, width=_WIDTH, path=self._path),
            place=sources.place_of(finding),
            accepted=accepted,
        )


def _problem(file: Path, error: OSError) -> ToolError:
    return ToolError(
        f"cannot write {file}: {error.strerror or error}",
        hint="check that the folder exists, may be written to, and that the disk is not full",
    )


def suffixes() -> tuple[str, ...]:
    """The suffixes of report files that are known."""
    return (*_WRITERS, LIVE)
