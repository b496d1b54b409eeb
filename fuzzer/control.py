"""The control: what the trusted role gets for the very statements that principals send.

A denial proves something only where the same statement does something when policies do not bind.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tenantfuzz.policies.principals import Freshness, Principal
from tenantfuzz.policies.structure import Operation, RelationName
from tenantfuzz.results import Failure, Outcome
from tenantfuzz.stage import Stage
from tenantfuzz.strategies.actions import Action

Door = tuple[RelationName, Operation]


@dataclass(slots=True)
class Control:
    """Outcomes of the trusted role on one stage. ``signed_in`` outlives it: what it could do only
    as if somebody were signed in."""

    stage: Stage
    principals: Sequence[Principal]
    signed_in: set[Door]
    _outcomes: dict[str, Outcome] = field(default_factory=dict)

    def ask(self, principal: Principal, actions: Sequence[Action]) -> None:
        """Tries statements that were not tried before. Where triggers may have refused one, it is
        tried again as if the principal were signed in, and then as if a member were."""
        relations = self.stage.catalog.relations
        new = [a for a in actions if a.sql not in self._outcomes]
        member = next((p for p in self.principals if not p.hostile), principal)
        identities = list(dict.fromkeys(((), principal.settings, member.settings)))
        if principal.freshness is not Freshness.ANY:
            identities = [()]  # a setting that was used once is never NULL again
        for settings in identities:
            texts, doors = [a.sql for a in new], doors_of(new)
            outcomes = self.stage.trusted(texts, settings=settings, doors=doors)
            for action, outcome in zip(new, outcomes, strict=True):
                self._outcomes[action.sql] = outcome
                if settings and had_effect(action, outcome):
                    self.signed_in.add((action.relation, action.operation))
            new = [a for a in new if self.refusal(a) is not None and relations[a.relation].triggers]
            if not new:
                break

    def could(self, principal: Principal, action: Action) -> bool:
        """Whether the trusted role could do it. Where identity was never set nobody can be signed
        in for that: it counts that it was seen to be possible so."""
        if had_effect(action, self._outcomes[action.sql]):
            return True
        door = (action.relation, action.operation)
        return principal.freshness is not Freshness.ANY and door in self.signed_in

    def refusal(self, action: Action) -> Failure | None:
        """Why the trusted role could not do it, if it could not."""
        return self._outcomes[action.sql].failure


def had_effect(action: Action, outcome: Outcome) -> bool:
    """Whether a write did anything; TRUNCATE does not say how much."""
    return outcome.failure is None and (outcome.affected > 0 or action.shape == "truncate")


def doors_of(actions: Sequence[Action]) -> list[Door]:
    """The door that each action comes to."""
    return [(a.relation, a.operation) for a in actions]
