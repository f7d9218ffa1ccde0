"""Models that a worker loads, one at a time, and prompts that it encodes ahead."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from workers import ROWS, MakeWorker, make_setup, make_unit, render_units, rows_of, start_together, units_of

import render.cluster.worker
from render.cluster.worker import Worker
from render.core.errors import ModelError
from render.core.recipe import Recipe
from render.core.unit import Frame
from render.engine.batch import Batch
from render.engine.renderer import Renderer
from render.models.model import Model, resolve_model
from render.store.ledger import Ledger

pytest_plugins = ["stores", "workers"]
pytestmark = pytest.mark.slow


def test_a_worker_loads_its_own_renderer(starter: Model, ledger: Ledger, frames: list[Frame]) -> None:
    worker = Worker(replace(make_setup(starter, ledger), format="webp"), "main")
    (receipt,) = render_units(worker, [make_unit(0, frames[4:5])])
    worker.close()
    assert worker.progress().frames == 1
    (row,) = rows_of(ledger, receipt)
    assert row["image"]["path"] == "still-1-00000.webp"
    assert (row["device"].endswith(", 1 thread"), row["dtype"], row["model"]) == (True, "float32", "starter")


@pytest.fixture
def two_models(starter: Model, sibling: Path) -> dict[str, Model]:
    return {"main": starter, "soft": resolve_model(str(sibling), None, Path.cwd())}


def test_one_model_is_held_at_a_time(
    two_models: dict[str, Model],
    ledger: Ledger,
    renderer: Renderer,
    make_worker: MakeWorker,
    frames: list[Frame],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The old pipeline has decoded its last frame and is gone before the new one is loaded."""
    loaded: list[str] = []
    pipelines: list[weakref.ref[Renderer]] = []
    decoded: list[Frame] = []
    decode = Renderer.decode

    def load(model: Model, *_: object) -> Renderer:
        assert all(pipeline() is None for pipeline in pipelines), "the old pipeline is still held"
        if loaded:
            assert len(decoded) == len(loaded) * 2
        loaded.append(model.id)
        pipelines.append(weakref.ref(held := copy(renderer)))
        return held

    def watched(
        self: Renderer, latents: Sequence[Tensor], tiled: bool, batch: Batch
    ) -> list[NDArray[np.uint8] | ValueError]:
        decoded.append(frames[0])
        return decode(self, latents, tiled, batch)

    monkeypatch.setattr(Renderer, "decode", watched)
    gate = start_together(renderer, monkeypatch)
    names = ["main", "soft", "main"]
    monkeypatch.setattr(render.cluster.worker, "Renderer", load)
    worker = make_worker(models=two_models)
    units = [make_unit(n, frames[n : n + 2], model=name) for n, name in enumerate(names)]
    futures = [worker.submit(unit) for unit in units]
    gate.set()
    receipts = [future.result(100) for future in futures]
    main, soft = (model.id for model in two_models.values())
    assert loaded == [main, soft, main]
    stored = [{row["model"] for row in rows_of(ledger, receipt)} for receipt in receipts]
    assert stored == [{main}, {soft}, {main}]


def test_a_model_that_cannot_be_loaded_reaches_every_future(
    starter: Model, make_worker: MakeWorker, renderer: Renderer, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = start_together(renderer, monkeypatch)
    worker = make_worker(models={"main": starter, "gone": replace(starter, id="/gone")})
    futures = [worker.submit(make_unit(n, frames[n : n + 1], model="gone")) for n in (1, 2)]
    first = worker.submit(make_unit(0, frames[:1]))
    gate.set()
    for future in futures:
        with pytest.raises(ModelError, match=r"required 'gone' to load, got ModelError: .*'/gone'"):
            future.result(100)
    with pytest.raises(ModelError):
        first.result(100)
    with pytest.raises(ModelError):  # and what comes when it is lost
        worker.submit(make_unit(3, frames[:1])).result(100)


def test_prompts_are_encoded_once_a_unit_before_its_frames(
    renderer: Renderer, make_worker: MakeWorker, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the next unit, too, whose frames join those of the first."""
    seen: list[list[str]] = []
    gate = start_together(renderer, monkeypatch)
    start = renderer.start

    def started(recipe: Recipe) -> Any:
        assert any(recipe.key in keys for keys in seen)
        return start(recipe)

    monkeypatch.setattr(renderer, "prepare", lambda recipes, ahead: seen.append([recipe.key for recipe in recipes]))
    monkeypatch.setattr(renderer, "start", started)
    worker = make_worker()
    units = units_of(frames[:8], 4)
    futures = [worker.submit(unit) for unit in units]
    gate.set()
    assert [future.result(100).frames for future in futures] == [4, 4]
    assert seen == [[frame.recipe.key for frame in unit.frames] for unit in units]


@pytest.mark.parametrize(
    ("error", "rows"), [(ValueError("no such token"), ROWS), (torch.OutOfMemoryError("CUDA out of memory"), ROWS // 2)]
)
def test_prompts_that_cannot_be_encoded_at_once(
    renderer: Renderer,
    make_worker: MakeWorker,
    frames: list[Frame],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    rows: int,
) -> None:
    """A fault of one prompt is left to the frames that have it; want of memory is what it is elsewhere."""
    errors = [error]

    def prepare(recipes: Iterable[Recipe], ahead: Iterable[Recipe]) -> None:
        if errors:
            raise errors.pop()

    monkeypatch.setattr(renderer, "prepare", prepare)
    (receipt,) = render_units(make_worker(), [make_unit(0, frames[:3])])
    assert (receipt.frames, receipt.batch_rows, receipt.quarantined) == (3, rows, ())
