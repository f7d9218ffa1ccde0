"""Bound the values of job keys: for each key what is required, in words and as a check."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

from render.core import (
    BLANK_POLICIES,
    EASINGS,
    FORMATS,
    FPS_MAX,
    FPS_MIN,
    INTERPOLATIONS,
    SCHEDULERS,
    SEED_MAX,
    STEPS_MAX,
    SYNTAXES,
    any_path,
)

__all__ = ["ANIMATION_FORMATS", "ANIMATION_LOOPS", "BOUNDS", "CRF_MAX", "POINTS_MAX"]

POINTS_MAX = 1_000_000  # of a sweep, whatever a job asks for
ANIMATION_FORMATS = ("gif", "mp4", "webp", "apng")
ANIMATION_LOOPS = ("none", "bounce", "cycle")
CRF_MAX = 51  # worst quality of an MP4, from 0, which is lossless
NOTICES = ("done", "failed", "stalled")
SHEET_KINDS = ("sweep", "grid", "walk", "images", "still")

Bound: TypeAlias = tuple[str, Callable[[Any], bool]]  # (what is required, its check)


def _among(*choices: str) -> Bound:
    return f"one of {', '.join(choices)}", lambda value: value in choices


def _list_of(*choices: str) -> Bound:
    return f"a list of {', '.join(choices)}", lambda value: set(value) <= set(choices)


def _between(low: float, high: float) -> Bound:
    text = f"a number from {low:g} to {high:g}" if high < math.inf else f"a finite number from {low:g}"
    return text, lambda value: math.isfinite(value) and low <= value <= high


def _is_output(value: Any) -> bool:
    """Return True for a folder, and for a URL of a store that we know, whole and without credentials."""
    try:
        any_path(str(value))
    except ValueError:
        return False
    return True


BOUNDS: dict[str, Bound] = {
    "output": ("a folder that every worker can reach by this path, or s3://, gs:// or az://BUCKET/PREFIX", _is_output),
    "seed": (f"0 … {SEED_MAX}", lambda value: 0 <= value <= SEED_MAX),
    "model.clip_skip": _between(1, 100),
    "model.tile_above": _between(64, 65536),
    "sampling.prompt_syntax": _among(*SYNTAXES),
    "sampling.frames": _between(1, 1_000_000),
    "sampling.easing": _among(*EASINGS),
    "sampling.interpolation": _among(*INTERPOLATIONS),
    "sampling.width": _between(1, 8192),
    "sampling.height": _between(1, 8192),
    "sampling.steps": _between(1, STEPS_MAX),
    "sampling.guidance": _between(0, math.inf),
    "sampling.scheduler": _among(*SCHEDULERS),
    "workers.count": _between(1, 100_000),
    "workers.cpus": _between(1, 1024),
    "workers.gpus": _between(0, 64),
    "workers.batch_rows": _between(1, 4096),
    "workers.deadline_s": _between(1, math.inf),
    "workers.dtype": _among("auto", "float32", "bfloat16"),
    "workers.device": _among("auto", "cpu", "cuda"),
    "workers.compile": _among("auto", "on", "off"),
    "store.format": _among(*FORMATS),
    "store.unit_frames": _between(1, 100_000),
    "store.blank": _among(*BLANK_POLICIES),
    "animation.formats": _list_of(*ANIMATION_FORMATS),
    "animation.fps": _between(FPS_MIN, FPS_MAX),
    "animation.loop": _among(*ANIMATION_LOOPS),
    "animation.crf": _between(0, CRF_MAX),
    "sheets.kinds": _list_of(*SHEET_KINDS),
    "sheets.cell": _between(32, 1024),
    "sweep_limit": _between(1, POINTS_MAX),
    "notify_on": _list_of(*NOTICES),
    "notify_stalled_s": _between(1, math.inf),
}
