"""Listening: application code is called before the worlds are planned, to hear what it asks for."""

from tenantfuzz.application.playing import ApplicationPlay
from tenantfuzz.loading_worlds import WorldLoader
from tenantfuzz.preparation import Prepared
from tenantfuzz.rehearsal import rehearse
from tenantfuzz.strategies.plan import Plan
from tenantfuzz.strategies.worlds import designed_worlds


def rehearse_listening(
    prepared: Prepared, loader: WorldLoader, play: ApplicationPlay, *, seed: int
) -> Plan:
    """A plan as ``rehearse`` makes it, for worlds that hold what the statements of the code of
    ``play`` look for: only a call tells what these are."""
    plan = rehearse(prepared, loader, seed=seed)
    if not play.code:
        return plan
    with prepared.stage(loader) as stage:
        heard = play.listen(stage, designed_worlds(plan, seed=seed, count=1)[0])
        stage.close()
    return rehearse(prepared, loader, seed=seed, heard=heard) if heard else plan
