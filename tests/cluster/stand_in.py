"""Workers of a stand-in network that takes a fixed time for a batch, on a clock of its own.

The dispatcher, the feeds, the lanes and the frames' batches are the product's own; only the network, the schedulers and the
clock are stand-ins. Every worker is a thread, and exactly one of them runs at a time: a thread that sleeps hands over to the
one whose sleep ends first. So a run of 64 workers is repeatable, and takes as long as its Python code.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from random import Random
from threading import Condition
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from render.cluster.actor import LOOK_S, REPORT_S
from render.cluster.dispatch import Dispatcher
from render.cluster.feed import Feed, FrameHandle, LaneKey, UnitInFlight
from render.cluster.hand import Hand
from render.cluster.lane import Lane
from render.cluster.meter import Meter
from render.cluster.progress import Progress
from render.cluster.tally import Tally
from render.core.recipe import Recipe, Target
from render.core.schedulers import scheduler_calls
from render.core.unit import Receipt, Unit
from render.core.walk import Keyframe, Walk
from render.engine.batch import Batch
from render.engine.denoise import FrameGenerator, Row
from render.plan.units import Limits, count_walks, make_plan, plan_units
from render.store.ledger import Ledger

SCHEDULERS = ("ddim", "euler", "euler_a", "dpm++2m", "unipc")
LATENTS = torch.zeros(1)
BATCH_S = 0.06  # as long as a compiled batch of SD 1.5 on an H200
HOP_S = 0.01  # from worker to driver, or back


class Clock:
    """Time that passes when every thread that takes part sleeps."""

    def __init__(self, threads: int) -> None:
        self.now_s = 0.0
        self._changed, self._awake, self._order = Condition(), threads, count()
        self._sleeping: list[tuple[float, int]] = []
        self._turn = -1  # number of the sleep that is over

    def sleep(self, seconds: float) -> None:
        with self._changed:
            number = next(self._order)
            heapq.heappush(self._sleeping, (self.now_s + seconds, number))
            self._pass_on()
            self._changed.wait_for(lambda: self._turn == number)

    def leave(self) -> None:
        """End a thread's part."""
        with self._changed:
            self._pass_on()

    def _pass_on(self) -> None:
        self._awake -= 1
        if not self._awake and self._sleeping:
            self.now_s, self._turn = heapq.heappop(self._sleeping)
            self._awake = 1
            self._changed.notify_all()


class Network:
    """Stands in for the renderer: a batch takes BATCH_S times its slowness, whatever it holds; frames compute nothing."""

    def __init__(self, clock: Clock, slowness: float) -> None:
        self._clock, self._batch_s = clock, slowness * BATCH_S

    def start(self, recipe: Recipe) -> FrameGenerator:
        return _frame(recipe)

    def forget(self) -> None: ...

    def run(self, rows: Sequence[Row], batch: Batch) -> list[Tensor]:
        self._clock.sleep(self._batch_s)
        return [LATENTS] * len(rows)


def _frame(recipe: Recipe) -> Generator[list[Row], list[Tensor], Tensor]:
    for left in range(scheduler_calls(recipe.scheduler, recipe.steps, recipe.steps), 0, -1):
        yield [Row(LATENTS, LATENTS, {}, left)] * recipe.rows
    return LATENTS


@dataclass(eq=False)
class StandIn:
    """A worker without files, and what the driver knows of it."""

    clock: Clock
    slowness: float = 1.0
    begins_s: float = 0.0  # when it joins
    hand: Hand = field(default_factory=lambda: Hand("main"))
    meter: Meter = field(default_factory=Meter)
    committed: list[Unit] = field(default_factory=list)  # since the driver looked
    frames: int = 0  # finished
    ended_s: float = 0.0  # when its last frame was done
    is_over: bool = False
    lane: Lane[FrameHandle] | None = None
    reported_s: float = -REPORT_S

    def __post_init__(self) -> None:
        self.feed = Feed(self.meter.add_wait)
        self.begun: list[UnitInFlight] = []

    def work(self) -> None:
        """Render what is given until the run is over."""
        while True:
            flight = self._following(wait=True)
            if flight is None:
                break
            self._begin(flight)
            lane: LaneKey = flight.lane
            self.lane = Lane(
                Network(self.clock, self.slowness),
                Batch.full(flight.unit.batch_rows),
                partial(self._next_frame, lane),
                self._count,
                partial(self.feed.is_ending, lane),
            )
            for (owner, _), _latents in self.lane.run():
                owner.unfinished -= 1
                if owner.is_dropped:
                    continue
                self.frames, self.ended_s = self.frames + 1, self.clock.now_s
                if not owner.unfinished:
                    self.committed.append(owner.unit)
        self.clock.leave()

    def _begin(self, flight: UnitInFlight) -> None:
        self.feed.begin(flight)
        self.begun.append(flight)

    def _count(self, rows: int, padding: int) -> Any:
        self.meter.add_batch(rows, padding)
        return nullcontext()

    def _following(self, wait: bool) -> UnitInFlight | None:
        while (flight := self.feed.peek(wait=False)) is None and wait and not self.is_over:
            self.clock.sleep(LOOK_S / 4)
        return flight

    def _next_frame(self, lane: LaneKey, wait: bool) -> tuple[FrameHandle, Recipe] | None:
        while self.feed.wants_unit(following := self._following(wait and self.feed.first() is None), lane):
            assert following is not None
            self._begin(following)
        handle = self.feed.take(lane)
        return None if handle is None else (handle, handle[0].unit.frames[handle[1]].recipe)

    def report(self) -> Progress:
        unstarted, left = self.feed.unstarted()
        return Progress(
            frames=self.frames,
            up_s=self.clock.now_s - self.begins_s,
            rows=self.meter.rows,
            padding=self.meter.padding,
            units=self.feed.received,
            capacity=self.lane.size.capacity if self.lane else 0,
            unstarted=unstarted,
            left=left + (self.lane.left if self.lane else 0),
        )

    def report_if_due(self, is_empty: bool) -> None:
        """Report every REPORT_S, or as soon as the worker wants more units, as the actor does."""
        report = self.report()
        if is_empty and report.units == self.hand.given:
            self.feed.expect_no_more()
        heard = self.hand.report.units if self.hand.report.wants_more else -1
        is_wanting = report.wants_more and report.units != heard and not is_empty
        if is_wanting or self.clock.now_s - self.reported_s >= REPORT_S:
            self.hand.take_report(report)
            self.reported_s = self.clock.now_s


@dataclass(frozen=True)
class Outcome:
    """How a run of stand-ins went."""

    seconds: float  # until the last frame
    rows: int
    padding: int
    units: int  # committed
    frames: int
    batch_rows: int
    copies: int  # units that a second worker was given
    told: int  # frames that the driver told of

    @property
    def full_s(self) -> float:
        """Seconds that the rows take on one worker, all batches full."""
        return self.rows / self.batch_rows * BATCH_S

    @property
    def fill(self) -> float:
        return self.rows / (self.rows + self.padding)


def mixed_walks(frames: int, make_keyframe: Callable[..., Keyframe]) -> list[Walk]:
    """Stills of 8 to 50 steps, with guidance and without, by five schedulers."""
    random = Random(7)

    def keyframe(row: int) -> Keyframe:
        guidance, scheduler = random.choice([1.0, 7.5]), random.choice(SCHEDULERS)
        return make_keyframe(row=row, steps=random.randint(8, 50), guidance=guidance, scheduler=scheduler)

    return [Walk(f"still-{row}", (keyframe(row),), 512, 512, still=True) for row in range(1, frames + 1)]


def run_stand_ins(
    walks: list[Walk],
    workers: int,
    batch_rows: int,
    ledger: Ledger,
    slowness: Mapping[int, float] = MappingProxyType({}),
    begins_s: Mapping[int, float] = MappingProxyType({}),
) -> Outcome:
    """Plan a job for so many workers, and render it with as many stand-ins; some, by number, are slow or join later."""
    targets = {"main": Target("m")}
    limits = Limits(batch_rows, None, True, "png", workers)
    plan = make_plan(count_walks(walks, targets), limits, {}, targets)
    dispatcher = Dispatcher(ledger.outstanding(plan_units(lambda: walks, plan)), ledger, workers)
    clock = Clock(workers + 1)
    crew = [StandIn(clock, slowness.get(one, 1.0), begins_s.get(one, 0.0)) for one in range(workers)]
    driver = Driver(dispatcher, crew, clock, ledger)
    with ThreadPoolExecutor(workers + 1) as pool:
        jobs = [pool.submit(stand_in.work) for stand_in in crew] + [pool.submit(driver.drive)]
        wait(jobs)
    for job in jobs:
        job.result()
    receipts = ledger.receipts()
    return Outcome(
        seconds=max(stand_in.ended_s for stand_in in crew),
        rows=sum(stand_in.meter.rows for stand_in in crew),
        padding=sum(stand_in.meter.padding for stand_in in crew),
        units=len(receipts),
        frames=sum(receipt.frames for receipt in receipts),
        batch_rows=batch_rows,
        copies=driver.copies,
        told=driver.told,
    )


@dataclass
class Driver:
    """Does what the driver does, without Ray."""

    dispatcher: Dispatcher
    crew: list[StandIn]
    clock: Clock
    ledger: Ledger
    tally: Tally = field(default_factory=Tally)
    copies: int = 0
    told: int = 0

    def drive(self) -> None:
        try:
            while not self._is_done():
                self.clock.sleep(HOP_S)
                self._give(self._present())
                self.clock.sleep(HOP_S)
        finally:
            for stand_in in self.crew:
                stand_in.is_over = True
            self.clock.leave()

    def _present(self) -> list[StandIn]:
        """Return the workers that have joined by now; the dispatcher learns their number."""
        present = [stand_in for stand_in in self.crew if stand_in.begins_s <= self.clock.now_s]
        self.dispatcher.workers = len(present)
        return present

    def _is_done(self) -> bool:
        for stand_in in self.crew:
            for unit in _taken(stand_in.committed):
                self._commit(stand_in, unit)
            stand_in.report_if_due(self.dispatcher.is_empty)
        self.told += self.tally.rise([stand_in.hand for stand_in in self.crew])
        return self.dispatcher.is_empty and not any(stand_in.hand.units for stand_in in self.crew)

    def _commit(self, stand_in: StandIn, unit: Unit) -> None:
        if unit.id not in stand_in.hand.units:  # a copy, as another was sooner
            return
        stand_in.hand.drop(unit.id, is_done=True)
        assert self.ledger.commit(Receipt(unit.id, None, len(unit.frames), 0, "", 0.0, unit.batch_rows))
        self.tally.commit(len(unit.frames))
        for other in self.crew:
            if unit.id in other.hand.units:
                other.hand.drop(unit.id)
                other.feed.cancel(unit.id, other.begun)

    def _give(self, present: list[StandIn]) -> None:
        by_hand = {id(stand_in.hand): stand_in for stand_in in present}
        while given := self.dispatcher.next([stand_in.hand for stand_in in present], starting=False):
            hand, load = given
            assert hand is not None
            self.copies += any(load.unit.id in stand_in.hand.units for stand_in in self.crew)
            hand.give(load)
            by_hand[id(hand)].feed.put(UnitInFlight(load.unit))


def _taken(units: list[Unit]) -> Iterator[Unit]:
    while units:
        yield units.pop()
