"""Texts of frames, and what animations carry."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version

import pytest

from render.blend import Circle, Mix, Offset, Prompt
from render.captions import captions, description
from render.motion import EASING, frame_count, frames_of
from render.recipe import Keyframe, Target, Walk
from render.vocabulary import MOTIONS

MakeKeyframe = Callable[..., Keyframe]
KEYFRAMES = {"line": 3, "grid": 4, "drift": 1, "circle": 2, "denoise": 1, "diffuse": 1}


def walk_of(make_keyframe: MakeKeyframe, motion: str = "line", **fields: object) -> Walk:
    keyframes = [make_keyframe(prompt="ABCD"[n], seed=n, motion=motion, **fields) for n in range(KEYFRAMES[motion])]
    return Walk("w", tuple(keyframes))


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
    assert captions(Walk("w", (a, b)))[1] == middle


@pytest.mark.parametrize("easing", EASING)
@pytest.mark.parametrize("motion", MOTIONS[:4])
def test_a_text_tells_what_the_recipe_holds(make_keyframe: MakeKeyframe, motion: str, easing: str) -> None:
    walk = walk_of(make_keyframe, motion, frames=5, easing=easing, step_size=0.5)
    texts = captions(walk)
    assert len(texts) == frame_count(walk)
    for text, frame in zip(texts, frames_of(walk, Target("m")), strict=True):
        match frame.recipe.prompt, frame.recipe.noise:
            case Mix(a=Prompt(a), b=Prompt(b), t=t), _:
                assert motion == "grid" or text == f"{a} → {b}  t = {t:.2f}"
            case Offset(steps), _:
                assert text.startswith(f"{steps.text}  + ")
            case Prompt(prompt), Circle():
                assert text == f"{prompt}  turn = {frame.index / 5:.2f}"
            case Prompt(prompt), _:
                assert text == prompt


def test_description(make_keyframe: MakeKeyframe) -> None:
    walk = walk_of(make_keyframe)
    walk = replace(walk, keyframes=(replace(walk.keyframes[0], prompt='ein "Käse"\n日本'), *walk.keyframes[1:]))
    text = description(walk, "starter")
    assert text == description(walk, "starter")
    assert "日本" in text
    assert ": " not in text
    assert json.loads(text) == {
        "nightrender": version("nightrender"),
        "walk": "w",
        "model": "starter",
        "motion": "line",
        "prompts": ['ein "Käse"\n日本', "B", "C"],
        "seeds": [0, 1, 2],
    }
