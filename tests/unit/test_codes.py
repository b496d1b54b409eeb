import pytest

from tenantfuzz.codes import FAMILIES, all_codes, find_code, named_kind, severity, title
from tenantfuzz.errors import ToolError

# The codes and severities of DESIGN.md, section 6, which are fixed.
FIXED = {
    "critical": "101 102 103 104 105 108 109 202 203 204 206 207 208 209 501 502 601 602",
    "high": "106 107 201 304 401 402 603 604 702",
    "medium": "205 307 503 701",
    "low": "301 302 303 305 306",
    "warning": "801 802 803 901 902",
}


def test_every_fixed_code_has_its_severity() -> None:
    for word, numbers in FIXED.items():
        for number in numbers.split():
            assert severity(f"TF{number}") == word, number


def test_every_code_says_everything() -> None:
    for code in all_codes().values():
        for text in (code.name, code.title, code.meaning, code.cause, code.mend, code.family):
            assert text.strip(), code.code
        assert bool(code.leaky) == bool(code.mended) == (not code.code.startswith("TF9")), code.code
        assert code.leaky != code.mended or not code.leaky, code.code
        assert "{" not in code.titled(relation="public.issues", kind="admin"), code.code
        assert len(code.name) <= 64, "a list must fit into 80 columns"
    assert set(FAMILIES) == {code[:3] for code in all_codes()}


@pytest.mark.parametrize("text", ["TF101", "tf101", "101", " TF101 ", "TF101-issues-select-1a2b"])
def test_a_code_is_found_as_people_write_it(text: str) -> None:
    assert find_code(text).code == "TF101"


@pytest.mark.parametrize("text", ["TF999", "TF1011", "", "leak", "TF10"])
def test_what_is_no_code_is_an_error(text: str) -> None:
    with pytest.raises(ToolError, match="there is no code"):
        find_code(text)


def test_an_unknown_code_names_its_neighbours() -> None:
    with pytest.raises(ToolError) as caught:
        find_code("TF110")
    assert caught.value.hint is not None
    assert "TF109" in caught.value.hint


def test_titles_name_the_kind_and_the_relation() -> None:
    assert (
        title("TF101", relation="public.issues", kind="admin")
        == "An admin reads rows of another tenant in public.issues"
    )
    assert title("TF202", relation="app.notes", kind="former") == (
        "A former member updates rows of another tenant in app.notes"
    )
    assert title("TF501", relation="issue list", kind="service") == (
        "the query issue list returns rows of another tenant"
    )


def test_braces_in_names_are_left_alone() -> None:
    text = title("TF101", relation="public.{kind}", kind="member")
    assert text == "A member reads rows of another tenant in public.{kind}"


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("member", "a member"),
        ("owner", "an owner"),
        ("assigned", "an assigned member"),
        ("read-only", "a read-only member"),
        ("anonymous", "an anonymous caller"),
        ("unset", "a session whose identity was never set"),
    ],
)
def test_kinds_read_as_english(kind: str, named: str) -> None:
    assert named_kind(kind) == named
