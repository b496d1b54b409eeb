"""Writes a ``tenantfuzz.toml`` for a project: what its schema shows, why, and what to answer."""

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tenantfuzz import __version__
from tenantfuzz.assumptions import infer_target
from tenantfuzz.conventions import Found, target_section
from tenantfuzz.documents import write_text
from tenantfuzz.errors import ToolError
from tenantfuzz.policies.configuration import ConfigurationError, parse_configuration
from tenantfuzz.policies.inferring.drafting import draft
from tenantfuzz.policies.inferring.guesses import Confidence, Guess, Inference, Question
from tenantfuzz.policies.model import Model, OwnershipKind
from tenantfuzz.policies.resolution import PresetFacts, resolve_model
from tenantfuzz.policies.structure import Catalog, RelationName
from tenantfuzz.preparation import survey
from tenantfuzz.scrubbing import scrub
from tenantfuzz.target import FILE_NAME, PYPROJECT, Target, has_file

_VARIABLE = "DATABASE_URL"
_LIKELY = "Lines that begin with 'likely' deserve a look; lines with ASK want an answer."


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line says: where the schema is, and whether a file may be replaced."""

    schema: tuple[str, ...] = ()
    preset: str | None = None
    dsn: str | None = None
    engine: str | None = None
    server_dsn: str | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class Initialized:
    """The file that was written, its text, what it says, and what is still to be answered before
    it can be used (``missing``: the problems that resolution has with it)."""

    file: Path
    text: str
    inference: Inference
    missing: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def asks(self) -> bool:
        """Whether something is to be answered before anything can be judged."""
        return bool(self.missing) or any(q.essential for q in self.inference.questions)

    @property
    def sure(self) -> int:
        """How many guesses are sure."""
        return sum(g.confidence is Confidence.SURE for g in self.inference.guesses)

    @property
    def likely(self) -> int:
        """How many are only likely."""
        return len(self.inference.guesses) - self.sure


def initialize(path: Path, request: Request) -> Initialized:
    """Writes the file for the project at ``path``, a folder.

    A file that is there stays as it is, unless ``request.force``: then what it declares is kept and
    the rest is added. Raises ToolError where there is no schema, or it cannot be loaded.
    """
    file = _file_of(path)
    before = _declared(file, force=request.force)
    target, found = _target(file, before, request)
    surveyed = survey(target, engine=request.engine, server_dsn=request.server_dsn)
    data = dict(target.data)
    section = data.get("target")
    if surveyed.preset is not None and isinstance(section, Mapping) and "preset" not in section:
        data["target"] = {**section, "preset": surveyed.preset.name}
        found.reasons["preset"] = "the database has its schemas and roles"
    target = Target(target.name, target.root, None, target.configuration, data)
    inference = infer_target(target, surveyed.catalog, surveyed.facts, surveyed.platform)
    shown = Inference(
        (*_of_target(found), *inference.guesses),
        inference.questions,
        inference.doubts,
        inference.remarks,
    )
    heading = [f"Written by tenantfuzz {__version__} init, from the schema alone.", _LIKELY]
    data, note = _without_password(data)
    text = draft(data, shown, heading=[*heading, *note])
    model, missing = _resolved(text, file, surveyed.catalog, surveyed.facts)
    if model is not None and (left_open := _left_open(inference, model, surveyed.catalog)):
        shown = replace(shown, guesses=(*left_open, *shown.guesses))
        text = draft(data, shown, heading=[*heading, *note])
    write_text(text, file)
    return Initialized(file, text, inference, missing, surveyed.warnings)


def _without_password(data: dict[str, object]) -> tuple[dict[str, object], list[str]]:
    """``data`` as it may be written to a file that people commit, and a line on what is not."""
    section = data.get("target")
    dsn = section.get("dsn") if isinstance(section, dict) else None
    if not isinstance(section, dict) or not isinstance(dsn, str) or scrub(dsn) == dsn:
        return data, []
    note = f"The connection string has a password: it belongs into {_VARIABLE}, not into a file."
    return {**data, "target": {**section, "dsn": f"env:{_VARIABLE}"}}, [note]


def _file_of(path: Path) -> Path:
    if path.suffix == ".toml":
        return path
    if not path.is_dir():
        raise ToolError(f"{path} is no folder", hint="give the folder of the project")
    return path / FILE_NAME


def _declared(file: Path, *, force: bool) -> dict[str, object]:
    if not file.exists():
        if not force and has_file(file.parent):
            raise ToolError(
                f"{file.parent / PYPROJECT} has [tool.tenantfuzz] already",
                hint=f"--force writes a {file.name}, which goes before it",
            )
        return {}
    if not force:
        raise ToolError(
            f"{file} is there already",
            hint="--force writes it anew: what it declares stays, comments do not",
        )
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ToolError(f"{file} cannot be read: {error}", hint="mend it, or remove it") from error


def _target(file: Path, before: dict[str, object], request: Request) -> tuple[Target, Found]:
    """The target as far as it is declared, and what its folder shows of it."""
    root = file.parent
    section = before.get("target")
    declared = dict(section) if isinstance(section, dict) else {}
    found = Found({}, {})
    dsn = request.dsn or (None if "schema" in declared else os.environ.get("TENANTFUZZ_DSN"))
    if dsn is not None:
        declared = {k: v for k, v in declared.items() if k != "schema"} | {"dsn": dsn}
    elif request.schema or ("schema" not in declared and "dsn" not in declared):
        found = target_section(root, request.schema, request.preset)
        declared = found.section | {k: v for k, v in declared.items() if k != "schema"}
    if request.preset is not None:
        declared["preset"] = request.preset
    data = {**before, "target": declared}
    try:
        configuration = parse_configuration(data, source=str(file))
    except ConfigurationError as error:
        raise ToolError(str(error), hint=error.hint) from error
    name = configuration.target.name or root.resolve().name
    return Target(name, root.resolve(), None, configuration, data), found


def _of_target(found: Found) -> list[Guess]:
    return [
        Guess(("target", key), found.section.get(key), reason)
        for key, reason in found.reasons.items()
    ]


def _resolved(
    text: str, file: Path, catalog: Catalog, facts: PresetFacts | None
) -> tuple[Model | None, tuple[str, ...]]:
    """The model that the file makes, or what keeps it from being used as it stands. That it is no
    configuration at all would be a fault of the tool, and is said so by the caller's traceback."""
    configuration = parse_configuration(tomllib.loads(text), source=str(file))
    try:
        return resolve_model(configuration, catalog, facts), ()
    except ConfigurationError as error:
        return None, tuple(error.problems)


def _left_open(inference: Inference, model: Model, catalog: Catalog) -> list[Guess]:
    """Lines that keep relations from being judged as long as nobody answered what is asked of
    them: the model would take their tenant column, or a way, for granted."""
    asked: dict[RelationName, Question] = {}
    for question in inference.questions:
        if question.path[:2] in (("tenancy", "tables"), ("access", "*")):
            name = catalog.find(question.path[2])
            if name is not None and name in inference.doubts:
                asked[name] = question
    opened = []
    for name, question in asked.items():
        if model.owner_of(name).kind is OwnershipKind.UNCLASSIFIED:
            continue
        reason = "not judged until the ASK below is answered: then this line goes"
        if question.path[0] == "access":
            reason = (
                f"ASK: {question.text} If so, the lines for it under [access] go in; in any case "
                "this one goes: until then it is not judged"
            )
        path = ("tenancy", "tables", question.path[2])
        opened.append(Guess(path, OwnershipKind.UNCLASSIFIED.value, reason))
    return opened


def init_lines(done: Initialized) -> Sequence[str]:
    """What to say of it: how much is known, what is asked, what to do next."""
    questions = done.inference.questions
    essential = [q for q in questions if q.essential]
    lines = [
        f"wrote {done.file}: {done.sure} sure, {done.likely} likely, {len(questions)} to answer",
    ]
    lines += [f"note: {remark}" for remark in done.inference.remarks]
    lines += [f"warning: {scrub(warning)}" for warning in done.warnings]
    lines += [f"ASK {q.text}" for q in essential]
    lines += [f"not usable yet: {problem}" for problem in done.missing if not essential]
    place = done.file.parent if done.file.name == FILE_NAME else done.file
    if done.asks:
        again = f"tenantfuzz init --force {place}"
        lines.append(f"next: answer the lines marked ASK in {done.file};")
        lines.append(f"      {again} fills in what follows from the answers")
    else:
        lines.append(f"next: tenantfuzz run {place}")
    return lines
