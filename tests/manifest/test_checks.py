"""Cells that are right alone and wrong together: in their row, in their walk, with its motion."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from manifest_tables import DEFAULTS, INTEGER, MODELS, SCHEDULERS, csv, error, errors, errors_of_three

from render.core.errors import ManifestError
from render.core.recipe import SEED_MAX
from render.manifest.read import read_manifest
from render.models.families import SamplingDefaults
from render.plan.motions import frame_count

pytest_plugins = ["manifest_tables"]


def test_steps_that_lcm_can_not_take(path: Path) -> None:
    """Wherever they come from; of no scheduler's name nothing is said of them."""
    text = "walk,prompt,steps,scheduler\na,cat,50,lcm\na,dog,51,lcm\n,hen,51,ddim\n,cow,,lcm\n,owl,99,lmc\n"
    path.write_text(text)
    models = {"main": replace(MODELS["main"], defaults=SamplingDefaults(64, 128, 60, 3.0, "lcm"))}
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, DEFAULTS, models)
    assert [line.removeprefix(f"{path}: ") for line in str(caught.value).split("\n")[1:]] == [
        "row 2, column 'steps': required at most 50 with scheduler lcm; got 51",
        "row 4, column 'steps': required at most 50 with scheduler lcm; got 60, the default",
        f"row 5, column 'scheduler': required one of {SCHEDULERS}; got 'lmc' (nearest: lms, lcm)",
    ]


@pytest.mark.parametrize(("one", "two"), [("Dog", "dog"), ("é", "e\u0301"), ("STRASSE", "straße")])
def test_walk_names_that_are_one_file(path: Path, one: str, two: str) -> None:
    required = f"a name that differs from {one!r} by more than case or Unicode form"
    assert error(path, {"walk": [one, None, two, two], "prompt": ["p"] * 4}) == (
        f"row 3, column 'walk': required {required}; got {two!r}"
    )


def test_walks_in_pieces(path: Path) -> None:
    lines = errors(path, "walk,prompt\na,p\nb,p\na,p\na,p\n,p\nb,p\n")
    assert lines == [
        "row 3, column 'walk': required the keyframes of a walk on consecutive rows (its first is row 1); got 'a'",
        "row 6, column 'walk': required the keyframes of a walk on consecutive rows (its first is row 2); got 'b'",
    ]


def test_sizes_that_differ_in_a_walk(path: Path) -> None:
    lines = errors(path, "walk,prompt,width,height\na,p,32,32\na,p,,32\na,p,32,40\nb,p,128,\nb,p,128,128\nb,p,9,\n")
    assert lines == [
        "row 2, column 'width': required 32, as the first keyframe of 'a' has; got 64",
        "row 3, column 'height': required 32, as the first keyframe of 'a' has; got 40",
        f"row 6, column 'width': required {INTEGER['width']}; got '9'",
    ]


def test_images_in_a_walk_and_frames_of_a_still(path: Path) -> None:
    assert errors(path, "walk,prompt,images,frames\na,p,2,5\na,p,1,\n,p,,2\n,p,3,1\n") == [
        "row 1, column 'images': required 1 or an empty cell in a walk; got 2",
        "row 3, column 'frames': required 1 or an empty cell on a row without a walk; got 2",
    ]


def test_models_that_change_in_a_walk(path: Path) -> None:
    """Told once, not for the size that comes with the model as well."""
    text = "walk,prompt,model\nw,a,flow\nw,b,\nw,c,flow\nv,a,flux\nv,b,flux\n"
    assert errors_of_three(path, text) == [
        "row 2, column 'model': required flow, as the first keyframe of 'w' has; got main"
    ]


MOVING = "walk,prompt,seed,frames,motion,loop,step_size,direction,vary_noise\n"


def test_the_first_keyframe_speaks_for_the_walk(path: Path) -> None:
    grid = "g,a,1,3,grid,,,,yes\ng,b,,,grid,,,,YES\ng,c,,,,,,,\ng,d,,,,,,,1\n"
    first, cycle = csv(path, MOVING + grid + "z,a,1,2,,cycle,,,\nz,b,,,,,,,\n").walks()
    assert (first.motion, first.vary_noise, first.loop, cycle.loop) == ("grid", True, "none", "cycle")
    assert (frame_count(first), frame_count(cycle)) == (9, 2 + 24)


@pytest.mark.parametrize(
    ("rows", "row", "column", "required"),
    [
        ("w,a,1,3,grid,,,,\nw,b,,,,,,,\n", 1, "motion", "4 keyframes for motion grid; got 2"),
        ("w,a,1,3,drift,,,,\nw,b,,,,,,,\n", 1, "motion", "1 keyframe for motion drift; got 2"),
        ("w,a,1,3,circle,,,,\n", 1, "motion", "2 keyframes for motion circle; got 1"),
        ("w,a,1,3,circle,,,,\nw,b,2,,,,,,\n", 2, "prompt", "the prompt that its circle begins with; got"),
        ("w,a,1,3,circle,,,,\nw,a,1,,,,,,\n", 2, "seed", "another seed than its circle begins with; got 1"),
        (
            "w,a,1,1,grid,,,,\nw,b,,,,,,,\nw,c,,,,,,,\nw,d,,,,,,,\n",
            1,
            "frames",
            "2 … 1000 in a walk of motion grid; got 1",
        ),
        ("w,a,1,3,spiral,,,,\n", 1, "motion", "one of line, grid, drift, circle, denoise, diffuse; got 'spiral'"),
        (
            "w,a,1,3,,,,,\nw,b,1,3,drift,,,,\n",
            2,
            "motion",
            "the value of its walk's first row, or an empty cell; got drift",
        ),
        (",a,1,,drift,,,,\n", 1, "motion", "line or an empty cell on a row without a walk; got drift"),
        ("w,a,1,3,,cycle,,,\n", 1, "loop", "2 keyframes or more for a cycle; got 1"),
        ("w,a,1,3,drift,cycle,,,\n", 1, "loop", "an empty cell: only motion line uses this column; got cycle"),
        ("w,a,1,3,,,0.1,,\nw,b,,,,,,,\n", 1, "step_size", "an empty cell: only motion drift uses this column; got 0.1"),
        (
            "w,a,1,3,,,,random,\nw,b,,,,,,,\n",
            1,
            "direction",
            "an empty cell: only motion drift uses this column; got random",
        ),
        (
            "w,a,1,3,,,,,yes\nw,b,,,,,,,\n",
            1,
            "vary_noise",
            "an empty cell: only motion grid uses this column; got True",
        ),
        ("w,a,1,,diffuse,,,,\n", 1, "image", "a start image for motion diffuse; got ''"),
        ("w,a,1,,denoise,,,,\nw,b,,,,,,,\n", 1, "motion", "1 keyframe for motion denoise; got 2"),
        ("w,a,1,3,,,,,perhaps\nw,b,,,,,,,\n", 1, "vary_noise", "yes or no; got 'perhaps'"),
        (f"w,a,{SEED_MAX - 3},2,grid,,,,yes\nw,b,,,,,,,\nw,c,,,,,,,\nw,d,,,,,,,\n", 0, "", ""),
        (f"w,a,{SEED_MAX - 2},2,grid,,,,yes\nw,b,,,,,,,\nw,c,,,,,,,\nw,d,,,,,,,\n", 1, "seed", "at most"),
    ],
)
def test_motions_without_what_they_need(path: Path, rows: str, row: int, column: str, required: str) -> None:
    if not column:
        csv(path, MOVING + rows)
        return
    with pytest.raises(ManifestError) as caught:
        csv(path, MOVING + rows)
    lines = str(caught.value).splitlines()
    assert len(lines) == 2, lines
    assert f"row {row}, column '{column}': required {required}" in lines[1]


def test_settings_of_denoising(path: Path) -> None:
    rows = "walk,prompt,motion,every,shown,scheduler\n"
    assert next(csv(path, rows + "w,a,denoise,5,clean,euler\n").walks()).every == 5
    for row, column, required in (
        ("w,a,denoise,5,clean,unipc", "scheduler", "one that predicts the clean image, ddim, euler, .*; got unipc"),
        ("w,a,drift,5,,", "every", "an empty cell: only motion denoise or diffuse uses this column; got 5"),
        ("w,a,denoise,0,,", "every", "an integer, 1 … 1000; got '0'"),
        ("w,a,denoise,,dirty,", "shown", "one of latents, clean; got 'dirty'"),
    ):
        with pytest.raises(ManifestError, match=f"row 1, column '{column}': required {required}"):
            csv(path, rows + row + "\n")


IDLE = "walk,prompt,seed,motion,frames,easing,strength,anchor,tween,guidance,negative_prompt\n"


@pytest.mark.parametrize(
    ("rows", "row", "column", "required"),
    [
        ("w,a,1,denoise,10,,,,,,\n", 1, "frames", "an empty cell in a walk of motion denoise; got 10"),
        (
            "w,a,1,grid,4,,,,,,\nw,b,1,,5,,,,,,\nw,c,1,,,,,,,,\nw,d,1,,,,,,,,\n",
            2,
            "frames",
            "an empty cell after the first",
        ),
        (
            "w,a,1,grid,1001,,,,,,\nw,b,1,,,,,,,,\nw,c,1,,,,,,,,\nw,d,1,,,,,,,,\n",
            1,
            "frames",
            "2 … 1000 in a walk of m",
        ),
        ("w,a,1,drift,4,smooth,,,,,\n", 1, "easing", "an empty cell: only motion line uses this column; got smooth"),
        (",a,1,,,,0.5,,,,\n", 1, "strength", "an empty cell on a row without an image; got 0.5"),
        (",a,1,,,,,0.5,,,\n", 1, "anchor", "an empty cell on a row without a walk; got 0.5"),
        (",a,1,,,,,,2,,\n", 1, "tween", "an empty cell on a row without a walk; got 2"),
        (
            "w,a,1,circle,9,,,,,2,\nw,a,2,,,,,,,5,\n",
            2,
            "guidance",
            "the value that its circle begins with, or an empty cell; got 5.0",
        ),
        (
            "w,a,1,circle,9,,,,,,\nw,a,2,,,,,,,,dark\n",
            2,
            "negative_prompt",
            "the negative_prompt that its circle begins",
        ),
    ],
)
def test_what_would_change_nothing_is_refused(path: Path, rows: str, row: int, column: str, required: str) -> None:
    (line,) = errors(path, IDLE + rows)
    assert line.startswith(f"row {row}, column '{column}': required {required}")


@pytest.mark.parametrize(
    ("name", "value"), [("steps", "50"), ("scheduler", "euler"), ("interpolation", "lerp"), ("guidance", "9")]
)
def test_a_circle_and_a_grid_take_their_first_row_s(path: Path, name: str, value: str) -> None:
    rows = f"walk,prompt,seed,motion,frames,{name}\nw,a,1,circle,9,\nw,a,2,,,{value}\n"
    got = {"guidance": "9.0"}.get(name, value)
    (line,) = errors(path, rows)
    assert line.startswith(
        f"row 2, column {name!r}: required the value that its circle begins with, or an empty cell; got {got}"
    )
    rows = f"walk,prompt,seed,motion,frames,{name}\nw,a,1,grid,4,\nw,b,2,,,\nw,c,2,,,{value}\nw,d,2,,,\n"
    if name == "guidance":
        assert csv(path, rows)  # moves
    else:
        assert errors(path, rows)[0].startswith(f"row 3, column {name!r}: required the value that its grid begins with")


def test_what_would_change_nothing_may_be_empty_or_the_same(path: Path) -> None:
    rows = "w,a,1,circle,9,,,,,2,\nw,a,2,,,,,,,2,blurry\n,a,1,,,,,0,0,,\nd,a,1,denoise,,,,,,,\n"
    assert [walk.name for walk in csv(path, IDLE + rows).walks()] == ["w", "still-000003", "d"]
