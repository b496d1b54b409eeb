"""Provenance: no token of a hidden row shows up anywhere, whatever carried it there."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tenantfuzz.policies.predictions import Key, Prediction, State, belongs_to
from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.structure import Operation, RelationName

CANARY = re.compile(r"cnry[a-z0-9]{6}")
_WORD = re.compile(r"[A-Za-z0-9_@.-]{5,}")

Tokens = Mapping[str, tuple[RelationName, Key]]
"""A token to the row that it came from."""


def canaries_of(
    state: State, origin: Mapping[str, RelationName]
) -> dict[str, tuple[RelationName, Key]]:
    """The canaries in a world's rows, each with the row it was made for.

    ``origin`` gives the relation that each canary was made for; copies in other relations
    (triggers, audit trails) do not count as its home.
    """
    tokens: dict[str, tuple[RelationName, Key]] = {}
    for relation, rows in state.items():
        for key, row in rows.items():
            for canary in CANARY.findall(row.text):
                if origin.get(canary) == relation:
                    tokens[canary] = (relation, key)
    return tokens


def unique_words(state: State) -> dict[str, tuple[RelationName, Key]]:
    """Words that stand in one row alone and are no part of its key: for worlds without canaries."""
    seen: dict[str, set[tuple[RelationName, Key]]] = {}
    for relation, rows in state.items():
        for key, row in rows.items():
            for word in set(_WORD.findall(row.text)):
                if word not in key:
                    seen.setdefault(word, set()).add((relation, key))
    keys = "\n".join(k for rows in state.values() for k in rows)
    return {
        word: next(iter(homes))
        for word, homes in seen.items()
        if len(homes) == 1 and word not in keys and not word.replace(".", "").isdigit()
    }


@dataclass(frozen=True, slots=True)
class Provenance:
    """Finds tokens of hidden rows in texts."""

    prediction: Prediction
    tokens: Tokens

    def hidden_in(
        self, principal: Principal, text: str, *, own: str
    ) -> Iterator[tuple[str, RelationName, Key]]:
        """Tokens in ``text`` whose rows belong to others and are hidden from ``principal``.

        Tokens in ``own`` (the action's text, the identity) say nothing, nor do tokens that stand
        in a row that the principal may lawfully select.
        """
        if not text or not self.tokens:
            return
        found = set(CANARY.findall(text)) & self.tokens.keys()
        if not found:
            found = {w for w in _WORD.findall(text) if w in self.tokens}
        for token in sorted(found):
            relation, key = self.tokens[token]
            row = self.prediction.state.get(relation, {}).get(key)
            if row is None or token in own or belongs_to(row, principal):
                continue
            if key not in self.prediction.hidden(principal, relation):
                continue
            if not self._lawful(principal, token):
                yield token, relation, key

    def _lawful(self, principal: Principal, token: str) -> bool:
        return any(
            token in rows[key].text
            for relation, rows in self.prediction.state.items()
            for key in self.prediction.allowed(principal, relation, Operation.SELECT)
            if key in rows
        )
