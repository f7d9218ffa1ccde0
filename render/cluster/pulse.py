"""A word for whoever watches a run when nothing was heard for a while: what it waits for. Standard library only."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Thread

from render.cluster.reasons import MACHINE
from render.core import CrewListener, CrewRelay

__all__ = ["Pulse"]

QUIET_S = 45.0  # after which a word is due
BEAT_S = 1.0  # between two looks
SAME_S = 30.0  # in which workers that are lost with one machine are told once


class Pulse(CrewRelay[CrewListener]):
    """A listener that passes on what it hears. A context manager: inside, silence is filled."""

    def __init__(self, listener: CrewListener, occupation: Callable[[], str]) -> None:
        """`occupation()` says what the run waits for; another thread calls it."""
        super().__init__(listener)
        self._occupation = occupation
        self._heard_s = self._spoke_s = time.monotonic()
        self._lost, self._lost_s = "", 0.0
        self._ended = Event()

    def __enter__(self) -> Pulse:
        Thread(target=self._beat, name="pulse", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def frames(self, count: int) -> None:
        self._hear(bool(count))
        super().frames(count)

    def stage(self, text: str) -> None:
        self._hear(bool(text))
        super().stage(text)

    def lost(self, reason: str) -> None:
        self._hear(True)
        now = time.monotonic()
        is_same = reason == self._lost or (self._lost.startswith(MACHINE) and "," not in self._lost)  # not named yet
        is_told = is_same and reason.startswith(MACHINE) and now - self._lost_s < SAME_S
        self._lost, self._lost_s = reason, now
        if not is_told:
            super().lost(reason)

    def worker_up(self, name: str, host: str, card: str) -> None:
        self._hear(True)
        super().worker_up(name, host, card)

    def _hear(self, is_something: bool) -> None:
        if is_something:
            self._heard_s = self._spoke_s = time.monotonic()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            now = time.monotonic()
            if now - self._spoke_s >= QUIET_S:
                self._spoke_s = now
                self.waiting(f"waiting for {self._occupation()}; nothing new for {now - self._heard_s:.0f} s")
