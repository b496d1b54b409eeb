import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tenantfuzz.corpus import file_name, find, load, save
from tenantfuzz.counterexample import Counterexample, Step, Witness
from tenantfuzz.errors import ToolError
from tenantfuzz.findings import Finding, PrincipalSummary, Severity
from tenantfuzz.policies.principals import Freshness, Membership, Principal
from tenantfuzz.policies.structure import RelationName
from tenantfuzz.policies.world import Fixup, Row, World

ORGS = RelationName("public", "organizations")
ISSUES = RelationName("public", "issues")
ODD = RelationName('My "own"', "a.b")
FINDING = Finding(
    code="TF202",
    severity=Severity.CRITICAL,
    title="a title",
    relation="public.issues",
    operation="update",
    principal=PrincipalSummary("member", "app", "a", "u"),
    owner_tenants=("b",),
    explanation="because",
    culprits=("policy p",),
    statements=("UPDATE public.issues SET title = 'x'",),
    expected="nothing",
    observed="UPDATE 1",
    minimal=True,
    mend="mend it",
    world_rows=("INSERT INTO …",),
)
COUNTEREXAMPLE = Counterexample(
    finding=FINDING,
    witness=Witness(
        World(
            rows=(
                Row(ORGS, {"id": "a", "lead": None}, "a"),
                Row(ISSUES, {"id": "1", "title": "line\nbreak \\ 'quote' \u202e 😀"}, "a", "cnry"),
                Row(ORGS, {"id": "b"}, "b"),
                Row(ODD, {"Weird Column": ""}),
            ),
            fixups=(Fixup(ORGS, {"id": "a"}, {"lead": "1", "other": None}),),
            tenants=("a", "b"),
            users=("u",),
        ),
        Principal(
            kind="residual",
            user="u",
            tenant="a",
            memberships=(Membership("a"), Membership("b", "admin")),
            all_tenants=frozenset({"b", "a"}),
            role="app",
            login="authenticator",
            settings=(("app.org", "a"), ("app.org", "")),
            statements=("SELECT enter('a')",),
            freshness=Freshness.ROLLED_BACK,
            earlier=(("app.org", "b"),),
            note="a note",
        ),
        (Step(ISSUES, "update", "UPDATE public.issues SET title = 'x'", "update without where"),),
    ),
    target="demo",
    target_hash="00ff",
    server_version="18.6",
)


def test_a_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    path = save(COUNTEREXAMPLE, tmp_path / "new" / "corpus")
    assert path.name == f"{FINDING.id}.json"
    assert load(path) == COUNTEREXAMPLE


def test_a_plain_principal_and_an_empty_world_come_back_too(tmp_path: Path) -> None:
    bare = replace(COUNTEREXAMPLE, witness=Witness(World(rows=()), Principal("anonymous"), ()))
    assert load(save(bare, tmp_path)) == bare


def test_the_file_is_what_the_design_says(tmp_path: Path) -> None:
    data = json.loads(save(COUNTEREXAMPLE, tmp_path).read_text())
    assert list(data) == [
        "schema_version",
        "id",
        "code",
        "target",
        "server",
        "principal",
        "world",
        "actions",
        "expected",
        "observed",
        "finding",
    ]
    assert data["schema_version"] == 1
    assert data["target"] == {"name": "demo", "hash": "00ff"}
    assert data["server"] == {"version": "18.6"}
    assert data["world"]["rows"]["public.organizations"] == [
        {"id": "a", "lead": None},
        {"id": "b"},
    ]
    assert data["world"]["order"] == [
        "public.organizations",
        "public.issues",
        "public.organizations",
        '"My ""own"""."a.b"',
    ]
    assert data["actions"] == [
        {
            "relation": "public.issues",
            "operation": "update",
            "sql": "UPDATE public.issues SET title = 'x'",
            "shape": "update without where",
        }
    ]


def test_rows_that_stand_together_need_no_order(tmp_path: Path) -> None:
    world = World(rows=(Row(ORGS, {"id": "a"}, "a"), Row(ISSUES, {"id": "1"}, "a")))
    bare = replace(COUNTEREXAMPLE, witness=replace(COUNTEREXAMPLE.witness, world=world))
    text = save(bare, tmp_path).read_text()
    assert '"order"' not in text
    rows = '{"public.organizations": [{"id": "a"}], "public.issues": [{"id": "1"}]}'
    assert f'    "rows": {rows},\n' in text


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    first = save(COUNTEREXAMPLE, tmp_path).read_bytes()
    assert save(load(save(COUNTEREXAMPLE, tmp_path)), tmp_path).read_bytes() == first
    assert len(list(tmp_path.iterdir())) == 1


def test_passwords_never_reach_the_file(tmp_path: Path) -> None:
    principal = replace(
        COUNTEREXAMPLE.witness.principal, statements=("SELECT dblink('host=h password=hunter2')",)
    )
    leaky = replace(
        COUNTEREXAMPLE,
        finding=replace(FINDING, explanation="see postgres://app:hunter2@h/d", culprits=("x",)),
        witness=replace(COUNTEREXAMPLE.witness, principal=principal),
    )
    path = save(leaky, tmp_path)
    assert "hunter2" not in path.read_text()
    assert load(path).witness.principal.statements == ("SELECT dblink('host=h password=***')",)


def test_a_culprit_that_held_a_password_can_still_be_loaded(tmp_path: Path) -> None:
    leaky = replace(COUNTEREXAMPLE, finding=replace(FINDING, culprits=("password=hunter2",)))
    assert load(save(leaky, tmp_path)).finding.culprits == ("password=***",)


def test_file_names_are_safe_anywhere() -> None:
    assert file_name("TF501-a/../b c:d-query-1a2b") == "TF501-a_.._b_c_d-query-1a2b.json"


def test_finding_by_id_beginning_or_all(tmp_path: Path) -> None:
    for name in ("TF101-a-select-11111111", "TF101-b-select-22222222", "TF202-a-update-33333333"):
        (tmp_path / f"{name}.json").write_text("{}")
    (tmp_path / "targets").mkdir()
    (tmp_path / "README.md").write_text("")
    names = [p.stem for p in find(tmp_path)]
    assert names == [
        "TF101-a-select-11111111",
        "TF101-b-select-22222222",
        "TF202-a-update-33333333",
    ]
    found = find(tmp_path, ["TF202", "TF101-a-select-11111111", "TF202-a"])
    assert [p.stem[:7] for p in found] == ["TF202-a", "TF101-a"]


def test_an_id_that_names_several_or_none_is_an_error(tmp_path: Path) -> None:
    for name in ("TF101-a-select-11111111", "TF101-b-select-22222222"):
        (tmp_path / f"{name}.json").write_text("{}")
    with pytest.raises(ToolError, match="the beginning of several ids") as several:
        find(tmp_path, ["TF101"])
    assert "TF101-b-select-22222222" in str(several.value.hint)
    with pytest.raises(ToolError, match="there is no counterexample 'TF101-c") as none:
        find(tmp_path, ["TF101-c-select-11111111"])
    assert "TF101-a-select-11111111" in str(none.value.hint)


def test_a_whole_id_is_found_though_it_begins_another(tmp_path: Path) -> None:
    for name in ("TF1", "TF1x"):
        (tmp_path / f"{name}.json").write_text("{}")
    assert [p.stem for p in find(tmp_path, ["TF1"])] == ["TF1"]


def test_a_folder_that_does_not_exist_holds_nothing(tmp_path: Path) -> None:
    assert find(tmp_path / "corpus") == []


Change = Callable[[dict[str, Any]], object]  # Any: a JSON document


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(schema_version=2), "schema_version is 2; this version reads 1"),
        (lambda d: d.pop("world"), "'world' is missing"),
        (lambda d: d.update(world=[]), "world: expected an object"),
        (lambda d: d.update(actions="x"), "'actions' must be a list"),
        (lambda d: d["actions"][0].update(sql=1), r"actions\[0\]: 'sql' must be a string"),
        (lambda d: d["actions"][0].update(relation="issues"), "is no schema-qualified name"),
        (lambda d: d["world"]["rows"]["public.issues"].clear(), "not as many owners"),
        (lambda d: d["world"]["order"].pop(), "order does not name each row once"),
        (
            lambda d: d["world"]["rows"]["public.issues"][0].update(id=1),
            "'id' must be a string or null",
        ),
        (lambda d: d["principal"].update(freshness="stale"), "unknown freshness 'stale'"),
        (lambda d: d["principal"].update(settings=[["a"]]), r"a list of \[name, value\]"),
        (lambda d: d["finding"].update(severity="bad"), "unknown severity 'bad'"),
        (lambda d: d["finding"].update(minimal=1), "must be true or false"),
        (lambda d: d.update(id="TF101-other-select-00000000"), "but what it holds makes 'TF202"),
    ],
)
def test_a_file_that_is_wrong_says_where(tmp_path: Path, change: Change, message: str) -> None:
    path = save(COUNTEREXAMPLE, tmp_path)
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(ToolError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_a_file_that_is_no_counterexample_is_a_tool_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(ToolError, match=r"x\.json"):
        load(path)


def test_a_file_that_is_missing_is_a_tool_error(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="No such file"):
        load(tmp_path / "x.json")


def test_a_folder_that_cannot_be_made_is_a_tool_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ToolError, match="cannot make the corpus folder"):
        save(COUNTEREXAMPLE, tmp_path / "file" / "corpus")


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(COUNTEREXAMPLE, tmp_path)
    before = path.read_bytes()

    def refuse(self: Path, target: Path) -> None:
        del self, target
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(ToolError, match="No space left on device"):
        save(COUNTEREXAMPLE, tmp_path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
