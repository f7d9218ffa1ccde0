"""A preview: frames spread over the job, as a run gives them, in a folder of their own."""

from __future__ import annotations

import re
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from stores import MANIFEST, TWO_JOB, TWO_MODELS, Finished, pixels, rendering_here, run_here, snapshot

from render import JobError, Preview, StoreError, open_store, preview_job
from render.cli import main
from render.preview import _duration, choose_places

pytest_plugins = ["stores"]

SMALL, LARGE = ("main", 64, 64), ("main", 128, 128)


def preview_here(target: Path, *overrides: str, frames: int = 8) -> Preview:
    with rendering_here():
        return preview_job(target, *overrides, frames=frames)


@st.composite
def jobs(draw: st.DrawFn) -> tuple[list[int], list[tuple[str, int, int]], list[bool]]:
    """(frames, group, still) of each of up to 40 walks and stills."""
    stills = draw(st.lists(st.booleans(), min_size=1, max_size=40))
    sizes = [1 if still else draw(st.integers(2, 30)) for still in stills]
    groups = [draw(st.sampled_from([SMALL, LARGE, ("xl", 64, 64)])) for _ in stills]
    return sizes, groups, stills


@given(jobs(), st.integers(1, 60))
def test_frames_are_of_every_group_and_walk(
    job: tuple[list[int], list[tuple[str, int, int]], list[bool]], count: int
) -> None:
    sizes, groups, stills = job
    ends = list(accumulate(sizes))
    places = choose_places(ends, groups, stills, count)
    assert len(places) == len(set(places)) == min(count, ends[-1])
    assert places == sorted(places)
    assert 0 <= places[0] <= places[-1] < ends[-1]
    of = [next(number for number, end in enumerate(ends) if place < end) for place in places]
    if count >= len(set(groups)):
        assert {groups[number] for number in of} == set(groups)
    if count >= len(set(groups)) + stills.count(False):
        assert {number for number, still in enumerate(stills) if not still} <= set(of)


@pytest.mark.parametrize(
    ("count", "places"), [(1, [50]), (2, [24, 50]), (4, [24, 37, 50, 75]), (8, [11, 17, 24, 37, 50, 62, 75, 87])]
)
def test_frames_of_stills_are_spread(count: int, places: list[int]) -> None:
    assert choose_places(range(1, 101), [SMALL] * 100, [True] * 100, count) == places


def test_of_too_many_walks_some_are_chosen_evenly() -> None:
    places = choose_places(range(10, 1001, 10), [SMALL] * 100, [False] * 100, 5)
    assert places == [125, 375, 505, 625, 875]


@pytest.mark.parametrize("frames", [0, -1, 1001])
def test_a_number_out_of_range_is_refused(tmp_path: Path, frames: int) -> None:
    (tmp_path / "m.csv").write_text("prompt\n3d tree\n")
    with pytest.raises(JobError, match=f"preview: required 1 … 1000 frames, got {frames}"):
        preview_job(tmp_path / "m.csv", f"output={tmp_path / 'out'}", frames=frames)
    assert [path.name for path in tmp_path.iterdir()] == ["m.csv"]


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("prompt\n3d tree\n")
    (tmp_path / "out-preview").mkdir()
    (tmp_path / "out-preview" / "thesis.tex").write_text("irreplaceable")
    with pytest.raises(StoreError, match="required a new or empty folder, or an older preview; got other files"):
        preview_job(tmp_path / "m.csv", f"output={tmp_path / 'out'}")
    assert (tmp_path / "out-preview" / "thesis.tex").read_text() == "irreplaceable"


def test_durations() -> None:
    assert _duration(3599) == "1 h 0 min"


# Whole previews.


def test_a_run_behind_no_preview_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "manifests/first.csv", "--then-run"]) == 2
    assert "--then-run: required --preview N before it, got none" in capsys.readouterr().err


@pytest.mark.slow
def test_the_run_follows_its_preview(finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = (finished.manifest, *finished.overrides, f"output={tmp_path / 'out'}")
    with rendering_here():
        assert main(["run", *map(str, job), "--preview", "2", "--then-run"]) == 0
    assert len(pixels(tmp_path / "out-preview")) == 2
    assert pixels(tmp_path / "out") == pixels(finished.out)
    said = capsys.readouterr().out
    assert said.index("preview    ") < said.index("dataset    ")


@pytest.mark.slow
def test_a_preview_has_the_frames_of_a_run(copied: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside a finished output, which stays as it is; a second preview takes the place of the first."""
    before = snapshot(copied.out)
    job = (copied.manifest, *copied.overrides, f"output={copied.out}")
    folder = copied.out.with_name(f"{copied.out.name}-preview")
    for frames in (3, 5):
        with rendering_here():
            assert main(["run", *map(str, job), "--preview", str(frames)]) == 0
        found = pixels(folder)
        assert len(found) == frames
        assert found.items() <= pixels(copied.out).items()
    assert snapshot(copied.out) == before
    sheet, preview, time, whole = capsys.readouterr().out.splitlines()[-4:]
    assert sheet == f"sheet      {folder / 'sheets' / 'preview.png'}"
    assert preview == f"preview    {folder}  (5 of 14 frames)"
    assert re.fullmatch(
        r"time       [0-9.e-]+ s a frame here; of the whole job about [0-9.e-]+ s a frame and worker", time
    )
    assert re.fullmatch(r"whole job  about [0-9]+ s for 14 frames on 1 worker", whole)
    with Image.open(folder / "sheets" / "preview.png") as image:
        assert image.width > 4 * 128
    assert "ball" in open_store(folder).walks


@pytest.mark.slow
def test_a_preview_begins_no_output(tmp_path: Path) -> None:
    (tmp_path / "small.csv").write_text(MANIFEST)
    preview = preview_here(tmp_path / "small.csv", *TWO_JOB, f"output={tmp_path / 'out'}", frames=2)
    assert (preview.frames, preview.of, preview.quarantined) == (2, 14, 0)
    assert not (tmp_path / "out").exists()
    assert run_here(tmp_path / "small.csv", *TWO_JOB, "animation.formats=[]", f"output={tmp_path / 'out'}").frames == 14


@pytest.mark.slow
def test_every_model_is_in_a_preview(sibling: Path, tmp_path: Path) -> None:
    (tmp_path / "two.csv").write_text(TWO_MODELS)
    job = (*TWO_JOB, f"models.soft.id={sibling}", f"output={tmp_path / 'out'}")
    preview = preview_here(tmp_path / "two.csv", *job, frames=2)
    store = open_store(preview.out)
    assert {store.frame(walk, store.frames(walk).indices[0]).row["model"] for walk in store.walks} == {
        "starter",
        str(sibling),
    }


@pytest.mark.slow
def test_the_whole_job_takes_what_full_batches_took(tmp_path: Path) -> None:
    table = "prompt,seed\n" + "".join(f"3d tree,{seed}\n" for seed in range(32))
    (tmp_path / "once.csv").write_text(table)
    (tmp_path / "twice.csv").write_text(table + table.partition("\n")[2])
    job = ("sampling.steps=4", "workers.count=1", "workers.batch_rows=4", f"output={tmp_path / 'out'}")
    once = preview_here(tmp_path / "once.csv", *job, frames=4)
    twice = preview_here(tmp_path / "twice.csv", *job, frames=4)
    assert once.job_s == pytest.approx(32 * once.frame_full_s)
    # Four guided frames fill batches of four to the end: a frame of the job takes as long as one of them.
    assert once.frame_full_s == pytest.approx(once.frame_s)
    assert twice.job_s == pytest.approx(64 * twice.frame_s)
