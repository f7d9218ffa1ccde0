"""A store whose own files are of odd kinds, or whose records lie: each command names it, and none waits or trips."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from odd_files import device, loop, pipe
from stores import Finished, rendering_here

from render import StoreError, compact_store, repair_store, report_store, verify_store
from render.cli import main
from render.mending.report_page import text_of

pytest_plugins = ["stores"]


def change(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_a_wrong_size_in_a_record_is_found_and_mended(copied: Finished) -> None:
    change(copied.out / ".run/commits/00001.json", size_bytes=3)
    (problem,) = verify_store(copied.out).problems
    assert "not the 3 that were committed" in problem
    with rendering_here():
        repair_store(copied.out)
    assert verify_store(copied.out, deep=True).problems == ()
    assert compact_store(copied.out).files == 1


def test_a_wrong_size_of_a_compact_file_is_found(copied: Finished) -> None:
    compact_store(copied.out)
    (record,) = (copied.out / ".run/compactions").iterdir()
    change(record, size_bytes=3)
    assert any("not the 3 that were committed" in problem for problem in verify_store(copied.out).problems)


@pytest.mark.parametrize("make", [pipe, loop, device])
@pytest.mark.parametrize("pattern", [".run/commits/00001.json", "data/train-00001-*"])
def test_records_and_shards_of_odd_kinds_are_damage(
    copied: Finished, make: Callable[[Path], None], pattern: str
) -> None:
    (file,) = copied.out.glob(pattern)
    file.unlink()
    make(file)
    found = verify_store(copied.out).findings
    assert found[0].kind == "corrupt"
    assert found[0].where == str(file.relative_to(copied.out))
    with pytest.raises(StoreError, match="damaged"):
        compact_store(copied.out)
    with rendering_here():
        repair_store(copied.out)
    assert verify_store(copied.out, deep=True).problems == ()


@pytest.mark.parametrize("make", [pipe, loop, device, Path.mkdir])
def test_a_log_of_an_odd_kind_is_none(copied: Finished, make: Callable[[Path], None]) -> None:
    log = copied.out / ".run/log.jsonl"
    log.unlink()
    make(log)
    assert report_store(copied.out).pace == ()


@pytest.mark.parametrize("frames", ["-5", "true", "9" * 400])
def test_a_log_with_odd_numbers_is_read(copied: Finished, frames: str) -> None:
    with (copied.out / ".run/log.jsonl").open("a", encoding="utf-8") as log:
        log.write(f'{{"time": "2026-01-01T00:00:00+00:00", "event": "commit", "frames": {frames}}}\n')
    assert "committed" in text_of(report_store(copied.out))


@pytest.mark.parametrize("values", [{"targets": 7}, {"rows": None}, {"fingerprint": []}, {"fingerprint": {}}])
def test_a_plan_of_wrong_types_is_refused(copied: Finished, values: dict[str, object]) -> None:
    change(copied.out / ".run/plan.json", **values)
    with pytest.raises(StoreError, match="required an output folder of this version"):
        verify_store(copied.out)


@pytest.mark.parametrize("make", [pipe, device, loop, Path.mkdir, lambda file: file.write_text("[" * 100_000)])
def test_a_plan_of_an_odd_kind_is_refused(copied: Finished, make: Callable[[Path], object]) -> None:
    plan = copied.out / ".run/plan.json"
    plan.unlink()
    make(plan)
    with pytest.raises(StoreError, match="required an output folder of this version"):
        verify_store(copied.out)


def test_a_page_that_can_not_be_written_is_refused_first(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(finished.out), "--html", str(tmp_path / "none/page.html")]) == 2
    assert main(["report", str(finished.out), "--html", str(tmp_path)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("required a file to write") == 2


@pytest.mark.parametrize("room", ["data", ".run/commits", ".run/quarantine", ".run/scratch", ".run/batches"])
def test_a_file_in_the_place_of_a_folder_is_named(copied: Finished, room: str) -> None:
    (copied.out / room).rename(copied.out / "away")
    (copied.out / room).write_text("mine")
    assert report_store(copied.out).out == copied.out
    verify_store(copied.out)
    for command in (compact_store, repair_store):
        with pytest.raises(StoreError, match=f"{room}: required a folder, got a file"):
            command(copied.out)
    assert (copied.out / room).read_text() == "mine"


@pytest.mark.parametrize("make", [loop, Path.mkdir, lambda lock: lock.symlink_to("plan.json")])
def test_a_lock_of_an_odd_kind_is_named(copied: Finished, make: Callable[[Path], object]) -> None:
    lock = copied.out / ".run" / "lock"
    lock.unlink()
    make(lock)
    plan = (copied.out / ".run" / "plan.json").read_bytes()
    assert verify_store(copied.out).problems == ()
    with pytest.raises(StoreError, match="lock: required a file of our own, got a"):
        repair_store(copied.out)
    assert (copied.out / ".run" / "plan.json").read_bytes() == plan


@pytest.mark.parametrize("slot", ["00099", "00001-0", "00003-1-0"])
def test_a_stray_note_of_a_split_is_found_and_taken_out(copied: Finished, slot: str) -> None:
    note = copied.out / ".run" / "commits" / f"{slot}.json"
    note.write_text('{"split":true}')
    (found,) = verify_store(copied.out).findings
    assert (found.kind, found.where) == ("extra", f".run/commits/{slot}.json")
    assert repair_store(copied.out).rendered == 0
    assert not note.exists()
    assert verify_store(copied.out).problems == ()


@pytest.mark.parametrize("make", [Path.unlink, lambda file: file.write_text("{{"), lambda file: file.write_text("")])
def test_a_lost_job_is_named_and_written_anew(
    copied: Finished, make: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    job, whole = copied.out / ".run" / "job.yaml", (copied.out / ".run" / "job.yaml").read_text()
    make(job)
    (found,) = verify_store(copied.out).findings
    assert found.line("OUT").startswith(".run/job.yaml: required")
    assert found.line("OUT").endswith("; the command of the run writes it anew")
    assert main(["repair", str(copied.out)]) == 2
    assert "; the command of the run writes it anew" in capsys.readouterr().err
    assert main(["run", str(copied.manifest), *copied.overrides, "sheets.kinds=[]", f"output={copied.out}"]) == 0
    assert "job.yaml: could not be read; written anew" in capsys.readouterr().err
    assert job.read_text().splitlines()[0] == whole.splitlines()[0]
    assert verify_store(copied.out).problems == ()
    assert repair_store(copied.out).findings == ()


def test_a_manifest_in_whose_place_is_a_folder_is_named(copied: Finished) -> None:
    manifest = copied.out / ".run" / "manifest.parquet"
    manifest.unlink()
    manifest.mkdir()
    (found,) = verify_store(copied.out).findings
    assert found.problem == "required the manifest that was planned, got a folder"
    with pytest.raises(StoreError, match="required a file, got a folder"):
        repair_store(copied.out)
