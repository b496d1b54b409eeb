"""Parameters of an adapter's calls: what it says of them, how they are drawn, and as JSON again.

A parameter is a type (``text``, ``int``, ``number``, ``bool``, ``uuid``, ``date``, ``timestamp``),
a column (``issues.id``), ``tenant``, ``tenants`` or ``user`` for the caller's own, a list of the
only values, an object of parameters, or a list of one such object, or ``issues.id[]``: a list of
two, so that one may be the caller's and the other a stranger's.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tenantfuzz.adapters.protocol import FaultError, Spec
from tenantfuzz.policies.query_parts import Compared
from tenantfuzz.policies.structure import Catalog, Column, DataType, Relation, TypeCategory
from tenantfuzz.policies.suggestions import did_you_mean
from tenantfuzz.strategies.arguments import Arguments, Parameter
from tenantfuzz.strategies.values import TEXT_BASES

_TYPES = {
    "text": DataType("text", "text"),
    "string": DataType("text", "text"),
    "int": DataType("integer", "int4"),
    "integer": DataType("integer", "int4"),
    "number": DataType("numeric", "numeric"),
    "bool": DataType("boolean", "bool"),
    "boolean": DataType("boolean", "bool"),
    "uuid": DataType("uuid", "uuid"),
    "date": DataType("date", "date"),
    "timestamp": DataType("timestamp with time zone", "timestamptz"),
}
_ROLES = ("tenant", "tenants", "user")
_WHOLE = frozenset({"int2", "int4", "int8"})
_NUMBERS = _WHOLE | {"numeric", "float4", "float8"}
_SEVERAL = 2  # items of a list
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_ITEM = re.compile(r'[^,"{}]+')  # of an array that holds plain values
_MISSING = object()

Step = str | int
Path = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Leaf:
    """One value within the arguments of a call: where it goes and how it is drawn. ``values`` are
    the only ones, as JSON has them."""

    path: Path
    parameter: Parameter
    values: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Signature:
    """The parameters of one call."""

    leaves: tuple[Leaf, ...]

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """What is drawn."""
        return tuple(leaf.parameter for leaf in self.leaves)

    def document(self, values: Arguments) -> dict[str, object]:
        """The arguments as the call gets them: one object, with objects and lists in it."""
        whole: dict[str, object] = {}
        for leaf in self.leaves:
            _put(whole, leaf.path, _value(leaf, values.get(leaf.parameter.name)))
        return whole


def signature_of(
    call: str,
    params: Mapping[str, Spec],
    declared: Mapping[str, str | Sequence[object]],
    catalog: Catalog,
) -> Signature:
    """The signature of ``call``; ``declared`` is what the target's file says of its parameters, by
    name. Raises FaultError for what is no type, column or list of values."""
    leaves: list[Leaf] = []
    for name, spec in params.items():
        given = declared.get(f"{call}.{name}", declared.get(name))
        leaves += _leaves(call, (name,), spec if given is None else given, catalog)
    return Signature(tuple(leaves))


def _leaves(call: str, path: Path, spec: Spec, catalog: Catalog) -> Iterator[Leaf]:
    name = _shown(path)
    if isinstance(spec, dict):
        for key, inner in spec.items():
            yield from _leaves(call, (*path, str(key)), inner, catalog)
    elif isinstance(spec, (list, tuple)) and len(spec) == 1 and isinstance(spec[0], dict):
        for index in range(_SEVERAL):
            yield from _leaves(call, (*path, index), spec[0], catalog)
    elif isinstance(spec, (list, tuple)):
        if not spec or not all(v is None or isinstance(v, (str, int, float, bool)) for v in spec):
            raise FaultError(f"{call}: {name}: expected a list of values, not {json.dumps(spec)}")
        texts = {_text(v): v for v in spec}
        values = tuple(None if v is None else _text(v) for v in spec)
        yield Leaf(path, Parameter(name, None, _TYPES["text"], (), values), texts)
    elif isinstance(spec, str) and spec.endswith("[]"):
        for index in range(_SEVERAL):
            yield from _leaves(call, (*path, index), spec[:-2], catalog)
    elif isinstance(spec, str):
        yield Leaf(path, _parameter(call, name, spec.strip(), path, catalog))
    else:
        raise FaultError(f"{call}: {name}: expected a type, not {json.dumps(spec)}")


def _parameter(call: str, name: str, word: str, path: Path, catalog: Catalog) -> Parameter:
    if word in _ROLES:
        return Parameter(name, word, _TYPES["text"])
    if word.lower() in _TYPES:
        type_ = _TYPES[word.lower()]
        return Parameter(name, None, type_, tuple(_meetings(call, path, type_, catalog)))
    relation, column = column_named(word, catalog)
    if relation is None or column is None:
        known = [f"{r.name}.{c.name}" for r in catalog.relations for c in _columns(catalog, r)]
        near = did_you_mean(word, [*_TYPES, *known], quote="'")
        raise FaultError(f"{call}: {name}: {word!r} is neither a type nor a column{near}")
    return Parameter(name, None, column.type, (Compared(relation.name, column.name, "equal"),))


def _columns(catalog: Catalog, name: object) -> Sequence[Column]:
    return next((r.columns for n, r in catalog.relations.items() if n == name), ())


def column_named(word: str, catalog: Catalog) -> tuple[Relation | None, Column | None]:
    """The column that ``table.column`` or ``schema.table.column`` names, with its relation."""
    parts = word.split(".")
    if len(parts) not in (2, 3):
        return None, None
    wanted = [
        r
        for n, r in catalog.relations.items()
        if n.name == parts[-2] and (len(parts) == 2 or n.schema == parts[0])
    ]
    wanted.sort(key=lambda r: r.name.schema != "public")
    for relation in wanted:
        column = relation.column(parts[-1])
        if column is not None:
            return relation, column
    return None, None


# What a parameter points at, where only its type was said


def _meetings(call: str, path: Path, type_: DataType, catalog: Catalog) -> Iterator[Compared]:
    """Columns by the parameter's name (``issueId``: the key of issues), or, for a text, one that a
    search in the relation after which the call is called would look into."""
    name = next((s for s in reversed(path) if isinstance(s, str)), "")
    words = _words(name)
    if words and words[-1] in ("id", "ids", "key", "uuid"):
        # ``id`` alone is of what the call is called after: ``issueGet``.
        for relation in _called(words[:-1] or _words(call), catalog):
            if relation.primary_key is not None:
                yield Compared(relation.name, _own_key(relation), "equal")
                return
    snake = "_".join(words)
    about = list(_called(_words(call), catalog))
    for relation in (*about, *catalog.relations.values()):
        column = relation.column(snake) or relation.column(name)
        if column is not None and _alike(column.type, type_):
            yield Compared(relation.name, column.name, "equal")
            return
    if type_.base == "text":
        for relation in about:
            title = _title(relation)
            if title is not None:
                yield Compared(relation.name, title, "like")
                return


def _own_key(relation: Relation) -> str:
    """The column of the key that no foreign key has: what tells the rows of one owner apart."""
    columns = relation.primary_key.columns if relation.primary_key is not None else ()
    bound = {c for fk in relation.foreign_keys for c in fk.columns}
    return next((c for c in columns if c not in bound), columns[-1])


def _called(words: Sequence[str], catalog: Catalog) -> Iterator[Relation]:
    """The relations that these words name, the longest names first."""
    found = []
    for relation in catalog.relations.values():
        own = _singular("_".join(_words(relation.name.name)))
        spans = {
            _singular("_".join(words[i:j]))
            for i in range(len(words))
            for j in range(i + 1, len(words) + 1)
        }
        if own in spans:
            found.append(relation)
    return iter(sorted(found, key=lambda r: (-len(r.name.name), r.name.schema != "public")))


def _singular(word: str) -> str:
    for ending, instead in (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("uses", "us"), ("s", "")):
        if word.endswith(ending) and not word.endswith(("ss", "us")):
            return word[: -len(ending)] + instead
    return word


def _words(name: str) -> list[str]:
    return [w.lower() for w in _WORD.findall(name)]


def _alike(one: DataType, other: DataType) -> bool:
    if one.base in _NUMBERS or other.base in _NUMBERS:
        return one.base in _NUMBERS and other.base in _NUMBERS
    return other.base in TEXT_BASES or one.base == other.base


def _title(relation: Relation) -> str | None:
    """A text that people would search in: free of keys and checks, the first."""
    bound = {c for fk in relation.foreign_keys for c in fk.columns}
    bound |= set(relation.primary_key.columns) if relation.primary_key is not None else set()
    texts = [c for c in relation.columns if c.type.base in TEXT_BASES and c.name not in bound]
    free = [c for c in texts if not c.generated and not c.default]
    chosen = next(iter(free or texts), None)
    return chosen.name if chosen is not None else None


# JSON


def _shown(path: Path) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value)


def _put(whole: dict[str, object], path: Path, value: object) -> None:
    """Puts a value where its path leads; what is on the way is made."""
    place: dict[str, object] | list[object] = whole
    for step, following in zip(path, (*path[1:], None), strict=True):
        last = following is None
        inner: object = value if last else _at(place, step)
        if inner is _MISSING:
            inner = [] if isinstance(following, int) else {}
        if isinstance(place, list) and isinstance(step, int):
            place[step : step + 1] = [inner]
        elif isinstance(place, dict):
            place[str(step)] = inner
        if isinstance(inner, (dict, list)):
            place = inner


def _at(place: dict[str, object] | list[object], step: Step) -> object:
    if isinstance(place, list):
        return place[step] if isinstance(step, int) and step < len(place) else _MISSING
    return place.get(str(step), _MISSING)


def _value(leaf: Leaf, text: str | None) -> object:
    if text is None:
        return None
    if text in leaf.values:
        return leaf.values[text]
    parameter = leaf.parameter
    base = parameter.type.base if parameter.type is not None else "text"
    array = parameter.type is not None and parameter.type.category is TypeCategory.ARRAY
    if parameter.role == "tenants" or array:
        return _ITEM.findall(text.strip("{}"))
    try:
        if base in _WHOLE:
            return int(text)
        if base in _NUMBERS:
            return float(text)
    except ValueError:
        return None
    if base == "bool":
        return text in ("true", "t")
    if base in ("json", "jsonb"):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text
