"""The motion `grid`: all points between four prompts, as a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from render.core import Recipe, Seed, Target, Walk
from render.plan.frames import Between, Leg, recipe_at
from render.plan.motions.motion import Caption, Motion, prompt_of

__all__ = ["GRID"]

SIDE_MAX = 1000  # cells


def grid(walk: Walk) -> Iterator[Leg]:
    """Yield one leg: four keyframes as corners, `frames` a side, row by row.

    A cell lies between two points of the rows' ends, each of which lies between two corners: with one angle a point.
    """
    a, b, c, d = walk.keyframes
    side = a.frames

    def at(index: int, target: Target) -> Recipe:
        x, y = (part / (side - 1) for part in (index % side, index // side))
        recipe = recipe_at(walk, Between(Between(a, b, x), Between(c, d, x), y), target)
        return replace(recipe, noise=Seed(a.seed + index)) if walk.vary_noise else recipe

    yield Leg(a, walk.keyframes, side**2, at, full_renders=side**2)


def captions(walk: Walk) -> Iterator[Caption]:
    side, names = walk.start.frames, [prompt_of(keyframe) for keyframe in walk.keyframes]
    corners = {(0, 0): names[0], (side - 1, 0): names[1], (0, side - 1): names[2], (side - 1, side - 1): names[3]}
    for index in range(side**2):
        x, y = index % side, index // side
        place = f"x = {x / (side - 1):.2f}, y = {y / (side - 1):.2f}"
        corner = corners.get((x, y))
        yield (corner, corner) if corner else (f"{heading(walk)}  {place}", place)


def heading(walk: Walk) -> str:
    a, b, c, d = map(prompt_of, walk.keyframes)
    return f"{a} → {b} / {c} → {d}"


GRID = Motion(
    name="grid",
    keyframes=4,
    keyframes_doc="four, the corners row by row",
    frames_doc="`frames` a side; points are interpolated along both edges, then across. Its animation runs in snake order",
    legs=grid,
    captions=captions,
    takes=("vary_noise",),
    first_row_only=("frames",),
    fixed=("steps", "scheduler", "interpolation"),
    frames_range=(2, SIDE_MAX),
    table_width=lambda walk: walk.start.frames,
    heading=heading,
)
