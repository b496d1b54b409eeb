"""How a command ends: with an exit status, an error that says what to do, or in good order."""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import typer

from tenantfuzz.errors import ToolError
from tenantfuzz.exit_status import ExitStatus


def exit_with(action: Callable[[], int]) -> NoReturn:
    """Run ``action`` and exit with what it returns, or with 2 for what went wrong."""
    try:
        status = action()
        sys.stdout.flush()
    except BrokenPipeError:
        # Nobody reads on. What Python flushes at its own end must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = ExitStatus.ERROR
    except ToolError as error:
        status = _complain(f"error: {error}", error.hint, error)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = ExitStatus.ERROR
    except Exception as error:
        what = f"error: internal error: {type(error).__name__}: {error}"
        status = _complain(what, "TENANTFUZZ_DEBUG=1 shows where; please report it", error)
    raise typer.Exit(int(status))


def _complain(message: str, hint: str | None, error: Exception) -> ExitStatus:
    from tenantfuzz.lines import visible
    from tenantfuzz.scrubbing import scrub

    if os.environ.get("TENANTFUZZ_DEBUG") == "1":
        traceback.print_exception(error)
    lines = [message] + ([f"hint: {hint}"] if hint else [])
    print(visible(scrub("\n".join(lines))), file=sys.stderr)
    return ExitStatus.ERROR


@contextmanager
def ending_in_good_order() -> Iterator[None]:
    """The first Ctrl-C, or a signal to end, ends the campaign in good order; the second one the
    process at once."""

    def first(number: int, frame: FrameType | None) -> NoReturn:
        del frame
        for each in before:
            signal.signal(each, second)
        raise KeyboardInterrupt(
            "by Ctrl-C" if number == signal.SIGINT else f"by {signal.Signals(number).name}"
        )

    def second(number: int, frame: FrameType | None) -> NoReturn:
        del number, frame
        if sys.stdout.isatty():
            os.write(1, b"\x1b[?25h\n")  # the live lines hide the cursor
        os._exit(ExitStatus.ERROR)

    before = {
        number: signal.signal(number, first)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN  # as nohup sets it
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
