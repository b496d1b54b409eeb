"""The collected file of a target, and its items."""

import inspect
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tenantfuzz.errors import ToolError
from tenantfuzz.plugin.sessions import Sessions

if TYPE_CHECKING:
    from tenantfuzz.plugin.doors import Door
    from tenantfuzz.plugin.target_session import TargetSession
    from tenantfuzz.plugin.verdicts import Verdict


class TargetFile(pytest.File):
    """A target's file: collects an item for each door."""

    def __init__(self, *, sessions: Sessions, **others: Any) -> None:  # Any: pytest's own
        super().__init__(**others)
        self._sessions = sessions

    def collect(self) -> Iterable[pytest.Item]:
        """Loads the target to see what there is; what is wrong with it is a collection error."""
        return _collected(self, self.path.resolve(), self._sessions)


class TargetFolder(pytest.Collector):
    """A target that has no file, only a folder where its schema is found by convention."""

    def __init__(self, *, folder: Path, sessions: Sessions, **others: Any) -> None:
        super().__init__(**others)
        self._folder = folder
        self._sessions = sessions

    def collect(self) -> Iterable[pytest.Item]:
        """The same as for a file."""
        return _collected(self, self._folder, self._sessions)


def _collected(collector: pytest.Collector, file: Path, sessions: Sessions) -> list[pytest.Item]:
    from tenantfuzz.plugin.verdicts import error_text

    target = sessions.of(file)
    fixture = sessions.dsn_fixture
    try:
        doors = target.collect()
    except ToolError as error:
        raise collector.CollectError(f"tenantfuzz: {error_text(error)}") from error
    if fixture is None:
        return [
            DoorItem.from_parent(
                collector,
                name=door.name,
                nodeid=f"{collector.nodeid}::{door.name}",
                door=door,
                target=target,
            )
            for door in doors
        ]
    target.close()  # fixtures come when tests run; until then nothing is kept
    return [
        FixtureDoorItem.from_parent(
            collector,
            name=door.name,
            door=door,
            target=target,
            fixture=fixture,
            callobj=_asking_for(fixture),
        )
        for door in doors
    ]


class _Attempt:
    """What all items of doors do; mixed into pytest's own classes."""

    door: "Door"
    session_of_target: "TargetSession"
    verdict: "Verdict | None" = None

    def attempt(self, item: pytest.Item) -> None:
        """Tries the door. What cannot be tested is an error, and no failure: it is raised here,
        while the item is set up."""
        from tenantfuzz.plugin.verdicts import Untested, error_text, untested_text

        try:
            verdict = self.verdict = self.session_of_target.attempt(self.door)
        except ToolError as error:
            raise Untested(error_text(error), pytrace=False) from None
        item.user_properties.extend(_properties(verdict))
        if verdict.leaks:
            return
        if verdict.reason:
            raise Untested(verdict.reason, pytrace=False)
        if verdict.untested:
            raise Untested(untested_text(verdict.untested), pytrace=False)
        if verdict.accepted_cells and not verdict.covered:
            reasons = dict.fromkeys(c.accepted or c.reason for c in verdict.accepted_cells)
            pytest.skip("accepted: " + "; ".join(reasons))
        if not (verdict.covered or verdict.closed or verdict.accepted_cells):
            if self.door.relation is not None:
                raise Untested("untested: nothing could be compared here", pytrace=False)
            pytest.skip("nobody but its owner can reach it")

    def tell(self) -> None:
        """Fails with the stories of what leaks."""
        from tenantfuzz.plugin.verdicts import Leak, leak_text

        if self.verdict is not None and self.verdict.leaks:
            folder = os.path.relpath(self.session_of_target.root)
            raise Leak(leak_text(self.verdict, path=folder), pytrace=False)


class DoorItem(_Attempt, pytest.Item):
    """One door."""

    def __init__(self, *, door: "Door", target: "TargetSession", **others: Any) -> None:
        super().__init__(**others)
        self.door = door
        self.session_of_target = target

    def setup(self) -> None:
        """Tries the door."""
        self.attempt(self)

    def runtest(self) -> None:
        """Says what came of it."""
        self.tell()

    def reportinfo(self) -> tuple[os.PathLike[str], int | None, str]:
        """Where it stands, for reports."""
        return self.path, None, self.name


class FixtureDoorItem(_Attempt, pytest.Function):
    """One door on the server that a fixture gives: a test function as far as pytest can see, for
    only those can ask for fixtures."""

    def __init__(
        self, *, door: "Door", target: "TargetSession", fixture: str, **others: Any
    ) -> None:
        super().__init__(**others)
        self.door = door
        self.session_of_target = target
        self._fixture = fixture
        # Newer versions of pytest compare parsed ids, where the brackets are apart from the name.
        if (identifier := getattr(self, "id", None)) is not None:
            self._id = type(identifier).parse(str(identifier))

    def setup(self) -> None:
        """Asks for the server, and tries the door there."""
        from tenantfuzz.plugin.servers import dsn_of
        from tenantfuzz.plugin.verdicts import Untested, error_text

        super().setup()
        try:
            dsn = dsn_of(self.funcargs[self._fixture], self._fixture)
        except ToolError as error:
            raise Untested(error_text(error), pytrace=False) from None
        self.session_of_target.use_server(dsn)
        self.session.addfinalizer(self.session_of_target.close)
        self.attempt(self)

    def runtest(self) -> None:
        """Says what came of it."""
        self.tell()

    def reportinfo(self) -> tuple[os.PathLike[str], int | None, str]:
        """Where it stands, for reports."""
        return self.path, None, self.name


def _asking_for(fixture: str) -> Any:  # Any: a function whose signature is made up
    def door(**fixtures: object) -> None:
        del fixtures

    parameter = inspect.Parameter(fixture, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    door.__signature__ = inspect.Signature([parameter])  # type: ignore[attr-defined]  # as inspect reads it
    return door


def _properties(verdict: "Verdict") -> Iterable[tuple[str, object]]:
    """What a report says besides: finding ids, codes, severities, and counts of cells."""
    for told in verdict.leaks:
        yield "tenantfuzz.finding", told.finding.id
        yield "tenantfuzz.code", told.finding.code
        yield "tenantfuzz.severity", told.finding.severity.value
        if told.finding.corpus_file is not None:
            yield "tenantfuzz.saved", told.finding.corpus_file
    for finding in verdict.mild:
        yield "tenantfuzz.mild", f"{finding.id} ({finding.severity.value})"
    for finding, reason in verdict.accepted:
        yield "tenantfuzz.accepted", f"{finding.id}: {reason}"
    for reason in dict.fromkeys(c.accepted or "" for c in verdict.accepted_cells):
        number = sum(c.accepted == reason for c in verdict.accepted_cells)
        yield "tenantfuzz.accepted", f"{number} untested cell(s): {reason}"
    if verdict.covered or verdict.closed or verdict.untested:
        yield "tenantfuzz.covered", verdict.covered
        yield "tenantfuzz.closed", verdict.closed
        yield "tenantfuzz.untested", len(verdict.untested)
