"""A unit of which a retry has rendered frames: when the others are damaged, the retry's stay byte for byte, and reverse."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from interrupted import every_stop
from nights import FRAMES, JOB, SHEETS, at_night, begin, flip_a_byte, kept, record_of, shard_of, told

from render import compact_store, repair_store, report_store, retry_store, run_job, verify_store
from render.store import Ledger

BAD = ("3d pear", "3d lake")  # of unit 00001


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output whose frames in quarantine were rendered with other seeds and at another batch size."""
    with at_night(*BAD):
        out = begin(tmp_path_factory.mktemp("night"))
    with at_night():
        assert retry_store(out, seed_shift=5, batch_rows=2).tried == 2
    return out


@pytest.fixture
def out(night: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copyfile(night.parent / "m.csv", tmp_path / "m.csv")
    return shutil.copytree(night, tmp_path / "out")


def run_again(out: Path) -> None:
    run_job(out.parent / "m.csv", *JOB, SHEETS, f"output={out}")


def test_what_a_retry_changed_is_used_by_a_repair(out: Path) -> None:
    frames = told(out)
    assert {frame[2:] for frame in frames.values()} == {(4, 0), (2, 5)}
    for damage in (Path.unlink, flip_a_byte):
        damage(shard_of(out, "00001-r"))
        with at_night() as rendered:
            repair_store(out)
        assert rendered == ["00001-r"]
        assert told(out) == frames
    record = record_of(out, "00001-r")
    record.write_text(record.read_text()[:-9])  # and its record cannot be read: then the shard tells
    with at_night() as rendered:
        repair_store(out)
    assert rendered == []
    assert told(out) == frames
    assert verify_store(out, deep=True).problems == ()


def test_a_retrys_frames_stay_when_the_others_are_damaged(out: Path) -> None:
    frames, before = told(out), kept(out)
    flip_a_byte(shard_of(out, "00001"))
    (found,) = verify_store(out).findings
    assert found.frames == "still-000003 0, still-000005 0"
    with at_night(*BAD) as rendered:  # the seeds and rows of then would fail again
        done = repair_store(out)
    assert (rendered, done.rendered, done.failed) == (["00001-a"], 2, 0)
    assert told(out) == frames
    after = kept(out)
    changed = {name for name in before if before[name] != after.get(name)}
    assert changed == {"00001.json", next(name for name in before if name.startswith("train-00001-of"))}
    assert verify_store(out, deep=True).problems == ()
    assert report_store(out).frames == FRAMES
    with at_night(*BAD) as rendered:
        run_again(out)
        assert repair_store(out).findings == ()
        assert retry_store(out).tried == 0
    assert rendered == []


def test_and_again_when_those_are_damaged(out: Path) -> None:
    frames = told(out)
    for slot, bad, again in (("00001", BAD, "00001-a"), ("00001-a", BAD, "00001-a"), ("00001-r", (), "00001-r")):
        flip_a_byte(shard_of(out, slot))
        with at_night(*bad) as rendered:
            repair_store(out)
        assert rendered == [again]
    assert told(out) == frames
    compact_store(out)
    (file,) = (out / "data").iterdir()
    assert told(out) == frames
    flip_a_byte(file)
    with at_night():
        assert repair_store(out).rendered == FRAMES
    assert told(out) == frames
    assert verify_store(out, deep=True).problems == ()


def test_both_are_damaged(out: Path) -> None:
    frames = told(out)
    for slot in ("00001", "00001-r"):
        flip_a_byte(shard_of(out, slot))
    with at_night() as rendered:
        assert repair_store(out).failed == 0
    assert sorted(rendered) == ["00001-a", "00001-r"]
    assert told(out) == frames


@pytest.mark.parametrize("has_shard", [True, False])
def test_a_retry_tells_which_frames_had_failed(out: Path, has_shard: bool) -> None:
    """The record of the unit is gone, its shard is damaged or gone, too."""
    frames = told(out)
    record_of(out, "00001").unlink()
    flip_a_byte(shard_of(out, "00001"))
    if not has_shard:
        shard_of(out, "00001").unlink()
    with at_night(*BAD) as rendered:
        assert repair_store(out).rendered == 2
    assert rendered == ["00001-a"]
    assert verify_store(out, deep=True).problems == ()
    assert told(out) == frames


def test_a_run_goes_on_with_what_a_repair_has_begun(out: Path) -> None:
    frames, (receipt,) = told(out), [one for one in Ledger(out).receipts() if one.unit == "00001"]
    Ledger(out).note_lost(receipt, str(receipt.file))
    (found,) = verify_store(out).findings
    assert (found.kind, found.where) == ("missing", "unit 00001-a")
    with at_night() as rendered:
        run_again(out)
    assert rendered == ["00001-a"]
    assert told(out) == frames


@pytest.mark.long
@pytest.mark.slow
def test_a_repair_of_it_may_be_stopped_anywhere(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames, retried = told(out), shard_of(out, "00001-r").read_bytes()
    flip_a_byte(shard_of(out, "00001"))
    with at_night():
        for number, stopped in every_stop(out, repair_store, monkeypatch, least=4):
            if number % 2 == 0 or any(one.kind == "corrupt" for one in verify_store(stopped).findings):
                repair_store(stopped)
            else:
                run_job(out.parent / "m.csv", *JOB, SHEETS, f"output={stopped}")
            assert told(stopped) == frames
            assert shard_of(stopped, "00001-r").read_bytes() == retried
            assert verify_store(stopped).problems == ()
