"""The report of a worker to the driver. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["AHEAD_BATCHES", "LOADING", "STAGE_S", "Progress"]

LOADING = "loading a model"  # a stage
STAGE_S = 1800.0  # time that loading, measuring or compiling may take beyond the deadline
AHEAD_BATCHES = 2  # batches that the frames fill which a worker holds and has not started


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Progress of a worker; counts are since it started."""

    frames: int = 0  # finished
    up_s: float = 0.0  # seconds since it was ready; 0 while it loads its first model
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
    def is_up(self) -> bool:
        """True once it has loaded its first model."""
        return self.up_s > 0

    @property
    def wants_more(self) -> bool:
        """True while the frames that are not started fill too few batches."""
        return self.unstarted < max(1, AHEAD_BATCHES * self.capacity)
