"""Planted leaks are found, and their correct twins are quiet."""

from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import kill_table
import one_run
import pytest
from catalogue import LEVELS, Planted, blind, entries, resolve, shapes, subject
from mutant import Mutant
from operators import all_mutants

# A few of each kind, each on the relations that it is about.
FAST = {
    "saas-guc:using_true:invoices:tenant_isolation": "invoices",
    "saas-guc:check_not_null:invoices:tenant_isolation": "invoices",
    "saas-guc:setting_open:customers:tenant_isolation:unset": "customers",
    "saas-guc:guessed_literal:customers:email": "customers",
    "saas-guc:child_granted:events_2025_02": "events_2025_02",
    "pinball:lost_conjunct:audit_log:audit_log_read:using:2": "audit_log",
    "pinball:using_true:upvotes:upvotes_withdraw": "upvotes",
    "pinball:unverified_setting:machines:machines_member:current_organization_id": "machines",
    "pinball:membership_self_insert:memberships": "memberships",
    "pinball:guard_dropped:machines:machines_model_guard": "machines",
}
FAST_TWINS = {
    "saas-guc:restrictive_for_select_only:projects:tenant_isolation": "projects",
    "saas-guc:force_dropped:projects": "projects",
}
MUTANTS = entries("mutant")
EQUIVALENTS = entries("equivalent")


@pytest.fixture(scope="module")
def made() -> dict[str, Mutant]:
    return all_mutants(subject("saas-guc")) | all_mutants(subject("pinball"))


def answer(
    leak: Planted, folder: Path, *, twin: bool = False, only: str | None = None, seconds: float = 0
) -> dict[str, Any]:
    extra = leak.twin if twin else leak.extra
    file = folder / "mutant.sql"
    file.write_text((extra or "") + "\n", encoding="utf-8")
    job = {
        "folder": str(leak.folder),
        "extra": [str(file)],
        "relation": leak.relation,
        "operations": leak.operations,
        "codes": leak.codes,
        "seed": 1,
        "seconds": seconds or None,
        "only": only,
        "shrink": False,
        "whole": twin,
        "corpus": None,
        "started": monotonic(),
        "attacker": leak.attacker,
    }
    return one_run.run(job)


def found_in(result: dict[str, Any]) -> list[str]:
    hits = [*result["others"], *([result["hit"]] if result["hit"] else [])]
    return ["{code} {relation} {operation} by {kind}".format(**f) for f in hits]


@pytest.mark.parametrize("name", FAST)
def test_a_planted_leak_is_found(name: str, made: dict[str, Mutant], tmp_path: Path) -> None:
    leak = resolve(next(e for e in MUTANTS if e["name"] == name), made)
    result = answer(leak, tmp_path, only=FAST[name])
    assert result["hit"] is not None, found_in(result)


@pytest.mark.parametrize("name", FAST_TWINS)
def test_its_correct_twin_is_quiet(name: str, made: dict[str, Mutant], tmp_path: Path) -> None:
    leak = resolve(next(e for e in MUTANTS if e["name"] == name), made)
    assert leak.twin is not None
    result = answer(leak, tmp_path, twin=True, only=FAST_TWINS[name])
    assert found_in(result) == []
    assert result["untested"] == []


def cases() -> list[Any]:
    """The catalogue; what is known to be missed is to fail, and to be told when it does not."""
    found = []
    for entry in MUTANTS:
        marks = [pytest.mark.xfail(reason=entry["missed"])] if "missed" in entry else []
        found.append(pytest.param(entry, id=entry["name"], marks=marks))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("entry", cases())
def test_every_planted_leak_is_found(
    entry: dict[str, Any], made: dict[str, Mutant], tmp_path: Path
) -> None:
    leak = resolve(entry, made)
    result = answer(leak, tmp_path, seconds=0 if leak.missed else 60)
    assert result["hit"] is not None, found_in(result)


@pytest.mark.slow
@pytest.mark.parametrize("entry", EQUIVALENTS, ids=lambda e: e["name"])
def test_what_opens_nothing_is_quiet(
    entry: dict[str, Any], made: dict[str, Mutant], tmp_path: Path
) -> None:
    assert found_in(answer(resolve(entry, made), tmp_path, twin=True)) == []


@pytest.mark.slow
@pytest.mark.parametrize("leak", blind(), ids=lambda p: p.name)
@pytest.mark.parametrize("twin", [False, True], ids=["leaky", "twin"])
def test_the_small_targets(leak: Planted, twin: bool, tmp_path: Path) -> None:
    result = answer(leak, tmp_path, twin=twin)
    if twin:
        assert found_in(result) == []
        assert result["status"] == "clean"
    else:
        assert result["hit"] is not None, found_in(result)


# One of each sort: a temporary table in the way, a rule that COPY goes around, TRUNCATE, what a
# trigger leaves set, and a chain of three.
FAST_SHAPES = (
    "shapes:is-member-without-pg-temp",
    "shapes:guard-without-search-path",
    "shapes:imports-guarded-by-a-rule",
    "shapes:notes-may-be-truncated",
    "shapes:a-team-member-lends-its-identity",
)


@pytest.mark.parametrize(
    "leak",
    [
        pytest.param(p, id=p.name, marks=[] if p.name in FAST_SHAPES else [pytest.mark.slow])
        for p in shapes()
    ],
)
def test_a_leak_shows_at_the_level_that_it_needs(leak: Planted, tmp_path: Path) -> None:
    assert leak.attacker is not None
    result = answer(leak, tmp_path)
    assert result["hit"] is not None, found_in(result)
    for lower in LEVELS[: LEVELS.index(leak.attacker)][-1:]:
        assert found_in(answer(replace(leak, attacker=lower), tmp_path)) == []


def test_the_schema_without_them_is_quiet_at_every_level(tmp_path: Path) -> None:
    twin = replace(shapes()[0], attacker="sql")
    result = answer(twin, tmp_path, twin=True)
    assert found_in(result) == []
    assert (result["status"], result["untested"]) == ("clean", [])


def test_the_catalogue_names_what_operators_make(made: dict[str, Mutant]) -> None:
    names = [e["name"] for e in (*MUTANTS, *EQUIVALENTS)]
    assert len(names) == len(set(names))
    assert set(names) <= set(made)
    assert len(MUTANTS) >= 40
    assert {e["name"].partition(":")[0] for e in MUTANTS} == {"saas-guc", "pinball"}


def test_an_entry_that_nothing_makes_is_an_error(made: dict[str, Mutant]) -> None:
    with pytest.raises(ValueError, match="no operator makes saas-guc:gone"):
        resolve({"name": "saas-guc:gone", "operations": ["select"], "codes": ["TF101"]}, made)


def leak(name: str, *, twin: str | None = None, missed: str | None = None) -> Planted:
    return Planted(name, Path("/t"), "SELECT 1;", twin, "public.a", ("select",), ("TF101",), missed)


def test_a_twin_that_is_the_schema_itself_is_run_once() -> None:
    leaks = [leak("t:a"), leak("t:b"), leak("t:c", twin="SELECT 2;")]
    assert [p.name for p in kill_table.with_twins(leaks)] == ["t:a", "t:c"]


HIT = {
    "code": "TF101",
    "relation": "public.a",
    "operation": "select",
    "kind": "member",
    "culprits": ["p"],
    "latent": False,
    "seconds": 2.25,
}
QUIET: dict[str, Any] = {"hit": None, "others": [], "shrunk": None, "status": "clean", "checks": 7}


def test_the_table_says_what_was_found_and_what_was_not() -> None:
    lines = [
        kill_table.Line(leak("t:a"), False, {**QUIET, "hit": HIT}, True),
        kill_table.Line(leak("t:b"), False, QUIET, False),
        kill_table.Line(leak("t:c", missed="a reason"), False, QUIET, True),
        kill_table.Line(leak("t:a"), True, {**QUIET, "others": [HIT]}, False),
        kill_table.Line(leak("t:d"), False, {"error": "no server"}, False),
    ]
    text = "\n".join(" ".join(t.split()) for line in lines for t in kill_table.row(line))
    assert text.splitlines() == [
        "t:a killed 2.2 7 TF101 public.a select by member",
        "t:b MISSED 7 clean; wanted: TF101 public.a select",
        "t:c known 7 clean; wanted: TF101 public.a select",
        "known to be missed: a reason",
        "t:a (twin) NOISY 7 clean",
        "TF101 public.a select by member: p",
        "t:d ERROR",
        "no server",
    ]
    assert list(kill_table.totals(lines))[1:] == [
        "operators: 1 of 4 killed; seconds to the first finding: median 2.2, most 2.2",
        "    of the other 2, 2 were called clean",
        "twins and equivalents: 0 of 1 quiet",
    ]


@pytest.mark.parametrize(
    ("id_", "tenants", "steps", "small"),
    [
        ("TF201-a", 2, 1, True),
        ("TF201-a", 2, 2, False),
        ("TF101-a", 3, 1, False),
        ("TF101-a", 2, 2, False),
        ("TF209-a", 2, 2, True),
    ],
)
def test_a_small_counterexample(id_: str, tenants: int, steps: int, small: bool) -> None:
    shrunk = {"id": id_, "rows": 3, "tenants": tenants, "steps": steps}
    assert kill_table.is_small({"shrunk": shrunk}) is small
