"""Real workers on the built-in model, with faults where a test needs them. One renderer is loaded for all of them."""

from __future__ import annotations

import hashlib
import io
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

import render.cluster.worker
from render.cluster.lane import TRIES
from render.cluster.worker import Setup, Worker
from render.core.errors import ModelError
from render.core.recipe import Frame, Keyframe, Receipt, Recipe, Target, Unit, Walk
from render.core.vocabulary import STORE_COLUMNS
from render.engine.denoise import Row
from render.engine.renderer import Renderer
from render.models.model import Model, resolve_model
from render.plan.motion import frames_of
from render.store.encode import ENCODINGS
from render.store.ledger import Ledger

pytest_plugins = ["stores"]
pytestmark = pytest.mark.slow

MakeWorker = Callable[..., Worker]
LABELS = bytes(pa.schema([("group", pa.string())]).serialize().to_pybytes())
ROWS = 4


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path)
    ledger.create()
    return ledger


@pytest.fixture
def make_worker(
    starter: Model, renderer: Renderer, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MakeWorker]:
    """Workers that share the session's renderer; keywords replace fields of their Setup."""
    made: list[Worker] = []
    monkeypatch.setattr(render.cluster.worker, "Renderer", lambda *_: renderer)

    def make(**fields: Any) -> Worker:
        setup = Setup({"main": starter}, ledger.folder.out, LABELS, "png", "cpu", "float32", 1)
        made.append(Worker(replace(setup, **fields), "main"))
        return made[-1]

    yield make
    for worker in made:
        worker.close()


@pytest.fixture
def frames(starter: Model, make_keyframe: Callable[..., Keyframe]) -> list[Frame]:
    """Eight frames of 64 × 64 whose steps, guidance and scheduler differ, and two of 96 × 64."""

    def key(row: int, **fields: Any) -> Keyframe:
        return make_keyframe(row=row, labels=(f"g{row}",), negative_prompt="blurry", **fields)

    walks = [
        Walk("w", (key(1, seed=1, frames=3, steps=2), key(2, prompt="a dog", seed=2, steps=3))),
        Walk("still-1", (key(3, seed=3, steps=4, guidance=1.0),), still=True),
        Walk("v", (key(4, seed=4, frames=2, steps=2, scheduler="euler_a"), key(5, seed=5, steps=2))),
        Walk("wide", (key(6, seed=6, frames=1, steps=2, width=96), key(7, seed=7, steps=3, width=96))),
    ]
    return [frame for walk in walks for frame in frames_of(walk, Target(starter.fingerprint))]


def make_unit(number: int, frames: Sequence[Frame], rows: int = ROWS) -> Unit:
    return Unit(f"{number:05d}", 99, tuple(frames), rows)


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

    def counted(rows: Sequence[Row], count: int) -> list[Tensor]:
        calls.append((len(rows), count))
        return run(rows, count)

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


def test_a_worker_loads_its_own_renderer(starter: Model, ledger: Ledger, frames: list[Frame]) -> None:
    worker = Worker(Setup({"main": starter}, ledger.folder.out, LABELS, "webp", "cpu", "float32", 1), "main")
    (receipt,) = render_units(worker, [make_unit(0, frames[4:5])])
    worker.close()
    assert worker.progress().frames == 1
    (row,) = rows_of(ledger, receipt)
    assert row["image"]["path"] == "still-1-00000.webp"
    assert (row["device"].endswith(", 1 thread"), row["dtype"], row["model"]) == (True, "float32", "starter")


def of_model(frame: Frame, model: str) -> Frame:
    return replace(frame, keyframe=replace(frame.keyframe, model=model))


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

    def watched(self: Renderer, latents: Tensor, tiled: bool) -> NDArray[np.uint8]:
        decoded.append(frames[0])
        return decode(self, latents, tiled)

    monkeypatch.setattr(Renderer, "decode", watched)
    gate = start_together(renderer, monkeypatch)
    names = ["main", "soft", "main"]
    monkeypatch.setattr(render.cluster.worker, "Renderer", load)
    worker = make_worker(models=two_models)
    units = [make_unit(n, [of_model(f, name) for f in frames[n : n + 2]]) for n, name in enumerate(names)]
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
    futures = [worker.submit(make_unit(n, [of_model(f, "gone") for f in frames[n : n + 1]])) for n in (1, 2)]
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

    monkeypatch.setattr(renderer, "prepare", lambda recipes: seen.append([recipe.key for recipe in recipes]))
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

    def prepare(recipes: Iterable[Recipe]) -> None:
        if errors:
            raise errors.pop()

    monkeypatch.setattr(renderer, "prepare", prepare)
    (receipt,) = render_units(make_worker(), [make_unit(0, frames[:3])])
    assert (receipt.frames, receipt.batch_rows, receipt.quarantined) == (3, rows, ())


def test_the_recipe_says_whether_to_decode_in_tiles(
    renderer: Renderer, make_worker: MakeWorker, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiles: list[bool] = []
    monkeypatch.setattr(
        renderer, "decode", lambda latents, tiled: tiles.append(tiled) or np.zeros((64, 64, 3), np.uint8)
    )
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
            assert (row["group"], row["batch_rows"]) == (frame.keyframe.labels[0], ROWS)
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

    def watched(rows: Sequence[Row], count: int) -> list[Tensor]:
        assert len({row.latents.shape for row in rows}) == 1
        return run(rows, count)

    monkeypatch.setattr(renderer, "run", watched)
    gate = start_together(renderer, monkeypatch)
    worker = make_worker()
    units = [make_unit(0, frames[:1]), make_unit(1, frames[8:9]), make_unit(2, frames[1:2]), make_unit(3, frames[9:])]
    futures = [worker.submit(unit) for unit in units]
    gate.set()
    assert [future.result(100).quarantined for future in futures] == [()] * 4


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

    def spoil(rows: Sequence[Row], count: int) -> list[Tensor]:
        return [out * poison if rows[n].latents.shape[-1] == 12 else out for n, out in enumerate(run(rows, count))]

    tries: list[bool] = []

    def watched(latents: Tensor, tiled: bool) -> NDArray[np.uint8]:
        tries.append(bool(torch.isfinite(latents).all()))
        return decode(latents, tiled)

    monkeypatch.setattr(renderer, "run", spoil)
    monkeypatch.setattr(renderer, "decode", watched)
    wide = frames[8].recipe.width // renderer.start(frames[8].recipe).send(None)[0].latents.shape[-1]
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

    def scarce(latents: Tensor, tiled: bool) -> NDArray[np.uint8]:
        tries[id(latents)] += 1
        if tries[id(latents)] < enough:
            raise torch.OutOfMemoryError("CUDA out of memory")
        before = len(batches)
        pixels = decode(latents, tiled)
        assert len(batches) == before
        return pixels

    monkeypatch.setattr(renderer, "decode", scarce)
    (receipt,) = render_units(worker, [make_unit(0, frames[:4])])
    assert (receipt.frames, receipt.quarantined) == (4, ())
    enough = 100
    with pytest.raises(MemoryError, match="no memory to decode 64x64 pixels"):
        worker.submit(make_unit(1, frames[4:6])).result(100)


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
    monkeypatch.setattr(render.cluster.worker, "time", SimpleNamespace(monotonic=lambda: now))
    worker = make_worker()

    def slow(rows: Sequence[Row], count: int) -> list[Tensor]:
        nonlocal now
        now += 1.0
        silences.append(worker.progress().idle_s)
        return run(rows, count)

    monkeypatch.setattr(renderer, "run", slow)
    still = Walk("still", (make_keyframe(steps=30, guidance=1.0, labels=("g",)),), still=True)
    render_units(worker, [make_unit(0, list(frames_of(still, Target(starter.fingerprint))))])
    assert len(silences) == 30
    assert max(silences) == 1.0  # of 30 seconds


def test_out_of_memory_halves_the_rows(
    ledger: Ledger, renderer: Renderer, make_worker: MakeWorker, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = renderer.run
    counts: list[int] = []

    def scarce(rows: Sequence[Row], count: int) -> list[Tensor]:
        counts.append(count)
        if count > 2 and len(counts) > 3:  # some frames are done by then
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(rows, count)

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


def test_no_memory_for_one_row_reaches_every_future(
    renderer: Renderer, make_worker: MakeWorker, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    def scarce(rows: Sequence[Row], count: int) -> list[Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(renderer, "run", scarce)
    gate = start_together(renderer, monkeypatch)
    worker = make_worker()
    futures = [worker.submit(make_unit(0, frames[:3])), worker.submit(make_unit(1, frames[8:]))]
    gate.set()
    for future in futures:
        with pytest.raises(MemoryError, match="no memory for one row of"):
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
    write = render.cluster.worker.write_shard

    def full(ledger: Ledger, unit: Unit, *rest: Any) -> Receipt:
        if unit.id == "00000":
            raise OSError("No space left on device")
        return write(ledger, unit, *rest)

    monkeypatch.setattr(render.cluster.worker, "write_shard", full)
    worker = make_worker()
    first, second = worker.submit(make_unit(0, frames[:1])), worker.submit(make_unit(1, frames[1:2]))
    with pytest.raises(OSError, match="No space left"):
        first.result(100)
    assert second.result(100).frames == 1
    assert [receipt.unit for receipt in ledger.receipts()] == ["00001"]


def test_blank_images_are_counted(
    ledger: Ledger, renderer: Renderer, make_worker: MakeWorker, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), (1, 2, 3), np.uint8)]
    almost = pictures[0].copy()
    almost[63, 63, 2] = 1
    queue = iter([*pictures, almost])
    monkeypatch.setattr(renderer, "decode", lambda latents, tiled: next(queue))
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
