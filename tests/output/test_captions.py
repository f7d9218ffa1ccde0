"""Texts of frames, and what animations carry."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import pytest

from render.core.blend import Circle, Mix, Offset, Prompt
from render.core.columns import column_names
from render.core.recipe import Target
from render.core.walk import Keyframe, Walk
from render.output.captions import captions, description, heading, places
from render.plan.frames import EASING
from render.plan.motions import MOTIONS, frame_count, frames_of

GUIDANCES = (("3", "1.5"), ("4", "1.33"), ("5", "1.17"), ("6", "1"))  # at thirds of the way
MakeKeyframe = Callable[..., Keyframe]


def walk_of(make_keyframe: MakeKeyframe, motion: str = "line", **fields: object) -> Walk:
    """A walk of prompts A, B …; its own fields and those of all its keyframes."""
    own: dict[str, Any] = {name: fields.pop(name) for name in column_names("walk") if name in fields}
    keyframes = [make_keyframe(prompt="ABCD"[n], seed=n, **fields) for n in range(MOTIONS[motion].keyframes or 3)]
    return Walk("w", tuple(keyframes), 64, 64, motion=motion, **own)


@pytest.mark.parametrize(
    ("motion", "fields", "texts"),
    [
        ("line", {"frames": 2}, ["A", "A → B  t = 0.50", "B", "B → C  t = 0.50", "C"]),
        ("line", {"frames": 2, "easing": "ease-in"}, ["A", "A → B  t = 0.25", "B", "B → C  t = 0.25", "C"]),
        ("line", {"frames": 1}, ["A", "B", "C"]),
        (
            "line",
            {"frames": 2, "loop": "cycle"},
            [*["A", "A → B  t = 0.50", "B"], "B → C  t = 0.50", "C", "C → A  t = 0.50"],
        ),
        ("grid", {"frames": 2}, ["A", "B", "C", "D"]),
        ("drift", {"frames": 3, "step_size": 0.25}, ["A", "A  + 1 · 0.25", "A  + 2 · 0.25"]),
        ("line", {"frames": 1, "tween": 1}, ["A", "A → B  t = 0.50", "B", "B → C  t = 0.50", "C"]),
        ("denoise", {"steps": 5, "every": 2}, [f"A  step {n} of 5" for n in (0, 2, 4, 5)]),
        ("denoise", {"steps": 5, "every": 2, "shown": "clean"}, [f"A  step {n} of 5" for n in (2, 4, 5)]),
        ("denoise", {"steps": 5, "image": "a.png", "strength": 0.4}, [f"A  step {n} of 5" for n in (3, 4, 5)]),
        ("diffuse", {"steps": 2, "image": "a.png"}, [f"a.png  noise {n} of 2" for n in (0, 1, 2)]),
        ("circle", {"frames": 4}, ["A", "A  turn = 0.25", "A  turn = 0.50", "A  turn = 0.75"]),
    ],
)
def test_captions(make_keyframe: MakeKeyframe, motion: str, fields: dict[str, object], texts: list[str]) -> None:
    assert captions(walk_of(make_keyframe, motion, **fields)) == texts


@pytest.mark.parametrize(
    ("motion", "fields", "texts"),
    [
        ("line", {"frames": 2}, ["A", "1 → 2  t = 0.50", "B", "2 → 3  t = 0.50", "C"]),
        ("line", {"frames": 1, "loop": "cycle", "tween": 1}, [*"A.B.C."]),
        ("drift", {"frames": 2, "step_size": 0.25}, ["+ 0 · 0.25", "+ 1 · 0.25"]),
        ("circle", {"frames": 2}, ["turn = 0.00", "turn = 0.50"]),
        ("denoise", {"steps": 5, "every": 2}, [f"step {n} of 5" for n in (0, 2, 4, 5)]),
        ("diffuse", {"steps": 1, "image": "a.png"}, ["noise 0 of 1", "noise 1 of 1"]),
    ],
)
def test_places(make_keyframe: MakeKeyframe, motion: str, fields: dict[str, object], texts: list[str]) -> None:
    ways = iter(("1 → 2  t = 0.50", "2 → 3  t = 0.50", "3 → 1  t = 0.50"))
    assert places(walk_of(make_keyframe, motion, **fields)) == [next(ways) if text == "." else text for text in texts]


@pytest.mark.parametrize(
    ("first", "last", "texts"),
    [
        ({"guidance": 0.25}, {"guidance": 1}, ["guidance 0.25", "guidance 0.5", "guidance 0.75", "guidance 1"]),
        ({"true_guidance": 1.5}, {"guidance": 6}, [f"guidance {g}, true guidance {t}" for g, t in GUIDANCES]),
        (
            {"image": "a.png", "strength": 0.25},
            {"image": "a.png", "strength": 1},
            [f"strength {n}" for n in ("0.25", "0.5", "0.75", "1")],
        ),
        ({"strength": 0.25}, {"strength": 1}, ["A", "t = 0.33", "t = 0.67", "A"]),  # of no image
        ({"guidance": 1}, {"guidance": 4, "seed": 3}, ["A", "t = 0.33", "t = 0.67", "A"]),
        ({"guidance": 1}, {"guidance": 4, "negative_prompt": "x"}, ["A", "t = 0.33", "t = 0.67", "A"]),
    ],
)
def test_settings_are_told_where_nothing_else_moves(
    make_keyframe: MakeKeyframe, first: dict[str, object], last: dict[str, object], texts: list[str]
) -> None:
    a, b = (make_keyframe(prompt="A", frames=3, **fields) for fields in (first, last))
    walk = Walk("w", (replace(a, row=3, labels={"kind": "x"}), b), 64, 64)
    assert places(walk) == texts
    if "t = 0.33" not in texts:
        assert captions(walk) == [f"A  {text}" for text in texts]


def test_the_last_keyframe_needs_no_pace(make_keyframe: MakeKeyframe) -> None:
    a = make_keyframe(prompt="A", frames=2, easing="onsets", onset_pace=(0.0, 0.7))
    assert captions(Walk("w", (a, make_keyframe(prompt="B", easing="onsets")), 64, 64))[1:] == ["A → B  t = 0.70", "B"]


def test_heading(make_keyframe: MakeKeyframe) -> None:
    assert heading(walk_of(make_keyframe)) == "A → B → C"
    assert heading(walk_of(make_keyframe, "grid", frames=2)) == "A → B / C → D"
    assert heading(walk_of(make_keyframe, "drift")) == "A"
    assert heading(walk_of(make_keyframe, "diffuse", image="a.png")) == "a.png"
    still = make_keyframe(prompt="A", image="a.png", steps=20, strength=0.65)
    assert heading(Walk("still-000001", (still,), 64, 64, still=True)) == "A, from a.png at step 7 of 20"


def test_a_grid_tells_corners_and_place(make_keyframe: MakeKeyframe) -> None:
    texts = captions(walk_of(make_keyframe, "grid", frames=3))
    assert [texts[index] for index in (0, 2, 6, 8)] == list("ABCD")
    assert texts[1] == "A → B / C → D  x = 0.50, y = 0.00"
    assert texts[5] == "A → B / C → D  x = 1.00, y = 0.50"


@pytest.mark.parametrize(
    ("prompts", "seeds", "middle"),
    [
        (("a", "a"), (1, 2), "a  seed 1 → 2  t = 0.50"),
        (("a", "a"), (1, 1), "a  t = 0.50"),
        (("a", ""), (1, 2), "a → (empty prompt)  t = 0.50"),
        (("two\n\nlines", "b\t b"), (1, 2), "two lines → b b  t = 0.50"),
    ],
)
def test_odd_prompts(
    make_keyframe: MakeKeyframe, prompts: tuple[str, str], seeds: tuple[int, int], middle: str
) -> None:
    a, b = (make_keyframe(prompt=prompt, seed=seed, frames=2) for prompt, seed in zip(prompts, seeds, strict=True))
    assert captions(Walk("w", (a, b), 64, 64))[1] == middle


@pytest.mark.parametrize("easing", EASING)
@pytest.mark.parametrize("motion", list(MOTIONS)[:4])
def test_a_text_tells_what_the_recipe_holds(make_keyframe: MakeKeyframe, motion: str, easing: str) -> None:
    walk = walk_of(make_keyframe, motion, frames=5, easing=easing, step_size=0.5)
    texts = captions(walk)
    assert len(texts) == frame_count(walk)
    for text, frame in zip(texts, frames_of(walk, Target("m")), strict=True):
        match frame.recipe.prompt, frame.recipe.noise:
            case Mix(a=Prompt(a), b=Prompt(b), t=t), _:
                assert motion == "grid" or text == f"{a} → {b}  t = {t:.2f}"
            case Offset(steps), _:
                assert isinstance(steps, Prompt)
                assert text.startswith(f"{steps.text}  + ")
            case Prompt(prompt), Circle():
                assert text == f"{prompt}  turn = {frame.index / 5:.2f}"
            case Prompt(prompt), _:
                assert text == prompt


def test_description(make_keyframe: MakeKeyframe) -> None:
    walk = walk_of(make_keyframe)
    walk = replace(walk, keyframes=(replace(walk.keyframes[0], prompt='ein "Käse"\n日本'), *walk.keyframes[1:]))
    job = {"seed": 5, "model": {"id": "starter"}, "models": {"other": {"id": "OWNER/NAME"}}}
    text = description(walk, job)
    assert text == description(walk, job)
    assert "日本" in text
    assert ": " not in text
    assert json.loads(text) == {
        "nightrender": version("nightrender"),
        "walk": "w",
        "model": "starter",
        "motion": "line",
        "prompts": ['ein "Käse"\n日本', "B", "C"],
        "seeds": [0, 1, 2],
        "job": job,
    }
    walk = replace(walk, model="other")
    assert json.loads(description(walk, job))["model"] == "OWNER/NAME"
