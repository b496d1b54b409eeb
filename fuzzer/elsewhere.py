"""Elsewhere: what was read without a finding, once more in worlds that differ in hidden rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tenantfuzz.asking import Asking
from tenantfuzz.control import doors_of
from tenantfuzz.oracles.cut import Cut, Perturb
from tenantfuzz.policies.predictions import Key, Prediction
from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.structure import RelationName
from tenantfuzz.results import Outcome, same_answer
from tenantfuzz.stage import Stage
from tenantfuzz.strategies.actions import Action

Hidden = dict[RelationName, set[Key]]


@dataclass(frozen=True, slots=True)
class Difference:
    """What one principal got another answer to: the statements that may show it, the plainest
    first, and the relations that a generated query reads (none for a plain read)."""

    principal: Principal
    actions: tuple[Action, ...]
    relations: frozenset[str] = frozenset()


@dataclass(slots=True)
class Elsewhere:
    """The other worlds of one round. ``reads`` are plain ones with what they gave; generated
    queries wait in ``asking``. ``count`` is how often something was read again."""

    stage: Stage
    ground: Prediction
    cut: Cut
    asking: Asking
    reads: dict[Principal, list[tuple[Action, Outcome]]] = field(default_factory=dict)
    count: int = 0

    def differences(self) -> Iterator[Difference]:
        """What is answered otherwise where hidden rows are gone, and where they say something
        else. Principals from whom the same rows are hidden share these worlds; the world stands
        as it was whenever something is yielded."""
        perturb = Perturb(self.stage.catalog, self.stage.model)
        for hidden, principals in self._groups():
            yield from self._after(principals, self.cut.statements(hidden), cut=True)
            yield from self._after(principals, perturb.statements(hidden), cut=False)
        self.reads.clear()
        self.asking.forget()

    def _groups(self) -> list[tuple[Hidden, list[Principal]]]:
        groups: dict[str, tuple[Hidden, list[Principal]]] = {}
        for principal in dict.fromkeys((*self.reads, *self.asking.principals())):
            gone = self.cut.hidden(self.ground, principal)
            if gone:
                name = repr(sorted((str(r), sorted(k)) for r, k in gone.items()))
                groups.setdefault(name, (gone, []))[1].append(principal)
        return list(groups.values())

    def _after(
        self, principals: Sequence[Principal], statements: Sequence[str], *, cut: bool
    ) -> list[Difference]:
        """What differs once the trusted role ran ``statements``. Plain reads come first: what they
        show, queries over the same relations would repeat."""
        reads: list[Difference] = []
        queries: list[Difference] = []
        with self.stage.altered(statements) as done:
            for principal in principals if done else ():
                calm = self.reads.get(principal, [])
                doors = doors_of([action for action, _ in calm])
                again = self.stage.read(principal, [a.sql for a, _ in calm], doors=doors)
                self.count += len(again) + self.asking.waiting(principal)
                reads += [
                    Difference(principal, (action,))
                    for (action, outcome), other in zip(calm, again, strict=True)
                    if not same_answer(outcome, other) and not other.cancelled
                ]
                queries += [
                    Difference(principal, a.actions(), frozenset(map(str, a.query.relations)))
                    for a in self.asking.again(principal, cut=cut)
                ]
        return reads + queries
