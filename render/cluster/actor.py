"""The Ray actor of a worker. `ray list actors` shows its class by name."""

from __future__ import annotations

import asyncio
import platform
import time
from concurrent.futures import Future
from dataclasses import replace
from threading import Thread

import ray

from render.cluster.feed import DroppedError
from render.cluster.progress import LOADING, STAGE_S, Progress
from render.cluster.setup import Setup
from render.cluster.worker import Worker
from render.core import ModelError, Receipt, Unit

__all__ = ["LOOK_S", "REPORT_S", "RenderWorker"]

REPORT_S = 0.5  # a worker reports as often, and at once when it wants more frames
LOOK_S = 0.02  # time between two looks at whether it wants more


class RenderWorker:
    """Ray actor around a worker, in a process of its own. Its methods only wait; the worker's threads do the work.

    It is up at once and loads its model in a thread, so that the driver can tell it from one that Ray has no room for.
    If the model can't be loaded, every method raises ModelError.
    """

    def __init__(self, setup: Setup, model: str) -> None:
        self._loading, self._submitted = Future[Worker](), 0
        self._node, self._began_s = ray.get_runtime_context().get_node_id(), time.monotonic()
        Thread(target=self._load, args=(setup, model), name="load", daemon=True).start()

    def _load(self, setup: Setup, model: str) -> None:
        try:
            self._loading.set_result(Worker(setup, model))
        except ModelError as error:
            self._loading.set_exception(error)
        except BaseException as error:
            self._loading.set_exception(ModelError(f"workers: required to start, got {type(error).__name__}: {error}"))

    async def _loaded(self) -> Worker:
        return await asyncio.wrap_future(self._loading)

    async def render(self, number: int, unit: Unit) -> Receipt | None:
        """Render the unit that the driver gave as its `number`-th: Ray may start calls in another order.

        Returns None for a unit that was handed back or cancelled.
        """
        worker = await self._loaded()
        while self._submitted < number:
            await asyncio.sleep(LOOK_S)
        self._submitted += 1
        try:
            return await asyncio.wrap_future(worker.submit(unit))
        except DroppedError:
            return None

    async def progress(self, heard: int, last: int | None) -> Progress:
        """Report after REPORT_S, or as soon as the worker is up or wants more units.

        `heard` is the number of units at which the driver has heard that before; `last` the number after which no more
        come, None if that is not known.
        """
        for _ in range(round(REPORT_S / LOOK_S)):
            if self._loading.done():
                report = self._loading.result().progress()
                if report.units == last:
                    self._loading.result().expect_no_more()
                elif report.wants_more and report.units != heard:
                    break
            await asyncio.sleep(LOOK_S)
        return self._report()

    def _report(self) -> Progress:
        if self._loading.done():
            return replace(self._loading.result().progress(), node=self._node)
        idle_s = max(0.0, time.monotonic() - self._began_s - STAGE_S)
        return Progress(idle_s=idle_s, stage=LOADING, host=platform.node(), node=self._node)

    async def hand_back(self) -> None:
        """Give back the units that are not begun, and whatever comes from now on; finish the others."""
        (await self._loaded()).hand_back()

    async def cancel(self, unit: str) -> None:
        """Stop the unit with this id: another worker has committed it."""
        (await self._loaded()).cancel(unit)
