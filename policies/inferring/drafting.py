"""Drafting: guesses and questions as a ``tenantfuzz.toml`` that says why."""

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from tenantfuzz.policies.inferring.guesses import Confidence, Guess, Inference, Path, Question, put

_WIDTH = 100
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SECTIONS = ("target", "tenancy", "identity", "principals", "access", "values", "run", "audit")
_KEYS = {
    "target": ("name", "schema", "dsn", "preset", "engine", "server", "extensions", "queries"),
    "tenancy": ("tenants", "column", "scope", "references", "tables"),
    "identity": (
        "users", "memberships", "context", "login", "role", "anonymous", "service_role",
        "settings", "statements",
    ),
}  # fmt: skip
_NESTED = frozenset({("tenancy", "tables"), ("identity", "settings")})


def merged(given: Mapping[str, object], guesses: Sequence[Guess]) -> dict[str, object]:
    """``given`` with the guesses where it says nothing."""
    data = _copied(given)
    for guess in guesses:
        put(data, guess.path, guess.value)
    return data


def draft(given: Mapping[str, object], inference: Inference, *, heading: Sequence[str] = ()) -> str:
    """The text of a configuration: what was given, what is guessed with its reason, and what only
    a person can say as lines that are commented out and marked ``ASK``."""
    return _Draft(given, inference).text(heading)


def toml_value(value: object) -> str:
    """A value on one line, as TOML writes it."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case Mapping():
            inner = ", ".join(f"{toml_key(k)} = {toml_value(v)}" for k, v in value.items())
            return f"{{ {inner} }}" if inner else "{}"
        case list() | tuple():
            return "[" + ", ".join(toml_value(v) for v in value) + "]"
        case _:
            return _string(str(value))


def toml_key(key: str) -> str:
    """A key, quoted where it must be."""
    return key if _BARE.fullmatch(key) else _string(key)


def _string(text: str) -> str:
    literal = '"' in text and "'" not in text and text.isprintable()
    if literal:
        return f"'{text}'"
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    quoted = "".join(escapes.get(c, c if c.isprintable() else f"\\U{ord(c):08x}") for c in text)
    return f'"{quoted}"'


class _Draft:
    def __init__(self, given: Mapping[str, object], inference: Inference) -> None:
        self._data = merged(given, inference.guesses)
        self._reasons = {g.path: g for g in inference.guesses}
        self._questions: dict[Path, list[Question]] = {}
        for question in inference.questions:
            self._questions.setdefault(_home(question.path), []).append(question)
        self._remarks = inference.remarks

    def text(self, heading: Sequence[str]) -> str:
        lines: list[str] = []
        for line in (*heading, *self._remarks):
            lines += _comment(line)
        for section in self._sections():
            body = list(self._section(section))
            if body:
                lines += [*([""] if lines else []), *body]
        return "\n".join(lines) + "\n"

    def _sections(self) -> list[str]:
        asked = [path[0] for path in self._questions]
        known = [s for s in _SECTIONS if s in self._data or s in asked]
        return [*known, *(s for s in self._data if s not in _SECTIONS)]

    def _section(self, name: str) -> Iterator[str]:
        value = self._data.get(name, {})
        if isinstance(value, list | tuple):
            for entry in value:
                yield f"[[{toml_key(name)}]]"
                if isinstance(entry, Mapping):
                    yield from (f"{toml_key(k)} = {toml_value(v)}" for k, v in entry.items())
            return
        if not isinstance(value, Mapping):
            yield f"{toml_key(name)} = {toml_value(value)}"
            return
        if name in ("principals", "access") and (value or self._questions.get((name,))):
            yield from self._tables_of(name, value)
            return
        yield f"[{toml_key(name)}]"
        order = _KEYS.get(name, ())
        keys = [*(k for k in order if k in value), *(k for k in value if k not in order)]
        nested = [k for k in keys if (name, k) in _NESTED]
        for key in keys:
            if key not in nested:
                yield from self._entry((name, key), value[key])
        yield from self._asked((name,))
        for key in order:
            path = (name, key)
            if path not in _NESTED:
                continue
            inner = value.get(key, {})
            if isinstance(inner, Mapping) and (inner or path in self._questions):
                yield ""
                yield f"[{toml_key(name)}.{toml_key(key)}]"
                for entry, item in inner.items():
                    yield from self._entry((*path, entry), item)
                yield from self._asked(path)

    def _tables_of(self, name: str, value: Mapping[str, object]) -> Iterator[str]:
        first = True
        for key, table in value.items():
            if not first:
                yield ""
            first = False
            yield from self._why((name, key))
            yield f"[{toml_key(name)}.{toml_key(key)}]"
            if isinstance(table, Mapping):
                yield from (f"{toml_key(k)} = {toml_value(v)}" for k, v in table.items())
        yield from self._asked((name,))

    def _entry(self, path: Path, value: object) -> Iterator[str]:
        yield from self._why(path)
        key = toml_key(path[-1])
        line = f"{key} = {toml_value(value)}"
        if isinstance(value, list | tuple) and len(line) > _WIDTH:
            yield f"{key} = ["
            yield from (f"  {toml_value(item)}," for item in value)
            yield "]"
        else:
            yield line

    def _why(self, path: Path) -> Iterator[str]:
        guess = self._reasons.get(path)
        if guess is not None:
            word = "" if guess.confidence is Confidence.SURE else f"{guess.confidence.value}: "
            yield from _comment(word + guess.reason)

    def _asked(self, home: Path) -> Iterator[str]:
        for question in self._questions.get(home, ()):
            yield from _comment("ASK: " + question.text)
            key = question.path[len(home) :]
            shown = question.candidates or ("…",)
            for candidate in shown:
                if home == ("access",) and isinstance(candidate, Mapping):
                    yield f"# [access.{'.'.join(toml_key(part) for part in key)}]"
                    yield from (f"# {toml_key(k)} = {toml_value(v)}" for k, v in candidate.items())
                elif home == ("principals",) and isinstance(candidate, Mapping):
                    for kind, value in candidate.items():
                        yield f"# [principals.{toml_key(kind)}]"
                        yield from (f"# {toml_key(k)} = {toml_value(v)}" for k, v in value.items())
                elif not key and isinstance(candidate, Mapping):
                    yield from (f"# {toml_key(k)} = {toml_value(v)}" for k, v in candidate.items())
                else:
                    dotted = ".".join(toml_key(part) for part in key)
                    yield f"# {dotted} = {toml_value(candidate)}"


def _home(path: Path) -> Path:
    """The table in which a question is asked."""
    if path[:2] in _NESTED:
        return path[:2]
    return path[:1]


def _comment(text: str) -> list[str]:
    clean = " ".join(text.split())
    return textwrap.wrap(
        clean,
        _WIDTH,
        initial_indent="# ",
        subsequent_indent="#   ",
        break_on_hyphens=False,
        break_long_words=False,
    )


def _copied(table: Mapping[str, object]) -> dict[str, object]:
    return {k: _copied(v) if isinstance(v, Mapping) else v for k, v in table.items()}
