"""A trial: does this witness still show that finding?"""

from dataclasses import replace

from tenantfuzz.adapters.calling import stranger_to
from tenantfuzz.adapters.running import ProcessCall, adapters_of
from tenantfuzz.application.adapters import whole_application
from tenantfuzz.application.judging import QueryJudge
from tenantfuzz.application.keeping import is_doubtful, verdicts_anew
from tenantfuzz.application.queries import Application
from tenantfuzz.counterexample import Witness
from tenantfuzz.findings import Finding
from tenantfuzz.judge import Judge, Verdict
from tenantfuzz.loading_worlds import WorldLoader
from tenantfuzz.oracles.provenance import Tokens, canaries_of
from tenantfuzz.policies.predictions import Prediction
from tenantfuzz.policies.principals import Freshness, Principal
from tenantfuzz.preparation import Prepared
from tenantfuzz.stage import Stage

NEED_CUTS = frozenset({"TF106", "TF307", "TF301", "TF302", "TF303"})
"""Codes of findings that show only where the same is done in two worlds."""


class Trial:
    """Tries witnesses on a target, one after the other, on one connection where that will do."""

    def __init__(self, prepared: Prepared, loader: WorldLoader) -> None:
        self._prepared = prepared
        self._loader = loader
        self.count = 0
        self._application: Application | None = None
        self._has_called = False  # code in this process, which may keep what it was called with

    def verdict(
        self, stage: Stage, witness: Witness, *, cuts: bool = True, sure: bool = True
    ) -> Verdict | str:
        """What the judge says of the witness on a fresh world, or why it cannot be tried.

        Without ``cuts`` it is faster, and only what shows in one world is found; without ``sure``
        code in a process that may keep its answers is asked once.
        """
        self.count += 1
        stage = self._standing(stage, witness)
        try:
            refused = stage.open(witness.world, after=witness.principal)
            if refused:
                first = refused[0]
                return f"a row of {first.row.relation} is refused: {first.failure.message}"
            principal = present(stage, witness.principal)
            if principal is None:
                return f"there is no principal of kind {witness.principal.kind} any more"
            ground = stage.prediction()
            origin = {r.canary: r.relation for r in witness.world.rows if r.canary}
            tokens = canaries_of(ground.state, origin)
            if witness.steps and witness.steps[-1].operation == "query":
                return self._of_query(stage, ground, tokens, principal, witness, sure=sure)
            judge = Judge(stage, ground, tokens)
            return judge.judge(principal, witness.steps, cuts=cuts)
        finally:
            stage.close()

    def _standing(self, stage: Stage, witness: Witness) -> Stage:
        """The stage to try it on: for code with connections of its own one that is committed."""
        step = witness.steps[-1] if witness.steps else None
        if step is None or step.operation != "query":
            return stage
        query = self.application().queries.get(step.relation.name)
        if query is None or not query.outside:
            return stage
        committed = adapters_of(self._prepared).stage
        committed.thorough = False  # that it was found is established
        return committed

    def application(self) -> Application:
        """The application of the target, read once."""
        if self._application is None:
            self._application = whole_application(self._prepared)
        return self._application

    def _of_query(
        self,
        stage: Stage,
        ground: Prediction,
        tokens: Tokens,
        principal: Principal,
        witness: Witness,
        *,
        sure: bool,
    ) -> Verdict | str:
        application = self.application()
        name = witness.steps[-1].relation.name
        if name not in application.queries:
            return application.broken.get(name, f"the target has no query {name!r} any more")
        query = application.queries[name]
        if query.outside and query.function is not None:
            # It has served somebody else before, as it had when the leak was found.
            for other in stranger_to(stage, [principal]):
                with stage.undone():
                    query.function.call(stage, other, other, dict(witness.steps[-1].arguments))
        judge = QueryJudge(stage, ground, tokens, application)
        if query.function is not None and not query.outside:
            return self._of_python(judge, principal, witness, sure=sure)
        verdict = judge.judge(principal, witness.steps)
        if verdict.findings or not sure or not isinstance(query.function, ProcessCall):
            return verdict
        with query.function.anew():  # what its process keeps may have hidden it
            return judge.judge(principal, witness.steps)

    def _of_python(
        self, judge: QueryJudge, principal: Principal, witness: Witness, *, sure: bool
    ) -> Verdict | str:
        """By itself and after others were served, if ``sure``; else as the witness says."""
        shown = None
        tainted = self._has_called
        self._has_called = True
        for shown in verdicts_anew(judge, principal, witness.steps, sure=sure):
            if shown.verdict.findings or not sure:
                return shown.verdict
            if shown.anew:
                tainted = False
        name = witness.steps[-1].relation.name
        if shown is None:
            return f"no member of another tenant is there to call {name} before"
        if is_doubtful(witness.steps):
            return f"it needs calls before it that nobody knows, and did not show; run {name} again"
        if tainted:
            return (
                f"it did not show, but {name} may have kept answers of calls before it: its "
                "modules cannot be imported anew; replay it alone"
            )
        return shown.verdict

    def shows(self, stage: Stage, witness: Witness, finding: Finding) -> Finding | None:
        """The same finding (by fingerprint) as this witness shows it, or None."""
        verdict = self.verdict(stage, witness, cuts=finding.code in NEED_CUTS, sure=False)
        if isinstance(verdict, str):
            return None
        for found in verdict.findings:
            same = found.fingerprint == finding.fingerprint
            if same and bool(found.owner_tenants) == bool(finding.owner_tenants):
                return found
        return None


def present(stage: Stage, principal: Principal) -> Principal | None:
    """The principal as the world on the stage has it: with the memberships that it has there.

    One that is nobody (no user, no tenant of its own) is what it is in every world.
    """
    if principal.user is None and not principal.memberships:
        return principal
    for other in stage.principals():
        if (
            other.kind == principal.kind
            and other.user == principal.user
            and other.tenant == principal.tenant
            and other.freshness == principal.freshness
            and other.note == principal.note
        ):
            return other
    return _of_same_user(stage, principal)


def _of_same_user(stage: Stage, principal: Principal) -> Principal | None:
    """A special identity of a user who is there with the same memberships."""
    for other in stage.principals():
        if other.user == principal.user and other.memberships == principal.memberships:
            if principal.freshness is Freshness.ANY and principal.kind == other.kind:
                return other
            return replace(principal, all_tenants=other.all_tenants)
    return None
