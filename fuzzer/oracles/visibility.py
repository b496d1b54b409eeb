"""Visibility: what a principal selects from a relation is in the prediction, row for row."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tenantfuzz.oracles.violation import Observation, Violation
from tenantfuzz.policies.predictions import Key, Prediction, RowFacts, in_scope, owners_of
from tenantfuzz.policies.principals import CONTEXT_FREE, HostileKind, Principal
from tenantfuzz.policies.structure import Relation

_LOCKING = re.compile(r"\bFOR\s+(NO\s+KEY\s+UPDATE|UPDATE|KEY\s+SHARE|SHARE)\b", re.IGNORECASE)


def reads_for_update(sql: str) -> bool:
    """Whether a SELECT locks its rows: then further policies apply (manual, CREATE POLICY)."""
    return _LOCKING.search(sql) is not None


def read_code(principal: Principal, row: RowFacts, relation: Relation, sql: str) -> str:
    """The code of a read of ``row`` beyond the prediction, by its effect."""
    if in_scope(row, principal):
        return "TF401"
    if principal.kind in CONTEXT_FREE:
        return "TF108"
    if principal.kind == HostileKind.CLAIM:
        return "TF109"
    if reads_for_update(sql):
        return "TF107"
    return "TF104" if relation.is_partition else "TF101"


@dataclass(frozen=True, slots=True)
class Visibility:
    """Judges reads whose rows are known by key."""

    prediction: Prediction

    def judge(
        self, principal: Principal, relation: Relation, sql: str, observation: Observation
    ) -> Iterator[Violation]:
        """A violation for each code under which hidden rows were shown."""
        if not observation.identified:
            return
        hidden = observation.keys & self.prediction.hidden(principal, relation.name)
        yield from violations(self.prediction, principal, relation, sql, hidden)


def violations(
    prediction: Prediction,
    principal: Principal,
    relation: Relation,
    sql: str,
    keys: frozenset[Key],
    note: str = "",
) -> Iterator[Violation]:
    """Hidden rows that were shown, grouped by what that means."""
    rows = prediction.state[relation.name]
    by_code: dict[str, list[RowFacts]] = {}
    for key in sorted(keys):
        by_code.setdefault(read_code(principal, rows[key], relation, sql), []).append(rows[key])
    for code, shown in by_code.items():
        owners = ", ".join(owners_of(shown)) or "nobody"
        yield Violation(
            code=code,
            relation=relation.name,
            operation="select",
            expected="no row that is hidden from it",
            observed=f"{len(shown)} hidden row{'' if len(shown) == 1 else 's'}, owned by {owners}",
            before=tuple(shown),
            note=note,
        )
