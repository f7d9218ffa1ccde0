"""Frames of one shape and model through one renderer; a frame that raises is tried again, then reported as failed."""

from __future__ import annotations

import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from render.core import Recipe
from render.engine import Batch, FrameGenerator, Row, pack_rows
from render.store import Failure

__all__ = ["FATAL", "OUT_OF_MEMORY", "TRIES", "FrameRenderer", "Lane"]

TRIES = 2  # times that a frame may raise
OUT_OF_MEMORY = (torch.OutOfMemoryError, MemoryError)
FATAL = (*OUT_OF_MEMORY, torch.AcceleratorError)  # no frame's fault; after the latter the process is unusable


class FrameRenderer(Protocol):
    """The part of a renderer that a lane needs."""

    def start(self, recipe: Recipe) -> FrameGenerator:
        """Return a frame as a generator."""

    def forget(self) -> None:
        """Drop the results shared between frames; no frame is in flight."""

    def run(self, rows: Sequence[Row], batch: Batch) -> list[Tensor]:
        """Return the network's outputs for 1 … `batch.capacity` rows."""


Handle = TypeVar("Handle")


class Lane(Generic[Handle]):
    """Renderer loop over frames of one shape and model, in batches of one size."""

    def __init__(
        self,
        renderer: FrameRenderer,
        batch: Batch,
        next_frame: Callable[[bool], tuple[Handle, Recipe] | None],
        batch_context: Callable[[int, int], AbstractContextManager[None]] = lambda *_: nullcontext(),
        is_ending: Callable[[], bool] = lambda: False,
    ) -> None:
        """`next_frame(wait)` returns the next frame as (handle, recipe), or None when there is none yet.

        With `wait` it may block, and None means that no more frames come. `batch_context(rows, padding)` is entered for
        every batch, with the places that hold network inputs and those that hold copies. `is_ending()` says that the
        frames in hand are the last.
        """
        self._renderer, self.size = renderer, batch
        self._next_frame, self._batch_context, self._is_ending = next_frame, batch_context, is_ending
        self._in_flight: dict[Handle, Recipe] = {}
        self._left: dict[Handle, int] = {}  # network inputs that a frame in flight still needs
        self._to_run_alone: deque[tuple[Handle, Recipe]] = deque()  # to be run alone: one of them made a batch fail
        self._tries: Counter[Handle] = Counter()

    @property
    def left(self) -> int:
        """Estimate of the network inputs that the frames in flight still need."""
        return sum(list(self._left.values()))

    def run(self) -> Iterator[tuple[Handle, Tensor | Failure]]:
        """Yield each frame's final latents, or its failure after TRIES tries; the other frames go on.

        If a whole batch raises, the frame at fault is unknown. Then each of its frames is run again alone, at the same
        batch size and so with the same bits. Raises the errors in FATAL, and whatever `next_frame` raises.
        """
        while True:
            self._renderer.forget()
            alone = bool(self._to_run_alone)
            admit = self._admit_alone if alone else self._admit_next
            try:
                for handle, result in pack_rows(admit, self._run_batch, self.size.capacity, self._is_ending):
                    recipe = self._in_flight.pop(handle)
                    self._left.pop(handle, None)
                    if not isinstance(result, Exception):
                        yield handle, result
                    elif failure := self._retry_or_fail(handle, recipe, result):
                        yield handle, failure
            except FATAL:
                raise
            except Exception as error:
                broken, self._in_flight, self._left = self._in_flight, {}, {}
                if not broken:  # `next_frame` raised, not a batch
                    raise
                if not alone:
                    self._to_run_alone.extend(broken.items())
                    continue
                for handle, recipe in broken.items():
                    if failure := self._retry_or_fail(handle, recipe, error):
                        yield handle, failure
            else:
                if not alone and not self._to_run_alone:
                    return

    def _admit_next(self, wait: bool) -> tuple[Handle, FrameGenerator] | None:
        return self._start(self._next_frame(wait and not self._to_run_alone))

    def _admit_alone(self, wait: bool) -> tuple[Handle, FrameGenerator] | None:
        return self._start(self._to_run_alone.popleft() if wait and self._to_run_alone else None)

    def _start(self, frame: tuple[Handle, Recipe] | None) -> tuple[Handle, FrameGenerator] | None:
        if frame is None:
            return None
        handle, recipe = frame
        self._in_flight[handle] = recipe
        return handle, self._counted(handle, self._renderer.start(recipe))

    def _counted(self, handle: Handle, frame: FrameGenerator) -> FrameGenerator:
        """Pass a frame on, and keep count of what it still needs."""
        outputs: Any = None  # a generator begins with it
        while True:
            try:
                rows = frame.send(outputs)
            except StopIteration as stop:
                latents: Tensor = stop.value
                return latents
            if rows:
                self._left[handle] = rows[0].left * len(rows)
            outputs = yield rows

    def _run_batch(self, rows: list[Row]) -> list[Tensor]:
        with self._batch_context(len(rows), self.size.rows - len(rows)):
            return self._renderer.run(rows, self.size)

    def _retry_or_fail(self, handle: Handle, recipe: Recipe, error: Exception) -> Failure | None:
        """Return the failure of a frame that has had its tries; put any other among those to be run alone."""
        if isinstance(error, FATAL):
            raise error
        self._tries[handle] += 1
        if self._tries[handle] >= TRIES:
            return Failure("".join(traceback.format_exception(error)), self._tries[handle])
        self._to_run_alone.append((handle, recipe))
        return None
