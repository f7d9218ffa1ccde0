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


@pytest.mark.parametrize("make", [pipe, device, lambda file: file.write_text("[" * 100_000)])
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
