"""The process that starts one server and outlives nobody: run as a script, never imported.

Usage: ``python -I -S watchdog.py DIRECTORY LOCK_FD``. Standard input is a pipe that only the
owner holds open. One JSON line on it, ``{"argv", "environment", "log", "uid", "gid"}``, starts
the server as a child, so that its process id cannot be taken by another process before it was
waited for. At end of file, or at a signal that asks to end, the server is stopped, DIRECTORY is
removed and the script ends. It writes ``started PID``, ``failed WHY`` and ``ended STATUS`` to
standard output. LOCK_FD holds a lock for as long as the directory is looked after.

Only light modules are imported here: the start of the server waits for them.
"""

import contextlib
import json
import os
import resource
import select
import signal
import sys
import time

STOP_SECONDS = 3.0  # an immediate shutdown takes milliseconds
POLL_SECONDS = 0.002


def main() -> None:
    """Watch over the directory until the owner is gone."""
    directory, lock = sys.argv[1], int(sys.argv[2])
    os.set_inheritable(lock, False)
    wake = _wake_on_signals()
    server: int | None = None
    try:
        server = _watch(wake)
    finally:
        if server is not None:
            _stop(server)
        _remove(directory)


def _wake_on_signals() -> int:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: None)
    return reader


def _watch(wake: int) -> int | None:
    """The process id of the server still running when the owner went, if any."""
    server: int | None = None
    order = b""
    while True:
        readable, _, _ = select.select([0, wake], [], [])
        if wake in readable:
            numbers = os.read(wake, 512)
            if set(numbers) - {signal.SIGCHLD}:
                return server
            if server is not None and (status := _ended(server)) is not None:
                _say(f"ended {os.waitstatus_to_exitcode(status)}")
                server = None
        if 0 in readable:
            chunk = os.read(0, 65536)
            if not chunk:
                return server
            order += chunk
            if order.endswith(b"\n"):
                server = _start(json.loads(order))
                order = b""


def _start(order: dict) -> int | None:  # type: ignore[type-arg]  # one JSON object, as read
    reason, reason_end = os.pipe()
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGPIPE, signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            # A crash is a finding; its memory would fill the temporary file system.
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, 0)
            os.dup2(log, 1)
            os.dup2(log, 2)
            if order["uid"] is not None:
                os.setgroups([])
                os.setgid(order["gid"])
                os.setuid(order["uid"])
            os.execve(order["argv"][0], order["argv"], order["environment"])
        except BaseException as error:
            os.write(reason_end, str(error).encode())
        finally:
            os._exit(127)
    os.close(reason_end)
    os.close(log)
    why = os.read(reason, 4096)  # closed without a word by a successful exec
    os.close(reason)
    if why:
        os.waitpid(child, 0)
        _say(f"failed {' '.join(why.decode(errors='replace').split())}")
        return None
    _say(f"started {child}")
    return child


def _say(line: str) -> None:
    # The owner may be gone, or may not listen any more.
    with contextlib.suppress(OSError):
        os.write(1, line.encode() + b"\n")


def _ended(server: int) -> int | None:
    done, status = os.waitpid(server, os.WNOHANG)
    return status if done else None


def _stop(server: int) -> None:
    os.kill(server, signal.SIGQUIT)
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        if _ended(server) is not None:
            return
        time.sleep(POLL_SECONDS)
    # A backend is no member of the postmaster's process group; ask before the parent is gone.
    backends = _children(server)
    os.kill(server, signal.SIGKILL)
    for backend in backends:
        with contextlib.suppress(OSError):
            os.kill(backend, signal.SIGKILL)
    os.waitpid(server, 0)


def _children(parent: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc"):  # noqa: PTH208  # pathlib is slow to import
            if not name.isdigit():
                continue
            with contextlib.suppress(OSError, ValueError, IndexError):
                with open(f"/proc/{name}/stat", "rb") as stat:  # noqa: PTH123
                    fields = stat.read().rpartition(b")")[2].split()
                if int(fields[1]) == parent:
                    found.append(int(name))
    return found


def _remove(directory: str) -> None:
    import shutil  # not needed to start the server

    deadline = time.monotonic() + STOP_SECONDS
    while os.path.lexists(directory) and time.monotonic() < deadline:
        # A dying backend may still write a file: the second round gets it.
        shutil.rmtree(directory, ignore_errors=True)
        time.sleep(POLL_SECONDS if os.path.lexists(directory) else 0)


if __name__ == "__main__":
    main()
