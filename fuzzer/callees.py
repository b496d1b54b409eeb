"""Callees: functions and operators of the target that a statement calls, and how they go around
its policies."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tenantfuzz.culprits import Culprits
from tenantfuzz.policies.quoting import qualified
from tenantfuzz.policies.structure import RelationName
from tenantfuzz.stage import Stage

_OPERATOR = re.compile(r"OPERATOR\(\s*(?:\"?\w+\"?\.)?([^\s\w\"()]+)\s*\)")
_AROUND = """
SELECT n.nspname, p.proname, p.proleakproof, p.prosecdef, pg_get_function_identity_arguments(p.oid),
  ARRAY(SELECT o.oprname FROM pg_operator o WHERE o.oprcode = p.oid)::text
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND (p.proleakproof OR p.prosecdef)
ORDER BY 1, 2, 5
"""


@dataclass(frozen=True, slots=True)
class Callee:
    """A function that does not stop where policies do."""

    name: RelationName
    arguments: str
    leakproof: bool
    definer: bool


def callees(stage: Stage, sql: str) -> Iterator[Callee]:
    """The leakproof and SECURITY DEFINER functions that ``sql`` calls by name or by operator."""
    symbols = set(_OPERATOR.findall(sql))
    for schema, name, leakproof, definer, arguments, operators in stage.wire.query(_AROUND):
        function = RelationName(schema or "", name or "")
        called = re.search(rf"(?<![\w.\"]){re.escape(qualified(function))}\s*\(", sql)
        if called or any(s in (operators or "") for s in symbols):
            yield Callee(function, arguments or "", leakproof == "t", definer == "t")


def callees_to_blame(stage: Stage, sql: str) -> Culprits | None:
    """The culprits among what ``sql`` calls; None where it calls no such function."""
    found = list(callees(stage, sql))
    if not found:
        return None
    names, sentences, mends = [], [], []
    for callee in found:
        named = f"{qualified(callee.name)}({callee.arguments})"
        names.append(f"function {callee.name}")
        if callee.leakproof:
            sentences.append(
                f"Function {callee.name} is marked LEAKPROOF, so that conditions with it may be "
                "tried on rows before the policies are: whatever it says or fails on gets out "
                "(manual, Rules and Privileges)."
            )
            mends.append(f"ALTER FUNCTION {named} NOT LEAKPROOF;")
        if callee.definer:
            sentences.append(
                f"Function {callee.name} is SECURITY DEFINER: it reads as its owner, whom the "
                "caller's policies do not bind."
            )
            mends.append(
                f"ALTER FUNCTION {named} SECURITY INVOKER; or tie what it reads to the caller's "
                "tenant."
            )
    return Culprits(tuple(names), tuple(sentences), " ".join(mends))
