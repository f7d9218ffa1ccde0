"""Compaction: the same rows in fewer files, whatever is killed when; what comes after understands them."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from interrupted import every_stop
from stores import FRAMES, Finished, pixels, rendering_here, run_here
from test_repair import files

from render import StoreError, compact_store, open_store, repair_store, verify_store
from render.cli import main
from render.run import animate_store
from render.store import Ledger

pytest_plugins = ["stores"]


def rows(out: Path) -> list[dict[str, object]]:
    """Every row of a store, in the order of its files."""
    found: list[dict[str, object]] = open_store(out).dataset().to_table().to_pylist()
    return found


def test_the_same_rows_in_one_file(finished: Finished, copied: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compact", str(copied.out)]) == 0
    assert capsys.readouterr().out == "4 shards merged; the dataset has 1 file now\n"
    (file,) = (copied.out / "data").iterdir()
    assert file.name.startswith("train-00000-to-00003-")
    assert rows(copied.out) == rows(finished.out)
    assert pq.read_schema(file).equals(pq.read_schema(open_store(finished.out).files[0]), check_metadata=True)
    assert pq.read_metadata(file).num_row_groups == 1
    assert [frame.index for frame in open_store(copied.out).frames("ball")] == list(range(9))
    verdict = verify_store(copied.out, deep=True)
    assert (verdict.frames, verdict.problems) == (FRAMES, ())


def test_a_second_compaction_and_a_run_do_nothing(copied: Finished) -> None:
    compact_store(copied.out)
    before = files(copied.out)
    assert compact_store(copied.out).merged == 0
    summary = run_here(copied.manifest, *copied.overrides, f"output={copied.out}")
    assert (summary.frames, summary.quarantined) == (FRAMES, 0)
    assert files(copied.out) == before
    assert animate_store(copied.out)


def test_files_are_no_larger_than_asked(finished: Finished, copied: Finished) -> None:
    sizes = [receipt.size_bytes for receipt in Ledger(copied.out).receipts()]
    done = compact_store(copied.out, max(sizes[0] + sizes[1], sizes[2] + sizes[3]))
    assert (done.merged, done.files) == (4, 2)
    assert rows(copied.out) == rows(finished.out)
    assert verify_store(copied.out, deep=True).problems == ()
    assert compact_store(copied.out, 1).merged == 0


def test_shards_whose_records_are_all_lost_are_not_deleted(copied: Finished) -> None:
    before = {path.name: path.read_bytes() for path in (copied.out / "data").iterdir()}
    for record in (copied.out / ".run" / "commits").iterdir():
        record.unlink()
    with pytest.raises(StoreError, match="required commit records, got none for 4 shards in data/"):
        compact_store(copied.out)
    assert {path.name: path.read_bytes() for path in (copied.out / "data").iterdir()} == before


def test_a_damaged_store_is_not_merged(copied: Finished) -> None:
    shard = max((copied.out / "data").iterdir())
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    before = files(copied.out)
    with pytest.raises(StoreError, match=r"`render repair .*copy` mends it"):
        compact_store(copied.out)
    assert files(copied.out) == before


def test_a_compaction_may_be_stopped_anywhere(
    finished: Finished, copied: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its n-th change of the folder, for all n: no frame is lost or twice, and the next one ends it."""
    whole = rows(finished.out)
    for _, out in every_stop(copied.out, compact_store, monkeypatch, least=5):
        verdict = verify_store(out, deep=True)
        assert verdict.frames == FRAMES
        assert {one.kind for one in verdict.findings} <= {"orphan"}
        assert rows(out) == whole
        compact_store(out)
        assert verify_store(out).problems == ()
        assert rows(out) == whole


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["file", "byte", "compaction", "commit", "empty"])
def test_damage_after_a_compaction_is_mended(finished: Finished, copied: Finished, lost: str) -> None:
    compact_store(copied.out)
    (file,) = (copied.out / "data").iterdir()
    (record,) = (copied.out / ".run" / "compactions").iterdir()
    if lost == "byte":
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    elif lost == "empty":
        record.write_text("")
    else:
        {"file": file, "compaction": record, "commit": copied.out / ".run/commits/00001.json"}[lost].unlink()
    found = verify_store(copied.out).findings
    assert any(one.kind == "corrupt" for one in found)
    with rendering_here():
        if lost != "byte":  # which nobody sees who does not read it
            assert main(["run", str(copied.manifest), *copied.overrides, f"output={copied.out}"]) == 2
        repair_store(copied.out)
    assert verify_store(copied.out, deep=True).problems == ()
    assert pixels(copied.out) == pixels(finished.out)


@pytest.mark.slow
@pytest.mark.long
def test_a_repair_after_a_compaction_may_be_stopped_anywhere(
    finished: Finished, copied: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    compact_store(copied.out)
    next((copied.out / "data").iterdir()).unlink()
    with rendering_here():
        for _, out in every_stop(copied.out, repair_store, monkeypatch, least=5):
            repair_store(out)
            assert verify_store(out, deep=True).problems == ()
            assert pixels(out) == pixels(finished.out)
