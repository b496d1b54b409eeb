"""Input texts for every PostgreSQL type, from a number.

A number stands for a value: equal numbers give equal texts, and different numbers different texts
as far as the type has that many values (a boolean has two). All is deterministic: no clock, no
random source; times lie in the past.
"""

import datetime as dt
import json
from collections.abc import Callable

from tenantfuzz.policies.structure import DataType, TypeCategory
from tenantfuzz.strategies.text import shortened

EPOCH = dt.datetime(2024, 1, 10, 9, 0, 0)
"""The time of number 0."""

SPAN = 700
"""Days after EPOCH that times use, so that they stay in the past."""

INTEGER_TOP = {"int2": 32_767, "int4": 2_147_483_647, "int8": 9_223_372_036_854_775_807}
TEXT_BASES = frozenset({"text", "varchar", "bpchar", "citext", "name", "char"})
TIME_BASES = frozenset({"timestamp", "timestamptz", "date"})

TypeMaker = Callable[[int], str]
Nested = Callable[[DataType, str], TypeMaker]


class UnknownType(Exception):  # noqa: N818  (a verdict on a type, no failure)
    """No values are known for a type; the message names it."""

    def __init__(self, type_name: str) -> None:
        super().__init__(f"type {type_name} is unknown")


def moment(number: int, *, hours: int = 0) -> dt.datetime:
    """A time for each number: a day apart, distinct, none after EPOCH + SPAN days."""
    round_, day = divmod(number, SPAN)
    return EPOCH + dt.timedelta(days=day - SPAN * min(round_, 900), hours=hours)


def length_limit(type_: DataType) -> int | None:
    """The most characters that a text type holds, or None where there is no limit."""
    if type_.base in ("varchar", "bpchar"):
        if type_.modifier >= 4:
            return type_.modifier - 4
        return 1 if type_.base == "bpchar" and type_.name == "character" else None
    limits: dict[str, int] = {"name": 63, "char": 1}
    return limits.get(type_.base)


def numeric_digits(type_: DataType) -> tuple[int, int] | None:
    """Precision and scale of ``numeric(p, s)``, or None where it has none."""
    if type_.base != "numeric" or type_.modifier < 4:
        return None
    packed = type_.modifier - 4
    scale = packed & 0x7FF
    return packed >> 16 & 0xFFFF, scale - 0x800 if scale >= 0x400 else scale


def array_text(items: list[str | None]) -> str:
    """An array's input text from those of its elements."""
    quoted = ("NULL" if i is None else _quoted(i) for i in items)
    return "{" + ",".join(quoted) + "}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def maker_of(type_: DataType, label: str = "value", nested: Nested | None = None) -> TypeMaker:
    """The function from numbers to input texts of ``type_``; ``label`` gives texts their words.

    ``nested`` makes the values inside arrays and composite values. Raises UnknownType. Checks of
    domains are not looked at.
    """
    inside = nested or maker_of
    match type_.category:
        case TypeCategory.ENUM:
            labels = type_.labels
            if not labels:
                raise UnknownType(type_.name)
            return lambda n: labels[n % len(labels)]
        case TypeCategory.ARRAY:
            element = inside(_inner(type_), label)
            if type_.base in ("int2vector", "oidvector"):
                return lambda n: element(n)
            return lambda n: array_text([element(n)])
        case TypeCategory.RANGE:
            return _range_maker(_inner(type_))
        case TypeCategory.MULTIRANGE:
            bounds = _range_maker(_inner(type_))
            return lambda n: "{" + bounds(n) + "}"
        case TypeCategory.COMPOSITE:
            parts = [inside(field, name) for name, field in type_.fields]
            return lambda n: "(" + ",".join(_quoted(part(n)) for part in parts) + ")"
        case _:
            return _base_maker(type_, label)


def _inner(type_: DataType) -> DataType:
    if type_.element is None:
        raise UnknownType(type_.name)
    return type_.element


def _range_maker(subtype: DataType) -> TypeMaker:
    """Ranges that do not overlap for different numbers."""
    base = subtype.base
    if base in ("int4", "int8", "numeric", "float8", "float4", "int2"):
        return lambda n: f"[{n * 10 + 1},{n * 10 + 6})"
    if base == "date":
        return lambda n: f"[{moment(n).date()},{moment(n).date() + dt.timedelta(days=1)})"
    if base in ("timestamp", "timestamptz"):
        zone = "+00" if base == "timestamptz" else ""
        return lambda n: f'["{moment(n)}{zone}","{moment(n, hours=1)}{zone}")'
    if base in ("time", "timetz"):
        return lambda n: f"[{n // 59 % 24:02d}:{n % 59:02d}:00,{n // 59 % 24:02d}:{n % 59:02d}:59)"
    element = maker_of(subtype)
    return lambda n: f"[{_quoted(element(n))},{_quoted(element(n))}]"


def _base_maker(type_: DataType, label: str) -> TypeMaker:
    base = type_.base
    if base in TEXT_BASES:
        limit = length_limit(type_)
        return lambda n: shortened(label, n + 1, limit)
    if base in INTEGER_TOP:
        top = INTEGER_TOP[base]
        return lambda n: str(n % top + 1)
    if base == "numeric":
        return _numeric_maker(type_)
    if base in ("bit", "varbit"):
        width = type_.modifier if type_.modifier > 0 else (1 if base == "bit" else 16)
        return lambda n: format((n + 1) % (1 << min(width, 60)), "b").zfill(width)
    if base in ("vector", "halfvec", "sparsevec"):
        return _vector_maker(base, type_.modifier)
    if base in ("geometry", "geography"):
        return _geometry_maker(type_)
    maker = _PLAIN.get(base)
    if maker is None:
        raise UnknownType(type_.name)
    return maker


def _numeric_maker(type_: DataType) -> TypeMaker:
    digits = numeric_digits(type_)
    if digits is None:
        return lambda n: str(n + 1)
    precision, scale = digits
    whole = max(precision - max(scale, 0), 0)
    if whole > 0 and scale >= 0:
        size = 10**whole - 1
        return lambda n: str(n % size + 1)
    if scale < 0:
        return lambda n: str((n % 9 + 1) * 10**-scale)
    size = 10**precision - 1
    return lambda n: f"0.{(n % size) + 1:0{scale}d}"


def _vector_maker(base: str, modifier: int) -> TypeMaker:
    size = modifier if modifier > 0 else 3
    if base == "sparsevec":
        return lambda n: f"{{1:{n + 1}}}/{size}"
    return lambda n: "[" + ",".join([str(n % 2048 + 1), *["0"] * (size - 1)]) + "]"


def _geometry_maker(type_: DataType) -> TypeMaker:
    """Shapes as WKT; subtype and SRID are in the type's modifier, and so in its name."""
    name = type_.name.replace(" ", "").lower()
    inside = name.partition("(")[2].rstrip(")").split(",")
    shape = inside[0] or "point"
    default = "4326" if type_.base == "geography" else "0"
    srid = inside[1] if len(inside) > 1 else default
    prefix = f"SRID={srid};" if srid != "0" else ""
    deep = {"zm": " 0 0", "z": " 0", "m": " 0"}
    tail = next((t for s, t in deep.items() if shape.endswith(s) and shape != "geom"), "")
    plain = shape.removesuffix("zm").removesuffix("z")
    plain = plain.removesuffix("m") if plain not in ("geom",) else plain
    mark = {" 0 0": " ZM", " 0": " M" if shape.endswith("m") else " Z"}.get(tail, "")

    def ring(n: int) -> str:
        x, y = n % 170, n // 170 % 80
        corners = ((x, y), (x + 1, y), (x + 1, y + 1), (x, y))
        return "(" + ", ".join(f"{a} {b}{tail}" for a, b in corners) + ")"

    def make(n: int) -> str:
        x, y = n % 170, n // 170 % 80
        point, line = f"{x} {y}{tail}", f"({x} {y}{tail}, {x + 1} {y + 1}{tail})"
        body = {
            "linestring": f"LINESTRING{mark}{line}",
            "polygon": f"POLYGON{mark}({ring(n)})",
            "multipoint": f"MULTIPOINT{mark}(({point}))",
            "multilinestring": f"MULTILINESTRING{mark}({line})",
            "multipolygon": f"MULTIPOLYGON{mark}(({ring(n)}))",
            "geometrycollection": f"GEOMETRYCOLLECTION{mark}(POINT{mark}({point}))",
        }.get(plain, f"POINT{mark}({point})")
        return prefix + body

    return make


def _address(n: int) -> str:
    return f"10.{n // 65536 % 256}.{n // 256 % 256}.{n % 256}"


def uuid_text(number: int, space: int = 0) -> str:
    """A UUID that looks like version 4; ``space`` keeps those of different columns apart."""
    return f"{space & 0xFFFFFFFF:08x}-0000-4000-8000-{number + 1:012x}"


_PLAIN: dict[str, TypeMaker] = {
    "bool": lambda n: "true" if n % 2 else "false",
    "float4": lambda n: str(n + 1),
    "float8": lambda n: str(n + 1),
    "money": lambda n: str(n + 1),
    "uuid": uuid_text,
    "date": lambda n: str(moment(n).date()),
    "timestamp": lambda n: str(moment(n)),
    "timestamptz": lambda n: f"{moment(n)}+00",
    "time": lambda n: f"{9 + n // 3600 % 12:02d}:{n // 60 % 60:02d}:{n % 60:02d}",
    "timetz": lambda n: f"{9 + n // 3600 % 12:02d}:{n // 60 % 60:02d}:{n % 60:02d}+00",
    "interval": lambda n: f"{n + 1} hours",
    "json": lambda n: f'{{"n": {n + 1}}}',
    "jsonb": lambda n: f'{{"n": {n + 1}}}',
    "jsonpath": lambda n: f"$.k{n + 1}",
    "bytea": lambda n: f"\\x{n + 1:08x}",
    "inet": _address,
    "cidr": lambda n: f"{_address(n)}/32",
    "macaddr": lambda n: f"08:00:2b:{n // 65536 % 256:02x}:{n // 256 % 256:02x}:{n % 256:02x}",
    "macaddr8": lambda n: (
        f"08:00:2b:00:00:{n // 65536 % 256:02x}:{n // 256 % 256:02x}:{n % 256:02x}"
    ),
    "tsvector": lambda n: f"'word{n + 1}':1",
    "tsquery": lambda n: f"'word{n + 1}'",
    "ltree": lambda n: f"top.n{n + 1}",
    "lquery": lambda n: f"top.n{n + 1}",
    "ltxtquery": lambda n: f"n{n + 1}",
    "hstore": lambda n: f'"n"=>"{n + 1}"',
    "point": lambda n: f"({n + 1},2)",
    "line": lambda n: f"{{1,-1,{n + 1}}}",
    "lseg": lambda n: f"[({n + 1},0),({n + 2},1)]",
    "box": lambda n: f"({n + 2},1),({n + 1},0)",
    "path": lambda n: f"[({n + 1},0),({n + 2},1)]",
    "polygon": lambda n: f"(({n + 1},0),({n + 2},0),({n + 2},1))",
    "circle": lambda n: f"<({n + 1},0),1>",
    "cube": lambda n: f"({n + 1})",
    "xml": lambda n: f"<n>{n + 1}</n>",
    "pg_lsn": lambda n: f"0/{n + 1:X}",
    "oid": lambda n: str(n + 1),
    "xid": lambda n: str(n + 3),
    "xid8": lambda n: str(n + 3),
    "cid": lambda n: str(n + 1),
    "tid": lambda n: f"({n + 1},1)",
    "regclass": lambda n: "pg_class",
    "regtype": lambda n: "integer",
    "regproc": lambda n: "now",
    "regprocedure": lambda n: "now()",
    "regrole": lambda n: "pg_monitor",
    "regnamespace": lambda n: "pg_catalog",
}


def canary_text(type_: DataType, canary: str) -> str | None:
    """The input text of ``type_`` that carries ``canary``, or None where it cannot."""
    if type_.category is TypeCategory.ARRAY and type_.element is not None:
        inner = canary_text(type_.element, canary)
        return None if inner is None else array_text([inner])
    if type_.category is not TypeCategory.BASE:
        return None
    if type_.base in TEXT_BASES:
        limit = length_limit(type_)
        return canary if limit is None or limit >= len(canary) else None
    if type_.base in ("json", "jsonb"):
        return json.dumps({"note": canary})
    carriers: dict[str, str] = {
        "bytea": f"\\x{canary.encode().hex()}",
        "xml": f"<note>{canary}</note>",
        "hstore": f'"note"=>"{canary}"',
        "ltree": canary,
        "tsvector": f"'{canary}':1",
    }
    return carriers.get(type_.base)
