"""Workers that share the session's renderer, frames and units for them, and what they have stored.

Test files name this module in `pytest_plugins`, for its fixtures. They also import its functions first, which pytest would
take for a mistake: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from torch import Tensor

import render.cluster.worker
from render.cluster.setup import Setup
from render.cluster.worker import Worker
from render.core.recipe import Recipe, Target
from render.core.unit import Frame, Receipt, Unit
from render.core.walk import Keyframe, Walk
from render.engine.batch import Batch
from render.engine.denoise import Row
from render.engine.renderer import Renderer
from render.models.model import Model
from render.plan.motions import frames_of
from render.store.ledger import Ledger

MakeWorker = Callable[..., Worker]
LABELS = bytes(pa.schema([("group", pa.string())]).serialize().to_pybytes())
ROWS = 4


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path)
    ledger.create()
    return ledger


def make_setup(model: Model, ledger: Ledger) -> Setup:
    return Setup(
        models={"main": model},
        out=ledger.folder.out,
        labels=LABELS,
        format="png",
        device="cpu",
        dtype="float32",
        threads=1,
    )


@pytest.fixture
def make_worker(
    starter: Model, renderer: Renderer, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MakeWorker]:
    """Workers that share the session's renderer; keywords replace fields of their Setup."""
    made: list[Worker] = []
    monkeypatch.setattr(render.cluster.worker, "Renderer", lambda *_: renderer)

    def make(**fields: Any) -> Worker:
        made.append(Worker(replace(make_setup(starter, ledger), **fields), "main"))
        return made[-1]

    yield make
    for worker in made:
        worker.close()


@pytest.fixture
def frames(starter: Model, make_keyframe: Callable[..., Keyframe]) -> list[Frame]:
    """Eight frames of 64 × 64 whose steps, guidance and scheduler differ, and two of 96 × 64."""

    def key(row: int, **fields: Any) -> Keyframe:
        return make_keyframe(row=row, labels={"group": f"g{row}"}, negative_prompt="blurry", **fields)

    walks = [
        Walk("w", (key(1, seed=1, frames=3, steps=2), key(2, prompt="a dog", seed=2, steps=3)), 64, 64),
        Walk("still-1", (key(3, seed=3, steps=4, guidance=1.0),), 64, 64, still=True),
        Walk("v", (key(4, seed=4, frames=2, steps=2, scheduler="euler_a"), key(5, seed=5, steps=2)), 64, 64),
        Walk("wide", (key(6, seed=6, frames=1, steps=2), key(7, seed=7, steps=3)), 96, 64),
    ]
    return [frame for walk in walks for frame in frames_of(walk, Target(starter.fingerprint))]


def make_unit(number: int, frames: Sequence[Frame], rows: int = ROWS, model: str = "main") -> Unit:
    return Unit(f"{number:05d}", 99, tuple(frames), rows, model)


def units_of(frames: Sequence[Frame], size: int) -> list[Unit]:
    return [make_unit(n, frames[start : start + size]) for n, start in enumerate(range(0, len(frames), size))]


def rows_of(ledger: Ledger, receipt: Receipt) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    if receipt.file:
        rows = pq.ParquetFile(ledger.folder.data / receipt.file).read().to_pylist()
    return rows


def render_units(worker: Worker, units: Sequence[Unit]) -> list[Receipt]:
    futures = [worker.submit(unit) for unit in units]
    return [future.result(timeout=100) for future in futures]


def failures_of(ledger: Ledger) -> list[dict[str, Any]]:
    return [row for path in ledger.folder.quarantine.iterdir() for row in pq.ParquetFile(path).read().to_pylist()]


def count_calls(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(rows asked for, row count) of every call of the network from now on."""
    calls: list[tuple[int, int]] = []
    run = renderer.run

    def counted(rows: Sequence[Row], batch: Batch) -> list[Tensor]:
        calls.append((len(rows), batch.rows))
        return run(rows, batch)

    monkeypatch.setattr(renderer, "run", counted)
    return calls


def start_together(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> Event:
    """Frames begin when the event is set, so that a test can queue all its units first."""
    gate, start = Event(), renderer.start

    def gated(recipe: Recipe) -> Any:
        assert gate.wait(100)
        return start(recipe)

    monkeypatch.setattr(renderer, "start", gated)
    return gate
