"""Find the unit that the end of a run waits for, and a worker that would render it sooner. Pure: no Ray, no clock.

When every unit is in a worker's hands and another worker has nothing to do, that one may get a copy of a unit. The first
commit decides. A copy that is not worth it costs the time of a worker that has nothing better to do. A worker that still
loads its first model ends later than any that is up: from its units copies are made at once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence

from render.cluster.hand import Hand, Load

__all__ = ["find_copy"]

MARGIN = 1.5  # a copy has to be sooner by this factor,
MARGIN_S = 5.0  # and by as many seconds more: both are estimates, and shards take time to be written
QUIET_S = 30.0  # a worker without progress for this time is expected to make none for as long again
UNKNOWN_S = 60.0  # that a unit is taken to need where no worker's pace is known, and a stage such as compiling


def find_copy(hands: Sequence[Hand], suspects: Collection[str]) -> tuple[Hand, Load] | None:
    """Return a worker that holds nothing, and the unit that it is to render although another worker has it.

    This is a unit of the worker that is expected to end last. A unit that a worker has died with (`suspects`) is never
    copied, since it might kill two; neither is one that two workers hold already.
    """
    idle = [hand for hand in hands if hand.report.is_up and not hand.units and not hand.is_leaving]
    if not idle:
        return None
    holders = Counter(unit for hand in hands for unit in hand.units)
    fastest = max(hand.places_pace for hand in hands)
    for owner in sorted(hands, key=_ends_in_s, reverse=True):
        if _ends_in_s(owner) <= MARGIN_S:
            return None
        for unit in reversed(owner.units.values()):  # the one that was given last is expected to end last
            if unit.id in suspects or holders[unit.id] > 1:
                continue
            load = Load(unit)
            for hand in sorted(idle, key=lambda one: one.places_pace, reverse=True):
                takes_s = _takes_s(load, hand.places_pace or fastest)
                if hand.model == unit.model and _ends_in_s(owner) > MARGIN * takes_s + MARGIN_S:
                    return hand, load
    return None


def _ends_in_s(hand: Hand) -> float:
    """Estimate the seconds until a worker has rendered what it holds; 0 where nothing is known against it.

    Infinite for one that is not up: it has to load, and then to render as long as another.
    """
    if not hand.units:
        return 0.0
    if not hand.report.is_up:
        return math.inf
    quiet_s = hand.quiet_s if hand.quiet_s > QUIET_S else 0.0
    stage_s = UNKNOWN_S if hand.report.stage else 0.0
    return max(hand.left / hand.pace if hand.pace else 0.0, quiet_s, stage_s)


def _takes_s(load: Load, pace: float) -> float:
    """Estimate the seconds that a unit takes a worker of a pace, in places a second, that has nothing else."""
    return max(load.evaluations, load.generation) / pace if pace else UNKNOWN_S
