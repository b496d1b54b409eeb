"""The parts of the engines that need no server."""

import os
import re
from pathlib import Path

import pytest

from tenantfuzz.engines import binaries, instance, open_engine, scratch_name, start_embedded
from tenantfuzz.engines.account import Account, may_enter
from tenantfuzz.engines.binaries import BINDIR_VARIABLE, find_binaries, server_environment
from tenantfuzz.engines.server import require_supported, version_text
from tenantfuzz.engines.template import Template, default_cache
from tenantfuzz.errors import ToolError


def fake_installation(bindir: Path, version: str) -> Path:
    bindir.mkdir(parents=True)
    for name in ("postgres", "initdb"):
        program = bindir / name
        program.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n")
        program.chmod(0o755)
    return bindir


@pytest.fixture
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "_WHEEL", "no_such_package")
    monkeypatch.delenv(BINDIR_VARIABLE, raising=False)


@pytest.mark.parametrize("missing", [("postgres",), ("initdb",), ("postgres", "initdb")])
def test_a_wrong_bindir_is_an_error(tmp_path: Path, missing: tuple[str, ...]) -> None:
    bindir = fake_installation(tmp_path / "bin", "16.4")
    for name in missing:
        (bindir / name).unlink()
    with pytest.raises(ToolError, match=f"holds no {' and no '.join(missing)}$") as caught:
        start_embedded(bindir=bindir)
    assert str(bindir) in str(caught.value)
    assert caught.value.hint


def test_a_wrong_variable_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BINDIR_VARIABLE, str(tmp_path))
    with pytest.raises(ToolError, match=BINDIR_VARIABLE):
        find_binaries(None, account=None)


def test_an_explicit_directory_goes_before_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fake_installation(tmp_path / "first" / "bin", "16.4")
    second = fake_installation(tmp_path / "second" / "bin", "17.2 (Debian 17.2-1)")
    monkeypatch.setenv(BINDIR_VARIABLE, str(second))
    found = find_binaries(first, account=None)
    assert (found.bindir, found.version_text, found.major) == (first, "16.4", 16)
    found = find_binaries(None, account=None)
    assert (found.bindir, found.version_text, found.major) == (second, "17.2", 17)


@pytest.mark.usefixtures("no_wheel")
def test_the_newest_system_installation_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("9", "13", "18"):
        fake_installation(tmp_path / version / "bin", version)
    (tmp_path / "18" / "bin" / "initdb").unlink()  # a client's installation
    (tmp_path / "common").mkdir()
    monkeypatch.setattr(binaries, "SYSTEM_ROOT", tmp_path)
    assert find_binaries(None, account=None).bindir == tmp_path / "13" / "bin"


@pytest.mark.usefixtures("no_wheel")
def test_pg_config_is_asked_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "SYSTEM_ROOT", tmp_path / "none")
    bindir = fake_installation(tmp_path / "opt" / "bin", "14beta1")
    config = tmp_path / "path" / "pg_config"
    config.parent.mkdir()
    config.write_text(f'#!/bin/sh\n[ "$1" = --bindir ] && echo {bindir}\n')
    config.chmod(0o755)
    monkeypatch.setenv("PATH", f"{config.parent}:/usr/bin:/bin")
    found = find_binaries(None, account=None)
    assert (found.bindir, found.version_text, found.major) == (bindir, "14beta1", 14)
    config.unlink()
    monkeypatch.setenv("PATH", str(config.parent))
    with pytest.raises(ToolError, match="no PostgreSQL server programs") as caught:
        find_binaries(None, account=None)
    assert "tenantfuzz[embedded]" in (caught.value.hint or "")


def test_programs_that_do_not_run(tmp_path: Path) -> None:
    bindir = fake_installation(tmp_path / "bin", "16.4")
    (bindir / "postgres").write_text("#!/bin/sh\necho 'libz.so.1: cannot open' >&2\nexit 127\n")
    with pytest.raises(ToolError, match=r"libz\.so\.1: cannot open"):
        find_binaries(bindir, account=None)
    (bindir / "postgres").write_bytes(b"\0")
    with pytest.raises(ToolError, match="cannot run"):
        find_binaries(bindir, account=None)


def test_too_old_is_refused(tmp_path: Path) -> None:
    bindir = fake_installation(tmp_path / "bin", "12.22")
    with pytest.raises(ToolError, match="too old"):
        find = find_binaries(bindir, account=None)
        require_supported(find.major * 10000, str(bindir))
    require_supported(130000, "x")


def test_version_text() -> None:
    assert version_text(180006) == "18.6"
    assert version_text(130022) == "13.22"


def test_the_programs_do_not_see_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGDATA", "/elsewhere")
    monkeypatch.setenv("LANG", "de_DE")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/lib")
    seen = server_environment()
    assert "PGDATA" not in seen
    assert "LANG" not in seen
    assert seen["LC_ALL"] == "C"
    assert seen["LD_LIBRARY_PATH"] == "/opt/lib"


def test_closed_directories_on_the_way(tmp_path: Path) -> None:
    stranger = Account(54321, 54321)
    tmp_path.chmod(0o700)
    inner = tmp_path / "inner"
    inner.mkdir()
    inner.chmod(0o755)
    assert may_enter(inner, None)
    assert not may_enter(inner, stranger)
    assert may_enter(Path("/usr"), stranger)
    assert not may_enter(tmp_path / "missing", None)


def test_a_template_comes_back_as_it_was(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "base" / "1").mkdir(parents=True)
    (source / "empty").mkdir()
    (source / "base" / "1" / "1259").write_bytes(bytes(range(256)) * 300)
    (source / "base" / "nothing").write_bytes(b"")
    (source / "PG_VERSION").write_bytes(b"18\n")
    saved = tmp_path / "saved"
    Template.read(source).save(saved)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    template = Template.load(saved)
    assert template is not None
    copy = tmp_path / "copy"
    template.write(copy, None)

    def contents(root: Path) -> dict[str, bytes | None]:
        return {
            str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
            for path in root.rglob("*")
        }

    assert contents(copy) == contents(source)
    assert len(contents(copy)) == 6
    assert {path.stat().st_mode & 0o777 for path in copy.rglob("*") if path.is_dir()} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in copy.rglob("*") if path.is_file()} == {0o600}


def test_a_template_that_others_may_write_is_not_taken(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "PG_VERSION").write_bytes(b"18\n")
    saved = tmp_path / "saved"
    Template.read(source).save(saved)
    assert Template.load(saved) is not None
    saved.chmod(0o666)
    assert Template.load(saved) is None
    assert Template.load(tmp_path / "missing") is None


def test_a_damaged_template_is_not_taken(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "PG_VERSION").write_bytes(b"18\n")
    saved = tmp_path / "saved"
    Template.read(source).save(saved)
    whole = saved.read_bytes()
    assert whole.endswith(b"\n18\n")
    flipped = whole[:-2] + b"9\n"
    other_format = whole.replace(b'"format": 1', b'"format": 0')
    for damage in (
        b"",
        b"\xff\xff\n",
        b"{}\n",
        b"[]\n18\n",
        b"null\n",
        whole[:20],
        whole[:-1],
        whole + b"x",
        flipped,
        other_format,
    ):
        assert damage != whole
        saved.write_bytes(damage)
        assert Template.load(saved) is None, damage
    saved.write_bytes(whole)
    assert Template.load(saved) is not None


def test_the_cache_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "tenantfuzz"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert default_cache() == Path("/home/somebody/.cache/tenantfuzz")


def test_bases_keep_socket_names_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance, "has_room", lambda base: False)
    deep = tmp_path / ("d" * 80)
    comma = tmp_path / "a,b"
    for directory in (deep, comma):
        directory.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(directory))
        assert instance.bases(None) == [Path("/tmp")]
    monkeypatch.setattr("tempfile.tempdir", "/var/tmp")
    assert instance.bases(None) == [Path("/var/tmp"), Path("/tmp")]


def test_sweep_takes_abandoned_instances_only(tmp_path: Path) -> None:
    held, lock = instance.make_instance(tmp_path, None)
    left, left_lock = instance.make_instance(tmp_path, None)
    os.close(left_lock)
    unfinished = tmp_path / "tenantfuzz-pg-unfinished"
    unfinished.mkdir()
    other = tmp_path / "other"
    other.mkdir()
    (other / "lock").touch()
    instance.sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([held, unfinished, other])
    assert left not in tmp_path.iterdir()
    os.close(lock)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("server", "needs the address"),
        ("container", "not available"),
        ("pglite", "not available"),
        ("oracle", "no engine 'oracle'"),
    ],
)
def test_engines_that_cannot_be_opened(name: str, words: str) -> None:
    with pytest.raises(ToolError, match=words) as caught:
        open_engine(name, server_dsn=None)
    assert caught.value.hint


def test_scratch_names() -> None:
    assert re.fullmatch(r"tenantfuzz_scratch_my_app_[0-9a-f]{12}", scratch_name("My-App!"))
    assert re.fullmatch(r"tenantfuzz_scratch_[0-9a-f]{12}", scratch_name())
    assert scratch_name("x") != scratch_name("x")
    assert len(scratch_name("ü" * 200 + "y" * 200).encode()) <= 63
