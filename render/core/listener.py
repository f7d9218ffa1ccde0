"""Who is told of a run: of frames, batches, losses, workers. Standard library only."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

__all__ = ["CrewListener", "CrewRelay", "Listener", "Relay"]


class Listener(Protocol):
    """Receiver of a run's progress and losses."""

    def frames(self, count: int) -> None:
        """Note that `count` more frames are finished."""

    def batches(self, rows: int, padding: int) -> None:
        """Note that batches with `rows` network inputs were computed, and with `padding` places that held copies."""

    def stage(self, text: str) -> None:
        """Note what some worker does before it renders, such as compiling; an empty text when none does any more."""

    def lost(self, reason: str) -> None:
        """Note that a worker died or made no progress, or Ray ended; what was in hand is rendered again."""

    def waiting(self, text: str) -> None:
        """Note what the run waits for, after 45 s without news. Another thread than that of the run calls it."""

    def warn(self, text: str) -> None:
        """Note what the user should know of while it runs, such as workers with different devices."""


class CrewListener(Listener, Protocol):
    """Receiver of what becomes of each worker, too."""

    def worker_up(self, name: str, host: str, card: str) -> None:
        """Note that a worker is up for the first time, on a machine with a device of this name."""

    def unit_given(self, unit: str, name: str) -> None:
        """Note that a unit is in a worker's hands. Another worker may have it, too."""

    def worker_gone(self, name: str, reason: str) -> None:
        """Note that a worker is no more; the reason is empty in the end of the run, or if its node was to end."""


Heard = TypeVar("Heard", bound=Listener)
CrewHeard = TypeVar("CrewHeard", bound=CrewListener)


class Relay(Generic[Heard]):
    """A listener that passes on all that it hears, for those that add something to some of it."""

    def __init__(self, listener: Heard) -> None:
        self._listener = listener

    def frames(self, count: int) -> None:
        self._listener.frames(count)

    def batches(self, rows: int, padding: int) -> None:
        self._listener.batches(rows, padding)

    def stage(self, text: str) -> None:
        self._listener.stage(text)

    def lost(self, reason: str) -> None:
        self._listener.lost(reason)

    def waiting(self, text: str) -> None:
        self._listener.waiting(text)

    def warn(self, text: str) -> None:
        self._listener.warn(text)


class CrewRelay(Relay[CrewHeard]):
    """The same for what becomes of each worker."""

    def worker_up(self, name: str, host: str, card: str) -> None:
        self._listener.worker_up(name, host, card)

    def unit_given(self, unit: str, name: str) -> None:
        self._listener.unit_given(unit, name)

    def worker_gone(self, name: str, reason: str) -> None:
        self._listener.worker_gone(name, reason)
