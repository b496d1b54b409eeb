"""Reads what a server adds to the words of generated queries: operators, leakproof functions."""

from tenantfuzz.stage import Stage
from tenantfuzz.strategies.querying.lexicon import Operator, Vocabulary

# Volatile operators decide by chance or write; those of the system itself are known.
_OPERATORS = """
SELECT n.nspname, o.oprname, l.typname, r.typname, t.typname
FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace
JOIN pg_type l ON l.oid = o.oprleft JOIN pg_type r ON r.oid = o.oprright
JOIN pg_type t ON t.oid = o.oprresult JOIN pg_proc p ON p.oid = o.oprcode
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND p.provolatile <> 'v'
  AND t.typname IN ('bool', 'float4', 'float8')
  AND o.oprname NOT IN ('=', '<>', '<', '<=', '>', '>=')
ORDER BY 1, 2, 3, 4
"""
_LEAKPROOF = """
SELECT p.oid FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE p.proleakproof AND n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1
"""


def read_vocabulary(stage: Stage) -> Vocabulary:
    """The vocabulary of the server that the stage stands on (manual, User-Defined
    Operators; Rules and Privileges, on functions that leak)."""
    operators = [
        Operator(schema or "", symbol or "", left or "", right or "", result or "")
        for schema, symbol, left, right, result in stage.wire.query(_OPERATORS)
    ]
    leakproof = frozenset(int(oid or 0) for (oid,) in stage.wire.query(_LEAKPROOF))
    return Vocabulary(tuple(operators), leakproof)
