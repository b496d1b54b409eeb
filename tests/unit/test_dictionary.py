"""The literals of a schema land at the columns that they are compared with."""

from tenantfuzz.policies.structure import (
    Catalog,
    Check,
    Column,
    DataType,
    Function,
    Policy,
    Relation,
    RelationKind,
    RelationName,
    Trigger,
)
from tenantfuzz.strategies.dictionary import Comparison, Dictionary, build_dictionary

NOTES = RelationName("public", "notes")
MEMBERS = RelationName("app", "members")
TYPES = {
    "uuid": DataType("uuid", "uuid"),
    "text": DataType("text", "text"),
    "int4": DataType("integer", "int4"),
    "bool": DataType("boolean", "bool"),
    "jsonb": DataType("jsonb", "jsonb"),
    "date": DataType("date", "date"),
    "timestamp": DataType("timestamp without time zone", "timestamp"),
    "timestamptz": DataType("timestamp with time zone", "timestamptz"),
}


def columns(words: str) -> tuple[Column, ...]:
    pairs = [word.split(":") for word in words.split()]
    return tuple(Column(name, n, TYPES[base]) for n, (name, base) in enumerate(pairs, 1))


def policy(using: str) -> Policy:
    return Policy("p", "all", permissive=True, roles=(), using=using, check=None)


def catalog(*policies: str, functions: tuple[Function, ...] = ()) -> Catalog:
    notes = Relation(
        NOTES, 1, RelationKind.TABLE, "o",
        columns("id:uuid org_id:uuid visibility:text level:int4 open:bool data:jsonb kind:text"),
        policies=tuple(policy(p) for p in policies),
        checks=(Check("c", "(kind = ANY (ARRAY['memo'::text, 'todo'::text]))", ("kind",)),),
        triggers=(
            Trigger(
                "t", "before", ("insert",), per_row=True, function=RelationName("public", "f"),
                definer=False, source="IF NEW.kind = 'secret' THEN RETURN NULL; END IF;",
            ),
        ),
    )  # fmt: skip
    members = Relation(
        MEMBERS, 2, RelationKind.TABLE, "o",
        columns("user_id:uuid org_id:uuid role:text status:text level:int4"),
    )  # fmt: skip
    view = Relation(
        RelationName("public", "memos"), 3, RelationKind.VIEW, "o", columns("id:uuid"),
        definition="SELECT n.id FROM notes n WHERE n.visibility = 'listed'::text;",
    )  # fmt: skip
    relations = {r.name: r for r in (notes, members, view)}
    return Catalog(relations, {}, {}, functions, 150000, search_path=("public",))


def words(of: Dictionary, column: str, relation: RelationName = NOTES) -> tuple[str, ...]:
    return of.for_column(relation, column)


def test_literals_of_policies() -> None:
    built = build_dictionary(
        catalog(
            "((visibility = 'internal'::text) OR (level > 10))",
            "((open IS TRUE) AND ((data ->> 'k'::text) = 'v'::text))",
            "(org_id = '00000000-0000-0000-0000-000000000001'::uuid)",
        )
    )
    assert words(built, "visibility") == ("internal", "listed")
    assert words(built, "level") == ("10", "11", "9")
    assert words(built, "open") == ("true", "false")
    assert words(built, "data") == ('{"k": "v"}',)
    assert words(built, "org_id") == ("00000000-0000-0000-0000-000000000001",)
    assert words(built, "kind") == ("memo", "todo", "secret")
    assert words(built, "id") == ()


def test_columns_belong_to_the_table_of_their_alias() -> None:
    built = build_dictionary(
        catalog(
            "(EXISTS ( SELECT 1 FROM app.members m WHERE ((m.org_id = notes.org_id)"
            " AND (m.role = ANY (ARRAY['admin'::text, 'owner'::text])) AND (m.level >= 3))))"
        )
    )
    assert words(built, "role", MEMBERS) == ("admin", "owner")
    assert words(built, "level", MEMBERS) == ("3", "4", "2")
    assert words(built, "level") == ()
    assert built.policy_columns(MEMBERS) == {"org_id", "role", "level"}
    assert built.policy_columns(NOTES) == {"org_id"}


def test_helper_functions_count_and_others_do_not_decide() -> None:
    def function(name: str, source: str) -> Function:
        return Function(
            RelationName("app", name), 9, "", "boolean", "plpgsql", definer=True, volatile=False,
            owner="o", source=source,
        )  # fmt: skip

    helper = function(
        "is_member",
        "BEGIN RETURN EXISTS (SELECT 1 FROM app.members WHERE status = 'active' AND role IN"
        " ('a', 'b') AND app.deeper(user_id)); END",
    )
    deeper = function("deeper", "SELECT level > 5 FROM members WHERE user_id = $1")
    other = function("unrelated", "SELECT 1 FROM notes WHERE visibility = 'hidden'")
    built = build_dictionary(catalog("app.is_member(org_id)", functions=(helper, deeper, other)))
    assert words(built, "status", MEMBERS) == ("active",)
    assert words(built, "role", MEMBERS) == ("a", "b")
    assert words(built, "level", MEMBERS) == ("5",)
    assert words(built, "visibility") == ("hidden", "listed") or words(built, "visibility") == (
        "listed",
        "hidden",
    )
    assert built.policy_columns(MEMBERS) == {"status", "role", "user_id", "level"}
    assert built.policy_columns(NOTES) == {"org_id"}


def test_loose_literals_by_type() -> None:
    built = build_dictionary(
        catalog("(current_setting('app.mode'::text) = 'live'::text)", "(level = 42)")
    )
    assert "live" in built.loose["text"]
    assert "app.mode" in built.loose["text"]
    assert "42" in built.loose["number"]


def test_an_expression_that_is_not_understood_is_scanned() -> None:
    built = build_dictionary(catalog("visibility = 'weird' ~@~ ((("))
    assert words(built, "visibility") == ("weird", "listed")
    assert built.policy_columns(NOTES) == {"visibility"}


def test_a_time_ahead_for_what_is_compared_with_the_present() -> None:
    tickets = Relation(
        RelationName("public", "tickets"), 4, RelationKind.TABLE, "o",
        columns("made:timestamptz until:date seen:timestamp told:timestamptz"),
        policies=(
            policy("((made > (now() - '24:00:00'::interval)) AND (CURRENT_DATE <= until))"),
            policy("((seen IS NULL) AND (told < '2020-01-01 00:00:00+00'::timestamptz))"),
        ),
    )  # fmt: skip
    helper = Function(
        RelationName("app", "fresh"), 9, "", "boolean", "plpgsql", definer=True, volatile=False,
        owner="o", source="RETURN EXISTS (SELECT FROM tickets t WHERE now() < t.seen)",
    )  # fmt: skip
    built = build_dictionary(
        Catalog({tickets.name: tickets}, {}, {}, (helper,), 150000, search_path=("public",))
    )
    assert words(built, "made", tickets.name) == ("2099-01-01 00:00:00+00",)
    assert words(built, "until", tickets.name) == ("2099-01-01",)
    assert words(built, "seen", tickets.name) == ("2099-01-01 00:00:00",)
    assert "2099-01-01 00:00:00+00" not in words(built, "told", tickets.name)


def test_what_statements_of_the_application_test_decides_as_well() -> None:
    built = build_dictionary(
        catalog(),
        [
            "SELECT n.id, n.visibility FROM notes n "
            "WHERE n.open AND n.kind IS NULL AND n.visibility ILIKE $1 AND n.level = 3",
            "SELECT FROM app.members WHERE NOT status = 'gone'",
            "UPDATE app.members SET role = 'none' WHERE level = 4",
            "this is no statement (",
        ],
    )
    assert built.deciding_columns(NOTES) == {"open", "kind", "level"}
    assert built.deciding_columns(MEMBERS) == {"status", "level"}
    assert built.policy_columns(NOTES) == frozenset()
    assert built.nulls == {(NOTES, "kind")}


def test_columns_that_are_held_equal_belong_together() -> None:
    built = build_dictionary(
        catalog("id IN (SELECT m.user_id FROM app.members m WHERE m.role = visibility)"),
        [
            "SELECT FROM notes n JOIN app.members m ON m.org_id = n.org_id AND n.kind = m.status",
            "SELECT FROM notes a JOIN notes b ON a.kind = b.visibility",
            "SELECT FROM notes n, app.members m WHERE n.level < m.level",
        ],
    )
    assert built.comparisons == (
        Comparison(MEMBERS, NOTES, (("org_id", "org_id"), ("status", "kind"))),
        Comparison(MEMBERS, NOTES, (("role", "visibility"),)),
    )
    assert {"kind", "org_id"} <= built.deciding_columns(NOTES)
    assert "visibility" in built.policy_columns(NOTES)
