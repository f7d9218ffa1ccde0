"""Ray actors as workers, and the fault policy.

Ray restarts and retries nothing (`max_restarts=0`, `max_task_retries=0`); this module does. A worker that dies, or makes
no progress until the deadline, is replaced, and its units are given out again, each to a worker that holds no other. A
unit that two workers died with is split in halves, until the frame that kills workers is alone; that frame is put in
quarantine. Commits are exclusive, so a unit that is rendered twice is stored once. Which worker gets which unit is
decided in `dispatch.py`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Generator, Iterator
from functools import partial
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns on machines without GPUs

import ray
from ray.exceptions import RayError, RayTaskError

from render.cluster.crew import WorkerState, occupation
from render.cluster.dispatch import DEATHS_MAX, Dispatcher, Hand
from render.cluster.local_ray import RayLostError
from render.cluster.progress import Listener, Progress
from render.cluster.pulse import Pulse
from render.cluster.ray_link import RayLink
from render.cluster.reasons import last_line, reason_of
from render.cluster.worker import Setup, Worker
from render.core import ModelError, Receipt, RunError, StoreError, Unit
from render.job import Workforce
from render.store import Failure, Ledger, write_quarantine

__all__ = ["Cluster"]

FAILED_STARTS_MAX = 3  # workers in a row that do not start before the run ends
RESTARTS_MAX = 3  # of a local Ray, without a unit that is done between them
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


class Cluster:
    """Workers on Ray. A context manager: at its end the workers are killed, and Ray is shut down if it was started here."""

    def __init__(self, setup: Setup, workforce: Workforce, address: str | None, deadline_s: float) -> None:
        """`address` is that of a running Ray, None to start one; `deadline_s` the longest time without progress."""
        self._setup, self._workforce, self._deadline_s = setup, workforce, deadline_s
        self._link = RayLink(workforce, address)
        self._ledger = Ledger(setup.out)
        self._workers: list[WorkerState] = []
        self._failed_starts = 0  # in a row
        self._restarts = 0  # of Ray, since a unit was done
        self._is_full = False  # some workers found no free CPUs or GPUs
        self.ready_s: float | None = None  # time.monotonic() when the first worker was ready
        self._stage = ""  # of some worker

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            ray.kill(worker.actor)
        self._workers.clear()
        self._link.end()

    def render(self, units: Iterator[Unit], listener: Listener) -> Iterator[Receipt]:
        """Start Ray if it is not there, render units, and yield their receipts as they are committed.

        Raises RunError if the run can't go on: workers do not start, shards can't be written, or Ray is lost again and
        again.
        """
        count, is_done = 0, False
        with Pulse(listener, lambda: self._link.trouble or occupation(self._workers)) as told:
            while not is_done:
                try:
                    if not count:
                        self._link.start()
                        count = self._link.count_workers()
                        self._dispatcher = Dispatcher(units, self._ledger, count)
                    is_done = yield from self._turn(count, told)
                except RayLostError as lost:
                    self._restart(lost, told)

    def _turn(self, count: int, listener: Listener) -> Generator[Receipt, None, bool]:
        """Give out units, and take what comes meanwhile. Returns True when all is done."""
        self._link.check()
        self._assign(count)
        if self._reclaim_from_unstarted():
            self._assign(count)
        refs = [ref for worker in self._workers for ref in worker.refs]
        if not refs:
            return True
        polls = [self._ask(worker) for worker in self._workers]
        ray.wait([*refs, *polls], timeout=REPORT_S)
        self._take_reports(listener)  # before results: a worker that died right after it was up counts as started
        for ref in ray.wait(refs, num_returns=len(refs), timeout=0)[0]:
            yield from self._collect(ref, listener)
        yield from self._replace_stalled(listener)
        return False

    def _restart(self, lost: RayLostError, listener: Listener) -> None:
        """Start a local Ray anew; what the workers had is rendered again, and nobody is to blame. Raises RunError."""
        for worker in self._workers:
            self._dispatcher.requeue(list(worker.refs.values()))
        self._workers.clear()
        while True:
            if not self._link.restarts:
                raise RunError(str(lost)) from lost
            if self._restarts >= RESTARTS_MAX:
                raise RunError(f"{lost}; it was started anew {RESTARTS_MAX} times, and no unit was done") from lost
            self._restarts += 1
            listener.lost(f"{lost}; Ray is started anew")
            try:
                self._link.restart()
            except RayLostError as error:
                lost = error
            else:
                return

    def _assign(self, count: int) -> None:
        """Give units to the workers that want more, and start workers, up to `count`, while all others hold units."""
        while True:
            starting = self._may_start(count) and all(worker.refs for worker in self._workers)
            given = self._dispatcher.next([worker.hand for worker in self._workers], starting)
            if given is None:
                return
            hand, load = given
            try:
                if hand is None:
                    self._workers.append(self._start_worker(load.unit))
                    hand = self._workers[-1].hand
                worker = next(one for one in self._workers if one.hand is hand)
                ref = self._link.call(partial(worker.actor.render.remote, hand.given, load.unit))
            except RayLostError:
                self._dispatcher.requeue([load.unit])
                raise
            if not worker.refs:
                worker.progress_s = time.monotonic()
            worker.refs[ref] = load.unit
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

    def _cancel(self, unstarted: list[WorkerState]) -> None:
        """Kill workers that are not up and requeue their units. This counts as no failure of either."""
        for worker in unstarted:
            self._workers.remove(worker)
            ray.kill(worker.actor)
            self._dispatcher.requeue(list(worker.refs.values()))

    def _may_start(self, count: int) -> bool:
        """Return whether to start one of `count` workers; on a full cluster only one at a time may try."""
        trying = self._is_full and not all(worker.started for worker in self._workers)
        return len(self._workers) < count and not trying

    def _start_worker(self, unit: Unit) -> WorkerState:
        """Start a worker that loads the model of a unit first."""
        force = self._workforce
        actor_class = ray.remote(num_cpus=force.threads, num_gpus=force.gpus, max_restarts=0, max_task_retries=0)(
            _Actor
        )
        actor: Any = self._link.call(partial(actor_class.remote, self._setup, unit.model))
        return WorkerState(actor, Hand(unit.model))

    def _collect(self, ref: Any, listener: Listener) -> Iterator[Receipt]:
        """Take the result of a unit: yield its receipt, or handle the error that it ended with."""
        worker = next((worker for worker in self._workers if ref in worker.refs), None)
        if worker is None:  # it was replaced while this loop's results were taken
            return
        try:
            receipt: Receipt = ray.get(ref)
        except RayTaskError as error:
            cause = error.as_instanceof_cause()  # type: ignore[no-untyped-call]
            # One that can't load its next model counts as not started.
            worker.started = not isinstance(cause, ModelError)
            if isinstance(cause, (OSError, StoreError, RunError, MemoryError)):
                raise RunError(f"unit {worker.refs[ref].id}: {last_line(error)}") from error
            yield from self._replace(worker, str(error), listener)
        except RayError as error:
            self._link.check()  # without Ray no worker lives, and none is to blame
            yield from self._replace(worker, str(error), listener)
        else:
            del worker.hand.units[worker.refs.pop(ref).id]
            self._failed_starts = self._restarts = 0
            self.ready_s = self.ready_s or time.monotonic() - receipt.seconds  # it had no time to report
            yield receipt

    def _replace(self, worker: WorkerState, reason: str, listener: Listener) -> Iterator[Receipt]:
        """Kill a worker; requeue its units, whole or in halves, or put a single frame in quarantine."""
        self._failed_starts = 0 if worker.started else self._failed_starts + 1
        if self._failed_starts >= FAILED_STARTS_MAX:
            raise RunError(f"workers: {FAILED_STARTS_MAX} in a row did not start: {reason_of(reason)}")
        listener.lost(reason_of(reason))
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

    def _ask(self, worker: WorkerState) -> Any:
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
                self._link.check()
                if not worker.refs:  # else its units end with the same error, which _collect handles
                    self._workers.remove(worker)  # to ask it again would fail at once, again and again
                    ray.kill(worker.actor)
                    listener.lost(reason_of(error))
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
