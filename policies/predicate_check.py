"""Check of predicates: what can be said of a configured SQL expression without a server."""

import re
from collections.abc import Sequence

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from tenantfuzz.policies.lookup import Lookup
from tenantfuzz.policies.structure import Relation
from tenantfuzz.policies.suggestions import did_you_mean, existing

PLACEHOLDERS = ("tenant", "tenants", "user")
"""What a predicate or query of the model may name behind a colon."""

# Words that stand for values and look like columns to a parser; and the system columns.
_VALUE_WORDS = "user session_user system_user current_catalog current_role current_schema"
_TIME_WORDS = "localtime localtimestamp"
_SYSTEM_COLUMNS = "ctid xmin xmax cmin cmax tableoid"
_NOT_COLUMNS = frozenset(f"{_VALUE_WORDS} {_TIME_WORDS} {_SYSTEM_COLUMNS}".split())


def check_predicate(
    text: str, relation: Relation | None, where: str, lookup: Lookup, *, alias: str | None = None
) -> None:
    """Adds to the lookup's problems what is wrong with a predicate over ``relation``'s columns.

    It must parse and use known placeholders; without a sub-select its columns must exist (behind a
    sub-select a name may belong to any relation: the server will say). ``alias`` is another name
    under which the relation is in scope.
    """
    try:
        # Parsed, never run.
        query = f"SELECT 1 FROM t WHERE (\n{text}\n)"
        statements = sqlglot.parse(query, dialect="postgres")
    except SqlglotError as error:
        lookup.problem(where, f"not a predicate: {_reason(error)}, in: {text}")
        return
    inner = _inner(statements)
    if inner is None:
        lookup.problem(where, f"not a predicate: {text}")
        return
    for placeholder in inner.find_all(exp.Placeholder):
        name = str(placeholder.this or "")
        if name not in PLACEHOLDERS:
            near = did_you_mean(f":{name}", [f":{p}" for p in PLACEHOLDERS])
            known = ", ".join(f":{p}" for p in PLACEHOLDERS)
            lookup.problem(where, f"unknown placeholder ':{name}'{near or f'; known: {known}'}")
    if relation is None or inner.find(exp.Query) is not None:
        return
    for column in inner.find_all(exp.Column):
        _check_column(column, relation, where, lookup, alias)


def _inner(statements: Sequence[object]) -> exp.Expression | None:
    """What stands between the parentheses, if that is all there is and is a plain expression."""
    select = statements[0] if len(statements) == 1 else None
    if not isinstance(select, exp.Select):
        return None
    clauses = {name for name, value in select.args.items() if value}
    where = select.args.get("where")
    if where is None or not isinstance(where.this, exp.Paren):
        return None
    inner = where.this.this
    if clauses - {"expressions", "from", "from_", "where"} or isinstance(inner, exp.Alias):
        return None
    return inner if isinstance(inner, exp.Expression) else None


def _check_column(
    column: exp.Column, relation: Relation, where: str, lookup: Lookup, alias: str | None
) -> None:
    if isinstance(column.this, exp.Star):
        return
    name = _folded(column.this)
    qualifier = column.args.get("table")
    scopes = {relation.name.name, alias} - {None}
    if qualifier is not None and _folded(qualifier) not in scopes:
        return
    if relation.column(name) is not None:
        return
    if qualifier is None and (name in _NOT_COLUMNS or name in scopes):
        return
    known = [c.name for c in relation.columns]
    near = did_you_mean(name, known)
    lookup.problem(
        where,
        f"unknown column '{name}' of {relation.name}{near or ';'} "
        f"existing: {existing(known, nearest_to=name)}",
    )


def _folded(identifier: exp.Expression) -> str:
    """An identifier's name as PostgreSQL folds it."""
    name = str(identifier.name)
    return name if identifier.args.get("quoted") else name.lower()


def _reason(error: SqlglotError) -> str:
    first = re.sub("\x1b\\[[0-9;]*m", "", str(error)).strip().splitlines()[0]
    return re.sub(r"[.:]?\s*Line \d+, Col:? \d+\.?", "", first).rstrip(".")
