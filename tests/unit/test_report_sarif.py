import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema

from tenantfuzz.codes import all_codes
from tenantfuzz.reports.account import Account
from tenantfuzz.reports.sarif import sarif_text

SCHEMA = Path(__file__).parents[1] / "data" / "sarif-schema-2.1.0.json"

Json = Mapping[str, Any]  # JSON


def run_of(account: Account) -> Json:
    document = json.loads(sarif_text(account))
    jsonschema.Draft4Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).validate(document)
    [run] = document["runs"]
    found: Json = run
    return found


def test_every_code_is_a_rule_with_help(account: Account) -> None:
    rules = run_of(account)["tool"]["driver"]["rules"]
    assert [r["id"] for r in rules] == list(all_codes())
    for rule in rules:
        assert rule["help"]["text"] and rule["help"]["markdown"] and rule["fullDescription"]["text"]
    by_id = {r["id"]: r for r in rules}
    assert by_id["TF101"]["defaultConfiguration"] == {"level": "error"}
    scores = {
        c: by_id[c]["properties"].get("security-severity") for c in ("TF101", "TF201", "TF205")
    }
    # GitHub: over 9.0 critical, 7.0 to 8.9 high, 4.0 to 6.9 medium.
    assert scores == {"TF101": "9.5", "TF201": "8.0", "TF205": "5.5"}
    assert "security-severity" not in by_id["TF803"]["properties"]
    assert "```sql" in by_id["TF101"]["help"]["markdown"]


def test_results_name_the_place_the_relation_and_the_hole(account: Account) -> None:
    run = run_of(account)
    rules = [r["id"] for r in run["tool"]["driver"]["rules"]]
    assert all(rules[r["ruleIndex"]] == r["ruleId"] for r in run["results"])
    first = run["results"][0]
    leak = account.findings[0].finding
    assert (first["ruleId"], first["level"], first["kind"]) == ("TF101", "error", "fail")
    assert first["partialFingerprints"] == {"tenantfuzz/v1": leak.fingerprint}
    [location] = first["locations"]
    assert location["physicalLocation"] == {
        "artifactLocation": {"uri": "db/schema%20file.sql", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 12},
    }
    [logical] = location["logicalLocations"]
    assert (logical["fullyQualifiedName"], logical["name"]) == ("public.issues", "issues")
    assert "Drop the policy" in first["message"]["text"]


def test_levels(account: Account) -> None:
    levels = {r["ruleId"]: r["level"] for r in run_of(account)["results"]}
    assert levels == {
        "TF101": "error",
        "TF107": "error",
        "TF205": "note",  # latent
        "TF301": "note",
        "TF202": "note",  # accepted
    }


def test_accepted_findings_are_suppressed_with_the_reason(account: Account) -> None:
    results = {r["ruleId"]: r for r in run_of(account)["results"]}
    assert results["TF202"]["suppressions"] == [
        {"kind": "external", "status": "accepted", "justification": "support may do that"}
    ]
    assert "suppressions" not in results["TF101"]


def test_what_is_untested_is_a_notification(account: Account) -> None:
    [invocation] = run_of(account)["invocations"]
    assert (invocation["executionSuccessful"], invocation["exitCode"]) == (True, 1)
    untested, warning = invocation["toolExecutionNotifications"]
    assert untested["level"] == "warning"
    assert untested["message"]["text"] == (
        "untested: unclassified: nobody says (public.ledger: select (all 2 kinds))"
    )
    assert warning["associatedRule"]["id"] == "TF803"


def test_a_run_that_was_cut_short_was_no_success(clean: Account) -> None:
    cut = replace(clean, finished=replace(clean.finished, interrupted="by Ctrl-C"))
    [invocation] = run_of(cut)["invocations"]
    assert invocation["executionSuccessful"] is False
    assert invocation["toolExecutionNotifications"][0]["level"] == "error"


def test_a_part_is_said_to_be_one(partly: Account) -> None:
    [invocation] = run_of(partly)["invocations"]
    texts = [n["message"]["text"] for n in invocation["toolExecutionNotifications"]]
    assert texts == ["1 relation is unchanged since main.json and was not tested again"]


def test_no_password(account: Account) -> None:
    assert "hunter2" not in sarif_text(account)
