"""Workers whose network has unsafe places, as UNets on a GPU have: the bits hold all the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch
from instruments import FakeInstruments
from torch import Tensor
from workers import MakeWorker, make_unit, render_units, rows_of

from render.cluster.batch_book import BatchBook
from render.core.unit import Frame, Group, Receipt, Unit
from render.engine.batch import Batch, Batches
from render.engine.denoise import Row
from render.engine.renderer import Renderer
from render.engine.tuner import BatchSizes, Tuner
from render.reproduce import render_alone
from render.store.encode import rendered
from render.store.ledger import Ledger

pytest_plugins = ["workers"]
pytestmark = pytest.mark.slow
ROWS = 12
DECODE_ROWS = 2  # that are chosen beside 12 rows, where more images take no more time
UNSAFE = (1, 4)


@pytest.fixture
def planted(renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The renderer's network with UNSAFE places, and its places measured as on a GPU; (rows, other inputs) of its calls."""
    calls: list[tuple[int, int]] = []
    evaluate = renderer._evaluate

    @torch.inference_mode()
    def err(rows: Sequence[Row]) -> Tensor:
        calls.append((len(rows), len({id(row) for row in rows})))
        output = evaluate(rows)
        for place in UNSAFE:
            if place < len(rows):
                output[place] += 0.05
        return output

    monkeypatch.setattr(renderer, "_evaluate", err)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    measuring = Tuner(renderer.tuner._target, FakeInstruments(tick_s=1.0), compiles=False)
    monkeypatch.setattr(renderer, "tuner", measuring)
    return calls


def hashes(make_worker: MakeWorker, out: Path, units: Sequence[Unit]) -> dict[tuple[str, int], str]:
    ledger = Ledger(out)
    ledger.create()
    receipts = render_units(make_worker(out=out), units)
    assert {receipt.batch_rows for receipt in receipts} == {ROWS}
    rows = [row for receipt in receipts for row in rows_of(ledger, receipt)]
    assert {(row["decode_rows"], row["exact"]) for row in rows} == {(DECODE_ROWS, True)}
    return {(row["walk"], row["frame"]): row["sha256"] for row in rows}


def test_bits_hold_in_any_company(
    renderer: Renderer,
    make_worker: MakeWorker,
    tmp_path: Path,
    frames: list[Frame],
    planted: list[tuple[int, int]],
) -> None:
    """All frames in one unit, one a unit, backwards, and each one alone, as `render reproduce` makes it."""
    same = frames[:8]
    whole = hashes(make_worker, tmp_path / "whole", [make_unit(0, same, ROWS)])
    assert len(whole) == len(same)
    apart = [make_unit(number, [frame], ROWS) for number, frame in enumerate(reversed(same))]
    assert hashes(make_worker, tmp_path / "apart", apart) == whole
    for frame in same:
        alone = rendered(render_alone(renderer, frame.recipe, ROWS, DECODE_ROWS), "png")
        assert alone.sha256 == whole[frame.walk, frame.index]


def test_unsafe_places_hold_copies(
    renderer: Renderer, make_worker: MakeWorker, tmp_path: Path, frames: list[Frame], planted: list[tuple[int, int]]
) -> None:
    """Places are measured once for a shape, in calls of copies alone; then no call holds more rows than are safe."""
    hashes(make_worker, tmp_path / "out", [make_unit(0, frames[:8], ROWS)])
    assert renderer.tuner.batches(64, 64, ROWS, DECODE_ROWS).network.places == (0, 2, 3, 5, 6, 7, 8, 9, 10, 11)
    measured, rest = planted[:7], planted[7:]
    assert measured == [(ROWS, 1)] * 7  # time and memory in four calls, the places in three
    assert {rows for rows, _ in rest} == {ROWS}
    assert max(others for _, others in rest) == 10


def test_a_unit_with_a_batch_size_of_its_own_keeps_it(
    make_worker: MakeWorker, tmp_path: Path, frames: list[Frame], planted: list[tuple[int, int]]
) -> None:
    """That of a retry, or of a record: not the one that was measured for the others."""
    Ledger(tmp_path / "out").create()
    own = replace(make_unit(1, frames[2:4], 4), rows_are_fixed=True)
    worker = make_worker(out=tmp_path / "out", measure_rows=True)
    receipts = render_units(worker, [make_unit(0, frames[:2], ROWS), own, make_unit(2, frames[4:6], ROWS)])
    sizes = {receipt.unit: receipt.batch_rows for receipt in receipts}
    assert sizes["00001"] == 4
    assert sizes["00000"] == sizes["00002"] > 4


def test_less_memory_than_the_worker_that_chose_had(
    make_worker: MakeWorker, tmp_path: Path, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sizes are recorded, and this card has no room to measure their places: half of them, and half again."""
    asked: list[int] = []
    batches = BatchBook.batches

    def short(book: BatchBook, renderer: Renderer, group: Group, rows: int) -> Batches:
        asked.append(rows)
        if rows > 2:
            raise torch.OutOfMemoryError
        return batches(book, renderer, group, rows)

    monkeypatch.setattr(BatchBook, "batches", short)
    ledger = Ledger(tmp_path / "out")
    ledger.create()
    (receipt,) = render_units(make_worker(out=ledger.folder.out), [make_unit(0, frames[:4], 8)])
    assert (receipt.frames, receipt.batch_rows) == (4, 2)
    assert asked[:3] == [8, 4, 2]


def test_nothing_is_decoded_while_batch_sizes_are_measured(
    make_worker: MakeWorker,
    frames: list[Frame],
    renderer: Renderer,
    planted: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would take the measurement's time and memory."""
    decode, choose, unfinished, measured = renderer.decode, renderer.tuner.choose, [], Event()

    def late(*given: Any) -> list[Any]:
        measured.wait(0.2)  # goes on while the next group is measured, if nothing prevents that
        return decode(*given)

    def noted(width: int, height: int, most_rows: int, fixed: bool) -> BatchSizes:
        unfinished.append(worker._finisher._unfinished)
        measured.set() if len(unfinished) > 1 else None
        return choose(width, height, most_rows, fixed)

    monkeypatch.setattr(renderer, "decode", late)
    monkeypatch.setattr(renderer.tuner, "choose", noted)
    worker = make_worker(measure_rows=True)
    wide = replace(frames[1], recipe=replace(frames[1].recipe, width=96))
    render_units(worker, [make_unit(0, frames[:1], ROWS), make_unit(1, [wide], ROWS)])
    assert unfinished == [0, 0]


def test_where_no_places_agree_the_receipt_says_so(
    renderer: Renderer,
    make_worker: MakeWorker,
    tmp_path: Path,
    frames: list[Frame],
    planted: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every place computes in another way: all are filled, and the frames' bits are their places'."""
    err = renderer._evaluate

    @torch.inference_mode()
    def differing(rows: Sequence[Row]) -> Tensor:
        output = err(rows)
        for place in range(len(rows)):
            output[place] += 0.01 * place
        return output

    monkeypatch.setattr(renderer, "_evaluate", differing)
    monkeypatch.setattr(renderer, "tuner", Tuner(renderer.tuner._target, FakeInstruments(tick_s=1.0), compiles=False))
    ledger = Ledger(tmp_path / "out")
    ledger.create()
    (receipt,) = render_units(make_worker(out=ledger.folder.out), [make_unit(0, frames[:4], ROWS)])
    assert (receipt.frames, receipt.exact) == (4, False)
    assert {row["exact"] for row in rows_of(ledger, receipt)} == {False}
    assert Receipt.from_json(receipt.to_json()) == receipt


def test_the_planted_places_would_show(renderer: Renderer, frames: list[Frame], planted: list[tuple[int, int]]) -> None:
    """Without safe places the pixels of a frame depend on where its rows lie: what these tests are for."""
    rows = next(renderer.start(frames[0].recipe))
    outputs = renderer.run(rows[:1] * ROWS, Batch.full(ROWS))
    assert not torch.equal(outputs[0], outputs[1])
