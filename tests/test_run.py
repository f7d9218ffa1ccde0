"""Whole runs: every frame once, in files that anybody can open, and nothing touched that is not the run's own."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import yaml
from stores import FRAMES, MANIFEST, TWO_JOB, Finished, pixels, run_here, run_two, snapshot

from render import ModelError, StoreError, open_store, run_job, status_store
from render.cli import main
from render.output.animations import write_file
from render.prepare.resume import stored_manifest
from render.run import animate_store
from render.starter import PIPELINE
from render.store.ledger import Ledger

pytest_plugins = ["stores"]
pytestmark = pytest.mark.slow


def test_store_holds_every_frame_once(finished: Finished) -> None:
    assert len(pixels(finished.out)) == FRAMES
    assert [len(open_store(finished.out).frames(walk)) for walk in open_store(finished.out).walks] == [9, 1, 1, 1, 1, 1]


def test_a_walk_begins_and_ends_on_the_stills_of_its_keyframes(finished: Finished) -> None:
    store = open_store(finished.out)
    for index, still in ((0, "still-000003"), (8, "still-000004")):
        frame, picture = store.frame("ball", index), store.frame(still)
        assert frame.row["sha256"] == picture.row["sha256"]
        assert frame.data == picture.data


# What is refused, and what is left alone.


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ("seed=5", "manifest"),  # the still without a seed takes another
        ("sampling.steps=7", "manifest"),
        ("workers.dtype=float32", "workers.dtype"),
        ("model.tile_above=null", "model.tile_above: 2048 then, None now"),
        ("sampling.prompt_syntax=weighted", "sampling.prompt_syntax: plain then, weighted now"),
        ("store.format=webp", "store.format"),
        ("store.unit_frames=5", "store.unit_frames"),
        ("workers.batch_rows=8", "workers.batch_rows"),
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
        run_job(
            copied.manifest, *copied.overrides, f"output={copied.out}", "workers.dtype=float32", "store.format=jpeg"
        )
    assert str(caught.value).splitlines()[1:] == [
        "  workers.dtype: auto then, float32 now",
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
    with Ledger(copied.out).lock():
        before = snapshot(copied.out)
        with pytest.raises(StoreError, match="no other run writes there, got one that does: process"):
            run_job(copied.manifest, *copied.overrides, f"output={copied.out}")
        assert snapshot(copied.out) == before


def test_a_finished_job_renders_nothing_again(copied: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "render.cluster.driver", None)  # an import of it raises
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
        return list(connection.sql(f"select walk, frame, kind from '{out}/data/*.parquet'").fetchall())


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
    expected: list[tuple[str, int, int | None]] = [("ball", index, 1) for index in range(9)]
    expected += [(f"still-{row:06d}", 0, kind) for row, kind in zip(range(3, 8), (2, 2, 3, None, 5), strict=True)]
    assert sorted(read(finished.out, tmp_path, monkeypatch)) == expected


def test_rows_say_what_they_were_made_of(finished: Finished) -> None:
    row = open_store(finished.out).frame("still-000005").row
    names = ("prompt", "seed", "step", "cfg", "sampler", "width", "height", "batch_rows", "kind")
    assert {name: row[name] for name in names} == {
        "prompt": "flat red apple",
        "seed": 1,
        "step": 5,
        "cfg": 7.5,
        "sampler": "euler",
        "width": 128,
        "height": 128,
        "batch_rows": 4,
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


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("ball.gif: required 16 frames, got 15"),
        OSError(28, "No space left on device"),
        av.error.ExternalError(1, "Generic error in an external library"),
    ],
)
@pytest.mark.parametrize("name", ["run", "animate"])
def test_an_animation_that_fails_stops_no_other(
    copied: Finished, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, name: str
) -> None:
    from render import run

    def write(path: Path, *others: Any) -> None:
        if path.suffix == ".gif":
            raise error
        write_file(path, *others)

    (mp4, sheet), out = ("animations/ball.mp4", "sheets/walk/ball.png"), copied.out
    command = (
        ["run", str(copied.manifest), *copied.overrides, f"output={out}"] if name == "run" else ["animate", str(out)]
    )
    (out / mp4).unlink()
    (out / sheet).unlink()
    with monkeypatch.context() as patch:
        patch.setattr(run, "write_file", write)
        assert main(command) == 1
    said = capsys.readouterr().err
    named = f"render: files that could not be written:\n  {out / 'animations/ball.gif'}: {error}\n"
    assert said.endswith(f"{named}What is committed stays; the same command resumes.\n")
    assert (out / mp4).exists()
    assert (out / sheet).exists() == (name == "run")
    assert main(command) == 0


def test_a_sheet_that_fails_is_named(copied: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(copied.out / "sheets")
    (copied.out / "sheets").write_text("in the way")
    assert main(["run", str(copied.manifest), *copied.overrides, f"output={copied.out}"]) == 1
    assert f"could not be written:\n  {copied.out / 'sheets/walk/ball.png'}: [Errno " in capsys.readouterr().err


def test_a_sheet_that_fails_stops_no_other(copied: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(copied.out / "sheets" / "walk")
    (copied.out / "sheets" / "walk").write_text("in the way")
    assert main(["sheets", str(copied.out), "sheets.kinds=[walk, still]"]) == 1
    assert "sheets/walk/ball.png: [Errno " in capsys.readouterr().err
    assert (copied.out / "sheets" / "stills.png").exists()


def test_subtitles_stand_beside_the_mp4_and_go_with_it(copied: Finished) -> None:
    texts = copied.out / "animations" / "ball.srt"
    paths = animate_store(copied.out, "animation.subtitles=true", "animation.formats=[mp4, webp, apng]")
    assert [path.suffix for path in paths] == [".mp4", ".webp", ".apng", ".srt"]
    assert paths[-1] == texts
    assert texts.read_text().count(" --> ") == 2 * 9 - 2
    animate_store(copied.out, "animation.formats=[gif]")
    assert texts.exists()
    animate_store(copied.out, "animation.formats=[mp4]", "animation.loop=none")  # whose times are others
    assert not texts.exists()


def test_animations_carry_walk_prompts_and_job(finished: Finished) -> None:
    import av
    from PIL import Image

    (walk,) = [walk for walk in stored_manifest(finished.out).walks() if walk.name == "ball"]
    with av.open(finished.out / "animations" / "ball.mp4") as container:
        assert container.metadata["title"] == "ball"
        told = json.loads(container.metadata["comment"])
    assert told["prompts"] == [keyframe.prompt for keyframe in walk.keyframes]
    assert (told["walk"], told["model"]) == ("ball", "starter")
    assert told["job"]["sampling"]["steps"] == 8
    assert told["job"]["manifest"] == "small.csv"
    assert str(finished.out.parent) not in json.dumps(told)  # nothing of the machine goes along
    with Image.open(finished.out / "animations" / "ball.gif") as image:
        assert json.loads(image.info["comment"]) == told


# Several models.


@pytest.mark.slow
def test_another_second_model_is_refused(sibling: Path, tmp_path: Path) -> None:
    mine = shutil.copytree(sibling, tmp_path / "mine")
    run_two(run_here, mine, tmp_path)
    before = snapshot(tmp_path / "out")
    with pytest.raises(StoreError, match=r"\n  models\.soft\.tile_above: 2048 then, 64 now\n"):
        run_two(run_here, mine, tmp_path, "models.soft.tile_above=64")
    weights = mine / "unet" / "diffusion_pytorch_model.safetensors"
    shutil.copy(PIPELINE / "unet" / weights.name, weights)
    with pytest.raises(StoreError, match=r"\n  model soft: [0-9a-f]{16} then, [0-9a-f]{16} now\n"):
        run_two(run_here, mine, tmp_path)
    assert snapshot(tmp_path / "out") == before


def test_a_model_that_no_row_uses_needs_no_weights(sibling: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(sibling, tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors"))
    (tmp_path / "one.csv").write_text("prompt\n3d dog face\n")
    summary = run_here(tmp_path / "one.csv", *TWO_JOB, f"models.soft.id={bare}", f"output={tmp_path / 'out'}")
    assert summary.frames == 1
    with pytest.raises(
        ModelError, match=r"^models\.soft: .*required safetensors weights in text_encoder/, got no weights"
    ):
        run_two(run_here, bare, tmp_path, f"output={tmp_path / 'other'}")
    assert not (tmp_path / "other").exists()


def test_a_plan_says_what_is_left(copied: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    record = next((copied.out / ".run" / "commits").iterdir())
    frames = json.loads(record.read_text())["frames"]
    record.unlink()
    assert main(["plan", str(copied.out)]) == 0
    done = f"done       {FRAMES - frames}; {frames} frames are left"
    assert done in capsys.readouterr().out.splitlines()
    assert main(["plan", str(copied.manifest), *copied.overrides, f"output={copied.out}"]) == 0
    assert done in capsys.readouterr().out.splitlines()
    assert main(["plan", str(copied.manifest), "sampling.steps=2", f"output={copied.out}"]) == 0
    assert "\ndone " not in capsys.readouterr().out
    assert main(["plan", str(copied.out), "sampling.steps=2"]) == 2
    assert "override 'sampling.steps=2': required media" in capsys.readouterr().err


def test_a_run_that_finds_nothing_left_ends_one_that_was_killed(copied: Finished) -> None:
    log = copied.out / ".run" / "log.jsonl"
    *events, end = log.read_text().splitlines(keepends=True)
    assert json.loads(end)["event"] == "end"
    again = (str(copied.manifest), *copied.overrides, f"output={copied.out}")
    run_here(*again)
    assert log.read_text() == "".join([*events, end])  # nothing is added where nothing was done
    log.write_text("".join(events))
    assert status_store(copied.out).state == "died"
    run_here(*again)
    assert [json.loads(line)["event"] for line in log.read_text().splitlines()[-2:]] == ["begin", "end"]
    assert status_store(copied.out).state == "done"
