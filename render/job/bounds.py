"""The values that job keys may take."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from render.core import EASINGS, FORMATS, FPS_MAX, FPS_MIN, INTERPOLATIONS, SCHEDULERS, SEED_MAX, STEPS_MAX

__all__ = ["BOUNDS", "POINTS_MAX"]

POINTS_MAX = 1_000_000  # of a sweep, whatever a job asks for


def _among(*choices: str) -> tuple[str, Callable[[Any], bool]]:
    return f"one of {', '.join(choices)}", lambda value: value in choices


def _between(low: float, high: float) -> tuple[str, Callable[[Any], bool]]:
    text = f"a number from {low:g} to {high:g}" if high < math.inf else f"a finite number from {low:g}"
    return text, lambda value: math.isfinite(value) and low <= value <= high


BOUNDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "output": ("a folder that every worker can reach by this path", lambda value: ":/" not in str(value)),  # no URL
    "seed": (f"0 … {SEED_MAX}", lambda value: 0 <= value <= SEED_MAX),
    "model.clip_skip": _between(1, 100),
    "model.tile_above": _between(64, 65536),
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
    "workers.batch_rows": ("a power of two, 1 … 4096", lambda rows: rows in {1 << n for n in range(13)}),
    "workers.deadline_s": _between(1, math.inf),
    "workers.dtype": _among("auto", "float32", "bfloat16"),
    "workers.device": _among("auto", "cpu", "cuda"),
    "store.format": _among(*FORMATS),
    "store.unit_frames": _between(1, 100_000),
    "animation.formats": (
        "a list of gif, mp4, webp, apng",
        lambda value: set(value) <= {"gif", "mp4", "webp", "apng"},
    ),
    "animation.fps": _between(FPS_MIN, FPS_MAX),
    "animation.loop": _among("none", "bounce", "cycle"),
    "animation.crf": _between(0, 51),
    "sheets.kinds": (
        "a list of sweep, grid, walk, images, still",
        lambda value: set(value) <= {"sweep", "grid", "walk", "images", "still"},
    ),
    "sheets.cell": _between(32, 1024),
    "sweep_limit": _between(1, POINTS_MAX),
}
