"""The command line: ``tenantfuzz run``, ``replay``, ``show``, ``explain``."""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tenantfuzz import __version__
from tenantfuzz.endings import ending_in_good_order, exit_with
from tenantfuzz.errors import ToolError
from tenantfuzz.exit_status import ExitStatus
from tenantfuzz.findings import Severity

if TYPE_CHECKING:
    from tenantfuzz.events import Event
    from tenantfuzz.target import Target

# What is heavy is imported in the commands that need it: help and explanations come at once.

PHASES = ("replay", "sweep", "fuzz")
DEFAULT_SECONDS = 60.0
_REPORTS = (".json", ".sarif", ".xml", ".md", ".html", ".ndjson")

app = typer.Typer(
    help="Finds out whether members of one organisation can read, change or learn of what "
    "belongs to another in a PostgreSQL database.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Phase(StrEnum):
    """A phase that can be asked for by itself."""

    REPLAY = "replay"
    SWEEP = "sweep"
    FUZZ = "fuzz"


class Format(StrEnum):
    """What stdout holds."""

    TEXT = "text"
    JSON = "json"


class EngineName(StrEnum):
    """The engines of this version."""

    EMBEDDED = "embedded"
    SERVER = "server"


def _seconds(text: str) -> float:
    from pydantic import TypeAdapter, ValidationError

    from tenantfuzz.policies.sections import Seconds

    try:
        return TypeAdapter(Seconds).validate_python(text)
    except ValidationError:
        raise typer.BadParameter(f"expected a time such as 60s, 5m or 1h, not {text!r}") from None


def _report(text: str) -> Path:
    path = Path(text)
    if path.suffix not in _REPORTS:
        raise typer.BadParameter(
            f"{text!r}: reports are written as {', '.join(_REPORTS)}; the ending says which"
        )
    return _file_to_write(text)


def _file_to_write(text: str) -> Path:
    path = Path(text)
    if not path.parent.is_dir():
        raise typer.BadParameter(f"{text!r}: the folder {path.parent} does not exist")
    if path.is_dir():
        raise typer.BadParameter(f"{text!r} is a folder")
    return path


PathArgument = Annotated[
    str, typer.Argument(help="A folder with a tenantfuzz.toml, or the file.", metavar="PATH")
]
EngineOption = Annotated[
    EngineName | None, typer.Option(help="Where the PostgreSQL server comes from.")
]
ServerOption = Annotated[
    str | None,
    typer.Option(metavar="DSN", help="The server for --engine server; env:NAME reads a variable."),
]
DsnOption = Annotated[
    str | None,
    typer.Option(
        metavar="DSN",
        help="A live database to test a copy of: only its structure is read; env:NAME reads a "
        "variable.",
    ),
]
PostgresOption = Annotated[
    str | None,
    typer.Option(
        metavar="VERSION",
        help="The version of the embedded server, as 15.8; downloaded once where it is not there.",
    ),
]
CorpusOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where counterexamples are. [PATH/corpus]")
]
FormatOption = Annotated[Format, typer.Option("--format", help="What is printed on stdout.")]


def _version(*, value: bool) -> None:
    if value:
        typer.echo(f"tenantfuzz {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version.",
            is_eager=True,
            callback=lambda value: _version(value=value),
        ),
    ] = False,
) -> None:
    pass


@app.command()
def run(
    path: PathArgument = ".",
    *,
    dsn: DsnOption = None,
    engine: EngineOption = None,
    server: ServerOption = None,
    postgres: PostgresOption = None,
    time: Annotated[
        float | None,
        typer.Option(
            parser=_seconds, metavar="TIME", help="Budget of the fuzz phase: 60s, 5m, 1h. [60s]"
        ),
    ] = None,
    max_examples: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Budget in generated worlds.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Same seed, same run. [random]")
    ] = None,
    phase: Annotated[
        list[Phase] | None,
        typer.Option(help="Only this phase; may be repeated. [replay, sweep, fuzz]"),
    ] = None,
    only: Annotated[
        str | None, typer.Option(metavar="GLOB", help="Only relations that match, as public.iss*.")
    ] = None,
    output: FormatOption = Format.TEXT,
    report: Annotated[
        list[Path] | None,
        typer.Option(
            parser=_report,
            metavar="FILE",
            help="Write a report, too; may be repeated. The ending says which: .json, .sarif, "
            ".xml (JUnit), .md, .html, .ndjson (events, live).",
        ),
    ] = None,
    changed_since: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            dir_okay=False,
            help="Test only what changed since this snapshot, and what rests on it.",
        ),
    ] = None,
    save_snapshot: Annotated[
        Path | None,
        typer.Option(
            parser=_file_to_write,
            metavar="FILE",
            help="Save what was tested, for --changed-since of a later run.",
        ),
    ] = None,
    corpus: CorpusOption = None,
    fail_on: Annotated[
        Severity | None,
        typer.Option(help="The lowest severity that makes the run fail. [medium]"),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Report policies that are too strict, too (TF8xx).")
    ] = False,
    no_shrink: Annotated[
        bool, typer.Option("--no-shrink", help="Do not make findings minimal.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="List all that is otherwise counted.")
    ] = False,
) -> None:
    """Look for leaks in the target at PATH.

    Exit status: 0 no finding at or above --fail-on and nothing untested; 1 findings; 2 an
    error; 3 no finding, but something is untested.
    """

    def action() -> int:
        target = _target(path, dsn)

        from tenantfuzz import corpus as corpus_files
        from tenantfuzz.campaign import Options, run_campaign
        from tenantfuzz.console import CampaignConsole
        from tenantfuzz.documents import json_text
        from tenantfuzz.outcome import exit_status, follow
        from tenantfuzz.reports.reporter import Reporter
        from tenantfuzz.result import result_document
        from tenantfuzz.scrubbing import scrub
        from tenantfuzz.snapshot import load_snapshot
        from tenantfuzz.terminal import open_console

        settings = target.configuration.run
        given = time is not None or max_examples is not None
        threshold = fail_on or Severity(settings.fail_on)
        seconds = time if given else settings.time
        examples = max_examples if given else settings.max_examples
        if seconds is None and examples is None:
            seconds = DEFAULT_SECONDS
        asked = {p.value for p in phase} if phase else set(PHASES)
        engine_name, server_dsn = _engine(target, engine, server)
        options = Options(
            seconds=seconds,
            max_examples=examples,
            seed=settings.seed if seed is None else seed,
            phases=tuple(p for p in PHASES if p in asked),
            only=only,
            shrink=not no_shrink,
            corpus=corpus,
            fail_on=threshold,
            strict=strict or settings.strict,
            engine=engine_name,
            server_dsn=server_dsn,
            postgres=postgres,
            changed_since=changed_since,
            structure=save_snapshot is not None,
        )
        if save_snapshot in (report or ()):
            raise ToolError(f"{save_snapshot} is named twice: for a report and a snapshot")
        if changed_since is not None and changed_since.exists():
            load_snapshot(changed_since)  # what is wrong with it is said before any work
        repeat = _command(
            path,
            flags={
                "--dsn": scrub(dsn) if dsn else None,
                "--engine": engine.value if engine else None,
                "--server": scrub(server) if server else None,
                "--postgres": postgres,
                "--time": None if time is None else f"{time:g}s",
                "--max-examples": max_examples,
                "--only": only,
                "--changed-since": changed_since,
                "--corpus": corpus,
                "--fail-on": fail_on.value if fail_on else None,
            },
            phases=phase or (),
            switches={"--strict": strict, "--no-shrink": no_shrink},
        )
        reporter = Reporter(
            report or (),
            target,
            path=path,
            repeat=repeat,
            fail_on=threshold,
            snapshot=save_snapshot,
        )
        with ending_in_good_order(), reporter:
            events = run_campaign(target, options)
            if output is Format.JSON:
                finished = follow(events, reporter.take)
                print(json_text(result_document(finished)), end="")
            else:
                shown = CampaignConsole(
                    open_console(),
                    path=path,
                    open_file=corpus_files.load,
                    repeat=repeat,
                    verbose=verbose,
                )

                def show(event: "Event") -> None:
                    reporter.take(event)
                    shown.show(event)

                with shown:
                    finished = follow(events, show)
            reporter.write(finished)
        return exit_status(finished, threshold)

    exit_with(action)


@app.command()
def replay(
    path: PathArgument = ".",
    ids: Annotated[
        list[str] | None,
        typer.Argument(help="Counterexamples, by id or its beginning. [all]", metavar="ID"),
    ] = None,
    *,
    dsn: DsnOption = None,
    engine: EngineOption = None,
    server: ServerOption = None,
    postgres: PostgresOption = None,
    corpus: CorpusOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Try saved counterexamples again: still leaks, fixed, or cannot replay.

    Exit status: 1 one still leaks; 3 none does, but one cannot be replayed; 0 all are fixed.
    """

    def action() -> int:
        from tenantfuzz import corpus as corpus_files
        from tenantfuzz.console import put_replay
        from tenantfuzz.documents import json_text
        from tenantfuzz.outcome import replay_status
        from tenantfuzz.result import replays_document
        from tenantfuzz.terminal import open_console, put

        place, wanted = path, list(ids or ())
        if place.startswith("TF") and not Path(place).exists():
            place, wanted = ".", [place, *wanted]
        target = _target(place, dsn)
        folder = corpus or target.root / "corpus"
        _check_corpus(corpus)
        chosen = corpus_files.find(folder, wanted)
        console = open_console()
        results = []
        if chosen:
            from tenantfuzz.campaign import replay as replay_campaign

            engine_name, server_dsn = _engine(target, engine, server)
            replayed = replay_campaign(
                target,
                ids=[file.stem for file in chosen] if wanted else [],
                corpus=folder,
                engine=engine_name,
                server_dsn=server_dsn,
                postgres=postgres,
            )
            with ending_in_good_order():
                for result in replayed:
                    results.append(result)
                    if output is Format.TEXT:
                        put_replay(console, result)
        elif output is Format.TEXT:
            put(console, f"nothing to replay: there are no counterexamples in {folder}")
        if output is Format.JSON:
            print(json_text(replays_document(target.name, results)), end="")
        return replay_status(results)

    exit_with(action)


@app.command()
def show(
    identifier: Annotated[
        str, typer.Argument(help="A counterexample, by id or its beginning.", metavar="ID")
    ],
    *,
    path: Annotated[
        str, typer.Option(metavar="PATH", help="A folder with a tenantfuzz.toml, or the file.")
    ] = ".",
    corpus: CorpusOption = None,
    sql: Annotated[
        bool, typer.Option("--sql", help="Print a script that plain psql runs, showing the leak.")
    ] = False,
) -> None:
    """Tell the story of a saved counterexample."""

    def action() -> int:
        from tenantfuzz import corpus as corpus_files
        from tenantfuzz.story import story
        from tenantfuzz.terminal import open_console, put_lines, story_width

        _check_corpus(corpus)
        target = None
        folder = corpus or Path("corpus")
        # A story needs the file alone; ./corpus may be there without a target.
        if sql or not (corpus or (path == "." and folder.is_dir())):
            target = _target(path)
            folder = corpus or target.root / "corpus"
        [file] = corpus_files.find(folder, [identifier])
        counterexample = corpus_files.load(file)
        if sql and target is not None:
            from tenantfuzz.script import psql_script

            print(psql_script(counterexample, target), end="")
            return ExitStatus.CLEAN
        console = open_console()
        finding = replace(counterexample.finding, corpus_file=str(file))
        lines = story(finding, counterexample, width=story_width(console), path=path)
        put_lines(console, lines, finding.severity)
        return ExitStatus.CLEAN

    exit_with(action)


@app.command()
def explain(
    code: Annotated[
        str | None, typer.Argument(help="A code, as TF101; none lists all.", metavar="CODE")
    ] = None,
) -> None:
    """Explain a code: meaning, cause, an example, and how to mend it."""

    def action() -> int:
        from tenantfuzz.code_page import code_list, code_page
        from tenantfuzz.codes import find_code
        from tenantfuzz.terminal import open_console, put_lines, story_width

        console = open_console()
        if code is None:
            put_lines(console, code_list(), Severity.LOW)
            return ExitStatus.CLEAN
        found = find_code(code)
        put_lines(console, code_page(found, width=story_width(console)), found.severity)
        return ExitStatus.CLEAN

    exit_with(action)


@app.command()
def init(
    path: PathArgument = ".",
    *,
    schema: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="SQL files or a folder of migrations, in their order."),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="supabase or postgrest. [as the schema shows]"),
    ] = None,
    dsn: DsnOption = None,
    engine: EngineOption = None,
    server: ServerOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write over a file; what it declares stays.")
    ] = False,
) -> None:
    """Write a tenantfuzz.toml: what the schema shows, why, and what only you can say.

    Exit status: 0 the file can be used as it stands; 3 it asks for an answer first.
    """

    def action() -> int:
        from tenantfuzz.initializing import Request, init_lines, initialize
        from tenantfuzz.terminal import open_console, put

        request = Request(
            schema=tuple(schema or ()),
            preset=preset,
            dsn=dsn,
            engine=(engine or (EngineName.SERVER if server else None)),
            server_dsn=_server_dsn(server),
            force=force,
        )
        done = initialize(Path(path), request)
        console = open_console()
        for line in init_lines(done):
            put(console, line)
        return ExitStatus.UNTESTED if done.asks else ExitStatus.CLEAN

    exit_with(action)


@app.command()
def doctor(
    path: PathArgument = ".",
    *,
    dsn: DsnOption = None,
    engine: EngineOption = None,
    server: ServerOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Look a target over: server, roles, identity, relations, how fast it is.

    Exit status: 0 all is well; 2 an error; 3 warnings.
    """

    def action() -> int:
        target = _target(path, dsn)

        from tenantfuzz.diagnosis import diagnosis_document, diagnosis_lines
        from tenantfuzz.doctor import diagnose
        from tenantfuzz.documents import json_text
        from tenantfuzz.terminal import open_console, put, story_width

        engine_name, server_dsn = _engine(target, engine, server)
        diagnosis = diagnose(target, engine=engine_name, server_dsn=server_dsn)
        if output is Format.JSON:
            print(json_text(diagnosis_document(diagnosis)), end="")
        else:
            console = open_console()
            for line in diagnosis_lines(diagnosis, width=story_width(console)):
                put(console, line)
        return diagnosis.status

    exit_with(action)


def _server_dsn(server: str | None) -> str | None:
    from tenantfuzz.target import resolve_reference

    return resolve_reference(server, "--server") if server is not None else None


def main() -> None:
    """The entry point."""
    for stream in (sys.stdout, sys.stderr):
        # Values of any database are shown, also where the terminal knows fewer characters.
        with suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a TextIOWrapper, unless replaced
    # Hypothesis keeps files of its own; a working directory is no place for them.
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", f"{cache}/tenantfuzz/hypothesis")
    app(prog_name="tenantfuzz")


def _target(path: str, dsn: str | None = None) -> "Target":
    from tenantfuzz.target import find_target

    return find_target(Path(path), dsn=dsn)


def _command(
    path: str,
    *,
    flags: Mapping[str, object],
    phases: Sequence[Phase],
    switches: Mapping[str, bool],
) -> str:
    """The command line of a run, with what was given that changes what it finds."""
    words = ["tenantfuzz", "run", path]
    for name, value in flags.items():
        words += [] if value is None else [name, str(value)]
    for phase in phases:
        words += ["--phase", phase.value]
    words += [name for name, on in switches.items() if on]
    return shlex.join(words)


def _engine(
    target: "Target", engine: EngineName | None, server: str | None
) -> tuple[str | None, str | None]:
    """The engine where the command line names one, and the connection string of the server."""
    from tenantfuzz.target import resolve_reference

    section = target.configuration.target
    if server is not None and engine is None:
        engine = EngineName.SERVER
    in_force = engine.value if engine is not None else section.engine.value
    if in_force != EngineName.SERVER:
        if server is not None:
            raise ToolError("--server goes with --engine server only")
        return (engine.value if engine else None), None
    name, where = (server, "--server") if server is not None else (section.server, "target.server")
    dsn = None if name is None else resolve_reference(name, where)
    return (engine.value if engine else None), dsn


def _check_corpus(corpus: Path | None) -> None:
    if corpus is not None and not corpus.is_dir():
        raise ToolError(f"there is no folder {corpus}", hint="--corpus names a folder")
