"""Faults of a worker's frames, memory and disk: what is quarantined, tried again, or reaches a future."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from workers import ROWS, MakeWorker, count_calls, failures_of, make_unit, render_units, rows_of, start_together

import render.cluster.worker
from render.cluster.lane import TRIES
from render.core.recipe import Recipe
from render.core.unit import Frame, Receipt, Unit
from render.engine.batch import Batch
from render.engine.denoise import Row
from render.engine.renderer import Renderer
from render.store.ledger import Ledger
from render.store.shard import write_shard

pytest_plugins = ["workers"]
pytestmark = pytest.mark.slow


def test_a_frame_that_does_not_start_is_quarantined(
    ledger: Ledger, renderer: Renderer, make_worker: MakeWorker, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    start, starts = renderer.start, Counter[str]()

    def fail(recipe: Recipe) -> Any:
        starts[recipe.key] += 1  # when it first runs, as the renderer's generators do
        if recipe.key == frames[1].recipe.key:
            raise ValueError("no such scheduler")
        return (yield from start(recipe))

    monkeypatch.setattr(renderer, "start", fail)
    (receipt,) = render_units(make_worker(), [make_unit(0, frames[:4])])
    assert (receipt.frames, receipt.quarantined) == (3, (1,))
    assert [row["frame"] for row in rows_of(ledger, receipt)] == [0, 2, 3]
    (failure,) = failures_of(ledger)
    assert (failure["walk"], failure["frame"], failure["recipe"]) == ("w", 1, frames[1].recipe.json)
    assert "ValueError: no such scheduler" in failure["error"]
    assert starts[frames[1].recipe.key] == TRIES
    assert [unit.id for unit in ledger.outstanding(iter([make_unit(0, frames[:4])]))] == ["00000-r"]


def test_a_frame_that_does_not_decode_is_quarantined(
    ledger: Ledger, renderer: Renderer, make_worker: MakeWorker, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, decode = renderer.run, renderer.decode
    poison = float("nan")

    def spoil(rows: Sequence[Row], batch: Batch) -> list[Tensor]:
        return [out * poison if rows[n].latents.shape[-1] == 12 else out for n, out in enumerate(run(rows, batch))]

    tries: list[bool] = []

    def watched(latents: Sequence[Tensor], tiled: bool, batch: Batch) -> list[NDArray[np.uint8] | ValueError]:
        tries.extend(bool(torch.isfinite(one).all()) for one in latents)
        return decode(latents, tiled, batch)

    monkeypatch.setattr(renderer, "run", spoil)
    monkeypatch.setattr(renderer, "decode", watched)
    wide = frames[8].recipe.width // next(renderer.start(frames[8].recipe))[0].latents.shape[-1]
    assert wide == 8  # pixels a latent: 12 latents are 96 pixels
    good, bad = render_units(make_worker(), [make_unit(0, frames[:2]), make_unit(1, frames[8:])])
    assert (good.quarantined, good.frames) == ((), 2)
    assert (bad.quarantined, bad.frames, bad.file) == ((0, 1), 0, None)
    assert all("required finite values" in failure["error"] for failure in failures_of(ledger))
    assert Counter(tries) == {True: 2, False: 2 * TRIES}


def test_no_memory_to_decode_is_no_frame_s_fault(
    renderer: Renderer, make_worker: MakeWorker, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a batch there may be too little: it is tried again between two."""
    decode, batches = renderer.decode, count_calls(renderer, monkeypatch)
    worker, tries = make_worker(), Counter[int]()
    enough = 2

    def scarce(latents: Sequence[Tensor], tiled: bool, batch: Batch) -> list[NDArray[np.uint8] | ValueError]:
        tries[id(latents[0])] += 1
        if tries[id(latents[0])] < enough:
            raise torch.OutOfMemoryError("CUDA out of memory")
        before = len(batches)
        pixels = decode(latents, tiled, batch)
        assert len(batches) == before
        return pixels

    monkeypatch.setattr(renderer, "decode", scarce)
    (receipt,) = render_units(worker, [make_unit(0, frames[:4])])
    assert (receipt.frames, receipt.quarantined) == (4, ())
    enough = 100
    with pytest.raises(MemoryError, match="out of memory while decoding 64x64 pixels"):
        worker.submit(make_unit(1, frames[4:6])).result(100)


def test_out_of_memory_halves_the_batch_size(
    ledger: Ledger, renderer: Renderer, make_worker: MakeWorker, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = renderer.run
    counts: list[int] = []

    def scarce(rows: Sequence[Row], batch: Batch) -> list[Tensor]:
        counts.append(batch.rows)
        if batch.rows > 2 and len(counts) > 3:  # some frames are done by then
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(rows, batch)

    monkeypatch.setattr(renderer, "run", scarce)
    gate = start_together(renderer, monkeypatch)
    worker = make_worker()
    units = [make_unit(0, frames[:5]), make_unit(1, frames[5:8]), make_unit(2, frames[8:])]
    futures = [worker.submit(unit) for unit in units]
    gate.set()
    receipts = [future.result(100) for future in futures]
    assert [receipt.batch_rows for receipt in receipts] == [2, 2, 2]
    assert [receipt.quarantined for receipt in receipts] == [(), (), ()]
    for unit, receipt in zip(units, receipts, strict=True):
        rows = rows_of(ledger, receipt)
        assert [row["batch_rows"] for row in rows] == [2] * len(unit.frames)
        assert [(row["walk"], row["frame"]) for row in rows] == [(frame.walk, frame.index) for frame in unit.frames]
    monkeypatch.setattr(renderer, "run", run)
    other = Ledger(ledger.folder.out / "other")
    other.create()
    (plain,) = render_units(make_worker(out=other.folder.out), [replace(units[0], batch_rows=2)])
    assert [row["sha256"] for row in rows_of(other, plain)] == [row["sha256"] for row in rows_of(ledger, receipts[0])]


def test_no_memory_for_batch_size_1_reaches_every_future(
    renderer: Renderer, make_worker: MakeWorker, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    def scarce(rows: Sequence[Row], batch: Batch) -> list[Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(renderer, "run", scarce)
    gate = start_together(renderer, monkeypatch)
    worker = make_worker()
    futures = [worker.submit(make_unit(0, frames[:3])), worker.submit(make_unit(1, frames[8:]))]
    gate.set()
    for future in futures:
        with pytest.raises(MemoryError, match="at batch size 1: network input of 64x64 pixels, model 'main'"):
            future.result(100)


def test_the_loser_of_a_race_deletes_its_shard(ledger: Ledger, make_worker: MakeWorker, frames: list[Frame]) -> None:
    (ledger.folder.data / "winner.parquet").touch()
    winner = Receipt("00000", "winner.parquet", 2, 0, "", 1.0, ROWS)
    assert ledger.commit(winner)
    render_units(make_worker(), [make_unit(0, frames[:2])])
    assert [path.name for path in ledger.folder.data.iterdir()] == ["winner.parquet"]
    assert ledger.receipts() == [winner]
    assert list(ledger.folder.scratch.iterdir()) == []


def test_a_write_error_reaches_its_future_only(
    ledger: Ledger, make_worker: MakeWorker, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(ledger: Ledger, unit: Unit, *rest: Any) -> Receipt:
        if unit.id == "00000":
            raise OSError("No space left on device")
        return write_shard(ledger, unit, *rest)

    monkeypatch.setattr(render.cluster.worker, "write_shard", full)
    worker = make_worker()
    first, second = worker.submit(make_unit(0, frames[:1])), worker.submit(make_unit(1, frames[1:2]))
    with pytest.raises(OSError, match="No space left"):
        first.result(100)
    assert second.result(100).frames == 1
    assert [receipt.unit for receipt in ledger.receipts()] == ["00001"]
