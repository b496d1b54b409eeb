"""A live database gives the same findings and coverage as the files that it was made of."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tenantfuzz.campaign import Options, run_campaign
from tenantfuzz.engines import start_embedded
from tenantfuzz.engines.embedded import EmbeddedServer
from tenantfuzz.errors import ToolError
from tenantfuzz.events import CampaignFinished
from tenantfuzz.loading.loader import load_sources
from tenantfuzz.loading.sources import find_sources
from tenantfuzz.preparation import prepare
from tenantfuzz.presets.preset import load_preset
from tenantfuzz.target import Target, find_target

TARGETS = Path(__file__).parents[2] / "corpus" / "targets"
SWEEP = Options(seed=1, phases=("sweep",), shrink=False, save=False)


@pytest.fixture(scope="module")
def source() -> Iterator[EmbeddedServer]:
    with start_embedded() as server:
        yield server


def loaded(source: EmbeddedServer, target: Target, database: str) -> str:
    """The DSN of a database on ``source`` with the target in it, as one who may read nothing."""
    section = target.configuration.target
    source.create_database(database)
    with psycopg.connect(source.conninfo(database), autocommit=True) as connection:
        if section.preset is not None:
            connection.execute(load_preset(section.preset).sql.encode())
        for extension in section.extensions:
            connection.execute(f"CREATE EXTENSION IF NOT EXISTS {extension}".encode())
        load_sources(connection, find_sources(section.sources, target.root))
        connection.execute(f"CREATE ROLE reader_{database} LOGIN".encode())
    return source.conninfo(database, user=f"reader_{database}")


def finished(target: Target) -> CampaignFinished:
    *_, last = run_campaign(target, SWEEP)
    assert isinstance(last, CampaignFinished)
    return last


def of(done: CampaignFinished) -> tuple[Any, ...]:
    """What a run found and what it covered."""
    return (
        sorted((f.fingerprint, f.id) for f in done.findings),
        done.coverage,
        {w for w in done.warnings if "live database" not in w.message},
        done.checks,
    )


def compared(source: EmbeddedServer, name: str) -> CampaignFinished:
    target = find_target(TARGETS / name)
    dsn = loaded(source, target, name.replace("-", "_"))
    files, live = finished(target), finished(find_target(TARGETS / name, dsn=dsn))
    assert of(live) == of(files)
    assert live.checks > 1000
    assert live.target_hash != files.target_hash
    return live


def test_the_billing_target(source: EmbeddedServer) -> None:
    live = compared(source, "saas-guc")
    [note] = [w.message for w in live.warnings if "live database" in w.message]
    assert "public.products (shared) hold made-up rows" in note


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pinball", "pinball-leaky"])
def test_the_issue_tracker(source: EmbeddedServer, name: str) -> None:
    live = compared(source, name)
    assert bool(live.findings) == (name == "pinball-leaky")


def test_a_preset_that_the_database_has_nothing_of(source: EmbeddedServer) -> None:
    source.create_database("plain")
    target = find_target(TARGETS / "saas-guc", dsn=source.conninfo("plain"))
    section = target.configuration.target.model_copy(update={"preset": "supabase"})
    configuration = target.configuration.model_copy(update={"target": section})
    with (
        pytest.raises(ToolError, match='nothing of what preset = "supabase" stands for'),
        prepare(replace(target, configuration=configuration)),
    ):
        pass


LOSSES = """
CREATE ROLE losing_app;
CREATE TABLE orgs (id text PRIMARY KEY);
CREATE FOREIGN DATA WRAPPER nowhere;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;
CREATE FOREIGN TABLE plans (id text, price int) SERVER nowhere;
CREATE TABLE issues (id uuid PRIMARY KEY, org_id text NOT NULL REFERENCES orgs);
CREATE TABLE offers (id uuid PRIMARY KEY, org_id text NOT NULL REFERENCES orgs, plan text);
GRANT SELECT ON ALL TABLES IN SCHEMA public TO losing_app;
ALTER TABLE offers ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON offers USING (org_id = current_setting('app.org', true));
"""
CONFIGURATION = """
[target]
dsn = "env:LOSING_DSN"
[tenancy]
tenants = "orgs"
column = "org_id"
references = ["offers.plan -> plans.id"]
[tenancy.tables]
plans = "shared"
[identity]
role = "losing_app"
settings = { "app.org" = "{tenant.id}" }
[access.member]
plans = { select = "price < 10" }
offers = { select = "EXISTS (SELECT FROM plans p WHERE p.id = offers.plan)" }
[values]
"plans.id" = ["free"]
"""


def test_what_cannot_be_copied_is_untested_and_the_rest_is_tested(
    source: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.create_database("losing")
    with psycopg.connect(source.conninfo("losing"), autocommit=True) as connection:
        connection.execute(LOSSES.encode())
    monkeypatch.setenv("LOSING_DSN", source.conninfo("losing"))
    (tmp_path / "tenantfuzz.toml").write_text(CONFIGURATION)
    done = finished(find_target(tmp_path))
    # The hole that has nothing to do with what is missing is found.
    assert {(f.code, f.relation) for f in done.findings} >= {("TF101", "public.issues")}
    untested = {(c.relation, c.operation): c.reason for c in done.coverage.untested}
    assert "another database" in untested["public.plans", "select"]
    assert "public.plans, which could not be copied" in untested["public.offers", "select"]
