"""Application code in Python: functions with psycopg and SQLAlchemy, and scoping functions."""

from dataclasses import replace
from pathlib import Path

import pytest

from tenantfuzz.campaign import Options, replay, run_campaign
from tenantfuzz.errors import ToolError
from tenantfuzz.events import CampaignFinished
from tenantfuzz.policies.configuration import Adapter, Query, parse_configuration
from tenantfuzz.target import Target, find_target

DESK = Path(__file__).parents[1] / "applications" / "desk"
# What each wrong one is found under; its twin must be quiet.
FUNCTIONS = {
    "list": "TF501",
    "get": "TF501",
    "lazy": "TF501",
    "joined": "TF501",
    "selectin": "TF501",
    "count": "TF501",
    "search": "TF501",
    "rename": "TF502",
    "remove": "TF502",
    "reply": "TF205",
    "move": "TF502",
    "close": "TF502",
    "reopen": "TF502",
    "archive": "TF502",
    "busiest": "TF501",
    "late": "TF501",
}


def desk(*adapters: Adapter) -> Target:
    target = find_target(DESK)
    configuration = target.configuration.model_copy(update={"adapters": adapters})
    return replace(target, configuration=configuration)


QUIET = Options(seed=1, phases=("sweep",), only="app*", shrink=False, save=False)


def run(target: Target, options: Options = QUIET) -> CampaignFinished:
    *_, finished = run_campaign(target, options)
    assert isinstance(finished, CampaignFinished)
    return finished


SOME = ["get", "close", "archive", "late"]
ALL = pytest.param(list(FUNCTIONS), marks=pytest.mark.slow, id="all")


def functions(names: list[str], form: str) -> list[Adapter]:
    return [Adapter(name=f"app {n}", python=f"desk:{n}_{form}") for n in names]


@pytest.mark.parametrize("names", [pytest.param(SOME, id="some"), ALL])
def test_each_trap_of_an_object_mapper_is_found(names: list[str]) -> None:
    finished = run(desk(*functions(names, "wrong")))
    found: dict[str, set[str]] = {}
    for finding in finished.findings:
        found.setdefault(finding.relation, set()).add(finding.code)
    missed = {n: FUNCTIONS[n] for n in names if FUNCTIONS[n] not in found.get(f"app {n}", ())}
    assert missed == {}


@pytest.mark.parametrize("names", [pytest.param(SOME, id="some"), ALL])
def test_code_that_does_it_right_is_quiet_and_covered(names: list[str]) -> None:
    finished = run(desk(*functions(names, "right")))
    assert [(f.id, f.explanation, f.observed) for f in finished.findings] == []
    assert finished.coverage.untested == ()


def test_a_function_is_shrunk_saved_and_replayed(tmp_path: Path) -> None:
    adapter = Adapter(name="app move", python="desk:move_wrong")
    finished = run(desk(adapter), replace(QUIET, shrink=True, save=True, corpus=tmp_path))
    (found,) = finished.findings
    assert found.minimal
    assert found.statements[-1].endswith("app move(connection, caller, ticket_id='id-3')")
    (result,) = replay(desk(adapter), corpus=tmp_path)
    assert result.verdict == "still leaks"
    mended = Adapter(name="app move", python="desk:move_right")
    (result,) = replay(desk(mended), corpus=tmp_path)
    assert result.verdict == "fixed"


def test_errors_that_a_function_takes_for_an_answer_do_no_harm() -> None:
    finished = run(desk(Adapter(name="app tolerant", python="desk:tolerant")))
    assert (finished.status, finished.interrupted) == ("clean", None)


def test_what_libraries_warn_of_does_not_bury_the_result(
    caplog: pytest.LogCaptureFixture,
) -> None:
    finished = run(desk(Adapter(name="app noisy", python="desk:noisy")))
    assert (finished.status, finished.coverage.untested) == ("clean", ())
    assert [r.message for r in caplog.records if r.name == "psycopg"] == []


def test_what_a_function_undid_was_not_done() -> None:
    finished = run(desk(Adapter(name="app undo", python="desk:undo")))
    assert (finished.status, finished.interrupted) == ("clean", None)


@pytest.mark.parametrize(
    ("code", "takes", "leaks"),
    [
        ("scope_all", "sqlglot", False),
        ("scope_once", "sqlglot", True),
        ("scope_root", "sqlglot", True),
        ("scope_text", "sql", True),
        ("scope_select", "sqlalchemy", True),
    ],
)
def test_a_scoping_function(code: str, takes: str, leaks: bool) -> None:
    adapter = Adapter.model_validate({"name": "app", "scoping": f"desk:{code}", "takes": takes})
    finished = run(desk(adapter))
    found = [(f.code, f.relation) for f in finished.findings]
    if leaks:
        assert ("TF501", "app") in found
    else:
        assert [(f.explanation, f.observed, f.statements) for f in finished.findings] == []
    untested = [c.reason for c in finished.coverage.untested]
    if code == "scope_text":  # which makes no SQL of a query with a sub-select
        assert untested == ['it fails: syntax error at or near "AND"']
    else:
        assert untested == []


def test_the_relation_that_was_not_scoped_is_named() -> None:
    adapter = Adapter(name="app", scoping="desk:scope_root", takes="sqlglot")
    finished = run(desk(adapter))
    culprits = {c for f in finished.findings for c in f.culprits}
    assert "members AS members_2" in culprits
    (mend,) = {f.mend for f in finished.findings if f.culprits == ("members AS members_2",)}
    assert mend == "Let app scope members AS members_2 too, and not the root alone."


def test_a_function_that_asks_somebody_else_is_untested() -> None:
    finished = run(desk(Adapter(name="app elsewhere", python="desk:elsewhere")))
    reasons = [c.reason for c in finished.coverage.untested]
    assert reasons == ["it never used the connection or session that it was given"]
    assert finished.status == "inconclusive"


ASSIGNED = {"tickets": {"select": "assignee_id = :user", "update": "assignee_id = :user"}}


@pytest.mark.parametrize("form", ["wrong", "right"])
def test_rules_inside_an_organisation_hold_for_functions(form: str) -> None:
    adapters = (
        Adapter(name="app inbox", python=f"desk:inbox_{form}"),
        Adapter(name="app resolve", python=f"desk:resolve_{form}", writes=("tickets",)),
    )
    target = find_target(DESK)
    access = {"member": ASSIGNED}
    whole = target.configuration.model_dump(by_alias=True) | {"access": access, "adapters": ()}
    configuration = parse_configuration(whole, source="desk")
    configuration = configuration.model_copy(update={"adapters": adapters})
    finished = run(replace(target, configuration=configuration))
    found = {(f.relation, f.code) for f in finished.findings}
    leaks = {("app inbox", "TF401"), ("app resolve", "TF402")}
    assert found == (leaks if form == "wrong" else set())
    assert finished.coverage.untested == ()


JOIN = (
    "SELECT r.body, t.subject FROM replies r JOIN tickets t ON t.id = r.ticket_id"
    " WHERE r.org_id = :tenant"
)
TAKE = "INSERT INTO replies (id, org_id, ticket_id, body) VALUES (:id, :tenant, :ticket, :body)"


def test_a_join_by_a_key_alone_leaks_once_somebody_can_cross_it() -> None:
    target = find_target(DESK)
    join = Query(name="app join", sql=JOIN)
    alone = target.configuration.model_copy(update={"queries": (join,)})
    assert run(replace(target, configuration=alone)).findings == ()
    both = (Query(name="app take", sql=TAKE), join)
    crossing = target.configuration.model_copy(update={"queries": both})
    finished = run(replace(target, configuration=crossing))
    found = {f.relation: (f.code, f.culprits) for f in finished.findings}
    assert found == {
        "app take": ("TF205", ("foreign key replies_ticket_id_fkey", "replies")),
        "app join": ("TF501", ("tickets AS t",)),
    }


def test_a_scoping_function_that_fails_is_untested() -> None:
    finished = run(desk(Adapter(name="app", scoping="desk:scope_nothing_at_all")))
    (cell,) = finished.coverage.untested
    assert cell.relation == "app"
    assert "RuntimeError: not ready yet" in cell.reason


def test_a_relation_that_it_writes_and_that_is_not_there() -> None:
    with pytest.raises(ToolError, match=r"writes: there is no relation 'ticket'.* 'tickets'"):
        run(desk(Adapter(name="app", python="desk:undo", writes=("ticket",))))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"ticket_ids": "ticket.id[]"}, r"ticket_ids: 'ticket.id\[\]' is .* mean 'tickets.id'\?"),
        ({"tickets": "tickets.id[]"}, "has no parameter 'tickets'; did you mean 'ticket_ids'"),
    ],
)
def test_what_params_cannot_say(params: dict[str, str], message: str) -> None:
    adapter = Adapter(name="app archive", python="desk:archive_right", params=params)
    with pytest.raises(ToolError, match=f"adapters: app archive: params: .*{message}"):
        run(desk(adapter))


LOOK = "SELECT id FROM tickets WHERE org_id = :tenant AND subject > :x"


@pytest.mark.parametrize("word", ["tickets.subject", "string", "text[]"])
def test_what_params_of_a_query_say(word: str) -> None:
    sql = LOOK.replace("> :x", "= ANY(:x)") if word == "text[]" else LOOK
    target = find_target(DESK)
    queries = (Query(name="app look", sql=sql, params={"x": word}),)
    configuration = target.configuration.model_copy(update={"queries": queries})
    finished = run(replace(target, configuration=configuration))
    assert (finished.status, finished.coverage.untested) == ("clean", ())


@pytest.mark.parametrize(
    ("word", "near"), [("tickets.subjet", "tickets.subject"), ("txt", "text"), ("tickets", "")]
)
def test_what_params_of_a_query_cannot_say(word: str, near: str) -> None:
    target = find_target(DESK)
    queries = (Query(name="app look", sql=LOOK, params={"x": word}),)
    configuration = target.configuration.model_copy(update={"queries": queries})
    message = f"query 'app look': params: x: '{word}' is neither a type nor a column.*{near}"
    with pytest.raises(ToolError, match=message):
        run(replace(target, configuration=configuration))


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("desk", "expected 'module:function'"),
        ("no_such_desk:list", "no_such_desk cannot be imported: ModuleNotFoundError"),
        ("desk:no_such_function", "desk has no function 'no_such_function'"),
    ],
)
def test_code_that_is_not_there(reference: str, message: str) -> None:
    with pytest.raises(ToolError) as wrong:
        run(desk(Adapter(name="app", python=reference)))
    assert message in str(wrong.value)
