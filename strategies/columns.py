"""How each column of a relation gets its values: decided once, from type, checks and name."""

import re
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from tenantfuzz.policies.structure import Column, DataType, Relation, TypeCategory
from tenantfuzz.strategies.candidates import (
    FAR,
    FRACTIONS,
    NUMBERS,
    TIMES,
    general_values,
    is_valid,
    literal_values,
)
from tenantfuzz.strategies.checks import (
    Literal,
    columns_of,
    literal_text,
    literals_in,
    parse_expression,
)
from tenantfuzz.strategies.decoding import Decoder, decoder_of, split_array
from tenantfuzz.strategies.dictionary import Dictionary
from tenantfuzz.strategies.evaluation import Evaluator, compile_condition
from tenantfuzz.strategies.patterns import matching_text
from tenantfuzz.strategies.text import (
    HIDDEN_TIMES,
    LASTING_TIMES,
    LIVE_FLAGS,
    padded,
    snake,
    text_variants,
    words_for,
)
from tenantfuzz.strategies.values import (
    TEXT_BASES,
    TypeMaker,
    UnknownType,
    array_text,
    length_limit,
    maker_of,
    moment,
    numeric_digits,
    uuid_text,
)

Judge = Callable[[str | None], bool]

LATE = ("end", "finish", "until", "complet", "due", "stop", "_to", "till")
"""Words in the names of times that follow others."""
PROBES = (0, 1, 2, 7, 35, 99, 1200)
"""Numbers on which a maker is tried before it is trusted."""
SAMPLE = 64
"""Numbers tried to see whether a maker's texts are all distinct."""
MOST = 48
"""Alternatives kept for a column."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """A CHECK constraint ready to be judged on decoded rows: False fails, all else passes."""

    name: str
    columns: frozenset[str]
    judge: Evaluator


@dataclass(frozen=True, slots=True)
class ColumnPlan:
    """Where values of one column come from.

    ``natural`` and ``key`` make texts from numbers; ``key``'s are distinct for the first
    ``capacity`` numbers (None: for all). Where ``options`` is not empty one of them is picked,
    the first being the most ordinary; ``free`` says that before them all comes ``natural``.
    ``alternatives`` are all valid values worth trying, NULL among them where it is allowed.
    ``unknown`` is why no value can be made; ``proven``: the values hold all checks that read this
    column alone.
    """

    column: Column
    decode: Decoder
    judge: Judge  # NOT NULL, domains, and the checks that read this column alone
    natural: TypeMaker
    key: TypeMaker
    capacity: int | None
    options: tuple[str | None, ...]
    free: bool
    alternatives: tuple[str | None, ...]
    checked: bool  # a check reads this column
    proven: bool
    key_proven: bool
    unknown: str | None = None

    @property
    def nullable(self) -> bool:
        """Whether NULL is among the valid values."""
        return None in self.alternatives


def constraints_of(relation: Relation) -> tuple[Constraint, ...]:
    """The relation's CHECK constraints, those of domains apart."""
    types = {c.name: c.type for c in relation.columns}
    out = []
    for check in relation.checks:
        tree = parse_expression(check.expression)
        if tree is None:
            continue
        reads = frozenset(check.columns) or columns_of(tree)
        out.append(Constraint(check.name, reads & types.keys(), compile_condition(tree, types)))
    return tuple(out)


def type_judge(type_: DataType) -> Judge:
    """Whether the domains of a type, or of an array's elements, accept a text."""
    conditions = [
        compile_condition(parse_expression(c), {"VALUE": type_}) for c in type_.domain_checks
    ]
    decode = decoder_of(type_)
    element = type_.element if type_.category is TypeCategory.ARRAY else None
    inner = type_judge(element) if element is not None and element.domain_checks else None

    def judge(text: str | None) -> bool:
        if text is None and type_.domain_not_null:
            return False
        if conditions:
            row = {"VALUE": None if text is None else decode(text)}
            if any(condition(row) is False for condition in conditions):
                return False
        if inner is not None and text is not None:
            try:
                return all(inner(item) for item in split_array(text))
            except ValueError:
                return True
        return True

    return judge


def has_domain(type_: DataType) -> bool:
    """Whether a domain with checks is the type, or is somewhere inside it."""
    inside = [*(t for _, t in type_.fields), *([type_.element] if type_.element else [])]
    return bool(type_.domain_checks) or any(has_domain(t) for t in inside)


def column_judge(column: Column, constraints: Sequence[Constraint]) -> Judge:
    """Whether NOT NULL, domains and the checks that read this column alone accept a text."""
    own = [c.judge for c in constraints if c.columns == {column.name}]
    decode, of_type, name = decoder_of(column.type), type_judge(column.type), column.name
    limit = length_limit(column.type)

    def judge(text: str | None) -> bool:
        if text is None and column.not_null:
            return False
        if not of_type(text):
            return False
        if limit is not None and text is not None and len(text) > limit:
            return False
        if own:
            row = {name: None if text is None else decode(text)}
            return not any(check(row) is False for check in own)
        return True

    return judge


def _nested_maker(type_: DataType, label: str) -> TypeMaker:
    """Makes values inside arrays and composites, which may be of domains with checks."""
    if not type_.domain_checks:
        return maker_of(type_, label, _nested_maker)
    literals = [x for check in type_.domain_checks for x in literals_in(check)]
    judge = type_judge(type_)
    variants = _variants(type_, label, literals, 0)
    make = next(
        (v for v in variants if _holds(v, lambda t: judge(t) and is_valid(type_, t or ""))), None
    )
    if make is not None:
        return make
    values = [v for v in literal_values(type_, literals, variants[0]) if judge(v)]
    return (lambda n: values[n % len(values)]) if values else variants[0]


def _holds(make: TypeMaker, judge: Judge) -> bool:
    return all(judge(make(n)) for n in PROBES)


def _variants(
    type_: DataType, name: str, literals: Sequence[Literal], space: int
) -> list[TypeMaker]:
    """Makers for a column, the most ordinary first."""
    limit = length_limit(type_)
    if type_.category is TypeCategory.BASE and type_.base in TEXT_BASES:
        named = words_for(name, limit)
        patterns = [x.text for x in literals if x.how in ("pattern", "ipattern")]
        sizes = sorted({int(x.text) for x in literals if x.how == "size" and x.text.isdigit()})
        matching = [
            (lambda n, p=p, e=e: matching_text(p, n, extra=e) or "")
            for p in patterns
            for e in (6, 2, 1, 0, 12)
        ]
        likes = [_like_maker(x.text) for x in literals if x.how == "like"]
        sized = [
            (lambda n, s=s + d, m=m: padded(m(n), s))
            for s in sizes
            if s <= 4096
            for d in (0, -1, 1)
            if s + d > 0 and (limit is None or s + d <= limit)
            for m in (named, lambda n: f"{n + 1:0{32}x}", text_variants(name, limit)[2])
        ]
        return [named, *text_variants(name, limit), *matching, *likes, *sized]
    if type_.category is TypeCategory.BASE and type_.base == "uuid":
        return [lambda n: uuid_text(n, space)]
    if type_.category is TypeCategory.BASE and type_.base in TIMES:
        return [_time_maker(type_, name), maker_of(type_, name)]
    if type_.category is TypeCategory.BASE and type_.base in NUMBERS:
        return _number_variants(type_, name, literals)
    make = maker_of(type_, name.replace("_", " "), _nested_maker)
    if type_.category is TypeCategory.ARRAY and type_.element is not None:
        return [make, *_array_variants(type_.element, name, literals)]
    return [make]


def _array_variants(element: DataType, name: str, literals: Sequence[Literal]) -> list[TypeMaker]:
    """Arrays of the elements and of the sizes that checks speak of."""
    make = _nested_maker(element, name.replace("_", " "))
    listed = [x.text for x in literals if x.how == "element"]
    variants: list[TypeMaker] = []
    if listed:
        variants.append(lambda n: array_text([listed[n % len(listed)]]))
    sizes = {int(x.text) for x in literals if x.how == "size" and x.text.isdigit()}
    for size in sorted({s + d for s in sizes if s <= 64 for d in (0, 1, -1) if s + d >= 0}):
        variants.append(_array_of(make, size))
    return variants


def _like_maker(pattern: str) -> TypeMaker:
    head, _, tail = pattern.replace("_", "a").partition("%")
    return lambda n: f"{head}{n + 1}{tail.replace('%', '')}"


def _array_of(make: TypeMaker, size: int) -> TypeMaker:
    return lambda n: array_text([make(n + k) for k in range(size)])


def _counting(first: int) -> TypeMaker:
    return lambda n: str(first + n)


def _number_variants(type_: DataType, name: str, literals: Sequence[Literal]) -> list[TypeMaker]:
    make = maker_of(type_, name)
    variants: list[TypeMaker] = [
        make,
        lambda n: str(n),
        lambda n: str(100 + n),
        lambda n: str(1000 + n),
    ]
    if "year" in name:
        variants.insert(0, lambda n: str(2024 - n % 20))
    variants.append(lambda n: str(-1 - n))
    bounds = [x.text for x in literals if x.how == "value" and x.text.lstrip("-").isdigit()]
    variants += [_counting(int(bound) + more) for bound in bounds for more in (1, 0)]
    digits = numeric_digits(type_)
    if type_.base in FRACTIONS and (digits is None or digits[1] > 0):
        scale = min(digits[1], 4) if digits is not None else 4
        variants.append(lambda n: f"0.{n % (10**scale - 1) + 1:0{scale}d}")
    return [v for v in variants if is_valid(type_, v(1))] or [make]


def _time_maker(type_: DataType, name: str) -> TypeMaker:
    """Times in the past; what starts comes before what changes and what ends."""
    lowered = snake(name)
    late = any(
        w in lowered for w in ("end", "finish", "until", "complet", "due", "stop", "_to", "till")
    )
    hours = 10 if late or lowered == "to" else 1 if "updat" in lowered or "modif" in lowered else 0
    if type_.base == "date":
        days = 1 if hours == 10 else 0
        return lambda n: str(moment(n, hours=24 * days).date())
    zone = "+00" if type_.base == "timestamptz" else ""
    return lambda n: f"{moment(n, hours=hours)}{zone}"


def _capacity(make: TypeMaker) -> int | None:
    """For how many numbers from 0 on the texts are distinct; None where no limit shows."""
    seen: set[str] = set()
    for number in range(SAMPLE):
        text = make(number)
        if text in seen:
            return number
        seen.add(text)
    return None


def _cycled(make: TypeMaker, judge: Judge) -> TypeMaker | None:
    """``make`` over the first few numbers only, the most that the judge accepts in a row."""
    for size in (1000, 100, 60, 31, 24, 12, 10, 7, 5, 3, 2, 1):
        if all(judge(make(n)) for n in range(size)):
            return lambda n, size=size: make(n % size)  # type: ignore[misc]  # default binds now
    return None


def plan_column(
    relation: Relation,
    column: Column,
    constraints: Sequence[Constraint],
    *,
    dictionary: Dictionary | None,
    override: Sequence[str] = (),
) -> ColumnPlan:
    """Decides how ``column`` gets its values. Never raises: what is unknown is in the plan."""
    type_, decode = column.type, decoder_of(column.type)
    judge = column_judge(column, constraints)
    checked = has_domain(type_) or any(column.name in c.columns for c in constraints)
    literals = _literals(relation, column)
    space = zlib.crc32(f"{relation.name}.{column.name}".encode())
    nulls: tuple[str | None, ...] = (None,) if judge(None) else ()
    try:
        variants = _variants(type_, column.name, literals, space)
    except UnknownType as unknown:
        make: TypeMaker = lambda n: ""  # noqa: E731  (never called for its value)
        reason = None if override else str(unknown)
        given = tuple(override)
        return ColumnPlan(
            column,
            decode,
            judge,
            make,
            make,
            0,
            given,
            False,
            (*given, *nulls),
            checked,
            proven=True,
            key_proven=True,
            unknown=reason,
        )
    natural = next((v for v in variants if _holds(v, judge)), None)
    keyed = next((v for v in variants if _holds(v, judge) and _capacity(v) is None), None)
    found = [*literal_values(type_, literals, variants[0])]
    words = dictionary.for_column(relation, column.name) if dictionary is not None else ()
    listed = [v for v in dict.fromkeys(found) if is_valid(type_, v) and judge(v)]
    spoken = [v for v in dict.fromkeys(words) if is_valid(type_, v) and judge(v)]
    plain = {x.text for x in literals if x.how == "value" and not x.ordered}
    exact = [v for v in listed if v in plain]
    proven = natural is not None
    if natural is None and not exact:
        natural = next((c for v in variants if (c := _cycled(v, judge)) is not None), None)
        proven = natural is not None
    options, free = _options(column, judge, exact, spoken, has_natural=natural is not None)
    free = free and natural is not None
    if not options and natural is None:
        options = tuple(listed)
        proven = bool(options)
    if override:
        options, free = tuple(override), False
    fallback = natural or variants[0]
    general = [v for v in general_values(type_, fallback) if is_valid(type_, v) and judge(v)]
    pool = tuple(dict.fromkeys((*options, *listed, *spoken, *nulls, *general)))
    key, capacity = keyed, None
    if key is None:
        values = [v for v in (*options, *listed, *general) if v is not None]
        cycle = list(dict.fromkeys(values)) if options or natural is None else []
        if cycle:
            key, capacity = (lambda n: cycle[n % len(cycle)]), len(cycle)
        else:
            key, capacity = fallback, _capacity(fallback)
    if override:
        key = _after(tuple(override), key)
    return ColumnPlan(
        column, decode, judge, fallback, key, capacity, options, free, pool[:MOST], checked,
        proven or bool(options), keyed is not None and not override,
    )  # fmt: skip


def _after(given: tuple[str, ...], make: TypeMaker) -> TypeMaker:
    """First the configured values, then made ones: a unique column needs more than a few."""
    return lambda n: given[n] if n < len(given) else make(n)


def _literals(relation: Relation, column: Column) -> list[Literal]:
    """What the checks compare the column with, and its domains their values."""
    checks = [x for c in relation.checks for x in literals_in(c.expression)]
    domains = [x for c in column.type.domain_checks for x in literals_in(c)]
    return [
        *(x for x in checks if x.column == column.name),
        *(x for x in domains if x.column.upper() == "VALUE"),
    ]


def _options(
    column: Column,
    judge: Judge,
    exact: Sequence[str],
    spoken: Sequence[str],
    *,
    has_natural: bool,
) -> tuple[tuple[str | None, ...], bool]:
    """The values to pick from, and whether the natural value comes before them."""
    type_, name = column.type, snake(column.name)
    null: tuple[str | None, ...] = (None,) if judge(None) else ()
    default = _default_value(column)
    first = [default] if default is not None and judge(default) else []
    if type_.category is TypeCategory.ENUM:
        labels = [v for v in type_.labels if judge(v)]
        return (tuple(dict.fromkeys((*first, *labels))) + null, False) if labels else ((), False)
    if type_.category is not TypeCategory.BASE:
        return (tuple(spoken), True) if spoken else ((), True)
    if type_.base == "bool":
        ordinary = "true" if LIVE_FLAGS.search(name) else "false"
        values = [v for v in (*first, ordinary, "false", "true") if judge(v)]
        return tuple(dict.fromkeys(values)), False
    if type_.base in TIMES:
        zone = "" if type_.base != "timestamptz" else " 00:00:00+00"
        if LASTING_TIMES.search(name) and judge(FAR + zone):
            return (FAR + zone, *null), False
        if HIDDEN_TIMES.search(name) and null:
            return (None, *([] if not has_natural else [_time_maker(type_, column.name)(0)])), False
        return tuple(spoken), True
    if not has_natural:
        return tuple(dict.fromkeys((*(v for v in first if v in exact), *exact, *spoken))), False
    if type_.base in ("json", "jsonb") or (type_.base in TEXT_BASES and first and first[0]):
        return tuple(dict.fromkeys((*first, *spoken))), not first
    return tuple(spoken), True


def _default_value(column: Column) -> str | None:
    """The input text of a default that is a literal, and not empty."""
    tree = parse_expression(column.default) if column.default else None
    text = literal_text(tree) if tree is not None else None
    return text if text and is_valid(column.type, text) else None


def key_columns(
    relation: Relation, fixed: Collection[str], plans: Mapping[str, ColumnPlan]
) -> frozenset[str]:
    """The columns whose values must differ in every row of a world, ``fixed`` ones left out.

    A unique key that has a foreign key in it, or a fixed column that may stand for one, is unique
    within something, and its other columns take natural values; but identity columns and UUIDs
    in keys never do.
    """
    linked = {c for key in relation.foreign_keys for c in key.columns}
    linked |= {n for n in fixed if n in plans and _scopes(plans[n])}
    keys = {
        c.name for c in relation.columns if c.identity or (c.default or "").startswith("nextval(")
    }
    for unique in relation.uniques:
        names = [n for n in (*unique.columns, *unique.expression_columns) if relation.column(n)]
        types = {n: c.type for n in names if (c := relation.column(n)) is not None}
        keys |= {n for n, t in types.items() if t.base == "uuid" and n not in linked}
        if not names or any(n in linked for n in names) or any(n in keys for n in names):
            continue
        plain = [n for n in names if n in plans and n not in fixed]
        if plain:
            keys.add(min(plain, key=lambda n: (_key_rank(plans[n]), names.index(n))))
    for exclusion in relation.exclusions:
        for name in (c.name for c in relation.columns):
            if name not in exclusion.columns and not re.search(
                rf"\b{re.escape(name)}\b", exclusion.definition
            ):
                continue
            found = relation.column(name)
            if found is not None and _spans(found.type):
                keys.add(name)
    return frozenset(keys) - set(fixed)


def _key_rank(plan: ColumnPlan) -> tuple[int, int]:
    """How well a column tells rows apart: by how many values it has, then by its type."""
    many = 0 if plan.capacity is None else -plan.capacity
    order = {"uuid": 0, "int8": 1, "int4": 2, "text": 3, "varchar": 3}
    return (plan.capacity is not None, many or order.get(plan.column.type.base, 5))


def _scopes(plan: ColumnPlan) -> bool:
    """Whether a column that was given may name what a key is local to: a tenant, not a status."""
    return not plan.options and plan.column.type.base not in TIMES


def _spans(type_: DataType) -> bool:
    return type_.category in (TypeCategory.RANGE, TypeCategory.MULTIRANGE) or type_.base in TIMES
