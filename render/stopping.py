"""Stop a command in order: on Ctrl-C, SIGTERM, and SIGHUP when the terminal is closed. Little of the standard library only.

What a shell or nohup has the command ignore stays ignored.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Timer
from types import FrameType

__all__ = ["STOPPED", "stop_at_once", "stoppable"]

STOPPED = "\nrender: stopped. What is committed stays; the same command resumes."
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FAILED = 1
AGAIN_S = 0.05
SHOW_CURSOR = "\x1b[?25h"  # which progress bars hide


def stop_at_once() -> None:
    """End the process on a signal, before it has anything to clean up: an import can't be interrupted in order."""
    for number in _heeded():
        signal.signal(number, _end)


@contextmanager
def stoppable() -> Iterator[None]:
    """Raise KeyboardInterrupt on the first signal, so that the command cleans up; end the process on the second."""
    before = {number: signal.getsignal(number) for number in _heeded()}
    for number in before:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _heeded() -> list[signal.Signals]:
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


def _interrupt(number: int, frame: FrameType | None) -> None:
    if _is_importing(frame):  # code that runs in an import may swallow what is raised: the signal comes again
        again = Timer(AGAIN_S, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()
        return
    for other in _heeded():
        signal.signal(other, _end)
    if number == signal.SIGHUP:
        _leave_closed_terminal()
    raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _end(number: int, _: object) -> None:
    if number == signal.SIGHUP:
        _leave_closed_terminal()
    text = STOPPED + "\n"
    if os.isatty(2):
        text = SHOW_CURSOR + text
    with suppress(OSError):
        os.write(2, text.encode())
    os._exit(FAILED)


def _leave_closed_terminal() -> None:
    """Send what is still written into a terminal that is closed nowhere, where it is no error."""
    for stream in (1, 2):
        try:
            os.write(stream, b"")
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream)
            os.close(nowhere)
