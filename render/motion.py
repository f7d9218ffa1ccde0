"""Walks to frames: where each frame of a walk stands between its keyframes. Pure, no tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, pairwise

from render.recipe import Frame, Keyframe, Prompt, Recipe, Seed, Target, Walk, mix

__all__ = ["EASING", "frames_of", "legs", "positions", "recipe_at"]

EASING: dict[str, Callable[[float], float]] = {  # 0 … 1 to 0 … 1
    "linear": lambda t: t,
    "smooth": lambda t: t * t * (3 - 2 * t),  # smoothstep: slow, fast, slow
    "ease-in": lambda t: t * t,  # slow start
    "ease-out": lambda t: t * (2 - t),  # slow end
}


def legs(walk: Walk) -> Iterator[tuple[Keyframe, Keyframe, int]]:
    """The legs of a walk: (from, to, frames). The last keyframe is a leg of one frame to itself."""
    last = walk.keyframes[-1]
    return chain(((a, b, a.frames) for a, b in pairwise(walk.keyframes)), [(last, last, 1)])


def positions(easing: str, count: int) -> Iterator[float]:
    """Where the frames of a leg stand, eased: the first at 0, the one after the last would be at 1.

    >>> list(positions("linear", 4))
    [0.0, 0.25, 0.5, 0.75]
    """
    ease = EASING[easing]
    return (ease(step / count) for step in range(count))


def recipe_at(a: Keyframe, b: Keyframe, t: float, target: Target) -> Recipe:
    """The recipe at t (eased, 0 … 1) between two keyframes: prompts, noise and guidance move, the rest is `a`'s.

    Noise always slerps with one angle: a lerp of two noises loses deviation in the middle and washes the image out.
    """
    guidance = a.guidance + (b.guidance - a.guidance) * t
    true_guidance = a.true_guidance + (b.true_guidance - a.true_guidance) * t
    return Recipe(
        prompt=mix(a.interpolation, Prompt(a.prompt), Prompt(b.prompt), t),
        negative_prompt=mix(a.interpolation, Prompt(a.negative_prompt), Prompt(b.negative_prompt), t),
        noise=mix("slerp-global", Seed(a.seed), Seed(b.seed), t),
        width=a.width,
        height=a.height,
        steps=a.steps,
        guidance=true_guidance if target.distilled else guidance,
        scheduler=a.scheduler,
        model=target.fingerprint,
        distilled_guidance=guidance if target.distilled else None,
        tiled=target.tile_above is not None and max(a.width, a.height) > target.tile_above,
    )


def frames_of(walk: Walk, target: Target) -> Iterator[Frame]:
    """The frames of a walk in order: each leg from its keyframe up to, not including, the next; then the last one."""
    index = 0
    for a, b, count in legs(walk):
        for t in positions(a.easing, count):
            yield Frame(walk.name, index, recipe_at(a, b, t, target), a)
            index += 1
