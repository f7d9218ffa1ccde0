"""Real workers on the built-in model. One renderer is loaded for all of them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from workers import ROWS, MakeWorker, count_calls, make_unit, render_units, rows_of, start_together, units_of

from render.core.recipe import Target
from render.core.unit import Frame, Unit
from render.core.walk import Keyframe, Walk
from render.engine.batch import Batch
from render.engine.denoise import Row
from render.engine.renderer import Renderer
from render.models.model import Model
from render.plan.motions import frames_of
from render.store.columns import STORE_COLUMNS
from render.store.encode import ENCODINGS
from render.store.ledger import Ledger

pytest_plugins = ["workers"]
pytestmark = pytest.mark.slow


def test_the_recipe_says_whether_to_decode_in_tiles(
    renderer: Renderer, make_worker: MakeWorker, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiles: list[bool] = []

    def decode(latents: Sequence[Tensor], tiled: bool, batch: Batch) -> list[NDArray[np.uint8]]:
        tiles.extend(tiled for _ in latents)
        return [np.zeros((64, 64, 3), np.uint8) for _ in latents]

    monkeypatch.setattr(renderer, "decode", decode)
    unit = make_unit(0, [replace(f, recipe=replace(f.recipe, steps=2, tiled=n == 1)) for n, f in enumerate(frames[:3])])
    render_units(make_worker(), [unit])
    assert sorted(tiles) == [False, False, True]


def test_every_frame_is_stored_once(ledger: Ledger, make_worker: MakeWorker, frames: list[Frame]) -> None:
    units = [make_unit(0, frames[:3]), make_unit(1, frames[8:]), make_unit(2, frames[3:8])]
    worker = make_worker()
    receipts = render_units(worker, units)
    assert worker.progress().frames == len(frames)
    assert sorted(receipt.unit for receipt in ledger.receipts()) == ["00000", "00001", "00002"]
    assert {receipt.file for receipt in receipts} == {path.name for path in ledger.folder.data.iterdir()}
    for unit, receipt in zip(units, receipts, strict=True):
        assert (receipt.unit, receipt.batch_rows, receipt.frames) == (unit.id, ROWS, len(unit.frames))
        assert (receipt.quarantined, receipt.blank) == ((), ())
        assert receipt.seconds > 0
        rows = rows_of(ledger, receipt)
        assert len(rows) == len(unit.frames)
        for frame, row in zip(unit.frames, rows, strict=True):
            assert tuple(row) == (*STORE_COLUMNS, "group")
            assert (row["walk"], row["frame"], row["key"]) == (frame.walk, frame.index, frame.recipe.key)
            assert (row["prompt"], row["negative_prompt"]) == (frame.keyframe.prompt, "blurry")
            assert (row["step"], row["cfg"]) == (frame.recipe.steps, frame.recipe.guidance)
            assert (row["group"], row["batch_rows"]) == (frame.keyframe.labels["group"], ROWS)
            with Image.open(io.BytesIO(row["image"]["bytes"])) as picture:
                assert picture.size == (row["width"], row["height"]) == unit.group[1:]
                assert hashlib.sha256(np.asarray(picture).tobytes()).hexdigest() == row["sha256"]


def test_pixels_do_not_depend_on_units_or_their_order(
    make_worker: MakeWorker, tmp_path: Path, frames: list[Frame]
) -> None:
    same = frames[:8]

    def hashes(name: str, units: Sequence[Unit]) -> dict[tuple[str, int], str]:
        ledger = Ledger(tmp_path / name)
        ledger.create()
        receipts = render_units(make_worker(out=ledger.folder.out), units)
        rows = [row for receipt in receipts for row in rows_of(ledger, receipt)]
        assert len(rows) == len(same)
        return {(row["walk"], row["frame"]): row["sha256"] for row in rows}

    whole = hashes("whole", units_of(same, 8))
    assert hashes("single", units_of(same, 1)) == whole
    assert hashes("backwards", units_of(same[::-1], 3)[::-1]) == whole
    assert len(set(whole.values())) == len(same)


def test_a_second_unit_fills_the_rows_that_the_first_frees(
    renderer: Renderer, make_worker: MakeWorker, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    unguided = [replace(frame, recipe=replace(frame.recipe, guidance=1.0, steps=2)) for frame in frames[:4]]
    calls = count_calls(renderer, monkeypatch)
    gate = start_together(renderer, monkeypatch)
    worker = make_worker()
    futures = [worker.submit(make_unit(0, unguided[:3])), worker.submit(make_unit(1, unguided[3:]))]
    gate.set()
    assert [future.result(100).frames for future in futures] == [3, 1]
    assert calls == [(4, 4), (4, 4)]  # apart: two calls of three rows and two of one


def test_shapes_do_not_share_a_batch(
    renderer: Renderer, make_worker: MakeWorker, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = renderer.run

    def watched(rows: Sequence[Row], batch: Batch) -> list[Tensor]:
        assert len({row.latents.shape for row in rows}) == 1
        return run(rows, batch)

    monkeypatch.setattr(renderer, "run", watched)
    gate = start_together(renderer, monkeypatch)
    worker = make_worker()
    units = [make_unit(0, frames[:1]), make_unit(1, frames[8:9]), make_unit(2, frames[1:2]), make_unit(3, frames[9:])]
    futures = [worker.submit(unit) for unit in units]
    gate.set()
    assert [future.result(100).quarantined for future in futures] == [()] * 4


def test_every_batch_is_a_sign_of_life(
    starter: Model,
    renderer: Renderer,
    make_worker: MakeWorker,
    make_keyframe: Callable[..., Keyframe],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A frame may take longer than the deadline. A second passes with every batch, and only then."""
    silences: list[float] = []
    run, now = renderer.run, 0.0
    monkeypatch.setattr("render.cluster.worker.time", SimpleNamespace(monotonic=lambda: now))
    worker = make_worker()

    def slow(rows: Sequence[Row], batch: Batch) -> list[Tensor]:
        nonlocal now
        now += 1.0
        silences.append(worker.progress().idle_s)
        return run(rows, batch)

    monkeypatch.setattr(renderer, "run", slow)
    still = Walk("still", (make_keyframe(steps=30, guidance=1.0, labels={"group": "g"}),), 64, 64, still=True)
    render_units(worker, [make_unit(0, list(frames_of(still, Target(starter.fingerprint))))])
    assert len(silences) == 30
    assert max(silences) == 1.0  # of 30 seconds


def test_blank_images_are_counted(
    ledger: Ledger, renderer: Renderer, make_worker: MakeWorker, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), (1, 2, 3), np.uint8)]
    almost = pictures[0].copy()
    almost[63, 63, 2] = 1
    queue = iter([*pictures, almost])
    monkeypatch.setattr(renderer, "decode", lambda latents, tiled, batch: [next(queue) for _ in latents])
    unguided = [replace(frame, recipe=replace(frame.recipe, guidance=1.0, steps=2)) for frame in frames[:3]]
    (receipt,) = render_units(make_worker(), [make_unit(0, unguided)])
    assert receipt.blank == (0, 1)
    assert len(rows_of(ledger, receipt)) == 3


def test_close_finishes_what_is_queued(ledger: Ledger, make_worker: MakeWorker, frames: list[Frame]) -> None:
    worker = make_worker()
    futures = [worker.submit(unit) for unit in units_of(frames[:3], 1)]
    worker.close()
    assert all(future.done() for future in futures)
    assert len(ledger.receipts()) == 3
    progress = worker.progress()
    assert progress.frames == 3


def test_close_of_an_idle_worker_returns(make_worker: MakeWorker) -> None:
    make_worker().close()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_formats(ledger: Ledger, make_worker: MakeWorker, frames: list[Frame], encoding: str) -> None:
    worker = make_worker(format=encoding)
    (receipt,) = render_units(worker, [make_unit(0, frames[:1])])
    (row,) = rows_of(ledger, receipt)
    with Image.open(io.BytesIO(row["image"]["bytes"])) as picture:
        assert picture.format == encoding.upper()
    assert row["image"]["path"] == f"w-00000.{encoding}"
