"""The operating system account that a server runs under."""

import os
import pwd
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Account:
    """A user other than ourselves; the server refuses to run as root."""

    uid: int
    gid: int


def server_account() -> Account | None:
    """``nobody`` when we are root, otherwise None: the server runs as ourselves."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return Account(65534, 65534)
    return Account(entry.pw_uid, entry.pw_gid)


def as_account(account: Account | None) -> Mapping[str, Any]:  # Any: Popen's own keywords
    """The keywords that make ``subprocess`` start a child under the account."""
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def may_enter(directory: Path, account: Account | None) -> bool:
    """Whether the account can go into ``directory`` and read files there.

    Ourselves: asked of the system. Another account: every directory on the way must be open to
    all, since it has no groups in common with us.
    """
    try:
        resolved = directory.resolve(strict=True)
        if account is None:
            return resolved.is_dir() and os.access(resolved, os.R_OK | os.X_OK)
        return all(_open_to(step, account) for step in (resolved, *resolved.parents))
    except OSError:
        return False


def _open_to(directory: Path, account: Account) -> bool:
    found = directory.stat()
    needed = stat.S_IXUSR if found.st_uid == account.uid else stat.S_IXOTH
    return stat.S_ISDIR(found.st_mode) and bool(found.st_mode & needed)
