import re
from dataclasses import replace
from html.parser import HTMLParser

from tenantfuzz.reports.account import Account
from tenantfuzz.reports.html import html_text

VOID = {"meta", "!doctype"}


class Outline(HTMLParser):
    """Which tags there are, and that each is closed where it was opened."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def close(self) -> None:
        super().close()
        assert not self._open


def outline(account: Account) -> Outline:
    parsed = Outline()
    parsed.feed(html_text(account))
    parsed.close()
    return parsed


def test_it_loads_and_runs_nothing(account: Account) -> None:
    text = html_text(account)
    parsed = outline(account)
    assert not {t for t, _ in parsed.tags} & {"script", "link", "img", "iframe", "object", "form"}
    attributes = {name for _, attrs in parsed.tags for name in attrs}
    assert not {a for a in attributes if a.startswith("on") or a in ("src", "href")}
    assert "url(" not in text and "@import" not in text
    policies = [a["content"] for t, a in parsed.tags if "content" in a and "http-equiv" in a]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_what_the_database_holds_is_text(account: Account) -> None:
    text = html_text(account)
    assert "hunter2" not in text and "\x1b" not in text and "\x00" not in text
    shown = "".join(outline(account).texts)
    assert "<script>alert(1)</script>" in shown  # as text, not as a tag


def test_findings_coverage_and_time_are_there(account: Account) -> None:
    shown = "".join(outline(account).texts)
    for words in (
        "TF101 critical",
        "(accepted: support may do that)",
        "(latent)",
        "made in db/schema file.sql:12",
        "unclassified: nobody says (2 cells)",
        "generation 20%, database 60%, oracle 20%",
        "tenantfuzz run . --seed 7",
    ):
        assert words in shown


def squares(account: Account) -> dict[tuple[str, str], list[str]]:
    """What is marked in the table of coverage: relation and operation, the marks by kind."""
    [table] = re.findall(r"<table>\n<tr><th>relation.*?</table>", html_text(account), re.DOTALL)
    head, *rows = table.splitlines()[1:-1]
    operations = re.findall(r"<th>(.*?)</th>", head)[1:]
    found = {}
    for row in rows:
        relation, *cells = re.findall(r"<td>(.*?)</td>", row)
        for operation, cell in zip(operations, cells, strict=True):
            if cell:
                found[relation, operation] = re.findall(r'title="(.*?)"', cell)
    return found


def test_the_table_of_coverage(account: Account) -> None:
    assert squares(account) == {
        ("public.audit", "insert"): ["member: accepted: the log is ours"],
        ("public.issues", "select"): ["member: TF107", "outsider: covered"],
        ("public.issues", "insert"): ["member: covered"],
        ("public.ledger", "select"): [
            "member: untested: unclassified: nobody says",
            "outsider: untested: unclassified: nobody says",
        ],
        ("public.notes", "update"): ["member: TF205"],
        ("public.notes", "delete"): [],
        ("public.users", "insert"): ["member: TF301"],
        ("public.users", "delete"): ["member: closed", "outsider: closed"],
    }


def test_unchanged_relations_have_a_mark_of_their_own(partly: Account) -> None:
    assert squares(partly)["public.logs", "select"] == ["unchanged"]
    shown = "".join(outline(partly).texts)
    assert "1 relation is unchanged since main.json and was not tested again." in shown
    assert "public.issues: policy p changed" in shown


def test_a_clean_page_says_so(clean: Account) -> None:
    parsed = outline(clean)
    assert "clean" in parsed.texts
    assert "Findings" not in parsed.texts


def test_a_run_that_knows_nothing_has_a_page_too(clean: Account) -> None:
    finished = replace(
        clean.finished,
        interrupted="lost",
        status="inconclusive",
        coverage=type(clean.finished.coverage)(),
    )
    shown = "".join(outline(replace(clean, finished=finished, phases=())).texts)
    assert "the run was cut short: lost" in shown
