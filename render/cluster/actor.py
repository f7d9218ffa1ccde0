"""The Ray actor of a worker. `ray list actors` shows its class by name."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import ray

from render.cluster.feed import DroppedError
from render.cluster.progress import Progress
from render.cluster.setup import Setup
from render.cluster.worker import Worker
from render.core import Receipt, Unit

__all__ = ["LOOK_S", "REPORT_S", "RenderWorker"]

REPORT_S = 0.5  # a worker reports as often, and at once when it wants more frames
LOOK_S = 0.02  # time between two looks at whether it wants more


class RenderWorker:
    """Ray actor around a worker, in a process of its own. Its methods only wait; the worker's threads do the work."""

    def __init__(self, setup: Setup, model: str) -> None:
        self._worker, self._submitted = Worker(setup, model), 0
        self._node = ray.get_runtime_context().get_node_id()

    async def render(self, number: int, unit: Unit) -> Receipt | None:
        """Render the unit that the driver gave as its `number`-th: Ray may start calls in another order.

        Returns None for a unit that was handed back or cancelled.
        """
        while self._submitted < number:
            await asyncio.sleep(LOOK_S)
        self._submitted += 1
        try:
            return await asyncio.wrap_future(self._worker.submit(unit))
        except DroppedError:
            return None

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
        return replace(self._worker.progress(), node=self._node)

    async def hand_back(self) -> None:
        """Give back the units that are not begun, and whatever comes from now on; finish the others."""
        self._worker.hand_back()

    async def cancel(self, unit: str) -> None:
        """Stop the unit with this id: another worker has committed it."""
        self._worker.cancel(unit)
