"""The frames in a worker's hands: units that were handed in, in their order, and which of their frames starts next."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Condition
from typing import TypeAlias

from render.core import Frame, Group, Receipt, Unit
from render.store import Failure, Rendered

__all__ = ["DroppedError", "Feed", "FrameHandle", "LaneKey", "UnitInFlight"]

LaneKey: TypeAlias = tuple[Group, int]  # (model, width, height), batch size in network inputs
FrameHandle: TypeAlias = "tuple[UnitInFlight, int]"  # a frame's unit and its position there


class DroppedError(Exception):
    """The end of a unit that was handed back or cancelled: this worker does not render it."""


@dataclass(eq=False)
class UnitInFlight:
    """A unit that was handed in and is not committed yet."""

    unit: Unit
    receipt: Future[Receipt] = field(default_factory=Future)
    started_s: float = 0.0  # time.monotonic()
    results: list[Rendered | Failure | None] = field(default_factory=list)  # by position; None until finished
    unfinished: int = 0  # frames without a result
    prepared: bool = False  # its prompts are encoded
    has_sizes: bool = False  # its batch sizes are those that were chosen, not the plan's
    is_dropped: bool = False  # it is not wanted any more: what its frames give is thrown away

    def start(self) -> None:
        """Forget all results, if there are any, and start the unit's clock."""
        self.started_s, self.prepared = time.monotonic(), False
        self.results, self.unfinished = [None] * len(self.unit.frames), len(self.unit.frames)

    def settle(self, receipt: Receipt) -> None:
        """Give the receipt, unless the unit has ended before."""
        with suppress(InvalidStateError):
            self.receipt.set_result(receipt)

    def fail(self, error: BaseException) -> None:
        """Give an error in the place of the receipt, unless the unit has ended before."""
        with suppress(InvalidStateError):
            self.receipt.set_exception(error)

    @property
    def lane(self) -> LaneKey:
        """Group and batch size; units with the same share batches."""
        return self.unit.group, self.unit.batch_rows

    def fits(self, lane: LaneKey) -> bool:
        """Return True if the unit is of a lane, or will be as far as is known before its batch sizes are chosen."""
        return self.lane == lane if self.has_sizes else self.unit.group == lane[0]


class Feed:
    """Units handed in, and the frames of those begun. Any thread may hand units in; one thread takes frames."""

    def __init__(self, wait_over: Callable[[float], None]) -> None:
        """`wait_over` gets the seconds that a wait for a unit took, once one comes."""
        self._changed = Condition()
        self._wait_over = wait_over
        self._queued: deque[UnitInFlight] = deque()
        self._waiting: deque[FrameHandle] = deque()  # frames of units begun, in the order in which they start
        self._closed = self._last = self._refuses = False
        self._cancelled: set[str] = set()  # ids of units that are not wanted and have not come
        self._unstarted = (0, 0)  # network inputs that frames not started ask for at once, and those they need in all
        self.received = 0  # units

    def put(self, flight: UnitInFlight) -> None:
        with self._changed:
            self._queued.append(flight)
            self._count(flight.unit.frames, 1)
            self.received += 1
            if self._refuses or flight.unit.id in self._cancelled:
                self._drop(flight)
                return
            self._last = False
            self._changed.notify_all()

    def hand_back(self) -> None:
        """Drop the units of which no frame has started, and those that come from now on: others render them."""
        with self._changed:
            self._refuses = self._last = True
            waiting = Counter(flight for flight, _ in self._waiting)
            begun = [flight for flight, frames in waiting.items() if frames == len(flight.unit.frames)]
            for flight in [*self._queued, *begun]:
                self._drop(flight)

    def cancel(self, unit: str, begun: Iterable[UnitInFlight]) -> None:
        """Drop a unit by its id, one of those `begun`, or waiting, or about to come."""
        with self._changed:
            self._cancelled.add(unit)
            waiting = [flight for flight, _ in self._waiting]  # one that begins now is not among those begun yet
            for flight in [*self._queued, *dict.fromkeys(waiting), *begun]:
                if flight.unit.id == unit:
                    self._drop(flight)

    def _drop(self, flight: UnitInFlight) -> None:
        """Forget the frames of a unit that have not started, and let the others end without a trace."""
        if flight in self._queued:
            self._queued.remove(flight)
            self._count(flight.unit.frames, -1)
        mine = [handle for handle in self._waiting if handle[0] is flight]
        for handle in mine:
            self._waiting.remove(handle)
        self._count(map(_frame, mine), -1)
        flight.is_dropped = True
        flight.fail(DroppedError(flight.unit.id))

    def close(self) -> None:
        """Let the wait for further units end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def expect_no_more(self) -> None:
        """Note that no further units are planned: the frames in hand are the last, and the longest go first."""
        with self._changed:
            self._last = True

    def queued(self, model: str) -> list[Unit]:
        """Return the units of a model that are not begun."""
        with self._changed:
            return [flight.unit for flight in self._queued if flight.unit.model == model]

    def is_ending(self, lane: LaneKey) -> bool:
        """Return True when no further unit of a lane is in sight: the job ends, or the next unit is of another lane."""
        with self._changed:
            return not self._queued[0].fits(lane) if self._queued else self._last or self._closed

    def peek(self, wait: bool) -> UnitInFlight | None:
        """Return the next unit to begin. None: none is there yet or, after waiting, the feed is closed."""
        with self._changed:
            began_s = time.monotonic()
            if wait and not self._queued and not self._closed:
                self._changed.wait_for(lambda: self._queued or self._closed)
                if self._queued and self.received > 1:
                    self._wait_over(time.monotonic() - began_s)
            return self._queued[0] if self._queued else None

    def begin(self, flight: UnitInFlight) -> None:
        """Begin a unit: its frames may start. Nothing happens if it was dropped meanwhile."""
        with self._changed:
            if flight.is_dropped:
                return
            if self._queued and self._queued[0] is flight:
                self._queued.popleft()
            else:  # begun before
                self._count(flight.unit.frames, 1)
            flight.start()
            self._waiting.extend((flight, position) for position in range(len(flight.unit.frames)))

    def take(self, lane: LaneKey) -> FrameHandle | None:
        """Take the next frame of the units begun; at the end of their lane the one that takes most steps."""
        with self._changed:
            if not self._waiting:
                return None
            handle = max(self._waiting, key=_steps) if self.is_ending(lane) else self._waiting[0]
            self._waiting.remove(handle)
            self._count([_frame(handle)], -1)
            return handle

    def wants_unit(self, following: UnitInFlight | None, lane: LaneKey) -> bool:
        """Return True if the next unit is of this lane and is to be begun: no frame is left, or it is among the last."""
        return following is not None and following.lane == lane and (self._last or not self._waiting)

    def first(self) -> UnitInFlight | None:
        """Return the unit of the next frame."""
        with self._changed:  # a unit may be dropped meanwhile
            return self._waiting[0][0] if self._waiting else None

    def forget_begun(self) -> None:
        """Forget the frames of the units begun, to begin these anew."""
        with self._changed:
            self._count(map(_frame, self._waiting), -1)
            self._waiting.clear()

    def unstarted(self) -> tuple[int, int]:
        """Return (network inputs that the frames which are not started ask for at once, those they need in all)."""
        return self._unstarted

    def _count(self, frames: Iterable[Frame], sign: int) -> None:
        """Keep the sums of `unstarted`, which is asked for far more often than frames start."""
        rows, evaluations = self._unstarted
        for frame in frames:
            rows += sign * frame.recipe.rows
            evaluations += sign * frame.recipe.evaluations
        self._unstarted = rows, evaluations


def _frame(handle: FrameHandle) -> Frame:
    flight, position = handle
    return flight.unit.frames[position]


def _steps(handle: FrameHandle) -> int:
    recipe = _frame(handle).recipe
    return recipe.evaluations // recipe.rows
