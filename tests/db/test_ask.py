"""Queries of all shapes: valid on a real server, quiet where policies hold, telling where not."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlglot

from tenantfuzz.coverage import Ledger
from tenantfuzz.findings import Finding
from tenantfuzz.policies.principals import Principal
from tenantfuzz.preparation import prepare
from tenantfuzz.registry import Registry
from tenantfuzz.rehearsal import rehearse
from tenantfuzz.results import Outcome
from tenantfuzz.rounds import Counters, Rig, Round
from tenantfuzz.stage import Stage
from tenantfuzz.strategies.influence import influential_relations
from tenantfuzz.strategies.worlds import designed_worlds
from tenantfuzz.target import find_target

SCHEMA = """
DO $$BEGIN CREATE ROLE ask_app LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END$$;
CREATE TABLE orgs (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE folders (
  id int PRIMARY KEY, org_id int NOT NULL REFERENCES orgs, parent_id int REFERENCES folders,
  title text NOT NULL, made_at timestamptz, tags jsonb, labels text[],
  search tsvector GENERATED ALWAYS AS (to_tsvector('english', title)) STORED);
CREATE TABLE notes (
  id int PRIMARY KEY, org_id int NOT NULL REFERENCES orgs,
  folder_id int REFERENCES folders, body text, stars int, during tstzrange);
CREATE FUNCTION mine() RETURNS int LANGUAGE sql STABLE
  RETURN nullif(current_setting('app.org', true), '')::int;
ALTER TABLE folders ENABLE ROW LEVEL SECURITY;
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY folders_own ON folders USING (org_id = mine());
CREATE POLICY notes_own ON notes USING (org_id = mine());
GRANT SELECT, INSERT, UPDATE, DELETE ON folders, notes TO ask_app;
"""
CONFIGURATION = """
[target]
schema = ["schema.sql"]
[tenancy]
tenants = "orgs"
column = "org_id"
[identity]
role = "ask_app"
settings = { "app.org" = "{tenant.id}" }
"""
LEAK = "CREATE POLICY notes_all ON notes USING (true);"


def scene_of(folder: Path, leak: str, act: Callable[[Round], None]) -> None:
    """Lets ``act`` do as it likes in the first designed world."""
    (folder / "schema.sql").write_text(SCHEMA + leak, encoding="utf-8")
    (folder / "tenantfuzz.toml").write_text(CONFIGURATION, encoding="utf-8")
    with prepare(find_target(folder)) as prepared:
        loader = prepared.loader()
        plan = rehearse(prepared, loader, seed=1)
        rig = Rig(
            plan=plan,
            attacker=prepared.attacker,
            ledger=Ledger(prepared.catalog, prepared.model),
            registry=Registry(),
            counters=Counters(),
            influential=influential_relations(prepared.catalog),
        )
        world = designed_worlds(plan, seed=1, count=1)[0]
        with prepared.stage(loader) as stage:
            stage.open(world)
            act(Round(rig, stage, world))
            stage.close()


Sent = list[tuple[str, Outcome]]


def noted(monkeypatch: pytest.MonkeyPatch, method: str, sent: Sent) -> None:
    """Notes what goes through a method of stages."""
    original = getattr(Stage, method)

    def noting(self: Stage, principal: Principal, statements: list[str], **how: bool) -> object:
        outcomes = original(self, principal, statements, **how)
        sent.extend(zip(statements, outcomes, strict=True))
        return outcomes

    monkeypatch.setattr(Stage, method, noting)


def asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, leak: str = ""
) -> tuple[list[Finding], Sent]:
    """What 300 queries of one member found, without a plain read of the leak before, and they."""
    found: list[Finding] = []
    sent: Sent = []

    def act(scene: Round) -> None:
        member = scene.principals[0]
        if not leak:
            found.extend(scene.read(member, scene.relations()))
        noted(monkeypatch, "read", sent)
        found.extend(scene.ask(member, random.Random(7), count=300))
        monkeypatch.undo()
        found.extend(scene.cut())

    scene_of(folder, leak, act)
    return found, sent


def written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, leak: str = ""
) -> tuple[list[Finding], Sent]:
    """What 200 writes by query of one member found, and they."""
    found: list[Finding] = []
    sent: Sent = []

    def act(scene: Round) -> None:
        noted(monkeypatch, "write", sent)
        found.extend(scene.ask_to_write(scene.principals[0], random.Random(7), count=200))
        monkeypatch.undo()

    scene_of(folder, leak, act)
    return found, sent


def test_queries_are_valid_and_see_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, sent = asked(tmp_path, monkeypatch)
    assert found == []
    texts = [q for q, _ in sent if not q.startswith("EXPLAIN")]
    assert len(texts) == 300
    failures = [(q, o.failure) for q, o in sent if o.failure is not None]
    assert [f for f in failures if f[1].sqlstate[:2] != "22"] == []  # casts and divisions
    assert sum(bool(o.rows) for _, o in sent) > 200
    assert len(set(texts)) > 290
    for text in texts:
        if not text.startswith("-- script"):
            sqlglot.parse_one(text, dialect="postgres")
    for word in (
        "LATERAL", "NOT EXISTS", "NOT IN", "ROLLUP", "FILTER", "OVER", "UNION", "EXCEPT",
        "RECURSIVE", "MATERIALIZED", "json_agg", "LIMIT", "FULL JOIN", "HAVING", "DISTINCT",
        "DISTINCT ON", "GROUPING SETS", "CUBE", "VALUES", "CROSS JOIN", "RIGHT JOIN", "TABLESAMPLE",
        "@@", "ts_rank", "websearch_to_tsquery", "@>", "@?", "->>", "jsonb_path_query", "&&",
        "jsonb_agg", "json_build_array", "pgrst_source", "FOR SHARE", "WITHIN GROUP", "PREPARE",
        "random()", "::text)::", "100 /", "INTERSECT", "ARRAY(", "= ANY", "rank() OVER",
    ):  # fmt: skip
        assert any(word in text for text in texts), word


def test_a_hidden_row_in_an_answer_is_told_of_its_own_relation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = asked(tmp_path, monkeypatch, LEAK)
    assert {(f.code, f.relation) for f in found} == {("TF101", "public.notes")}
    assert found[0].culprits == ("notes_all",)


def test_writes_by_query_are_valid_and_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, sent = written(tmp_path, monkeypatch)
    assert found == []
    states = {o.failure.sqlstate[:2] for _, o in sent if o.failure is not None}
    assert states <= {"22", "23", "42"}
    assert all(o.failure.sqlstate == "42501" for _, o in sent
               if o.failure is not None and o.failure.sqlstate[:2] == "42")  # fmt: skip
    assert sum(o.failure is None and o.affected > 0 for _, o in sent) > 30
    for word in (
        " FROM public", " USING public", "MERGE INTO", "WITH hit AS", "ON CONFLICT DO NOTHING",
        "DO UPDATE SET", "RETURNING", "-- script", "THEN DELETE", "INSERT INTO",
    ):  # fmt: skip
        assert any(word in text for text, _ in sent), word


def test_a_write_by_query_that_goes_beyond_its_tenant_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leak = "CREATE POLICY notes_gone ON notes FOR DELETE USING (true);"
    leak += "CREATE POLICY notes_seen ON notes FOR SELECT USING (true);"
    found, _ = written(tmp_path, monkeypatch, leak)
    assert {(f.code, f.relation) for f in found} == {("TF203", "public.notes")}
    assert "notes_gone" in found[0].culprits
