"""The report of a worker to the driver, and who is told of it. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["AHEAD_BATCHES", "Listener", "Progress"]

AHEAD_BATCHES = 2  # batches that the frames fill which a worker holds and has not started


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Progress of a worker; counts are since it started."""

    frames: int = 0  # finished
    up_s: float = 0.0  # seconds since it was ready
    idle_s: float = 0.0  # seconds since it last made progress
    units: int = 0  # received
    capacity: int = 0  # network inputs that a batch of its present frames takes; 0 before the first
    unstarted: int = 0  # network inputs that the frames in its hands which are not started will ask for at once
    left: int = 0  # estimate of the network inputs that the frames in its hands still need
    rows: int = 0  # network inputs computed
    padding: int = 0  # places in batches that held copies
    waiting_s: float = 0.0  # seconds without any frame between two units
    stage: str = ""  # what it does before it renders, such as compiling; empty while it renders
    host: str = ""  # name of its machine
    card: str = ""  # its device: a GPU's name, or that of a CPU with the number of threads
    node: str = ""  # Ray's id of its machine

    @property
    def wants_more(self) -> bool:
        """True while the frames that are not started fill too few batches."""
        return self.unstarted < max(1, AHEAD_BATCHES * self.capacity)


class Listener(Protocol):
    """Receiver of the workers' progress and losses."""

    def frames(self, count: int) -> None:
        """Note that `count` more frames are finished."""

    def batches(self, rows: int, padding: int) -> None:
        """Note batches of `rows` network inputs and `padding` places without one."""

    def stage(self, text: str) -> None:
        """Note what some worker does before it renders, such as compiling; an empty text when none does any more."""

    def lost(self, reason: str) -> None:
        """Note that a worker died or made no progress, or Ray ended; what was in hand will be rendered again."""

    def waiting(self, text: str) -> None:
        """Note what the run waits for, after a while without news. Another thread than that of the run calls it."""

    def warn(self, text: str) -> None:
        """Note what the user should know of, though nothing is lost by it."""

    def worker_up(self, name: str, host: str, card: str) -> None:
        """Note that a worker is up for the first time, on a machine with a device of this name."""

    def unit_given(self, unit: str, name: str) -> None:
        """Note that a unit is in a worker's hands."""

    def worker_gone(self, name: str, reason: str) -> None:
        """Note that a worker is no more; the reason is empty in the end of the run, or if its node was to end."""
