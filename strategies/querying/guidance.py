"""Guidance: what queries were made of, and which plans they had; the less seen the better.

Queries that the server runs in a way not seen before are the ones worth making more of (query plan
guidance: Ba and Rigger, 2023).
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from tenantfuzz.strategies.querying.tree import Query

_NODES = ("Node Type", "Join Type", "Strategy", "Partial Mode", "Command", "Sampling Method")


@dataclass(slots=True)
class Guidance:
    """What a campaign has seen so far. ``enabled`` says whether it has a say."""

    enabled: bool = True
    plans: Counter[str] = field(default_factory=Counter)
    explained: int = 0
    _pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    _tried: Counter[str] = field(default_factory=Counter)
    _new: Counter[str] = field(default_factory=Counter)

    def novelty(self, query: Query) -> float:
        """The more of its pairs of features are rare, the greater."""
        if not self.enabled:
            return 0.0
        root = str(query.relations[0])
        pairs = [*combinations(query.features, 2), *((root, f) for f in query.features)]
        return sum(1 / (1 + self._pairs[p]) for p in pairs)

    def note(self, query: Query) -> None:
        """Takes in a query that is going to be asked."""
        root = str(query.relations[0])
        self._pairs.update(combinations(query.features, 2))
        self._pairs.update((root, f) for f in query.features)

    def weights(self, names: Sequence[str], weights: Sequence[float]) -> Sequence[float]:
        """How often each shape should be made, by the share of new plans that it led to."""
        if not self.enabled or self.explained < len(names):
            return weights
        return [
            weight * (0.5 + (self._new[name] + 1) / (self._tried[name] + 2))
            for name, weight in zip(names, weights, strict=True)
        ]

    def explain(self, query: Query, plan: str) -> bool:
        """Takes in the shape of a query's plan (see ``plan_shape``); True if it is new."""
        self.explained += 1
        self._tried[query.features[0]] += 1
        self.plans[plan] += 1
        new = self.plans[plan] == 1
        self._new[query.features[0]] += new
        return new


def plan_shape(explained: str) -> str:
    """``EXPLAIN (FORMAT JSON, COSTS OFF)`` reduced to the kinds of its nodes and how they nest."""
    return _shape(json.loads(explained)[0]["Plan"])


def _shape(node: dict[str, Any]) -> str:  # JSON
    name = "/".join(str(node[k]) for k in _NODES if k in node)
    below = ",".join(map(_shape, node.get("Plans", ())))
    return f"{name}({below})" if below else name
