"""The motions, one file each. A new one is a file with a `Motion` and its name in `MOTIONS`."""

from __future__ import annotations

from collections.abc import Iterator

from render.core import Frame, Target, Walk
from render.plan.frames import Leg
from render.plan.motions.circle import CIRCLE
from render.plan.motions.denoise import DENOISE
from render.plan.motions.diffuse import DIFFUSE
from render.plan.motions.drift import DRIFT
from render.plan.motions.grid import GRID
from render.plan.motions.line import LINE
from render.plan.motions.motion import Motion

__all__ = ["MOTIONS", "closes", "frame_count", "frames_of", "legs", "motion_of", "shown_order"]

MOTIONS = {motion.name: motion for motion in (LINE, GRID, DRIFT, CIRCLE, DENOISE, DIFFUSE)}


def motion_of(walk: Walk) -> Motion:
    """Return the motion of a walk."""
    return MOTIONS[walk.motion]


def legs(walk: Walk) -> Iterator[Leg]:
    """Return the legs of a walk, in order."""
    return motion_of(walk).legs(walk)


def frame_count(walk: Walk) -> int:
    """Return the number of a walk's frames."""
    return sum(leg.count for leg in legs(walk))


def frames_of(walk: Walk, target: Target) -> Iterator[Frame]:
    """Yield the frames of a walk in order."""
    index = 0
    for leg in legs(walk):
        for place in range(leg.count):
            keyframe = leg.end if leg.end and place == leg.count - 1 else leg.start
            yield Frame(walk.name, index, leg.at(place, target), keyframe)
            index += 1


def closes(walk: Walk) -> bool:
    """Return True for a walk whose first frame follows its last one."""
    return motion_of(walk).closes or walk.loop == "cycle"


def shown_order(walk: Walk) -> list[int]:
    """Return the indices of a walk's frames as an animation shows them: a table's every other row runs backwards.

    So neighbours follow each other.

    >>> from render.core import Keyframe
    >>> start = Keyframe(1, "a", "", 7, 3, "linear", "slerp", 4, 1.0, "ddim")
    >>> shown_order(Walk("w", (start,) * 4, 8, 8, motion="grid"))
    [0, 1, 2, 5, 4, 3, 6, 7, 8]
    """
    indices, width = list(range(frame_count(walk))), motion_of(walk).table_width
    if width is None:
        return indices
    rows = [indices[first : first + width(walk)] for first in range(0, len(indices), width(walk))]
    return [index for number, row in enumerate(rows) for index in (reversed(row) if number % 2 else row)]
