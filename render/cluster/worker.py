"""A worker: units in, committed shards and receipts out. Knows nothing of Ray.

It holds one pipeline at a time. If the next unit needs another model, the units in flight are finished first. One thread
denoises; `finish.py` has the threads that decode, encode and write beside it, so the device never waits for a file. When a
unit has no more frames to start, those of the next unit fill the batches.
"""

from __future__ import annotations

import gc
import platform
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from threading import Lock, Thread

import torch

from render.cluster.batch_book import BatchBook
from render.cluster.feed import Feed, FrameHandle, LaneKey, UnitInFlight
from render.cluster.finish import Finisher, Pixels
from render.cluster.lane import FATAL, OUT_OF_MEMORY, Lane
from render.cluster.memory import half_rows, where_memory_lasts
from render.cluster.meter import Meter
from render.cluster.progress import LOADING, STAGE_S, Progress
from render.cluster.setup import Setup
from render.core import ModelError, Receipt, Recipe, Unit
from render.engine import Batches, Renderer, use_threads
from render.store import Failure, Ledger, Origin, Rendered, picture_text, rendered, shard_schema, write_shard

__all__ = ["Worker"]

ENCODERS_MAX = 4  # threads that encode images: PNG takes 25 ms at 512x512 pixels, 106 ms at 1024x1024


class Worker:
    """Renderer of units, in the order in which they are submitted, with one pipeline at a time."""

    def __init__(self, setup: Setup, model: str) -> None:
        """Load the model of this name. Raises ModelError if it can't be loaded."""
        self._setup = setup
        self._origins: dict[str, Origin] = {}  # by the names of all models loaded so far
        self._renderer, self._model = self._load(model), model
        self._ledger = Ledger(setup.out)
        self._schema = shard_schema(setup.labels)
        self._book = BatchBook(self._ledger.folder)
        self._meter = Meter()
        self._feed = Feed(self._meter.add_wait)
        self._started_units: list[UnitInFlight] = []  # at least those with unfinished frames
        self._lane: Lane[FrameHandle] | None = None  # the frames in flight
        self._finished, self._frames_of = 0, Counter[str]()  # frames, by unit too: without those that were cancelled
        self._counting = Lock()  # held while these change
        self._decoded_s = 0.0  # seconds of decoding that receipts have told
        self._ready_s = self._progress_s = time.monotonic()  # the latter: when it last made progress
        encoders = min(setup.threads, ENCODERS_MAX)
        self._finisher = Finisher(setup.threads, encoders, self._write_unit, self._encode, self._note_frame)
        self._denoiser = Thread(target=self._denoise, name="denoise", daemon=True)
        self._denoiser.start()

    def submit(self, unit: Unit) -> Future[Receipt]:
        """Queue a unit. The future gets its receipt once it is committed, or the error that prevented that.

        It gets DroppedError if the unit is handed back or cancelled before.
        """
        flight = UnitInFlight(unit)
        self._feed.put(flight)
        return flight.receipt

    def expect_no_more(self) -> None:
        """Note that no further units are planned, so that the frames in hand end together."""
        self._feed.expect_no_more()

    def hand_back(self) -> None:
        """Give back the units of which no frame has started, and all that come from now on; the others are finished."""
        self._feed.hand_back()

    def cancel(self, unit: str) -> None:
        """Give up a unit, by its id, that another worker has committed."""
        self._feed.cancel(unit, self._started_units)
        self._forget_frames(unit)

    def progress(self) -> Progress:
        """Return what was done and what is in hand; without work the seconds since the last progress grow, too."""
        now, lane = time.monotonic(), self._lane
        renderer: Renderer | None = getattr(self, "_renderer", None)  # None between two models
        stage = renderer.tuner.stage if renderer else LOADING
        received = self._feed.received
        unstarted, left = self._feed.unstarted()
        return Progress(
            frames=self._finished,
            up_s=now - self._ready_s,
            idle_s=max(0.0, now - self._progress_s - (STAGE_S if stage else 0.0)),
            units=received,
            capacity=lane.size.capacity if lane else 0,
            unstarted=unstarted,
            left=left + (lane.left if lane else 0),
            rows=self._meter.rows,
            padding=self._meter.padding,
            waiting_s=self._meter.waiting_s,
            stage=stage,
            host=platform.node(),
            card=renderer.device if renderer else "",
        )

    def close(self) -> None:
        """Finish the queued units, then stop."""
        self._feed.close()
        self._denoiser.join()
        self._finisher.close()

    def _load(self, name: str) -> Renderer:
        setup, model = self._setup, self._setup.models[name]
        try:
            renderer = Renderer(
                model.resolve_here(), setup.device, setup.dtype, setup.threads, setup.media, setup.compiles
            )
        except Exception as error:
            raise ModelError(f"models: required {name!r} to load, got {type(error).__name__}: {error}") from error
        self._origins[name] = Origin(
            model.id, model.revision, renderer.device, renderer.dtype, setup.format, setup.compiles
        )
        return renderer

    def _denoise(self) -> None:
        use_threads(self._setup.threads)
        try:
            while (flight := self._feed.peek(wait=True)) is not None:
                if flight.unit.model != self._model:
                    self._change_model(flight.unit.model)
                self._begin(flight)
                while (waiting := self._feed.first()) is not None:
                    with suppress(*OUT_OF_MEMORY):
                        self._run_lane(waiting)
                        continue
                    self._halve_batch()  # after the block: the exception no longer holds the tensors
        except BaseException as error:  # the worker is lost, and every future has to say so
            self._finisher.drain()
            for flight in self._started_units:
                if flight.unfinished:
                    flight.fail(error)
            while (flight := self._feed.peek(wait=True)) is not None:  # also units submitted from now on, until `close`
                self._feed.begin(flight)
                flight.fail(error)

    def _change_model(self, name: str) -> None:
        """Load another model, after the old one has left memory. Raises ModelError if it can't be loaded."""
        self._finisher.drain()
        self._progress_s = time.monotonic()
        self._started_units.clear()
        self._lane = None
        del self._renderer
        gc.collect()  # a pipeline's modules refer to each other
        torch.cuda.empty_cache()
        self._renderer, self._model = self._load(name), name
        self._progress_s = time.monotonic()

    def _run_lane(self, flight: UnitInFlight) -> None:
        """Denoise units of one lane, until the next unit is of another lane or none is left."""
        key, batches = flight.lane, self._book.batches(self._renderer, flight.unit.group, flight.unit.batch_rows)
        self._lane = Lane(
            self._renderer,
            batches.network,
            lambda wait: self._next_frame(key, wait),
            self._batch,
            lambda: self._feed.is_ending(key),
        )
        for handle, result in self._lane.run():
            self._progress_s = time.monotonic()
            self._finisher.finish(handle, result, self._renderer, batches.decoder)

    @contextmanager
    def _batch(self, rows: int, padding: int) -> Iterator[None]:
        with self._finisher.device_lock:
            yield
        self._meter.add_batch(rows, padding)
        self._progress_s = time.monotonic()

    def _next_frame(self, lane: LaneKey, wait: bool) -> tuple[FrameHandle, Recipe] | None:
        """Return the lane's next frame, beginning units if need be; None if the next is of another lane or missing."""
        self._progress_s = time.monotonic()
        while following := self._feed.peek(wait and self._feed.first() is None):
            if following.unit.group == lane[0]:
                self._fix_sizes(following)
            if not self._feed.wants_unit(following, lane):
                break
            self._begin(following)
        handle = self._feed.take(lane)
        if handle is None:
            return None
        flight, position = handle
        if not flight.prepared:
            self._prepare(flight)
        return handle, flight.unit.frames[position].recipe

    def _prepare(self, flight: UnitInFlight) -> None:
        flight.prepared = True
        try:
            own, ahead = flight.unit, self._feed.queued(flight.unit.model)
            self._renderer.prepare(_recipes([own]), _recipes(ahead))
        except FATAL:
            raise
        except Exception:
            return  # one prompt's error: its frames will raise it again, and the lane handles that

    def _fix_sizes(self, flight: UnitInFlight) -> None:
        """Fix the batch sizes of a unit, as they were chosen for all units of its group; smaller where memory ends."""
        if flight.has_sizes:
            return
        unit, fixed = flight.unit, not self._setup.measure_rows
        if self._book.will_measure(self._renderer, unit.group):
            self._finisher.drain()  # decoding beside it would take its time and memory
        choose = partial(self._book.choose, self._renderer, unit.group, fixed=fixed)
        sizes = where_memory_lasts(choose, unit.batch_rows, unit)
        rows = unit.batch_rows if unit.rows_are_fixed else sizes.rows
        batches = self._batches(rows, unit)  # on a card with less memory than that of the worker that chose
        flight.unit = replace(unit, batch_rows=batches.network.rows, decode_rows=sizes.decode_rows, exact=batches.exact)
        flight.has_sizes = True

    def _batches(self, rows: int, unit: Unit) -> Batches:
        """Return batches for the frames of a unit with `rows` network inputs, or as many as memory lasts for."""
        return where_memory_lasts(partial(self._book.batches, self._renderer, unit.group), rows, unit)

    def _begin(self, flight: UnitInFlight) -> None:
        self._fix_sizes(flight)
        self._feed.begin(flight)
        self._started_units = [*self._unfinished_units(), flight]

    def _forget_frames(self, unit: str) -> None:
        with self._counting:
            self._finished -= self._frames_of.pop(unit, 0)

    def _unfinished_units(self) -> list[UnitInFlight]:
        return [flight for flight in self._started_units if flight.unfinished and not flight.is_dropped]

    def _halve_batch(self) -> None:
        """Start all unfinished units anew at half the batch size. Raises MemoryError if that was 1."""
        self._finisher.drain()
        restarted = self._unfinished_units()
        gc.collect()  # the error's traceback may be part of a cycle that holds the batch's tensors
        torch.cuda.empty_cache()
        self._feed.forget_begun()
        if not restarted:  # all were dropped
            return
        unit = restarted[0].unit
        batches = self._batches(half_rows(unit.batch_rows, unit), unit)
        self._started_units.clear()
        for flight in restarted:
            self._forget_frames(flight.unit.id)
            flight.unit = replace(flight.unit, batch_rows=batches.network.rows, exact=batches.exact)
            self._begin(flight)

    # Called by the finisher's threads.

    def _note_frame(self, flight: UnitInFlight) -> None:
        with self._counting:
            if flight.is_dropped:
                return
            self._finished += 1
            self._frames_of[flight.unit.id] += 1
        self._progress_s = time.monotonic()

    def _encode(self, handle: FrameHandle, pixels: Pixels) -> Rendered:
        flight, position = handle
        has_text, origin = self._setup.picture_metadata, self._origins[flight.unit.model]
        text = picture_text(flight.unit.frames[position], origin) if has_text else ""
        return rendered(pixels, self._setup.format, text)

    def _judged(self, result: Rendered | Failure) -> Rendered | Failure:
        """Return a result, or in the place of an image of a single colour a failure, if the job wants none."""
        if self._setup.blank == "keep" or isinstance(result, Failure) or not result.blank:
            return result
        return Failure("blank image: required a picture, got a single colour", flagged=True)

    def _write_unit(self, flight: UnitInFlight) -> None:
        try:
            results = [self._judged(result) for result in flight.results if result is not None]
            began_s = time.monotonic()
            origin, seconds = self._origins[flight.unit.model], began_s - flight.started_s
            receipt = write_shard(self._ledger, flight.unit, results, origin, self._schema, seconds)
            rows, padding, waiting_s = self._meter.take()
            decoded_s, self._decoded_s = self._decoded_s, self._finisher.decode_s
            decode_s, write_s = self._decoded_s - decoded_s, time.monotonic() - began_s
            receipt = replace(receipt, rows=rows, padding=padding, waiting_s=waiting_s)
            receipt = replace(receipt, decode_s=decode_s, write_s=write_s)
            if not self._ledger.commit(receipt):  # another worker committed the unit first
                if receipt.file:
                    (self._ledger.folder.data / receipt.file).unlink(missing_ok=True)
                receipt = self._ledger.receipt(flight.unit.id) or receipt
            flight.settle(receipt)
        except BaseException as error:
            flight.fail(error)


def _recipes(units: Iterable[Unit]) -> Iterator[Recipe]:
    return (frame.recipe for unit in units for frame in unit.frames)
