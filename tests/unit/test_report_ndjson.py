import json
from importlib.resources import files
from typing import get_args

import jsonschema
import pytest

from tenantfuzz.events import (
    Event,
    FindingFound,
    FindingShrunk,
    PhaseFinished,
    PhaseStarted,
    Progress,
    ReplayResult,
    Selection,
    SelectionMade,
    StructureRead,
    Warning,
    WarningRaised,
)
from tenantfuzz.reports.account import Account
from tenantfuzz.reports.ndjson import event_line, event_name
from tenantfuzz.snapshot import Part, Snapshot

SCHEMA = json.loads((files("tenantfuzz.reports") / "events.schema.json").read_text("utf-8"))


def every_event(account: Account) -> list[Event]:
    finding = account.findings[0].finding
    snapshot = Snapshot(
        "demo", {}, {"relation public.a": {Part.ACCESS: {}}}, {"public.a": frozenset()}, {}
    )
    assert account.started is not None
    return [
        account.started,
        PhaseStarted("sweep"),
        PhaseStarted("fuzz", 60.0),
        Progress("sweep", 1.0, 2, 3, 4, 5, 6),
        FindingFound(finding, 1.5),
        FindingShrunk(finding, 2.5),
        PhaseFinished("sweep", 2.0, 10),
        ReplayResult("TF101-a", "fixed"),
        WarningRaised(Warning("", "a warning")),
        StructureRead(snapshot),
        SelectionMade(Selection("s.json", None, (("public.a", "is new"),), ("public.b",))),
        account.finished,
    ]


def test_every_event_has_a_line_that_the_schema_describes(account: Account) -> None:
    events = every_event(account)
    assert {type(e) for e in events} == set(get_args(Event))
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    validator = jsonschema.Draft202012Validator(SCHEMA)
    for event in events:
        line = event_line(event)
        assert line.endswith("\n") and line.count("\n") == 1 and line.isascii()
        validator.validate(json.loads(line))


def test_the_schema_refuses_what_it_does_not_describe(account: Account) -> None:
    document = json.loads(event_line(account.finished))
    del document["status"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(document)


def test_names_and_fields() -> None:
    event = PhaseFinished("sweep", 2.0, 10)
    assert event_name(event) == "phase_finished"
    assert json.loads(event_line(event)) == {
        "schema_version": 1,
        "event": "phase_finished",
        "phase": "sweep",
        "seconds": 2.0,
        "checks": 10,
    }


def test_no_password(account: Account) -> None:
    assert "hunter2" not in "".join(map(event_line, every_event(account)))
