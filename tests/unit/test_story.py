from dataclasses import replace

import pytest

from tenantfuzz.counterexample import Counterexample, Step, Witness
from tenantfuzz.findings import Finding, PrincipalSummary, Severity
from tenantfuzz.lines import Part, visible
from tenantfuzz.policies.principals import Freshness, Membership, Principal
from tenantfuzz.policies.structure import RelationName
from tenantfuzz.policies.world import Row, World
from tenantfuzz.story import story, story_text
from tenantfuzz.world_table import world_lines

ORGS = RelationName("public", "organizations")
ISSUES = RelationName("public", "issues")
A = "6c0e15e3-2b6d-48ba-9307-6f02040d333d"
B = "d23412d5-aae6-424f-93a4-d23f077cef58"
FINDING = Finding(
    code="TF101",
    severity=Severity.CRITICAL,
    title="A member reads rows of another tenant in public.issues",
    relation="public.issues",
    operation="select",
    principal=PrincipalSummary("member", "app", A, "u1"),
    owner_tenants=(B,),
    explanation=(
        "The policy issues_support has the expression true and speaks for every role, so that "
        "every row of the table passes."
    ),
    culprits=("policy issues_support: USING (true)",),
    statements=("SET LOCAL ROLE app;", "SELECT id FROM public.issues;"),
    expected="no row of tenant B",
    observed="1 row",
    minimal=True,
    mend="Drop the policy issues_support, or give it TO support.",
)
WITNESS = Witness(
    World(
        rows=(
            Row(ORGS, {"id": A, "name": "One", "plan": "free"}, A),
            Row(ORGS, {"id": B, "name": "Two", "plan": "free"}, B),
            Row(
                ISSUES,
                {"id": "1", "organization_id": B, "title": "canary-7", "state": "open"},
                B,
                "canary-7",
            ),
            Row(ISSUES, {"id": "2", "organization_id": None, "title": ""}),
        ),
        tenants=(A, B),
        users=("u1",),
    ),
    Principal("member", "u1", A, (Membership(A),), role="app", settings=(("app.org", A),)),
    (Step(ISSUES, "select", "SELECT id FROM public.issues", "scan"),),
)
COUNTEREXAMPLE = Counterexample(FINDING, WITNESS, "demo", "00ff", "18.6")


def test_the_whole_story_at_80_columns() -> None:
    identifier = FINDING.id
    expected = f"""\
TF101 critical  A member reads rows of another tenant in public.issues
{identifier}
where      select public.issues
who        a member of tenant 6c0e15e3-2b6d-48ba-9307-6f02040d333d (A), as role
           app, user u1
whose      rows of tenant d23412d5-aae6-424f-93a4-d23f077cef58 (B)
identity   app.org = 6c0e15e3-2b6d-48ba-9307-6f02040d333d
world      tenants: A = 6c0e15e3-2b6d-4…0d333d, B = d23412d5-aae6-4…7cef58
           public.organizations  (+2 columns)
             of  id
             A   6c0e15e3-2b6d-4…0d333d
             B   d23412d5-aae6-4…7cef58
           public.issues  (+1 column)
             of  id  organization_id         title
             B   1   d23412d5-aae6-4…7cef58  canary-7
             -   2   NULL                    ''
did        SELECT id FROM public.issues;
came back  1 row
expected   no row of tenant B
culprit    policy issues_support: USING (true)
why        The policy issues_support has the expression true and speaks for
           every role, so that every row of the table passes.
mend       Drop the policy issues_support, or give it TO support.
again      tenantfuzz replay . {identifier}
           tenantfuzz show {identifier} --sql"""
    assert story_text(FINDING, COUNTEREXAMPLE) == expected


def test_without_a_counterexample_the_statements_are_told() -> None:
    text = story_text(FINDING)
    assert "did        SET LOCAL ROLE app;\n           SELECT id FROM public.issues;\n" in text
    assert "again" not in text
    assert "tenants:" not in text
    assert "again" in story_text(replace(FINDING, corpus_file="corpus/x.json"))


def test_nothing_but_commands_is_wider_than_asked_for() -> None:
    finding = replace(FINDING, explanation="word " * 200, observed="x" * 300, title="t " * 90)
    for line in story(finding, COUNTEREXAMPLE, width=60):
        assert len(line.text) <= 60 or "tenantfuzz " in line.text, line


def test_the_headline_is_marked_for_colour() -> None:
    parts = [line.part for line in story(FINDING, COUNTEREXAMPLE)]
    assert parts[0] is Part.HEADLINE
    assert parts.count(Part.HEADLINE) == 1
    assert Part.LABELLED in parts


def test_what_a_database_holds_cannot_drive_the_terminal() -> None:
    finding = replace(FINDING, observed="\x1b[2Jgone \u202eevil\u202c \x07", title="a\nb")
    world = replace(WITNESS.world, rows=(Row(ISSUES, {"id": "\x1b[31m1", "title": "a\u202eb"}, B),))
    text = story_text(finding, replace(COUNTEREXAMPLE, witness=replace(WITNESS, world=world)))
    assert not any(ord(c) < 32 and c != "\n" for c in text)
    assert "\u202e" not in text
    assert "\\x1b[2Jgone" in text


def test_passwords_are_not_told() -> None:
    finding = replace(FINDING, explanation="connected as postgres://app:hunter2@h/d")
    principal = replace(WITNESS.principal, settings=(("app.dsn", "password=hunter2"),))
    witness = replace(WITNESS, principal=principal)
    text = story_text(finding, replace(COUNTEREXAMPLE, witness=witness))
    assert "hunter2" not in text


def test_commands_are_quoted_for_a_shell() -> None:
    finding = replace(FINDING, relation="issue list's", operation="query")
    text = story_text(finding, COUNTEREXAMPLE, path="my target")
    assert (
        f"tenantfuzz replay 'my target' 'TF101-issue_list'\"'\"'s-query-{finding.fingerprint}'"
        in text
    )
    assert "--path 'my target' --sql" in text


def test_what_stands_apart_is_said() -> None:
    text = story_text(replace(FINDING, latent=True, origin="server", minimal=False))
    assert "latent" in text
    assert "PostgreSQL version" in text
    assert "not made minimal" in text


def test_what_the_connection_has_been_through_is_said() -> None:
    for freshness, words in (
        (Freshness.NEVER_SET, "no identity was ever set"),
        (Freshness.COMMITTED, "was committed"),
        (Freshness.ROLLED_BACK, "was rolled back"),
    ):
        principal = replace(WITNESS.principal, freshness=freshness, settings=(("app.org", ""),))
        witness = replace(WITNESS, principal=principal)
        text = story_text(FINDING, replace(COUNTEREXAMPLE, witness=witness))
        assert words in text
        assert "app.org = (empty)" in text


def test_a_large_world_is_counted_not_shown() -> None:
    rows = tuple(Row(ISSUES, {"id": str(n), "organization_id": B}, B) for n in range(50))
    others = tuple(Row(RelationName("public", f"other_{n}"), {"id": "1"}, A) for n in range(30))
    world = World(rows=(*others, *rows), tenants=(A, B))
    lines = world_lines(replace(WITNESS, world=world), width=69)
    assert len(lines) < 50
    assert "public.issues" in lines, "what the statements name is always shown"
    assert "  … 44 more rows" in lines
    text = " ".join(" ".join(lines).split())
    assert "besides rows of: public.other_0 (A), public.other_1 (A)," in text
    assert text.endswith("public.other_11 (A), and 18 more relations")


def test_rows_that_are_only_referred_to_are_counted_and_the_users_own_are_shown() -> None:
    names = ("users", "memberships", "locations", "machines")
    users, memberships, locations, machines = (RelationName("public", n) for n in names)
    rows = (
        Row(users, {"id": "u1"}, A),
        Row(memberships, {"id": "7", "user_id": "u1", "organization_id": A}, A),
        Row(locations, {"id": "1"}, A),
        Row(locations, {"id": "2"}, B),
        Row(machines, {"id": "3"}, None),
        Row(ISSUES, {"id": "9", "organization_id": B}, B),
    )
    witness = replace(WITNESS, world=World(rows=rows, tenants=(A, B)))
    lines = world_lines(witness, width=69)
    shown = [line for line in lines if line.startswith("public.")]
    assert shown == ["public.users", "public.memberships", "public.issues"]
    assert lines[-1] == "besides rows of: public.locations (A, B), public.machines (-)"


@pytest.mark.parametrize(
    ("kind", "tenants", "who"),
    [
        ("admin", {A}, "an admin of tenant"),
        ("limited", {A}, "a limited member of tenant"),
        ("dual", {A, B}, "a user of two tenants, acting in tenant"),
        ("outsider", set(), "an outsider, naming tenant"),
        ("claim", {A}, "a user with a claim of its own making, of tenant"),
    ],
)
def test_who_acted_reads_as_english(kind: str, tenants: set[str], who: str) -> None:
    finding = replace(FINDING, principal=replace(FINDING.principal, kind=kind))
    principal = replace(
        WITNESS.principal,
        kind=kind,
        memberships=tuple(Membership(t) for t in sorted(tenants)),
        all_tenants=frozenset(tenants),
    )
    case = replace(COUNTEREXAMPLE, witness=replace(WITNESS, principal=principal))
    text = " ".join(story_text(finding, case).split())
    assert f"who {who} {A} (A), as role app, user u1 whose" in text


def test_a_wide_table_fits() -> None:
    values = {f"other_{n}_id": "x" * 30 for n in range(20)} | {"id": "1", "organization_id": B}
    world = World(rows=(Row(ISSUES, values, B),), tenants=(A, B))
    lines = world_lines(replace(WITNESS, world=world), width=69)
    assert max(len(line) for line in lines) <= 69
    header = next(line for line in lines if line.startswith("  of"))
    assert header.split()[:3] == ["of", "organization_id", "id"] or header.split()[:3] == [
        "of",
        "id",
        "organization_id",
    ]
    assert any(line.startswith("public.issues  (+") for line in lines)


def test_very_many_statements_are_counted() -> None:
    finding = replace(FINDING, statements=tuple(f"SELECT {n}" for n in range(40)))
    text = story_text(finding)
    assert "SELECT 11;" in text
    assert "SELECT 12;" not in text
    assert "… and 28 more statements" in text


def test_visible_keeps_lines_and_letters() -> None:
    assert visible("é\n\tx\r\n") == "é\n x\n"
    assert visible("a\rb\x00") == "a\\rb\\x00"
