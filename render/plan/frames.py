"""Points between keyframes, and the recipes of the frames that stand there. Pure, no tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from render.core import Blend, Image, Keyframe, Prompt, Recipe, Seed, Target, Walk, mix

__all__ = ["EASING", "Between", "Leg", "Point", "position", "recipe_at", "skipped_steps", "steps_of"]

EASING: dict[str, Callable[[float], float]] = {  # 0 … 1 to 0 … 1; onsets have each leg's own pace
    "linear": lambda t: t,
    "smooth": lambda t: t * t * (3 - 2 * t),  # smoothstep: slow, fast, slow
    "ease-in": lambda t: t * t,  # slow start
    "ease-out": lambda t: t * (2 - t),  # slow end
}


@dataclass(frozen=True, slots=True)
class Between:
    """The point at t (0 … 1) between two points."""

    a: Point
    b: Point
    t: float


Point: TypeAlias = Keyframe | Between


@dataclass(frozen=True, slots=True)
class Leg:
    """Consecutive frames of a walk that lie between the same keyframes.

    The last three numbers are its cost. A leg of 24 frames at 20 steps with `anchor` 0.5 takes the first 10 steps once
    (`stem_steps` 10) and the other 10 for each frame (`full_renders` 24): 10 + 24 · 10 = 250 instead of 480. Where a
    unit's end cuts the leg, the next unit takes the stem again, and with tweens two rendered frames (`redone_per_cut` 2).
    """

    start: Keyframe  # its prompt, seed and labels go into the store's columns
    corners: tuple[Keyframe, ...]  # keyframes that the frames lie between
    count: int  # frames
    at: Callable[[int, Target], Recipe]  # the recipe of the frame at 0 … count - 1
    full_renders: int  # frames that take all steps that are their own
    stem_steps: int = 0  # first steps, taken once for all of its frames
    redone_per_cut: int = 0  # renders that the units on both sides of a cut take
    end: Keyframe | None = None  # of the last frame, where it is the walk's last keyframe

    @property
    def shares_work(self) -> bool:
        """True where frames share what is rendered, and are best kept in one unit."""
        return bool(self.stem_steps or self.redone_per_cut)


def recipe_at(walk: Walk, point: Point, target: Target) -> Recipe:
    """Return the recipe of a point: prompts, noise and guidance move, the rest is that of its first keyframe.

    Noise always slerps with one angle: a lerp of two noises loses deviation in the middle and washes the image out.
    """
    first = _first(point)
    guidance = _number(point, lambda keyframe: keyframe.guidance)
    true_guidance = _number(point, lambda keyframe: keyframe.true_guidance)
    return Recipe(
        prompt=_blend(point, lambda keyframe: Prompt(keyframe.prompt), first.interpolation),
        negative_prompt=_blend(point, lambda keyframe: Prompt(keyframe.negative_prompt), first.interpolation),
        noise=_blend(point, lambda keyframe: Seed(keyframe.seed), "slerp-global"),
        width=walk.width,
        height=walk.height,
        steps=first.steps,
        guidance=true_guidance if target.guidance_embeds else guidance,
        scheduler=first.scheduler,
        model=target.fingerprint,
        embedded_guidance=guidance if target.guidance_embeds else None,
        image=_blend(point, lambda keyframe: Image(keyframe.image, keyframe.image_sha256), "slerp-global")
        if first.image
        else None,
        skipped_steps=skipped_steps(first.steps, _number(point, lambda keyframe: keyframe.strength))
        if first.image
        else 0,
        tiled=target.tile_above is not None and max(walk.width, walk.height) > target.tile_above,
        prompt_syntax=target.prompt_syntax,
    )


def skipped_steps(steps: int, strength: float) -> int:
    """Return the steps that a start image does not need: at `strength` 1 none, but one is always left (as in diffusers)."""
    return min(steps - 1, steps - int(steps * strength))


def steps_of(keyframe: Keyframe) -> int:
    """Return the steps that the image of a keyframe takes: all, or those that a start image needs."""
    return keyframe.steps - (skipped_steps(keyframe.steps, keyframe.strength) if keyframe.image else 0)


def position(start: Keyframe, step: int) -> float:
    """Return the place of a frame in the leg from a keyframe: 0 at its start, 1 at `frames` steps from there.

    >>> start = Keyframe(1, "a", "", 7, 4, "smooth", "slerp", 4, 1.0, "ddim")
    >>> [position(start, step) for step in (0, 1, 2, 4)]
    [0.0, 0.15625, 0.5, 1.0]
    """
    if start.easing == "onsets":
        return (*start.onset_pace, 1.0)[step]
    return EASING[start.easing](step / start.frames)


def _first(point: Point) -> Keyframe:
    return _first(point.a) if isinstance(point, Between) else point


def _blend(point: Point, leaf: Callable[[Keyframe], Blend], how: str) -> Blend:
    if isinstance(point, Between):
        return mix(how, _blend(point.a, leaf, how), _blend(point.b, leaf, how), point.t)
    return leaf(point)


def _number(point: Point, value: Callable[[Keyframe], float]) -> float:
    if isinstance(point, Between):
        a, b = _number(point.a, value), _number(point.b, value)
        return a + (b - a) * point.t
    return value(point)
