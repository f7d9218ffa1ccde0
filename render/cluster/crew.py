"""The workers of a run that are alive: start them, and let them go."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import uuid4

import ray

from render.cluster.actor import RenderWorker
from render.cluster.hand import Hand
from render.cluster.ray_link import RayLink
from render.cluster.setup import Setup
from render.cluster.starts import Starts
from render.core import CrewListener, Unit, counted
from render.job import Workforce

__all__ = ["Crew", "WorkerState", "occupation"]

UNNAMED = re.compile(r"[^A-Za-z0-9._-]+")  # characters that an actor's name has no place for


@dataclass(eq=False)
class WorkerState:
    """The driver's record of one worker."""

    actor: Any  # Ray's handle
    hand: Hand  # the units that it holds
    name: str = ""  # of the actor
    refs: dict[Any, Unit] = field(default_factory=dict)  # Ray object reference of the receipt → unit
    poll: Any = None  # object reference of the report that it will give
    progress_s: float = field(default_factory=time.monotonic)  # when it last made progress, or was given its only unit
    started: bool = False  # it has answered, so its process and model are up
    is_known: bool = False  # the listener was told that it is up

    @property
    def is_placed(self) -> bool:
        """True once Ray has found room for it: its process has reported, though it may still load its model."""
        return self.started or bool(self.hand.report.node)


class Crew:
    """The living workers, each a Ray actor `render-JOB-NUMBER` in a namespace of the run's own."""

    def __init__(self, link: RayLink, setup: Setup, workforce: Workforce) -> None:
        self._link, self._setup, self._force = link, setup, workforce
        self._name = f"render-{UNNAMED.sub('-', setup.out.name)}"
        self._namespace = f"render-{uuid4().hex[:12]}"  # two runs may have one name
        self._number = 0  # of workers, ever
        self.workers: list[WorkerState] = []
        self.starts = Starts()

    @property
    def hands(self) -> list[Hand]:
        return [worker.hand for worker in self.workers]

    @property
    def staying(self) -> list[WorkerState]:
        """The workers whose nodes are not about to end."""
        return [worker for worker in self.workers if not worker.hand.is_leaving]

    @property
    def unplaced(self) -> list[WorkerState]:
        """The workers that Ray has not found room for yet."""
        return [worker for worker in self.workers if not worker.is_placed]

    def start(self, model: str, memory_bytes: int) -> WorkerState:
        """Start a worker that loads a model first. Ray chooses a node where it has room, now or later."""
        self._number += 1
        name, force = f"{self._name}-{self._number}", self._force
        memory: dict[str, Any] = {"memory": memory_bytes} if memory_bytes else {}
        actor_class: Any = ray.remote(
            num_cpus=force.threads, num_gpus=force.gpus, max_restarts=0, max_task_retries=0, **memory
        )(RenderWorker)
        begin = partial(actor_class.options(name=name, namespace=self._namespace).remote, self._setup, model)
        actor: Any = self._link.call(begin)
        self.workers.append(WorkerState(actor, Hand(model), name))
        return self.workers[-1]

    def give(self, worker: WorkerState, unit: Unit) -> None:
        """Have a worker render a unit. The record of its hand is the caller's."""
        ref = self._link.call(partial(worker.actor.render.remote, worker.hand.given, unit))
        worker.refs[ref] = unit

    def holder_of(self, ref: Any) -> WorkerState | None:
        """Return the worker that a receipt is expected from; None if it is gone, or not wanted any more."""
        return next((worker for worker in self.workers if ref in worker.refs), None)

    def kill(self, worker: WorkerState, reason: str, listener: CrewListener) -> None:
        """Kill a worker; what it held is the caller's business. An empty reason is for one that ends as it should."""
        self.workers.remove(worker)
        ray.kill(worker.actor)
        listener.worker_gone(worker.name, reason)

    def forget(self, listener: CrewListener, reason: str) -> None:
        """Forget all workers, whose Ray is gone."""
        for worker in self.workers:
            listener.worker_gone(worker.name, reason)
        self.workers.clear()

    def kill_all(self) -> None:
        for worker in self.workers:
            ray.kill(worker.actor)
        self.workers.clear()


def occupation(workers: Sequence[WorkerState]) -> str:
    """Say what a run with these workers waits for."""
    if not any(worker.started for worker in workers):
        loading = sum(worker.is_placed for worker in workers)
        starting = len(workers) - loading
        parts = [f"{counted(loading, 'worker')} to load a model"] if loading else []
        parts += [f"{counted(starting, 'worker')} to start"] if starting else []
        return " and ".join(parts) or "Ray to start"
    quiet = [time.monotonic() - worker.progress_s for worker in workers if worker.refs and worker.started]
    if not quiet:
        return "the last results"
    return f"{counted(len(quiet), 'worker')} at work, the last sign of life {max(0.0, min(quiet)):.0f} s ago"
