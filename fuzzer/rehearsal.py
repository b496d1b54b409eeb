"""The rehearsal: finds out on the server which relations can be populated, and how."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from tenantfuzz.loading_worlds import Refusal, WorldLoader
from tenantfuzz.policies.structure import Catalog, RelationName
from tenantfuzz.policies.world import World
from tenantfuzz.preparation import Prepared
from tenantfuzz.results import Failure
from tenantfuzz.strategies.dictionary import Dictionary
from tenantfuzz.strategies.plan import Plan
from tenantfuzz.strategies.population import plan_population
from tenantfuzz.strategies.worlds import designed_worlds

_ROUNDS = 32
_SESSION = re.compile(
    r"\b(current_setting|current_user|session_user|current_role)\b", re.IGNORECASE
)
_VARIANTS = 8  # how often a relation's rows may be refused before it is given up


def rehearse(
    prepared: Prepared, loader: WorldLoader, *, seed: int, heard: Sequence[str] = ()
) -> Plan:
    """A plan whose worlds the server accepts, as far as that can be had. What the application's
    code was ``heard`` to send counts as its declared queries do.

    Unknown constraints are settled by trial: rows that are refused are made in another way; what
    is refused again and again is left out, with the server's reason; where a trigger asks who is
    signed in, it is tried without triggers first.
    """
    variants: Counter[RelationName] = Counter()
    skip: dict[RelationName, str] = {}
    dictionary = prepared.heard(heard) if heard else prepared.dictionary
    plan = _plan(prepared, dictionary, variants, skip)
    with prepared.stage(loader) as stage:
        for _ in range(_ROUNDS):
            world = designed_worlds(plan, seed=seed, count=1)[0]
            refused = stage.open(world)
            stage.close()
            blamed = _blamed(world, refused)
            if not blamed:
                return plan
            for relation, failure in blamed.items():
                variants[relation] += 1
                if variants[relation] <= _VARIANTS:
                    continue
                if relation not in loader.untriggered and asks_session(prepared.catalog, relation):
                    loader.untriggered.add(relation)
                    variants[relation] = 0
                else:
                    skip[relation] = f"the server refuses its rows: {_reason(failure)}"
            plan = _plan(prepared, dictionary, variants, skip)
    return plan


def _plan(
    prepared: Prepared,
    dictionary: Dictionary,
    variants: Mapping[RelationName, int],
    skip: Mapping[RelationName, str],
) -> Plan:
    return plan_population(
        prepared.catalog,
        prepared.model,
        existing=prepared.existing,
        dictionary=dictionary,
        overrides={
            name: [str(v) for v in values] for name, values in prepared.configuration.values.items()
        },
        variants=dict(variants),
        skip=dict(skip),
    )


def _blamed(world: World, refused: list[Refusal]) -> dict[RelationName, Failure]:
    """Relations more than half of whose rows were refused, unless only because a row that they
    refer to was refused before."""
    made = Counter(r.relation for r in world.rows)
    failed: dict[RelationName, list[Failure]] = {}
    for refusal in refused:
        failed.setdefault(refusal.row.relation, []).append(refusal.failure)
    blamed = {
        relation: failures[0]
        for relation, failures in failed.items()
        if 2 * len(failures) > made[relation]
    }
    own = {r: f for r, f in blamed.items() if f.sqlstate != "23503"}
    return own or dict(list(blamed.items())[:1])


def asks_session(catalog: Catalog, relation: RelationName) -> bool:
    """Whether a trigger on INSERT into the relation asks who is signed in, itself or through the
    functions that it calls. While a world is loaded nobody is, so that it may refuse any row."""
    sources = {f.name.name: f.source for f in catalog.functions}
    found = " ".join(t.source for t in catalog.relations[relation].triggers if "insert" in t.events)
    known: set[str] = set()
    while not _SESSION.search(found):
        called = {n for n in re.findall(r"\w+", found) if n in sources} - known
        if not called:
            return False
        known |= called
        found = " ".join(sources[name] for name in called)
    return True


def _reason(failure: Failure) -> str:
    first = failure.message.splitlines()[0] if failure.message else failure.sqlstate
    return f"{first} ({failure.sqlstate})"
