"""Walks to frames: where each frame of a walk stands between its keyframes. Pure, no tensors.

A motion is a function from a walk to its legs, named in `MOTIONS`. What moves is told by blends over the keyframes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeAlias

from render.core import MOTIONS, Blend, Circle, Frame, Image, Keyframe, Offset, Prompt, Recipe, Seed, Target, Walk, mix

__all__ = [
    "EASING",
    "Between",
    "Leg",
    "closes",
    "frame_count",
    "frames_of",
    "legs",
    "position",
    "recipe_at",
    "shown_order",
    "steps_of",
]

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
    """Consecutive frames of a walk that come of the same keyframes."""

    start: Keyframe  # whose prompt, seed and labels go into the store's columns
    corners: tuple[Keyframe, ...]  # that the frames lie between
    count: int  # frames
    at: Callable[[int, Target], Recipe]  # the recipe of the frame at 0 … count - 1
    renders: int  # how often all steps are taken, but for those of the stem
    stem: int = 0  # steps that are taken once for all of its frames
    again: int = 0  # renders that the frames on both sides of a cut have in common
    end: Keyframe | None = None  # of the last frame, where it is a walk's last keyframe

    @property
    def tied(self) -> bool:
        """Whether its frames share what is rendered, and are best kept together."""
        return bool(self.stem or self.again)


def recipe_at(point: Point, target: Target) -> Recipe:
    """The recipe of a point: prompts, noise and guidance move, the rest is that of its first keyframe.

    Noise always slerps with one angle: a lerp of two noises loses deviation in the middle and washes the image out.
    """
    first = _first(point)
    guidance = _number(point, lambda keyframe: keyframe.guidance)
    true_guidance = _number(point, lambda keyframe: keyframe.true_guidance)
    return Recipe(
        prompt=_blend(point, lambda keyframe: Prompt(keyframe.prompt), first.interpolation),
        negative_prompt=_blend(point, lambda keyframe: Prompt(keyframe.negative_prompt), first.interpolation),
        noise=_blend(point, lambda keyframe: Seed(keyframe.seed), "slerp-global"),
        width=first.width,
        height=first.height,
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
        tiled=target.tile_above is not None and max(first.width, first.height) > target.tile_above,
    )


def skipped_steps(steps: int, strength: float) -> int:
    """The steps that a start image does not need: at `strength` 1 none, but one is always left (as in diffusers)."""
    return min(steps - 1, steps - int(steps * strength))


def steps_of(keyframe: Keyframe) -> int:
    """The steps that its image takes: all, or those that a start image needs."""
    return keyframe.steps - (skipped_steps(keyframe.steps, keyframe.strength) if keyframe.image else 0)


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


def position(start: Keyframe, step: int) -> float:
    """Where a frame of the leg from a keyframe stands: 0 at its start, 1 at `frames` steps from there.

    >>> start = Keyframe(1, "a", "", 7, 4, "smooth", "slerp", 8, 8, 4, 1.0, "ddim")
    >>> [position(start, step) for step in (0, 1, 2, 4)]
    [0.0, 0.15625, 0.5, 1.0]
    """
    if start.easing == "onsets":
        return (*start.onset_pace, 1.0)[step]
    return EASING[start.easing](step / start.frames)


def line(walk: Walk) -> Iterator[Leg]:
    """From keyframe to keyframe, each leg up to, not including, the next; to the last one itself, or back to the first."""
    first, *others = walk.keyframes
    if not others:
        yield Leg(first, (first,), 1, lambda _index, target: recipe_at(first, target), renders=1)
        return
    cycle = first.loop == "cycle"
    for number, (a, b) in enumerate(pairwise((*walk.keyframes, first) if cycle else walk.keyframes), 1):
        yield _leg_of_line(a, b, ends=number == len(others) and not cycle)


def _leg_of_line(a: Keyframe, b: Keyframe, ends: bool) -> Leg:
    """`frames` steps from a to b, with `tween` frames of latents alone behind each; b itself where the walk ends in it."""
    apart = a.tween + 1

    def rendered(step: int, target: Target) -> Recipe:
        point = b if ends and step == a.frames else Between(a, b, position(a, step))
        return _anchored(recipe_at(point, target), a, b, target)

    def at(index: int, target: Target) -> Recipe:
        step, part = divmod(index, apart)
        recipe = rendered(step, target)
        return replace(recipe, towards=rendered(step + 1, target), t=part / apart) if part else recipe

    stem = round(a.anchor * steps_of(a))
    to_tween = bool(a.tween and stem)  # the last tweens lead to b as this leg's stem has it, not the next one's
    return Leg(
        start=a,
        corners=(a, b),
        count=a.frames * apart + ends,
        at=at,
        renders=a.frames + (ends or to_tween),
        stem=stem,
        again=2 if a.tween else 0,
        end=b if ends else None,
    )


def _anchored(recipe: Recipe, a: Keyframe, b: Keyframe, target: Target) -> Recipe:
    """With the first steps of its leg's mid-point, where the leg is anchored."""
    if not a.anchor:
        return recipe
    middle = recipe_at(Between(a, b, 0.5), target)
    shared = round(a.anchor * (middle.steps - middle.skipped_steps))
    return replace(recipe, stem=replace(middle, stop=shared), skipped_steps=middle.skipped_steps + shared)


def grid(walk: Walk) -> Iterator[Leg]:
    """Four keyframes as corners, `frames` a side, row by row: slerp along the rows' ends, then across, an angle a point."""
    a, b, c, d = walk.keyframes
    side = a.frames

    def at(index: int, target: Target) -> Recipe:
        x, y = (part / (side - 1) for part in (index % side, index // side))
        recipe = recipe_at(Between(Between(a, b, x), Between(c, d, x), y), target)
        return replace(recipe, noise=Seed(a.seed + index)) if a.vary_noise else recipe

    yield Leg(a, walk.keyframes, side**2, at, renders=side**2)


def drift(walk: Walk) -> Iterator[Leg]:
    """A walk around one prompt: its embeddings plus 0, 1, 2 … steps along ones or along a random direction of its seed."""
    (start,) = walk.keyframes
    along = start.seed if start.direction == "random" else None

    def at(index: int, target: Target) -> Recipe:
        recipe = recipe_at(start, target)
        moved = Offset(recipe.prompt, along, index * start.step_size) if index else recipe.prompt
        return replace(recipe, prompt=moved)

    yield Leg(start, (start,), start.frames, at, renders=start.frames)


def circle(walk: Walk) -> Iterator[Leg]:
    """One prompt, the noises of two seeds: cos·a + sin·b, n frames at i/n of a turn, so it closes without a stall."""
    start, other = walk.keyframes

    def at(index: int, target: Target) -> Recipe:
        recipe = recipe_at(start, target)
        round_ = Circle(Seed(start.seed), Seed(other.seed), index / start.frames) if index else recipe.noise
        return replace(recipe, noise=round_)

    yield Leg(start, (start,), start.frames, at, renders=start.frames)


def denoising(walk: Walk) -> Iterator[Leg]:
    """How an image comes to be: a frame for the start and for every so many steps; the last is the image.

    Where the clean image is shown, which a step foretells, the start has none.
    """
    (start,) = walk.keyframes
    last, clean = steps_of(start), start.shown == "clean"
    stops = [*range(start.every if clean else 0, last, start.every), last]

    def at(index: int, target: Target) -> Recipe:
        stop = stops[index]
        return replace(recipe_at(start, target), stop=None if stop == last else stop, clean=clean and stop < last)

    yield Leg(start, (start,), len(stops), at, renders=1, again=1)


def diffuse(walk: Walk) -> Iterator[Leg]:
    """How an image is lost: the start image, noised as at every so many timesteps, q(x_t | x_0), t rising to its end."""
    (start,) = walk.keyframes
    places = [start.steps, *reversed(range(0, start.steps, start.every))]
    scheduler = "ddim" if start.scheduler == "pndm" else start.scheduler  # that has one of its timesteps twice

    def at(index: int, target: Target) -> Recipe:
        return replace(recipe_at(start, target), skipped_steps=places[index], stop=0, scheduler=scheduler)

    yield Leg(start, (start,), len(places), at, renders=0)


_MOTIONS = (line, grid, drift, circle, denoising, diffuse)
_LEGS: dict[str, Callable[[Walk], Iterator[Leg]]] = dict(zip(MOTIONS, _MOTIONS, strict=True))


def legs(walk: Walk) -> Iterator[Leg]:
    """The legs of a walk, in order."""
    return _LEGS[walk.keyframes[0].motion](walk)


def frame_count(walk: Walk) -> int:
    return sum(leg.count for leg in legs(walk))


def frames_of(walk: Walk, target: Target) -> Iterator[Frame]:
    """The frames of a walk in order."""
    index = 0
    for leg in legs(walk):
        for place in range(leg.count):
            keyframe = leg.end if leg.end and place == leg.count - 1 else leg.start
            yield Frame(walk.name, index, leg.at(place, target), keyframe)
            index += 1


def closes(walk: Walk) -> bool:
    """Whether the first frame follows the last one."""
    return walk.keyframes[0].motion == "circle" or walk.keyframes[0].loop == "cycle"


def shown_order(walk: Walk) -> list[int]:
    """In what order an animation shows the frames: a grid's every other row backwards, so that neighbours follow.

    >>> start = Keyframe(1, "a", "", 7, 3, "linear", "slerp", 8, 8, 4, 1.0, "ddim", motion="grid")
    >>> shown_order(Walk("w", (start,) * 4))
    [0, 1, 2, 5, 4, 3, 6, 7, 8]
    """
    start, indices = walk.keyframes[0], list(range(frame_count(walk)))
    if start.motion != "grid":
        return indices
    rows = [indices[first : first + start.frames] for first in range(0, len(indices), start.frames)]
    return [index for number, row in enumerate(rows) for index in (reversed(row) if number % 2 else row)]
