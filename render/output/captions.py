"""Texts about a walk: a line for every frame, a heading, and what its animations carry. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from itertools import groupby
from typing import Any

from render.core import MAIN, Keyframe, Walk
from render.plan import motion_of, prompt_of, skipped_steps

__all__ = ["captions", "description", "heading", "origin", "places"]


def captions(walk: Walk) -> list[str]:
    """Return a line for every frame of a walk, by index: the prompts it lies between, and its place there.

    >>> a, b = (Keyframe(1, prompt, "", 7, 2, "linear", "slerp", 4, 1.0, "ddim") for prompt in ("dog", "cat"))
    >>> captions(Walk("w", (a, b), 8, 8))
    ['dog', 'dog → cat  t = 0.50', 'cat']
    """
    return [text for text, _ in motion_of(walk).captions(walk)]


def places(walk: Walk) -> list[str]:
    """Return a short text for every frame of a walk, by index: the settings that move, as far as they have got.

    >>> from dataclasses import replace
    >>> a, b = (Keyframe(1, prompt, "", 7, 2, "linear", "slerp", 4, 1.0, "ddim") for prompt in ("dog", "cat"))
    >>> places(Walk("w", (a, b), 8, 8))
    ['dog', 't = 0.50', 'cat']
    >>> places(Walk("w", (a, replace(a, guidance=5.0)), 8, 8))
    ['guidance 1', 'guidance 3', 'guidance 5']
    """
    return [place for _, place in motion_of(walk).captions(walk)]


def heading(walk: Walk) -> str:
    """Return the text above the images of a walk or still: its prompts, and a still's start image with its first step.

    >>> a, b = (Keyframe(1, prompt, "", 7, 2, "linear", "slerp", 4, 1.0, "ddim") for prompt in ("dog", "cat"))
    >>> heading(Walk("w", (a, b), 8, 8))
    'dog → cat'
    """
    own = motion_of(walk).heading
    if own is not None:
        return own(walk)
    prompts = " → ".join(prompt for prompt, _ in groupby(map(prompt_of, walk.keyframes)))
    return f"{prompts}, {origin(walk.start)}" if walk.still and walk.start.image else prompts


def origin(start: Keyframe) -> str:
    """Return the start image of a still and the step at which it is taken up; "" without one."""
    if not start.image:
        return ""
    return f"from {start.image} at step {skipped_steps(start.steps, start.strength)} of {start.steps}"


def description(walk: Walk, job: Mapping[str, Any]) -> str:
    """Return compact JSON, the same for the same walk and job.

    Its keys: nightrender (the version), walk, model, motion, prompts, seeds, audio, and job, with `job`'s keys.
    """
    model = job["model"] if walk.model == MAIN else job["models"][walk.model]
    facts = {
        "nightrender": version("nightrender"),
        "walk": walk.name,
        "model": model["id"],
        "motion": walk.motion,
        "prompts": [keyframe.prompt for keyframe in walk.keyframes],
        "seeds": [keyframe.seed for keyframe in walk.keyframes],
        **({"audio": walk.audio} if walk.audio else {}),
        "job": job,
    }
    return json.dumps(facts, ensure_ascii=False, separators=(",", ":"))
