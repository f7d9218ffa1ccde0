"""A thread for calls that may never return: those into a Ray that dies meanwhile. Standard library only.

Ray's library waits for its servers inside C++ code, where no exception and no signal reaches it. The caller here waits for
the thread, and looks meanwhile whether Ray is still there. If it is not, the thread is left where it is.

The thread lives as long as its Ray: Linux ends the processes that it started with it (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

__all__ = ["CallThread"]

Result = TypeVar("Result")
LOOK_S = 0.02  # between two looks at Ray


class CallThread:
    """A daemon thread that makes one call after another."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        self._last: Future[Any] | None = None
        Thread(target=self._serve, name="ray", daemon=True).start()

    def begin(self, function: Callable[[], Result]) -> Future[Result]:
        """Have `function()` called, and return at once."""
        self._last = future = Future[Result]()
        self._calls.put((function, future))
        return future

    def call(self, function: Callable[[], Result], look: Callable[[], None], limit_s: float = float("inf")) -> Result:
        """Return `function()`. Raises what it raises or what `look` does meanwhile, and TimeoutError after `limit_s`."""
        future = self.begin(function)
        end_s = time.monotonic() + limit_s
        while True:
            try:
                return future.result(LOOK_S)
            except TimeoutError:
                if future.done() or time.monotonic() > end_s:
                    raise
            look()

    def is_free(self, wait_s: float) -> bool:
        """Return whether the last call has ended, or does within `wait_s`."""
        end_s = time.monotonic() + wait_s
        while self._last is not None and not self._last.done():
            if time.monotonic() > end_s:
                return False
            time.sleep(LOOK_S)
        return True

    def close(self) -> None:
        """Let the thread end after the calls that it has."""
        self._calls.put(None)

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            function, future = call
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)
