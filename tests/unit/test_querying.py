"""Generated queries without a server: what may be asked, what is preferred, what can go."""

import json
import random
from collections.abc import Mapping
from itertools import pairwise

import pytest

from tenantfuzz.policies.model import Identity, Kind, Model, Ownership, OwnershipKind
from tenantfuzz.policies.structure import (
    Catalog,
    Column,
    DataType,
    ForeignKey,
    Function,
    Relation,
    RelationKind,
    RelationName,
    TypeCategory,
    Unique,
)
from tenantfuzz.strategies.actions import Grants
from tenantfuzz.strategies.querying.guidance import Guidance, plan_shape
from tenantfuzz.strategies.querying.lexicon import Lexicon, Operator, Vocabulary
from tenantfuzz.strategies.querying.maker import QueryMaker
from tenantfuzz.strategies.querying.reducing import reductions
from tenantfuzz.strategies.querying.tree import Query
from tenantfuzz.strategies.querying.writes import WriteMaker

NOTES, FOLDERS = RelationName("public", "notes"), RelationName("public", "folders")
INT, TEXT = DataType("integer", "int4"), DataType("text", "text")


def columns(**types: DataType) -> tuple[Column, ...]:
    return tuple(Column(n, i, t) for i, (n, t) in enumerate(types.items(), 1))


def function(oid: int, name: str, arguments: str, **more: object) -> Function:
    facts: dict[str, object] = {
        "result": "integer", "language": "sql", "definer": False, "volatile": False,
        "owner": "me", "source": "", "executable_by": frozenset({"app"}), **more,
    }  # fmt: skip
    return Function(RelationName("public", name), oid, arguments, **facts)  # type: ignore[arg-type]  # by name


def model_of(ownership: Mapping[RelationName, Ownership]) -> Model:
    return Model(None, None, ("7", "8"), ownership, Identity(), (Kind("member"),))


def lexicon(*, whole: bool = True) -> Lexicon:
    notes = Relation(
        NOTES,
        1,
        RelationKind.TABLE,
        "me",
        columns(
            id=INT,
            org_id=INT,
            folder_id=INT,
            title=TEXT,
            place=DataType("point", "point"),
            papers=DataType(
                "json[]", "_json", TypeCategory.ARRAY, element=DataType("json", "json")
            ),
            search=DataType("tsvector", "tsvector"),
        ),
        uniques=(Unique("notes_pkey", ("id",), primary=True),),
        foreign_keys=(ForeignKey("fk", ("folder_id",), FOLDERS, ("id",)),),
    )
    folders = Relation(
        FOLDERS,
        2,
        RelationKind.TABLE,
        "me",
        columns(id=INT, org_id=INT, name=TEXT),
        uniques=(Unique("folders_pkey", ("id",), primary=True),),
    )
    functions = (
        function(10, "quiet", "title text"),
        function(11, "sealed", "title text"),
        function(12, "of_folder", "folders"),
        function(13, "many_of_folder", "folders", result="SETOF integer"),
        function(14, "writes", "f folders", volatile=True),
        function(15, "not_mine", "f folders", executable_by=frozenset()),
    )
    catalog = Catalog({NOTES: notes, FOLDERS: folders}, {}, {}, functions, 170000)
    owned = Ownership(OwnershipKind.COLUMN, column="org_id")
    model = model_of({NOTES: owned, FOLDERS: owned})
    able = ("id", "org_id", "name") if whole else ("id", "name")
    everything = tuple(c.name for c in notes.columns)
    grants = {
        NOTES: Grants(everything, everything, ("title", "id", "folder_id", "org_id"), delete=True),
        FOLDERS: Grants(able),
    }
    vocabulary = Vocabulary((Operator("ext", "<->", "text", "text", "float8"),), frozenset({11}))
    return Lexicon(catalog, model, grants, frozenset({NOTES, FOLDERS}), vocabulary, "app")


def test_columns_without_equality_are_left_out() -> None:
    entry = lexicon().entries[NOTES]
    assert entry.columns == ("id", "org_id", "folder_id", "title", "search")
    assert entry.sorts["number"] == ("id", "org_id", "folder_id")
    assert entry.sorts["tsvector"] == ("search",)
    assert [(o.symbol, c) for o, c in entry.operators] == [("<->", "title")]


def test_functions_are_those_that_take_a_row_or_say_that_they_leak_nothing() -> None:
    found = lexicon()
    assert found.entries[NOTES].functions == (("public.sealed", "title"),)
    assert found.entries[FOLDERS].functions == (
        ("public.sealed", "name"),
        ("public.of_folder", ""),
    )


def test_a_row_is_given_only_where_all_of_it_may_be_read() -> None:
    assert lexicon(whole=False).entries[FOLDERS].functions == (("public.sealed", "name"),)


def test_the_same_seed_makes_the_same_queries_and_they_tell_what_they_are_made_of() -> None:
    rows = {NOTES: {"[1]": {"id": "1", "org_id": "7", "title": "it's", "folder_id": None}}}

    def made() -> list[Query]:
        aims = {NOTES: ["[1]"]}
        return QueryMaker(lexicon(), rows, aims, random.Random(3), Guidance()).queries(200)

    queries = made()
    assert queries == made()
    assert {q.relations[0] for q in queries} == {NOTES, FOLDERS}
    assert all(q.features for q in queries)
    assert all(("random()" not in q.sql and "TABLESAMPLE SYSTEM" not in q.sql) or q.chance
               for q in queries)  # fmt: skip
    assert any("'it''s'" in q.sql for q in queries)
    assert any('OPERATOR("ext".<->)' in q.sql for q in queries)


def test_nothing_is_made_where_nothing_may_be_read() -> None:
    empty = Lexicon(Catalog({}, {}, {}, (), 170000), model_of({}), {})
    assert QueryMaker(empty, {}, {}, random.Random(1)).queries(3) == []
    assert WriteMaker(empty, {}, {}, random.Random(1)).writes(3) == []


def test_writes_leave_keys_references_and_owners_alone() -> None:
    rows = {NOTES: {"[1]": {"id": "1", "org_id": "7", "title": "a", "folder_id": "2"}}}
    writes = WriteMaker(lexicon(), rows, {}, random.Random(3)).writes(200)
    assert {w.relation for w in writes} == {NOTES}
    settings = {w.sql.partition(" SET ")[2].split(" = ")[0] for w in writes if " SET " in w.sql}
    assert settings == {"title"}
    shapes = {w.shape for w in writes}
    assert {"update from", "delete using", "insert from rows", "merge of rows"} <= shapes


# What is preferred


def query(*features: str) -> Query:
    return Query("SELECT 1", (NOTES,), features)


def test_what_was_seen_less_is_newer() -> None:
    guidance = Guidance()
    for _ in range(5):
        guidance.note(query("plain", "join"))
    assert guidance.novelty(query("plain", "like")) > guidance.novelty(query("plain", "join"))
    assert Guidance(enabled=False).novelty(query("plain", "like")) == 0


def test_shapes_that_lead_to_new_plans_are_made_more_often() -> None:
    guidance = Guidance()
    for number in range(10):
        assert guidance.explain(query("window"), f"Scan{number}")
        assert guidance.explain(query("plain"), "Scan0") is False
    window, plain = guidance.weights(("window", "plain"), (1.0, 1.0))
    assert window > plain
    assert Guidance(enabled=False).weights(("window", "plain"), (1.0, 2.0)) == (1.0, 2.0)


def test_a_plan_is_reduced_to_its_nodes() -> None:
    scan = {"Node Type": "Seq Scan", "Relation Name": "notes", "Filter": "(x = 1)"}
    join = {"Node Type": "Hash Join", "Join Type": "Left", "Plans": [scan, {"Node Type": "Hash"}]}
    assert plan_shape(json.dumps([{"Plan": join}])) == "Hash Join/Left(Seq Scan,Hash)"


# What can go


@pytest.mark.parametrize(
    ("sql", "smaller"),
    [
        ("SELECT a, b FROM t", "SELECT a FROM t"),
        ("SELECT a FROM t WHERE x = 1 AND y = 2", "SELECT a FROM t WHERE y = 2"),
        ("SELECT a FROM t WHERE x = 1 AND y = 2", "SELECT a FROM t"),
        ("SELECT a FROM t JOIN u ON t.i = u.i JOIN v ON true", "SELECT a FROM t JOIN v ON TRUE"),
        ("SELECT a FROM t JOIN u ON t.i = u.i", "SELECT a FROM u"),
        ("WITH q AS MATERIALIZED (SELECT a FROM t) SELECT * FROM q", "SELECT a FROM t"),
        ("SELECT count(*) FROM (SELECT a FROM t) AS q", "SELECT a FROM t"),
        ("SELECT a FROM t UNION ALL SELECT b FROM u", "SELECT b FROM u"),
        ("SELECT a FROM t ORDER BY a LIMIT 3", "SELECT a FROM t LIMIT 3"),
        ("SELECT count(*) FILTER (WHERE a) FROM t", "SELECT COUNT(*) FROM t"),
        ("SELECT DISTINCT a FROM t TABLESAMPLE BERNOULLI (100)", "SELECT DISTINCT a FROM t"),
        ("UPDATE t SET a = 1 FROM u WHERE t.i = u.i RETURNING a", "UPDATE t SET a = 1 RETURNING a"),
        ("DELETE FROM t USING u WHERE t.i = u.i", "DELETE FROM t"),
        ("-- script\nSET LOCAL jit = off;\nSELECT a;\n", "SELECT a"),
        ("-- script\nSET x = 1;\nSET y = 2;\nSELECT a;\n", "-- script\nSET x = 1;\nSELECT a;\n"),
    ],
)  # fmt: skip
def test_a_query_can_do_without(sql: str, smaller: str) -> None:
    assert smaller in list(reductions(sql))


def test_reductions_say_less_and_the_least_comes_first() -> None:
    sql = "SELECT a, b FROM t JOIN u ON t.i = u.i WHERE x = 1 OR NOT (y = 2) ORDER BY a"
    found = list(reductions(sql))
    assert all(len(one) <= len(other) for one, other in pairwise(found))
    assert all(len(text) < len(sql) for text in found)
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("sql", ["COPY t TO STDOUT", "SELECT FROM WHERE (", "SELECT a FROM t"])
def test_what_cannot_be_parsed_or_is_least_stays(sql: str) -> None:
    assert list(reductions(sql)) == []
