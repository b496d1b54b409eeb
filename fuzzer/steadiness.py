"""Steadiness: whether two worlds differ in what is asked of them, or only in how it was run.

Answers may hang on the plan, on the order in which rows are stored, or on chance. What hidden rows
decide shows under every plan and in every order.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.quoting import identifier, qualified
from tenantfuzz.results import Outcome, same_answer
from tenantfuzz.stage import Stage

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

_REPLICA = "SET LOCAL session_replication_role = replica"
_ORIGIN = "SET LOCAL session_replication_role = origin"


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
    stage: Stage, principal: Principal, sql: str, statements: Sequence[str]
) -> bool:
    """Whether a read by ``principal`` answers otherwise after the trusted role ran ``statements``,
    however it is run in either world."""
    here = _answers(stage, principal, sql)
    with stage.altered(statements) as done:
        there = _answers(stage, principal, sql) if done else None
    if here is None or there is None:
        return False
    one, other = here[0], there[0]
    if one.failure is None or other.failure is None:
        return not same_answer(one, other)
    return not {o.failure for o in here} & {o.failure for o in there}


def _answers(stage: Stage, principal: Principal, sql: str) -> list[Outcome] | None:
    """What comes back under all plans and with the rows in another order; None where these have a
    say in it. An error may name the first row that it met, and need not be the same each time."""
    answers = [stage.read(principal, [sql], prepare=False)[0] for _ in range(2)]
    for settings in PLANNERS:
        with planned(stage, settings):
            answers.append(stage.read(principal, [sql], prepare=False)[0])
    with stage.altered([_REPLICA, *turned(stage), _ORIGIN]) as done:
        if done:
            answers.append(stage.read(principal, [sql], prepare=False)[0])
    first = answers[0]
    if first.failure is not None:
        return answers if all(o.failure is not None for o in answers) else None
    return answers if all(same_answer(first, o) for o in answers) else None


def turned(stage: Stage) -> Iterator[str]:
    """Statements that store the rows of each table anew, last first."""
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
            f"FOR r IN SELECT ctid FROM ONLY {table} ORDER BY ctid DESC LOOP "
            f"UPDATE ONLY {table} SET {quoted} = {quoted} WHERE ctid = r.ctid; "
            "END LOOP; END $turn$"
        )
