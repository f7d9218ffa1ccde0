"""What workers report, and who is told of it."""

from __future__ import annotations

import time
from typing import Any

import ray
from ray.exceptions import RayError

from render.cluster.crew import Crew, WorkerState
from render.cluster.progress import Progress
from render.cluster.tally import Tally
from render.core import CrewListener

__all__ = ["Reports"]


class Reports:
    """The reports of a crew's workers. Each worker is always asked for its next one."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._tally = Tally()
        self._stage = ""  # of some worker
        self._cards: dict[str, str] = {}  # kind of device → a host that has one
        self.ready_s: float | None = None  # time.monotonic() when the first worker was ready

    def ask(self, is_last: bool) -> list[Any]:
        """Return the references of the workers' next reports; `is_last` says that no more units come."""
        return [self._ask(worker, is_last) for worker in self._crew.workers]

    def _ask(self, worker: WorkerState, is_last: bool) -> Any:
        if worker.poll is None:
            hand = worker.hand
            heard = hand.report.units if hand.report.wants_more else -1
            worker.poll = worker.actor.progress.remote(heard, hand.given if is_last else None)
        return worker.poll

    def take(self, now: float, listener: CrewListener) -> list[tuple[WorkerState, RayError]]:
        """Take the reports that have come. Returns the workers that can't report any more, each with the reason."""
        broken = []
        for worker in self._crew.workers:
            if worker.poll is None or not ray.wait([worker.poll], timeout=0)[0]:
                continue
            poll, worker.poll = worker.poll, None
            try:
                report: Progress = ray.get(poll)
            except RayError as error:
                broken.append((worker, error))
                continue
            self._note(worker, report, now, listener)
        stages = (worker.hand.report.stage for worker in self._crew.workers if worker.started)
        stage = next(filter(None, stages), "")
        if stage != self._stage:
            self._stage = stage
            listener.stage(stage)
        return broken

    def committed(self, frames: int, seconds: float, listener: CrewListener) -> None:
        """Note a unit of so many frames, which took some seconds."""
        self.ready_s = self.ready_s or time.monotonic() - seconds  # its worker had no time to report
        self._tally.commit(frames)
        listener.frames(self._tally.rise(self._crew.hands))

    def _note(self, worker: WorkerState, report: Progress, now: float, listener: CrewListener) -> None:
        if not report.is_up:
            worker.progress_s = max(worker.progress_s, now - report.idle_s)
            worker.hand.take_report(report)
            return
        if not worker.started:
            worker.started, worker.progress_s = True, now
            self.ready_s = self.ready_s or now - report.up_s
        if not worker.is_known:
            worker.is_known = True
            self._crew.starts.note_success()
            listener.worker_up(worker.name, report.host, report.card)
        worker.progress_s = max(worker.progress_s, now - report.idle_s)
        before = worker.hand.report
        worker.hand.take_report(report)
        listener.frames(self._tally.rise(self._crew.hands))
        listener.batches(report.rows - before.rows, report.padding - before.padding)
        self._compare(report, listener)

    def _compare(self, report: Progress, listener: CrewListener) -> None:
        """Tell the first time that a worker has another device than those before it."""
        if not report.card or report.card in self._cards:
            return
        self._cards[report.card] = report.host
        if len(self._cards) > 1:
            devices = ", ".join(f"{card} ({host})" for card, host in self._cards.items())
            listener.warn(
                f"workers have different devices: {devices}; the last bits of a frame depend on the one that"
                " renders it, which column `device` names"
            )
