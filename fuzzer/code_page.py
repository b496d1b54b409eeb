"""The page about a code, as ``tenantfuzz explain`` prints it."""

import textwrap
from collections.abc import Iterator

from tenantfuzz.codes import FAMILIES, Code, all_codes
from tenantfuzz.lines import LABEL, Line, Part


def code_page(code: Code, *, width: int = 80) -> Iterator[Line]:
    """The lines for one code: meaning, cause, an example of the leak and of its mend."""
    yield Line(f"{code.code} {code.severity.value}  {code.name}", Part.HEADLINE)
    yield Line(f"({code.family})")
    for label, text in (("meaning", code.meaning), ("cause", code.cause), ("mend", code.mend)):
        yield Line("")
        wrapped = textwrap.wrap(text, width - LABEL, break_on_hyphens=False)
        for number, line in enumerate(wrapped):
            head = label if number == 0 else ""
            part = Part.LABELLED if number == 0 else Part.PLAIN
            yield Line(head.ljust(LABEL) + line, part)
    for label, sql in (("leaky", code.leaky), ("mended", code.mended)):
        if sql:
            yield Line("")
            yield Line(label, Part.LABELLED)
            yield from (Line(f"    {line}".rstrip()) for line in sql.splitlines())


def code_list() -> Iterator[Line]:
    """One line for each code, by family."""
    for prefix, family in FAMILIES.items():
        if prefix != "TF1":
            yield Line("")
        yield Line(family, Part.HEADLINE)
        for code in all_codes().values():
            if code.code.startswith(prefix):
                yield Line(f"  {code.code}  {code.severity.value.ljust(8)}  {code.name}")
