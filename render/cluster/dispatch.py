"""Decide which worker gets which unit. Pure but for the ledger, which records a unit that is split: no Ray, no clock.

A worker gets the next unit when the frames that it has not started fill fewer than AHEAD_BATCHES batches. Near the end of
the job, when all units are known, every worker gets what is missing to an equal share of the work that is left; a unit
that is larger than this is split in halves. So all workers end together. Where one is far behind nevertheless, another
that has nothing to do gets a copy of a unit: see `stragglers.py`.

A unit that two workers hold goes back to the pool when the last of them is gone.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from heapq import heapify, heapreplace
from itertools import islice

from render.cluster.hand import Hand, Load
from render.cluster.stragglers import find_copy
from render.core import Unit
from render.store import Ledger

__all__ = ["DEATHS_MAX", "MACHINE_SHARE", "Dispatcher"]

DEATHS_MAX = 2  # workers that may die with a unit before it is split
MACHINE_SHARE = 0.5  # of a death, where a worker was lost with its whole machine
LOOKAHEAD = 2  # units that are known ahead, for each worker
PARTS = 4  # units that each worker gets of the last ones, about
SLACK_SHARE = 0.01  # of a worker's work so far, by which the workers' ends may differ where two batches are less


class Dispatcher:
    """The units of a run that are not in a worker's hands."""

    def __init__(self, units: Iterator[Unit], ledger: Ledger, workers: int) -> None:
        """`workers` is the number of workers that the run may have; it may change."""
        self._coming, self._ledger, self.workers = units, ledger, workers
        self._pool: deque[Load] = deque()  # to be given out, in this order
        self._ended = False  # all units that are left are in the pool
        self._deaths: defaultdict[str, float] = defaultdict(float)  # by unit id
        self._suspects: set[str] = set()  # ids of units that a dead worker held, and of their halves
        self._given = 0  # network inputs, estimated
        self._unseen = 0  # units of the plan that follow the last one seen

    @property
    def is_empty(self) -> bool:
        """True when every unit is in a worker's hands or done."""
        self._look_ahead()
        return self._ended and not self._pool

    @property
    def units_left(self) -> int:
        """Number of the units that are not given out, at most: some of those to come may be committed."""
        self._look_ahead()
        return len(self._pool) + (0 if self._ended else self._unseen)

    def next(self, hands: Sequence[Hand], starting: bool) -> tuple[Hand | None, Load] | None:
        """Return the next unit to give out, with the worker that gets it; None instead of a worker that is to be started.

        The workers that want more come in the order of the work that they have left, and each gets a unit of its model
        where there is one: so a worker loads each model about once. A unit that a dead worker held gets a worker of its
        own: if that dies, no other unit is blamed. A unit may be one that another worker holds, too: a copy. Returns None
        when no worker wants any.
        """
        staying = [hand for hand in hands if not hand.is_leaving]
        self._look_ahead()
        if starting:
            load = self._choose(None, staying)
            return (None, load) if load else None
        is_ending = self._is_ending
        wanting = [hand for hand in staying if self._may_get_more(hand, is_ending)]
        for hand in sorted(wanting, key=lambda one: (one.left, not one.report.is_up, len(one.units))):
            if load := self._choose(hand, staying):
                return hand, load
        return find_copy(hands, self._suspects) if self.is_empty else None

    def requeue(self, units: Sequence[Unit], hands: Sequence[Hand] = ()) -> None:
        """Take units back that nobody is to blame for; those that one of `hands` has as well stay there."""
        held = {unit for hand in hands for unit in hand.units}
        self._pool.extendleft(reversed([Load(unit) for unit in units if unit.id not in held]))

    def blame(self, unit: Unit, hands: Sequence[Hand] = (), share: float = 1.0) -> bool:
        """Take back a unit that a worker died with, unless one of `hands`, those of the living, has it as well.

        `share` is less than one where the unit is hardly to blame: with less than a whole death it is no suspect.
        Returns False if it is one frame that kills workers: it is dropped.
        """
        self._deaths[unit.id] += share
        if self._deaths[unit.id] >= 1:
            self._suspects.add(unit.id)
        if any(unit.id in hand.units for hand in hands):
            return True
        if self._deaths[unit.id] < DEATHS_MAX:
            self.requeue([unit])
        elif len(unit.frames) > 1:
            parts = unit.halves() if self._ledger.split(unit) else (unit,)  # its dead worker has committed it
            self._suspects |= {part.id for part in parts}
            self.requeue(parts)
        else:
            return False
        return True

    def _look_ahead(self) -> None:
        wanted = LOOKAHEAD * self.workers - len(self._pool)
        if wanted > 0 and not self._ended:
            found = [Load(unit) for unit in islice(self._coming, wanted)]
            self._pool.extend(found)
            self._ended = len(found) < wanted
            if found:
                last = found[-1].unit
                self._unseen = max(0, last.of - 1 - int(last.id.partition("-")[0]))

    def _may_get_more(self, hand: Hand, is_ending: bool) -> bool:
        return (hand.wants_more or is_ending) and not any(unit in self._suspects for unit in hand.units)

    @property
    def _is_ending(self) -> bool:
        """True when a frame that starts later might end after all others: then all units are given out at once."""
        if not self._ended or not self._pool or self.workers == 1:
            return False
        return self._work < self.workers * max(load.generation for load in self._pool)

    @property
    def _work(self) -> int:
        """Estimate of the network inputs that the units of the pool take."""
        return sum(load.evaluations for load in self._pool)

    def _choose(self, hand: Hand | None, hands: Sequence[Hand]) -> Load | None:
        """Take the unit out of the pool that a worker gets; None for a worker that is to be started."""
        if self._is_ending:
            self._split_to_balance(hands)
        alone = hand is None or not hand.units
        fitting = [load for load in self._pool if alone or load.unit.id not in self._suspects]
        if hand is not None:
            fitting = [load for load in fitting if load.unit.model == hand.model] or fitting
        if not fitting:
            return None
        load: Load | None = fitting[0]
        if self._is_ending:  # the longest first, each to the worker that has least left (Graham 1969)
            load = max(fitting, key=lambda load: load.evaluations)
        elif self._ended and fitting[0].unit.id not in self._suspects:
            load = self._share(hand, hands, fitting)
        if load is not None:
            self._pool.remove(load)
            self._given += load.evaluations
        return load

    def _share(self, hand: Hand | None, hands: Sequence[Hand], fitting: list[Load]) -> Load | None:
        """Return the largest unit that does not exceed a worker's equal share of what is left, or a part of one.

        A worker that holds nothing gets one in any case.
        """
        workers = max(self.workers, len(hands))
        slack = max(fitting[0].worthwhile, SLACK_SHARE * self._given / workers)
        missing = (sum(one.left for one in hands) + self._work) / workers - (hand.left if hand else 0)
        most = slack + min(missing, self._work / workers)
        sizes = [load for load in fitting if load.unit.id not in self._suspects]
        while not (small := [load for load in sizes if load.evaluations <= most]):
            smallest = min(sizes, key=lambda load: load.evaluations)
            alone = hand is None or not hand.units
            halves = self._halves(smallest) if missing > 0 or alone else None
            if halves is None:
                return smallest if alone else None
            sizes = [load for load in sizes if load is not smallest] + halves
        return max(small, key=lambda load: load.evaluations)

    def _split_to_balance(self, hands: Sequence[Hand]) -> None:
        """Split the largest units of the pool until the workers can end together, or units get too small to be worth it."""
        least = max(max(load.generation / PARTS, load.worthwhile) for load in self._pool)
        slack = max(max(load.longest, load.worthwhile) for load in self._pool)
        large = [load for load in self._pool if load.evaluations > least and load.unit.id not in self._suspects]
        while large and _spread([hand.left for hand in hands], self.workers, self._pool) > slack:
            largest = max(large, key=lambda load: load.evaluations)
            large.remove(largest)
            large += [half for half in self._halves(largest) or [] if half.evaluations > least]

    def _halves(self, load: Load) -> list[Load] | None:
        """Split a unit of the pool; None if it is one frame, or its frames share steps."""
        if len(load.unit.frames) < 2 or load.unit.shares_work or not self._ledger.split(load.unit):
            return None
        place = self._pool.index(load)
        halves = [Load(half) for half in load.unit.halves()]
        self._pool.remove(load)
        for half in reversed(halves):
            self._pool.insert(place, half)
        return halves


def _spread(left: Sequence[int], workers: int, pool: Iterable[Load]) -> int:
    """Return by how much the workers' ends differ if each unit, the largest first, goes to whoever has least left."""
    ends = [*left, *[0] * (workers - len(left))]
    heapify(ends)
    for evaluations in sorted((load.evaluations for load in pool), reverse=True):
        heapreplace(ends, ends[0] + evaluations)
    return max(ends) - ends[0]
