"""What is told of a walk: a line of text for every frame, and what its animations carry about it. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib.metadata import version

from render.motion import Leg, legs, position, skipped_steps
from render.recipe import Keyframe, Walk
from render.vocabulary import MOTIONS

__all__ = ["captions", "description"]


def captions(walk: Walk) -> list[str]:
    """A line for every frame of a walk, by index: between which prompts it is, and where.

    >>> a, b = (Keyframe(1, prompt, "", 7, 2, "linear", "slerp", 8, 8, 4, 1.0, "ddim") for prompt in ("dog", "cat"))
    >>> captions(Walk("w", (a, b)))
    ['dog', 'dog → cat  t = 0.50', 'cat']
    """
    tell = _TEXTS[walk.keyframes[0].motion]
    return [text for leg in legs(walk) for text in tell(leg)]


def description(walk: Walk, model: str) -> str:
    """Compact JSON, the same for the same walk: nightrender (version), walk, model, motion, prompts, seeds, audio."""
    told = {
        "nightrender": version("nightrender"),
        "walk": walk.name,
        "model": model,
        "motion": walk.keyframes[0].motion,
        "prompts": [keyframe.prompt for keyframe in walk.keyframes],
        "seeds": [keyframe.seed for keyframe in walk.keyframes],
    }
    if audio := walk.keyframes[0].audio:
        told["audio"] = audio
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"))


def _prompt(keyframe: Keyframe) -> str:
    return " ".join(keyframe.prompt.split()) or "(empty prompt)"  # on one line: a subtitle ends at an empty one


def _line(leg: Leg) -> Iterator[str]:
    a, b = leg.corners[0], leg.corners[-1]
    between = f"{_prompt(a)} → {_prompt(b)}"
    if _prompt(a) == _prompt(b):
        between = _prompt(a) if a.seed == b.seed else f"{_prompt(a)}  seed {a.seed} → {b.seed}"
    apart = a.tween + 1
    for index in range(leg.count):
        step, part = divmod(index, apart)
        t, after = (position(a, n) for n in (step, min(step + 1, a.frames)))
        yield f"{between}  t = {t + (after - t) * part / apart:.2f}" if index else _prompt(a)


def _grid(leg: Leg) -> Iterator[str]:
    side, names = leg.start.frames, [_prompt(keyframe) for keyframe in leg.corners]
    corners = {(0, 0): names[0], (side - 1, 0): names[1], (0, side - 1): names[2], (side - 1, side - 1): names[3]}
    between = f"{names[0]} → {names[1]} / {names[2]} → {names[3]}"
    for index in range(leg.count):
        x, y = index % side, index // side
        inside = f"{between}  x = {x / (side - 1):.2f}, y = {y / (side - 1):.2f}"
        yield corners.get((x, y), inside)


def _drift(leg: Leg) -> Iterator[str]:
    for index in range(leg.count):
        yield f"{_prompt(leg.start)}  + {index} · {leg.start.step_size:g}" if index else _prompt(leg.start)


def _circle(leg: Leg) -> Iterator[str]:
    for index in range(leg.count):
        yield f"{_prompt(leg.start)}  turn = {index / leg.count:.2f}" if index else _prompt(leg.start)


def _denoising(leg: Leg) -> Iterator[str]:
    start = leg.start
    skipped = skipped_steps(start.steps, start.strength) if start.image else 0
    for index in range(leg.count):
        taken = start.every * (index + (start.shown == "clean"))
        step = start.steps if index == leg.count - 1 else skipped + taken
        yield f"{_prompt(start)}  step {step} of {start.steps}"


def _diffuse(leg: Leg) -> Iterator[str]:
    for index in range(leg.count):
        yield f"{leg.start.image}  noise {index} of {leg.count - 1}"


_TELLERS = (_line, _grid, _drift, _circle, _denoising, _diffuse)
_TEXTS: dict[str, Callable[[Leg], Iterator[str]]] = dict(zip(MOTIONS, _TELLERS, strict=True))
