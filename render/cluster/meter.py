"""How full a worker's batches are. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

__all__ = ["Meter"]


@dataclass
class Meter:
    """Counts of a worker since it started, and what came since the last receipt."""

    rows: int = 0  # network inputs computed
    padding: int = 0  # places in batches that held copies
    waiting_s: float = 0.0  # without any frame, between two units

    def __post_init__(self) -> None:
        self._lock, self._taken = Lock(), (0, 0, 0.0)

    def add_batch(self, rows: int, padding: int) -> None:
        with self._lock:
            self.rows, self.padding = self.rows + rows, self.padding + padding

    def add_wait(self, seconds: float) -> None:
        with self._lock:
            self.waiting_s += seconds

    def take(self) -> tuple[int, int, float]:
        """Return (rows, padding, seconds waiting) since the last call."""
        with self._lock:
            now, before = (self.rows, self.padding, self.waiting_s), self._taken
            self._taken = now
        return now[0] - before[0], now[1] - before[1], now[2] - before[2]
