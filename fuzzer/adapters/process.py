"""The process of an adapter: started, asked within a time limit, and gone at the end."""

import os
import re
import selectors
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Self

from tenantfuzz.adapters.protocol import FaultError, message, parsed, shown
from tenantfuzz.scrubbing import scrub

_CHUNK = 1 << 16
_LONGEST = 64 << 20  # bytes of one answer
_TAIL = 2000  # bytes of stderr that are kept
_TELLING = re.compile(r"(?:Uncaught )?[\w.]*(?:Error|Exception)\b[^:]*: ")
_GRACE = 0.5  # seconds to end by itself once its stdin is closed


class AdapterProcess:
    """One process, which answers one question at a time. It is the leader of a process group of
    its own: Ctrl-C does not reach it, and what it started ends with it."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        patience: float,
    ) -> None:
        """Starts it; ``patience`` are the seconds that an answer may take. Raises FaultError where
        there is no such command."""
        self._patience = patience
        self._said = b""  # of stdout, not yet read as a line
        self._silent = False  # its stdout is closed
        self._tail = b""
        self._asked = 0
        self._answered = False
        try:
            self._process = subprocess.Popen(
                list(command),
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise FaultError(f"{command[0]!r} cannot be started: {reason}") from error
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                os.set_blocking(stream.fileno(), False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def group(self) -> int:
        """The id of its process group."""
        return self._process.pid

    def ask(
        self, document: Mapping[str, object], *, patience: float | None = None
    ) -> dict[str, object]:
        """The answer to one question. An answer that names the ``id`` of another question is a
        fault, as is whatever else it says on stdout. Only before its first answer it may print
        lines of its own, for libraries greet.

        One without an ``id`` might be a late one of an earlier question: it counts when ``list``,
        asked next, is answered by calls and nothing else.

        Raises FaultError where none came in time, or the process ended, or it is no answer. The
        process is of no use then.
        """
        limit = patience if patience is not None else self._patience
        answer = self._asked_for(document, limit)
        if "id" not in answer and self._answered:
            sign = self._asked_for({"op": "list"}, limit)
            if "calls" not in sign:
                raise self._fault(
                    "it gave one answer too many, so that nobody knows which question it meant "
                    "(let it send back the id of each)"
                )
        self._answered = True
        return answer

    def _asked_for(self, document: Mapping[str, object], limit: float) -> dict[str, object]:
        self._asked += 1
        if self._answered:
            self._heed(monotonic())  # what came since the last answer
        if self._answered and self._said:
            raise self._fault(f"it said something that nobody asked for: {shown(self._said)}")
        line = self._exchange(message({"id": self._asked, **document}), limit)
        answer = parsed(line)
        if answer.get("id", self._asked) != self._asked:
            raise self._fault(
                f"it answered out of order: question {answer['id']} in place of {self._asked}"
            )
        return answer

    def stop(self) -> None:
        """Ends it and all that it started. May be called twice."""
        process = self._process
        if process.stdin is not None and not process.stdin.closed:
            process.stdin.close()
        if process.returncode is None:
            self._wait(_GRACE)
            # The leader is not yet reaped, so that its number cannot be another group's by now.
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                process.kill()
            process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()

    # Talking

    def _exchange(self, question: bytes, limit: float) -> bytes:
        """Sends a question and reads a line, while whatever it writes elsewhere is taken off it."""
        deadline = monotonic() + limit
        rest = question
        while not self._has_line():
            if monotonic() >= deadline:
                raise self._fault(f"it did not answer within {limit:g} s")
            rest = self._heed(deadline, rest)
            if self._silent and not self._has_line():
                raise self._fault(self._ended())
            if len(self._said) > _LONGEST:
                raise self._fault(f"its answer is longer than {_LONGEST >> 20} MB")
        line, _, self._said = self._said.partition(b"\n")
        return line

    def _has_line(self) -> bool:
        """Whether a whole line is there; what is printed before the first answer is put aside."""
        while b"\n" in self._said:
            if self._answered or self._said.startswith(b"{"):
                return True
            line, _, self._said = self._said.partition(b"\n")
            self._tail = (self._tail + line + b"\n")[-_TAIL:]
        return False

    def _heed(self, deadline: float, question: bytes = b"") -> bytes:
        """Waits until something can be read or written, and does it. Returns what is still to be
        written."""
        process = self._process
        with selectors.DefaultSelector() as selector:
            if process.stdout is not None and not self._silent:
                selector.register(process.stdout, selectors.EVENT_READ)
            if process.stderr is not None and not process.stderr.closed:
                selector.register(process.stderr, selectors.EVENT_READ)
            if question and process.stdin is not None and not process.stdin.closed:
                selector.register(process.stdin, selectors.EVENT_WRITE)
            for key, _ in selector.select(max(deadline - monotonic(), 0)):
                if key.fileobj is process.stdin:
                    question = self._write(key.fd, question)
                elif key.fileobj is process.stdout:
                    data = _read(key.fd)
                    self._silent = data == b""
                    self._said += data or b""
                else:
                    data = _read(key.fd)
                    if data == b"" and process.stderr is not None:
                        process.stderr.close()
                    self._tail = (self._tail + (data or b""))[-_TAIL:]
        return question

    def _write(self, descriptor: int, question: bytes) -> bytes:
        try:
            return question[os.write(descriptor, question) :]
        except BlockingIOError:
            return question
        except OSError:  # it reads no more; what it says last explains it
            return b""

    # Ending

    def _wait(self, seconds: float) -> bool:
        """Whether it ends within some seconds. It is not reaped."""
        deadline = monotonic() + seconds
        while not self._is_over():
            if monotonic() >= deadline:
                return False
            self._heed(min(deadline, monotonic() + 0.02))
        return True

    def _is_over(self) -> bool:
        if self._process.returncode is not None:
            return True
        return (
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        )

    def _ended(self) -> str:
        if not self._wait(_GRACE):
            return "it closed its stdout"
        status = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if status is None:
            return "it ended"
        if status.si_code == os.CLD_EXITED:
            return f"it ended with exit status {status.si_status}"
        return f"it was ended by {_signal_name(status.si_status)}"

    def _fault(self, what: str) -> FaultError:
        lines = [t.strip() for t in self._tail.decode(errors="replace").splitlines() if t.strip()]
        last = lines[-1] if lines else ""
        error = next((line for line in lines if _TELLING.match(line)), last)
        return FaultError(f"{what}; it wrote before: {scrub(error)[:200]}" if error else what)


def _read(descriptor: int) -> bytes | None:
    """What can be read now: b"" at its end, None for nothing yet."""
    try:
        return os.read(descriptor, _CHUNK)
    except BlockingIOError:
        return None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
