"""The fuzz phase: worlds and choices drawn by Hypothesis until the budget ends."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from time import monotonic

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tenantfuzz.events import Event
from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.structure import RelationName
from tenantfuzz.policies.world import World
from tenantfuzz.strategies.plan import Plan
from tenantfuzz.strategies.worlds import worlds

RunExample = Callable[[World, random.Random], Iterator[Event]]
"""Plays one world; the generator decides who acts on what."""

_FIRST_CHUNK = 4
_CHUNK_SECONDS = 2.0
_MOST = 200


def fuzz(
    plan: Plan,
    run: RunExample,
    *,
    base_seed: int,
    deadline: float | None,
    max_examples: int | None,
    spend: Callable[[float], None],
) -> Iterator[Event]:
    """Draws examples in chunks, so that events come out while it goes on.

    Hypothesis draws each world and one number from which the choice of actions follows. Stops at
    ``deadline`` (monotonic seconds) or after ``max_examples``. ``spend`` is told the seconds that
    drawing took.
    """
    done, size, chunk = 0, _FIRST_CHUNK, 0
    while max_examples is None or done < max_examples:
        if deadline is not None and monotonic() >= deadline:
            return
        if max_examples is not None:
            size = min(size, max_examples - done)
        begun = monotonic()
        events, ran, drawing, failed = _chunk(plan, run, base_seed + chunk, size, deadline)
        spend(drawing)
        yield from events
        if failed is not None:
            raise failed
        done += ran
        chunk += 1
        spent = max(monotonic() - begun, 0.001)
        size = max(1, min(_MOST, int(ran * _CHUNK_SECONDS / spent) or 1, 2 * size))
        if ran == 0:
            return


def _chunk(
    plan: Plan, run: RunExample, chunk_seed: int, size: int, deadline: float | None
) -> tuple[list[Event], int, float, Exception | None]:
    """What the examples gave, how many there were, the seconds that drawing took, and what ended
    them before their time."""
    events: list[Event] = []
    ran = 0
    failed: Exception | None = None
    begun, playing = monotonic(), 0.0

    @seed(chunk_seed)
    @settings(
        max_examples=size,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(world=worlds(plan), choice=st.integers(0, 2**32 - 1))
    def example(world: World, choice: int) -> None:
        nonlocal ran, playing, failed
        if failed is not None or (deadline is not None and monotonic() >= deadline):
            return
        ran += 1
        started = monotonic()
        try:
            events.extend(run(world, random.Random(f"{chunk_seed}/{choice}")))
        except Exception as error:
            # Hypothesis would take it for a failing test: try it again, and find it flaky where
            # a server that was lost is back.
            failed = error
        playing += monotonic() - started

    example()
    return events, ran, monotonic() - begun - playing, failed


class Fairness:
    """Breadth first: what was chosen least comes next, so that nothing starves."""

    def __init__(self) -> None:
        self._relations: Counter[RelationName] = Counter()
        self._kinds: Counter[str] = Counter()

    def relations(
        self, names: tuple[RelationName, ...], count: int, source: random.Random
    ) -> list[RelationName]:
        """The ``count`` relations that were chosen least, ties by chance."""
        order = sorted(names, key=lambda n: (self._relations[n], source.random()))
        chosen = order[:count]
        self._relations.update(chosen)
        return chosen

    def principals(
        self, principals: tuple[Principal, ...], count: int, source: random.Random
    ) -> list[Principal]:
        """The ``count`` principals whose kinds were chosen least, ties by chance."""
        order = sorted(principals, key=lambda p: (self._kinds[p.kind], source.random()))
        chosen = order[:count]
        self._kinds.update(p.kind for p in chosen)
        return chosen
