"""Walks to frames."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.motion import EASING, frames_of, legs, recipe_at
from render.recipe import EASINGS, Keyframe, Mix, Prompt, Seed, Target, Walk

MakeKeyframe = Callable[..., Keyframe]
TARGET = Target("m", tile_above=512)


def walk_of(make_keyframe: MakeKeyframe, *counts: int, name: str = "w") -> Walk:
    """A walk whose keyframes differ in prompt, seed and guidance; `counts` are their frames."""
    keyframes = [
        make_keyframe(row=i + 1, prompt=f"p{i}", negative_prompt=f"n{i}", seed=i, frames=count, guidance=2.0 + i)
        for i, count in enumerate(counts)
    ]
    return Walk(name, tuple(keyframes))


def test_every_easing_has_its_curve() -> None:
    assert tuple(EASING) == EASINGS


@pytest.mark.parametrize("name", EASINGS)
def test_easing_ends(name: str) -> None:
    assert (EASING[name](0.0), EASING[name](1.0)) == (0.0, 1.0)


@pytest.mark.parametrize("name", EASINGS)
@given(a=st.floats(0, 1), b=st.floats(0, 1))
def test_easing_never_goes_back(name: str, a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert 0 <= EASING[name](low) <= EASING[name](high) + 1e-12 <= 1 + 1e-12


@pytest.mark.parametrize(("name", "middle"), [("linear", 0.5), ("smooth", 0.5), ("ease-in", 0.25), ("ease-out", 0.75)])
def test_easing_in_the_middle(name: str, middle: float) -> None:
    assert EASING[name](0.5) == middle


@pytest.mark.parametrize(
    ("counts", "frames"),
    [
        ((24,), 1),  # one keyframe is one frame, whatever its count says
        ((4, 24), 5),
        ((1, 1), 2),
        ((3, 2, 9), 6),
    ],
)
def test_number_of_frames(make_keyframe: MakeKeyframe, counts: tuple[int, ...], frames: int) -> None:
    walk = walk_of(make_keyframe, *counts)
    assert [frame.index for frame in frames_of(walk, TARGET)] == list(range(frames))
    assert walk.frame_count == frames == sum(count for _, _, count in legs(walk))


def test_no_keyframe_is_repeated(make_keyframe: MakeKeyframe) -> None:
    """`linspace` with both ends in each leg would show each keyframe twice: a stall."""
    frames = list(frames_of(walk_of(make_keyframe, 4, 3, 5), TARGET))
    assert len({frame.recipe.key for frame in frames}) == len(frames) == 8


def test_keyframes_are_plain_renders(make_keyframe: MakeKeyframe) -> None:
    """To the key: the store shows that a still of the same prompt and seed is the same picture."""
    walk = walk_of(make_keyframe, 4, 3, 5)
    frames = list(frames_of(walk, TARGET))
    for index, keyframe in zip((0, 4, 7), walk.keyframes, strict=True):
        (still,) = frames_of(Walk("still", (keyframe,), still=True), TARGET)
        assert frames[index].recipe == still.recipe
        assert still.recipe.prompt == Prompt(keyframe.prompt)
        assert still.recipe.noise == Seed(keyframe.seed)
        assert still.recipe.guidance == keyframe.guidance


def test_between_keyframes_everything_moves(make_keyframe: MakeKeyframe) -> None:
    """The negative prompt as well, which is forgotten elsewhere; noise slerps with one angle whatever prompts do."""
    a, b = walk_of(make_keyframe, 4, 1).keyframes
    recipe = recipe_at(a, b, 0.25, TARGET)
    assert recipe.prompt == Mix("slerp", Prompt("p0"), Prompt("p1"), 0.25)
    assert recipe.negative_prompt == Mix("slerp", Prompt("n0"), Prompt("n1"), 0.25)
    assert recipe.noise == Mix("slerp-global", Seed(0), Seed(1), 0.25)
    assert recipe.guidance == 2.25


def test_easing_places_the_frames(make_keyframe: MakeKeyframe) -> None:
    a = make_keyframe(prompt="a", easing="ease-in", interpolation="lerp")
    b = make_keyframe(prompt="b", easing="linear")
    frames = list(frames_of(Walk("w", (a, b)), TARGET))
    blends = [frame.recipe.prompt for frame in frames[1:4]]
    assert blends == [Mix("lerp", Prompt("a"), Prompt("b"), (i / 4) ** 2) for i in (1, 2, 3)]
    assert {frame.recipe.noise for frame in frames} == {Seed(1)}  # one seed stands still


def test_frames_carry_the_start_of_their_leg(make_keyframe: MakeKeyframe) -> None:
    walk = walk_of(make_keyframe, 2, 2, 1)
    rows = [(frame.walk, frame.keyframe.row) for frame in frames_of(walk, TARGET)]
    assert rows == [("w", 1), ("w", 1), ("w", 2), ("w", 2), ("w", 3)]


def test_neighbours_are_equally_far_apart(make_keyframe: MakeKeyframe) -> None:
    """Linear guidance shows it: no step is skipped or doubled where legs meet."""
    guidance = [frame.recipe.guidance for frame in frames_of(walk_of(make_keyframe, 4, 4, 1), TARGET)]
    assert guidance == [2.0 + i / 4 for i in range(9)]


@pytest.mark.parametrize(
    ("distilled", "scale", "embedded"),
    [(False, [4.0, 5.0, 6.0], [None] * 3), (True, [1.0, 2.0, 3.0], [4.0, 5.0, 6.0])],
)
def test_guidance_is_what_the_model_takes_it_for(
    make_keyframe: MakeKeyframe, distilled: bool, scale: list[float], embedded: list[float | None]
) -> None:
    """Between two network outputs, or into the network; what moves beside it is the other one."""
    ends = make_keyframe(guidance=4.0, frames=2), make_keyframe(guidance=6.0, true_guidance=3.0)
    frames = list(frames_of(Walk("w", ends), Target("m", distilled)))
    assert [frame.recipe.guidance for frame in frames] == scale
    assert [frame.recipe.distilled_guidance for frame in frames] == embedded
    assert {frame.recipe.model for frame in frames} == {"m"}


@pytest.mark.parametrize(
    ("width", "height", "above", "tiled"),
    [(512, 512, 512, False), (512, 520, 512, True), (520, 64, 512, True), (8192, 8192, None, False)],
)
def test_large_frames_are_tiled(
    make_keyframe: MakeKeyframe, width: int, height: int, above: int | None, tiled: bool
) -> None:
    walk = Walk("w", (make_keyframe(width=width, height=height),))
    assert next(frames_of(walk, Target("m", tile_above=above))).recipe.tiled is tiled
