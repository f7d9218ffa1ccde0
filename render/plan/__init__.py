"""plan."""

from __future__ import annotations

from render.plan.motion import closes, frame_count, legs, position, shown_order, skipped_steps, steps_of
from render.plan.units import (
    BYTES_PER_PIXEL,
    Counts,
    Limits,
    Plan,
    count_walks,
    evaluations_with_cuts,
    make_plan,
    plan_units,
    show_group,
)

__all__ = [
    "BYTES_PER_PIXEL",
    "Counts",
    "Limits",
    "Plan",
    "closes",
    "count_walks",
    "evaluations_with_cuts",
    "frame_count",
    "legs",
    "make_plan",
    "plan_units",
    "position",
    "show_group",
    "shown_order",
    "skipped_steps",
    "steps_of",
]
