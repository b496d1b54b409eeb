"""Finding the file, reading it, and what the environment adds."""

from pathlib import Path

import pytest

from tenantfuzz.errors import ToolError
from tenantfuzz.policies.configuration import Attacker, Engine
from tenantfuzz.target import find_target, resolve_reference

FILE = '[target]\nname = "shop"\nschema = "a.sql"\n'


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


class TestWhere:
    def test_a_folder_with_the_file(self, tmp_path: Path) -> None:
        file = write(tmp_path, "tenantfuzz.toml", FILE)
        target = find_target(tmp_path, environ={})
        assert (target.name, target.root, target.file) == ("shop", tmp_path.resolve(), file)
        assert target.configuration.target.sources == ("a.sql",)

    def test_the_file_itself_under_any_name(self, tmp_path: Path) -> None:
        file = write(tmp_path, "leaky.toml", FILE)
        target = find_target(file, environ={})
        assert (target.name, target.root) == ("shop", tmp_path.resolve())

    def test_a_table_in_pyproject(self, tmp_path: Path) -> None:
        file = write(tmp_path, "pyproject.toml", '[tool.tenantfuzz.target]\nname = "py"\n')
        assert find_target(tmp_path, environ={}).name == "py"
        assert find_target(file, environ={}).name == "py"

    def test_the_file_goes_before_pyproject(self, tmp_path: Path) -> None:
        write(tmp_path, "pyproject.toml", '[tool.tenantfuzz.target]\nname = "py"\n')
        write(tmp_path, "tenantfuzz.toml", FILE)
        assert find_target(tmp_path, environ={}).name == "shop"

    def test_the_folder_names_a_target_without_name(self, tmp_path: Path) -> None:
        folder = tmp_path / "warehouse"
        folder.mkdir()
        write(folder, "tenantfuzz.toml", "")
        assert find_target(folder, environ={}).name == "warehouse"

    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(ToolError, match=r"has no tenantfuzz\.toml") as raised:
            find_target(tmp_path, environ={})
        assert raised.value.hint is not None
        assert raised.value.hint.startswith("write one: [target] schema = ")
        with pytest.raises(ToolError, match="does not exist"):
            find_target(tmp_path / "gone", environ={})

    def test_pyproject_without_the_table(self, tmp_path: Path) -> None:
        file = write(tmp_path, "pyproject.toml", "[project]\n")
        with pytest.raises(ToolError, match=r"has no tenantfuzz\.toml"):
            find_target(tmp_path, environ={})
        with pytest.raises(ToolError, match=r"has no \[tool\.tenantfuzz\]"):
            find_target(file, environ={})


class TestBrokenFiles:
    def test_toml_with_line_and_column(self, tmp_path: Path) -> None:
        file = write(tmp_path, "tenantfuzz.toml", "[target]\nname = = 'x'\n")
        with pytest.raises(ToolError) as raised:
            find_target(tmp_path, environ={})
        assert str(raised.value) == f"{file}:2:8: not valid TOML: Invalid value"
        assert raised.value.hint == "the line is: name = = 'x'"

    def test_toml_that_ends_too_early(self, tmp_path: Path) -> None:
        file = write(tmp_path, "tenantfuzz.toml", "[target]\nname = [1,")
        with pytest.raises(ToolError) as raised:
            find_target(tmp_path, environ={})
        assert str(raised.value).startswith(f"{file}:2:11: not valid TOML: ")

    def test_other_encodings(self, tmp_path: Path) -> None:
        (tmp_path / "tenantfuzz.toml").write_bytes(b"[target]\nname = '\xe9'\n")
        with pytest.raises(ToolError, match=r"tenantfuzz\.toml:2: not UTF-8"):
            find_target(tmp_path, environ={})

    def test_a_byte_order_mark_is_no_error(self, tmp_path: Path) -> None:
        (tmp_path / "tenantfuzz.toml").write_bytes(b"\xef\xbb\xbf" + FILE.encode())
        assert find_target(tmp_path, environ={}).name == "shop"

    def test_problems_carry_the_file(self, tmp_path: Path) -> None:
        file = write(tmp_path, "tenantfuzz.toml", "[target]\nnmae = 'x'\n[run]\nseed = 'x'\n")
        with pytest.raises(ToolError) as raised:
            find_target(tmp_path, environ={})
        assert str(raised.value).splitlines() == [
            f"{file}: target: unknown key 'nmae'; did you mean 'name'?",
            f"{file}: run.seed: expected a whole number, not the string 'x'",
        ]


class TestEnvironment:
    def test_fills_what_the_file_leaves_out(self, tmp_path: Path) -> None:
        write(tmp_path, "tenantfuzz.toml", FILE)
        configuration = find_target(
            tmp_path,
            environ={
                "TENANTFUZZ_ENGINE": "server",
                "TENANTFUZZ_SERVER": "postgresql://localhost",
                "TENANTFUZZ_TIME": "5m",
                "TENANTFUZZ_SEED": "7",
                "TENANTFUZZ_MAX_EXAMPLES": "10",
                "TENANTFUZZ_FAIL_ON": "high",
                "TENANTFUZZ_ATTACKER": "sql",
                "TENANTFUZZ_STRICT": "true",
            },
        ).configuration
        assert configuration.target.engine is Engine.SERVER
        assert configuration.target.server == "postgresql://localhost"
        run = configuration.run
        assert (run.time, run.seed, run.max_examples) == (300.0, 7, 10)
        assert (run.fail_on, run.attacker, run.strict) == ("high", Attacker.SQL, True)

    def test_the_file_goes_before_it(self, tmp_path: Path) -> None:
        write(tmp_path, "tenantfuzz.toml", FILE + "[run]\nseed = 3\n")
        environ = {"TENANTFUZZ_SEED": "7", "TENANTFUZZ_DSN": "postgresql://other"}
        configuration = find_target(tmp_path, environ=environ).configuration
        assert configuration.run.seed == 3
        assert configuration.target.dsn is None  # the file names its schema

    def test_a_dsn_where_the_file_has_no_schema(self, tmp_path: Path) -> None:
        write(tmp_path, "tenantfuzz.toml", "")
        environ = {"TENANTFUZZ_DSN": "postgresql://live"}
        configuration = find_target(tmp_path, environ=environ).configuration
        assert configuration.target.dsn == "postgresql://live"

    @pytest.mark.parametrize(
        ("variable", "value", "message"),
        [
            ("TENANTFUZZ_SEED", "x", "TENANTFUZZ_SEED: expected a whole number, not 'x'"),
            ("TENANTFUZZ_STRICT", "perhaps", "TENANTFUZZ_STRICT: expected true or false"),
            ("TENANTFUZZ_TIME", "soon", "TENANTFUZZ_TIME: expected a time such as '60s'"),
            ("TENANTFUZZ_ENGINE", "servr", "TENANTFUZZ_ENGINE: expected 'embedded', 'server'"),
            ("TENANTFUZZ_WORKERS", "0", "TENANTFUZZ_WORKERS: expected a number of at least 1"),
        ],
    )
    def test_wrong_values_name_the_variable(
        self, tmp_path: Path, variable: str, value: str, message: str
    ) -> None:
        write(tmp_path, "tenantfuzz.toml", FILE)
        with pytest.raises(ToolError) as raised:
            find_target(tmp_path, environ={variable: value})
        assert str(raised.value).startswith(message)


class TestReferences:
    def test_a_variable(self) -> None:
        assert resolve_reference("env:URL", "target.dsn", environ={"URL": "p://x"}) == "p://x"

    def test_anything_else_is_itself(self) -> None:
        assert resolve_reference("postgresql://x", "target.dsn", environ={}) == "postgresql://x"

    def test_a_variable_that_is_not_set(self) -> None:
        with pytest.raises(ToolError, match=r"target\.dsn refers to the environment variable URL"):
            resolve_reference("env:URL", "target.dsn", environ={})
