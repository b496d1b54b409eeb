"""Tries the calls of adapters in one world: first all of them as it is, then in other worlds."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tenantfuzz.adapters.committed import CommittedStage
from tenantfuzz.adapters.running import ProcessCall
from tenantfuzz.application.answers import Answer, agree, undone, world_with
from tenantfuzz.application.calls import Case
from tenantfuzz.application.trying import Cell, QueryRound
from tenantfuzz.findings import Finding
from tenantfuzz.judge import Verdict
from tenantfuzz.oracles.provenance import CANARY
from tenantfuzz.policies.predictions import Key
from tenantfuzz.policies.principals import Freshness, HostileKind, Principal
from tenantfuzz.policies.structure import RelationName
from tenantfuzz.results import Outcome
from tenantfuzz.stage import Stage

_MOST_WRITES = 6  # calls of one sort by one kind in one round that are judged because they wrote
_MOST_JUDGED = 8  # whatever made them suspicious
_TIRED = 1
_WRITES = frozenset({"TF502", "TF205", "TF402"})
_ASKED = 3  # answers of one call that are compared with those of an empty world


@dataclass(slots=True)
class CallRound(QueryRound):
    """The calls of adapters in the world that is committed.

    ``proven`` are the calls whose answers were seen to depend on the rows of a world: one that
    never does is not connected to it.
    """

    proven: set[str] = field(default_factory=set)
    _wrote: Counter[tuple[str, str]] = field(default_factory=Counter)

    def _functions(self, cases: Sequence[tuple[Cell, Case]]) -> Iterator[Finding]:
        calm: list[tuple[Case, Outcome]] = []
        writing: list[Case] = []
        suspicious: list[Case] = []
        for cell, case in cases:
            turn = _turn(case)
            if self._wrote[turn] >= _MOST_WRITES:
                continue
            with undone(self.stage):
                earlier = self.stage.touches()
                outcome = case.perform()
                wrote = self.stage.touches() != earlier
            self.counters.reads += 1
            self._note(cell, case, outcome, len(outcome.rows) or outcome.affected)
            if outcome.affected:
                self.proven.add(case.query.name)
            if wrote:
                self._wrote[turn] += 1
                self._face(case)
            odd = self._odd(case, outcome)
            if odd:
                self.proven.add(case.query.name)
            if wrote:
                writing.append(case)
            elif odd:
                suspicious.append(case)
            elif not Answer(outcome, Counter(), wrote=False).no_verdict:
                calm.append((case, outcome))
        for case in (*writing, *suspicious):
            yield from self._judge(case)
        self._prove(calm)  # first: whether it keeps answers decides how it is asked elsewhere
        yield from self._elsewhere(calm)

    def _odd(self, case: Case, outcome: Outcome) -> bool:
        if outcome.failure is not None:
            return CANARY.search(outcome.failure.texts) is not None
        return QueryRound._odd(self, case, outcome)

    def _is_enough(self, case: Case) -> bool:
        """A call that was seen to read what it must not may still be seen to write."""
        name = case.query.name
        turn = _turn(case)
        self._judged[turn] += 1
        codes = {code for query, code in self.experience.caught if query == name}
        tired = bool(codes) and (self._wrote[turn] == 0 or bool(codes & _WRITES))
        return self._judged[turn] > (_TIRED if tired else _MOST_JUDGED)

    def _verdict(self, case: Case) -> Verdict:
        """Of a call that is known to leak nobody needs to know whether plans matter."""
        stage = self.stage
        if isinstance(stage, CommittedStage):
            stage.thorough = all(query != case.query.name for query, _ in self.experience.caught)
        return QueryRound._verdict(self, case)

    def _differing(self, members: Sequence[tuple[Case, Outcome]]) -> list[Case]:
        found: list[Case] = []
        for case, outcome in members:
            again = self._again(case)
            if not _alike(outcome, again):
                found.append(case)
        return found

    def _again(self, case: Case) -> Outcome:
        self.counters.reads += 1
        with undone(self.stage):
            return case.perform()

    def _prove(self, calm: Sequence[tuple[Case, Outcome]]) -> None:
        """Asks once more where nothing is, not even the caller's own."""
        asked: Counter[str] = Counter()
        chosen = []
        for case, outcome in calm:
            name = case.query.name
            if name not in self.proven and outcome.rows and asked[name] < _ASKED:
                asked[name] += 1
                chosen.append((case, outcome))
        if not chosen:
            return
        with world_with(self.stage, self.stage.cut().statements(self._all())) as done:
            for case, outcome in chosen if done else ():
                name = case.query.name
                if not _alike(outcome, self._again(case)):
                    self.proven.add(name)
                elif isinstance(call := case.query.function, ProcessCall):
                    with call.anew():
                        keeps = not _alike(outcome, self._again(case))
                    if keeps:
                        self.proven.add(name)
                        call.remember_to_start_anew()

    def _all(self) -> dict[RelationName, set[Key]]:
        relations = self.stage.catalog.relations
        return {
            relation: set(rows)
            for relation, rows in self.ground.state.items()
            if rows and relations[relation].parent is None
        }


def _turn(case: Case) -> tuple[str, str]:
    """What is counted together: calls of one sort for callers alike of one tenant."""
    return case.query.name, f"{case.caller.kind} of {case.caller.tenant}"


def stranger_to(stage: Stage, callers: Sequence[Principal]) -> list[Principal]:
    """An ordinary member of a tenant that none of the callers acts for, if there is one."""
    theirs = {c.tenant for c in callers if not c.hostile}
    return [
        p
        for p in stage.principals()
        if not p.hostile
        and p.kind != HostileKind.DUAL
        and p.freshness is Freshness.ANY
        and p.tenant is not None
        and p.tenant not in theirs
    ][:1]


def _alike(one: Outcome, other: Outcome) -> bool:
    answers = [Answer(o, Counter(), wrote=False) for o in (one, other)]
    return any(a.no_verdict for a in answers) or agree(*answers)
