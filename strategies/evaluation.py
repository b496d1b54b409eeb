"""Judges SQL conditions in Python, in three-valued logic with a fourth answer: not known.

What is not understood gives UNKNOWN, and UNKNOWN never counts against a row: the server decides.
"""

import datetime as dt
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_UP, Decimal, DivisionByZero, InvalidOperation

from sqlglot import exp

from tenantfuzz.policies.structure import DataType
from tenantfuzz.strategies.checks import array_items, bare
from tenantfuzz.strategies.comparing import equal, less, negated, quantified
from tenantfuzz.strategies.decoding import (
    OPAQUE,
    UNKNOWN,
    Json,
    Label,
    Mark,
    Untyped,
    decoder_of_base,
    split_array,
)
from tenantfuzz.strategies.functions import call, json_contains, match_like, match_regex
from tenantfuzz.strategies.values import EPOCH, SPAN

Row = Mapping[str, object]
Evaluator = Callable[[Row], object]

NOW = EPOCH + dt.timedelta(days=SPAN + 1)
"""What ``now()`` counts as: after every generated time that is meant to be past."""


class _Refused(Exception):  # noqa: N818  (an answer, no failure)
    """The expression would raise an error on this row."""


def compile_condition(tree: exp.Expression | None, types: Mapping[str, DataType]) -> Evaluator:
    """The function from rows of decoded values to True, False, None (NULL) or UNKNOWN.

    ``types`` holds the columns that may be read; the function never raises.
    """
    if tree is None:
        return lambda row: UNKNOWN
    inner = _compile(tree, types)

    def judge(row: Row) -> object:
        try:
            value = inner(row)
        except _Refused:
            return False
        except (TypeError, ValueError, ArithmeticError, AttributeError, LookupError):
            return UNKNOWN
        if isinstance(value, Untyped):
            return decoder_of_base("bool")(value)
        return value if value is None or isinstance(value, bool) else UNKNOWN

    return judge


def _compile(node: exp.Expression, types: Mapping[str, DataType]) -> Evaluator:
    maker = _MAKERS.get(type(node))
    if maker is not None:
        return maker(node, types)
    if isinstance(node, exp.Func):
        return _function(node, types)
    return lambda row: UNKNOWN


Types = Mapping[str, DataType]


def _literal(node: exp.Expression, types: Types) -> Evaluator:
    value: object = Untyped(node.this) if node.args.get("is_string") else Decimal(str(node.this))
    return lambda row: value


def _boolean(node: exp.Expression, types: Types) -> Evaluator:
    value = bool(node.this)
    return lambda row: value


def _column(node: exp.Expression, types: Types) -> Evaluator:
    name = node.name
    if name in types:
        return lambda row: row[name]
    if name.upper() == "VALUE" and "VALUE" in types:
        return lambda row: row["VALUE"]
    return lambda row: UNKNOWN


def _through(node: exp.Expression, types: Types) -> Evaluator:
    return _compile(node.this, types)


def _and(node: exp.Expression, types: Types) -> Evaluator:
    left, right = _compile(node.this, types), _compile(node.expression, types)

    def judge(row: Row) -> object:
        a = _truth(left(row))
        if a is False:
            return False
        b = _truth(right(row))
        if b is False:
            return False
        return UNKNOWN if UNKNOWN in (a, b) else None if a is None or b is None else True

    return judge


def _or(node: exp.Expression, types: Types) -> Evaluator:
    left, right = _compile(node.this, types), _compile(node.expression, types)

    def judge(row: Row) -> object:
        a = _truth(left(row))
        if a is True:
            return True
        b = _truth(right(row))
        if b is True:
            return True
        return UNKNOWN if UNKNOWN in (a, b) else None if a is None or b is None else False

    return judge


def _truth(value: object) -> object:
    """True, False, None or UNKNOWN."""
    return value if value is None or isinstance(value, bool) else UNKNOWN


def _not(node: exp.Expression, types: Types) -> Evaluator:
    inner = _compile(node.this, types)

    def judge(row: Row) -> object:
        value = _truth(inner(row))
        return (not value) if isinstance(value, bool) else value

    return judge


def _is(node: exp.Expression, types: Types) -> Evaluator:
    inner, negate = _compile(node.this, types), bool(node.args.get("negate"))
    other = bare(node.expression)
    if isinstance(other, exp.Null):

        def judge_null(row: Row) -> object:
            value = inner(row)
            return UNKNOWN if value is UNKNOWN else (value is None) is not negate

        return judge_null
    if not isinstance(other, exp.Boolean):
        return lambda row: UNKNOWN
    wanted = bool(other.this)

    def judge(row: Row) -> object:
        value = inner(row)
        return UNKNOWN if isinstance(value, Mark) else (value is wanted) is not negate

    return judge


COMPARE: dict[type[exp.Expression], Callable[[object, object], object]] = {
    exp.EQ: equal,
    exp.NEQ: lambda a, b: negated(equal(a, b)),
    exp.LT: less,
    exp.GT: lambda a, b: less(b, a),
    exp.LTE: lambda a, b: negated(less(b, a)),
    exp.GTE: lambda a, b: negated(less(a, b)),
}


def _comparison(node: exp.Expression, types: Types) -> Evaluator:
    compare = COMPARE[type(node)]
    left, other = _compile(node.this, types), node.expression
    every = isinstance(other, exp.All) or (
        isinstance(other, exp.Anonymous) and other.name.upper() == "ALL"
    )
    if not every and not isinstance(other, exp.Any):
        right = _compile(other, types)
        return lambda row: compare(left(row), right(row))
    literal_items = array_items(other)
    if literal_items is not None:
        items = [_compile(i, types) for i in literal_items]
        return lambda row: quantified(compare, left(row), [i(row) for i in items], every=every)
    operand = other.this if isinstance(other, exp.Any | exp.All) else other.expressions[0]
    array = _compile(operand, types)

    def judge(row: Row) -> object:
        values = array(row)
        if not isinstance(values, list):
            return None if values is None else UNKNOWN
        return quantified(compare, left(row), values, every=every)

    return judge


def _in(node: exp.Expression, types: Types) -> Evaluator:
    if not node.expressions:
        return lambda row: UNKNOWN
    left, items = _compile(node.this, types), [_compile(i, types) for i in node.expressions]
    return lambda row: quantified(equal, left(row), [i(row) for i in items], every=False)


def _between(node: exp.Expression, types: Types) -> Evaluator:
    low = exp.GTE(this=node.this.copy(), expression=node.args["low"].copy())
    high = exp.LTE(this=node.this.copy(), expression=node.args["high"].copy())
    return _and(exp.And(this=low, expression=high), types)


def _distinct(node: exp.Expression, types: Types) -> Evaluator:
    left, right = _compile(node.this, types), _compile(node.expression, types)
    wanted = isinstance(node, exp.NullSafeEQ)

    def judge(row: Row) -> object:
        a, b = left(row), right(row)
        if a is UNKNOWN or b is UNKNOWN:
            return UNKNOWN
        if a is None or b is None:
            return (a is b) is wanted
        same = equal(a, b)
        return (same is wanted) if isinstance(same, bool) else UNKNOWN

    return judge


def _regex(node: exp.Expression, types: Types) -> Evaluator:
    left, right = _compile(node.this, types), _compile(node.expression, types)
    fold = isinstance(node, exp.RegexpILike)
    return lambda row: match_regex(left(row), right(row), fold=fold)


def _like(node: exp.Expression, types: Types) -> Evaluator:
    left, right = _compile(node.this, types), _compile(node.expression, types)
    fold, negate = isinstance(node, exp.ILike), bool(node.args.get("negate"))

    def judge(row: Row) -> object:
        value = match_like(left(row), right(row), fold=fold)
        return negated(value) if negate else value

    return judge


_CAST_BASES = {
    exp.DataType.Type.TEXT: "text",
    exp.DataType.Type.VARCHAR: "text",
    exp.DataType.Type.BPCHAR: "bpchar",
    exp.DataType.Type.CHAR: "bpchar",
    exp.DataType.Type.SMALLINT: "int8",
    exp.DataType.Type.INT: "int8",
    exp.DataType.Type.BIGINT: "int8",
    exp.DataType.Type.DECIMAL: "numeric",
    exp.DataType.Type.FLOAT: "numeric",
    exp.DataType.Type.DOUBLE: "numeric",
    exp.DataType.Type.BOOLEAN: "bool",
    exp.DataType.Type.DATE: "date",
    exp.DataType.Type.TIMESTAMP: "timestamp",
    exp.DataType.Type.TIMESTAMPTZ: "timestamptz",
    exp.DataType.Type.TIME: "time",
    exp.DataType.Type.INTERVAL: "interval",
    exp.DataType.Type.UUID: "uuid",
    exp.DataType.Type.JSON: "jsonb",
    exp.DataType.Type.JSONB: "jsonb",
}


def _cast(node: exp.Expression, types: Types) -> Evaluator:
    inner, to = _compile(node.this, types), node.args["to"]
    if to.this == exp.DataType.Type.ARRAY:
        return _array_cast(inner, to)
    base = _CAST_BASES.get(to.this)
    if to.this == exp.DataType.Type.USERDEFINED:
        word = to.sql(dialect="postgres").rpartition(".")[2].strip('"').lower()
        base = word if word in ("citext", "bytea") else None
        if base is None:  # most likely an enum
            return lambda row: Label(v) if isinstance(v := inner(row), Untyped) else v
    if base is None:
        return lambda row: OPAQUE if isinstance(v := inner(row), Untyped) else v
    if to.expressions and base in ("text", "bpchar", "int8", "numeric"):
        base = "text" if base in ("text", "bpchar") else base
    decode = decoder_of_base(base)

    def convert(row: Row) -> object:
        value = inner(row)
        if isinstance(value, Untyped) or (
            isinstance(value, str) and base not in ("text", "bpchar")
        ):
            decoded = decode(str(value))
            if decoded is OPAQUE and not isinstance(value, Untyped):
                raise _Refused  # the server would refuse a cast of such a text
            return decoded
        if value is None or isinstance(value, Mark):
            return value
        return _converted(value, base)

    return convert


def _array_cast(inner: Evaluator, to: exp.Expression) -> Evaluator:
    kind = to.expressions[0].this if to.expressions else None
    base = _CAST_BASES.get(kind) if kind is not None else None

    def convert(row: Row) -> object:
        value = inner(row)
        if not isinstance(value, Untyped):
            return value
        if base is None:
            return OPAQUE
        decode = decoder_of_base(base)
        return [None if item is None else decode(item) for item in split_array(value)]

    return convert


def _converted(value: object, base: str) -> object:
    if base == "text":
        return str(value) if isinstance(value, str) else UNKNOWN
    if base == "bpchar" and isinstance(value, str):
        return value.rstrip(" ")
    if base in ("int8", "numeric"):
        if isinstance(value, bool):
            return Decimal(int(value))
        if not isinstance(value, Decimal):
            return UNKNOWN
        return value if base == "numeric" else value.to_integral_value(ROUND_HALF_UP)
    if base == "date" and isinstance(value, dt.datetime):
        return value.date()
    if base in ("timestamp", "timestamptz") and type(value) is dt.date:
        return dt.datetime.combine(value, dt.time())
    decoded_like = {"date": dt.date, "timestamp": dt.datetime, "timestamptz": dt.datetime}
    kind = decoded_like.get(base)
    if kind is not None:
        return value if isinstance(value, kind) else UNKNOWN
    return value


def _arithmetic(node: exp.Expression, types: Types) -> Evaluator:
    left, right = _compile(node.this, types), _compile(node.expression, types)
    operator = type(node)

    def compute(row: Row) -> object:
        a, b = left(row), right(row)
        if a is None or b is None:
            return None
        if isinstance(a, Untyped | Mark) or isinstance(b, Untyped | Mark):
            return UNKNOWN
        if operator is exp.DPipe:
            return str(a) + str(b) if isinstance(a, str) and isinstance(b, str) else UNKNOWN
        if isinstance(a, Decimal) and isinstance(b, Decimal):
            return _calculate(operator, a, b)
        if type(a) is dt.date and isinstance(b, Decimal):
            days = dt.timedelta(days=int(b))
            return a + days if operator is exp.Add else a - days
        if type(a) is dt.date and isinstance(b, dt.timedelta):
            a = dt.datetime.combine(a, dt.time())
        if isinstance(b, dt.timedelta) and isinstance(a, dt.datetime | dt.timedelta):
            if operator is exp.Add:
                return a + b
            return a - b if operator is exp.Sub else UNKNOWN
        if isinstance(a, dt.datetime) and isinstance(b, dt.datetime) and operator is exp.Sub:
            return a - b
        if type(a) is dt.date and type(b) is dt.date and operator is exp.Sub:
            return Decimal((a - b).days)
        return UNKNOWN

    return compute


def _calculate(operator: type[exp.Expression], a: Decimal, b: Decimal) -> object:
    try:
        if operator is exp.Add:
            return a + b
        if operator is exp.Sub:
            return a - b
        if operator is exp.Mul:
            return a * b
        if operator is exp.Mod:
            return a % b
        if operator is exp.BitwiseAnd:
            return Decimal(int(a) & int(b))
        if operator is exp.BitwiseOr:
            return Decimal(int(a) | int(b))
    except (InvalidOperation, DivisionByZero):
        return UNKNOWN
    return UNKNOWN  # division: whether it is integral depends on types


def _negative(node: exp.Expression, types: Types) -> Evaluator:
    inner = _compile(node.this, types)
    return lambda row: (
        -v if isinstance(v := inner(row), Decimal) else None if v is None else UNKNOWN
    )


def _array(node: exp.Expression, types: Types) -> Evaluator:
    items = [_compile(i, types) for i in node.expressions]
    return lambda row: [i(row) for i in items]


def _case(node: exp.Expression, types: Types) -> Evaluator:
    base = node.this
    branches = []
    for branch in node.args.get("ifs", []):
        test = branch.this
        if base is not None:
            test = exp.EQ(this=base.copy(), expression=test.copy())
        branches.append((_compile(test, types), _compile(branch.args["true"], types)))
    default = node.args.get("default")
    otherwise: Evaluator = _compile(default, types) if default is not None else lambda row: None

    def choose(row: Row) -> object:
        for test, result in branches:
            answer = test(row)
            if answer is True:
                return result(row)
            if isinstance(answer, Mark):
                return UNKNOWN
        return otherwise(row)

    return choose


def _containment(node: exp.Expression, types: Types) -> Evaluator:
    left, right = _compile(node.this, types), _compile(node.expression, types)
    kind = type(node)

    def judge(row: Row) -> object:
        a, b = left(row), right(row)
        if a is None or b is None:
            return None
        if isinstance(a, Json) and isinstance(b, Json) and kind is not exp.ArrayOverlaps:
            small, big = (a, b) if kind is exp.ArrayContainedBy else (b, a)
            return json_contains(big.value, small.value)
        if not isinstance(a, list) or not isinstance(b, list):
            return UNKNOWN
        if any(isinstance(v, Mark) for v in (*a, *b)):
            return UNKNOWN
        if kind is exp.ArrayOverlaps:
            return any(v in b for v in a if v is not None)
        few, many = (a, b) if kind is exp.ArrayContainedBy else (b, a)
        return all(v is not None and v in many for v in few)

    return judge


def _json_get(node: exp.Expression, types: Types) -> Evaluator:
    inner, as_text = _compile(node.this, types), isinstance(node, exp.JSONExtractScalar)
    step = bare(node.expression)
    key: object = None
    if isinstance(step, exp.Literal):
        key = str(step.this) if step.is_string else int(step.this)
    elif isinstance(step, exp.JSONPath):
        parts = [p for p in step.expressions if isinstance(p, exp.JSONPathKey)]
        key = str(parts[0].this) if len(parts) == 1 == len(step.expressions) - 1 else None
    if key is None:
        return lambda row: UNKNOWN

    def get(row: Row) -> object:
        document = inner(row)
        if document is None or not isinstance(document, Json):
            return None if document is None else UNKNOWN
        value: object = None
        if isinstance(document.value, dict) and isinstance(key, str):
            if key not in document.value:
                return None
            value = document.value[key]
        elif isinstance(document.value, list) and isinstance(key, int):
            if not -len(document.value) <= key < len(document.value):
                return None
            value = document.value[key]
        else:
            return None
        if not as_text:
            return Json(value)
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, dict | list):
            return OPAQUE
        return None if value is None else str(value)

    return get


def _json_key(node: exp.Expression, types: Types) -> Evaluator:
    left, right = _compile(node.this, types), _compile(node.expression, types)

    def judge(row: Row) -> object:
        document, key = left(row), right(row)
        if document is None or key is None:
            return None
        if not isinstance(document, Json) or not isinstance(key, str):
            return UNKNOWN
        return key in document.value if isinstance(document.value, dict | list) else UNKNOWN

    return judge


def _extract(node: exp.Expression, types: Types) -> Evaluator:
    inner, unit = _compile(node.expression, types), node.name.lower()

    def get(row: Row) -> object:
        value = inner(row)
        if value is None or not isinstance(value, dt.date):
            return None if value is None else UNKNOWN
        match unit:
            case "year" | "month" | "day" | "hour" if hasattr(value, unit):
                return Decimal(getattr(value, unit))
            case "isodow":
                return Decimal(value.isoweekday())
            case "dow":
                return Decimal(value.isoweekday() % 7)
        return UNKNOWN

    return get


def _function(node: exp.Expression, types: Types) -> Evaluator:
    name = node.name.lower() if isinstance(node, exp.Anonymous) else _FUNCTION_NAMES.get(type(node))
    if name is None:
        return lambda row: UNKNOWN
    if name == "now":
        return lambda row: NOW
    if name == "current_date":
        return lambda row: NOW.date()
    operands: list[exp.Expression] = []
    if not isinstance(node, exp.Anonymous):
        operands = [node.this] if isinstance(node.this, exp.Expression) else []
        extra = node.args.get("expression") or node.args.get("unit")
        operands += [extra] if isinstance(extra, exp.Expression) else []
    if name == "trim" and node.args.get("position") not in (None, "BOTH"):
        return lambda row: UNKNOWN
    operands += node.expressions
    arguments = [_compile(o, types) for o in operands]
    return lambda row: call(name, [argument(row) for argument in arguments])


_FUNCTION_NAMES: dict[type[exp.Expression], str] = {
    exp.Length: "char_length",
    exp.Lower: "lower",
    exp.Upper: "upper",
    exp.Trim: "trim",
    exp.Coalesce: "coalesce",
    exp.ArraySize: "array_length",
    exp.Abs: "abs",
    exp.Greatest: "greatest",
    exp.Least: "least",
    exp.CurrentTimestamp: "now",
    exp.CurrentDate: "current_date",
    exp.TimestampTrunc: "date_trunc",
    exp.Nullif: "nullif",
}

_MAKERS: dict[type[exp.Expression], Callable[[exp.Expression, Types], Evaluator]] = {
    exp.Literal: _literal,
    exp.Boolean: _boolean,
    exp.Null: lambda node, types: lambda row: None,
    exp.Column: _column,
    exp.Paren: _through,
    exp.Collate: _through,
    exp.And: _and,
    exp.Or: _or,
    exp.Not: _not,
    exp.Is: _is,
    **dict.fromkeys(COMPARE, _comparison),
    exp.In: _in,
    exp.Between: _between,
    exp.NullSafeEQ: _distinct,
    exp.NullSafeNEQ: _distinct,
    exp.RegexpLike: _regex,
    exp.RegexpILike: _regex,
    exp.Like: _like,
    exp.ILike: _like,
    exp.Cast: _cast,
    **dict.fromkeys((exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.DPipe), _arithmetic),
    **dict.fromkeys((exp.BitwiseAnd, exp.BitwiseOr), _arithmetic),
    exp.Neg: _negative,
    exp.Array: _array,
    exp.Case: _case,
    exp.Extract: _extract,
    exp.ArrayContainedBy: _containment,
    exp.ArrayContainsAll: _containment,
    exp.ArrayOverlaps: _containment,
    exp.JSONExtract: _json_get,
    exp.JSONExtractScalar: _json_get,
    exp.JSONBContainsTopKey: _json_key,
}
