import pytest

from tenantfuzz.row_text import readable_row, row_fields


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("(1,a)", ["1", "a"]),
        ("(,)", [None, None]),
        ('("",x)', ["", "x"]),
        ("()", [None]),
        ('("a, ""b"" (c)",2)', ['a, "b" (c)', "2"]),
        (r'("back\\slash",)', ["back\\slash", None]),
        ('("{""k"": ""v""}",t)', ['{"k": "v"}', "t"]),
        ("no row", None),
        ('("open)', None),
    ],
)
def test_fields(text: str, fields: list[str | None] | None) -> None:
    assert row_fields(text) == fields


def test_a_row_is_told_by_its_columns() -> None:
    columns = ["id", "org_id", "title", "deleted_at"]
    assert readable_row('(7,a,"one two",)', columns) == "id = 7, org_id = a, title = one two"
    assert readable_row('(7,a,"",)', columns) == "id = 7, org_id = a, title = ''"


def test_long_rows_and_values_are_cut() -> None:
    columns = [f"c{n}" for n in range(8)]
    assert readable_row("(0,1,2,3,4,5,6,7)", columns) == (
        "c0 = 0, c1 = 1, c2 = 2, c3 = 3, c4 = 4, c5 = 5, …"
    )
    assert readable_row(f"({'x' * 50})", ["a"]) == f"a = {'x' * 39}…"


def test_a_text_that_does_not_go_with_the_columns_is_shown_as_it_is() -> None:
    assert readable_row("(1,2)", ["id"]) == "(1,2)"
