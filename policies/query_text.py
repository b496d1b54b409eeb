"""The text of an application query: SQL with parameters, and the forms that others need of it."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tenantfuzz.policies.quoting import literal

# What may hold a colon, a dollar or a percent sign and is no parameter is passed over: strings,
# quoted names, dollar quotes, comments, casts (manual, section 4.1).
_TOKEN = re.compile(
    r"""(?P<skip>\b[eE]'(?:[^'\\]|''|\\.)*' | '(?:[^']|'')*' | "(?:[^"]|"")*"
      | \$(?P<tag>[A-Za-z_]\w*|)\$.*?\$(?P=tag)\$ | :: | := | --[^\n]*)
      | (?P<comment>/\*)
      | (?<![:\w\]])(?::(?P<colon>[A-Za-z_]\w*))
      | (?<![\w$])\$(?P<dollar>[1-9]\d*)
      | %\((?P<percent>\w+)\)s
      | (?P<escaped>%%)""",
    re.DOTALL | re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in the text where the parameter ``name`` stands."""

    name: str


@dataclass(frozen=True, slots=True)
class QueryText:
    """SQL cut at its parameters. ``names`` are the parameters, each once, in order of appearance.

    ``:name``, ``$1`` and ``%(name)s`` are parameters; a name of digits comes from ``$1``.
    """

    pieces: tuple[str | Slot, ...]
    names: tuple[str, ...]

    def bound(
        self, values: Mapping[str, str | None], casts: Mapping[str, str] | None = None
    ) -> str:
        """The text with literals for parameters: untyped ones, as drivers send them, or with the
        type that ``casts`` gives. Raises KeyError for a parameter without a value."""
        types = casts or {}

        def shown(name: str) -> str:
            value = literal(values[name])
            return f"{value}::{types[name]}" if name in types else value

        return self._with(shown)

    def numbered(self) -> str:
        """The text as PREPARE takes it: the n-th of ``names`` is ``$n``."""
        return self._with(lambda name: f"${self.names.index(name) + 1}")

    def indexed(self) -> str:
        """The text for a parser that knows ``:name``: the n-th of ``names``, from 0, is ``:qn``."""
        return self._with(lambda name: f":q{self.names.index(name)}")

    def readable(self) -> str:
        """The text with ``:name`` for parameters (``$1`` for those of digits)."""
        return self._with(lambda name: f"${name}" if name.isdigit() else f":{name}")

    def _with(self, shown: Callable[[str], str]) -> str:
        return "".join(p if isinstance(p, str) else shown(p.name) for p in self.pieces)


def cut_text(sql: str) -> QueryText:
    """``sql`` cut at its parameters; a semicolon at the end is dropped."""
    text = sql.strip().rstrip(";").rstrip()
    pieces: list[str | Slot] = []
    names: dict[str, None] = {}
    plain = ""
    position = 0
    percents = any(m.group("percent") for m in _matches(text))
    for match in _matches(text):
        plain += text[position : match.start()]
        position = match.end()
        name = match.group("colon") or match.group("dollar") or match.group("percent")
        if name is None:
            kept = match.group(0)
            # As psycopg takes it where there are parameters.
            plain += kept.replace("%%", "%") if percents else kept
        else:
            pieces += [plain, Slot(name)] if plain else [Slot(name)]
            plain = ""
            names.setdefault(name)
    plain += text[position:]
    return QueryText((*pieces, plain) if plain else tuple(pieces), tuple(names))


def restored(sql: str, names: Sequence[str]) -> QueryText:
    """The text that a generator made of ``indexed()``, with the parameters' own names again."""
    text = cut_text(sql)
    pieces = tuple(p if isinstance(p, str) else Slot(_own(p.name, names)) for p in text.pieces)
    return QueryText(pieces, tuple(dict.fromkeys(p.name for p in pieces if isinstance(p, Slot))))


def _own(name: str, names: Sequence[str]) -> str:
    number = name.removeprefix("q")
    return names[int(number)] if number.isdigit() and int(number) < len(names) else name


def _matches(text: str) -> list["re.Match[str]"]:
    """Tokens in order; block comments nest (manual, section 4.1.5), so they are counted by hand."""
    found: list[re.Match[str]] = []
    position = 0
    while (match := _TOKEN.search(text, position)) is not None:
        position = match.end()
        if match.group("comment"):
            position = _end_of_comment(text, position)
            continue
        found.append(match)
    return found


def _end_of_comment(text: str, start: int) -> int:
    depth, position = 1, start
    while depth:
        opening, closing = text.find("/*", position), text.find("*/", position)
        if closing < 0:
            return len(text)
        if 0 <= opening < closing:
            depth, position = depth + 1, opening + 2
        else:
            depth, position = depth - 1, closing + 2
    return position
