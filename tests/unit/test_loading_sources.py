import json
from pathlib import Path

import pytest

from tenantfuzz.errors import ToolError
from tenantfuzz.loading.loader import schema_hash
from tenantfuzz.loading.sources import SourceFile, find_sources, read_source


def write(base: Path, *names: str, text: str = "SELECT 1;\n") -> None:
    for name in names:
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def shown(entries: list[str], base: Path) -> list[str]:
    return [source.display for source in find_sources(entries, base)]


FOLDERS = {
    "numbered": (["10_c.sql", "2_b.sql", "1_a.sql", "README.md"], ["1_a", "2_b", "10_c"]),
    "sqlx": (
        ["2_b.up.sql", "2_b.down.sql", "1_a.up.sql", "1_a.down.sql"],
        ["1_a.up", "2_b.up"],
    ),
    "flyway": (
        [
            *("V10__z.sql", "V2__b.sql", "V1_1__a2.sql", "V1.0__a.sql", "U2__b.sql"),
            *("R__views.sql", "afterMigrate.sql", "old/V0_9__early.sql"),
        ],
        ["old/V0_9__early", "V1.0__a", "V1_1__a2", "V2__b", "V10__z", "R__views"],
    ),
    "baseline": (["V1__a.sql", "B2__base.sql", "V3__c.sql"], ["B2__base", "V3__c"]),
    "prisma": (
        ["20240201_b/migration.sql", "20240101_a/migration.sql", "migration_lock.toml"],
        ["20240101_a/migration", "20240201_b/migration"],
    ),
    "diesel": (["2_b/up.sql", "2_b/down.sql", "1_a/up.sql"], ["1_a/up", "2_b/up"]),
    "supabase": (
        ["migrations/2_b.sql", "migrations/1_a.sql", "seed.sql", "config.toml"],
        ["migrations/1_a", "migrations/2_b"],
    ),
    "project": (
        ["supabase/migrations/1_a.sql", "supabase/seed.sql", "package.json"],
        ["supabase/migrations/1_a"],
    ),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_folder_order(name: str, tmp_path: Path) -> None:
    files, expected = FOLDERS[name]
    write(tmp_path / name, *files)
    assert shown([name], tmp_path) == [f"{name}/{stem}.sql" for stem in expected]


def test_drizzle_journal_gives_the_order(tmp_path: Path) -> None:
    write(tmp_path / "drizzle", "0000_z.sql", "0001_a.sql", "0002_not_in_journal.sql")
    entries = [{"idx": 1, "tag": "0001_a"}, {"idx": 0, "tag": "0000_z"}]
    write(tmp_path / "drizzle", "meta/_journal.json", text=json.dumps({"entries": entries}))
    assert shown(["drizzle"], tmp_path) == ["drizzle/0000_z.sql", "drizzle/0001_a.sql"]


def test_drizzle_journal_with_a_file_that_is_gone(tmp_path: Path) -> None:
    entries = [{"idx": 0, "tag": "0000_gone"}]
    write(tmp_path / "drizzle", "meta/_journal.json", text=json.dumps({"entries": entries}))
    with pytest.raises(ToolError, match=r"0000_gone\.sql is listed"):
        find_sources(["drizzle"], tmp_path)


def test_sqitch_plan_with_a_reworked_change(tmp_path: Path) -> None:
    plan = "%project=x\n\nroles 2024 A <a@b>\nview [roles] 2024 A <a@b>\n@v1 2024 A <a@b>\nview\n"
    write(tmp_path / "db", "sqitch.plan", text=plan)
    write(tmp_path / "db", "deploy/roles.sql", "deploy/view.sql", "deploy/view@v1.sql")
    expected = ["db/deploy/roles.sql", "db/deploy/view@v1.sql", "db/deploy/view.sql"]
    assert shown(["db"], tmp_path) == expected


def test_entries_keep_their_order_and_count_once(tmp_path: Path) -> None:
    write(tmp_path, "z.sql", "sub/a10.sql", "sub/a9.sql", "sub/a9.down.sql")
    assert shown(["z.sql", "sub/*.sql", "./z.sql", "sub/a9.sql"], tmp_path) == [
        "z.sql",
        "sub/a9.sql",
        "sub/a10.sql",
    ]


def test_absolute_paths_and_globs(tmp_path: Path) -> None:
    write(tmp_path, "sub/a.sql")
    path = str(tmp_path / "sub" / "a.sql")
    elsewhere = tmp_path / "other"
    assert shown([path], elsewhere) == [path]
    assert shown([str(tmp_path / "*" / "*.sql")], elsewhere) == [path]


@pytest.mark.parametrize(
    ("files", "entry", "message", "hint"),
    [
        ([], "schema.sql", "'schema.sql' does not exist", "relative to the configuration"),
        ([], "*.sql", r"'\*\.sql' matches no file", "relative to the configuration"),
        (["m/x.txt"], "m", "folder without SQL files", "SQL file"),
        (["m/1.ts"], "m", "migrations in TypeScript", "pg_dump"),
        (["m/versions/x.py", "m/env.py"], "m", "migrations in Python", "alembic upgrade head"),
        (["m/tables/a.sql", "m/views/b.sql"], "m", "only in sub-folders", '"m/tables", "m/views"'),
    ],
)
def test_what_leads_nowhere(
    files: list[str], entry: str, message: str, hint: str, tmp_path: Path
) -> None:
    write(tmp_path, *files)
    with pytest.raises(ToolError, match=message) as caught:
        find_sources([entry], tmp_path)
    assert hint in (caught.value.hint or "")


def test_not_utf8_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "latin.sql").write_bytes(b"SELECT 1;\n-- caf\xe9\n")
    with pytest.raises(ToolError, match=r"latin\.sql:2 is not UTF-8 \(byte 0xe9\)"):
        find_sources(["latin.sql"], tmp_path)


def test_archive_of_pg_dump_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "x.dump").write_bytes(b"PGDMP\x01\x0e\x00")
    with pytest.raises(ToolError, match="archive") as caught:
        find_sources(["x.dump"], tmp_path)
    assert "pg_restore" in (caught.value.hint or "")


def test_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "bom.sql").write_bytes(b"\xef\xbb\xbfSELECT 1;")
    assert read_source(SourceFile(tmp_path / "bom.sql", "bom.sql")) == "SELECT 1;"


def test_schema_hash_depends_on_content_and_order_alone(tmp_path: Path) -> None:
    write(tmp_path, "a.sql", "copy/a.sql", text="a")
    write(tmp_path, "b.sql", text="b")
    write(tmp_path, "ab.sql", text="ab")
    write(tmp_path, "empty.sql", text="")

    def of(*names: str) -> str:
        return schema_hash(find_sources(names, tmp_path))

    assert len(of("a.sql")) == 16
    assert of("a.sql", "b.sql") == of("copy/a.sql", "b.sql")
    assert of("a.sql", "b.sql") != of("b.sql", "a.sql")
    assert of("a.sql", "b.sql") != of("ab.sql", "empty.sql")
