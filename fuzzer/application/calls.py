"""A call of an application query: who calls it, as whom it runs, with what."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tenantfuzz.application.queries import LiveQuery
from tenantfuzz.application.sending import Instead, is_ordered
from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.query_parts import Reference
from tenantfuzz.policies.query_standing import Standing
from tenantfuzz.policies.query_text import QueryText
from tenantfuzz.results import Outcome
from tenantfuzz.strategies.arguments import Arguments

SERVICE = "service"

if TYPE_CHECKING:
    from tenantfuzz.application.judging import QueryJudge


@dataclass(frozen=True, slots=True)
class Case:
    """One call: the query (or ``text`` in place of its own), who calls, and as whom it runs."""

    query: LiveQuery
    caller: Principal
    actor: Principal
    arguments: Arguments
    judge: "QueryJudge"
    kind: str = SERVICE  # of its cell: the application's own role, or the caller's kind
    text: QueryText | None = None
    instead: Instead = field(default_factory=dict)  # statements in place of those that code sends

    @property
    def by_policies(self) -> bool:
        """Whether it runs in the caller's own identity, under policies."""
        return self.kind != SERVICE

    @property
    def sql(self) -> str:
        """The statement, with its arguments."""
        return self.query.bound(self.caller, self.arguments, self.text)

    def perform(self) -> Outcome:
        """Does it on the stage, and keeps what it did; a failure leaves no trace."""
        stage = self.judge.stage
        if self.query.function is not None:
            return self.query.function.call(
                stage, self.caller, self.actor, self.arguments, self.instead
            )
        return stage.act(self.actor, self.sql)

    @property
    def ordered(self) -> bool:
        """Whether it asks for its rows in an order."""
        if self.query.function is not None:
            return is_ordered(self.query.function.sent())
        return self.query.analysis is not None and self.query.analysis.ordered

    @property
    def unordered(self) -> bool:
        """Whether an aggregate of the query collects values in no order."""
        return self.query.analysis is not None and self.query.analysis.unordered

    @property
    def conflicts(self) -> bool:
        """Whether the statement may find a key taken and go on."""
        return self.query.analysis is not None and self.query.analysis.upserts

    def loose(self) -> list[Reference]:
        """The references that nothing ties to the caller, then those tied by a key alone."""
        analysis = self.query.analysis
        if analysis is None:
            return []
        standing = self.query.standing
        order = sorted(analysis.references, key=lambda r: standing[r.number])
        return [r for r in order if standing[r.number] <= Standing.KEYED]
