import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tenantfuzz.changes import select, with_outcome
from tenantfuzz.errors import ToolError
from tenantfuzz.events import (
    CampaignFinished,
    Coverage,
    Selection,
    Timings,
    UntestedCell,
)
from tenantfuzz.findings import Finding, PrincipalSummary, Severity
from tenantfuzz.snapshot import Part, Snapshot, load_snapshot, save_snapshot

D, A, T = Part.DEFINITION, Part.ACCESS, Part.TRIGGERS


def relation(name: str, **parts: str) -> dict[str, Mapping[Part, Mapping[str, str]]]:
    return {
        f"relation public.{name}": {
            D: {"column id": parts.get("column", "1")},
            A: {"policy read": parts.get("policy", "1"), "grants": parts.get("grants", "1")},
            T: {"trigger log": parts.get("trigger", "1")},
        }
    }


SNAPSHOT = Snapshot(
    target="demo",
    context={"roles": "1", "model": "1"},
    objects={
        **relation("issues"),
        **relation("comments"),
        **relation("members"),
        **relation("plans"),
        "function app.org()": {D: {"definition": "1"}},
    },
    depends={
        "public.issues": frozenset(
            {"function app.org()#definition", "relation public.members#access"}
        ),
        "public.comments": frozenset(),
        "public.members": frozenset(),
        "public.plans": frozenset({"*"}),
    },
    openers={"public.issues": frozenset({"public.members"})},
    covered=frozenset({"public.issues", "public.comments", "public.members"}),
)
FINDING = Finding(
    code="TF101",
    severity=Severity.LOW,
    title="t",
    relation="public.issues",
    operation="select",
    principal=PrincipalSummary("member", "app", None),
    owner_tenants=(),
    explanation="",
    culprits=(),
    statements=(),
    expected="",
    observed="",
)
EVERY = (
    ("public.issues", "select", "member"),
    ("public.comments", "select", "member"),
    ("public.members", "select", "member"),
)
FINISHED = CampaignFinished(
    status="clean",
    target="demo",
    target_hash="00ff",
    server_version="18.6",
    seed=7,
    seconds=1.0,
    checks=10,
    timings=Timings(),
    coverage=Coverage(
        cells=4,
        covered=3,
        closed=1,
        closed_cells=(("public.plans", "select", "member"),),
        covered_cells=EVERY,
    ),
    findings=(),
)


def changed(old: Snapshot, new: Snapshot, folder: Path, seed: int = 1) -> Selection:
    file = folder / "s.json"
    save_snapshot(old, file)
    return select(file, new, seed=seed)


def with_objects(**objects: str) -> Snapshot:
    """The snapshot with one relation's hash changed, as ``comments="policy"``."""
    changes: dict[str, Mapping[Part, Mapping[str, str]]] = {}
    for name, part in objects.items():
        changes |= relation(name, **{part: "2"})
    return replace(SNAPSHOT, objects={**SNAPSHOT.objects, **changes})


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    snapshot = replace(SNAPSHOT, left={"public.plans": "was untested: no rows"})
    file = tmp_path / "s.json"
    save_snapshot(snapshot, file)
    assert load_snapshot(file) == snapshot
    assert json.loads(file.read_text())["schema_version"] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "is no snapshot that this version can read"),
        ('{"schema_version": 2, "objects": {}}', "is no snapshot that this version can read"),
        ('{"schema_version": 1, "status": "clean"}', "is no snapshot that this version can read"),
        ('{"schema_version": 1, "objects": {}}', "is no whole snapshot: 'target' is missing"),
        ('{"schema_version": 1, "objects": [], "target": []}', "is no whole snapshot"),
    ],
)
def test_what_is_no_snapshot_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "s.json"
    file.write_text(text)
    with pytest.raises(ToolError, match="json") as caught:
        select(file, SNAPSHOT, seed=1)
    assert message in str(caught.value)
    assert caught.value.hint is not None


def test_without_a_file_everything_is_tested(tmp_path: Path) -> None:
    selection = select(tmp_path / "none.json", SNAPSHOT, seed=1)
    assert selection.everything == f"there is no {tmp_path / 'none.json'} yet"
    assert [r for r, _ in selection.tested] == sorted(SNAPSHOT.depends)
    assert selection.unchanged == ()


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        (replace(SNAPSHOT, context={"roles": "2", "model": "1"}), "changed: roles"),
        (replace(SNAPSHOT, context={"roles": "1"}), "changed: model"),
        (replace(SNAPSHOT, context={**SNAPSHOT.context, "casts": "1"}), "changed: casts"),
        (replace(SNAPSHOT, target="other"), "it is of another target, demo"),
    ],
)
def test_what_all_rests_on_makes_everything_tested(
    tmp_path: Path, new: Snapshot, reason: str
) -> None:
    assert changed(SNAPSHOT, new, tmp_path).everything == reason


@pytest.mark.parametrize(
    ("new", "tested"),
    [
        # Its own parts.
        (with_objects(comments="policy"), {"public.comments": "policy read changed"}),
        (with_objects(comments="grants"), {"public.comments": "grants changed"}),
        (with_objects(comments="trigger"), {"public.comments": "trigger log changed"}),
        (with_objects(comments="column"), {"public.comments": "column id changed"}),
        # What it rests on, and who may open it.
        (
            with_objects(members="policy"),
            {
                "public.members": "policy read changed",
                "public.issues": "rests on public.members: policy read changed",
            },
        ),
        (with_objects(members="column"), {"public.members": "column id changed"}),
        (
            with_objects(issues="policy"),
            {
                "public.issues": "policy read changed",
                "public.members": "policies of public.issues, which is tested again, read it",
            },
        ),
        (
            replace(
                SNAPSHOT,
                objects={**SNAPSHOT.objects, "function app.org()": {D: {"definition": "2"}}},
            ),
            {
                "public.issues": "rests on function app.org(): definition changed",
                "public.members": "policies of public.issues, which is tested again, read it",
            },
        ),
    ],
)
def test_what_changed_is_tested_and_no_more(
    tmp_path: Path, new: Snapshot, tested: dict[str, str]
) -> None:
    # Statements that are put together may reach whatever changed.
    tested |= {
        "public.plans": "rests on a function that puts its statements together, and something "
        "changed"
    }
    selection = changed(SNAPSHOT, new, tmp_path)
    assert selection.everything is None
    assert dict(selection.tested) == tested
    assert set(selection.unchanged) == set(SNAPSHOT.depends) - set(tested)
    assert selection.changed


def test_new_and_dropped_objects(tmp_path: Path) -> None:
    new = replace(
        SNAPSHOT,
        objects={**SNAPSHOT.objects, **relation("notes")},
        depends={**SNAPSHOT.depends, "public.notes": frozenset()},
    )
    assert dict(changed(SNAPSHOT, new, tmp_path).tested)["public.notes"] == "is new"
    without = {k: v for k, v in SNAPSHOT.objects.items() if not k.startswith("function")}
    old_way = {**SNAPSHOT.depends, "public.issues": frozenset({"relation public.members#access"})}
    dropped = replace(SNAPSHOT, objects=without, depends=old_way)
    assert dict(changed(SNAPSHOT, dropped, tmp_path).tested)["public.issues"] == (
        "rests on function app.org(): is gone"
    )


def test_what_had_leaked_or_was_untested_is_tested_again(tmp_path: Path) -> None:
    old = replace(SNAPSHOT, left={"public.comments": "had leaked: TF101-comments-select-00000000"})
    selection = changed(old, SNAPSHOT, tmp_path)
    assert selection.tested == (("public.comments", "had leaked: TF101-comments-select-00000000"),)
    assert (selection.sample, selection.changed) == (None, False)


def test_where_nothing_changed_a_sample_is_tested(tmp_path: Path) -> None:
    drawn = {changed(SNAPSHOT, SNAPSHOT, tmp_path, seed).sample for seed in range(20)}
    # Only where something was compared; each of them comes up.
    assert drawn == {"public.issues", "public.comments", "public.members"}
    selection = changed(SNAPSHOT, SNAPSHOT, tmp_path)
    assert [r for r, _ in selection.tested] == [selection.sample]
    assert not selection.changed


def test_a_sample_is_tested_where_only_closed_relations_changed(tmp_path: Path) -> None:
    old = replace(SNAPSHOT, depends={**SNAPSHOT.depends, "public.plans": frozenset()})
    new = replace(with_objects(plans="grants"), depends=old.depends)
    selection = changed(old, new, tmp_path)
    assert selection.sample is not None and len(selection.tested) == 2
    assert selection.changed


def test_what_a_run_leaves_open_is_kept() -> None:
    accepted = replace(FINDING, relation="public.comments", code="TF301")
    finished = replace(
        FINISHED,
        findings=(FINDING, replace(FINDING, relation="app.a_function", operation="call")),
        accepted_findings=((accepted, "known"),),
        coverage=replace(
            FINISHED.coverage,
            untested=(UntestedCell("public.members", "insert", "member", "no rows"),),
        ),
    )
    assert with_outcome(SNAPSHOT, finished).left == {
        "public.issues": f"had leaked: {FINDING.id}",
        "public.comments": f"had leaked: {accepted.id}",
        "public.members": "was untested: no rows",
    }


def test_what_was_not_tried_is_left_open() -> None:
    only = replace(FINISHED, coverage=replace(FINISHED.coverage, covered_cells=EVERY[:1]))
    assert with_outcome(SNAPSHOT, only).left == {
        "public.comments": "was not tested",
        "public.members": "was not tested",
    }


def test_a_part_keeps_what_an_earlier_run_said(tmp_path: Path) -> None:
    """A snapshot saved by a run that tested a part vouches for the whole."""
    new = with_objects(comments="policy")
    selection = changed(SNAPSHOT, new, tmp_path)
    finished = replace(
        FINISHED,
        coverage=replace(
            FINISHED.coverage, covered_cells=(("public.comments", "select", "member"),)
        ),
        selection=selection,
    )
    saved = with_outcome(new, finished)
    assert saved.left == {}
    assert saved.covered == SNAPSHOT.covered
