"""Which references of a query are tied to the caller's tenant, and what would tie the others."""

import pytest

from tenantfuzz.policies.model import (
    Identity,
    Kind,
    Memberships,
    Model,
    Ownership,
    OwnershipKind,
    Way,
)
from tenantfuzz.policies.query_analysis import analyse
from tenantfuzz.policies.query_parts import QueryAnalysis
from tenantfuzz.policies.query_standing import Callers, Standing, all_mended, mends, standings
from tenantfuzz.policies.query_text import cut_text
from tenantfuzz.policies.structure import (
    Catalog,
    Column,
    DataType,
    ForeignKey,
    Relation,
    RelationKind,
    RelationName,
    Unique,
)

TEXT = DataType("text", "text")
COLUMNS = {
    "orgs": "id name",
    "users": "id name",
    "memberships": "id org_id user_id",
    "machines": "id org_id name",
    "issues": "id org_id machine_id author_id title",
    "votes": "issue_id user_id",
    "models": "id org_id name",
    "plans": "id name",
}
KEYS = {
    "issues": [("machine_id", "machines", "id"), ("author_id", "users", "id")],
    "votes": [("issue_id", "issues", "id")],
    "machines": [("org_id", "orgs", "id")],
}


def named(name: str) -> RelationName:
    return RelationName("public", name)


def relation(number: int, name: str, columns: list[str]) -> Relation:
    return Relation(
        name=named(name),
        oid=number,
        kind=RelationKind.TABLE,
        owner="o",
        columns=tuple(Column(c, n, TEXT) for n, c in enumerate(columns, 1)),
        uniques=(Unique(f"{name}_pkey", (columns[0],), primary=True),),
        foreign_keys=tuple(
            ForeignKey(f"{name}_{c}", (c,), named(t), (o,)) for c, t, o in KEYS.get(name, [])
        ),
    )


CATALOG = Catalog(
    relations={named(n): relation(i, n, c.split()) for i, (n, c) in enumerate(COLUMNS.items(), 1)},
    roles={},
    grants={},
    functions=(),
    server_version=170000,
)
BY_ORG = Ownership(OwnershipKind.COLUMN, "org_id")
MODEL = Model(
    tenants=named("orgs"),
    tenant_key="id",
    tenant_values=(),
    ownership={
        named("orgs"): Ownership(OwnershipKind.TENANTS, "id"),
        named("users"): Ownership(OwnershipKind.MEMBERS, "id"),
        named("memberships"): BY_ORG,
        named("machines"): BY_ORG,
        named("issues"): BY_ORG,
        named("models"): Ownership(OwnershipKind.COLUMN, "org_id", null_shared=True),
        named("votes"): Ownership(
            OwnershipKind.VIA, ways=(Way(("issue_id",), named("issues"), ("id",)),)
        ),
        named("plans"): Ownership(OwnershipKind.SHARED),
    },
    identity=Identity(),
    kinds=(Kind("member"),),
    users=named("users"),
    user_key="id",
    memberships=Memberships(named("memberships"), "user_id", "org_id", "left_at IS NULL"),
)
CALLERS = Callers(frozenset({"tenant", "setting:app.org"}), frozenset({"user"}))


def analysis_of(sql: str) -> QueryAnalysis:
    found = analyse(cut_text(sql), CATALOG)
    assert found is not None
    return found


def loose(sql: str) -> dict[str, Standing]:
    """The references that are not tied."""
    analysis = analysis_of(sql)
    found = standings(analysis, CATALOG, MODEL, CALLERS)
    return {
        r.label: s for r, s in zip(analysis.references, found, strict=True) if s < Standing.TIED
    }


OPEN, KEYED = Standing.OPEN, Standing.KEYED


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 FROM issues WHERE org_id = :tenant",
        "SELECT 1 FROM issues i WHERE :tenant = i.org_id AND (i.title = 'a' OR i.title = 'b')",
        "SELECT 1 FROM issues i WHERE (i.org_id = :tenant AND i.id = 'a') OR i.org_id = :tenant",
        "SELECT 1 FROM issues i WHERE i.org_id IN (:tenant)",
        "SELECT 1 FROM issues i WHERE i.org_id::text = :tenant::text",
        "SELECT 1 FROM issues i WHERE i.org_id = current_setting('app.org', true)",
        "SELECT 1 FROM issues i JOIN machines m ON m.org_id = i.org_id WHERE i.org_id = :tenant",
        "SELECT 1 FROM issues i JOIN machines m USING (org_id) WHERE m.org_id = :tenant",
        "SELECT 1 FROM issues i, machines m WHERE i.org_id = m.org_id AND m.org_id = :tenant",
        "SELECT 1 FROM issues i LEFT JOIN machines m ON m.org_id = :tenant"
        " WHERE i.org_id = :tenant",
        "SELECT 1 FROM (SELECT * FROM issues) x WHERE x.org_id = :tenant",
        "WITH x AS (SELECT * FROM issues) SELECT 1 FROM x WHERE x.org_id = :tenant",
        "SELECT 1 FROM issues i WHERE (i.org_id, i.id) = (:tenant, 'a')",
        "SELECT (SELECT count(*) FROM issues i WHERE i.org_id = o.id) FROM orgs o"
        " WHERE o.id = :tenant",
        "SELECT 1 FROM issues i WHERE i.org_id IN"
        " (SELECT m.org_id FROM memberships m WHERE m.user_id = :user)",
        "SELECT 1 FROM issues i WHERE EXISTS"
        " (SELECT 1 FROM memberships m WHERE m.org_id = i.org_id AND m.user_id = :user)",
        "SELECT 1 FROM votes v JOIN issues i ON i.id = v.issue_id WHERE i.org_id = :tenant",
        "SELECT 1 FROM users u JOIN memberships m ON m.user_id = u.id WHERE m.org_id = :tenant",
        "SELECT 1 FROM users u WHERE u.id = :user",
        "SELECT 1 FROM models m WHERE m.org_id = :tenant OR m.org_id IS NULL",
        "SELECT 1 FROM plans",
        "UPDATE issues SET title = 'a' WHERE org_id = :tenant",
        "DELETE FROM votes USING issues i WHERE i.id = votes.issue_id AND i.org_id = :tenant",
        "INSERT INTO issues (id, org_id) VALUES ('a', :tenant)",
        "INSERT INTO issues (id, org_id) VALUES ('a', :tenant)"
        " ON CONFLICT (org_id, id) DO UPDATE SET title = 'b'",
        "INSERT INTO issues (id, org_id) SELECT m.id, m.org_id FROM machines m"
        " WHERE m.org_id = :tenant",
    ],
)
def test_a_query_whose_references_are_all_tied(sql: str) -> None:
    assert loose(sql) == {}


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1 FROM issues", {"issues": OPEN}),
        ("SELECT 1 FROM issues i WHERE i.org_id = :other", {"issues AS i": OPEN}),
        ("SELECT 1 FROM issues i WHERE i.org_id <> :tenant", {"issues AS i": OPEN}),
        ("SELECT 1 FROM issues i WHERE NOT (i.org_id = :tenant)", {"issues AS i": OPEN}),
        ("SELECT 1 FROM issues i WHERE i.org_id = :tenant OR true", {"issues AS i": OPEN}),
        ("SELECT 1 FROM issues i WHERE i.author_id = :tenant", {"issues AS i": OPEN}),
        (
            "SELECT 1 FROM issues i WHERE i.org_id = :tenant OR i.org_id IS NULL",
            {"issues AS i": OPEN},
        ),
        ("SELECT 1 FROM issues i WHERE i.org_id IS NULL OR i.id = 'a'", {"issues AS i": OPEN}),
        (
            "SELECT 1 FROM issues i LEFT JOIN machines m ON i.org_id = :tenant",
            {"issues AS i": OPEN, "machines AS m": OPEN},
        ),
        (
            "SELECT 1 FROM issues i JOIN machines m ON m.id = i.machine_id"
            " WHERE i.org_id = :tenant",
            {"machines AS m": KEYED},
        ),
        (
            "SELECT 1 FROM issues i JOIN machines m ON m.name = i.title WHERE i.org_id = :tenant",
            {"machines AS m": OPEN},
        ),
        (
            "SELECT 1 FROM issues i WHERE i.org_id = :tenant UNION ALL SELECT 1 FROM machines",
            {"machines": OPEN},
        ),
        (
            "WITH x AS (SELECT * FROM issues) SELECT 1 FROM x JOIN x AS y ON x.id = y.id"
            " WHERE x.org_id = :tenant",
            {"issues": OPEN},
        ),
        (
            "SELECT 1 FROM (SELECT *, row_number() OVER () FROM issues) x WHERE org_id = :tenant",
            {"issues": OPEN},
        ),
        (
            "SELECT 1 FROM issues i WHERE i.org_id = :tenant AND NOT EXISTS"
            " (SELECT 1 FROM machines m WHERE m.name = i.title)",
            {"machines AS m": OPEN},
        ),
        (
            "INSERT INTO issues (id, org_id) VALUES (:id, :tenant)"
            " ON CONFLICT (id) DO UPDATE SET title = 'b'",
            {"ON CONFLICT of issues": OPEN},
        ),
        ("INSERT INTO issues (id, org_id) VALUES (:id, :org)", {"issues": OPEN}),
        (
            "SELECT 1 FROM memberships m JOIN users u ON u.id = m.user_id"
            " JOIN memberships o ON o.user_id = u.id WHERE m.org_id = :tenant",
            {"memberships AS o": OPEN},
        ),
        ("UPDATE issues i SET title = :t WHERE i.id = :id", {"issues AS i": OPEN}),
    ],
)
def test_references_that_nothing_ties(sql: str, expected: dict[str, Standing]) -> None:
    assert loose(sql) == expected


@pytest.mark.parametrize(
    ("sql", "condition", "place", "mended"),
    [
        (
            "SELECT i.id FROM issues i WHERE i.id = :id",
            "i.org_id = :tenant",
            "to WHERE",
            "SELECT i.id FROM issues AS i WHERE i.id = :id AND i.org_id = :tenant",
        ),
        (
            "SELECT i.id FROM issues i WHERE i.id = :id OR i.title = :t",
            "i.org_id = :tenant",
            "to WHERE, with parentheses around its OR",
            "SELECT i.id FROM issues AS i WHERE (i.id = :id OR i.title = :t)"
            " AND i.org_id = :tenant",
        ),
        (
            "SELECT m.id FROM issues i LEFT JOIN machines m ON m.name = i.title"
            " WHERE i.org_id = :tenant",
            "m.org_id = :tenant",
            "to the join of machines AS m",
            "SELECT m.id FROM issues AS i LEFT JOIN machines AS m ON m.name = i.title"
            " AND m.org_id = :tenant WHERE i.org_id = :tenant",
        ),
        (
            "DELETE FROM votes WHERE issue_id = $1",
            "EXISTS (SELECT 1 FROM issues AS owner WHERE owner.id = votes.issue_id"
            " AND owner.org_id = :tenant)",
            "to WHERE",
            "DELETE FROM votes WHERE issue_id = $1 AND EXISTS(SELECT 1 FROM issues AS owner"
            " WHERE owner.id = votes.issue_id AND owner.org_id = :tenant)",
        ),
        (
            "SELECT name FROM users",
            "EXISTS (SELECT 1 FROM memberships AS membership WHERE membership.user_id = users.id"
            " AND membership.org_id = :tenant AND left_at IS NULL)",
            "to WHERE",
            "SELECT name FROM users WHERE EXISTS(SELECT 1 FROM memberships AS membership"
            " WHERE membership.user_id = users.id AND membership.org_id = :tenant"
            " AND left_at IS NULL)",
        ),
        (
            "INSERT INTO issues (id, org_id) VALUES (:id, :tenant)"
            " ON CONFLICT (id) DO UPDATE SET title = 'b'",
            "issues.org_id = :tenant",
            "to WHERE of ON CONFLICT DO UPDATE",
            "INSERT INTO issues (id, org_id) VALUES (:id, :tenant)"
            " ON CONFLICT(id) DO UPDATE SET title = 'b' WHERE issues.org_id = :tenant",
        ),
    ],
)
def test_the_condition_that_ties_a_reference(
    sql: str, condition: str, place: str, mended: str
) -> None:
    text, analysis = cut_text(sql), analysis_of(sql)
    standing = standings(analysis, CATALOG, MODEL, CALLERS)
    chosen = [r for r in analysis.references if standing[r.number] < Standing.TIED]
    (mend,) = mends(analysis, text, CATALOG, MODEL, "tenant", "user", chosen)
    assert (mend.condition, mend.place) == (condition, place)
    assert mend.text.readable() == mended


def test_several_conditions_at_once() -> None:
    sql = "SELECT 1 FROM issues i JOIN machines m ON m.name = i.title"
    text, analysis = cut_text(sql), analysis_of(sql)
    offered = list(
        mends(analysis, text, CATALOG, MODEL, "tenant", "user", list(analysis.references))
    )
    made = all_mended(analysis, text, offered, tenant="tenant", user="user")
    assert made.readable() == (
        "SELECT 1 FROM issues AS i JOIN machines AS m ON m.name = i.title"
        " AND m.org_id = :tenant WHERE i.org_id = :tenant"
    )


def test_what_parameters_meet() -> None:
    analysis = analysis_of(
        "UPDATE issues SET title = :title WHERE id = ANY (:ids) AND title ILIKE '%' || :q || '%'"
        " AND machine_id IN (SELECT m.id FROM machines m WHERE m.name > :low)"
    )
    met = {
        name: [(m.relation.name, m.column, m.how) for m in found]
        for name, found in analysis.compared.items()
    }
    assert met == {
        "title": [("issues", "title", "set")],
        "ids": [("issues", "id", "equal")],
        "q": [("issues", "title", "like")],
        "low": [("machines", "name", "range")],
    }


@pytest.mark.parametrize(
    ("sql", "written", "upserts"),
    [
        ("SELECT 1 FROM issues", [], False),
        ("UPDATE issues SET title = 'a'", [("issues", "update")], False),
        (
            "WITH gone AS (DELETE FROM votes RETURNING *) INSERT INTO issues (id)"
            " SELECT issue_id FROM gone ON CONFLICT DO NOTHING",
            [("votes", "delete"), ("issues", "insert")],
            True,
        ),
        (
            "MERGE INTO issues i USING machines m ON i.machine_id = m.id WHEN MATCHED THEN DELETE",
            [("issues", "merge")],
            True,
        ),
    ],
)
def test_what_a_query_writes(sql: str, written: list[tuple[str, str]], upserts: bool) -> None:
    analysis = analysis_of(sql)
    assert [(r.name, o) for r, o in analysis.written] == written
    assert analysis.upserts is upserts


def test_a_query_that_is_none_is_not_analysed() -> None:
    assert analyse(cut_text("SELEC 1 FROM WHERE"), CATALOG) is None
    assert analyse(cut_text("SELECT 1; SELECT 2"), CATALOG) is None
    assert analyse(cut_text("CREATE TABLE t (a int)"), CATALOG) is None


@pytest.mark.parametrize(
    ("sql", "ordered"),
    [
        ("SELECT id FROM issues ORDER BY title", True),
        ("SELECT id FROM issues UNION SELECT id FROM machines ORDER BY 1", True),
        ("SELECT array_agg(id ORDER BY id) FROM issues", False),
        ("SELECT id FROM (SELECT id FROM issues ORDER BY id LIMIT 3) AS i", False),
        ("UPDATE issues SET title = 'a' WHERE id IN (SELECT id FROM issues ORDER BY id)", False),
    ],
)
def test_whether_rows_are_asked_for_in_an_order(sql: str, ordered: bool) -> None:
    analysis = analyse(cut_text(sql), CATALOG)
    assert analysis is not None and analysis.ordered is ordered


def test_a_parameter_meets_a_column_by_the_name_that_it_gets() -> None:
    sql = (
        "MERGE INTO machines m USING (SELECT :id AS id, :name AS name) s ON m.id = s.id"
        " WHEN MATCHED THEN UPDATE SET name = s.name"
    )
    analysis = analyse(cut_text(sql), CATALOG)
    assert analysis is not None
    (meeting,) = analysis.compared["id"]
    assert (meeting.relation, meeting.column, meeting.how) == (named("machines"), "id", "equal")
