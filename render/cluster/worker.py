"""A worker: units in, committed shards and receipts out. Knows nothing of Ray.

It holds one pipeline at a time. If the next unit needs another model, the units in flight are finished first.
Three threads: one denoises, one decodes latents and encodes images, one writes shards, so the device never waits for a
file. When a unit has no more frames to start, those of the next unit fill the batches.
"""

from __future__ import annotations

import gc
import time
import traceback
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, Queue
from threading import BoundedSemaphore, Lock, Thread

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from render.cluster.lane import FATAL, OUT_OF_MEMORY, TRIES, Lane
from render.core import Group, ModelError, Receipt, Recipe, Unit
from render.engine import Renderer, use_threads
from render.models import Model
from render.store import Failure, Ledger, Origin, Rendered, rendered, shard_schema, write_shard

__all__ = ["Progress", "Setup", "Worker"]

DECODES_MAX = 64  # final latents waiting to be decoded; at more, denoising waits


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Settings that all workers of a run share."""

    models: dict[str, Model]  # by their names in the job
    out: Path  # output folder
    labels: bytes  # Arrow schema of the manifest's label columns, serialized
    format: str  # of the images, one of ENCODINGS
    device: str  # cpu or cuda
    dtype: str  # auto, float32 or bfloat16
    threads: int  # CPU threads of a worker
    media: Path = Path()  # folder of start images
    compiles: bool = False  # the networks are compiled
    measure_rows: bool = False  # batch sizes are chosen by measurement, at most those of the units


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a worker."""

    frames: int  # finished since it started
    up_s: float  # seconds since it was ready
    idle_s: float  # seconds since it last made progress


@dataclass(eq=False)
class _UnitInFlight:
    """A unit that was submitted and is not committed yet."""

    unit: Unit
    receipt: Future[Receipt]
    started_s: float = 0.0  # time.monotonic()
    results: list[Rendered | Failure | None] = field(default_factory=list)  # by position; None until finished
    unfinished: int = 0  # frames without a result

    def start(self) -> None:
        """Forget all results, if there are any, and start the unit's clock."""
        self.started_s = time.monotonic()
        self.results, self.unfinished = [None] * len(self.unit.frames), len(self.unit.frames)

    @property
    def lane(self) -> _LaneKey:
        """Group and batch size; units with the same share batches."""
        return self.unit.group, self.unit.batch_rows

    @property
    def model(self) -> str:
        return self.unit.model


_LaneKey = tuple[Group, int]  # (model, width, height), batch size in network inputs
_FrameHandle = tuple[_UnitInFlight, int]  # a frame's unit and its position there


class Worker:
    """Renderer of units, in the order in which they are submitted, with one pipeline at a time."""

    def __init__(self, setup: Setup, model: str) -> None:
        """Load the model of this name. Raises what loading raises."""
        self._setup = setup
        self._origins: dict[str, Origin] = {}  # by the names of all models loaded so far
        self._renderer, self._model = self._load(model), model
        self._ledger = Ledger(setup.out)
        self._schema = shard_schema(setup.labels)
        self._queue: Queue[_UnitInFlight | None] = Queue()  # None: closed
        self._next_unit: _UnitInFlight | None = None  # taken from the queue, not started
        self._started_units: list[_UnitInFlight] = []  # at least those with unfinished frames
        self._frames_waiting: deque[_FrameHandle] = deque()  # of started units, not in flight
        self._finished = 0  # frames
        self._ready_s = self._progress_s = time.monotonic()  # the latter: when it last made progress
        self._decode_slots = BoundedSemaphore(DECODES_MAX)
        self._device_lock = Lock()  # held while a batch runs, and to decode an image alone
        self._finisher = ThreadPoolExecutor(1, "finish", use_threads, (setup.threads,))
        self._writer = ThreadPoolExecutor(1, "write")
        self._denoiser = Thread(target=self._denoise, name="denoise", daemon=True)
        self._denoiser.start()

    def submit(self, unit: Unit) -> Future[Receipt]:
        """Queue a unit. The future gets its receipt once it is committed, or the error that prevented that."""
        flight = _UnitInFlight(unit, Future())
        self._queue.put(flight)
        return flight.receipt

    def progress(self) -> Progress:
        """Return the frames finished and the seconds since the last progress; without work these grow, too."""
        now = time.monotonic()
        return Progress(self._finished, now - self._ready_s, now - self._progress_s)

    def close(self) -> None:
        """Finish the queued units, then stop."""
        self._queue.put(None)
        self._denoiser.join()
        self._finisher.shutdown()
        self._writer.shutdown()

    def _load(self, name: str) -> Renderer:
        setup, model = self._setup, self._setup.models[name]
        renderer = Renderer(model.resolve_here(), setup.device, setup.dtype, setup.threads, setup.media, setup.compiles)
        self._origins[name] = Origin(
            model.id, model.revision, renderer.device, renderer.dtype, setup.format, setup.compiles
        )
        return renderer

    # The denoising thread.

    def _denoise(self) -> None:
        use_threads(self._setup.threads)
        try:
            while (flight := self._peek(wait=True)) is not None:
                if flight.model != self._model:
                    self._change_model(flight.model)
                self._start(flight)
                while self._frames_waiting:
                    with suppress(*OUT_OF_MEMORY):
                        self._run_lane(self._frames_waiting[0][0])
                        continue
                    self._halve_batch()  # after the block: the exception no longer holds the tensors
        except BaseException as error:  # the worker is lost, and every future has to say so
            self._finisher.shutdown()
            for flight in self._started_units:
                if flight.unfinished and not flight.receipt.done():
                    flight.receipt.set_exception(error)
            while (flight := self._peek(wait=True)) is not None:  # also units submitted from now on, until `close`
                self._next_unit = None
                flight.receipt.set_exception(error)

    def _change_model(self, name: str) -> None:
        """Load another model, after the old one has left memory. Raises ModelError if it can't be loaded."""
        self._finish_decodes()
        self._progress_s = time.monotonic()
        self._started_units.clear()
        del self._renderer
        gc.collect()  # a pipeline's modules refer to each other
        torch.cuda.empty_cache()
        try:
            self._renderer, self._model = self._load(name), name
        except Exception as error:
            raise ModelError(f"models: required {name!r} to load, got {type(error).__name__}: {error}") from error
        self._progress_s = time.monotonic()

    def _run_lane(self, flight: _UnitInFlight) -> None:
        """Denoise units of one lane, until the next unit is of another lane or none is left."""
        _, width, height = flight.unit.group
        batch = self._renderer.tuner.batches(width, height, flight.unit.batch_rows, 1).network
        lane: Lane[_FrameHandle] = Lane(
            self._renderer, batch, lambda wait: self._next_frame(flight.lane, wait), self._batch
        )
        for (owner, position), result in lane.run():
            self._progress_s = time.monotonic()
            self._decode_slots.acquire()
            self._finisher.submit(self._finish_frame, owner, position, result)

    @contextmanager
    def _batch(self) -> Iterator[None]:
        with self._device_lock:
            yield
        self._progress_s = time.monotonic()

    def _next_frame(self, lane: _LaneKey, wait: bool) -> tuple[_FrameHandle, Recipe] | None:
        """Return the lane's next frame, starting the next unit if need be; None if that is of another lane or missing."""
        self._progress_s = time.monotonic()
        if not self._frames_waiting:
            following = self._peek(wait)
            if following is None or following.lane != lane:
                return None
            self._start(following)
        flight, position = self._frames_waiting.popleft()
        if position == 0:
            self._prepare(flight.unit)
        return (flight, position), flight.unit.frames[position].recipe

    def _prepare(self, unit: Unit) -> None:
        try:
            self._renderer.prepare(frame.recipe for frame in unit.frames)
        except FATAL:
            raise
        except Exception:
            return  # one prompt's error: its frames will raise it again, and the lane handles that

    def _peek(self, wait: bool) -> _UnitInFlight | None:
        """Return the next unit to start. None: none is queued yet or, after waiting, the worker is closed."""
        if self._next_unit is None:
            with suppress(Empty):
                self._next_unit = self._queue.get(block=wait)
                if self._next_unit is None:
                    self._queue.put(None)  # closed, for whoever asks next as well
        return self._next_unit

    def _start(self, flight: _UnitInFlight) -> None:
        if flight is self._next_unit:
            self._next_unit = None
        flight.start()
        self._started_units = [other for other in self._started_units if other.unfinished] + [flight]
        self._frames_waiting.extend((flight, position) for position in range(len(flight.unit.frames)))

    def _halve_batch(self) -> None:
        """Start all unfinished units anew at half the batch size. Raises MemoryError if that was 1."""
        self._finish_decodes()
        restarted = [flight for flight in self._started_units if flight.unfinished]
        batch_rows = restarted[0].unit.batch_rows // 2
        if batch_rows < 1:
            model, width, height = restarted[0].unit.group
            raise MemoryError(
                f"out of memory at batch size 1: network input of {width}x{height} pixels, model {model!r}"
            )
        torch.cuda.empty_cache()
        self._frames_waiting.clear()
        self._started_units.clear()
        for flight in restarted:
            flight.unit = replace(flight.unit, batch_rows=batch_rows)
            self._start(flight)

    def _finish_decodes(self) -> None:
        """Wait until all denoised frames are decoded, so that none of their results comes later."""
        self._finisher.submit(int).result()  # a no-op behind them in the queue of the only thread

    # The finishing thread.

    def _finish_frame(self, flight: _UnitInFlight, position: int, result: Tensor | Failure) -> None:
        """Turn latents into an encoded image; after the unit's last frame, have the unit written."""
        self._decode_slots.release()
        try:
            recipe = flight.unit.frames[position].recipe
            flight.results[position] = result if isinstance(result, Failure) else self._encoded_image(result, recipe)
        except BaseException as error:
            if not flight.receipt.done():
                flight.receipt.set_exception(error)
            return
        flight.unfinished -= 1
        self._finished += 1
        self._progress_s = time.monotonic()
        if not flight.unfinished:
            self._writer.submit(self._write_unit, flight)

    def _encoded_image(self, latents: Tensor, recipe: Recipe) -> Rendered | Failure:
        """Decode latents and encode the image, in at most TRIES tries. Raises the errors in FATAL."""
        for _ in range(TRIES):
            try:
                return rendered(self._pixels(latents, recipe), self._setup.format)
            except FATAL:
                raise
            except Exception:
                failure = Failure(traceback.format_exc())
                torch.cuda.empty_cache()
        return failure

    def _pixels(self, latents: Tensor, recipe: Recipe) -> NDArray[np.uint8]:
        """Decode latents; if there is not enough memory beside a running batch, do it between two batches."""
        with suppress(*OUT_OF_MEMORY):
            return self._renderer.decode(latents, recipe.tiled)
        with self._device_lock:
            torch.cuda.empty_cache()
            try:
                return self._renderer.decode(latents, recipe.tiled)
            except OUT_OF_MEMORY as error:
                raise MemoryError(f"out of memory while decoding {recipe.width}x{recipe.height} pixels") from error

    # The writing thread.

    def _write_unit(self, flight: _UnitInFlight) -> None:
        try:
            results = [result for result in flight.results if result is not None]
            origin, seconds = self._origins[flight.model], time.monotonic() - flight.started_s
            receipt = write_shard(self._ledger, flight.unit, results, origin, self._schema, seconds)
            if not self._ledger.commit(receipt) and receipt.file:  # another worker committed the unit first
                (self._ledger.folder.data / receipt.file).unlink(missing_ok=True)
            flight.receipt.set_result(receipt)
        except BaseException as error:
            flight.receipt.set_exception(error)
