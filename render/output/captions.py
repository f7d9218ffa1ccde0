"""What is told of a walk: a line of text for every frame, and what its animations carry about it. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from itertools import groupby
from typing import Any

from render.core import MAIN, MOTIONS, Keyframe, Walk
from render.plan import frame_count, legs, position, skipped_steps, steps_of

__all__ = ["captions", "description", "heading", "only_numbers_move", "origin", "places"]

NUMBERS = ("guidance", "true_guidance", "strength")


def captions(walk: Walk) -> list[str]:
    """A line for every frame of a walk, by index: between which prompts it is, and where.

    >>> a, b = (Keyframe(1, prompt, "", 7, 2, "linear", "slerp", 8, 8, 4, 1.0, "ddim") for prompt in ("dog", "cat"))
    >>> captions(Walk("w", (a, b)))
    ['dog', 'dog → cat  t = 0.50', 'cat']
    """
    return [text for text, _ in _TEXTS[walk.keyframes[0].motion](walk)]


def places(walk: Walk) -> list[str]:
    """A short text for every frame of a walk, by index: what moves, as far as it has got.

    >>> a, b = (Keyframe(1, prompt, "", 7, 2, "linear", "slerp", 8, 8, 4, 1.0, "ddim") for prompt in ("dog", "cat"))
    >>> places(Walk("w", (a, b)))
    ['dog', 't = 0.50', 'cat']
    >>> places(Walk("w", (a, replace(a, guidance=5.0))))
    ['guidance 1', 'guidance 3', 'guidance 5']
    """
    return [place for _, place in _TEXTS[walk.keyframes[0].motion](walk)]


def heading(walk: Walk) -> str:
    """What a walk or still is of, for above its images: its prompts, and from where its start image is gone on with.

    >>> a, b = (Keyframe(1, prompt, "", 7, 2, "linear", "slerp", 8, 8, 4, 1.0, "ddim") for prompt in ("dog", "cat"))
    >>> heading(Walk("w", (a, b)))
    'dog → cat'
    """
    start, prompts = walk.keyframes[0], [_prompt(keyframe) for keyframe in walk.keyframes]
    if start.motion == "diffuse":
        return start.image
    if start.motion == "grid":
        return f"{prompts[0]} → {prompts[1]} / {prompts[2]} → {prompts[3]}"
    told = " → ".join(prompt for prompt, _ in groupby(prompts))
    return f"{told}, {origin(start)}" if walk.still and start.image else told


def origin(start: Keyframe) -> str:
    """From where a still's start image is gone on with; "" without one."""
    if not start.image:
        return ""
    return f"from {start.image} at step {skipped_steps(start.steps, start.strength)} of {start.steps}"


def only_numbers_move(walk: Walk) -> bool:
    """Whether a walk compares values of guidance or strength: all else stays."""
    return walk.keyframes[0].motion == "line" and bool(_moving(walk))


def description(walk: Walk, job: Mapping[str, Any]) -> str:
    """Compact JSON, the same for the same walk and job.

    Its keys: nightrender (the version), walk, model, motion, prompts, seeds, audio, and job, with `job`'s keys.
    """
    start = walk.keyframes[0]
    model = job["model"] if start.model == MAIN else job["models"][start.model]
    told = {
        "nightrender": version("nightrender"),
        "walk": walk.name,
        "model": model["id"],
        "motion": start.motion,
        "prompts": [keyframe.prompt for keyframe in walk.keyframes],
        "seeds": [keyframe.seed for keyframe in walk.keyframes],
        **({"audio": start.audio} if start.audio else {}),
        "job": job,
    }
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"))


def _prompt(keyframe: Keyframe) -> str:
    return " ".join(keyframe.prompt.split()) or "(empty prompt)"  # on one line: a subtitle ends at an empty one


def _moving(walk: Walk) -> tuple[str, ...]:
    """The settings that move along a line, where nothing but them does."""
    first, *others = walk.keyframes
    alike = {
        name: getattr(first, name) for name in (*NUMBERS, "row", "frames", "labels", "easing", "onset_pace", "time_s")
    }
    if any(replace(keyframe, **alike) != first for keyframe in others):
        return ()
    numbers = NUMBERS if first.image else NUMBERS[:-1]
    return tuple(name for name in numbers if any(getattr(k, name) != getattr(first, name) for k in others))


def _line(walk: Walk) -> Iterator[tuple[str, str]]:
    moving, several = _moving(walk), len(walk.keyframes) > 2 or walk.keyframes[0].loop == "cycle"
    for number, leg in enumerate(legs(walk), start=1):
        a, b = leg.corners[0], leg.corners[-1]
        between = f"{_prompt(a)} → {_prompt(b)}"
        if _prompt(a) == _prompt(b):
            between = _prompt(a) if a.seed == b.seed else f"{_prompt(a)}  seed {a.seed} → {b.seed}"
        for index in range(leg.count):
            t = _between(a, index) if index else 0.0
            here = leg.end if leg.end and index == leg.count - 1 else a
            if moving:
                place = ", ".join(_number(name, getattr(a, name), getattr(b, name), t) for name in moving)
                yield f"{_prompt(a)}  {place}", place
            elif index and here is a:
                place = f"t = {t:.2f}"
                yield (
                    f"{between}  {place}",
                    f"{number} → {number % len(walk.keyframes) + 1}  {place}" if several else place,
                )
            else:
                yield _prompt(here), _prompt(here)


def _between(start: Keyframe, index: int) -> float:
    """Where a frame of a leg stands, those in between rendered ones as well."""
    apart = start.tween + 1
    step, part = divmod(index, apart)
    here, after = (position(start, n) for n in (step, min(step + 1, start.frames)))
    return here + (after - here) * part / apart


def _number(name: str, a: float, b: float, t: float) -> str:
    return f"{name.replace('_', ' ')} {round(a + (b - a) * t, 2):g}"


def _grid(walk: Walk) -> Iterator[tuple[str, str]]:
    (leg,) = legs(walk)
    side, names = leg.start.frames, [_prompt(keyframe) for keyframe in leg.corners]
    corners = {(0, 0): names[0], (side - 1, 0): names[1], (0, side - 1): names[2], (side - 1, side - 1): names[3]}
    between = f"{names[0]} → {names[1]} / {names[2]} → {names[3]}"
    for index in range(leg.count):
        x, y = index % side, index // side
        place = f"x = {x / (side - 1):.2f}, y = {y / (side - 1):.2f}"
        corner = corners.get((x, y))
        yield (corner, corner) if corner else (f"{between}  {place}", place)


def _drift(walk: Walk) -> Iterator[tuple[str, str]]:
    (start,) = walk.keyframes
    for index in range(start.frames):
        place = f"+ {index} · {start.step_size:g}"
        yield f"{_prompt(start)}  {place}" if index else _prompt(start), place


def _circle(walk: Walk) -> Iterator[tuple[str, str]]:
    start = walk.keyframes[0]
    for index in range(start.frames):
        place = f"turn = {index / start.frames:.2f}"
        yield f"{_prompt(start)}  {place}" if index else _prompt(start), place


def _denoising(walk: Walk) -> Iterator[tuple[str, str]]:
    (start,), count = walk.keyframes, frame_count(walk)
    skipped = start.steps - steps_of(start)
    for index in range(count):
        taken = start.every * (index + (start.shown == "clean"))
        step = start.steps if index == count - 1 else skipped + taken
        place = f"step {step} of {start.steps}"
        yield f"{_prompt(start)}  {place}", place


def _diffuse(walk: Walk) -> Iterator[tuple[str, str]]:
    (start,), count = walk.keyframes, frame_count(walk)
    for index in range(count):
        step = start.steps - start.every * (count - 1 - index) if index else 0
        place = f"noise {step} of {start.steps}"
        yield f"{start.image}  {place}", place


_TELLERS = (_line, _grid, _drift, _circle, _denoising, _diffuse)
_TEXTS: dict[str, Callable[[Walk], Iterator[tuple[str, str]]]] = dict(zip(MOTIONS, _TELLERS, strict=True))
