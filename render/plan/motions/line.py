"""The motion `line`: from keyframe to keyframe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from render.core import Keyframe, Recipe, Target, Walk
from render.plan.frames import Between, Leg, position, recipe_at, steps_of
from render.plan.motions.motion import Caption, Motion, prompt_of

__all__ = ["LINE", "moving_numbers"]

NUMBERS = ("guidance", "true_guidance", "strength")


def line(walk: Walk) -> Iterator[Leg]:
    """Yield a leg from each keyframe up to, not including, the next; the last one goes to its end, or back to the first."""
    first, *others = walk.keyframes
    if not others:
        yield Leg(first, (first,), 1, lambda _index, target: recipe_at(walk, first, target), full_renders=1)
        return
    cycle = walk.loop == "cycle"
    for number, (a, b) in enumerate(pairwise((*walk.keyframes, first) if cycle else walk.keyframes), 1):
        yield _leg(walk, a, b, ends=number == len(others) and not cycle)


def _leg(walk: Walk, a: Keyframe, b: Keyframe, ends: bool) -> Leg:
    """Return the leg of `frames` steps from a to b, each with `tween` frames of latents alone behind it, and b."""
    apart = walk.tween + 1

    def rendered(step: int, target: Target) -> Recipe:
        point = b if ends and step == a.frames else Between(a, b, position(a, step))
        return _anchored(walk, recipe_at(walk, point, target), (a, b), target)

    def at(index: int, target: Target) -> Recipe:
        step, part = divmod(index, apart)
        recipe = rendered(step, target)
        return replace(recipe, towards=rendered(step + 1, target), t=part / apart) if part else recipe

    stem = round(walk.anchor * steps_of(a))
    to_tween = bool(walk.tween and stem)  # the last tweens lead to b as this leg's stem has it, not the next one's
    return Leg(
        start=a,
        corners=(a, b),
        count=a.frames * apart + ends,
        at=at,
        full_renders=a.frames + (ends or to_tween),
        stem_steps=stem,
        redone_per_cut=2 if walk.tween else 0,
        end=b if ends else None,
    )


def _anchored(walk: Walk, recipe: Recipe, ends: tuple[Keyframe, Keyframe], target: Target) -> Recipe:
    """Return a recipe with the first steps of its leg's mid-point, where the walk is anchored."""
    if not walk.anchor:
        return recipe
    middle = recipe_at(walk, Between(*ends, 0.5), target)
    shared = round(walk.anchor * (middle.steps - middle.skipped_steps))
    return replace(recipe, stem=replace(middle, stop=shared), skipped_steps=middle.skipped_steps + shared)


def moving_numbers(walk: Walk) -> tuple[str, ...]:
    """Return the names of the numbers that move along a line where nothing else does; () for other walks."""
    first, *others = walk.keyframes
    alike = {
        name: getattr(first, name) for name in (*NUMBERS, "row", "frames", "labels", "easing", "onset_pace", "time_s")
    }
    if walk.motion != LINE.name or any(replace(keyframe, **alike) != first for keyframe in others):
        return ()
    numbers = NUMBERS if first.image else NUMBERS[:-1]
    return tuple(name for name in numbers if any(getattr(k, name) != getattr(first, name) for k in others))


def captions(walk: Walk) -> Iterator[Caption]:
    moving, several = moving_numbers(walk), len(walk.keyframes) > 2 or walk.loop == "cycle"
    for number, leg in enumerate(line(walk), start=1):
        a, b = leg.corners[0], leg.corners[-1]
        between = f"{prompt_of(a)} → {prompt_of(b)}"
        if prompt_of(a) == prompt_of(b):
            between = prompt_of(a) if a.seed == b.seed else f"{prompt_of(a)}  seed {a.seed} → {b.seed}"
        for index in range(leg.count):
            t = _progress(walk, a, index) if index else 0.0
            here = leg.end if leg.end and index == leg.count - 1 else a
            if moving:
                place = ", ".join(_number(name, getattr(a, name), getattr(b, name), t) for name in moving)
                yield f"{prompt_of(a)}  {place}", place
            elif index and here is a:
                place = f"t = {t:.2f}"
                leg_name = f"{number} → {number % len(walk.keyframes) + 1}  " if several else ""
                yield f"{between}  {place}", f"{leg_name}{place}"
            else:
                yield prompt_of(here), prompt_of(here)


def _progress(walk: Walk, start: Keyframe, index: int) -> float:
    """Return the place of a frame in its leg, 0 … 1, of those in between rendered ones as well."""
    step, part = divmod(index, walk.tween + 1)
    here, after = (position(start, n) for n in (step, min(step + 1, start.frames)))
    return here + (after - here) * part / (walk.tween + 1)


def _number(name: str, a: float, b: float, t: float) -> str:
    return f"{name.replace('_', ' ')} {round(a + (b - a) * t, 2):g}"


LINE = Motion(
    name="line",
    keyframes=None,
    keyframes_doc="any number",
    frames_doc="from keyframe to keyframe; prompts, negative prompts, seeds, guidance, images and strength move",
    legs=line,
    captions=captions,
    takes=("loop", "anchor", "tween", "easing", "time_s", "beat"),
)
