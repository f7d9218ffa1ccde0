"""Keyframes in seconds and beats, paces by onsets, from the manifest to the film."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from stores import run_here

import render.manifest.timing
from render import ManifestError, open_store, plan_job
from render.core.blend import Mix
from render.core.errors import JobError
from render.core.recipe import Recipe, Target
from render.core.walk import Walk
from render.manifest.stored import read_stored
from render.media.onsets import Track
from render.mending.verify import verify_store
from render.plan.motions import frames_of
from render.prepare import Prepared
from render.run import animate_store

RATE = 22050
SMALL = ("sampling.steps=2", "sampling.width=64", "sampling.height=64", "workers.count=1", "workers.cpus=1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with six seconds of drums, one burst every half second from 0.25 s on, and no manifest yet."""
    (tmp_path / "in").mkdir()
    time = np.arange(6 * RATE) / RATE
    bursts = np.random.default_rng(0).standard_normal(len(time)) * np.exp(-((time + 0.25) % 0.5) / 0.02)
    soundfile.write(tmp_path / "in" / "drums.flac", 0.3 * bursts, RATE)
    (tmp_path / "in" / "words.txt").write_text("no sound")
    return tmp_path / "in"


def manifest(folder: Path, text: str) -> Path:
    path = folder / "m.csv"
    path.write_text(text)
    return path


def plan(folder: Path, text: str, *overrides: str) -> Prepared:
    return plan_job(manifest(folder, text), *SMALL, *overrides)


def places(walk: Walk) -> list[float]:
    """Where each frame stands: the leg's number, and how far it has got in it."""
    prompts = [keyframe.prompt for keyframe in walk.keyframes]
    found = []
    for frame in frames_of(walk, Target("m")):
        blend: Any = frame.recipe.prompt
        mixed = isinstance(blend, Mix)
        found.append(prompts.index((blend.a if mixed else blend).text) + (blend.t if mixed else 0.0))
    return found


def test_seconds_become_frames_on_the_films_grid(folder: Path) -> None:
    """Rounding does not add up: keyframe n stands at the frame nearest to its time."""
    text = "walk,prompt,time_s,frames\nw,a,1,\nw,b,1.33,\nw,c,1.66,5\nw,d,,\nw,e,5.01,\n"
    prepared = plan(folder, text, "animation.fps=10", "sampling.frames=8")
    (walk,) = prepared.manifest.walks()
    found = walk.keyframes
    assert [keyframe.frames for keyframe in found[:-1]] == [3, 4, 5, 28]
    assert [keyframe.time_s for keyframe in found] == pytest.approx([1.0, 1.3, 1.7, 2.2, 5.0])
    assert walk.fps == 10.0
    assert prepared.counts.frames == 41


def test_a_walks_own_rate_counts(folder: Path) -> None:
    """It is fixed with the walk: another `animation.fps` later can't take its frames out of step."""
    text = "walk,prompt,time_s,fps,frames\nw,a,,25,\nw,b,2,,\nv,a,,24,3\nv,b,,,\nu,a,,,3\nu,b,,,\n"
    walks = plan(folder, text, "animation.fps=12").manifest.walks()
    assert [(walk.fps, walk.start.frames) for walk in walks] == [(25, 50), (24, 3), (0, 3)]


@pytest.mark.slow
def test_beats_stand_where_they_are_heard(folder: Path) -> None:
    beats = Track(folder / "drums.flac").beats
    text = "walk,prompt,audio,beat\nw,a,drums.flac,0\nw,b,,2.5\nw,c,drums.flac,4\n"
    (walk,) = plan(folder, text, "animation.fps=50").manifest.walks()
    expected = [beats[0], (beats[2] + beats[3]) / 2, beats[4]]
    assert [keyframe.time_s for keyframe in walk.keyframes] == pytest.approx(expected, abs=0.5 / 50)
    assert walk.audio == "drums.flac"


@pytest.mark.slow
def test_onsets_set_the_pace(folder: Path) -> None:
    """Each leg is paced by its own part of the sound, and ends on its keyframe."""
    text = "walk,prompt,audio,time_s,easing\nw,a,drums.flac,1,onsets\nw,b,,2,onsets\nw,c,,3,linear\nw,d,,4,onsets\n"
    prepared = plan(folder, text, "animation.fps=20")
    (walk,) = prepared.manifest.walks()
    at = places(walk)
    assert at[::20] == [0, 1, 2, 3]
    expected = Track(folder / "drums.flac").progress(np.arange(1, 2.001, 1 / 20))
    assert at[:20] == pytest.approx(expected[:-1], abs=1e-6)
    assert at[8] - at[4] > 0.35  # the burst at 0.25 s
    assert at[40:60] == pytest.approx(np.arange(2, 3, 1 / 20))
    assert walk.keyframes[3].onset_pace == ()


@pytest.mark.slow
def test_onsets_of_a_cycle_and_smoothed(folder: Path) -> None:
    text = "walk,prompt,audio,frames,easing,loop,audio_smooth\nw,a,drums.flac,10,onsets,cycle,{}\nw,b,,10,onsets,,\n"
    paces = {}
    for smooth in (0, 0.5, 1):
        (walk,) = plan(folder, text.format(smooth), "animation.fps=10").manifest.walks()
        paces[smooth] = np.array([keyframe.onset_pace for keyframe in walk.keyframes])
    assert paces[0].shape == (2, 10)
    assert paces[1] == pytest.approx(np.tile(np.arange(10) / 10, (2, 1)))
    assert paces[0.5] == pytest.approx((paces[0] + paces[1]) / 2, abs=1e-6)
    assert np.abs(paces[0] - paces[1]).max() > 0.05


@pytest.mark.slow
def test_what_is_written_needs_no_sound(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "walk,prompt,audio,time_s,easing,fps\nw,a,drums.flac,,onsets,9\nw,b,,2,,\nv,a,,,,\nv,b,,1,,\n,c,,,,\n"
    prepared = plan(folder, text)
    prepared.manifest.write(tmp_path / "frozen.parquet")
    (folder / "drums.flac").unlink()
    monkeypatch.setattr(render.manifest.timing, "Track", None)
    frozen = read_stored(tmp_path / "frozen.parquet")
    assert list(frozen.walks()) == list(prepared.manifest.walks())
    assert frozen.fingerprint == prepared.manifest.fingerprint


def test_the_fingerprint_sees_the_sound(folder: Path) -> None:
    text = "walk,prompt,audio,frames\nw,a,drums.flac,3\nw,b,,\n"
    before = plan(folder, text).manifest.fingerprint
    soundfile.write(folder / "drums.flac", np.zeros(RATE), RATE)
    assert plan(folder, text).manifest.fingerprint != before


@pytest.mark.slow
def test_a_sweep_of_a_walk_with_sound(folder: Path) -> None:
    text = "walk,prompt,audio,beat,easing\nw,a,drums.flac,0,onsets\nw,b,,4,\n"
    one, two = plan(folder, text, "sweep=[{seed: 1..2}]").manifest.walks()
    assert one.keyframes[0].onset_pace == two.keyframes[0].onset_pace != ()


HEAD = "walk,prompt,motion,frames,tween,audio,time_s,beat,easing,audio_smooth,fps\n"
LINE = "w,a,,{},,drums.flac,{},{},{},{},{}\n"


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (
            ",a,,,,drums.flac,,,,,",
            "row 1, column 'audio': required an empty cell on a row without a walk; got drums.flac",
        ),
        (",a,,,,,1,,,,", "row 1, column 'time_s': required an empty cell on a row without a walk; got 1.0"),
        (",a,,,,,,,,,9", "row 1, column 'fps': required an empty cell on a row without a walk; got 9.0"),
        (
            "w,a,drift,3,,,1,,,,",
            "row 1, column 'time_s': required an empty cell: only motion line uses this column; got 1.0",
        ),
        (
            "w,a,drift,3,,drums.flac,99,,,,",
            "row 1, column 'time_s': required an empty cell: only motion line uses this column; got 99.0",
        ),
        (
            "w,a,,3,,drums.flac,,,onsets,0.2,\nw,b,,,,,,,,0.9,",
            "row 2, column 'audio_smooth': required the value of its walk's first row, or an empty cell; got 0.9",
        ),
        ("w,a,,,,,,1,,,", "row 1, column 'beat': required an empty cell in a walk without audio; got 1.0"),
        ("w,a,,,,drums.flac,1,1,,,", "row 1, column 'beat': required an empty cell beside a time_s; got 1.0"),
        ("w,a,,,,,,,onsets,,", "row 1, column 'easing': required another one in a walk without audio; got onsets"),
        (
            "w,a,,,,drums.flac,,,,0.5,",
            "column 'audio_smooth': required an empty cell: only easing onsets uses this column; got 0.5",
        ),
        (
            "w,a,,,2,drums.flac,,,onsets,,",
            "column 'tween': required 0 in a walk with times or of easing onsets; got 2",
        ),
        ("w,a,,,,drums.flac,6.01,,,,", "row 1, column 'time_s': required at most 6, the end of its sound; got 6.01"),
        pytest.param("w,a,,,,drums.flac,,99,,,", ", the last one that is heard; got 99", marks=pytest.mark.slow),
        ("w,a,,,,drums.flac,,,,,0.05", "column 'fps': required 0.1 … 50, or 0 for the job's (50 is the most that"),
        ("w,a,,,,drums.flac,,,,,60", "column 'fps': required 0.1 … 50, or 0 for the job's (50 is the most that"),
        ("w,a,,,,words.txt,,,,,", "row 1, column 'audio': required a sound file; got 'words.txt' (InvalidDataError"),
        ("w,a,,,,../m.flac,,,,,", "row 1, column 'audio': required a path inside"),
        (
            "w,a,,3,,,,,,,\nw,b,,,,drums.flac,,,,,",
            "row 2, column 'audio': required the value of its walk's first row; got",
        ),
        (
            "w,a,,,,drums.flac,2,,,,\nw,b,,,,,2.01,,,,",
            "row 2, column 'time_s': required 1 … 1000000 frames of 1/12 s after the keyframe before; got 2.01, 0",
        ),
        (
            "w,a,,3,,,,,,,\nw,b,,,,,2,,,,",
            "row 1, column 'frames': required nothing, for the next keyframe has a time_s",
        ),
    ],
)
def test_times_that_cannot_be(folder: Path, rows: str, told: str) -> None:
    with pytest.raises(ManifestError) as caught:
        plan(folder, f"{HEAD}{rows}\n")
    assert told in str(caught.value)
    assert len(str(caught.value).splitlines()) == 2


def test_without_librosa(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sounds can be heard, but not listened to."""
    monkeypatch.setattr(render.manifest.timing, "can_listen", lambda: False)
    plan(folder, "walk,prompt,audio,time_s\nw,a,drums.flac,\nw,b,,2\n")
    for text, column in (("easing\nw,a,drums.flac,onsets", "easing"), ("beat\nw,a,drums.flac,1", "beat")):
        with pytest.raises(ManifestError, match=rf"column '{column}': required librosa, .*\[audio\]; got none"):
            plan(folder, f"walk,prompt,audio,{text}\n")


@pytest.mark.slow
def test_onsets_as_the_jobs_easing_are_for_walks(folder: Path) -> None:
    text = "walk,prompt,motion,audio,frames\nw,a,,drums.flac,3\nw,b,,,\n,still,,,\nd,c,drift,,3\n"
    assert plan(folder, text, "sampling.easing=onsets").counts.frames == 8


def seconds(path: Path, kind: str) -> float:
    with av.open(path) as film:
        stream = film.streams.get({kind: 0})[0]
        return float((stream.duration or 0) * (stream.time_base or 0))


@pytest.mark.slow
def test_a_film_with_sound(folder: Path, tmp_path: Path) -> None:
    """It plays once, from the first keyframe's time; the folder keeps the sound, wherever it is animated next."""
    text = "walk,prompt,seed,audio,time_s,easing\nw,3d dog face,1,drums.flac,1,onsets\nw,3d cat face,1,,2,\n"
    path = manifest(folder, text)
    out = run_here(
        path, *SMALL, "animation.formats=[mp4,gif]", "animation.subtitles=true", f"output={tmp_path / 'o'}"
    ).out
    film = out / "animations" / "w.mp4"
    assert seconds(film, "video") == pytest.approx(13 / 12)
    assert seconds(film, "audio") == pytest.approx(13 / 12, abs=0.05)
    with av.open(film) as opened:
        assert '"audio":"drums.flac"' in opened.metadata["comment"]
    recipe = Recipe.from_json(open_store(out).frame("w", 6).row["recipe"])
    assert isinstance(recipe.prompt, Mix)
    assert f"t = {recipe.prompt.t:.2f}" in film.with_suffix(".srt").read_text()
    assert verify_store(out).problems == ()
    (folder / "drums.flac").unlink()
    moved = out.rename(tmp_path / "moved")
    animate_store(moved, "animation.fps=5")  # a film with sound keeps its rate
    film = moved / "animations" / "w.mp4"
    assert [seconds(film, kind) for kind in ("video", "audio")] == pytest.approx([13 / 12, 13 / 12], abs=0.05)


@pytest.mark.slow
def test_missing_frames_do_not_take_a_film_out_of_time(folder: Path, tmp_path: Path) -> None:
    """The frame before stays, or the first one comes early; a walk without sound is shorter."""
    ends = ("w,3d dog face,drums.flac,7\nw,3d rocket,,\n", "v,3d dog face,,7\nv,3d rocket,,\n")
    path = manifest(folder, f"walk,prompt,audio,frames\n{''.join(ends)}")
    overrides = (*SMALL, "store.unit_frames=2", "animation.formats=[apng]", f"output={tmp_path / 'o'}")
    out = run_here(path, *overrides).out
    for unit in (0, 2, 5):  # frames 0, 1, 4 and 5 of w, 2 and 3 of v
        (out / ".run" / "commits" / f"{unit:05d}.json").unlink()
    animate_store(out)
    store = open_store(out)
    for name, shown in (("w", [2, 2, 2, 3, 3, 3, 6, 7]), ("v", [0, 1, 4, 5, 6, 7, 6, 5, 4, 1])):
        with av.open(out / "animations" / f"{name}.apng") as film:
            pictures = [picture.to_ndarray(format="rgb24") for picture in film.decode(video=0)]
        expected = [np.asarray(store.frame(name, index).image()) for index in shown]
        assert [picture.tolist() for picture in pictures] == [image.tolist() for image in expected]


def test_a_rate_too_high_for_a_gif_is_told_before_anything_is_written(folder: Path, tmp_path: Path) -> None:
    text = "walk,prompt,fps,frames\nw,a,60,2\nw,b,,\n"
    path = manifest(folder, text)
    out = run_here(path, *SMALL, "animation.formats=[mp4]", f"output={tmp_path / 'o'}").out
    with pytest.raises(JobError, match="required none of gif, for walk 'w' has over 50 fps"):
        animate_store(out, "animation.formats=[mp4,gif]")
