"""Decide which worker gets which unit. Pure but for the ledger, which records a unit that is split: no Ray, no clock.

A worker gets the next unit when the frames that it has not started fill fewer than AHEAD_BATCHES batches. Near the end of
the job, when all units are known, every worker gets what is missing to an equal share of the work that is left; a unit
that is larger than this is split in halves. So all workers end together.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

from render.cluster.progress import AHEAD_BATCHES, Progress
from render.core import Unit
from render.store import Ledger

__all__ = ["DEATHS_MAX", "Dispatcher", "Hand"]

DEATHS_MAX = 2  # workers that may die with a unit before it is split
LOOKAHEAD = 2  # units that are known ahead, for each worker
PARTS = 4  # units that each worker gets of the last ones, about
SLACK_BATCHES = 2  # batches by which the workers' ends may differ, and less than which no unit is split
SLACK_SHARE = 0.01  # or the share of a worker's work so far, where that is more


@dataclass(frozen=True, eq=False)
class Load:
    """A unit with the work that it means."""

    unit: Unit

    @cached_property
    def rows(self) -> int:
        """Network inputs that its frames ask for at once."""
        return sum(frame.recipe.rows for frame in self.unit.frames)

    @cached_property
    def evaluations(self) -> int:
        return self.unit.evaluations

    @property
    def worthwhile(self) -> int:
        """Network inputs of the smallest unit that is worth a file of its own."""
        return SLACK_BATCHES * self.unit.batch_rows

    @cached_property
    def generation(self) -> int:
        """Network inputs of as many batches as its longest frame takes."""
        recipes = [frame.recipe for frame in self.unit.frames]
        return self.unit.batch_rows * max(recipe.evaluations // recipe.rows for recipe in recipes)


@dataclass(eq=False)
class Hand:
    """The units in one worker's hands, and its latest report."""

    model: str  # of the unit that it was given last
    units: dict[str, Unit] = field(default_factory=dict)  # given and not committed, by id
    report: Progress = field(default_factory=Progress)
    given: int = 0  # units, ever
    _unreported: deque[Load] = field(default_factory=deque)  # given after the report was made
    _evaluations: dict[str, int] = field(default_factory=dict)  # of all units given, by id

    def give(self, load: Load) -> None:
        self.units[load.unit.id], self.model = load.unit, load.unit.model
        self._evaluations[load.unit.id] = load.evaluations
        self.given += 1
        self._unreported.append(load)

    def take_report(self, report: Progress) -> None:
        self.report = report
        while len(self._unreported) > self.given - report.units:
            self._unreported.popleft()

    @property
    def left(self) -> int:
        """Estimate of the network inputs that the worker's frames still need: no more than its units take in all.

        The report may be older than the last commits. Were those units counted, an idle worker would get tiny ones.
        """
        unreported = sum(load.evaluations for load in self._unreported if load.unit.id in self.units)
        return min(self.report.left + unreported, sum(self._evaluations[unit] for unit in self.units))

    @property
    def wants_more(self) -> bool:
        """True while the frames that are not started fill too few batches."""
        if not self.units:
            return True
        capacity = self.report.capacity or max(unit.batch_rows for unit in self.units.values())
        return self.report.unstarted + sum(load.rows for load in self._unreported) < AHEAD_BATCHES * capacity


class Dispatcher:
    """The units of a run that are not in a worker's hands."""

    def __init__(self, units: Iterator[Unit], ledger: Ledger, workers: int) -> None:
        """`workers` is the number of workers that the run may have."""
        self._coming, self._ledger, self._workers = units, ledger, workers
        self._pool: deque[Load] = deque()  # to be given out, in this order
        self._ended = False  # all units that are left are in the pool
        self._deaths: Counter[str] = Counter()  # by unit id
        self._suspects: set[str] = set()  # ids of units that a dead worker held, and of their halves
        self._given = 0  # network inputs, estimated

    @property
    def is_empty(self) -> bool:
        """True when every unit is in a worker's hands or done."""
        self._look_ahead()
        return self._ended and not self._pool

    def next(self, hands: Sequence[Hand], starting: bool) -> tuple[Hand | None, Load] | None:
        """Return the next unit to give out, with the worker that gets it; None instead of a worker that is to be started.

        The workers that want more come in the order of the work that they have left, and each gets a unit of its model
        where there is one: so a worker loads each model about once. A unit that a dead worker held gets a worker of its
        own: if that dies, no other unit is blamed. Returns None when no worker wants any.
        """
        self._look_ahead()
        if starting:
            load = self._choose(None, hands)
            return (None, load) if load else None
        is_ending = self._is_ending
        wanting = [hand for hand in hands if self._may_get_more(hand, is_ending)]
        for hand in sorted(wanting, key=lambda one: (one.left, len(one.units))):
            if load := self._choose(hand, hands):
                return hand, load
        return None

    def requeue(self, units: Sequence[Unit]) -> None:
        """Take units back that nobody is to blame for."""
        self._pool.extendleft(reversed([Load(unit) for unit in units]))

    def blame(self, unit: Unit) -> bool:
        """Take back a unit that a worker died with. Returns False if it is one frame that kills workers: it is dropped."""
        self._deaths[unit.id] += 1
        self._suspects.add(unit.id)
        if self._deaths[unit.id] < DEATHS_MAX:
            self.requeue([unit])
        elif len(unit.frames) > 1:
            if self._ledger.split(unit):
                self._suspects |= {half.id for half in unit.halves()}
                self.requeue(unit.halves())
        else:
            return False
        return True

    def _look_ahead(self) -> None:
        wanted = LOOKAHEAD * self._workers - len(self._pool)
        if wanted > 0 and not self._ended:
            found = [Load(unit) for unit in islice(self._coming, wanted)]
            self._pool.extend(found)
            self._ended = len(found) < wanted

    def _may_get_more(self, hand: Hand, is_ending: bool) -> bool:
        return (hand.wants_more or is_ending) and not any(unit in self._suspects for unit in hand.units)

    @property
    def _is_ending(self) -> bool:
        """True when a frame that starts later might end after all others: then all units are given out at once."""
        if not self._ended or not self._pool or self._workers == 1:
            return False
        return self._work < self._workers * max(load.generation for load in self._pool)

    @property
    def _work(self) -> int:
        """Estimate of the network inputs that the units of the pool take."""
        return sum(load.evaluations for load in self._pool)

    def _choose(self, hand: Hand | None, hands: Sequence[Hand]) -> Load | None:
        """Take the unit out of the pool that a worker gets; None for a worker that is to be started."""
        if self._is_ending:
            self._split_to(max(max(load.generation / PARTS, load.worthwhile) for load in self._pool))
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
        workers = max(self._workers, len(hands))
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

    def _split_to(self, most: float) -> None:
        """Split the units of the pool until each takes at most so many network inputs, or is one frame."""
        large = [load for load in self._pool if load.evaluations > most and load.unit.id not in self._suspects]
        while large:
            large += [half for half in self._halves(large.pop()) or [] if half.evaluations > most]

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
