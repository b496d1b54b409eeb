"""``init`` on the example targets without their files: what it writes against what people wrote."""

import json
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from tenantfuzz.initializing import Initialized, Request, initialize
from tenantfuzz.policies.configuration import parse_configuration
from tenantfuzz.policies.inferring.guesses import Confidence
from tenantfuzz.policies.model import Model, SqlTemplate
from tenantfuzz.policies.placeholders import template_words
from tenantfuzz.policies.resolution import resolve_model
from tenantfuzz.preparation import survey
from tenantfuzz.target import find_target

TARGETS = Path(__file__).parents[2] / "corpus" / "targets"
WITHOUT_KNOWN_NAME = {"pinball-leaky": ("../pinball/drizzle", "leaks.sql")}


def without_file(folder: Path, name: str) -> Path:
    """A copy of all targets, in which this one has no file."""
    for target in TARGETS.iterdir():
        shutil.copytree(target, folder / target.name)
    (folder / name / "tenantfuzz.toml").rename(folder / "by-hand.toml")
    return folder / name


def shape(model: Model) -> dict[str, object]:
    """Whose rows are whose, and who can act: all but rules and kinds, which only people know."""
    identity = model.identity
    return {
        "tenants": (model.tenants, model.tenant_key, model.tenant_values),
        "users": (model.users, model.user_key),
        "memberships": model.memberships,
        "scope": model.scope,
        "references": set(model.references),
        "ownership": {
            name: (o.kind, o.column, o.ways, o.sql, o.null_shared)
            for name, o in model.ownership.items()
        },
        "identity": (identity.role, identity.login, identity.anonymous, identity.service_role),
        "context": identity.context,
        "settings": {name: claims(value) for name, value in identity.settings.items()},
    }


def claims(value: str | SqlTemplate) -> object:
    """What a setting says of whom; claims that no policy reads (``aud``) make no difference."""
    assert isinstance(value, str)
    if not value.startswith("{") or template_words(value) == (value.strip("{}"),):
        return value
    document: Mapping[str, object] = json.loads(value)
    return {k: v for k, v in document.items() if k != "aud"}


def answered(text: str) -> str:
    """The file when somebody said of every relation that it is as the schema has it."""
    return "\n".join(line for line in text.splitlines() if not line.endswith(' = "unclassified"'))


@pytest.mark.parametrize("name", ["pinball", "pinball-leaky", "saas-guc"])
def test_the_model_is_the_one_written_by_hand(name: str, tmp_path: Path) -> None:
    folder = without_file(tmp_path, name)
    done = initialize(folder, Request(schema=WITHOUT_KNOWN_NAME.get(name, ())))
    assert done.missing == ()
    assert [q for q in done.inference.questions if q.essential] == []
    surveyed = survey(find_target(folder))
    models = [
        resolve_model(
            parse_configuration(tomllib.loads(text), source=name), surveyed.catalog, surveyed.facts
        )
        for text in (answered(done.text), (tmp_path / "by-hand.toml").read_text(encoding="utf-8"))
    ]
    assert shape(models[0]) == shape(models[1])
    assert likely(done) == {"pinball-leaky": {"context"}}.get(name, set())
    # What is asked is what the hand-written file says by rules and kinds.
    asked = {q.path[-1] for q in done.inference.questions}
    expected = set() if name == "saas-guc" else {"principals", *PUBLIC}
    assert asked == expected
    # Until then those relations are not judged.
    tables = tomllib.loads(done.text)["tenancy"].get("tables", {})
    left_open = {table for table, value in tables.items() if value == "unclassified"}
    assert left_open == expected - {"principals"}


PUBLIC = {
    "comments",
    "issues",
    "locations",
    "machines",
    "organizations",
    "priorities",
    "statuses",
}


def likely(done: Initialized) -> set[str]:
    guesses = done.inference.guesses
    return {g.path[-1] for g in guesses if g.confidence is Confidence.LIKELY}
