"""Asking: generated queries by principals, in the world and in worlds without its hidden rows."""

import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

from tenantfuzz.judge import Judge
from tenantfuzz.observation import row_keys
from tenantfuzz.oracles.cut import may_be_cut
from tenantfuzz.policies.predictions import Prediction
from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.structure import Operation, RelationName
from tenantfuzz.results import Failure, Outcome, same_answer, texts_of
from tenantfuzz.stage import Stage
from tenantfuzz.steadiness import PLANNERS, planned
from tenantfuzz.strategies.actions import Action, Grants
from tenantfuzz.strategies.querying.guidance import Guidance, plan_shape
from tenantfuzz.strategies.querying.lexicon import Lexicon, Vocabulary
from tenantfuzz.strategies.querying.maker import QueryMaker
from tenantfuzz.strategies.querying.tree import Query
from tenantfuzz.strategies.querying.writes import WriteMaker
from tenantfuzz.strategies.scene import Rows
from tenantfuzz.strategies.scripting import script
from tenantfuzz.vocabulary import read_vocabulary

_NO_VERDICT = frozenset({"57014", "25P02", "26000"})  # cancelled, or the tool's own fault
_LAWFUL = frozenset({"42501", "42P17"})  # a denial and a recursion: valid all the same
_REPLANNED = 0.5  # share of batches under other settings of the planner
_PREPARED = 0.03  # share of queries that are prepared by hand
_EXPLAINED = 6  # one in so many queries is explained
_MEASURED = 8  # one in so many is put to the trusted role, in both worlds
_PLAN_CACHES = ("force_generic_plan", "force_generic_plan", "force_custom_plan")
_EXPLAIN = "EXPLAIN (FORMAT JSON, COSTS OFF) "
# A prepared statement outlives the savepoint that it was made in, and one that failed stays behind.
_FORGET = (
    "DO $$ BEGIN IF EXISTS (SELECT FROM pg_prepared_statements WHERE name = 'tf_query') "
    "THEN EXECUTE 'DEALLOCATE tf_query'; END IF; END $$"
)
_COMPARED = re.compile(r"(?<= = )'((?:[^']|'')*)'(?=[ )]|$)")


@dataclass(slots=True)
class Inquiry:
    """What generated queries came to, over all rounds of a campaign.

    ``discriminating`` counts those, among the ``measured``, to which the trusted role gets another
    answer where the principal's hidden rows are gone: a missing policy would have shown in them.
    """

    guidance: Guidance = field(default_factory=Guidance)
    asked: int = 0
    invalid: int = 0
    failed: int = 0
    written: int = 0
    effective: int = 0
    misspelt: int = 0
    measured: int = 0
    discriminating: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    lexicons: dict[tuple[object, ...], Lexicon] = field(default_factory=dict)
    vocabulary: Vocabulary | None = None

    def figures(self) -> dict[str, int]:
        """The figures by name, for reports."""
        return {
            "queries": self.asked,
            "queries_invalid": self.invalid,
            "queries_failed": self.failed,
            "queries_measured": self.measured,
            "queries_discriminating": self.discriminating,
            "query_writes": self.written,
            "query_writes_effective": self.effective,
            "query_writes_invalid": self.misspelt,
            "queries_explained": self.guidance.explained,
            "plans": len(self.guidance.plans),
        }


@dataclass(frozen=True, slots=True)
class Asked:
    """A query as it was sent, under which settings of the planner, and what came back."""

    query: Query
    sql: str
    settings: tuple[str, ...]
    outcome: Outcome
    trusted: Outcome | None = None  # what the trusted role gets

    def actions(self) -> tuple[Action, ...]:
        """The statements that show it, the plainest first."""
        texts = (self.query.sql, self.sql, self.query.planned(self.settings))
        root = self.query.relations[0]
        return tuple(
            Action(root, Operation.SELECT, text, "query", hostile=True)
            for text in dict.fromkeys(texts)
        )


@dataclass(slots=True)
class Asking:
    """The queries of one round."""

    stage: Stage
    ground: Prediction
    judge: Judge
    rows: Mapping[RelationName, Rows]
    inquiry: Inquiry
    _calm: dict[Principal, list[Asked]] = field(default_factory=dict)
    generation: float = 0.0  # seconds spent on making them

    def lexicon(
        self,
        role: str | None,
        grants: Mapping[RelationName, Grants],
        dml: frozenset[RelationName],
    ) -> Lexicon:
        """The lexicon of a role, made once. Relations in ``dml`` may be met with any statement."""
        if self.inquiry.vocabulary is None:
            self.inquiry.vocabulary = read_vocabulary(self.stage)
        memo = (role, frozenset(grants))
        if memo not in self.inquiry.lexicons:
            self.inquiry.lexicons[memo] = Lexicon(
                self.stage.catalog,
                self.stage.model,
                {name: grant for name, grant in grants.items() if grant.select},
                dml,
                self.inquiry.vocabulary,
                role,
            )
        return self.inquiry.lexicons[memo]

    def ask(
        self, principal: Principal, lexicon: Lexicon, source: random.Random, *, count: int
    ) -> Iterator[Action]:
        """Asks so many queries and yields what showed a hidden row; the rest waits for
        ``again``."""
        begun = perf_counter()
        aims = {n: sorted(k) for n, k in self.judge.cut.hidden(self.ground, principal).items()}
        guidance = self.inquiry.guidance
        queries = QueryMaker(lexicon, self.rows, aims, source, guidance).queries(count)
        settings = source.choice(PLANNERS) if source.random() < _REPLANNED else ()
        sent = [
            _prepared(q.sql, source.choice(_PLAN_CACHES)) if source.random() < _PREPARED else q.sql
            for q in queries
        ]
        explained = queries[:: max(1, min(_EXPLAINED, count))]
        self.generation += perf_counter() - begun
        wire = self.stage.wire
        wire.notices.clear()
        with planned(self.stage, settings):
            texts = [*sent, *(_EXPLAIN + q.sql for q in explained)]
            outcomes = self.stage.read(principal, texts, prepare=False)
        for query, outcome in zip(explained, outcomes[len(sent) :], strict=True):
            if outcome.failure is None:
                plan = b"\n".join(row[0] or b"" for row in outcome.rows).decode()
                guidance.explain(query, plan_shape(plan))
        telling = self._told(principal, "\n".join(wire.notices), "") if wire.notices else None
        measured = self._measured(principal, queries)
        for query, sql, outcome in zip(queries, sent, outcomes, strict=False):
            asked = Asked(query, sql, settings, outcome, measured.get(query.sql))
            home = self._shown(principal, asked) or telling
            if not self._counts(outcome.failure):
                continue
            if home is not None:
                yield replace(asked.actions()[0], relation=home)
            elif may_be_cut(principal) and not query.chance:
                self._calm.setdefault(principal, []).append(asked)

    def _measured(self, principal: Principal, queries: Sequence[Query]) -> dict[str, Outcome]:
        """What the trusted role gets for a few of the queries."""
        if not may_be_cut(principal):
            return {}
        start = -self.inquiry.asked % _MEASURED
        some = [q.sql for q in queries[start::_MEASURED] if not q.chance]
        return dict(zip(some, self.stage.trusted(some), strict=True)) if some else {}

    def _counts(self, failure: Failure | None) -> bool:
        """Counts a query; False where nothing can be said of it."""
        inquiry = self.inquiry
        inquiry.asked += 1
        if failure is None:
            return True
        state = failure.sqlstate
        if state[:2] in ("42", "0A") and state not in _LAWFUL:
            inquiry.invalid += 1
            inquiry.faults[f"{state} {failure.message}"] += 1
            return False
        inquiry.failed += 1
        return state not in _NO_VERDICT

    def _shown(self, principal: Principal, asked: Asked) -> RelationName | None:
        """The relation of a hidden row that the answer or the error shows."""
        outcome, query = asked.outcome, asked.query
        text = texts_of(outcome.rows) + (outcome.failure.texts if outcome.failure else "")
        home = self._told(principal, text, asked.sql)
        if home is None and query.chance and outcome.rows:
            root = self.stage.catalog.relations[query.relations[0]]
            keys = row_keys(outcome.rows, outcome.columns(), root, self.stage.catalog)
            if keys and self.ground.hidden(principal, root.name).intersection(keys):
                return root.name
        return home

    def _told(self, principal: Principal, text: str, own: str) -> RelationName | None:
        return self.judge.hidden_home(principal, text, own=own)

    def again(self, principal: Principal, *, cut: bool) -> list[Asked]:
        """The queries of ``principal`` that are answered otherwise in the world that stands here
        now. ``cut``: it is the one without hidden rows."""
        calm = self._calm.get(principal, ())
        differing: list[Asked] = []
        for settings in dict.fromkeys(a.settings for a in calm):
            batch = [a for a in calm if a.settings == settings]
            with planned(self.stage, settings):
                others = self.stage.read(principal, [a.sql for a in batch], prepare=False)
            differing += [
                a
                for a, other in zip(batch, others, strict=True)
                if not same_answer(a.outcome, other)
            ]
        if cut:
            self._discriminate(calm)
        return differing

    def _discriminate(self, calm: Sequence[Asked]) -> None:
        measured = [(a.query.sql, a.trusted) for a in calm if a.trusted is not None]
        there = self.stage.trusted([sql for sql, _ in measured]) if measured else []
        for (_, here), other in zip(measured, there, strict=True):
            self.inquiry.measured += 1
            self.inquiry.discriminating += not same_answer(here, other)

    # Writes by query

    def writes(
        self, principal: Principal, lexicon: Lexicon, source: random.Random, *, count: int
    ) -> list[Action]:
        """So many writes by query; see ``WriteMaker``."""
        aims = {n: sorted(k) for n, k in self.judge.cut.hidden(self.ground, principal).items()}
        made = WriteMaker(lexicon, self.rows, aims, source).writes(count)
        return list({action.sql: action for action in made}.values())

    def effective(self, principal: Principal, actions: Sequence[Action]) -> list[Action]:
        """Those of the writes that did something, or that failed with a hidden value."""
        if not actions:
            return []
        found: list[Action] = []
        outcomes = self.stage.write(principal, [a.sql for a in actions])
        for action, outcome in zip(actions, outcomes, strict=True):
            failure = outcome.failure
            self.inquiry.written += 1
            if failure is None and outcome.affected > 0:
                self.inquiry.effective += 1
                found.append(action)
            elif failure is not None:
                if failure.sqlstate[:2] in ("42", "0A") and failure.sqlstate not in _LAWFUL:
                    self.inquiry.faults[f"{failure.sqlstate} {failure.message}"] += 1
                    self.inquiry.misspelt += 1
                elif self._told(principal, failure.texts, action.sql) is not None:
                    found.append(action)
        return found

    # What waits

    def waiting(self, principal: Principal) -> int:
        """How many of its queries wait for ``again``."""
        return len(self._calm.get(principal, ()))

    def principals(self) -> list[Principal]:
        """Whose queries wait for ``again``."""
        return list(self._calm)

    def forget(self) -> None:
        """Nothing waits any more."""
        self._calm.clear()


def _prepared(sql: str, plan_cache: str) -> str:
    """The query as a prepared statement; the first value that a column is compared with becomes a
    parameter."""
    found = _COMPARED.search(sql)
    given = ""
    if found is not None and "(VALUES" not in sql:
        sql = f"{sql[: found.start()]}$1{sql[found.end() :]}"
        given = f" ({found[0]})"
    return script(
        _FORGET,
        f"SET LOCAL plan_cache_mode = {plan_cache}",
        f"PREPARE tf_query AS {sql}",
        f"EXECUTE tf_query{given}",
    )
