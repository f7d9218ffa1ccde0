"""Walks: their order, keyframes, prompts and t, and how far neighbours are."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from looking import WALK, Page, looking, paint_store
from PIL import Image

from render import open_store
from render.view import walks as walking
from render.view.walks import distances_of, line_of, steps_of


def test_a_walk_has_its_keyframes_prompts_and_t(tmp_path: Path) -> None:
    with looking(paint_store(tmp_path, WALK)) as looked:
        steps = steps_of(looked.viewer, "dog-to-cat")
        assert [step.index for step in steps] == list(range(11))
        assert [step.index for step in steps if step.is_keyframe] == [0, 6, 10]
        assert steps[0].prompts == ("3d dog face",)
        assert steps[3].prompts == ("3d dog face", "3d cat face")
        assert [step.t for step in steps] == pytest.approx(
            [0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 0, 0.25, 0.5, 0.75, 0]
        )
        page = Page(looked.get("/walk?name=dog-to-cat"))
        assert [line["x1"] for line in page.all("line")] == ["0.0", "600.0", "1000.0"]
        (player,) = [one for one in page.all("section") if "data-player" in one]
        frames = json.loads(player["data-player"])
        assert [frame["key"] for frame in frames] == [step.key for step in steps]
        assert looked.client.get(frames[3]["src"]).status_code == 200
        (card,) = Page(looked.get("/walks")).all("article")
        assert card["class"] == "card"


MOVES = [  # rows of a walk → keyframes
    ([{"prompt": "a", "seed": 1, "frames": 3}, {"prompt": "a", "seed": 2}], [0, 3]),  # the noise alone moves
    ([{"prompt": "a", "seed": 1, "frames": 2, "guidance": 2}, {"prompt": "a", "seed": 1, "guidance": 7}], [0, 2]),
    ([{"prompt": "a", "seed": 1, "frames": 3, "loop": "cycle"}, {"prompt": "b", "seed": 1, "frames": 3}], [0, 3]),
    ([{"prompt": "a", "seed": 1, "frames": 5, "motion": "circle"}, {"prompt": "a", "seed": 2}], None),
    ([{"prompt": "a", "seed": 1, "frames": 5, "motion": "drift"}], None),
]


@pytest.mark.parametrize(("rows", "keyframes"), MOVES)
def test_keyframes_are_found_whatever_moves(
    tmp_path: Path, rows: list[dict[str, object]], keyframes: list[int] | None
) -> None:
    with looking(paint_store(tmp_path, [{"walk": "w"} | row for row in rows])) as looked:
        steps = steps_of(looked.viewer, "w")
        if keyframes is not None:
            assert [step.index for step in steps if step.is_keyframe] == keyframes
        assert all(0 <= step.t <= 1 for step in steps)
        looked.get("/walk?name=w")


def test_the_distance_of_neighbours_is_that_of_their_pixels(tmp_path: Path) -> None:
    out = paint_store(tmp_path, WALK)
    with looking(out) as looked:
        found = distances_of(looked.viewer, steps_of(looked.viewer, "dog-to-cat"))
        images = [np.asarray(frame.image(), float) for frame in open_store(out).frames("dog-to-cat")]
        assert images[0].shape == (64, 64, 3)
        wanted = [np.abs(a - b).mean() / 255 for a, b in pairwise(images)]
        assert found == pytest.approx(wanted, abs=1e-6)
        points = Page(looked.get("/walk/distances?name=dog-to-cat")).all("polyline")[0]["points"].split()
        assert len(points) == 10
        assert min(float(point.split(",")[1]) for point in points) == pytest.approx(2)
        assert f"at frame {1 + int(np.argmax(wanted))} of" in Page(looked.get("/walk/distances?name=dog-to-cat")).text


def test_a_picture_that_can_not_be_read_breaks_the_line_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with looking(paint_store(tmp_path, WALK)) as looked:
        steps = steps_of(looked.viewer, "dog-to-cat")
        read = walking._pixels
        monkeypatch.setattr(walking, "_pixels", lambda viewer, key: None if key == steps[4].key else read(viewer, key))
        found = distances_of(looked.viewer, steps)
        assert [place for place, value in enumerate(found) if value is None] == [3, 4]
        assert len(line_of(found).points.split()) == 8
        assert line_of([None]).points == ""


def test_large_pictures_are_measured_small(tmp_path: Path) -> None:
    rows = [
        {"walk": "w", "prompt": "a", "seed": 1, "frames": 1, "width": 512, "height": 256},
        {"walk": "w", "prompt": "b", "seed": 1, "width": 512, "height": 256},
    ]
    out = paint_store(tmp_path, rows)
    with looking(out) as looked:
        (found,) = distances_of(looked.viewer, steps_of(looked.viewer, "w"))
        small = [frame.image().resize((64, 32), Image.Resampling.BOX) for frame in open_store(out).frames("w")]
        a, b = (np.asarray(image, float) for image in small)
        assert found == pytest.approx(np.abs(a - b).mean() / 255, abs=1e-6)
