"""The motion `drift`: away from one prompt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from render.core import Offset, Recipe, Target, Walk
from render.plan.frames import Leg, recipe_at
from render.plan.motions.motion import Caption, Motion, prompt_of

__all__ = ["DRIFT"]


def drift(walk: Walk) -> Iterator[Leg]:
    """Yield one leg: the prompt's embeddings plus 0, 1, 2 … steps along ones or a random direction of the seed."""
    (start,) = walk.keyframes
    along = start.seed if walk.direction == "random" else None

    def at(index: int, target: Target) -> Recipe:
        recipe = recipe_at(walk, start, target)
        moved = Offset(recipe.prompt, along, index * walk.step_size) if index else recipe.prompt
        return replace(recipe, prompt=moved)

    yield Leg(start, (start,), start.frames, at, full_renders=start.frames)


def captions(walk: Walk) -> Iterator[Caption]:
    for index in range(walk.start.frames):
        place = f"+ {index} · {walk.step_size:g}"
        yield f"{prompt_of(walk.start)}  {place}" if index else prompt_of(walk.start), place


DRIFT = Motion(
    name="drift",
    keyframes=1,
    keyframes_doc="one",
    frames_doc="`frames`: the prompt's embeddings plus 0, 1, 2 … times `step_size` along `direction`",
    legs=drift,
    captions=captions,
    takes=("step_size", "direction"),
)
