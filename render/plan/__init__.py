"""From walks to frames and units: where each frame stands between its keyframes, and which frames are rendered together.

Pure: no tensors, no files, no Ray. `frames.py` has the recipe of a point between keyframes, `motions/` one file a motion,
`units.py` cuts the frames of a job into units. Promises: the same manifest and plan give the same units on every machine,
one at a time, at any size. A motion may be added as a file; recipes of motions that are there must stay as they are, since
their hash is the key of stored frames.
"""

from __future__ import annotations

from render.plan.frames import skipped_steps, steps_of
from render.plan.motions import MOTIONS, closes, frame_count, frames_of, legs, motion_of, shown_order
from render.plan.motions.line import moving_numbers
from render.plan.motions.motion import prompt_of
from render.plan.record import Extension, Plan
from render.plan.units import (
    BYTES_PER_PIXEL,
    Counts,
    Limits,
    count_alike,
    evaluations_of,
    evaluations_with_cuts,
    make_plan,
    plan_units,
    show_group,
)

__all__ = [
    "BYTES_PER_PIXEL",
    "MOTIONS",
    "Counts",
    "Extension",
    "Limits",
    "Plan",
    "closes",
    "count_alike",
    "evaluations_of",
    "evaluations_with_cuts",
    "frame_count",
    "frames_of",
    "legs",
    "make_plan",
    "motion_of",
    "moving_numbers",
    "plan_units",
    "prompt_of",
    "show_group",
    "shown_order",
    "skipped_steps",
    "steps_of",
]
