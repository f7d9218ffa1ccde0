"""The motion `denoise`: how an image comes to be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from render.core import Recipe, Target, Walk
from render.plan.frames import Leg, recipe_at, steps_of
from render.plan.motions.motion import Caption, Motion, prompt_of

__all__ = ["DENOISE"]


def _stops(walk: Walk) -> list[int]:
    """Return the steps after which a frame is shown, the last one included. Before a step no clean image is predicted."""
    last = steps_of(walk.start)
    return [*range(walk.every if walk.shown == "clean" else 0, last, walk.every), last]


def denoise(walk: Walk) -> Iterator[Leg]:
    """Yield one leg: a frame for the start and after every `every` steps; the last is the image."""
    (start,) = walk.keyframes
    stops, clean = _stops(walk), walk.shown == "clean"

    def at(index: int, target: Target) -> Recipe:
        last = index == len(stops) - 1
        return replace(recipe_at(walk, start, target), stop=None if last else stops[index], clean=clean and not last)

    yield Leg(start, (start,), len(stops), at, full_renders=1, redone_per_cut=1)


def captions(walk: Walk) -> Iterator[Caption]:
    skipped = walk.start.steps - steps_of(walk.start)
    for stop in _stops(walk):
        place = f"step {skipped + stop} of {walk.start.steps}"
        yield f"{prompt_of(walk.start)}  {place}", place


DENOISE = Motion(
    name="denoise",
    keyframes=1,
    keyframes_doc="one",
    frames_doc="how its image comes to be: a frame for the start (but with `shown` `clean`) and after every `every` steps",
    legs=denoise,
    captions=captions,
    takes=("every", "shown"),
    ignores=("frames",),
)
