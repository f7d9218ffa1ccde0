"""Whole runs: the same bits from any number of workers, whatever interrupts them, in files that anybody can open."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import yaml
from stores import (
    FRAMES,
    JOB,
    MANIFEST,
    Finished,
    command,
    environment,
    pixels,
    processes_of,
    run_command,
    snapshot,
    wait_until,
)

from render import StoreError, open_store, run_job
from render.cli import main
from render.ledger import Ledger
from render.run import animate_store

pytest_plugins = ["stores"]


def test_store_holds_every_frame_once(finished: Finished) -> None:
    assert len(pixels(finished.out)) == FRAMES
    assert [len(open_store(finished.out).frames(walk)) for walk in open_store(finished.out).walks] == [9, 1, 1, 1, 1, 1]


def test_two_workers_give_the_same_pixels(finished: Finished, tmp_path: Path) -> None:
    summary = run_job(
        finished.manifest, *finished.overrides, "workers.count=2", "animation.formats=[]", f"output={tmp_path / 'out'}"
    )
    assert summary.animations == ()
    assert pixels(summary.out) == pixels(finished.out)


def test_a_walk_begins_and_ends_on_the_stills_of_its_keyframes(finished: Finished) -> None:
    store = open_store(finished.out)
    for index, still in ((0, "still-000003"), (8, "still-000004")):
        frame, picture = store.frame("ball", index), store.frame(still)
        assert frame.row["sha256"] == picture.row["sha256"]
        assert frame.data == picture.data


# Interrupted runs. One-frame units in pairs keep the run busy for several seconds after its first commit.


@pytest.fixture
def small_units(finished: Finished, tmp_path: Path) -> tuple[object, ...]:
    """Arguments of a run that commits often."""
    return "run", finished.manifest, *JOB, "store.unit_frames=1", "animation.formats=[]", f"output={tmp_path / 'out'}"


def start(tmp: Path, arguments: tuple[object, ...]) -> subprocess.Popen[str]:
    """A run as the leader of its own process group."""
    return subprocess.Popen(
        command(*arguments),
        env=environment(tmp),
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def commits(out: Path) -> set[str]:
    return {path.name for path in (out / ".run" / "commits").glob("[!.]*.json")}


def wait_for_commit(run: subprocess.Popen[str], out: Path) -> None:
    wait_until(lambda: commits(out) or run.poll() is not None, "the first commit")
    assert run.poll() is None, run.communicate()


def check_complete(out: Path, reference: Path) -> None:
    """Everything is there once, as in an undisturbed run, and nothing else."""
    assert pixels(out) == pixels(reference)
    assert {path.name for path in (out / "data").iterdir()} == {receipt.file for receipt in Ledger(out).receipts()}
    assert not list((out / ".run" / "scratch").iterdir())
    assert main(["verify", str(out)]) == 0


def test_kill_and_resume(finished: Finished, small_units: tuple[object, ...], tmp_path: Path, short_tmp: Path) -> None:
    out = tmp_path / "out"
    with start(short_tmp, small_units) as run:
        wait_for_commit(run, out)
        os.killpg(run.pid, signal.SIGKILL)
    wait_until(lambda: not processes_of(short_tmp), "the end of every process of the run")
    before = commits(out)
    assert 1 <= len(before) < FRAMES
    kept = {name: (out / ".run" / "commits" / name).read_bytes() for name in before}
    assert main(["verify", str(out)]) == 1
    (out / "data" / "train-00099-of-00014-deadbeef.parquet").write_bytes(b"of a worker that died before its commit")

    resumed = run_command(short_tmp, *small_units)
    assert resumed.returncode == 0, resumed.stderr
    assert f"{FRAMES} frames, {len(before)} of them done before" in resumed.stderr
    assert {name: (out / ".run" / "commits" / name).read_bytes() for name in before} == kept
    check_complete(out, finished.out)
    assert not processes_of(short_tmp)


def test_interrupt_and_resume(
    finished: Finished, small_units: tuple[object, ...], tmp_path: Path, short_tmp: Path
) -> None:
    out = tmp_path / "out"
    with start(short_tmp, small_units) as run:
        wait_for_commit(run, out)
        os.killpg(run.pid, signal.SIGINT)  # what Ctrl-C does
        _, said = run.communicate(timeout=60)
    assert run.returncode == 1
    assert said.endswith("render: stopped. What is committed stays; the same command resumes.\n")
    assert "Traceback" not in said
    wait_until(lambda: not processes_of(short_tmp), "the end of every process of the run")
    assert not list(short_tmp.glob("render-*")), "Ray's files are left"
    before = commits(out)
    assert 1 <= len(before) < FRAMES

    resumed = run_command(short_tmp, *small_units)
    assert resumed.returncode == 0, resumed.stderr
    assert before <= commits(out)
    check_complete(out, finished.out)


# What is refused, and what is left alone.


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ("seed=5", "manifest"),  # the still without a seed takes another
        ("sampling.steps=7", "manifest"),
        ("model.dtype=float32", "model.dtype"),
        ("store.format=webp", "store.format"),
        ("store.unit_frames=5", "store.unit_frames"),
        ("workers.rows=8", "workers.rows"),
        ("workers.cpus=2", "workers.cpus"),
    ],
)
def test_another_job_is_refused(finished: Finished, tmp_path: Path, changed: str, field: str) -> None:
    out = shutil.copytree(finished.out, tmp_path / "copy")
    manifest, before = finished.manifest, snapshot(out)
    if changed.startswith("seed"):  # a job's seed shows where a row has none
        manifest = tmp_path / "small.csv"
        manifest.write_text(MANIFEST.replace("flat red apple,,1,", "flat red apple,,,"), encoding="utf-8")
    with pytest.raises(StoreError, match=re.escape(f"\n  {field}")):
        run_job(manifest, *finished.overrides, f"output={out}", changed)
    assert snapshot(out) == before


def test_the_refusal_names_only_what_differs(copied: Finished) -> None:
    with pytest.raises(StoreError) as caught:
        run_job(copied.manifest, *copied.overrides, f"output={copied.out}", "model.dtype=float32", "store.format=jpeg")
    assert str(caught.value).splitlines()[1:] == [
        "  model.dtype: auto then, float32 now",
        "  store.format: png then, jpeg now",
        "Give it another output=FOLDER, or finish the first job as it was.",
    ]


def test_another_manifest_is_refused_with_exit_code_2(copied: Finished, tmp_path: Path) -> None:
    other, before = tmp_path / "small.csv", snapshot(copied.out)
    other.write_text(MANIFEST.replace("rocket", "castle"), encoding="utf-8")
    assert main(["run", str(other), *copied.overrides, f"output={copied.out}"]) == 2
    assert snapshot(copied.out) == before


def test_a_folder_with_other_files_is_refused(finished: Finished, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("irreplaceable")
    with pytest.raises(StoreError, match="required a new or empty folder"):
        run_job(finished.manifest, *finished.overrides, f"output={tmp_path / 'out'}")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_a_second_run_in_one_folder_is_refused(copied: Finished) -> None:
    before = snapshot(copied.out)
    with Ledger(copied.out).lock(), pytest.raises(StoreError, match="no other run writes there"):
        run_job(copied.manifest, *copied.overrides, f"output={copied.out}")
    assert snapshot(copied.out) == before


def test_a_finished_job_renders_nothing_again(copied: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "render.cluster", None)  # an import of it raises
    before = snapshot(copied.out / "data"), snapshot(copied.out / ".run" / "commits")
    assert main(["run", str(copied.manifest), *copied.overrides, f"output={copied.out}"]) == 0
    assert (snapshot(copied.out / "data"), snapshot(copied.out / ".run" / "commits")) == before


# What comes out.


def read_datasets(out: Path, tmp: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, Any]]:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    images = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp))
    assert isinstance(images.features["image"], datasets.Image)
    assert images.features["kind"].dtype == "int64"
    assert images[0]["image"].size == (128, 128)
    columns = images.select_columns(["walk", "frame", "kind"])[:]
    return list(zip(columns["walk"], columns["frame"], columns["kind"], strict=True))


def read_duckdb(out: Path, tmp: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, Any]]:
    import duckdb

    with duckdb.connect() as connection:
        return connection.sql(f"select walk, frame, kind from '{out}/data/*.parquet'").fetchall()


def read_pandas(out: Path, tmp: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, Any]]:
    import pandas as pd

    table = pd.read_parquet(out / "data")
    assert table["image"][0]["bytes"].startswith(b"\x89PNG")
    kinds = [None if pd.isna(kind) else int(kind) for kind in table["kind"]]
    return list(zip(table["walk"], table["frame"], kinds, strict=True))


def read_pyarrow(out: Path, tmp: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, Any]]:
    table = ds.dataset(out / "data").to_table()
    assert table.schema.field("kind").type == pa.int64()
    columns = table.select(["walk", "frame", "kind"]).to_pydict()
    return list(zip(columns["walk"], columns["frame"], columns["kind"], strict=True))


@pytest.mark.parametrize("read", [read_datasets, read_duckdb, read_pandas, read_pyarrow])
def test_others_open_it_as_it_is(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[..., list[tuple[str, int, Any]]]
) -> None:
    expected = [("ball", index, 1) for index in range(9)]
    expected += [(f"still-{row:06d}", 0, kind) for row, kind in zip(range(3, 8), (2, 2, 3, None, 5), strict=True)]
    assert sorted(read(finished.out, tmp_path, monkeypatch)) == expected


def test_rows_say_what_they_were_made_of(finished: Finished) -> None:
    row = open_store(finished.out).frame("still-000005").row
    said = {name: row[name] for name in ("prompt", "seed", "step", "cfg", "sampler", "width", "height", "rows", "kind")}
    assert said == {
        "prompt": "flat red apple",
        "seed": 1,
        "step": 5,
        "cfg": 7.5,
        "sampler": "euler",
        "width": 128,
        "height": 128,
        "rows": 16,
        "kind": 3,
    }


def test_card_tells_datasets_what_to_load(finished: Finished) -> None:
    _, front, body = (finished.out / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    card = yaml.safe_load(front)
    (files,) = card["configs"][0]["data_files"]
    shards = sorted((finished.out / "data").iterdir())
    assert sorted(finished.out.glob(files["path"])) == shards
    assert files["split"] == "train"
    assert f"{FRAMES} images" in body
    columns = set(pq.read_schema(shards[0]).names) - {"kind"}
    assert all(f"`{column}`" in body for column in columns)


def frame_count(path: Path) -> int:
    import av

    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_animations_bounce(finished: Finished) -> None:
    found = sorted((finished.out / "animations").iterdir())
    assert [path.name for path in found] == ["ball.gif", "ball.mp4"]
    assert [frame_count(path) for path in found] == [2 * 9 - 2] * 2


def test_animations_are_written_anew(copied: Finished) -> None:
    shutil.rmtree(copied.out / "animations")
    (path,) = animate_store(copied.out, "animation.loop=none", "animation.formats=[mp4]")
    assert path == copied.out / "animations" / "ball.mp4"
    assert frame_count(path) == 9
