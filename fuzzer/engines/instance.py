"""The directory of one embedded server: where it is made, and what becomes of left-over ones."""

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tenantfuzz.engines.account import Account, may_enter

PREFIX: Final = "tenantfuzz-pg-"
MEMORY: Final = Path("/dev/shm")  # a tmpfs; names below it are random
_LOCK: Final = "lock"
_SOCKET: Final = "socket"
# sun_path holds 104 bytes on macOS and 108 on Linux, with a closing zero.
_LONGEST_SOCKET: Final = 103
_ROOM: Final = 512 * 1024 * 1024


def bases(account: Account | None) -> list[Path]:
    """Where instances may be made, best first: memory with enough room, then temporary files."""
    fallback = Path("/tmp")  # only for names that mkdtemp makes
    found = []
    for base in dict.fromkeys((MEMORY, Path(tempfile.gettempdir()), fallback)):
        if base == MEMORY and not has_room(base):
            continue
        length = len(os.fsencode(base / f"{PREFIX}xxxxxxxx" / _SOCKET / ".s.PGSQL.5432"))
        if (
            may_enter(base, account)
            and os.access(base, os.W_OK)
            and length <= _LONGEST_SOCKET
            # libpq takes a comma for the next host.
            and "," not in str(base)
        ):
            found.append(base)
    return found


def has_room(base: Path) -> bool:
    """Whether a file system has room for an instance with some scratch databases."""
    try:
        space = os.statvfs(base)
    except OSError:
        return False
    return space.f_bavail * space.f_frsize >= _ROOM


def make_instance(base: Path, account: Account | None) -> tuple[Path, int]:
    """A new directory and the descriptor that holds its lock; raises OSError.

    The directory itself stays ours, so that the server's account cannot plant links where we
    write; only the socket directory and the data directory belong to that account.
    """
    directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
    try:
        if account is not None:
            directory.chmod(0o711)
        # Locked under another name first: an unlocked lock file means an abandoned directory.
        new = directory / f"{_LOCK}.new"
        lock = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        new.rename(directory / _LOCK)
        sockets = socket_directory(directory)
        sockets.mkdir(0o700)
        if account is not None:
            os.chown(sockets, account.uid, account.gid)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    return directory, lock


def data_directory(instance: Path) -> Path:
    """The server's data directory."""
    return instance / "data"


def socket_directory(instance: Path) -> Path:
    """The directory with the server's socket: the ``host`` of connection strings."""
    return instance / _SOCKET


def log_file(instance: Path) -> Path:
    """The file with what the server prints."""
    return instance / "log"


def sweep(base: Path) -> None:
    """Remove instances below ``base`` that nobody looks after any more.

    A watchdog that was killed together with its owner leaves one. Never raises: what cannot be
    removed is left.
    """
    for directory in base.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if directory.is_symlink() or directory.stat().st_uid != os.geteuid():
                continue
            with _abandoned(directory / _LOCK) as abandoned:
                if abandoned:
                    remove(directory)


def remove(directory: Path) -> None:
    """Stop the server of an instance, if one still runs there, and remove the directory."""
    data = data_directory(directory)
    deadline = time.monotonic() + 3
    number = signal.SIGQUIT
    while (server := _running(data)) is not None:
        os.kill(server, number)
        if time.monotonic() > deadline:
            number = signal.SIGKILL
        time.sleep(0.01)
    shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _abandoned(path: Path) -> Iterator[bool]:
    lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        yield False
    else:
        yield True
    finally:
        os.close(lock)


def _running(data: Path) -> int | None:
    """The process that serves ``data``, recognised by its working directory."""
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
        if Path(f"/proc/{pid}/cwd").readlink() == data.resolve():
            return pid
    except (OSError, ValueError):
        pass
    return None
