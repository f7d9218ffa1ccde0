"""Rows that are added to an output: rendered alone, behind what is there, which stays byte for byte."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
import pytest
from stores import FRAMES, MANIFEST, TWO_JOB, TWO_MODELS, Finished, Here, pixels, rendering_here, run_here, snapshot

from render import RunError, StoreError, animate_store, open_store, reproduce_frame, run_job, sheet_store, verify_store
from render.cli import main
from render.core import Receipt, Unit
from render.prepare.resume import load_plan, stored_job, stored_manifest

pytest_plugins = ["stores"]
pytestmark = pytest.mark.slow

MORE = ",green pear,,,,,,,6\nrise,3d dog face,,1,3,2,,,7\nrise,3d cat face,,2,,2,,,7\n"  # rows 8 to 10, 5 frames
LATER = ",3d tree,,5,,2,,,8\n"


@pytest.fixture
def job(copied: Finished, manifest: Path) -> tuple[Any, ...]:
    """Arguments of a run into a copy of the finished store, from a copy of its manifest."""
    adopted = copied.out / ".run" / "job.yaml"
    adopted.write_text(adopted.read_text().replace(str(copied.manifest), str(manifest)))
    return (manifest, *copied.overrides, f"output={copied.out}")


def content(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def changed(before: dict[str, bytes], out: Path) -> set[str]:
    after = content(out)
    return {name for name, data in before.items() if after.get(name) != data}


RECORDS = {"README.md", ".run/manifest.parquet", ".run/plan.json", ".run/log.jsonl"}


def test_added_rows_are_rendered_alone(job: tuple[Any, ...], copied: Finished, tmp_path: Path) -> None:
    before = content(copied.out)
    job[0].write_text(MANIFEST + MORE)
    summary = run_here(*job, extend=True)
    assert (summary.frames, summary.quarantined) == (FRAMES + 5, 0)
    assert changed(before, copied.out) <= {*RECORDS, ".run/job.yaml"}
    new = set(content(copied.out)) - set(before)
    assert {"animations/rise.gif", "animations/rise.mp4", "sheets/walk/rise.png"} < new
    assert sorted(name for name in new if name.startswith(".run/commits/")) == [
        ".run/commits/00004.json",
        ".run/commits/00005.json",
    ]
    assert f"{FRAMES + 5} images rendered from small.csv" in (copied.out / "README.md").read_text()
    run_here(*job[:-1], f"output={tmp_path / 'at once'}")
    assert pixels(copied.out) == pixels(tmp_path / "at once")
    assert verify_store(copied.out) == verify_store(tmp_path / "at once")


def test_an_extended_output_is_an_output(job: tuple[Any, ...], copied: Finished) -> None:
    job[0].write_text(MANIFEST + MORE)
    run_here(*job, extend=True)
    store = open_store(copied.out)
    assert store.walks == ["ball", *(f"still-{row:06d}" for row in range(3, 9)), "rise"]
    assert store.frames("rise").indices == [0, 1, 2, 3]
    assert {path.name for path in animate_store(copied.out)} == {"ball.gif", "ball.mp4", "rise.gif", "rise.mp4"}
    assert {path.stem for path in sheet_store(copied.out)} == {"ball", "rise"}
    assert reproduce_frame(copied.out, store.frame("rise", 2).row["key"]).same
    rows = stored_manifest(copied.out).select("source_row")["source_row"].to_pylist()
    assert rows == list(range(1, 11))


@pytest.mark.parametrize("extend", [False, True])
def test_an_extended_output_resumes(job: tuple[Any, ...], copied: Finished, extend: bool) -> None:
    job[0].write_text(MANIFEST + MORE)
    run_here(*job, extend=True)
    lost, then = open_store(copied.out).files, pixels(copied.out)
    for number in ("00001", "00005"):  # of both parts
        (copied.out / ".run" / "commits" / f"{number}.json").unlink()
        next(copied.out.glob(f"data/train-{number}-*")).unlink()
    assert run_here(*job, extend=extend).frames == FRAMES + 5
    assert pixels(copied.out) == then
    assert len(set(open_store(copied.out).files) - set(lost)) == 2
    assert verify_store(copied.out).problems == ()


def test_rows_are_added_again_and_again(job: tuple[Any, ...], copied: Finished, tmp_path: Path) -> None:
    text = MANIFEST
    for added in (MORE, LATER, ",3d castle,,6,,2,,,9\n"):
        before = content(copied.out)
        text += added
        job[0].write_text(text)
        run_here(*job, extend=True)
        assert changed(before, copied.out) <= {*RECORDS, ".run/job.yaml"}
    assert [part.after_row for part in load_plan(copied.out).extensions] == [7, 10, 11]
    run_here(*job[:-1], f"output={tmp_path / 'at once'}")
    assert pixels(copied.out) == pixels(tmp_path / "at once")
    assert verify_store(copied.out).problems == ()


class Dying(Here):
    """A cluster that dies behind its first unit."""

    def render(self, units: Iterator[Unit], listener: Any) -> Iterator[Receipt]:
        yield from super().render(iter([next(units)]), listener)
        raise RunError("gone")


def test_a_crash_in_the_middle_of_an_extension_resumes(job: tuple[Any, ...], copied: Finished) -> None:
    job[0].write_text(MANIFEST + MORE + LATER)
    with patch("render.cluster.Cluster", Dying), pytest.raises(RunError, match="gone"):
        run_job(*job, extend=True)
    assert len(pixels(copied.out)) == FRAMES + 4
    assert run_here(*job).frames == FRAMES + 6
    assert verify_store(copied.out).problems == ()


def test_a_crash_before_the_plan_is_recorded_changes_nothing(job: tuple[Any, ...], copied: Finished) -> None:
    def write(*_: object) -> None:
        raise OSError(28, "No space left on device")

    job[0].write_text(MANIFEST + MORE)
    with patch("render.prepare.resume._write_plan", write), pytest.raises(RunError, match="No space left"):
        run_here(*job, extend=True)
    assert verify_store(copied.out).problems == ()
    job[0].write_text(MANIFEST)
    assert run_here(*job).frames == FRAMES
    job[0].write_text(MANIFEST + MORE)
    assert run_here(*job, extend=True).frames == FRAMES + 5
    assert verify_store(copied.out).problems == ()


def test_an_unfinished_output_takes_rows(manifest: Path, tmp_path: Path) -> None:
    """The units that were not rendered keep their places; no shard that is there is rendered again."""
    job = (manifest, *TWO_JOB, "animation.formats=[]", f"output={tmp_path / 'out'}")
    with patch("render.cluster.Cluster", Dying), pytest.raises(RunError, match="gone"):
        run_job(*job)
    before = content(tmp_path / "out" / "data")
    assert len(before) == 1
    manifest.write_text(MANIFEST + MORE)
    assert run_here(*job, extend=True).frames == FRAMES + 5
    assert before.items() <= content(tmp_path / "out" / "data").items()
    assert verify_store(tmp_path / "out").problems == ()


# Further tables.


def test_a_further_table_is_added(job: tuple[Any, ...], copied: Finished, tmp_path: Path) -> None:
    further = tmp_path / "more.csv"
    further.write_text("prompt,steps,kind\n3d tree,2,9\n3d lake,2,\n")
    before = content(copied.out)
    with pytest.raises(StoreError, match=r"As a further table, this adds it: render run .*more\.csv .* --extend$"):
        run_here(further, *job[1:])
    for extend in (True, True, False):  # the second time it is there, and a resume
        assert run_here(further, *job[1:], extend=extend).frames == FRAMES + 2
        assert changed(before, copied.out) <= {*RECORDS, ".run/job.yaml"}
    assert run_here(*job).frames == FRAMES + 2
    assert open_store(copied.out).walks[-2:] == ["still-000008", "still-000009"]
    assert open_store(copied.out).frame("still-000009").row["kind"] is None
    assert "small.csv and more.csv" in (copied.out / "README.md").read_text()
    assert stored_job(copied.out).manifest == job[0]
    further.write_text(further.read_text() + "3d hill,2,3\n")
    assert run_here(further, *job[1:], extend=True).frames == FRAMES + 3
    third = pd.DataFrame({"prompt": ["3d sea"], "steps": [2]})
    with rendering_here():
        assert run_job(third, *job[1:], extend=True).frames == FRAMES + 4
    assert verify_store(copied.out).problems == ()
    job[0].write_text(MANIFEST + LATER)
    with pytest.raises(StoreError, match="row 8: required no more rows in a table that another one was added after"):
        run_here(*job, extend=True)
    further.write_text(further.read_text().replace("lake", "pond"))
    with pytest.raises(StoreError, match="\n  manifest: row 2, column 'prompt': '3d lake' then, '3d pond' now\n"):
        run_here(further, *job[1:], extend=True)


def test_a_folder_takes_a_further_file(tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "b.csv").write_text("prompt,seed\n3d tree,1\n")
    job = (folder, *TWO_JOB, f"output={tmp_path / 'out'}")
    run_here(*job)
    (folder / "c.csv").write_text("prompt\n3d lake\n")
    assert run_here(*job, extend=True).frames == 2
    (folder / "a.csv").write_text("prompt\n3d hill\n")
    with pytest.raises(StoreError, match="\n  manifest: row 1 is new: rows may be added at the end only\n"):
        run_here(*job, extend=True)


# Models and sweeps.


def test_rows_of_another_model_are_added(sibling: Path, tmp_path: Path) -> None:
    """The first unit of the extension is of the model that was there."""
    table, models = tmp_path / "two.csv", f"models.soft.id={sibling}"
    job = (table, *TWO_JOB, "animation.formats=[]", f"output={tmp_path / 'out'}")
    only = "\n".join(line for line in TWO_MODELS.splitlines() if not line.endswith("soft")) + "\n"
    table.write_text(only)
    run_here(*job)
    before = content(tmp_path / "out" / "data")
    table.write_text(only + "x,3d dog face,7,3,soft\nx,3d cat face,7,,soft\n,3d lake,3,,\n")
    run_here(*job, models, extend=True)
    assert before.items() <= content(tmp_path / "out" / "data").items()
    assert list(load_plan(tmp_path / "out").targets) == ["main", "soft"]
    store = open_store(tmp_path / "out")
    assert store.walks[-2:] == ["still-000007", "x"]
    assert reproduce_frame(tmp_path / "out", store.frame("x").row["key"]).same
    assert verify_store(tmp_path / "out").problems == ()
    assert run_here(*job, models).frames == len(store)


def test_a_sweep_takes_rows(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("prompt,seed\n3d tree,1\n")
    job = (table, *TWO_JOB, "sweep=[{guidance: [1, 2]}]", f"output={tmp_path / 'out'}")
    run_here(*job)
    table.write_text("prompt,seed\n3d tree,1\n3d lake,2\n")
    summary = run_here(*job, extend=True)
    assert summary.frames == 4
    assert [path.name for path in summary.sheets] == ["still-000001.png", "still-000002.png"]
    assert verify_store(tmp_path / "out").problems == ()


# Refusals.


@pytest.mark.parametrize("extend", [False, True])
@pytest.mark.parametrize(
    ("text", "line"),
    [
        (MANIFEST.replace("rocket", "castle"), "row 6, column 'prompt': '3d rocket' then, '3d castle' now"),
        (MANIFEST.replace(",3d rocket,,2,,4,1.0,dpm++2m,\n", ""), "row 6 of then is not there now"),
        (MANIFEST + "ball2,3d tree,,1,2,,,,1\nball2,3d lake,,2,,,,,x\n", "label 'kind': int64 then, string now"),
    ],
)
def test_nothing_else_may_change(job: tuple[Any, ...], copied: Finished, text: str, line: str, extend: bool) -> None:
    before = snapshot(copied.out)
    job[0].write_text(text)
    with pytest.raises(StoreError, match=re.escape(f"\n  manifest: {line}\n")):
        run_here(*job, extend=extend)
    assert snapshot(copied.out) == before


def test_other_settings_are_told_beside_the_rows(job: tuple[Any, ...]) -> None:
    with pytest.raises(StoreError) as caught:
        run_here(*job, "sampling.steps=7", "workers.dtype=float32", "workers.batch_rows=8", extend=True)
    told = str(caught.value).splitlines()
    assert told[1:4] == [
        "  workers.dtype: auto then, float32 now",
        "  workers.batch_rows: {('main', 128, 128): 4} then, {('main', 128, 128): 8} now",
        "  manifest: row 1, column 'steps': 8 then, 7 now",
    ]
    assert told[5] == "  manifest: column 'steps': and 2 other rows"


def test_a_walk_takes_no_keyframe(copied: Finished, tmp_path: Path) -> None:
    table = tmp_path / "w.csv"
    table.write_text("walk,prompt,frames\nw,3d dog,2\nw,3d cat,\n")
    job = (table, *TWO_JOB, "animation.formats=[]", f"output={tmp_path / 'out'}")
    run_here(*job)
    table.write_text("walk,prompt,frames\nw,3d dog,2\nw,3d cat,1\nw,3d cow,\n")
    with pytest.raises(StoreError, match="column 'frames': 24 then, 1 now"):
        run_here(*job, extend=True)
    table.write_text("walk,prompt,frames\nw,3d dog,2\nw,3d cat,\nw,3d cow,\n")
    with pytest.raises(StoreError, match="row 3: required a walk of another name: rows may be added, never changed"):
        run_here(*job, extend=True)


def test_the_command_that_adds_rows_is_told(job: tuple[Any, ...], capsys: pytest.CaptureFixture[str]) -> None:
    job[0].write_text(MANIFEST + MORE)
    words = [str(word) for word in job]
    assert main(["run", *words]) == 2
    *_, rows, command = capsys.readouterr().err.splitlines()
    assert rows == "  manifest: rows 8 … 10 are new"
    assert command.startswith("Rows may be added, never changed. This adds them: render run ")
    told = shlex.split(command.partition(": ")[2])
    assert told == ["render", "run", *words, "--extend"]
    with rendering_here():
        assert main(told[1:]) == 0


def test_an_output_that_was_not_begun_is_not_extended(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="required the output folder of a run, to add rows to; got none"):
        run_here(manifest, f"output={tmp_path / 'new'}", extend=True)
    assert not (tmp_path / "new").exists()
