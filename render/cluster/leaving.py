"""Machines that are told of their end: their workers hand back what they have not begun, and finish the rest if they can."""

from __future__ import annotations

import time
from collections.abc import Mapping

from render.cluster.crew import Crew, WorkerState
from render.cluster.dispatch import Dispatcher
from render.core import CrewListener

__all__ = ["Leaving"]

EARLY_S = 2.0  # before the end of its machine, in which a worker that is still at work is let go


class Leaving:
    """The workers of a crew whose machines are to end."""

    def __init__(self, crew: Crew, dispatcher: Dispatcher) -> None:
        self._crew, self._dispatcher = crew, dispatcher

    def follow(self, ends: Mapping[str, float], listener: CrewListener) -> None:
        """Tell the workers on machines that are to end; let those go that are done, still load, or have no more time.

        `ends` has the Unix time of each machine's end, by Ray's id of it. A machine whose end is called off keeps its
        workers no less: another worker takes the place of one that has gone.
        """
        for worker in list(self._crew.workers):
            end_s = ends.get(worker.hand.report.node)
            if end_s is not None and not worker.hand.is_leaving:
                worker.hand.is_leaving = True
                if worker.started:
                    worker.actor.hand_back.remote()
            is_late = end_s is not None and time.time() > end_s - EARLY_S
            if worker.hand.is_leaving and (is_late or not (worker.started and worker.refs)):
                self.let_go(worker, listener)

    def let_go(self, worker: WorkerState, listener: CrewListener) -> None:
        """End a worker. Others render what it has, and nobody is to blame."""
        self._crew.kill(worker, "", listener)
        self._dispatcher.requeue(list(worker.refs.values()), self._crew.hands)
