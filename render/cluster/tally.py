"""How many frames of a run are finished, each counted once. Pure: no Ray, no clock."""

from __future__ import annotations

from collections.abc import Sequence

from render.cluster.hand import Hand

__all__ = ["Tally"]


class Tally:
    """The count that was told last. It never falls: frames that a dead worker had finished are waited for again."""

    def __init__(self) -> None:
        self._told = self._committed = 0  # frames

    def commit(self, frames: int) -> None:
        """Note a unit of so many frames that is done."""
        self._committed += frames

    def rise(self, hands: Sequence[Hand]) -> int:
        """Return the number of frames that are finished since the last call, in the living workers' hands or committed.

        Of a unit that two workers hold, the frames of the first one count.
        """
        seen: set[str] = set()
        finished = self._committed
        for hand in hands:
            own = {unit.id: len(unit.frames) for unit in hand.units.values() if unit.id not in seen}
            seen |= own.keys()
            finished += min(max(0, hand.report.frames - hand.done), sum(own.values()))
        rise = max(0, finished - self._told)
        self._told += rise
        return rise
