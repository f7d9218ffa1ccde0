"""Commits as a race, slots as a tree, and what a sweep leaves."""

from __future__ import annotations

import os
import platform
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from threading import Barrier

import pytest

from render.core.atomic import partial
from render.core.blend import Prompt, Seed
from render.core.errors import StoreError
from render.core.recipe import Recipe
from render.core.unit import Frame, Receipt, Unit
from render.core.walk import Keyframe
from render.store.ledger import Ledger
from render.store.sweep import delete_partial_records

KEYFRAME = Keyframe(1, "p", "", 1, 1, "linear", "slerp", 2, 1.0, "ddim")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path)
    ledger.create()
    return ledger


def make_unit(number: int = 0, frames: int = 4) -> Unit:
    recipes = [Recipe(Prompt("p"), Prompt(""), Seed(n), 64, 64, 2, 1.0, "ddim", "m") for n in range(frames)]
    return Unit(f"{number:05d}", 9, tuple(Frame("w", n, r, KEYFRAME) for n, r in enumerate(recipes)), 4)


def make_receipt(unit: str, file: str | None = "a.parquet", quarantined: tuple[int, ...] = ()) -> Receipt:
    return Receipt(unit, file, 4 - len(quarantined), 100, "ab", 1.5, 4, blank=(1,), quarantined=quarantined)


def indices(units: list[Unit]) -> dict[str, list[int]]:
    return {unit.id: [frame.index for frame in unit.frames] for unit in units}


def outstanding(ledger: Ledger, *units: Unit) -> dict[str, list[int]]:
    return indices(list(ledger.outstanding(iter(units))))


def claim(out: Path, number: int) -> bool:
    return Ledger(out).commit(make_receipt("00000", f"{number}.parquet"))


def test_the_first_claim_wins(ledger: Ledger) -> None:
    first, second = make_receipt("00000", "a.parquet"), make_receipt("00000", "b.parquet")
    assert ledger.commit(first)
    assert not ledger.commit(second)
    assert not ledger.split(make_unit())
    assert ledger.receipts() == [first]


def test_a_split_unit_takes_no_receipt(ledger: Ledger) -> None:
    assert ledger.split(make_unit())
    assert not ledger.split(make_unit())
    assert not ledger.commit(make_receipt("00000"))
    assert ledger.receipts() == []


def test_one_of_many_threads_wins(ledger: Ledger) -> None:
    barrier = Barrier(8)

    def race(number: int) -> bool:
        barrier.wait()
        return claim(ledger.folder.out, number)

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(race, range(8)))
    assert sum(won) == 1
    assert [receipt.file for receipt in ledger.receipts()] == [f"{won.index(True)}.parquet"]
    assert [path.name for path in (ledger.folder.commits).iterdir()] == ["00000.json"]


@pytest.mark.slow
def test_one_of_several_processes_wins(ledger: Ledger) -> None:
    with get_context("spawn").Pool(2) as pool:
        won = pool.starmap(claim, [(ledger.folder.out, number) for number in range(6)], chunksize=1)
    assert sum(won) == 1


@pytest.mark.parametrize(
    ("split", "receipts", "left"),
    [
        pytest.param([], [], {"00000": [0, 1, 2, 3, 4]}, id="nothing done"),
        pytest.param([], [("00000", ())], {}, id="done"),
        pytest.param([], [("00000", (1, 3))], {"00000-r": [1, 3]}, id="two in quarantine"),
        pytest.param([], [("00000", (1, 3)), ("00000-r", (1,))], {"00000-r-r": [3]}, id="one in quarantine again"),
        pytest.param([], [("00000", (1, 3)), ("00000-r", ())], {}, id="retried"),
        pytest.param([""], [], {"00000-0": [0, 1], "00000-1": [2, 3, 4]}, id="split"),
        pytest.param([""], [("00000-0", ())], {"00000-1": [2, 3, 4]}, id="half done"),
        pytest.param(["", "1"], [("00000-0", ())], {"00000-1-0": [2], "00000-1-1": [3, 4]}, id="split again"),
        pytest.param([""], [("00000-0", (1,)), ("00000-1", ())], {"00000-0-r": [1]}, id="a half's quarantine"),
    ],
)
def test_outstanding(
    ledger: Ledger, split: list[str], receipts: list[tuple[str, tuple[int, ...]]], left: dict[str, list[int]]
) -> None:
    unit = make_unit(frames=5)
    for path in split:
        part = unit
        for digit in path:
            part = part.halves()[int(digit)]
        assert ledger.split(part)
    for number, (name, quarantined) in enumerate(receipts):
        assert ledger.commit(make_receipt(name, f"{number}.parquet", quarantined))
    assert outstanding(ledger, unit) == left
    slots = list(ledger.slots(iter([unit])))
    assert {slot.id for slot, receipt in slots if receipt} == {name for name, _ in receipts}


def test_outstanding_keeps_the_order_of_units(ledger: Ledger) -> None:
    units = [make_unit(number) for number in range(4)]
    ledger.commit(make_receipt("00002"))
    ledger.split(units[1])
    assert list(outstanding(ledger, *units)) == ["00000", "00001-0", "00001-1", "00003"]


def test_a_sweep_deletes_what_no_commit_names(ledger: Ledger) -> None:
    keep = ledger.folder.data / "kept.parquet"
    shed = [
        ledger.folder.data / "train-00007-of-00009-0123abcd.parquet",
        ledger.folder.scratch / "half.parquet",
        ledger.folder.commits / ".00001.abc",
    ]
    failures = ledger.folder.quarantine / "00000-1.parquet"
    foreign = ledger.folder.data / "foreign.parquet"
    for path in [keep, *shed, failures, foreign]:
        path.touch()
    ledger.commit(make_receipt("00000", keep.name))
    ledger.commit(make_receipt("00003", None, (0, 1, 2, 3)))
    ledger.commit(make_receipt("00007", "train-00007-of-00009-4567abcd.parquet"))
    assert ledger.delete_orphans() == len(shed)
    assert not any(path.exists() for path in shed)
    assert keep.exists()
    assert failures.exists()
    assert foreign.exists()
    assert [receipt.unit for receipt in ledger.receipts()] == ["00000", "00003", "00007"]
    assert ledger.delete_orphans() == 0


def test_what_a_killed_run_left_of_animations_and_sheets_goes(ledger: Ledger) -> None:
    left = [
        partial(ledger.folder.out / "animations" / "w.gif"),
        partial(ledger.folder.out / "sheets" / "walk" / "w.png"),
    ]
    for path in left:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"half")
    assert ledger.delete_orphans() == 2
    assert not any(path.exists() for path in left)


def test_what_a_killed_run_left_of_its_record_goes_when_the_frames_are_done(ledger: Ledger) -> None:
    own = ledger.folder
    left = [partial(path) for path in (own.card, own.job, own.manifest, own.plan, own.sound("loop.m4a", "ab"))]
    for path in [own.card, own.plan, *left]:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    assert ledger.delete_orphans() == 0
    assert delete_partial_records(own) == len(left)
    assert not any(path.exists() for path in left)
    assert own.card.exists()
    assert own.plan.exists()


def test_the_lock_has_one_holder(ledger: Ledger) -> None:
    required = "required that no other run writes there"
    with ledger.lock(), pytest.raises(StoreError, match=required), Ledger(ledger.folder.out).lock():
        pass
    with Ledger(ledger.folder.out).lock():
        pass


def test_the_holder_of_the_lock_is_named(ledger: Ledger) -> None:
    ledger.folder.lock.write_text('{"host":"of a dead process","process":1,"since":"2020-01-01T00:00:00+00:00"}')
    with ledger.lock(), pytest.raises(StoreError) as caught, Ledger(ledger.folder.out).lock():
        pass
    assert f"process {os.getpid()} on {platform.node()}, since 20" in str(caught.value)
    assert "dead" not in str(caught.value)


def test_an_interrupted_claim_leaves_the_slot_free(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            ledger.commit(make_receipt("00000"))
    assert list((ledger.folder.commits).iterdir()) == []
    assert ledger.commit(make_receipt("00000"))


@pytest.mark.parametrize("receipt", [make_receipt("00007-0-r"), make_receipt("é", None, (0, 1, 2, 3))])
def test_receipts_come_back_from_json(receipt: Receipt) -> None:
    assert Receipt.from_json(receipt.to_json()) == receipt
