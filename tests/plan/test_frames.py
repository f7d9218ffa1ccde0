"""Points between keyframes as recipes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_walks import TARGET, MakeKeyframe, walk_of

from render.core.blend import Mix, Prompt, Seed
from render.core.recipe import Target
from render.core.vocabulary import EASINGS
from render.core.walk import Walk
from render.plan.frames import EASING, Between, recipe_at
from render.plan.motions import frames_of


def test_every_easing_has_its_curve() -> None:
    assert (*EASING, "onsets") == EASINGS


@pytest.mark.parametrize("name", EASING)
def test_easing_ends(name: str) -> None:
    assert (EASING[name](0.0), EASING[name](1.0)) == (0.0, 1.0)


@pytest.mark.parametrize("name", EASING)
@given(a=st.floats(0, 1), b=st.floats(0, 1))
def test_easing_never_goes_back(name: str, a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert 0 <= EASING[name](low) <= EASING[name](high) + 1e-12 <= 1 + 1e-12


@pytest.mark.parametrize(("name", "middle"), [("linear", 0.5), ("smooth", 0.5), ("ease-in", 0.25), ("ease-out", 0.75)])
def test_easing_in_the_middle(name: str, middle: float) -> None:
    assert EASING[name](0.5) == middle


def test_between_keyframes_everything_moves(make_keyframe: MakeKeyframe) -> None:
    """The negative prompt as well, which is forgotten elsewhere; noise slerps with one angle whatever prompts do."""
    walk = walk_of(make_keyframe, 4, 1)
    recipe = recipe_at(walk, Between(walk.keyframes[0], walk.keyframes[1], 0.25), TARGET)
    assert recipe.prompt == Mix("slerp", Prompt("p0"), Prompt("p1"), 0.25)
    assert recipe.negative_prompt == Mix("slerp", Prompt("n0"), Prompt("n1"), 0.25)
    assert recipe.noise == Mix("slerp-global", Seed(0), Seed(1), 0.25)
    assert recipe.guidance == 2.25


@pytest.mark.parametrize(
    ("guidance_embeds", "scale", "embedded"),
    [(False, [4.0, 5.0, 6.0], [None] * 3), (True, [1.0, 2.0, 3.0], [4.0, 5.0, 6.0])],
)
def test_guidance_is_what_the_model_takes_it_for(
    make_keyframe: MakeKeyframe, guidance_embeds: bool, scale: list[float], embedded: list[float | None]
) -> None:
    """Between two network outputs, or into the network; what moves beside it is the other one."""
    ends = make_keyframe(guidance=4.0, frames=2), make_keyframe(guidance=6.0, true_guidance=3.0)
    frames = list(frames_of(Walk("w", ends, 64, 64), Target("m", guidance_embeds)))
    assert [frame.recipe.guidance for frame in frames] == scale
    assert [frame.recipe.embedded_guidance for frame in frames] == embedded
    assert {frame.recipe.model for frame in frames} == {"m"}


@pytest.mark.parametrize("syntax", ["plain", "weighted"])
def test_every_recipe_of_a_walk_says_how_its_prompts_are_read(make_keyframe: MakeKeyframe, syntax: str) -> None:
    walk = Walk("w", (make_keyframe(frames=4), make_keyframe(prompt="b")), 64, 64, anchor=0.7, tween=1)
    recipes = [frame.recipe for frame in frames_of(walk, Target("m", prompt_syntax=syntax))]
    parts = [part for recipe in recipes for part in (recipe, recipe.stem, recipe.towards) if part]
    assert {part.prompt_syntax for part in parts} == {syntax}
    assert all(("prompt_syntax" in part.json) is (syntax == "weighted") for part in parts)


@pytest.mark.parametrize(
    ("width", "height", "above", "tiled"),
    [(512, 512, 512, False), (512, 520, 512, True), (520, 64, 512, True), (8192, 8192, None, False)],
)
def test_large_frames_are_tiled(
    make_keyframe: MakeKeyframe, width: int, height: int, above: int | None, tiled: bool
) -> None:
    walk = Walk("w", (make_keyframe(),), width, height)
    assert next(frames_of(walk, Target("m", tile_above=above))).recipe.tiled is tiled
