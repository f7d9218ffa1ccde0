"""The motion `circle`: one prompt, noise on a circle through two seeds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from render.core import Circle, Recipe, Seed, Target, Walk
from render.plan.frames import Leg, recipe_at
from render.plan.motions.motion import Caption, Motion, prompt_of

__all__ = ["CIRCLE"]


def circle(walk: Walk) -> Iterator[Leg]:
    """Yield one leg: noise cos·a + sin·b of two seeds, n frames at i/n of a turn, so that it closes without a stall."""
    start, other = walk.keyframes

    def at(index: int, target: Target) -> Recipe:
        recipe = recipe_at(walk, start, target)
        noise = Circle(Seed(start.seed), Seed(other.seed), index / start.frames) if index else recipe.noise
        return replace(recipe, noise=noise)

    yield Leg(start, (start,), start.frames, at, full_renders=start.frames)


def captions(walk: Walk) -> Iterator[Caption]:
    for index in range(walk.start.frames):
        place = f"turn = {index / walk.start.frames:.2f}"
        yield f"{prompt_of(walk.start)}  {place}" if index else prompt_of(walk.start), place


CIRCLE = Motion(
    name="circle",
    keyframes=2,
    keyframes_doc="two of one prompt",
    frames_doc="`frames`: noise cos θ·a + sin θ·b of both seeds, at i/n of a turn, so that it closes without a stall",
    legs=circle,
    captions=captions,
    first_row_only=("frames",),
    fixed=("steps", "scheduler", "interpolation", "guidance", "true_guidance", "strength"),
    equal=("prompt", "negative_prompt", "image"),
    distinct=("seed",),
    closes=True,
)
