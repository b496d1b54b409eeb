"""NDJSON: the stream of events, one JSON object a line, written while the run goes on.

Each line has ``schema_version`` and ``event``, the event's name in snake case, and the fields of
the event (see ``events``) with findings as the result document writes them; the last line,
``campaign_finished``, is the result document itself. ``events.schema.json`` beside this module
describes every line. New fields and events may be added under the same version.
"""

import json
import re
from dataclasses import fields

from tenantfuzz.documents import Document
from tenantfuzz.events import CampaignFinished, Event, StructureRead
from tenantfuzz.findings import Finding
from tenantfuzz.result import SCHEMA_VERSION, finding_document, result_document
from tenantfuzz.scrubbing import scrub_document

_WORD = re.compile(r"(?<!^)(?=[A-Z])")


def event_name(event: Event) -> str:
    """``finding_found`` for FindingFound."""
    return _WORD.sub("_", type(event).__name__).lower()


def event_line(event: Event) -> str:
    """The event as one line of JSON, ASCII only, its line end included."""
    head: Document = {"schema_version": SCHEMA_VERSION, "event": event_name(event)}
    if isinstance(event, CampaignFinished):
        body = result_document(event)
    elif isinstance(event, StructureRead):
        body = {"relations": sorted(event.snapshot.depends)}  # the rest is in the snapshot's file
    else:
        body = {f.name: _value(getattr(event, f.name)) for f in fields(event)}
    return json.dumps(scrub_document({**head, **body})) + "\n"


def _value(value: object) -> object:
    match value:
        case Finding():
            return finding_document(value)
        case None | bool() | int() | float() | str():
            return value
        case tuple():
            return [_value(item) for item in value]
        case _:
            return {f.name: _value(getattr(value, f.name)) for f in fields(value)}  # type: ignore[arg-type]  # events hold dataclasses only
