"""Units that a worker gives up: others render them, or have; what is left is rendered as if they had never come."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from threading import Event
from typing import Any

import pytest
from torch import Tensor
from workers import MakeWorker, make_unit, render_units, rows_of, start_together

from render.cluster.feed import DroppedError
from render.core.unit import Frame, Receipt
from render.engine.renderer import Renderer
from render.store.ledger import Ledger

pytest_plugins = ["workers"]


@pytest.fixture
def at_work(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> tuple[Event, Event]:
    """(set at the third batch; the event that this batch waits for)."""
    begun, go_on, run, count = Event(), Event(), renderer.run, iter(range(10_000))

    def held(*arguments: Any) -> list[Tensor]:
        if next(count) == 2:
            begun.set()
            assert go_on.wait(100)
        return run(*arguments)

    monkeypatch.setattr(renderer, "run", held)
    return begun, go_on


def hashes(ledger: Ledger, receipt: Receipt) -> list[str]:
    return [row["sha256"] for row in rows_of(ledger, receipt)]


def files(ledger: Ledger) -> list[str]:
    return [path.name for folder in (ledger.folder.data, ledger.folder.scratch) for path in folder.iterdir()]


def is_dropped(future: Future[Receipt]) -> bool:
    return isinstance(future.exception(100), DroppedError)


def test_a_unit_at_work_is_cancelled(
    renderer: Renderer,
    make_worker: MakeWorker,
    ledger: Ledger,
    frames: list[Frame],
    monkeypatch: pytest.MonkeyPatch,
    at_work: tuple[Event, Event],
) -> None:
    """The frames that share its batches have the same bits as without it; its own leave no file and are not counted."""
    begun, go_on = at_work
    gate = start_together(renderer, monkeypatch)
    worker = make_worker()
    futures = [worker.submit(make_unit(number, frames[start : start + 4])) for number, start in ((0, 0), (1, 4))]
    gate.set()
    assert begun.wait(100)
    worker.cancel("00000")
    go_on.set()
    assert is_dropped(futures[0])
    receipt = futures[1].result(100)
    assert worker.progress().frames == 4
    assert files(ledger) == [receipt.file]
    (alone,) = render_units(make_worker(), [replace(make_unit(2, frames[4:8]), id="00002")])
    assert hashes(ledger, receipt) == hashes(ledger, alone)


def test_frames_of_a_cancelled_unit_are_counted_no_more(
    make_worker: MakeWorker, ledger: Ledger, frames: list[Frame]
) -> None:
    """Another worker was first, by little: the driver counts the frames of that one."""
    worker = make_worker()
    render_units(worker, [make_unit(0, frames[:2]), make_unit(1, frames[2:4])])
    assert worker.progress().frames == 4
    worker.cancel("00000")
    assert worker.progress().frames == 2
    render_units(worker, [make_unit(2, frames[4:6])])
    assert worker.progress().frames == 4


def test_what_is_at_work_is_finished(
    renderer: Renderer,
    make_worker: MakeWorker,
    ledger: Ledger,
    frames: list[Frame],
    monkeypatch: pytest.MonkeyPatch,
    at_work: tuple[Event, Event],
) -> None:
    begun, go_on = at_work
    gate = start_together(renderer, monkeypatch)
    worker = make_worker()
    futures = [worker.submit(make_unit(number, frames[2 * number : 2 * number + 2])) for number in range(4)]
    gate.set()
    assert begun.wait(100)
    worker.hand_back()
    futures.append(worker.submit(make_unit(9, frames[8:])))
    assert all(map(is_dropped, futures[2:]))
    go_on.set()
    done = [future.result(100) for future in futures[:1]]
    worker.close()
    done += [future.result(0) for future in futures[1:2] if not future.exception(0)]
    assert {receipt.unit for receipt in ledger.receipts()} == {receipt.unit for receipt in done}
    assert sorted(files(ledger)) == sorted(str(receipt.file) for receipt in done)


def test_the_receipt_is_that_of_the_worker_that_was_first(
    make_worker: MakeWorker, ledger: Ledger, frames: list[Frame]
) -> None:
    first, second = make_worker(), make_worker()
    unit = make_unit(0, frames[:2])
    (receipt,) = render_units(first, [unit])
    assert render_units(second, [unit]) == [receipt]
    assert ledger.receipts() == [receipt]
    assert files(ledger) == [receipt.file]


def test_the_receipt_of_one_unit(make_worker: MakeWorker, ledger: Ledger, frames: list[Frame]) -> None:
    unit, other = make_unit(0, frames[:2]), make_unit(1, frames[2:4])
    (receipt,) = render_units(make_worker(), [unit])
    assert ledger.split(other)
    assert [ledger.receipt(name) for name in ("00000", "00001", "00002")] == [receipt, None, None]
