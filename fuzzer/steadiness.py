"""Steadiness: whether two worlds differ in what is asked of them, or only in how it was run.

Answers may hang on the plan, on the order in which rows are stored, or on chance. What hidden rows
decide shows under every plan and in every order.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.quoting import identifier, qualified
from tenantfuzz.results import Outcome, same_answer
from tenantfuzz.scripts import is_script, statements_of
from tenantfuzz.stage import Stage
from tenantfuzz.untriggered import untriggered

PLANNERS: tuple[tuple[str, ...], ...] = (
    ("enable_seqscan = off",),
    ("enable_hashjoin = off", "enable_hashagg = off"),
    ("enable_nestloop = off",),
    ("enable_hashjoin = off", "enable_mergejoin = off"),
    ("enable_indexscan = off", "enable_bitmapscan = off", "enable_indexonlyscan = off"),
    ("enable_sort = off", "enable_material = off"),
    ("join_collapse_limit = 1", "from_collapse_limit = 1"),
)
"""Settings under which the server runs the same in other ways."""

_SET = "SET LOCAL "


@contextmanager
def planned(stage: Stage, settings: Sequence[str]) -> Iterator[None]:
    """Whatever happens inside is planned under these settings, and undone."""
    if not settings:
        yield
        return
    with stage.undone():
        stage.wire.execute(*(f"SET LOCAL {s}" for s in settings))
        yield


def steadily_differs(
    stage: Stage, principal: Principal, sql: str, statements: Sequence[str], *, removing: bool
) -> bool:
    """Whether a read by ``principal`` answers otherwise after the trusted role ran ``statements``,
    however it is run in either world.

    Whether a condition fails on some row hangs on the plan, rightly so: it may not be asked of
    that row at all. Where the statements only remove rows (``removing``), tables keep their size
    and plans their cost: what fails in one of the worlds alone, under one plan, fails by them.
    """
    here = _answers(stage, principal, sql)
    with stage.altered(statements) as done:
        if not done:
            return False
        there = _answers(stage, principal, sql)
    if _agree(here) and _agree(there):
        one, other = here[0], there[0]
        if one.failure is None or other.failure is None:
            return not same_answer(one, other)
        return not {o.failure for o in here} & {o.failure for o in there}
    return removing and _fails_by_them(stage, principal, sql, statements)


def _answers(stage: Stage, principal: Principal, sql: str) -> list[Outcome]:
    """What comes back, repeatedly, under all plans, and with the rows in another order."""
    answers = [stage.read(principal, [sql], prepare=False)[0] for _ in range(2)]
    for settings in PLANNERS:
        with planned(stage, settings):
            answers.append(stage.read(principal, [sql], prepare=False)[0])
    with stage.altered(untriggered(turned(stage, "ctid DESC"))) as done:
        if done:
            answers.append(stage.read(principal, [sql], prepare=False)[0])
    return answers


def _agree(answers: Sequence[Outcome]) -> bool:
    """Whether all are the same. An error may name the first row that it met, and need not be the
    same each time."""
    first = answers[0]
    if first.failure is not None:
        return all(o.failure is not None for o in answers)
    return all(same_answer(first, o) for o in answers)


def _fails_by_them(stage: Stage, principal: Principal, sql: str, statements: Sequence[str]) -> bool:
    settings, plain = _parts(sql)
    if plain is None:
        return False
    texts = [f"EXPLAIN {plain}", plain, plain]

    def run() -> list[Outcome]:
        with planned(stage, settings):
            return stage.read(principal, texts, prepare=False)

    here = run()
    with stage.altered(statements) as done:
        there = run() if done else []
    if not there or here[0].failure or there[0].failure or here[0].rows != there[0].rows:
        return False
    failed = [o.failure is not None for o in (*here[1:], *there[1:])]
    return failed in ([True, True, False, False], [False, False, True, True])


def _parts(sql: str) -> tuple[tuple[str, ...], str | None]:
    """The settings of a query that says how it is to be planned, and the query; None for scripts
    that do anything else."""
    if not is_script(sql):
        return (), sql
    *settings, last = (statement for statement, _ in statements_of(sql))
    if not all(s.startswith(_SET) for s in settings):
        return (), None
    return tuple(s.removeprefix(_SET) for s in settings), last


def turned(stage: Stage, order: str) -> Iterator[str]:
    """Statements that store the rows of each table anew, in an order that is an expression over
    its row ``t``."""
    for name in stage.judged():
        relation = stage.catalog.relations[name]
        column = next(
            (c.name for c in relation.columns if not c.generated and c.identity != "always"), None
        )
        if column is None or relation.partition_key:
            continue
        table, quoted = qualified(name), identifier(column)
        yield (
            "DO $turn$ DECLARE r record; BEGIN "
            f"FOR r IN SELECT ctid FROM ONLY {table} AS t ORDER BY {order} LOOP "
            f"UPDATE ONLY {table} SET {quoted} = {quoted} WHERE ctid = r.ctid; "
            "END LOOP; END $turn$"
        )
