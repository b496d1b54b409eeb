import re
from dataclasses import replace

from markdown_it import MarkdownIt

from tenantfuzz.findings import Severity
from tenantfuzz.reports.account import Account
from tenantfuzz.reports.markdown import LONGEST, markdown_text

GITHUB = 65_536  # characters of a comment


def html(text: str) -> str:
    """As a renderer reads it that lets no HTML through but ours: raw HTML is escaped."""
    return str(MarkdownIt("commonmark", {"html": False}).enable("table").render(text))


def test_the_whole_page_of_a_clean_run(clean: Account) -> None:
    assert markdown_text(clean) == (
        "### ✅ tenantfuzz: demo\n"
        "\n"
        "**clean**: no findings\n"
        "\n"
        "10 cells (relation × operation × kind): 5 covered, 2 closed, **0 untested**.\n"
        "2,500 checks in 12.5 s on PostgreSQL 18.6, seed 7.\n"
        "\n"
        "To repeat the run:\n"
        "\n"
        "```sh\n"
        "tenantfuzz run . --seed 7\n"
        "```\n"
        "\n"
        "_Clean speaks of the cells above, for the worlds that were generated._\n"
    )


def test_a_table_of_findings_and_folded_stories(account: Account) -> None:
    text = markdown_text(account)
    assert "**leaks**: 4 findings, 2 of them below the line (in brackets)\n" in text
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert [row.split(" | ")[:2] for row in rows] == [
        ["| critical", "TF101"],
        ["| high", "TF107"],
        ["| (medium)", "TF205"],
        ["| (low)", "TF301"],
    ]
    assert "`select public.issues` `db/schema file.sql:12`" in rows[0]
    assert text.count("<details>") == text.count("</details>") == 4 + 3
    assert f"tenantfuzz replay . {account.findings[0].finding.id}\n" in text
    assert "untested: 2 cells" in text
    assert "support may do that" in text


def test_nothing_of_the_database_is_markup(account: Account) -> None:
    text = markdown_text(account)
    assert "hunter2" not in text
    assert "\x1b" not in text
    page = html(text)
    assert "<script>" not in page
    # Mentions notify people: outside of code none is left whole.
    outside = re.sub(r"<(code|pre)\b.*?</\1>", "", page, flags=re.DOTALL)
    assert "@octocat" not in outside


def test_a_fence_is_longer_than_what_it_holds(account: Account) -> None:
    story = "before\n```\n</details>\n````sh\nafter"
    held = replace(account, findings=(replace(account.findings[0], story=story),))
    page = html(markdown_text(held))
    [block] = re.findall(r'<pre><code class="language-text">(.*?)</code></pre>', page, re.DOTALL)
    assert block == "before\n```\n&lt;/details&gt;\n````sh\nafter\n"


def test_cells_with_pipes_stay_cells(account: Account) -> None:
    finding = replace(account.findings[0].finding, title="a | b", relation="public.a|b")
    held = replace(account, findings=(replace(account.findings[0], finding=finding),))
    page = html(markdown_text(held))
    cells = re.findall(r"<td[^>]*>(.*?)</td>", page)
    assert cells[2:4] == [
        "<code>select public.a|b</code> <code>db/schema file.sql:12</code>",
        "a | b",
    ]


def test_it_fits_into_a_comment(account: Account) -> None:
    first = account.findings[0]
    many = tuple(
        replace(
            first, finding=replace(first.finding, culprits=(f"p{n}",)), story="\U0001f4a5" * 900
        )
        for n in range(200)
    )
    text = markdown_text(replace(account, findings=many))
    units = len(text.encode("utf-16-le")) // 2
    assert units <= LONGEST < GITHUB
    assert units > LONGEST * 0.9  # what fits is there
    assert "… and 150 more |" in text
    told = text.count("<summary>TF101")
    assert f"_{200 - told} stories" in text
    assert "tenantfuzz run . --seed 7" in text


def test_what_is_not_spoken_of_is_said(partly: Account) -> None:
    assert "1 relation is unchanged since main.json and was not tested again." in markdown_text(
        partly
    )


def test_a_cut_run_is_not_clean(clean: Account) -> None:
    cut = replace(
        clean, finished=replace(clean.finished, interrupted="lost", status="inconclusive")
    )
    assert "**inconclusive**: no findings; the run was cut short: lost" in markdown_text(cut)


def test_only_what_fails_is_marked(account: Account) -> None:
    text = markdown_text(replace(account, fail_on=Severity.LOW))
    assert "| low | TF301 |" in text
    assert "| (medium) | TF205 |" in text  # latent ones never fail
