"""A clock and a memory that only tests move."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FakeInstruments"]


@dataclass
class FakeInstruments:
    """See `render.engine.tuning.Instruments`."""

    now_s: float = 0.0
    held: int = 0  # bytes, at all times
    most: int = 0  # bytes held since `begin`
    room: int = 1000
    tick_s: float = 0.0  # that passes by itself from one look at the clock to the next

    def clock_s(self) -> float:
        self.now_s += self.tick_s
        return self.now_s

    def begin(self) -> None:
        self.most = self.held

    def used_bytes(self) -> int:
        return self.held

    def peak_bytes(self) -> int:
        return self.most

    def room_bytes(self) -> int:
        return self.room

    def spend(self, seconds: float, extra: int = 0) -> None:
        """Let time pass, with more memory held for a moment. Raises MemoryError where there is none."""
        if self.held + extra > self.room:
            raise MemoryError
        self.now_s += seconds
        self.most = max(self.most, self.held + extra)
