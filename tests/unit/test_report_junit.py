import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
import xmlschema

from tenantfuzz.findings import Severity
from tenantfuzz.reports.account import Account
from tenantfuzz.reports.junit import junit_text

XSD = Path(__file__).parents[1] / "data" / "junit-10.xsd"


def cases(account: Account) -> dict[str, ET.Element]:
    text = junit_text(account)
    xmlschema.XMLSchema(str(XSD)).validate(text)
    suite = ET.fromstring(text).find("testsuite")
    assert suite is not None
    found = {str(c.get("name")): c for c in suite.iter("testcase")}
    for counter, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert suite.get(counter) == str(sum(c.find(tag) is not None for c in found.values()))
    assert suite.get("tests") == str(len(found))
    return found


def outcome(case: ET.Element) -> tuple[str, str, str]:
    for tag in ("failure", "error", "skipped"):
        if (element := case.find(tag)) is not None:
            return tag, str(element.get("type")), str(element.get("message"))
    return "passed", "", ""


def test_each_door_is_a_case(account: Account) -> None:
    found = cases(account)
    assert {name: outcome(case)[:2] for name, case in found.items()} == {
        "insert[public.audit]": ("skipped", "accepted"),
        "select[public.issues]": ("failure", "TF101"),
        "insert[public.issues]": ("passed", ""),
        "select[public.ledger]": ("error", "untested"),
        "update[public.notes]": ("passed", ""),
        "delete[public.notes]": ("skipped", "accepted"),
        "insert[public.users]": ("passed", ""),
        "delete[public.users]": ("passed", ""),
        f"replay[{account.findings[0].finding.id}]": ("failure", "still leaks"),
        "replay[TF101-old-select-00000000]": ("passed", ""),
        "replay[TF101-gone-select-11111111]": ("skipped", "cannot replay"),
    }
    assert {c.get("classname") for c in found.values()} == {"tenantfuzz.demo"}


def test_what_the_messages_say(account: Account) -> None:
    found = cases(account)
    assert outcome(found["select[public.issues]"])[2] == (
        "TF101 critical: A member reads rows of another tenant in public.issues (and 1 more)"
    )
    assert outcome(found["select[public.ledger]"])[2] == (
        "untested: unclassified: nobody says (member, outsider)"
    )
    assert outcome(found["insert[public.audit]"])[2] == "accepted: the log is ours (member)"
    assert "support may do that" in outcome(found["delete[public.notes]"])[2]


def test_stories_of_what_fails_nothing_are_kept(account: Account) -> None:
    found = cases(account)
    assert "A unique key tells" in (found["insert[public.users]"].findtext("system-out") or "")
    assert "A reference crosses" in (found["update[public.notes]"].findtext("system-out") or "")
    closed = found["delete[public.users]"].findtext("system-out")
    assert closed == "closed: member, outsider"
    failure = found["select[public.issues]"].findtext("failure") or ""
    assert failure.startswith("TF101 A member reads")
    assert "TF107 A member reads by RETURNING" in failure


def test_passwords_and_what_xml_cannot_hold_are_left_out(account: Account) -> None:
    text = junit_text(account)
    assert "hunter2" not in text
    assert not {"\x00", "\x1b", "\ufffe", "\u202e"} & set(text)
    assert "<script>" not in text


def test_a_lower_threshold_fails_more(account: Account) -> None:
    found = cases(replace(account, fail_on=Severity.LOW))
    assert outcome(found["insert[public.users]"])[:2] == ("failure", "TF301")
    found = cases(replace(account, fail_on=Severity.CRITICAL))
    assert outcome(found["select[public.issues]"])[:2] == ("failure", "TF101")


def test_a_clean_run_passes_and_has_no_case_of_its_own(clean: Account) -> None:
    assert {outcome(case)[0] for case in cases(clean).values()} == {"passed"}
    assert "run[demo]" not in cases(clean)


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        (
            {"interrupted": "by Ctrl-C", "status": "inconclusive"},
            "interrupted",
            "the run was cut short: by Ctrl-C",
        ),
        ({"checks": 0, "status": "inconclusive"}, "inconclusive", "nothing was compared"),
        (
            {"status": "inconclusive"},
            "inconclusive",
            "only a part of the target was tested (--only)",
        ),
    ],
)
def test_green_means_exit_status_0(
    clean: Account, changes: dict[str, object], kind: str, message: str
) -> None:
    finished = replace(clean.finished, **changes)  # type: ignore[arg-type]  # by name
    account = replace(clean, finished=finished)
    assert account.exit_status != 0
    assert outcome(cases(account)["run[demo]"]) == ("error", kind, message)


def test_what_is_unchanged_is_skipped(partly: Account) -> None:
    found = cases(partly)
    assert outcome(found["update[public.logs]"]) == (
        "skipped",
        "unchanged",
        "unchanged since main.json, not tested again",
    )
