"""Ray actors as workers, and the fault policy.

Ray restarts and retries nothing (`max_restarts=0`, `max_task_retries=0`); this module does. A worker that dies, or makes
no progress until the deadline, is replaced, and its units are given out again, each to a worker that holds no other. A
unit that two workers died with is split in halves, until the frame that kills workers is alone; that frame is put in
quarantine. Commits are exclusive, so a unit that is rendered twice is stored once. Which worker gets which unit is
decided in `dispatch.py`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns on machines without GPUs

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from render.cluster.dispatch import DEATHS_MAX, Dispatcher, Hand
from render.cluster.local_ray import start_local_ray
from render.cluster.progress import Listener, Progress
from render.cluster.signals import sigterm_kept
from render.cluster.worker import Setup, Worker
from render.core import ModelError, Receipt, RunError, StoreError, Unit
from render.job import Workforce
from render.store import Failure, Ledger, write_quarantine

__all__ = ["Cluster"]

FAILED_STARTS_MAX = 3  # workers in a row that do not start before the run ends
REPORT_S = 0.5  # a worker reports as often, and at once when it wants more frames
LOOK_S = 0.02  # time between two looks at whether it wants more


class _Actor:
    """Ray actor around a worker, in a process of its own. Its methods only wait; the worker's threads do the work."""

    def __init__(self, setup: Setup, model: str) -> None:
        self._worker, self._submitted = Worker(setup, model), 0

    async def render(self, number: int, unit: Unit) -> Receipt:
        """Render the unit that the driver gave as its `number`-th: Ray may start calls in another order."""
        while self._submitted < number:
            await asyncio.sleep(LOOK_S)
        self._submitted += 1
        return await asyncio.wrap_future(self._worker.submit(unit))

    async def progress(self, heard: int, last: int | None) -> Progress:
        """Report after REPORT_S, or as soon as the worker wants more units.

        `heard` is the number of units at which the driver has heard that before; `last` the number after which no more
        come, None if that is not known.
        """
        for _ in range(round(REPORT_S / LOOK_S)):
            report = self._worker.progress()
            if report.units == last:
                self._worker.expect_no_more()
            elif report.wants_more and report.units != heard:
                break
            await asyncio.sleep(LOOK_S)
        return self._worker.progress()


@dataclass(eq=False)
class _WorkerState:
    """The driver's record of one worker."""

    actor: Any  # Ray's handle
    hand: Hand  # the units that it holds
    refs: dict[Any, Unit] = field(default_factory=dict)  # Ray object reference of the receipt → unit
    poll: Any = None  # object reference of the report that it will give
    progress_s: float = field(default_factory=time.monotonic)  # when it last made progress, or was given its only unit
    started: bool = False  # it has answered, so its process and model are up


class Cluster:
    """Workers on Ray. A context manager: at its end the workers are killed, and Ray is shut down if it was started here."""

    def __init__(self, setup: Setup, workforce: Workforce, address: str | None, deadline_s: float) -> None:
        """`address` is that of a running Ray, None to start one; `deadline_s` the longest time without progress."""
        self._setup, self._workforce, self._address, self._deadline_s = setup, workforce, address, deadline_s
        self._ledger = Ledger(setup.out)
        self._workers: list[_WorkerState] = []
        self._failed_starts = 0  # in a row
        self._is_full = False  # some workers found no free CPUs or GPUs
        self.ready_s: float | None = None  # time.monotonic() when the first worker was ready
        self._stage = ""  # of some worker
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
        self._dispatcher = Dispatcher(units, self._ledger, count)
        while True:
            self._assign(count)
            if self._reclaim_from_unstarted():
                self._assign(count)
            refs = [ref for worker in self._workers for ref in worker.refs]
            if not refs:
                return
            polls = [self._ask(worker) for worker in self._workers]
            ray.wait([*refs, *polls], timeout=REPORT_S)
            self._take_reports(listener)  # before results: a worker that died right after it was up counts as started
            for ref in ray.wait(refs, num_returns=len(refs), timeout=0)[0]:
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

    def _assign(self, count: int) -> None:
        """Give units to the workers that want more, and start workers, up to `count`, while all others hold units."""
        while True:
            starting = self._may_start(count) and all(worker.refs for worker in self._workers)
            given = self._dispatcher.next([worker.hand for worker in self._workers], starting)
            if given is None:
                return
            hand, load = given
            if hand is None:
                self._workers.append(self._start_worker(load.unit))
                hand = self._workers[-1].hand
            worker = next(one for one in self._workers if one.hand is hand)
            if not worker.refs:
                worker.progress_s = time.monotonic()
            worker.refs[worker.actor.render.remote(hand.given, load.unit)] = load.unit
            hand.give(load)

    def _reclaim_from_unstarted(self) -> bool:
        """Requeue the units of workers that are not up if another is idle: their node may be lost. Return if any was."""
        unstarted = [worker for worker in self._workers if worker.refs and not worker.started]
        if not unstarted or all(worker.refs for worker in self._workers if worker.started):
            return False
        self._cancel(unstarted)
        return True

    def _replace_stalled(self, listener: Listener) -> Iterator[Receipt]:
        """Replace workers without progress until the deadline; cancel those that found no free CPUs or GPUs to start."""
        stalled = [w for w in self._workers if w.refs and time.monotonic() - w.progress_s > self._deadline_s]
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
            self._dispatcher.requeue(list(worker.refs.values()))

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
        return _WorkerState(actor, Hand(unit.model))

    def _collect(self, ref: Any, listener: Listener) -> Iterator[Receipt]:
        """Take the result of a unit: yield its receipt, or handle the error that it ended with."""
        worker = next((worker for worker in self._workers if ref in worker.refs), None)
        if worker is None:  # it was replaced while this loop's results were taken
            return
        try:
            receipt: Receipt = ray.get(ref)
        except RayActorError as error:
            yield from self._replace(worker, str(error), listener)
        except RayTaskError as error:
            cause = error.as_instanceof_cause()  # type: ignore[no-untyped-call]
            # One that can't load its next model counts as not started.
            worker.started = not isinstance(cause, ModelError)
            if isinstance(cause, (OSError, StoreError, RunError, MemoryError)):
                raise RunError(f"unit {worker.refs[ref].id}: {_last_line(error)}") from error
            yield from self._replace(worker, str(error), listener)
        else:
            del worker.hand.units[worker.refs.pop(ref).id]
            self._failed_starts = 0
            self.ready_s = self.ready_s or time.monotonic() - receipt.seconds  # it had no time to report
            yield receipt

    def _replace(self, worker: _WorkerState, reason: str, listener: Listener) -> Iterator[Receipt]:
        """Kill a worker; requeue its units, whole or in halves, or put a single frame in quarantine."""
        self._failed_starts = 0 if worker.started else self._failed_starts + 1
        if self._failed_starts >= FAILED_STARTS_MAX:
            raise RunError(f"workers: {FAILED_STARTS_MAX} in a row did not start: {_last_line(reason)}")
        listener.lost(_last_line(reason))
        self._workers.remove(worker)
        ray.kill(worker.actor)
        for unit in reversed(worker.refs.values()):
            if not worker.started:
                self._dispatcher.requeue([unit])
            elif not self._dispatcher.blame(unit):
                yield from self._quarantine(unit, reason)

    def _quarantine(self, unit: Unit, reason: str) -> Iterator[Receipt]:
        """Commit a unit of one frame without its frame."""
        failure = Failure(f"{DEATHS_MAX} workers died while rendering it: {reason}", DEATHS_MAX)
        write_quarantine(self._ledger, unit, {0: failure})
        receipt = Receipt.of_quarantined(unit)
        if self._ledger.commit(receipt):
            yield receipt

    def _ask(self, worker: _WorkerState) -> Any:
        """Return the reference of a worker's next report, which is asked for unless it was before."""
        if worker.poll is None:
            hand = worker.hand
            heard = hand.report.units if hand.report.wants_more else -1
            worker.poll = worker.actor.progress.remote(heard, hand.given if self._dispatcher.is_empty else None)
        return worker.poll

    def _take_reports(self, listener: Listener) -> None:
        now = time.monotonic()
        for worker in list(self._workers):
            if worker.poll is None or not ray.wait([worker.poll], timeout=0)[0]:
                continue
            poll, worker.poll = worker.poll, None
            try:
                report: Progress = ray.get(poll)
            except RayError as error:
                if not worker.refs:  # else its units end with the same error, which _collect handles
                    self._workers.remove(worker)  # to ask it again would fail at once, again and again
                    ray.kill(worker.actor)
                    listener.lost(_last_line(error))
                continue
            if not worker.started:
                worker.started, self._failed_starts, worker.progress_s = True, 0, now
                self.ready_s = self.ready_s or now - report.up_s
            worker.progress_s = max(worker.progress_s, now - report.idle_s)
            before = worker.hand.report
            listener.frames(report.frames - before.frames)
            listener.batches(report.rows - before.rows, report.padding - before.padding)
            worker.hand.take_report(report)
        stage = next((worker.hand.report.stage for worker in self._workers if worker.hand.report.stage), "")
        if stage != self._stage:
            self._stage = stage
            listener.stage(stage)


def _last_line(error: object) -> str:
    """Return the line that names the error, without Ray's remote traceback and list of common causes."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = next((line for line in reversed(lines) if "Error" in line), lines[-1] if lines else repr(error))
    return last.partition(" Some common causes include")[0]
