"""One worker: units in, committed shards and receipts out. Knows nothing of Ray.

It holds one pipeline at a time. Where the next unit is of another model, what is in hand is finished first.

Three threads: one denoises, one decodes and encodes images, one writes shards, so that the device never waits for a file.
Two units may be in hand: the frames of the next fill the rows that the last ones free.
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

DECODES_WAITING = 64  # latents held for decoding before denoising waits


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker is made from."""

    models: dict[str, Model]  # by their names in the job
    out: Path
    labels: bytes  # schema of the manifest's label columns
    format: str  # of the images, one of ENCODINGS
    device: str  # cpu or cuda
    dtype: str
    threads: int
    images: Path = Path()  # folder of start images


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a worker is."""

    frames: int  # finished since it started
    up_s: float  # since it was ready
    idle_s: float  # since it last got something done


@dataclass(eq=False)
class _Job:
    """A unit in hand."""

    unit: Unit
    receipt: Future[Receipt]
    started_s: float = 0.0
    results: list[Rendered | Failure | None] = field(default_factory=list)
    missing: int = 0

    def begin(self) -> None:
        self.started_s = time.monotonic()
        self.results, self.missing = [None] * len(self.unit.frames), len(self.unit.frames)

    @property
    def lane(self) -> _LaneKey:
        """Units of one lane share batches."""
        return self.unit.group, self.unit.batch_rows

    @property
    def model(self) -> str:
        return self.unit.group[0]


_LaneKey = tuple[Group, int]  # with the rows of the denoiser
_Token = tuple[_Job, int]  # a frame in hand: its job and position in the unit


class Worker:
    """Renders the units it is given, in order, with one pipeline at a time."""

    def __init__(self, setup: Setup, model: str) -> None:
        """Load the first model. Raises what loading raises."""
        self._setup = setup
        self._origins: dict[str, Origin] = {}  # of every model that was held
        self._renderer, self._held = self._load(model), model
        self._ledger = Ledger(setup.out)
        self._schema = shard_schema(setup.labels)
        self._queue: Queue[_Job | None] = Queue()
        self._next: _Job | None = None  # taken from the queue, not begun
        self._begun: list[_Job] = []  # jobs with frames that are not denoised
        self._waiting: deque[_Token] = deque()  # frames of begun jobs that are not in flight
        self._finished = 0
        self._ready_s = self._beat_s = time.monotonic()
        self._room = BoundedSemaphore(DECODES_WAITING)
        self._device = Lock()  # held for a batch, and where an image has to be decoded alone
        self._finisher = ThreadPoolExecutor(1, "finish", use_threads, (setup.threads,))
        self._writer = ThreadPoolExecutor(1, "write")
        self._denoiser = Thread(target=self._serve, name="denoise", daemon=True)
        self._denoiser.start()

    def submit(self, unit: Unit) -> Future[Receipt]:
        """Queue a unit. The future holds its receipt once it is committed, or what kept it from being written."""
        job = _Job(unit, Future())
        self._queue.put(job)
        return job.receipt

    def progress(self) -> Progress:
        """Frames done and the time since something was; a worker without work is idle too."""
        now = time.monotonic()
        return Progress(self._finished, now - self._ready_s, now - self._beat_s)

    def close(self) -> None:
        """Finish what is queued, then stop."""
        self._queue.put(None)
        self._denoiser.join()
        self._finisher.shutdown()
        self._writer.shutdown()

    def _load(self, name: str) -> Renderer:
        setup, model = self._setup, self._setup.models[name]
        renderer = Renderer(model.resolve_here(), setup.device, setup.dtype, setup.threads, setup.images)
        self._origins[name] = Origin(model.id, model.revision, renderer.device, renderer.dtype, setup.format)
        return renderer

    # The denoising thread.

    def _serve(self) -> None:
        use_threads(self._setup.threads)
        try:
            while (job := self._peek(wait=True)) is not None:
                if job.model != self._held:
                    self._change_model(job.model)
                self._begin(job)
                while self._waiting:
                    with suppress(*OUT_OF_MEMORY):
                        self._render(self._waiting[0][0])
                        continue
                    self._use_fewer_rows()  # here, where the exception no longer holds the tensors
        except BaseException as error:  # the worker is lost: whoever waits for it has to know
            self._finisher.shutdown()
            for job in self._begun:
                if job.missing and not job.receipt.done():
                    job.receipt.set_exception(error)
            while (job := self._peek(wait=True)) is not None:  # until it is closed: whoever comes later too
                self._next = None
                job.receipt.set_exception(error)

    def _change_model(self, name: str) -> None:
        """Hold another model, the old one gone before it is loaded. Raises ModelError where it can't be loaded."""
        self._finisher.submit(int).result()  # a no-op: what is denoised is decoded too
        self._beat_s = time.monotonic()
        self._begun.clear()
        del self._renderer
        gc.collect()  # a pipeline's modules refer to each other
        torch.cuda.empty_cache()
        try:
            self._renderer, self._held = self._load(name), name
        except Exception as error:
            raise ModelError(f"models: required {name!r} to load, got {type(error).__name__}: {error}") from error
        self._beat_s = time.monotonic()

    def _render(self, job: _Job) -> None:
        """Denoise units of one lane until the next unit is of another, or none is left."""
        lane: Lane[_Token] = Lane(
            self._renderer, job.unit.batch_rows, lambda wait: self._take(job.lane, wait), self._batch
        )
        for (job_of, position), result in lane.run():
            self._beat_s = time.monotonic()
            self._room.acquire()
            self._finisher.submit(self._finish, job_of, position, result)

    @contextmanager
    def _batch(self) -> Iterator[None]:
        with self._device:
            yield
        self._beat_s = time.monotonic()

    def _take(self, lane: _LaneKey, wait: bool) -> tuple[_Token, Recipe] | None:
        """The next frame of the lane."""
        self._beat_s = time.monotonic()
        if not self._waiting:
            following = self._peek(wait)
            if following is None or following.lane != lane:
                return None
            self._begin(following)
        job, position = self._waiting.popleft()
        if position == 0:
            self._prepare(job.unit)
        return (job, position), job.unit.frames[position].recipe

    def _prepare(self, unit: Unit) -> None:
        """Encode a unit's prompts."""
        try:
            self._renderer.prepare(frame.recipe for frame in unit.frames)
        except FATAL:
            raise
        except Exception:
            return  # the fault of one prompt: its frames will meet it again, and the lane sees to them

    def _peek(self, wait: bool) -> _Job | None:
        """The job that comes next, still to be begun; None where there is none yet, or, after waiting, any more."""
        if self._next is None:
            with suppress(Empty):
                self._next = self._queue.get(block=wait)
                if self._next is None:
                    self._queue.put(None)  # closed: whoever asks next is told so too
        return self._next

    def _begin(self, job: _Job) -> None:
        if job is self._next:
            self._next = None
        job.begin()
        self._begun = [other for other in self._begun if other.missing] + [job]
        self._waiting.extend((job, position) for position in range(len(job.unit.frames)))

    def _use_fewer_rows(self) -> None:
        """Begin the units in hand anew with half the rows. Raises MemoryError where one row is too many."""
        self._finisher.submit(int).result()  # a no-op: what is denoised is finished too, and no old result comes later
        again = [job for job in self._begun if job.missing]
        rows = again[0].unit.batch_rows // 2
        if rows < 1:
            model, width, height = again[0].unit.group
            raise MemoryError(f"no memory for one row of {width}x{height} pixels with model {model!r}")
        torch.cuda.empty_cache()
        self._waiting.clear()
        self._begun.clear()
        for job in again:
            job.unit = replace(job.unit, batch_rows=rows)
            self._begin(job)

    # The finishing thread.

    def _finish(self, job: _Job, position: int, result: Tensor | Failure) -> None:
        """Latents to an encoded image; the unit's last one sends it to be written."""
        self._room.release()
        try:
            recipe = job.unit.frames[position].recipe
            job.results[position] = result if isinstance(result, Failure) else self._picture(result, recipe)
        except BaseException as error:
            if not job.receipt.done():
                job.receipt.set_exception(error)
            return
        job.missing -= 1
        self._finished += 1
        self._beat_s = time.monotonic()
        if not job.missing:
            self._writer.submit(self._write, job)

    def _picture(self, latents: Tensor, recipe: Recipe) -> Rendered | Failure:
        """Decode and encode, with a second try. Raises what is no frame's fault: MemoryError and torch.AcceleratorError."""
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
        """The image; where there is no memory for it beside a batch, between two of them."""
        with suppress(*OUT_OF_MEMORY):
            return self._renderer.decode(latents, recipe.tiled)
        with self._device:
            torch.cuda.empty_cache()
            try:
                return self._renderer.decode(latents, recipe.tiled)
            except OUT_OF_MEMORY as error:
                raise MemoryError(f"no memory to decode {recipe.width}x{recipe.height} pixels") from error

    # The writing thread.

    def _write(self, job: _Job) -> None:
        try:
            results = [result for result in job.results if result is not None]
            seconds = time.monotonic() - job.started_s
            origin = self._origins[job.model]
            receipt = write_shard(self._ledger, job.unit, results, origin, self._schema, seconds)
            if not self._ledger.commit(receipt) and receipt.file:  # another worker was faster
                (self._ledger.folder.data / receipt.file).unlink(missing_ok=True)
            job.receipt.set_result(receipt)
        except BaseException as error:
            job.receipt.set_exception(error)
