"""The driver over workers that nothing runs behind: its own logic, without Ray.

Test files import this module first, which pytest would take for a mistake: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from light_workers import Watch

from render.cluster.crew import WorkerState
from render.cluster.dispatch import Dispatcher
from render.cluster.driver import Cluster
from render.cluster.hand import Hand, Load
from render.cluster.leaving import Leaving
from render.cluster.progress import Progress
from render.cluster.reports import Reports
from render.cluster.starts import Starts
from render.core.unit import Unit
from render.store.ledger import Ledger

LOST = "The actor died unexpectedly.\n\tip: 10.0.0.7\nThe actor died because its node has died. Node Id: 3f"
KILLED = "ActorDiedError: the worker died"


class Actor:
    """Takes what it is told, and does nothing."""

    def __getattr__(self, _: str) -> Any:
        return SimpleNamespace(remote=lambda *_: None)


class Crew:
    """Takes the place of the driver's crew."""

    def __init__(self) -> None:
        self.workers: list[WorkerState] = []
        self.starts, self._number = Starts(), 0
        self.killed: list[WorkerState] = []

    @property
    def hands(self) -> list[Hand]:
        return [worker.hand for worker in self.workers]

    @property
    def staying(self) -> list[WorkerState]:
        return [worker for worker in self.workers if not worker.hand.is_leaving]

    @property
    def unplaced(self) -> list[WorkerState]:
        return [worker for worker in self.workers if not worker.is_placed]

    def start(self, model: str, memory_bytes: int) -> WorkerState:
        self._number += 1
        self.workers.append(WorkerState(Actor(), Hand(model), f"w{self._number}"))
        return self.workers[-1]

    def give(self, worker: WorkerState, unit: Unit) -> None:
        worker.refs[object()] = unit

    def holder_of(self, ref: Any) -> WorkerState | None:
        return next((worker for worker in self.workers if ref in worker.refs), None)

    def add(self, started: bool, *units: Unit, node: str = "") -> WorkerState:
        """Add a worker with units: one that is up or not, on a machine or on none."""
        worker = self.start("main", 0)
        worker.started, worker.hand.report = started, Progress(up_s=float(started), node=node)
        for unit in units:
            self.give(worker, unit)
            worker.hand.give(Load(unit))
        return worker

    def kill(self, worker: WorkerState, reason: str, listener: Watch) -> None:
        self.workers.remove(worker)
        self.killed.append(worker)
        listener.worker_gone(worker.name, reason)


def make_cluster(out: Path, *units: Unit) -> Any:
    """A driver that looks at a cluster with room for eight workers."""
    ledger, cluster = Ledger(out), Cluster.__new__(Cluster)
    ledger.create()
    made: Any = cluster
    made._crew, made._ledger, made._dispatcher = Crew(), ledger, Dispatcher(iter(units), ledger, 8)
    made._leaving, made._reports = Leaving(made._crew, made._dispatcher), Reports(made._crew)
    made._scale = SimpleNamespace(workers_max=8, memory_bytes=0, ends={})
    made._scale.look, made._scale.ask, made._scale.look_soon = (lambda: True), (lambda *_: None), (lambda: None)
    made._link, made._restarts, made._deadline_s = SimpleNamespace(check=lambda: None), 0, 900.0
    return made
