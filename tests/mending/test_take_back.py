"""Nothing that was rendered is deleted, or rendered again, because a small record was lost: whole files are taken back."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from interrupted import every_stop
from nights import FRAMES, JOB, SHEETS, at_night, begin, flip_a_byte, record_of, shard_of, told

from render import compact_store, open_store, repair_store, report_store, retry_store, run_job, verify_store
from render.cli import main
from render.core import Receipt
from render.plan import plan_units
from render.prepare import load_plan, stored_manifest
from render.store import Ledger

BAD = ("3d pear", "3d lake", "3d hill", "3d sea")  # of unit 00001 two, of unit 00002 all


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output with a unit in halves, retries with other seeds and rows, and frames that are in quarantine still."""
    with at_night(*BAD):
        ledger = Ledger(begin(tmp_path_factory.mktemp("night")))
    shard_of(ledger.folder.out, "00000").unlink()
    record_of(ledger.folder.out, "00000").unlink()
    first = next(iter(plan_units(stored_manifest(ledger.folder.out).walks, load_plan(ledger.folder.out))))
    assert ledger.split(first)
    with at_night("3d lake", "3d sea"):
        repair_store(ledger.folder.out)
        retry_store(ledger.folder.out, seed_shift=5, batch_rows=2)
    slots = {receipt.unit for receipt in ledger.receipts()}
    assert slots == {"00000-0", "00000-1", "00001", "00001-r", "00002", "00002-r"}
    return ledger.folder.out


@pytest.fixture
def out(night: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copyfile(night.parent / "m.csv", tmp_path / "m.csv")
    return shutil.copytree(night, tmp_path / "out")


def lose_all(out: Path) -> None:
    for record in (out / ".run" / "commits").iterdir():
        record.unlink()


def lose_one(out: Path) -> None:
    record_of(out, "00001").unlink()


def lose_an_empty_one(out: Path) -> None:
    record_of(out, "00002").unlink()


def lose_the_split(out: Path) -> None:
    for slot in ("00000", "00000-0", "00000-1"):
        record_of(out, slot).unlink()


def lose_a_retry(out: Path) -> None:
    record_of(out, "00001-r").unlink()


def empty_one(out: Path) -> None:
    record_of(out, "00001").write_text("")


def count_wrongly(out: Path) -> None:
    path = record_of(out, "00001")
    path.write_text(path.read_text().replace('"quarantined":[1,3]', '"quarantined":[1]'))


LOSSES = [lose_all, lose_one, lose_an_empty_one, lose_the_split, lose_a_retry, empty_one, count_wrongly]


def run_again(out: Path) -> object:
    return run_job(out.parent / "m.csv", *JOB, SHEETS, f"output={out}")


@pytest.mark.parametrize("lose", LOSSES)
def test_a_repair_takes_whole_shards_back(out: Path, lose: Callable[[Path], None]) -> None:
    frames = told(out)
    files = {path.name: path.read_bytes() for path in (out / "data").iterdir()}
    lose(out)
    with at_night(*BAD) as rendered:
        done = repair_store(out)
    untold = ["00002-a"] if lose is lose_all else []  # a frame of a retry that had failed, which no record says now
    assert (rendered, done.rendered, done.failed) == (untold, 0, len(untold))
    assert (done.taken_back > 0) == (lose is not lose_an_empty_one)
    assert {path.name: path.read_bytes() for path in (out / "data").iterdir()} == files
    assert told(out) == frames
    assert {one.kind for one in verify_store(out, deep=True).findings} == {"quarantined"}
    with at_night() as rendered:
        retry_store(out)
    assert len(told(out)) == FRAMES
    assert rendered == ["00001-r-r", "00002-a-r" if untold else "00002-r-r"]
    assert verify_store(out, deep=True).problems == ()


def test_a_run_takes_whole_shards_back_and_says_so(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files, frames = {path.name for path in (out / "data").iterdir()}, told(out)
    lose_all(out)
    assert main(["verify", str(out)]) == 1
    said = capsys.readouterr().out
    assert said.count("no commit names it; `render repair") == 5
    assert "or the command of the run, takes its frames back if it is whole" in said
    assert "5 shards have no commit record: `render repair" in report_store(out).next_steps[0]
    with at_night() as rendered:
        assert main(["run", str(out.parent / "m.csv"), *JOB, SHEETS, f"output={out}"]) == 0
    assert rendered == ["00001-r-r", "00002-a"]
    assert "warning: 8 frames had no commit record" in capsys.readouterr().err
    assert files < {path.name for path in (out / "data").iterdir()}
    assert frames.items() < told(out).items()
    assert verify_store(out, deep=True).problems == ()


@pytest.mark.parametrize("again", [repair_store, run_again])
def test_what_is_not_whole_is_kept_aside(out: Path, again: Callable[[Path], object]) -> None:
    frames, broken = told(out), shard_of(out, "00001")
    flip_a_byte(broken)
    lose_all(out)
    with at_night() as rendered:
        again(out)
    assert rendered[0] == "00001-a"
    assert (out / ".run" / "damaged" / broken.name).is_file()
    now = told(out)
    assert {place: now[place] for place in frames if place[0] == "a"} == {
        p: f for p, f in frames.items() if p[0] == "a"
    }
    assert {one.kind for one in verify_store(out, deep=True).findings} <= {"quarantined"}
    assert verify_store(out).frames + len(verify_store(out).findings) == FRAMES


def test_a_shard_of_another_plan_is_kept_aside(out: Path) -> None:
    strange = out / "data" / "train-00077-of-00099-0123abcd.parquet"
    shutil.copyfile(shard_of(out, "00001"), strange)
    assert any(one.kind == "unrecorded" and strange.name in one.where for one in verify_store(out).findings)
    with at_night():
        run_again(out)
    assert not strange.exists()
    assert (out / ".run" / "damaged" / strange.name).is_file()


def test_a_second_shard_of_a_committed_unit_goes(out: Path) -> None:
    second = out / "data" / "train-00001-of-00003-0123abcd.parquet"
    shutil.copyfile(shard_of(out, "00001"), second)
    assert any(one.kind == "orphan" and second.name in one.where for one in verify_store(out).findings)
    with at_night():
        repair_store(out)
    assert not second.exists()


def test_a_worker_whose_shard_was_taken_does_not_delete_it(out: Path) -> None:
    ledger = Ledger(out)
    receipt = next(one for one in ledger.receipts() if one.unit == "00001")
    late = Receipt(receipt.unit, receipt.file, 2, 100, "ab", 1.0, 4, host="late")
    assert ledger.commit(late)
    assert not ledger.commit(Receipt("00001", "train-00001-of-00003-0123abcd.parquet", 2, 100, "ab", 1.0, 4))


def damage_record(out: Path) -> None:
    (record,) = (out / ".run" / "compactions").iterdir()
    record.write_text("{")


def lose_record(out: Path) -> None:
    (record,) = (out / ".run" / "compactions").iterdir()
    record.unlink()


def lose_record_and_commits(out: Path) -> None:
    lose_record(out)
    lose_all(out)


def lose_record_and_a_commit(out: Path) -> None:
    lose_record(out)
    lose_one(out)


COMPACT = [damage_record, lose_record, lose_record_and_commits, lose_record_and_a_commit, lose_one, empty_one, lose_all]


@pytest.mark.parametrize("lose", COMPACT)
def test_the_records_of_a_compact_file_are_written_anew(out: Path, lose: Callable[[Path], None]) -> None:
    frames = told(out)
    assert compact_store(out).merged == 5
    (file,) = (out / "data").iterdir()
    whole = file.read_bytes()
    lose(out)
    with at_night() as rendered:
        done = repair_store(out)
    assert (rendered, done.rendered, done.aside) == ([], 0, ())
    assert [path.read_bytes() for path in (out / "data").iterdir()] == [whole]
    assert told(out) == frames
    assert {one.kind for one in verify_store(out, deep=True).findings} == {"quarantined"}
    with at_night():
        retry_store(out)
        run_again(out)
    assert len(told(out)) == FRAMES
    compact_store(out)
    assert verify_store(out, deep=True).problems == ()


def test_a_run_does_not_delete_a_compact_file_without_records(out: Path) -> None:
    frames = told(out)
    compact_store(out)
    lose_record_and_commits(out)
    with at_night() as rendered:
        run_again(out)
    assert rendered == [
        "00001-r-r",
        "00002-r",
    ]  # of 00002 no frame had been right at first, which nobody knows any more
    assert frames.items() < told(out).items()


@pytest.mark.slow
@pytest.mark.parametrize("lose", [lose_all, lose_record_and_commits])
@pytest.mark.long
def test_taking_back_may_be_stopped_anywhere(
    out: Path, lose: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = told(out)
    if lose is lose_record_and_commits:
        compact_store(out)
    lose(out)
    with at_night(*BAD) as rendered:
        for _, stopped in every_stop(out, repair_store, monkeypatch, least=6):
            repair_store(stopped)
            assert told(stopped) == frames
            assert {one.kind for one in verify_store(stopped).findings} == {"quarantined"}
            assert len(open_store(stopped)) == 8
    assert {*rendered} <= {"00002-a"}  # a frame that had failed, which no record says then
