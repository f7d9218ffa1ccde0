"""A killed export goes on with the same command; another one into its folder is refused."""

from __future__ import annotations

import fcntl
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from exports import export, files_of, rows_of
from interrupted import every_stop

from render import StoreError, compact_store
from render.catalog import ScoreFiles, write_marks
from render.catalog.sidecars import MARKS
from render.export.targets import TARGETS
from render.export.work import Part, Work

pytest_plugins = ["exports"]
OPTIONS: dict[str, Any] = {"splits": "train=0.6,test=0.4"}
SMALL = {"hf": "400kB", "webdataset": "400kB", "lance": "400kB"}  # sizes of files, so that there are several


def options(to: str) -> dict[str, Any]:
    return OPTIONS | ({"max_shard": SMALL[to]} if to in SMALL else {})


@pytest.mark.parametrize(
    "to", ["hf", *(pytest.param(to, marks=pytest.mark.long) for to in ("webdataset", "imagefolder", "kohya", "csv"))]
)
def test_an_export_goes_on_from_every_stop(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    (tmp_path / "empty").mkdir()
    export(store, tmp_path / "all-at-once", to, **options(to))
    wanted = files_of(tmp_path / "all-at-once")
    for _, folder in every_stop(
        tmp_path / "empty", lambda folder: export(store, folder, to, **options(to)), monkeypatch, 4
    ):
        export(store, folder, to, **options(to))
        assert files_of(folder) == wanted


def test_finished_parts_stay(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Part] = []
    hf = TARGETS["hf"]

    def write(work: Work, part: Part, samples: Any) -> None:
        if len(written) == 3:
            raise KeyboardInterrupt
        hf.write_part(work, part, samples)
        written.append(part)

    monkeypatch.setitem(TARGETS, "hf", replace(hf, write_part=write))
    with pytest.raises(KeyboardInterrupt):
        export(store, tmp_path / "out", max_shard="200kB")
    before = {path: path.stat().st_ino for path in (tmp_path / "out" / "data").iterdir()}
    assert len(before) == 3
    monkeypatch.setitem(TARGETS, "hf", hf)
    done = export(store, tmp_path / "out", max_shard="200kB")
    assert {path: path.stat().st_ino for path in before} == before
    assert 0 < done.written < sum(done.frames.values())
    again = export(store, tmp_path / "out", max_shard="200kB")
    assert (again.written, again.frames, again.size_bytes) == (0, done.frames, done.size_bytes)


def test_lance_goes_on_after_a_part_that_was_not_noted(store: Path, tmp_path: Path) -> None:
    lance = pytest.importorskip("lance")
    export(store, tmp_path / "whole", "lance", **options("lance"))
    shutil.copytree(tmp_path / "whole", tmp_path / "out")
    notes = tmp_path / "out" / ".export"
    (notes / "export.json").write_text((notes / "export.json").read_text().replace('"done": true', '"done": false'))
    last = sorted(notes.glob("train-*.json"))[-1]
    last.unlink()
    export(store, tmp_path / "out", "lance", **options("lance"))
    whole, found = (lance.dataset(str(tmp_path / name / "train.lance")).to_table() for name in ("whole", "out"))
    assert found.equals(whole)


def test_another_command_is_refused_with_what_differs(store: Path, tmp_path: Path) -> None:
    export(store, tmp_path / "out", where="frame = 0")
    before = files_of(tmp_path / "out")
    with pytest.raises(StoreError) as raised:
        export(store, tmp_path / "out", "webdataset", where="frame = 1", balance="thing")
    told = str(raised.value).splitlines()
    assert "required the export that was begun there" in told[0]
    assert {line.split(":")[0].strip() for line in told[1:]} >= {"to", "where", "balance", "frames"}
    assert "  to: 'hf' then, 'webdataset' now" in told
    assert files_of(tmp_path / "out") == before


def test_other_frames_than_then_are_refused(copied_store: Path, tmp_path: Path) -> None:
    export(copied_store, tmp_path / "out")
    compact_store(copied_store)
    export(copied_store, tmp_path / "out")  # the same frames in the same order
    ScoreFiles(copied_store, "phash").write(pa.table({"key": ["none"], "group": ["g"]}), {})
    with pytest.raises(StoreError, match=r"columns: .* then, .*'group VARCHAR'"):
        export(copied_store, tmp_path / "out")
    marks = [{"key": keys(copied_store)[0], "mark": "keep"}]
    write_marks(copied_store, pa.Table.from_pylist(marks, MARKS))
    export(copied_store, tmp_path / "marked", where="mark = 'keep'", columns=("walk",))
    marks = [{"key": keys(copied_store)[1], "mark": "keep"}]
    write_marks(copied_store, pa.Table.from_pylist(marks, MARKS))
    with pytest.raises(StoreError, match="the store: it has other frames, scores or marks now than then"):
        export(copied_store, tmp_path / "marked", where="mark = 'keep'", columns=("walk",))


def keys(out: Path) -> list[str]:
    return [row["key"] for row in rows_of(out).values()]


def test_two_at_once_are_refused(store: Path, tmp_path: Path) -> None:
    export(store, tmp_path / "out")
    with (tmp_path / "out" / ".export" / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="required that nobody else exports there"):
            export(store, tmp_path / "out")
