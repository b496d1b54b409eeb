"""Runs a source with psql, for the meta-commands that only psql understands."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tenantfuzz.errors import ToolError
from tenantfuzz.loading.errors import Failure
from tenantfuzz.loading.statements import Statement, split_statements

_TIMEOUT_SECONDS = 600
_ERROR = re.compile(
    r"^psql:(?P<file>.*?):(?P<line>\d+): (?P<severity>ERROR|FATAL|error): +"
    r"(?:(?P<state>[0-9A-Z]{5}): )?(?P<message>.*)$",
    re.MULTILINE,
)
_INSIDE = re.compile(r"^LINE (\d+): ", re.MULTILINE)
_DETAIL = re.compile(r"^DETAIL: +(.*)$", re.MULTILINE)
_HINT = re.compile(r"^HINT: +(.*)$", re.MULTILINE)
_STDIN = "<stdin>"


@dataclass(frozen=True, slots=True)
class PsqlFailure:
    """The first error of a psql run; ``file`` is None for the source itself."""

    file: str | None
    text: str
    first_line: int
    failure: Failure


def run_psql(conninfo: str, path: Path, text: str) -> PsqlFailure | None:
    """Run ``text``, which stands for the file at ``path``, and return the error, if any.

    psql runs in the folder of ``path`` with the text on its standard input, so that relative
    includes are found. The password of ``conninfo`` goes through the environment, where other
    users of the machine cannot read it. Raises ToolError where psql itself fails.
    """
    parameters = {k: str(v) for k, v in conninfo_to_dict(conninfo).items() if v is not None}
    environment = {**os.environ, "PGCLIENTENCODING": "UTF8", "LC_MESSAGES": "C"}
    password = parameters.pop("password", None)
    if password is not None:
        environment["PGPASSWORD"] = password
    command = ["psql", "-X", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose"]
    try:
        done = subprocess.run(
            [*command, "-d", make_conninfo("", **parameters), "-f", "-"],
            input=text.encode(),
            capture_output=True,
            cwd=path.parent,
            env=environment,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(
            f"psql could not run {path}: {error}",
            hint="Run the file by hand with psql to see where it stops.",
        ) from error
    if done.returncode == 0:
        return None
    return _read_failure(path, text, done.stderr.decode(errors="replace"))


def _read_failure(path: Path, text: str, output: str) -> PsqlFailure:
    found = _ERROR.search(output)
    if found is None:
        raise ToolError(
            f"psql failed on {path}: {output.strip() or 'without a message'}",
            hint="Run the file by hand with psql to see where it stops.",
        )
    own = found["file"] == _STDIN
    if not own:
        included = path.parent / found["file"]
        text = included.read_text(encoding="utf-8") if included.is_file() else ""
    at = int(found["line"])
    statement = _statement_ending_at(text, at)
    rest = output[found.end() :]
    inside = _INSIDE.search(rest)
    first_line = statement.line if statement else at
    line = first_line + int(inside.group(1)) - 1 if inside else first_line
    detail, hint = _DETAIL.search(rest), _HINT.search(rest)
    failure = Failure(
        message=found["message"],
        line=line,
        sqlstate=found["state"],
        detail=detail.group(1) if detail else None,
        hint=hint.group(1) if hint else None,
    )
    body = statement.text if statement else ""
    return PsqlFailure(None if own else found["file"], body, first_line, failure)


def _statement_ending_at(text: str, line: int) -> Statement | None:
    """psql names the line on which a statement ends; the statement starts on it or before."""
    before = [s for s in split_statements(text) if s.line <= line]
    return before[-1] if before else None
