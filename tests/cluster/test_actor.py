"""A worker's actor while it loads its model: it answers at once, and renders once it is up. Without Ray."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from light_workers import make_units

from render.cluster import actor
from render.cluster.actor import RenderWorker
from render.cluster.progress import LOADING, STAGE_S, Progress
from render.core import ModelError

SETUP: Any = None
(UNIT,) = make_units(1, 1)


class SlowWorker:
    """Takes the place of the worker: it loads until a test lets it go on, or fails to."""

    go_on = Event()
    error: BaseException | None = None

    def __init__(self, setup: Any, model: str) -> None:
        assert self.go_on.wait(60)
        if self.error:
            raise self.error
        self.told: list[str] = []
        self.units = 0

    def submit(self, unit: Any) -> Future[str]:
        receipt = Future[str]()
        receipt.set_result(f"receipt of {unit.id}")
        self.units += 1
        return receipt

    def cancel(self, unit: str) -> None:
        self.told.append(unit)

    def progress(self) -> Progress:
        return Progress(up_s=1.0, units=self.units)


@pytest.fixture
def make_actor(monkeypatch: pytest.MonkeyPatch) -> Callable[..., RenderWorker]:
    context = SimpleNamespace(get_node_id=lambda: "a")
    monkeypatch.setattr(actor, "ray", SimpleNamespace(get_runtime_context=lambda: context))

    def make(error: BaseException | None = None) -> RenderWorker:
        kind: Any = type("Loading", (SlowWorker,), {"go_on": Event(), "error": error})
        monkeypatch.setattr(actor, "Worker", kind)
        made = RenderWorker(SETUP, "main")
        made.go_on = kind.go_on  # type: ignore[attr-defined]
        return made

    return make


def test_it_says_that_it_loads_and_renders_what_it_was_given_meanwhile(make_actor: Callable[..., Any]) -> None:
    async def run() -> None:
        one = make_actor()
        receipt, cancelled = asyncio.create_task(one.render(0, UNIT)), asyncio.create_task(one.cancel("00007"))
        report = await one.progress(0, None)
        assert (report.stage, report.node, report.is_up, report.idle_s) == (LOADING, "a", False, 0.0)
        assert report.host
        assert not receipt.done()
        one.go_on.set()
        assert await receipt == "receipt of 00000"
        await cancelled
        assert one._loading.result().told == ["00007"]
        report = await one.progress(0, None)
        assert (report.stage, report.node, report.is_up, report.units) == ("", "a", True, 1)

    asyncio.run(run())


def test_a_load_that_takes_too_long_makes_no_progress(make_actor: Callable[..., Any]) -> None:
    async def run() -> None:
        one = make_actor()
        one._began_s -= STAGE_S + 100.0
        assert 100.0 <= (await one.progress(0, None)).idle_s < 200.0
        one.go_on.set()

    asyncio.run(run())


@pytest.mark.parametrize("error", [ModelError("models: required 'main' to load"), OSError("no such mount")])
def test_a_model_that_does_not_load_is_told_by_every_method(
    make_actor: Callable[..., Any], error: BaseException
) -> None:
    """As ModelError whatever it was: an OSError from a shard ends the run, one from a start does not."""

    async def run() -> None:
        one = make_actor(error)
        one.go_on.set()
        for call in (one.render(0, UNIT), one.progress(0, None), one.cancel("00000"), one.hand_back()):
            with pytest.raises(ModelError, match=str(error)):
                await call

    asyncio.run(run())
