"""Walks to frames, by each motion."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from small_walks import TARGET, MakeKeyframe, walk_of

from render.core.blend import Circle, Mix, Offset, Prompt, Seed
from render.core.walk import Walk
from render.plan.frames import Between, recipe_at
from render.plan.motions import MOTIONS, frame_count, frames_of, legs, shown_order


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
    assert frame_count(walk) == frames == sum(leg.count for leg in legs(walk))


def test_no_keyframe_is_repeated(make_keyframe: MakeKeyframe) -> None:
    """`linspace` with both ends in each leg would show each keyframe twice: a stall."""
    frames = list(frames_of(walk_of(make_keyframe, 4, 3, 5), TARGET))
    assert len({frame.recipe.key for frame in frames}) == len(frames) == 8


def test_keyframes_are_plain_renders(make_keyframe: MakeKeyframe) -> None:
    """To the key: the store shows that a still of the same prompt and seed is the same picture."""
    walk = walk_of(make_keyframe, 4, 3, 5)
    frames = list(frames_of(walk, TARGET))
    for index, keyframe in zip((0, 4, 7), walk.keyframes, strict=True):
        (still,) = frames_of(Walk("still", (keyframe,), 64, 64, still=True), TARGET)
        assert frames[index].recipe == still.recipe
        assert still.recipe.prompt == Prompt(keyframe.prompt)
        assert still.recipe.noise == Seed(keyframe.seed)
        assert still.recipe.guidance == keyframe.guidance


def test_easing_places_the_frames(make_keyframe: MakeKeyframe) -> None:
    a = make_keyframe(prompt="a", easing="ease-in", interpolation="lerp")
    b = make_keyframe(prompt="b", easing="linear")
    frames = list(frames_of(Walk("w", (a, b), 64, 64), TARGET))
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


def test_a_cycle_leads_back_without_a_stall(make_keyframe: MakeKeyframe) -> None:
    walk = walk_of(make_keyframe, 3, 2, 4)
    cycle = replace(walk, loop="cycle")
    frames = list(frames_of(cycle, TARGET))
    assert len({frame.recipe.key for frame in frames}) == len(frames) == frame_count(cycle) == 9
    assert [frame.recipe for frame in frames[:6]] == [frame.recipe for frame in frames_of(walk, TARGET)]
    assert frames[6].recipe.prompt == Mix("slerp", Prompt("p2"), Prompt("p0"), 0.25)
    assert [round(frame.recipe.guidance, 9) for frame in frames[5:]] == [
        4.0,
        3.5,
        3.0,
        2.5,
    ]  # and 2.0 is the first again


def grid_of(make_keyframe: MakeKeyframe, side: int, vary_noise: bool = False) -> Walk:
    return walk_of(make_keyframe, side, 1, 1, 1, motion="grid", vary_noise=vary_noise)


@pytest.mark.parametrize("side", [2, 3, 8])
def test_a_grid_has_its_keyframes_at_its_corners(make_keyframe: MakeKeyframe, side: int) -> None:
    walk = grid_of(make_keyframe, side)
    frames = list(frames_of(walk, TARGET))
    assert len(frames) == side**2
    for index, keyframe in zip((0, side - 1, side**2 - side, side**2 - 1), walk.keyframes, strict=True):
        assert frames[index].recipe == recipe_at(walk, keyframe, TARGET)
    assert len({frame.recipe.key for frame in frames}) == side**2


def test_inside_a_grid_each_point_has_its_own_angles(make_keyframe: MakeKeyframe) -> None:
    """Between the ends of its own row and column: not one angle for all of them."""
    frame = list(frames_of(grid_of(make_keyframe, 5), TARGET))[5 * 3 + 1]
    top, bottom = (Mix("slerp", Prompt(f"p{n}"), Prompt(f"p{n + 1}"), 0.25) for n in (0, 2))
    assert frame.recipe.prompt == Mix("slerp", top, bottom, 0.75)
    assert frame.recipe.guidance == 2.0 + 0.25 + 2 * 0.75


def test_cells_of_a_grid_start_from_their_own_noise(make_keyframe: MakeKeyframe) -> None:
    frames = frames_of(grid_of(make_keyframe, 3, vary_noise=True), TARGET)
    assert [frame.recipe.noise for frame in frames] == [Seed(n) for n in range(9)]


@pytest.mark.parametrize("side", [2, 3, 6])
def test_a_grid_is_shown_from_neighbour_to_neighbour(make_keyframe: MakeKeyframe, side: int) -> None:
    order = shown_order(grid_of(make_keyframe, side))
    assert sorted(order) == list(range(side**2))
    places = [divmod(index, side) for index in order]
    assert all(abs(a - c) + abs(b - d) == 1 for (a, b), (c, d) in pairwise(places))


@pytest.mark.parametrize(("direction", "along"), [("ones", None), ("random", 5)])
def test_a_drift_moves_by_equal_steps(make_keyframe: MakeKeyframe, direction: str, along: int | None) -> None:
    start = make_keyframe(seed=5, frames=4)
    walk = Walk("d", (start,), 64, 64, motion="drift", step_size=0.25, direction=direction)
    frames = list(frames_of(walk, TARGET))
    plain = recipe_at(walk, start, TARGET)
    assert frames[0].recipe == plain
    assert [frame.recipe.prompt for frame in frames[1:]] == [Offset(Prompt("a cat"), along, n / 4) for n in (1, 2, 3)]
    assert {(frame.recipe.noise, frame.recipe.negative_prompt) for frame in frames} == {
        (Seed(5), plain.negative_prompt)
    }


def test_a_circle_closes_without_a_stall(make_keyframe: MakeKeyframe) -> None:
    """Frame n would be frame 0 again: `linspace(0, 2π, n)` shows it twice."""
    walk = Walk("c", (make_keyframe(seed=1, frames=8), make_keyframe(seed=2)), 64, 64, motion="circle")
    noises = [frame.recipe.noise for frame in frames_of(walk, TARGET)]
    assert noises == [Seed(1), *(Circle(Seed(1), Seed(2), n / 8) for n in range(1, 8))]


@pytest.mark.parametrize(
    ("steps", "every", "shown", "stops"),
    [
        (4, 1, "latents", [0, 1, 2, 3, None]),
        (5, 2, "latents", [0, 2, 4, None]),
        (4, 2, "clean", [2, None]),
        (3, 7, "latents", [0, None]),
        (3, 7, "clean", [None]),
    ],
)
def test_denoising_stops_on_its_way(
    make_keyframe: MakeKeyframe, steps: int, every: int, shown: str, stops: list[int | None]
) -> None:
    """The last frame is the image itself, to the key."""
    walk = Walk("d", (make_keyframe(steps=steps),), 64, 64, motion="denoise", every=every, shown=shown)
    frames = list(frames_of(walk, TARGET))
    assert [frame.recipe.stop for frame in frames] == stops
    assert [frame.recipe.clean for frame in frames] == [shown == "clean"] * (len(stops) - 1) + [False]
    assert frames[-1].recipe == recipe_at(walk, walk.start, TARGET)


def test_diffusing_begins_with_the_image_itself(make_keyframe: MakeKeyframe) -> None:
    start = make_keyframe(steps=6, image="a.png", image_sha256="0")
    walk = Walk("d", (start,), 64, 64, motion="diffuse", every=2)
    recipes = [frame.recipe for frame in frames_of(walk, TARGET)]
    assert [recipe.skipped_steps for recipe in recipes] == [6, 4, 2, 0]
    assert {recipe.stop for recipe in recipes} == {0}


def test_diffusing_ends_in_noise(make_keyframe: MakeKeyframe) -> None:
    """However many steps are left out; without the timestep that PNDM has twice."""
    for steps, every, skipped in ((6, 4, [6, 4, 0]), (6, 100, [6, 0]), (1, 1, [1, 0])):
        start = make_keyframe(steps=steps, scheduler="pndm", image="a.png")
        walk = Walk("d", (start,), 64, 64, motion="diffuse", every=every)
        recipes = [frame.recipe for frame in frames_of(walk, TARGET)]
        assert [recipe.skipped_steps for recipe in recipes] == skipped
        assert {recipe.scheduler for recipe in recipes} == {"ddim"}


@pytest.mark.parametrize("motion", MOTIONS)
def test_every_motion_has_its_legs(make_keyframe: MakeKeyframe, motion: str) -> None:
    keyframes = [make_keyframe(seed=n, prompt=f"p{n}", frames=3) for n in range(MOTIONS[motion].keyframes or 3)]
    walk = Walk("w", tuple(keyframes), 64, 64, motion=motion)
    frames = list(frames_of(walk, TARGET))
    assert [frame.index for frame in frames] == list(range(frame_count(walk)))
    assert sorted(shown_order(walk)) == list(range(len(frames)))


def test_an_anchored_line_shares_its_first_steps(make_keyframe: MakeKeyframe) -> None:
    plain = walk_of(make_keyframe, 4, 1)
    walk = replace(plain, keyframes=tuple(replace(keyframe, steps=8) for keyframe in plain.keyframes), anchor=0.5)
    frames = list(frames_of(walk, TARGET))
    stem = replace(recipe_at(walk, Between(walk.keyframes[0], walk.keyframes[1], 0.5), TARGET), stop=4)
    assert {frame.recipe.stem for frame in frames} == {stem}
    assert {frame.recipe.skipped_steps for frame in frames} == {4}
    assert [frame.recipe.prompt for frame in frames] == [f.recipe.prompt for f in frames_of(plain, TARGET)]
    leg = next(legs(walk))
    assert (leg.stem_steps, leg.full_renders, leg.shares_work) == (4, len(frames), True)


def test_tweens_lie_between_neighbours(make_keyframe: MakeKeyframe) -> None:
    plain = walk_of(make_keyframe, 2, 1)
    walk = replace(plain, tween=2)
    frames = list(frames_of(walk, TARGET))
    whole = [frame.recipe for frame in frames_of(plain, TARGET)]
    assert len(frames) == frame_count(walk) == 7
    assert [frame.recipe for frame in frames[::3]] == whole
    assert [(f.recipe.towards, round(f.recipe.t, 9)) for f in frames[1:3]] == [
        (whole[1], 0.333333333),
        (whole[1], 0.666666667),
    ]
    assert replace(frames[4].recipe, towards=None, t=0.0) == whole[1]
