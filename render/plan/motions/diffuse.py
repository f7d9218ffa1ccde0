"""The motion `diffuse`: how an image is lost in noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from render.core import Recipe, Target, Walk
from render.plan.frames import Leg, recipe_at
from render.plan.motions.motion import Caption, Motion

__all__ = ["DIFFUSE"]


def _places(walk: Walk) -> list[int]:
    """Return for each frame the number of steps that are skipped: all for the image itself, then fewer and fewer."""
    return [walk.start.steps, *reversed(range(0, walk.start.steps, walk.every))]


def diffuse(walk: Walk) -> Iterator[Leg]:
    """Yield one leg: the start image, then noised as at every `every` timesteps, q(x_t | x_0), with t rising to its end."""
    (start,) = walk.keyframes
    places = _places(walk)
    scheduler = "ddim" if start.scheduler == "pndm" else start.scheduler  # pndm has one of its timesteps twice

    def at(index: int, target: Target) -> Recipe:
        recipe = recipe_at(walk, start, target)
        return replace(recipe, skipped_steps=places[index], stop=0, scheduler=scheduler)

    yield Leg(start, (start,), len(places), at, full_renders=0)


def captions(walk: Walk) -> Iterator[Caption]:
    for place in _places(walk):
        noise = f"noise {walk.start.steps - place} of {walk.start.steps}"
        yield f"{walk.start.image}  {noise}", noise


DIFFUSE = Motion(
    name="diffuse",
    keyframes=1,
    keyframes_doc="one, with an `image`",
    frames_doc="how that is lost: the image, then noised as at every `every` timesteps",
    legs=diffuse,
    captions=captions,
    takes=("every",),
    ignores=("frames", "strength"),
    needs_image=True,
    heading=lambda walk: walk.start.image,
)
