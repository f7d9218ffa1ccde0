"""How many workers a run may have: taken anew every few seconds, as machines join a cluster, leave it, or are to end.

Where the cluster has an autoscaler, it is asked for what the job needs; the request is taken back in the end. A request is
one for the whole cluster: the last run that asks is heard, and the end of another takes its request away. So it is repeated.
Every look but the first, and every request, is made in the link's background thread, since Ray's library may wait for a head
that does not answer. A Ray of the run's own has the workers that it was started for.
"""

from __future__ import annotations

import math
import time
from concurrent.futures import Future
from contextlib import suppress
from functools import partial

from render.cluster.ray_link import RayLink
from render.cluster.room import Node, bundle_of, fitting_workers, lack_of, shared_memory
from render.job import Workforce

__all__ = ["Scale"]

LOOK_S = 3.0  # between two looks at the cluster
WANTED_MAX = 512  # workers that an autoscaler is asked for at most
UNITS_EACH = 4  # units that are enough for a worker to be asked for, where the job does not say how many
REPEAT_S = 60.0  # after which a request is made again
END_S = 10.0  # for the last call to end


class Scale:
    """The workers that there is room for, and the machines that are to end."""

    def __init__(self, link: RayLink, workforce: Workforce) -> None:
        self._link, self._force = link, workforce
        self._looking: Future[list[Node]] | None = None
        self._looked_s = -math.inf
        self._asked: tuple[int, dict[str, float]] | None = None  # what an autoscaler was asked for last
        self._asking: Future[None] | None = None  # that call
        self._asked_s = -math.inf
        self.workers_max = 0  # that the run may have
        self.memory_bytes = 0  # that a worker is to ask for
        self.ends: dict[str, float] = {}  # Ray's id of a node → Unix time at which it ends
        self.lack = ""  # what a worker takes and what there is, while no worker fits on any machine
        self._fitted_s = time.monotonic()  # when one did last, or the run began

    @property
    def lack_s(self) -> float:
        """Seconds for which no worker has fitted on any machine."""
        return time.monotonic() - self._fitted_s if self.lack else 0.0

    def start(self) -> None:
        """Take the first look."""
        if self._link.restarts:
            self.workers_max = self._force.count or 1
            return
        self._take(self._link.call(self._link.nodes))

    def look(self) -> bool:
        """Take what a look at the cluster found, and begin another when it is time. Returns True after one."""
        if self._link.restarts:
            return False
        if self._looking is None:
            if time.monotonic() - self._looked_s >= LOOK_S:
                self._looked_s = time.monotonic()
                self._looking = self._link.background.begin(self._link.nodes)
            return False
        if not self._looking.done():
            return False
        looking, self._looking = self._looking, None
        with suppress(Exception):  # the head does not answer: the link's business
            self._take(looking.result())
            return True
        return False

    def look_soon(self) -> None:
        """Let the next look be one without a wait: a worker was lost, maybe with its machine."""
        self._looked_s = -math.inf

    def ask(self, units: int, busy: int) -> None:
        """Ask an autoscaler for the workers that are wanted while so many units are not done, and some workers busy."""
        if self._link.restarts:
            return
        count = self._force.count
        enough = math.ceil(units / UNITS_EACH) if count is None else min(count, units)
        asked = min(WANTED_MAX, max(busy, enough)), bundle_of(self._force, self.memory_bytes)
        has_failed = self._asking is not None and self._asking.done() and self._asking.exception() is not None
        age_s = time.monotonic() - self._asked_s
        if asked != self._asked or (asked[0] and age_s >= (LOOK_S if has_failed else REPEAT_S)):
            self._asked, self._asked_s = asked, time.monotonic()
            self._asking = self._link.background.begin(partial(self._link.request, *asked))

    def end(self) -> bool:
        """Take the request back. Returns False if that was not to be had."""
        if self._asked is None:
            return True
        taking = self._link.background.begin(partial(self._link.request, 0, {}))
        try:
            taking.result(END_S)
        except Exception:  # Ray's, or TimeoutError
            return False
        return True

    def _take(self, nodes: list[Node]) -> None:
        fitting = fitting_workers(nodes, self._force)
        self.lack = "" if fitting else lack_of(nodes, self._force)
        if fitting:
            self._fitted_s = time.monotonic()
        fitting = max(1, fitting)  # one looks for room
        self.workers_max = min(fitting, self._force.count or fitting)
        self.memory_bytes = shared_memory(nodes, self._force)
        self.ends = {node.id: node.ends_s for node in nodes if node.ends_s is not None}
