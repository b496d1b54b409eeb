"""Finds the line of the sources that made a relation or a policy, for reports that point at it."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tenantfuzz.errors import ToolError
from tenantfuzz.findings import Finding
from tenantfuzz.loading.sources import find_sources, read_source
from tenantfuzz.loading.statements import split_statements
from tenantfuzz.loading.words import NAME, unquote
from tenantfuzz.reports.account import Place
from tenantfuzz.target import FILE_NAME, Target

_QUALIFIED = rf"{NAME}(?:\s*\.\s*{NAME})?"
_FLAGS = re.IGNORECASE | re.DOTALL
_POLICY = re.compile(
    rf"^(?:CREATE|ALTER)\s+POLICY\s+(?P<policy>{NAME})\s+ON\s+(?P<name>{_QUALIFIED})", _FLAGS
)
_OBJECT = re.compile(
    r"^CREATE\s+(?:OR\s+REPLACE\s+)?(?:(?:GLOBAL|LOCAL|UNLOGGED|FOREIGN|RECURSIVE|MATERIALIZED)\s+)*"
    r"(?:TABLE|VIEW|FUNCTION|PROCEDURE)\s+(?:IF\s+NOT\s+EXISTS\s+)?"
    rf"(?P<name>{_QUALIFIED})",
    _FLAGS,
)


@dataclass(frozen=True, slots=True)
class _Made:
    """Where something was made; of several statements about it the last one is in force."""

    order: int
    place: Place


@dataclass(frozen=True, slots=True)
class Sources:
    """Where things are made: by relation as the source names it, and by policy and relation."""

    fallback: Place
    relations: Mapping[str, _Made]
    policies: Mapping[tuple[str, str], _Made]

    def place_of(self, finding: Finding) -> Place:
        """The policy among the culprits, else the relation or function, else the configuration."""
        names = _names(finding.relation)
        for culprit in finding.culprits:
            made = [self.policies[culprit, n] for n in names if (culprit, n) in self.policies]
            if made:
                return max(made, key=lambda m: m.order).place
        made = [self.relations[n] for n in names if n in self.relations]
        return max(made, key=lambda m: m.order).place if made else self.fallback


def locate(target: Target) -> Sources:
    """Reads the target's SQL files. What cannot be read, or is not there, is simply not found."""
    base = repository(target.root)
    file = target.file if target.file is not None else target.root / FILE_NAME
    fallback = Place(relative(file, base))
    try:
        sources = find_sources(target.configuration.target.sources, target.root)
        texts = [(source, read_source(source)) for source in sources]
    except ToolError:
        texts = []
    relations: dict[str, _Made] = {}
    policies: dict[tuple[str, str], _Made] = {}
    numbers = itertools.count()
    for source, text in texts:
        _read(text, relative(source.path, base), numbers, relations, policies)
    return Sources(fallback, relations, policies)


def repository(root: Path) -> Path:
    """The folder of the repository that ``root`` is in: the nearest with a ``.git``, else the
    working directory where ``root`` is inside it, else ``root`` itself."""
    folder = root.resolve()
    for parent in (folder, *folder.parents):
        if (parent / ".git").exists():
            return parent
    here = Path.cwd()
    return here if folder.is_relative_to(here) else folder


def relative(file: Path, base: Path) -> str:
    """``file`` as seen from ``base``, with forward slashes; its name alone where it is outside."""
    path = file.resolve()
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else path.name


def _read(
    text: str,
    file: str,
    numbers: Iterator[int],
    relations: dict[str, _Made],
    policies: dict[tuple[str, str], _Made],
) -> None:
    for statement in split_statements(text):
        made = _Made(next(numbers), Place(file, statement.line))
        if match := _POLICY.match(statement.text):
            policies[unquote(match["policy"]), _written(match["name"])] = made
        elif match := _OBJECT.match(statement.text):
            relations[_written(match["name"])] = made


def _written(text: str) -> str:
    return ".".join(unquote(part) for part in re.findall(NAME, text))


def _names(relation: str) -> Sequence[str]:
    """As a statement may write it: where it does so without a schema, the search path decides."""
    bare = relation.partition(".")[2]
    return (relation, bare) if bare else (relation,)
