"""The units in one worker's hands, its latest report, and how fast it is. Pure: no Ray, no clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from functools import cached_property

from render.cluster.progress import AHEAD_BATCHES, Progress
from render.core import Unit

__all__ = ["Hand", "Load"]

SLACK_BATCHES = 2  # batches by which the workers' ends may differ, and less than which no unit is split
PACE_S = 20.0  # of a worker's time that its pace is measured over


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
    def longest(self) -> int:
        """Network inputs of its longest frame."""
        return max(frame.recipe.evaluations for frame in self.unit.frames)

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
    done: int = 0  # frames of the units that it has rendered
    is_leaving: bool = False  # its node is about to end: it gets no more units
    pace: float = 0.0  # network inputs a second of late; 0 while that is unknown
    places_pace: float = 0.0  # places of batches a second when it was last at work; 0 while that is unknown
    _busy_since_s: float = 0.0  # seconds that it had been up when it was given a unit and held none
    _unreported: deque[Load] = field(default_factory=deque)  # given after the report was made
    _evaluations: dict[str, int] = field(default_factory=dict)  # of all units given, by id
    _reports: deque[Progress] = field(default_factory=deque)  # of the last PACE_S, without a pause between them

    def give(self, load: Load) -> None:
        if not self.units:
            self._busy_since_s = self.report.up_s
        self.units[load.unit.id], self.model = load.unit, load.unit.model
        self._evaluations[load.unit.id] = load.evaluations
        self.given += 1
        self._unreported.append(load)

    def drop(self, unit: str, is_done: bool = False) -> None:
        """Forget a unit: it is committed, by this worker if `is_done`, or somebody else gets it."""
        frames = self.units.pop(unit).frames
        if is_done:
            self.done += len(frames)

    def take_report(self, report: Progress) -> None:
        self.report = report
        while len(self._unreported) > self.given - report.units:
            self._unreported.popleft()
        self._measure(report)

    def _measure(self, report: Progress) -> None:
        """Bring the paces up to date."""
        if not (self.units and report.is_up):
            self._reports.clear()
            return
        self._reports.append(report)
        while len(self._reports) > 2 and report.up_s - self._reports[1].up_s >= PACE_S:
            self._reports.popleft()
        first = self._reports[0]
        seconds, rows = report.up_s - first.up_s, report.rows - first.rows
        if seconds > 0 and rows > 0:
            self.pace, self.places_pace = rows / seconds, (rows + report.padding - first.padding) / seconds

    @property
    def quiet_s(self) -> float:
        """Seconds without progress, of those since it was given something to do: its report may be from before."""
        return min(self.report.idle_s, self.report.up_s - self._busy_since_s)

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
        if self.is_leaving:
            return False
        if not self.units:
            return True
        capacity = self.report.capacity or max(unit.batch_rows for unit in self.units.values())
        return self.report.unstarted + sum(load.rows for load in self._unreported) < AHEAD_BATCHES * capacity
