"""What pytest loads with the plugin: options, the fixture, and whether there is anything to do.

Every run of pytest in the environment imports this module, also those that never heard of us:
what is heavy is imported where it is needed.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tenantfuzz.plugin.sessions import Sessions
    from tenantfuzz.plugin.tenants import Tenants

_FLAG = "--tenantfuzz"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options and the ini keys."""
    group = parser.getgroup("tenantfuzz", "tenant isolation (tenantfuzz)")
    group.addoption(
        _FLAG,
        nargs="?",
        const="",
        metavar="PATH",
        help="Test the target at PATH: a folder with a tenantfuzz.toml, or the file. Without "
        "=PATH that of the ini file, or of the root directory.",
    )
    group.addoption(
        "--tenantfuzz-time",
        metavar="TIME",
        help="Besides the sweep, try drawn worlds for this long, shared between the relations: "
        "60s, 5m. Default: the sweep alone, which is the same each time.",
    )
    group.addoption(
        "--tenantfuzz-seed",
        type=int,
        metavar="N",
        help="Same seed, same run. Default: that of the configuration, or 0.",
    )
    group.addoption(
        "--tenantfuzz-save",
        action="store_true",
        help="Save counterexamples in the target's corpus, to replay them from now on. Default: "
        "in pytest's cache folder.",
    )
    parser.addini(
        "tenantfuzz",
        "Test these targets in every run: folders with a tenantfuzz.toml, or files.",
        type="paths",
        default=[],
    )
    parser.addini(
        "tenantfuzz_dsn_fixture",
        "Name of a fixture that gives the server for the worlds: a connection string, a psycopg "
        "connection, or an object with host and port.",
        default="",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    """``--tenantfuzz tests`` means the flag, and tests: a path is given with ``=`` alone."""
    for at, word in enumerate(args):
        if word == "--":
            return
        if word != _FLAG:
            continue
        args[at] = f"{_FLAG}="
        known = early_config.known_args_namespace
        if known.tenantfuzz:
            known.file_or_dir.insert(0, known.tenantfuzz)
            known.tenantfuzz = ""


def pytest_configure(config: pytest.Config) -> None:
    """Looks what is asked for; where nothing is, that was all."""
    flag: str | None = config.getoption("tenantfuzz")
    paths: list[Path] = config.getini("tenantfuzz")
    if flag is None and not paths:
        return
    from tenantfuzz.plugin.running import Running

    config.pluginmanager.register(Running(config, _sessions(config)), "tenantfuzz-running")


@pytest.fixture
def tenants(request: pytest.FixtureRequest) -> "Iterator[Tenants]":
    """A committed world with several tenants in a database of this test's own: connections by
    identity (``acting_as``), and a judge of the code under test (``assert_isolated``)."""
    from tenantfuzz.plugin.tenants import open_tenants

    session = _sessions(request.config).first()
    with open_tenants(session, request) as opened:
        yield opened


def _sessions(config: pytest.Config) -> "Sessions":
    from tenantfuzz.plugin.sessions import KEY, Sessions

    if KEY not in config.stash:
        config.stash[KEY] = Sessions(config)
        config.add_cleanup(config.stash[KEY].close)
    return config.stash[KEY]
