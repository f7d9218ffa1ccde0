"""Keep the program's SIGTERM handler while Ray starts and stops. Standard library only."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["sigterm_kept"]


@contextmanager
def sigterm_kept() -> Iterator[Callable[[], None]]:
    """Leave SIGTERM to the handler that the program has for it: Ray takes it when it starts, and drops it when it ends.

    Gives a function that takes it back at once.
    """
    handler = signal.getsignal(signal.SIGTERM)

    def keep() -> None:
        if callable(handler) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)

    try:
        yield keep
    finally:
        keep()
