"""The hooks of a run that tests targets: their files are collected, and an account is given."""

import os
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tenantfuzz.plugin.items import DoorItem, FixtureDoorItem, TargetFile, TargetFolder
from tenantfuzz.plugin.sessions import WANTED, Sessions, is_wanted, worth_adding
from tenantfuzz.target import FILE_NAME

if TYPE_CHECKING:
    from tenantfuzz.plugin.scheduling import DoorScheduling

KEY = "tenantfuzz"


class Running:
    """The plugin object that is registered where a target is asked for."""

    def __init__(self, config: pytest.Config, sessions: Sessions) -> None:
        self._config = config
        self._sessions = sessions
        self._accounts: list[dict[str, Any]] = []  # Any: what execnet carries
        self._wanted = is_wanted(config)
        for file in sessions.asked_for:
            if self._wanted and file.is_file() and worth_adding(file, config):
                config.args.append(str(file))

    def pytest_report_header(self) -> str:
        """Which targets, and what is drawn."""
        names = ", ".join(_relative(f, self._config) or "." for f in self._sessions.asked_for)
        budget = self._sessions.seconds
        return f"tenantfuzz: {names}" + (f", {budget:g} s of drawn worlds" if budget else "")

    def pytest_collect_file(
        self, file_path: Path, parent: pytest.Collector
    ) -> pytest.Collector | None:
        """The collector of a target's file."""
        if file_path.resolve() not in self._sessions.asked_for:
            return None
        return TargetFile.from_parent(parent, path=file_path, sessions=self._sessions)

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """A target without a file is no path that pytest could be given: it is added by hand."""
        report = yield
        if isinstance(collector, pytest.Session) and report.passed and self._wanted:
            for folder in self._sessions.asked_for:
                if folder.is_dir():
                    added = TargetFolder.from_parent(
                        collector,
                        name=FILE_NAME,
                        nodeid=f"{_relative(folder / FILE_NAME, self._config)}",
                        folder=folder,
                        sessions=self._sessions,
                    )
                    report.result = [*(report.result or []), added]
        return report

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Counts the relations that were selected: they share the budget."""
        selected: dict[Path, set[str]] = {}
        for item in session.items:
            if isinstance(item, DoorItem | FixtureDoorItem) and item.door.relation is not None:
                selected.setdefault(item.session_of_target.file, set()).add(item.door.where)
        for file, names in selected.items():
            self._sessions.of(file).selected = len(names)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(
        self,
        config: pytest.Config,
        log: Any,  # Any: xdist's own logger, passed on
    ) -> "DoorScheduling | None":
        """Doors of one relation share their work: they go to the same worker."""
        if config.getvalue("dist") != "load":
            return None
        from tenantfuzz.plugin.scheduling import DoorScheduling

        files = [
            _relative(f / FILE_NAME if f.is_dir() else f, config) for f in self._sessions.asked_for
        ]
        return DoorScheduling(config, log, files)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A worker of xdist sends what it did."""
        from tenantfuzz.plugin.ending import document

        mine = [document(s) for s in self._sessions.opened() if s.checked]
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[KEY] = mine
        else:
            self._accounts += mine

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:  # Any: xdist's WorkerController
        """Tells a worker what it cannot see: whether tests were named."""
        node.workerinput[WANTED] = self._wanted

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:  # Any: xdist's WorkerController
        """Takes in what a worker did."""
        self._accounts += getattr(node, "workeroutput", {}).get(KEY, [])

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The section at the end: what was done, and what is known besides the failures."""
        from tenantfuzz.plugin.ending import summary

        reports = [r for found in terminalreporter.stats.values() for r in found]
        names = {
            str(f): _relative(f / FILE_NAME if f.is_dir() else f, self._config)
            for f in self._sessions.asked_for
        }
        lines = list(summary(self._accounts, reports, names))
        if lines:
            terminalreporter.section("tenantfuzz")
            for line in lines:
                terminalreporter.line(line)


def _relative(file: Path, config: pytest.Config) -> str:
    """The file as node ids name it."""
    return os.path.relpath(file, config.rootpath.resolve()).replace(os.sep, "/")
