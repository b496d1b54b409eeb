"""Where two answers part, in a few words."""

from collections import Counter

import pytest

from tenantfuzz.application.answers import Answer
from tenantfuzz.application.differences import told_apart
from tenantfuzz.results import Column, Outcome, RawRow


class Named(Outcome):
    """An outcome whose columns have names."""

    def columns(self) -> tuple[Column, ...]:
        return tuple(Column(n, 0, 0) for n in ("id", "total"))


def answer(rows: list[RawRow], *, named: bool) -> Answer:
    made = Named if named else Outcome
    return Answer(made("SELECT", rows, None), Counter(), wrote=False)


@pytest.mark.parametrize(
    ("here", "there", "named", "told"),
    [
        (
            [(b"a", b"2"), (b"b", b"5")],
            [(b"b", b"5"), (b"a", b"1")],
            True,
            ("2 row(s); total is 2", "2 row(s); total is 1"),
        ),
        # What is most like the first row that is here alone.
        (
            [(b"a", b"2")] * 2,
            [(b"c", b"9"), (b"a", None)],
            True,
            ("2 row(s); total is 2", "2 row(s); total is NULL"),
        ),
        ([(b"a", b"2")], [], True, ("1 row(s)", "0 row(s)")),
        (
            [(b'{"id": 1, "n": 2}',), (b"{}",)],
            [(b'{"id": 1, "n": 3}',), (b"{}",)],
            False,
            ("2 row(s); n is 2", "2 row(s); n is 3"),
        ),
        (
            [(b'"x"',), (b'"y"',)],
            [(b'"x"',), (b'"z"',)],
            False,
            ('2 row(s); a row is "y"', '2 row(s); a row is "z"'),
        ),
        ([(b"1", b"2")], [(b"1", b"2")], True, ("1 row(s)", "1 row(s)")),
    ],
)
def test_the_first_value_that_differs_is_told(
    here: list[RawRow], there: list[RawRow], named: bool, told: tuple[str, str]
) -> None:
    assert told_apart(answer(here, named=named), answer(there, named=named)) == told
