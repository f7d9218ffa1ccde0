"""Workers on Ray, and the fault policy.

Ray restarts and retries nothing (`max_restarts=0`, `max_task_retries=0`); this module does. A worker that dies, or makes
no progress until the deadline, is replaced, and its units are given out again, each to a worker that holds no other. A
unit that two workers died with is split in halves, until the frame that kills workers is alone; that frame is put in
quarantine. Commits are exclusive, so a unit that is rendered twice is stored once. Which worker gets which unit is
decided in `dispatch.py`, how many workers there may be in `scale.py`.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Generator, Iterator
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns on machines without GPUs

import ray
from ray.exceptions import RayError, RayTaskError

from render.cluster.actor import REPORT_S
from render.cluster.crew import Crew, WorkerState, occupation
from render.cluster.dispatch import DEATHS_MAX, MACHINE_SHARE, Dispatcher
from render.cluster.leaving import Leaving
from render.cluster.local_ray import RayLostError
from render.cluster.pulse import Pulse
from render.cluster.ray_link import RayLink
from render.cluster.reasons import MACHINE, last_line, reason_of
from render.cluster.reports import Reports
from render.cluster.scale import Scale
from render.cluster.setup import Setup
from render.core import CrewListener, ModelError, Receipt, RunError, StoreError, Unit
from render.job import Workforce
from render.store import Failure, Ledger, write_quarantine

__all__ = ["Cluster"]

RESTARTS_MAX = 3  # of a local Ray, without a unit that is done between them


class Cluster:
    """Workers on Ray. A context manager: at its end the workers are killed, and Ray is shut down if it was started here."""

    def __init__(self, setup: Setup, workforce: Workforce, address: str | None, deadline_s: float) -> None:
        """`address` is that of a running Ray, None to start one; `deadline_s` the longest time without progress."""
        self._deadline_s = deadline_s
        self._link = RayLink(workforce, address)
        self._scale = Scale(self._link, workforce)
        self._crew = Crew(self._link, setup, workforce)
        self._reports = Reports(self._crew)
        self._ledger = Ledger(setup.out)
        self._restarts = 0  # of Ray, since a unit was done
        self._listener: CrewListener | None = None

    @property
    def ready_s(self) -> float | None:
        """time.monotonic() when the first worker was ready; None before."""
        return self._reports.ready_s

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self._crew.kill_all()
        if not self._scale.end() and self._listener:
            self._listener.warn(
                "the cluster's autoscaler was asked for machines, and it is not known whether that was taken back:"
                " docs/cluster.md, Workers come and go, has the command that does"
            )
        self._link.end()

    def render(self, units: Iterator[Unit], listener: CrewListener) -> Iterator[Receipt]:
        """Start Ray if it is not there, render units, and yield their receipts as they are committed.

        Raises RunError if the run can't go on: workers do not start, shards can't be written, or Ray is lost again and
        again.
        """
        self._listener, is_begun, is_done = listener, False, False
        with Pulse(listener, self._occupation) as told:
            try:
                while not is_done:
                    try:
                        if not is_begun:
                            self._link.start()
                            self._scale.start()
                            self._dispatcher, is_begun = Dispatcher(units, self._ledger, self._scale.workers_max), True
                            self._leaving = Leaving(self._crew, self._dispatcher)
                        is_done = yield from self._turn(told)
                    except RayLostError as lost:
                        self._restart(lost, told)
            finally:
                for worker in self._crew.workers:
                    told.worker_gone(worker.name, "")

    def _occupation(self) -> str:
        """Say what the run waits for."""
        lack = f"machines to join ({self._scale.lack})" if self._scale.lack else ""
        return self._link.trouble or lack or occupation(self._crew.workers)

    def _check_room(self) -> None:
        """Raise RunError when no worker is up, and none has fitted on any machine until the deadline."""
        lack_s, is_up = self._scale.lack_s, any(worker.started for worker in self._crew.workers)
        if lack_s > self._deadline_s and not is_up:
            raise RunError(f"workers: {self._scale.lack}; waited {lack_s:.0f} s for machines to join")

    def _turn(self, listener: CrewListener) -> Generator[Receipt, None, bool]:
        """Give out units, and take what comes meanwhile. Returns True when all is done."""
        self._link.check()
        self._follow_scale(listener)
        self._check_room()
        self._assign(listener)
        if self._reclaim_from_unplaced(listener):
            self._assign(listener)
        refs = [ref for worker in self._crew.workers for ref in worker.refs]
        if not refs:
            return True
        ray.wait([*refs, *self._reports.ask(self._dispatcher.is_empty)], timeout=REPORT_S)
        self._take_reports(listener)  # before results: a worker that died right after it was up counts as started
        for ref in ray.wait(refs, num_returns=len(refs), timeout=0)[0]:
            yield from self._collect(ref, listener)
        yield from self._replace_stalled(listener)
        return False

    def _restart(self, lost: RayLostError, listener: CrewListener) -> None:
        """Start a local Ray anew; what the workers had is rendered again, and nobody is to blame. Raises RunError."""
        held = {unit.id: unit for worker in self._crew.workers for unit in worker.refs.values()}
        if held:
            self._dispatcher.requeue(list(held.values()))
        self._crew.forget(listener, str(lost))
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

    def _follow_scale(self, listener: CrewListener) -> None:
        """Take in which machines have joined the cluster, have left it, or are to end."""
        crew, before, is_new = self._crew, self._scale.workers_max, self._scale.look()
        self._leaving.follow(self._scale.ends, listener)
        if is_new:
            surplus = max(0, len(crew.staying) - self._scale.workers_max)
            self._cancel(crew.unplaced[::-1][:surplus], listener)  # a machine is gone that had room for them
            if self._scale.workers_max > before:
                crew.starts.note_machines()
        self._dispatcher.workers = max(1, len(crew.staying)) if crew.starts.is_full else self._scale.workers_max
        busy = [worker for worker in crew.workers if worker.refs]
        self._scale.ask(self._dispatcher.units_left + sum(len(worker.refs) for worker in busy), len(busy))

    def _assign(self, listener: CrewListener) -> None:
        """Give units to the workers that want more, and start workers while all others hold units."""
        crew = self._crew
        while True:
            starting = self._may_start() and all(worker.refs for worker in crew.staying)
            given = self._dispatcher.next(crew.hands, starting)
            if given is None:
                return
            hand, load = given
            try:
                if hand is None:
                    memory_bytes = 0 if crew.starts.is_full else self._scale.memory_bytes  # it is all that may lack
                    worker = crew.start(load.unit.model, memory_bytes)
                else:
                    worker = next(one for one in crew.workers if one.hand is hand)
                is_idle = not worker.refs
                crew.give(worker, load.unit)
            except RayLostError:
                self._dispatcher.requeue([load.unit], crew.hands)
                raise
            if is_idle:
                worker.progress_s = time.monotonic()
            worker.hand.give(load)
            listener.unit_given(load.unit.id, worker.name)

    def _reclaim_from_unplaced(self, listener: CrewListener) -> bool:
        """Requeue what as many workers without a place hold as are idle, and got no copy of it. Return if any was."""
        holders = Counter(unit for hand in self._crew.hands for unit in hand.units)
        unplaced = [one for one in self._crew.unplaced if any(holders[unit] == 1 for unit in one.hand.units)]
        idle = sum(worker.started and not worker.refs for worker in self._crew.staying)
        self._cancel(unplaced[::-1][:idle], listener)
        return bool(unplaced and idle)

    def _replace_stalled(self, listener: CrewListener) -> Iterator[Receipt]:
        """Replace workers without progress until the deadline; cancel those that found no free CPUs or GPUs to start."""
        workers, now = self._crew.workers, time.monotonic()
        stalled = [worker for worker in workers if worker.refs and now - worker.progress_s > self._deadline_s]
        unplaced = [worker for worker in stalled if not worker.is_placed] if any(w.is_placed for w in workers) else []
        self._crew.starts.is_full |= bool(unplaced)
        self._cancel(unplaced, listener)
        for worker in stalled:
            if worker not in unplaced:
                yield from self._replace(worker, f"no progress for {self._deadline_s:g} s", listener)

    def _cancel(self, workers: list[WorkerState], listener: CrewListener) -> None:
        """End workers, and requeue their units. This counts as no failure of either."""
        for worker in workers:
            self._leaving.let_go(worker, listener)

    def _may_start(self) -> bool:
        crew = self._crew
        return crew.starts.may_start(len(crew.staying), len(crew.unplaced), self._scale.workers_max, time.monotonic())

    def _collect(self, ref: Any, listener: CrewListener) -> Iterator[Receipt]:
        """Take the result of a unit: yield its receipt, or handle the error that it ended with."""
        worker = self._crew.holder_of(ref)
        if worker is None:  # it was replaced while this loop's results were taken, or has rendered what is committed
            return
        try:
            receipt: Receipt | None = ray.get(ref)
        except RayTaskError as error:
            cause = error.as_instanceof_cause()  # type: ignore[no-untyped-call]
            # One that can't load its next model counts as not started.
            worker.started = not isinstance(cause, ModelError)
            is_ours = isinstance(cause, (OSError, StoreError, RunError, MemoryError))
            if is_ours and not worker.hand.is_leaving:  # a machine near its end may have lost its disk or network
                raise RunError(f"unit {worker.refs[ref].id}: {last_line(error)}") from error
            yield from self._replace(worker, str(error), listener)
        except RayError as error:
            self._link.check()  # without Ray no worker lives, and none is to blame
            self._scale.look_soon()
            yield from self._replace(worker, str(error), listener)
        else:
            unit = worker.refs.pop(ref)
            worker.hand.drop(unit.id, is_done=receipt is not None)
            if receipt is None:  # handed back
                self._dispatcher.requeue([unit], self._crew.hands)
                return
            worker.started = True
            yield self._settle(unit, receipt, listener)

    def _settle(self, unit: Unit, receipt: Receipt, listener: CrewListener) -> Receipt:
        """Note that a unit is committed. Other workers that have it are told to stop: nobody waits for them."""
        self._restarts = 0
        for worker in self._crew.workers:
            for ref in [ref for ref, held in worker.refs.items() if held.id == unit.id]:
                del worker.refs[ref]
                worker.hand.drop(unit.id)
                worker.actor.cancel.remote(unit.id)
        self._reports.committed(len(unit.frames), receipt.seconds, listener)
        return receipt

    def _replace(self, worker: WorkerState, reason: str, listener: CrewListener) -> Iterator[Receipt]:
        """Kill a worker; requeue its units, whole or in halves, or put a single frame in quarantine."""
        crew = self._crew
        if worker.hand.is_leaving:  # its node has ended: nobody is to blame
            self._leaving.let_go(worker, listener)
            return
        why = reason_of(reason)
        share = MACHINE_SHARE if why.startswith(MACHINE) else 1.0
        if share == 1.0 and not worker.started:  # a start that ended with its machine has not failed
            self._note_failed_start(why)
        listener.lost(why)
        crew.kill(worker, why, listener)
        for unit in reversed(worker.refs.values()):
            if receipt := self._ledger.receipt(unit.id):  # it died before its answer came
                yield self._settle(unit, receipt, listener)
            elif not worker.started:
                self._dispatcher.requeue([unit], crew.hands)
            elif not self._dispatcher.blame(unit, crew.hands, share):
                yield self._quarantine(unit, reason, listener)

    def _note_failed_start(self, why: str) -> None:
        """Note a worker that did not start. Raises RunError after too many in a row, if no other worker is up."""
        if self._crew.starts.note_failure(time.monotonic()) and not any(one.started for one in self._crew.workers):
            raise RunError(f"workers: {self._crew.starts.failed} in a row did not start: {why}")

    def _quarantine(self, unit: Unit, reason: str, listener: CrewListener) -> Receipt:
        """Commit a unit of one frame without its frame. Returns its receipt."""
        failure = Failure(f"{DEATHS_MAX} workers died while rendering it: {reason}", DEATHS_MAX)
        write_quarantine(self._ledger, unit, {0: failure})
        receipt = Receipt.of_quarantined(unit)
        if not self._ledger.commit(receipt):  # a worker that was thought dead has, at this moment
            receipt = self._ledger.receipt(unit.id) or receipt
        return self._settle(unit, receipt, listener)

    def _take_reports(self, listener: CrewListener) -> None:
        for worker, error in self._reports.take(time.monotonic(), listener):
            self._link.check()
            if not worker.refs:  # else its units end with the same error, which _collect handles
                reason = "" if worker.hand.is_leaving else reason_of(error)
                self._crew.kill(worker, reason, listener)  # to ask it again would fail at once, again and again
                if reason:
                    listener.lost(reason)
