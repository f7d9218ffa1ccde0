"""The end of a run: a unit that is late gets a second worker, and its frames are counted once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from stand_in import mixed_walks, run_stand_ins
from test_dispatch import units

from render.cluster.dispatch import Dispatcher
from render.cluster.hand import Hand, Load
from render.cluster.progress import Progress
from render.cluster.stragglers import find_copy
from render.cluster.tally import Tally
from render.core.unit import Unit
from render.core.walk import Keyframe
from render.store.ledger import Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path)
    ledger.create()
    return ledger


def working(unit: Unit, pace: float, left: int, idle_s: float = 0.0, stage: str = "") -> Hand:
    """A worker with one unit and `left` network inputs of it, which has computed `pace` a second for ten seconds."""
    hand = Hand(unit.model)
    hand.give(Load(unit))
    hand.take_report(Progress(units=1, up_s=100.0, left=left))
    hand.take_report(Progress(units=1, up_s=110.0, rows=int(10 * pace), left=left, idle_s=idle_s, stage=stage))
    return hand


def resting(pace: float, model: str = "main") -> Hand:
    """A worker without a unit that was as fast while it had one."""
    hand = working(units(1, model=model)[0], pace, 0)
    hand.drop("00000", is_done=True)
    return hand


def fresh() -> Hand:
    """A worker that is up and has had no unit."""
    hand = Hand("main")
    hand.take_report(Progress(up_s=1.0))
    return hand


def loading(unit: Unit) -> Hand:
    hand = Hand(unit.model)
    hand.give(Load(unit))
    hand.take_report(Progress(stage="loading a model", node="a"))
    return hand


LATE = units(8, 8, steps=20)[1]  # 160 network inputs, in batches of 4: 20 batches are the least


@pytest.mark.parametrize(
    ("owner", "idle", "is_copied"),
    [
        (working(LATE, 1.0, 100), resting(40.0), True),  # 100 s against 4 s
        (working(LATE, 40.0, 100), resting(40.0), False),  # 2.5 s against 4 s
        (working(LATE, 10.0, 100), resting(40.0), False),  # 10 s against 4 s: not worth it, as both are estimates
        (working(LATE, 1.0, 100), resting(2.0), False),  # 100 s against 80 s
        (working(LATE, 0.0, 100), resting(40.0), False),  # of no known pace
        (working(LATE, 0.0, 100, stage="compiling"), resting(40.0), True),
        (working(LATE, 0.0, 100, stage="compiling"), fresh(), False),  # it would compile as well
        (working(LATE, 0.0, 100, idle_s=40.0), resting(40.0), True),  # nothing for 40 s: it may hang
        (working(LATE, 40.0, 100, idle_s=40.0), resting(40.0), True),
        (working(LATE, 1.0, 100), resting(40.0, model="xl"), False),  # it would load a model first
        (working(LATE, 1.0, 100), fresh(), False),  # is taken to be as fast as the fastest: 160 s
        (working(LATE, 0.0, 100, idle_s=40.0), fresh(), False),
        (working(LATE, 0.0, 100, idle_s=100.0), fresh(), True),
        (working(LATE, 0.0, 100, idle_s=100.0), Hand("main"), False),  # it loads a model as yet
        (loading(LATE), resting(2.0), True),
        (loading(LATE), fresh(), True),
    ],
)
def test_a_copy_is_given_where_it_is_sooner(owner: Hand, idle: Hand, is_copied: bool) -> None:
    found = find_copy([owner, idle], set())
    assert (found is not None) == is_copied
    if found:
        hand, load = found
        assert (hand, load.unit) == (idle, LATE)
        assert find_copy([owner, idle], {LATE.id}) is None  # it may have killed a worker
        hand.give(load)
        assert find_copy([owner, hand, resting(40.0)], set()) is None  # two are enough
        hand.drop(LATE.id)
        hand.is_leaving = True
        assert find_copy([owner, hand], set()) is None


def test_a_worker_that_has_just_been_given_something_is_not_late() -> None:
    """Its last report tells of a long rest. Only the time since then counts."""
    owner = resting(40.0)
    owner.take_report(Progress(units=1, up_s=300.0, idle_s=190.0))
    owner.give(Load(LATE))
    assert find_copy([owner, resting(40.0)], set()) is None
    owner.take_report(Progress(units=2, up_s=301.0, idle_s=191.0, left=160))
    assert find_copy([owner, resting(40.0)], set()) is None
    owner.take_report(Progress(units=2, up_s=400.0, idle_s=290.0, left=160))
    assert find_copy([owner, resting(40.0)], set()) is not None


def test_of_several_units_the_one_that_was_given_last_is_copied() -> None:
    first, second = units(8, 8, steps=20)
    owner = working(first, 1.0, 160)
    owner.give(Load(second))
    found = find_copy([owner, resting(40.0)], set())
    assert found is not None
    assert found[1].unit == second


def test_nothing_is_copied_while_there_are_units(ledger: Ledger) -> None:
    some = units(*[8] * 6, steps=20)
    dispatcher = Dispatcher(iter(some[1:]), ledger, 2)
    owner, idle = working(some[0], 1.0, 160), resting(40.0)
    owner.is_leaving = True  # it gets no more
    given: list[str] = []
    while not dispatcher.is_empty:
        while not dispatcher.is_empty and (found := dispatcher.next([owner, idle], starting=False)):
            hand, load = found
            assert hand is idle
            hand.give(load)
            given.append(load.unit.id)
        idle.units.clear()
    assert given
    assert some[0].id not in given
    found = dispatcher.next([owner, idle], starting=False)
    assert found is not None
    assert found[1].unit == some[0]


def test_the_death_of_one_of_two_is_not_the_end_of_a_unit(ledger: Ledger) -> None:
    """It stays with the other; the death counts, and after the other's the unit is given out again alone, in halves."""
    (unit,) = units(2)
    dispatcher, other = Dispatcher(iter([]), ledger, 2), Hand("main")
    other.give(Load(unit))
    assert dispatcher.blame(unit, [other])
    assert dispatcher.is_empty
    dispatcher.requeue([unit], [other])
    assert dispatcher.is_empty
    other.drop(unit.id)
    assert dispatcher.blame(unit, [])
    found = dispatcher.next([Hand("main")], starting=False)
    assert found is not None
    assert found[1].unit in unit.halves()


def test_frames_are_counted_once() -> None:
    (unit,) = units(8)
    tally, owner, copy = Tally(), working(unit, 1.0, 10), resting(1.0)
    owner.take_report(Progress(units=1, frames=3))
    assert tally.rise([owner, copy]) == 3
    copy.give(Load(unit))
    copy.take_report(Progress(units=2, frames=1 + 5))
    assert tally.rise([owner, copy]) == 0  # five of the same eight
    copy.drop(unit.id, is_done=True)
    owner.drop(unit.id)
    tally.commit(8)
    assert tally.rise([owner, copy]) == 5
    assert tally.rise([owner, copy]) == 0


def test_frames_of_the_dead_are_not_counted_again() -> None:
    first, second = units(8, 8)
    tally, dead, other = Tally(), working(first, 1.0, 10), working(second, 1.0, 10)
    dead.take_report(Progress(units=1, frames=6))
    assert tally.rise([dead, other]) == 6
    assert tally.rise([other]) == 0
    again = working(first, 1.0, 10)
    again.take_report(Progress(units=1, frames=7))
    assert tally.rise([other, again]) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("slowness", "at_least"), [(20.0, 0.72), (5.0, 0.75)])
def test_a_slow_worker_does_not_hold_up_the_end(
    make_keyframe: Callable[..., Keyframe], ledger: Ledger, slowness: float, at_least: float
) -> None:
    """Of four workers one is slow: the others end little later than without it. Every frame is told, and stored, once."""
    outcome = run_stand_ins(mixed_walks(400, make_keyframe), 4, 8, ledger, slowness={3: slowness})
    assert outcome.copies
    assert (outcome.frames, outcome.told) == (400, 400)
    assert outcome.full_s / (4 * outcome.seconds) > at_least


@pytest.mark.slow
def test_workers_that_join_take_their_share(make_keyframe: Callable[..., Keyframe], ledger: Ledger) -> None:
    """Two more after ten seconds: from then on all are at work until the end."""
    outcome = run_stand_ins(mixed_walks(400, make_keyframe), 4, 8, ledger, begins_s={2: 10.0, 3: 10.0})
    assert (outcome.frames, outcome.told) == (400, 400)
    assert outcome.full_s / (4 * outcome.seconds - 2 * 10.0) > 0.97
