"""Ray actors as workers, and the fault policy.

Ray restarts and retries nothing (`max_restarts=0`, `max_task_retries=0`); this module does. A worker that dies, or makes
no progress until the deadline, is replaced, and its units are given out again, each to a worker that holds no other. A
unit that two workers died with is split in halves, until the frame that kills workers is alone; that frame is put in
quarantine. Commits are exclusive, so a unit that is rendered twice is stored once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns on machines without GPUs

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from render.cluster.local_ray import start_local_ray
from render.cluster.signals import sigterm_kept
from render.cluster.worker import Progress, Setup, Worker
from render.core import ModelError, Receipt, RunError, StoreError, Unit
from render.job import Workforce
from render.store import Failure, Ledger, write_quarantine

__all__ = ["Cluster", "Listener"]

UNITS_AHEAD = 2  # units that a worker holds: while it finishes one, the next fills its batches
DEATHS_MAX = 2  # workers that may die with a unit before it is split
FAILED_STARTS_MAX = 3  # workers in a row that do not start before the run ends
POLL_S = 0.5


class Listener(Protocol):
    """Receiver of the workers' progress and losses."""

    def frames(self, count: int) -> None:
        """Note that `count` more frames are finished."""

    def lost(self, reason: str) -> None:
        """Note that a worker died or made no progress; its units will be rendered again."""


class _Actor:
    """Ray actor around a worker, in a process of its own. Its methods only wait; the worker's threads do the work."""

    def __init__(self, setup: Setup, model: str) -> None:
        self._worker = Worker(setup, model)

    async def render(self, unit: Unit) -> Receipt:
        return await asyncio.wrap_future(self._worker.submit(unit))

    async def progress(self) -> Progress:
        return self._worker.progress()


@dataclass(eq=False)
class _WorkerState:
    """The driver's record of one worker."""

    actor: Any  # Ray's handle
    model: str  # of the unit that it was given last
    units: dict[Any, Unit] = field(default_factory=dict)  # Ray object reference of the receipt → unit
    poll: Any = None  # object reference of the progress asked for, until it is answered
    polled_s: float = 0.0  # time.monotonic() of the last question
    progress_s: float = field(default_factory=time.monotonic)  # when it last made progress, or was given its only unit
    started: bool = False  # it has answered, so its process and model are up
    frames: int = 0  # finished


class Cluster:
    """Workers on Ray. A context manager: at its end the workers are killed, and Ray is shut down if it was started here."""

    def __init__(self, setup: Setup, workforce: Workforce, address: str | None, deadline_s: float) -> None:
        """`address` is that of a running Ray, None to start one; `deadline_s` the longest time without progress."""
        self._setup, self._workforce, self._address, self._deadline_s = setup, workforce, address, deadline_s
        self._ledger = Ledger(setup.out)
        self._workers: list[_WorkerState] = []
        self._requeued: deque[Unit] = deque()  # units to give out again, before new ones
        self._deaths: Counter[str] = Counter()  # by unit id
        self._suspects: set[str] = (
            set()
        )  # ids of units that a dead worker held, and of their halves: each goes out alone
        self._failed_starts = 0  # in a row
        self._is_full = False  # some workers found no free CPUs or GPUs
        self.ready_s: float | None = None  # time.monotonic() when the first worker was ready
        self._ray_folder: str | None = None
        self._owns_ray = False

    def __enter__(self) -> Cluster:
        self._owns_ray = not ray.is_initialized()
        with sigterm_kept():
            if self._owns_ray and self._address is None:
                self._ray_folder = tempfile.mkdtemp(prefix="render-")
                start_local_ray(self._workforce, self._ray_folder)
            elif self._owns_ray:
                ray.init(address=self._address, log_to_driver=False, logging_level=logging.ERROR)
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            ray.kill(worker.actor)
        self._workers.clear()
        if self._owns_ray:
            with sigterm_kept():
                ray.shutdown()
        if self._ray_folder:
            shutil.rmtree(self._ray_folder, ignore_errors=True)

    def render(self, units: Iterator[Unit], listener: Listener) -> Iterator[Receipt]:
        """Render units and yield their receipts as they are committed.

        Raises RunError if the run can't go on: workers do not start, or shards can't be written.
        """
        count = self._worker_count()
        while True:
            self._assign(units, count)
            if self._reclaim_from_unstarted():
                self._assign(units, count)
            refs = [ref for worker in self._workers for ref in worker.units]
            if not refs:
                return
            done, _ = ray.wait(refs, timeout=POLL_S)
            self._poll(listener)  # before the results: a worker that died right after it was up counts as started
            for ref in done:
                yield from self._collect(ref, listener)
            yield from self._replace_stalled(listener)

    def _worker_count(self) -> int:
        """Return the number of workers asked for, or else how many fit. Raises RunError if not even one does."""
        force = self._workforce
        if force.count is not None:
            return force.count
        has: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        fitting = has.get("CPU", 0) / force.threads
        if force.gpus:
            fitting = min(fitting, has.get("GPU", 0) / force.gpus)
        if fitting < 1:
            raise RunError(f"workers: required {force.threads} CPUs and {force.gpus:g} GPUs, got {has}")
        return int(fitting)

    def _assign(self, units: Iterator[Unit], count: int) -> None:
        """Give units to the workers that hold fewest, and start workers, up to `count`, while all others hold units.

        Among workers with equally few, one that has the unit's model comes first. Units come sorted by model, so a worker
        loads each model about once; to wait for a worker that has the model would cost more than it saves. A suspect gets
        a worker of its own: if that dies, no other unit is blamed.
        """
        while True:
            starting = self._may_start(count) and all(worker.units for worker in self._workers)
            idle = starting or any(not worker.units for worker in self._workers)
            if not idle and not any(map(self._has_room, self._workers)):
                return
            if (unit := self._next_unit(units, with_suspects=idle)) is None:
                return
            if starting:
                self._workers.append(self._start_worker(unit))
            alone = unit.id in self._suspects
            fitting = [one for one in self._workers if not one.units or (not alone and self._has_room(one))]
            worker = min(fitting, key=lambda one: (len(one.units), one.model != unit.model))
            worker.model = unit.model
            if not worker.units:
                worker.progress_s = time.monotonic()
            worker.units[worker.actor.render.remote(unit)] = unit

    def _has_room(self, worker: _WorkerState) -> bool:
        """Return True for a worker that may be given one more unit ahead."""
        return len(worker.units) < UNITS_AHEAD and not any(unit.id in self._suspects for unit in worker.units.values())

    def _next_unit(self, units: Iterator[Unit], with_suspects: bool) -> Unit | None:
        """Return the next unit to give out, those to give out again first; suspects only where a worker has none."""
        for place, unit in enumerate(self._requeued):
            if with_suspects or unit.id not in self._suspects:
                del self._requeued[place]
                return unit
        return next(units, None)

    def _reclaim_from_unstarted(self) -> bool:
        """Requeue the units of workers that are not up if another is idle: their node may be lost. Return if any was."""
        unstarted = [worker for worker in self._workers if worker.units and not worker.started]
        if not unstarted or all(worker.units for worker in self._workers if worker.started):
            return False
        self._cancel(unstarted)
        return True

    def _replace_stalled(self, listener: Listener) -> Iterator[Receipt]:
        """Replace workers without progress until the deadline; cancel those that found no free CPUs or GPUs to start."""
        stalled = [w for w in self._workers if w.units and time.monotonic() - w.progress_s > self._deadline_s]
        unplaced = [w for w in stalled if not w.started] if any(w.started for w in self._workers) else []
        self._is_full = self._is_full or bool(unplaced)
        self._cancel(unplaced)
        for worker in stalled:
            if worker not in unplaced:
                yield from self._replace(worker, f"no progress for {self._deadline_s:g} s", listener)

    def _cancel(self, unstarted: list[_WorkerState]) -> None:
        """Kill workers that are not up and requeue their units. This counts as no failure of either."""
        for worker in unstarted:
            self._workers.remove(worker)
            ray.kill(worker.actor)
            self._requeued.extend(worker.units.values())

    def _may_start(self, count: int) -> bool:
        """Return whether to start one of `count` workers; on a full cluster only one at a time may try."""
        trying = self._is_full and not all(worker.started for worker in self._workers)
        return len(self._workers) < count and not trying

    def _start_worker(self, unit: Unit) -> _WorkerState:
        """Start a worker that loads the model of a unit first."""
        force = self._workforce
        actor_class = ray.remote(num_cpus=force.threads, num_gpus=force.gpus, max_restarts=0, max_task_retries=0)(
            _Actor
        )
        actor: Any = actor_class.remote(self._setup, unit.model)
        first_poll = actor.progress.remote()  # is answered before any unit is done, as soon as the worker is up
        return _WorkerState(actor, unit.model, poll=first_poll)

    def _collect(self, ref: Any, listener: Listener) -> Iterator[Receipt]:
        """Take the result of a unit: yield its receipt, or handle the error that it ended with."""
        worker = next((worker for worker in self._workers if ref in worker.units), None)
        if worker is None:  # it was replaced while this loop's results were taken
            return
        try:
            receipt: Receipt = ray.get(ref)
        except RayActorError as error:
            yield from self._replace(worker, str(error), listener)
        except RayTaskError as error:
            cause = error.as_instanceof_cause()  # type: ignore[no-untyped-call]
            worker.started = not isinstance(
                cause, ModelError
            )  # one that can't load its next model counts as not started
            if isinstance(cause, (OSError, StoreError, MemoryError)):
                raise RunError(f"unit {worker.units[ref].id}: {_last_line(error)}") from error
            yield from self._replace(worker, str(error), listener)
        else:
            del worker.units[ref]
            self._failed_starts = 0
            yield receipt

    def _replace(self, worker: _WorkerState, reason: str, listener: Listener) -> Iterator[Receipt]:
        """Kill a worker; requeue its units, whole or in halves, or put a single frame in quarantine."""
        self._failed_starts = 0 if worker.started else self._failed_starts + 1
        if self._failed_starts >= FAILED_STARTS_MAX:
            raise RunError(f"workers: {FAILED_STARTS_MAX} in a row did not start: {_last_line(reason)}")
        listener.lost(_last_line(reason))
        self._workers.remove(worker)
        ray.kill(worker.actor)
        for unit in reversed(worker.units.values()):
            self._deaths[unit.id] += worker.started
            self._suspects |= {unit.id} if worker.started else set()
            if self._deaths[unit.id] < DEATHS_MAX:
                self._requeued.appendleft(unit)
            elif len(unit.frames) > 1:
                if self._ledger.split(unit):
                    self._suspects |= {half.id for half in unit.halves()}
                    self._requeued.extendleft(reversed(unit.halves()))
            else:
                yield from self._quarantine(unit, reason)

    def _quarantine(self, unit: Unit, reason: str) -> Iterator[Receipt]:
        """Commit a unit of one frame without its frame."""
        write_quarantine(self._ledger, unit, {0: Failure(f"{DEATHS_MAX} workers died while rendering it: {reason}")})
        receipt = Receipt.of_quarantined(unit)
        if self._ledger.commit(receipt):
            yield receipt

    def _poll(self, listener: Listener) -> None:
        """Ask every worker for its progress and take the answers; one that has not answered is not asked again."""
        now = time.monotonic()
        for worker in self._workers:
            if worker.poll is None and now - worker.polled_s >= POLL_S:
                worker.poll, worker.polled_s = worker.actor.progress.remote(), now
            elif worker.poll is not None and ray.wait([worker.poll], timeout=0)[0]:
                poll, worker.poll = worker.poll, None
                try:
                    progress: Progress = ray.get(poll)
                except RayError:  # its units end with the same error, which _collect handles
                    continue
                if not worker.started:
                    worker.started, self._failed_starts, worker.progress_s = True, 0, now
                    self.ready_s = self.ready_s or now - progress.up_s
                worker.progress_s = max(worker.progress_s, now - progress.idle_s)
                listener.frames(progress.frames - worker.frames)
                worker.frames = progress.frames


def _last_line(error: object) -> str:
    """Return the line that names the error, without Ray's remote traceback and list of common causes."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = next((line for line in reversed(lines) if "Error" in line), lines[-1] if lines else repr(error))
    return last.partition(" Some common causes include")[0]
