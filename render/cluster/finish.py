"""From final latents to committed shards, beside the denoising: one thread decodes, some encode, one writes.

Every stage is bounded, so memory does not grow with a slow disk: when units wait to be written, encoding stops, then
decoding, then denoising.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, Queue
from threading import BoundedSemaphore, Condition, Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from render.cluster.feed import FrameHandle, UnitInFlight
from render.cluster.lane import FATAL, OUT_OF_MEMORY, TRIES
from render.core import Recipe
from render.engine import Batch, Renderer, start_pool
from render.store import Failure, Rendered

__all__ = ["Finisher", "Pixels"]

DECODES_MAX = 64  # final latents waiting to be decoded; at more, denoising waits
IMAGES_MAX = 16  # decoded images waiting to be encoded; at more, decoding waits
WRITES_MAX = 2  # finished units waiting to be written; at more, encoding waits
FILL_WAIT_S = 0.5  # time that a decoding batch waits for more latents

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Latents:
    """Final latents of one frame, the renderer that made them, and the batch that they are decoded in."""

    handle: FrameHandle
    latents: Tensor
    renderer: Renderer
    batch: Batch

    @property
    def recipe(self) -> Recipe:
        flight, position = self.handle
        return flight.unit.frames[position].recipe

    def fits(self, other: _Latents) -> bool:
        """Return True if both may be decoded in one call."""
        return self.latents.shape == other.latents.shape and (self.recipe.tiled, self.batch, self.renderer) == (
            other.recipe.tiled,
            other.batch,
            other.renderer,
        )


class Finisher:
    """Threads that turn latents into images, and finished units into shards."""

    def __init__(
        self,
        threads: int,
        encoders: int,
        write: Callable[[UnitInFlight], None],
        encode: Callable[[FrameHandle, Pixels], Rendered],
        tick: Callable[[UnitInFlight], None],
    ) -> None:
        """`threads` are torch's to decode, `encoders` the threads that encode; `write` stores a unit and never raises.

        `encode` makes the file of a decoded image. `tick` is called with its unit for every finished frame.
        """
        self.device_lock = Lock()  # held while a batch runs, and to decode images alone
        self._write, self._encoded, self._tick = write, encode, tick
        self.decode_s = 0.0  # seconds of decoding so far
        self._latents: Queue[_Latents | None] = Queue()  # None: closed
        self._ahead: _Latents | None = None  # taken from the queue, but of another shape than the batch before it
        self._decode_slots = BoundedSemaphore(DECODES_MAX)
        self._image_slots = BoundedSemaphore(IMAGES_MAX)
        self._write_slots = BoundedSemaphore(WRITES_MAX)
        self._unfinished, self._changed = 0, Condition()  # frames taken on and not finished
        self._encoders = start_pool(encoders, "encode", 1)
        self._writer = ThreadPoolExecutor(1, "write")
        self._decoder = start_pool(1, "decode", threads)
        self._decoder.submit(self._decode)

    def finish(self, handle: FrameHandle, result: Tensor | Failure, renderer: Renderer, batch: Batch) -> None:
        """Take on a frame, to be decoded in a batch. Waits while too many are waiting."""
        if handle[0].is_dropped:
            return
        with self._changed:
            self._unfinished += 1
        if isinstance(result, Failure):
            self._encoders.submit(self._settle, handle, result)
            return
        self._decode_slots.acquire()
        self._latents.put(_Latents(handle, result, renderer, batch))

    def drain(self) -> None:
        """Wait until every frame taken on has its result, so that none comes later."""
        with self._changed:
            self._changed.wait_for(lambda: not self._unfinished)

    def close(self) -> None:
        """Finish what was taken on, then stop."""
        self._latents.put(None)
        self._decoder.shutdown()
        self._encoders.shutdown()
        self._writer.shutdown()

    # The decoding thread.

    def _decode(self) -> None:
        while self._decode_next():  # between two calls nothing holds the renderer
            pass

    def _decode_next(self) -> bool:
        """Decode one batch. Returns False when closed."""
        batch = self._next_batch()
        for _ in batch:
            self._decode_slots.release()
        began_s = time.monotonic()
        try:
            images = self._images(batch)
        except BaseException as error:  # of the worker, not of a frame
            for one in batch:
                self._break(one.handle, error)
            return True
        self.decode_s += time.monotonic() - began_s
        for one, image in zip(batch, images, strict=True):
            self._image_slots.acquire()
            self._encoders.submit(self._encode, one.handle, image)
        return bool(batch)

    def _next_batch(self) -> list[_Latents]:
        """Return latents to decode in one call: as many as it takes, or those that come in time. Empty: closed."""
        first, self._ahead = self._ahead or self._latents.get(), None
        if first is None:
            return []
        batch = [first]
        with suppress(Empty):
            while len(batch) < (1 if first.recipe.tiled else first.batch.capacity):
                following = self._latents.get(timeout=FILL_WAIT_S)
                if following is None:
                    self._latents.put(None)
                    break
                if not first.fits(following):
                    self._ahead = following
                    break
                batch.append(following)
        return batch

    def _images(self, batch: Sequence[_Latents]) -> list[Pixels | Failure]:
        """Decode latents, in at most TRIES tries each. Raises the errors in FATAL."""
        images = self._try(batch) if batch else []
        for place, one in enumerate(batch):
            for _ in range(TRIES - 1):
                if isinstance(images[place], Failure):
                    torch.cuda.empty_cache()
                    (images[place],) = self._try([one])
        return images

    def _try(self, batch: Sequence[_Latents]) -> list[Pixels | Failure]:
        """Decode latents; if there is not enough memory beside a running batch, do it between two batches."""
        try:
            with suppress(*OUT_OF_MEMORY):
                return self._pixels(batch)
            with self.device_lock:
                torch.cuda.empty_cache()
                return self._pixels(batch)
        except OUT_OF_MEMORY as error:
            recipe = batch[0].recipe
            raise MemoryError(f"out of memory while decoding {recipe.width}x{recipe.height} pixels") from error
        except FATAL:
            raise
        except Exception:
            return [Failure(traceback.format_exc(), TRIES)] * len(batch)

    def _pixels(self, batch: Sequence[_Latents]) -> list[Pixels | Failure]:
        first = batch[0]
        found = first.renderer.decode([one.latents for one in batch], first.recipe.tiled, first.batch)
        return [
            Failure("".join(traceback.format_exception(one)), TRIES, isinstance(one, ValueError))
            if isinstance(one, Exception)
            else one
            for one in found
        ]

    # The encoding threads.

    def _encode(self, handle: FrameHandle, image: Pixels | Failure) -> None:
        """Encode an image, in at most TRIES tries."""
        self._image_slots.release()
        result: Rendered | Failure
        for _ in range(TRIES):
            try:
                result = image if isinstance(image, Failure) else self._encoded(handle, image)
                break
            except FATAL as error:
                self._break(handle, error)
                return
            except Exception:
                result = Failure(traceback.format_exc(), TRIES)
        self._settle(handle, result)

    def _settle(self, handle: FrameHandle, result: Rendered | Failure) -> None:
        """Note a frame's result; after the unit's last frame, have the unit written."""
        flight, position = handle
        with self._changed:
            flight.results[position] = result
            flight.unfinished -= 1
            is_done = not flight.unfinished and not flight.is_dropped
        self._tick(flight)
        if is_done:
            self._write_slots.acquire()
            self._writer.submit(self._write_unit, flight)
        self._note_finished()

    def _break(self, handle: FrameHandle, error: BaseException) -> None:
        """End a frame's unit with an error that is no frame's fault."""
        flight, _ = handle
        flight.fail(error)
        self._note_finished()

    def _note_finished(self) -> None:
        with self._changed:
            self._unfinished -= 1
            self._changed.notify_all()

    def _write_unit(self, flight: UnitInFlight) -> None:
        self._write_slots.release()
        self._write(flight)
