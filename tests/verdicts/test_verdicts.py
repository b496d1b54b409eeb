"""Runs the verdict cases: the definition of correct, as data, against a real server."""

import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tenantfuzz.catalog import read_catalog
from tenantfuzz.counterexample import Step
from tenantfuzz.engines import Server, scratch_name, start_embedded
from tenantfuzz.judge import Judge
from tenantfuzz.loading_worlds import WorldLoader
from tenantfuzz.oracles.provenance import unique_words
from tenantfuzz.policies.configuration import parse_configuration
from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.resolution import resolve_model
from tenantfuzz.policies.structure import RelationName
from tenantfuzz.policies.world import World
from tenantfuzz.preparation import is_deferrable
from tenantfuzz.stage import Stage
from tenantfuzz.wire import Clock, Wire

CASES = sorted((Path(__file__).parent / "cases").glob("*.toml"))
Case = dict[str, Any]  # a TOML document


def load(path: Path) -> Case:
    return tomllib.loads(path.read_text(encoding="utf-8"))


STEPS = [p for p in CASES if load(p).get("mode") != "sweep"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with start_embedded() as running:
        yield running


def choose(principals: tuple[Principal, ...], wanted: Case) -> Principal:
    kind = "member" if wanted["kind"] == "owner" else wanted["kind"]
    fitting = [
        p
        for p in principals
        if p.kind == kind
        and ("user" not in wanted or p.user == wanted["user"])
        and ("tenant" not in wanted or p.tenant == wanted["tenant"])
    ]
    if "tenant" not in wanted and kind in ("outsider", "former", "anonymous"):
        fitting = [p for p in fitting if p.tenant is None] or fitting
    assert fitting, (
        f"no principal {wanted} among {[(p.kind, p.user, p.tenant) for p in principals]}"
    )
    chosen = fitting[0]
    if "settings" in wanted:
        others = tuple(s for s in chosen.settings if s[0] not in wanted["settings"])
        chosen = replace(chosen, settings=(*others, *wanted["settings"].items()))
    return chosen


@pytest.mark.parametrize("path", STEPS, ids=lambda p: p.stem)
def test_verdict(path: Path, server: Server) -> None:
    case = load(path)
    database = scratch_name("verdict")
    server.create_database(database)
    try:
        with psycopg.connect(server.conninfo(database), autocommit=True) as connection:
            connection.execute(case["schema"].encode())
            catalog = read_catalog(connection)
        configuration = parse_configuration(tomllib.loads(case["config"]), source=path.name)
        model = resolve_model(configuration, catalog, None)
        with psycopg.connect(server.conninfo(database), autocommit=True) as connection:
            loader = WorldLoader(catalog, deferrable=is_deferrable(catalog))
            stage = Stage(Wire(connection, Clock()), catalog, model, loader)
            stage.prepare()
            with psycopg.connect(server.conninfo(database), autocommit=True) as other:
                other.execute("BEGIN")
                other.execute(case["world"].encode())
                look = Stage(Wire(other, Clock()), catalog, model, loader)
                principal = choose(look.principals(), case["principal"])
                other.execute("ROLLBACK")
            assert stage.open(World(()), after=principal) == []
            connection.execute(case["world"].encode())
            state = stage.state()
            judge = Judge(stage, stage.prediction(state), unique_words(state))
            steps = [
                Step(RelationName(*s["relation"].split(".", 1)), s["operation"], s["sql"])
                for s in case["steps"]
            ]
            verdict = judge.judge(principal, steps)
            stage.close()
    finally:
        server.drop_database(database)
    expected = case["verdict"]
    found = sorted({f.code for f in verdict.findings})
    last = verdict.outcomes[-1]
    story = "\n".join(f"{f.code}: {f.explanation} {f.observed}" for f in verdict.findings)
    assert found == sorted(expected["codes"]), f"{case['sentence']}\n{story}\n{last.failure}"
    if "error" in expected:
        assert last.failure is not None
        assert last.failure.sqlstate == expected["error"]
    if "rows" in expected:
        assert last.failure is None, last.failure
        assert (len(last.rows) if last.rows else last.affected) == expected["rows"]
    if expected.get("denied"):
        assert last.failure is not None or not (last.rows or last.affected)
    for code, cause in expected.get("rests_on", {}).items():
        assert {f.rests_on for f in verdict.findings if f.code == code} == {cause}
    for prefix in expected.get("warnings", []):
        assert any(code.startswith(prefix) for code, _ in verdict.warnings), verdict.warnings
