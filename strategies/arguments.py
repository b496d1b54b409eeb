"""Arguments of application queries: what a caller, and an attacker, would send for parameters.

A parameter that meets a column takes values that stand in that column: those of a row of the
caller's own, and those of other tenants' rows, for an attacker guesses right. Parameters of one
call point at rows that hang together. What meets no column is drawn by its type.
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from tenantfuzz.policies.model import Model
from tenantfuzz.policies.predictions import Key, State
from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.query_parts import Compared
from tenantfuzz.policies.structure import Catalog, DataType, ForeignKey, RelationName, TypeCategory
from tenantfuzz.policies.world import Values
from tenantfuzz.strategies.values import UnknownType, array_text, maker_of

Arguments = Mapping[str, str | None]
"""A value for each parameter, as input text."""

_TEXTS = frozenset({"text", "varchar", "bpchar", "citext", "name"})
_NUMBERS = frozenset({"int2", "int4", "int8", "numeric", "float4", "float8"})
_TIMES = frozenset({"timestamp", "timestamptz", "date"})
_WORD = re.compile(r"[A-Za-z]{4,}")
_FRESH = 5000  # numbers of new values begin here: worlds use smaller ones
_SEVERAL = 3  # items of a list
_LOW, _HIGH, _NULL, _EMPTY = "low", "high", "null", "empty"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a query. ``role`` is tenant, tenants or user for the caller's own; else it
    is drawn: from ``values`` if the application sends only these, from the columns it meets, or by
    its type."""

    name: str
    role: str | None = None
    type: DataType | None = None
    meets: tuple[Compared, ...] = ()
    values: tuple[str | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Field:
    """The rows that arguments are drawn from: as text by relation and key, with their owners."""

    catalog: Catalog
    model: Model
    state: State
    rows: Mapping[RelationName, Mapping[Key, Values]]
    dictionary: Mapping[tuple[RelationName, str], tuple[str, ...]] = field(default_factory=dict)

    def of_tenant(self, relation: RelationName, tenant: str | None) -> list[Values]:
        """The rows of ``relation`` that belong to ``tenant`` (None: to nobody), in order."""
        facts = self.state.get(relation, {})
        rows = self.rows.get(relation, {})
        return [
            rows[key]
            for key, fact in facts.items()
            if key in rows and (tenant in fact.tenants if tenant is not None else not fact.tenants)
        ]

    def narrowed(self, kept: Mapping[RelationName, Set[Key]]) -> "Field":
        """The field with no other rows than these, in the relations that are named."""
        rows = {
            relation: {k: v for k, v in values.items() if k in kept.get(relation, values)}
            for relation, values in self.rows.items()
        }
        return replace(self, rows=rows)


def own_arguments(parameters: Sequence[Parameter], principal: Principal) -> dict[str, str | None]:
    """The values of the parameters that stand for the caller."""
    own: dict[str, str | None] = {}
    for parameter in parameters:
        match parameter.role:
            case "tenant":
                own[parameter.name] = principal.tenant
            case "tenants":
                own[parameter.name] = array_text([*sorted(principal.tenants)])
            case "user":
                own[parameter.name] = principal.user
            case _:
                pass
    return own


def argument_lists(
    parameters: Sequence[Parameter],
    field: Field,
    principal: Principal,
    source: random.Random,
    *,
    most: int,
    closed: Sequence[Field] = (),
) -> list[Arguments]:
    """Up to ``most`` sets of values for the parameters that are drawn, the telling ones first.

    First what points at one row of the caller's own, then at other tenants' rows, then one
    parameter at another's row and the rest at one's own; bounds so wide that all rows are within;
    NULL and the empty text; then mixtures by chance. ``closed`` are fields of the rows of its own
    tenant that rules close to the caller: those are pointed at as well.
    """
    drawn = [p for p in parameters if p.role is None]
    found: dict[tuple[tuple[str, str | None], ...], Arguments] = {}
    for arguments in _plans(drawn, field, principal, source, most, closed):
        found.setdefault(tuple(arguments.items()), arguments)
        if len(found) >= most:
            break
    return list(found.values())


def _plans(
    drawn: Sequence[Parameter],
    field: Field,
    principal: Principal,
    source: random.Random,
    most: int,
    closed: Sequence[Field],
) -> Iterator[Arguments]:
    own = principal.tenant
    tenants = sorted({t for rows in field.state.values() for r in rows.values() for t in r.tenants})
    others = [t for t in tenants if t not in principal.all_tenants]
    if not drawn:
        yield {}
        return

    def at(tenant: str | None, turn: int) -> dict[str, str | None]:
        return _at_tenant(drawn, field, tenant, turn)

    yield at(own, 0)
    for other in others[:2]:
        yield at(other, 0)
    for narrow in closed:
        yield _at_tenant(drawn, narrow, own, 0)
        yield _at_tenant(drawn, narrow, own, 1)
    for way in (_LOW, _HIGH):
        yield {**at(own, 0), **_wide(drawn, way)}
    mine, theirs = at(own, 0), at(others[0], 0) if others else at(None, 0)
    # A new key is as new for everybody: to take another's, one that is there has to be given.
    there = at(others[0], 1) if others else theirs
    for parameter in drawn:
        name = parameter.name
        yield {**mine, name: theirs[name] if theirs[name] != mine[name] else there[name]}
    for parameter in drawn:
        for text in _lists(parameter, field, own, others[0] if others else None):
            yield {**mine, parameter.name: text}
    yield at(own, 1)
    yield at(others[-1], 1) if others else at(None, 1)
    for parameter in drawn:
        for way in (_NULL, _EMPTY):
            yield {**mine, **_wide([parameter], way)}
    yield at(None, 0)
    for _ in range(most):
        mixed: dict[str, str | None] = {}
        for parameter in drawn:
            tenant = source.choice([own, *others, None])
            choices = [at(tenant, source.randrange(4)), _wide([parameter], source.choice(_WAYS))]
            chosen = choices[0] if source.random() < 0.75 else choices[1]
            mixed[parameter.name] = chosen.get(parameter.name, choices[0][parameter.name])
        yield mixed


_WAYS = (_LOW, _HIGH, _NULL, _EMPTY)


def _at_tenant(
    drawn: Sequence[Parameter], field: Field, tenant: str | None, turn: int
) -> dict[str, str | None]:
    """Values that point at rows of ``tenant`` that hang together, as far as they do."""
    chosen: dict[RelationName, Values] = {}
    return {p.name: _value(p, field, tenant, turn, chosen) for p in drawn}


def _value(
    parameter: Parameter,
    field: Field,
    tenant: str | None,
    turn: int,
    chosen: dict[RelationName, Values],
) -> str | None:
    if parameter.values:
        return parameter.values[turn % len(parameter.values)]
    meeting = _telling(parameter)
    value: str | None = None
    if meeting is not None:
        value = _met(meeting, parameter, field, tenant, turn, chosen)
    if value is None:
        value = _by_type(parameter.type, turn)
    if _is_list(parameter):
        return value if value is None or value.startswith("{") else array_text([value])
    return value


def _is_list(parameter: Parameter) -> bool:
    return parameter.type is not None and parameter.type.category is TypeCategory.ARRAY


def _lists(parameter: Parameter, field: Field, own: str | None, other: str | None) -> Iterator[str]:
    """Lists of several values of a column: one of another tenant's among one's own, one's own
    alone, the other's alone, none."""
    meeting = _telling(parameter)
    if not _is_list(parameter) or parameter.values or meeting is None:
        return
    column = field.catalog.relations[meeting.relation].column(meeting.column)
    if column is None or column.type.category is TypeCategory.ARRAY:
        return

    def items(tenant: str | None) -> list[str | None]:
        rows = field.of_tenant(meeting.relation, tenant)
        found = dict.fromkeys(r.get(meeting.column) for r in rows)
        found.pop(None, None)
        return [*found][:_SEVERAL]

    mine, theirs = items(own), items(other)
    foreign = [v for v in theirs if v not in mine]
    if mine and foreign:
        yield array_text([*mine, foreign[0]])
    for several in (mine, foreign):
        if len(several) > 1:
            yield array_text(several)
    yield array_text([])


def _telling(parameter: Parameter) -> Compared | None:
    order = ("equal", "match", "like", "set", "insert", "range")
    return min(parameter.meets, key=lambda m: order.index(m.how), default=None)


def _met(
    meeting: Compared,
    parameter: Parameter,
    field: Field,
    tenant: str | None,
    turn: int,
    chosen: dict[RelationName, Values],
) -> str | None:
    relation = field.catalog.relations[meeting.relation]
    if meeting.how in ("set", "insert"):
        for fk in field.model.foreign_keys(field.catalog, meeting.relation):
            if meeting.column in fk.columns:
                target = _row(fk.target, field, tenant, turn, chosen)
                column = fk.target_columns[fk.columns.index(meeting.column)]
                return target.get(column) if target is not None else None
        unique = any(meeting.column in u.columns for u in relation.uniques)
        checked = any(meeting.column in c.columns for c in relation.checks)
        if turn == 0 and (unique if meeting.how == "insert" else not checked):
            return _by_type(parameter.type, _FRESH)
    row = _row(meeting.relation, field, tenant, turn, chosen)
    if row is None:
        return None
    if meeting.how == "match":
        words = [w for v in row.values() for w in _WORD.findall(v or "")]
        return words[turn % len(words)] if words else None
    if meeting.how == "set":  # what the row holds already would change nothing
        values = [r.get(meeting.column) for r in field.of_tenant(meeting.relation, tenant)]
        others = [v for v in values if v not in (None, row.get(meeting.column))]
        return others[turn % len(others)] if others else row.get(meeting.column)
    return row.get(meeting.column)


def _row(
    relation: RelationName,
    field: Field,
    tenant: str | None,
    turn: int,
    chosen: dict[RelationName, Values],
) -> Values | None:
    """A row of the tenant's, the one that refers to those chosen before, if there is one."""
    if relation in chosen:
        return chosen[relation]
    rows = field.of_tenant(relation, tenant)
    if not rows:
        return None
    linked = [r for r in rows if any(_linked(relation, r, n, o, field) for n, o in chosen.items())]
    pool = linked or rows
    chosen[relation] = pool[turn % len(pool)]
    return chosen[relation]


def _linked(
    relation: RelationName, row: Values, other: RelationName, values: Values, field: Field
) -> bool:
    def points(fk: ForeignKey, source: Values, target: Values) -> bool:
        return all(
            source.get(c) is not None and source.get(c) == target.get(t)
            for c, t in zip(fk.columns, fk.target_columns, strict=True)
        )

    keys = field.model.foreign_keys
    return any(
        fk.target == other and points(fk, row, values) for fk in keys(field.catalog, relation)
    ) or any(fk.target == relation and points(fk, values, row) for fk in keys(field.catalog, other))


def _by_type(type_: DataType | None, turn: int) -> str | None:
    if type_ is None:
        return str(turn + 1)
    if type_.base in _NUMBERS:
        return str(turn + 10)
    try:
        return maker_of(type_)(turn)
    except UnknownType:
        return None


def _wide(parameters: Sequence[Parameter], way: str) -> dict[str, str | None]:
    """Extreme values, for those parameters that take them."""
    values: dict[str, str | None] = {}
    for parameter in parameters:
        base = parameter.type.base if parameter.type is not None else "text"
        hows = {m.how for m in parameter.meets}
        if parameter.values or (way in (_LOW, _HIGH) and hows & {"set", "insert"}):
            continue
        if way == _NULL:
            values[parameter.name] = None
        elif _is_list(parameter):
            if way == _EMPTY:
                values[parameter.name] = "{}"
        elif base in _TEXTS:
            if "like" in hows or way == _EMPTY:
                values[parameter.name] = "" if way == _EMPTY else "%"
        elif base in _NUMBERS:
            values[parameter.name] = {_LOW: "0", _HIGH: "1000", _EMPTY: "1"}[way]
        elif base in _TIMES:
            values[parameter.name] = {_LOW: "1990-01-01", _HIGH: "2090-01-01"}.get(way)
        elif base == "bool":
            values[parameter.name] = "false" if way == _LOW else "true"
    return values
