"""One hole, one finding: what is taken in, what is accepted, what another one says already."""

from dataclasses import replace

import pytest

from tenantfuzz.counterexample import Step, Witness
from tenantfuzz.findings import Finding, PrincipalSummary, Severity
from tenantfuzz.policies.configuration import Acceptance
from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.structure import RelationName
from tenantfuzz.policies.world import World
from tenantfuzz.registry import Registry

ISSUES = RelationName("public", "issues")


def witness(sql: str = "SELECT 1") -> Witness:
    return Witness(World(()), Principal("member"), (Step(ISSUES, "select", sql),))


def finding(
    code: str,
    *culprits: str,
    relation: str = "public.issues",
    operation: str = "select",
    kind: str = "member",
    severity: Severity = Severity.CRITICAL,
) -> Finding:
    return Finding(
        code=code,
        severity=severity,
        title="title",
        relation=relation,
        operation=operation,
        principal=PrincipalSummary(kind, "app", "A"),
        owner_tenants=("B",),
        explanation="",
        culprits=culprits or ("policy p",),
        statements=(),
        expected="",
        observed="",
    )


def add(registry: Registry, *findings: Finding) -> list[bool]:
    return [registry.add(f, witness()) for f in findings]


def codes(registry: Registry) -> list[str]:
    return [f.code for f in registry.ordered()]


def test_one_hole_is_one_finding_whoever_shows_it() -> None:
    registry = Registry()
    first = finding("TF101")
    assert not registry.knows(first)
    again = replace(first, title="another", principal=PrincipalSummary("guest", "app", "B"))
    assert add(registry, first, again) == [True, False]
    assert registry.knows(again)
    assert registry.ordered() == (first,)


@pytest.mark.parametrize(
    "other",
    [
        finding("TF102"),
        finding("TF101", "policy q"),
        finding("TF101", relation="public.comments"),
        finding("TF101", operation="update"),
    ],
    ids=["code", "culprit", "relation", "operation"],
)
def test_what_differs_in_code_door_operation_or_culprit_is_another(other: Finding) -> None:
    registry = Registry()
    assert add(registry, finding("TF101"), other) == [True, True]


def test_the_order_of_culprits_does_not_matter() -> None:
    registry = Registry()
    assert add(registry, finding("TF101", "p", "q"), finding("TF101", "q", "p")) == [True, False]


SHADOWS = [
    ("TF101", "TF108"),
    ("TF101", "TF109"),
    ("TF101", "TF107"),
    ("TF401", "TF107"),
    ("TF101", "TF104"),
    ("TF202", "TF207"),
    ("TF101", "TF307"),
    ("TF108", "TF307"),
    ("TF101", "TF106"),
    ("TF104", "TF108"),
    ("TF203", "TF207"),
    ("TF204", "TF207"),
    ("TF101", "TF301"),
    ("TF401", "TF302"),
]


@pytest.mark.parametrize(("plain", "special"), SHADOWS)
def test_the_plain_finding_stands_for_the_special_one_in_either_order(
    plain: str, special: str
) -> None:
    registry = Registry()
    assert add(registry, finding(plain)) == [True]
    assert registry.knows(finding(special))
    assert add(registry, finding(special)) == [False]
    assert codes(registry) == [plain]

    registry = Registry()
    assert add(registry, finding(special), finding(plain)) == [True, True]
    assert codes(registry) == [plain]


@pytest.mark.parametrize(("plain", "special"), SHADOWS)
def test_another_relation_shadows_nothing(plain: str, special: str) -> None:
    registry = Registry()
    assert add(registry, finding(plain, relation="public.x"), finding(special)) == [True, True]


@pytest.mark.parametrize(
    ("plain", "special"), [("TF108", "TF101"), ("TF101", "TF202"), ("TF202", "TF108")]
)
def test_shadows_fall_one_way_and_only_among_kin(plain: str, special: str) -> None:
    registry = Registry()
    assert add(registry, finding(plain), finding(special))[1]
    assert special in codes(registry)


def test_a_culprit_of_its_own_keeps_the_special_finding() -> None:
    registry = Registry()
    assert add(registry, finding("TF101", "p", "q"), finding("TF108", "p")) == [True, False]
    assert add(registry, finding("TF108", "p", "r")) == [True]
    assert codes(registry) == ["TF101", "TF108"]


@pytest.mark.parametrize("code", ["TF106", "TF307", "TF301"])
def test_counts_say_nothing_more_than_reads_through_whatever_culprit(code: str) -> None:
    registry = Registry()
    assert add(registry, finding("TF101", "p"), finding(code, "r")) == [True, False]


def test_an_accepted_finding_is_kept_apart_with_its_reason_and_is_no_news() -> None:
    registry = Registry([Acceptance(code="TF101", relation="issues", reason="on purpose")])
    accepted = finding("TF101")
    assert add(registry, accepted, accepted) == [False, False]
    assert registry.findings == {}
    assert list(registry.accepted_findings.values()) == [(accepted, "on purpose")]
    assert registry.knows(accepted)


def test_an_accepted_finding_shadows_too() -> None:
    registry = Registry([Acceptance(code="TF101", reason="on purpose")])
    assert add(registry, finding("TF101"), finding("TF108")) == [False, False]
    assert registry.findings == {}


def test_the_acceptance_of_a_shadowed_code_still_counts_when_it_comes_first() -> None:
    registry = Registry([Acceptance(code="TF108", reason="known")])
    assert add(registry, finding("TF108"), finding("TF101")) == [False, True]
    assert codes(registry) == ["TF101"]
    assert [f.code for f, _ in registry.accepted_findings.values()] == ["TF108"]


ONE = finding("TF101")


@pytest.mark.parametrize(
    ("accept", "matches"),
    [
        (Acceptance(code="TF101", reason="r"), True),
        (Acceptance(code="TF102", reason="r"), False),
        (Acceptance(code="TF1*", reason="r"), True),
        (Acceptance(code="TF3*", reason="r"), False),
        (Acceptance(id="TF101-issues-*", reason="r"), True),
        (Acceptance(code="TF101", relation="public.iss*", reason="r"), True),
        (Acceptance(code="TF101", relation="public.users", reason="r"), False),
        (Acceptance(code="TF101", operation="select", reason="r"), True),
        (Acceptance(code="TF101", operation="update", reason="r"), False),
        (Acceptance(code="TF101", kind="member", reason="r"), True),
        (Acceptance(code="TF101", kind="anonymous", reason="r"), False),
        (Acceptance(fingerprint=ONE.fingerprint, reason="r"), True),
        (Acceptance(fingerprint="00000000", reason="r"), False),
        (Acceptance(id=ONE.id, reason="r"), True),
        (Acceptance(id="TF101-other-select-00000000", reason="r"), False),
        # Without a code, a fingerprint or an id it speaks of untested cells.
        (Acceptance(relation="public.issues", reason="r"), False),
    ],
)
def test_what_an_acceptance_speaks_of(accept: Acceptance, matches: bool) -> None:
    assert add(Registry([accept]), ONE) == [not matches]


def test_a_better_witness_takes_the_place_of_the_first() -> None:
    registry = Registry()
    registry.add(ONE, witness("SELECT 1, 2"))
    smaller = replace(ONE, minimal=True)
    registry.improve(smaller, witness("SELECT 1"))
    assert registry.ordered() == (smaller,)
    assert registry.witnesses[ONE.fingerprint] == witness("SELECT 1")


def test_the_worst_comes_first_then_by_code_and_id() -> None:
    registry = Registry()
    low = finding("TF301", relation="public.b", severity=Severity.LOW)
    write = finding("TF202", operation="update")
    read = finding("TF101")
    other = finding("TF101", relation="public.a")
    high = finding("TF201", operation="insert", severity=Severity.HIGH)
    add(registry, low, high, write, read, other)
    assert registry.ordered() == (other, read, write, high, low)


MEMBERS = "public.members"


def chain(*texts: str) -> Witness:
    steps = tuple(Step(ISSUES, "insert", text) for text in texts)
    return Witness(World(()), Principal("member"), steps)


def gained(*culprits: str) -> Finding:
    return finding("TF209", *culprits, relation=MEMBERS, operation="insert")


@pytest.mark.parametrize("first", ["the gain", "what follows"])
def test_what_a_membership_that_somebody_gave_itself_shows_is_no_finding(first: str) -> None:
    registry = Registry()
    gain = (gained("join"), chain("JOIN"))
    read = (finding("TF101", "see"), chain("JOIN", "SELECT"))
    both = [gain, read] if first == "the gain" else [read, gain]
    for one, shown_by in both:
        registry.add(one, shown_by)
    assert codes(registry) == ["TF209"]
    # Another statement, or the same read without it, is a hole of its own.
    assert registry.add(finding("TF101", "p"), chain("OTHER", "SELECT"))
    assert registry.add(finding("TF101", "q"), chain("SELECT"))


def test_a_known_gain_by_another_statement_explains_what_follows_too() -> None:
    registry = Registry()
    assert registry.add(gained("join"), chain("JOIN"))
    assert not registry.add(gained("join"), chain("JOIN AS OWNER"))
    assert not registry.add(finding("TF101", "see"), chain("JOIN AS OWNER", "SELECT"))


@pytest.mark.parametrize("waved", ["accepted", "latent"])
def test_a_gain_that_does_not_count_hides_nothing(waved: str) -> None:
    accept = (Acceptance(code="TF209", reason="open house"),) if waved == "accepted" else ()
    registry = Registry(accept)
    registry.add(replace(gained("join"), latent=waved == "latent"), chain("JOIN"))
    assert registry.add(finding("TF101", "see"), chain("JOIN", "SELECT"))


def test_policies_that_are_true_for_who_is_in_are_no_second_gain() -> None:
    registry = Registry()
    assert registry.add(gained("admins", "join"), chain("JOIN AS OWNER"))
    assert registry.add(gained("join"), chain("JOIN"))
    assert [f.culprits for f in registry.ordered()] == [("join",)]
    assert not registry.add(gained("admins", "join"), chain("JOIN AS ADMIN"))
    assert registry.add(gained("other"), chain("JOIN OTHERWISE"))
