"""Which worker gets which unit: full batches, an end for all at once; on workers whose network is a clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_in import Outcome, mixed_walks, run_stand_ins

from render.cluster.dispatch import MACHINE_SHARE, Dispatcher
from render.cluster.hand import Hand, Load
from render.cluster.progress import Progress
from render.core.blend import Prompt, Seed
from render.core.recipe import Recipe
from render.core.unit import Frame, Receipt, Unit
from render.core.walk import Keyframe
from render.store.ledger import Ledger

FRAMES = 1_000
ROWS = 8


def units(*sizes: int, model: str = "main", steps: int = 10) -> list[Unit]:
    """Units of so many unguided frames, numbered through."""
    key = Keyframe(1, "a", "", 0, 1, "linear", "slerp", steps, 1.0, "ddim")
    recipe = Recipe(Prompt("a"), Prompt(""), Seed(0), 64, 64, steps, 1.0, "ddim", "m")
    return [
        Unit(f"{number:05d}", len(sizes), tuple(Frame("w", n, recipe, key) for n in range(size)), 4, model)
        for number, size in enumerate(sizes)
    ]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path)
    ledger.create()
    return ledger


def give_all(dispatcher: Dispatcher, hands: list[Hand]) -> list[str]:
    """Give out what is wanted by now; returns the units' ids in order."""
    given = []
    while found := dispatcher.next(hands, starting=False):
        hand, load = found
        assert hand is not None
        hand.give(load)
        given.append(load.unit.id)
    return given


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "fill", "scaling"), [(1, 0.98, 1.0), (4, 0.98, 0.97), (64, 0.98, 0.95)])
def test_a_thousand_mixed_frames(
    make_keyframe: Callable[..., Keyframe], ledger: Ledger, workers: int, fill: float, scaling: float
) -> None:
    """8 to 50 steps, guidance on and off, five schedulers. One worker without a pause is what the others are held to."""
    outcome: Outcome = run_stand_ins(mixed_walks(FRAMES, make_keyframe), workers, ROWS, ledger)
    assert outcome.frames == FRAMES
    assert outcome.fill >= fill
    assert outcome.full_s / (workers * outcome.seconds) >= scaling - 0.001


def test_a_worker_is_given_units_until_they_fill_two_batches(ledger: Ledger) -> None:
    """Batches have four rows: three units of three frames. Then again when too few of its frames are left to start."""
    dispatcher, hand = Dispatcher(iter(units(*[3] * 20)), ledger, 1), Hand("main")
    assert give_all(dispatcher, [hand]) == ["00000", "00001", "00002"]
    hand.take_report(Progress(units=3, capacity=4, unstarted=8, left=80))
    assert give_all(dispatcher, [hand]) == []
    hand.take_report(Progress(units=3, capacity=4, unstarted=7, left=70))
    assert give_all(dispatcher, [hand]) == ["00003"]
    hand.take_report(Progress(units=3, capacity=4, unstarted=7, left=70))  # made before the fourth came
    assert give_all(dispatcher, [hand]) == []


def test_a_suspect_goes_out_alone(ledger: Ledger) -> None:
    some = units(3, 3, 3)
    dispatcher, hands = Dispatcher(iter(some[1:]), ledger, 2), [Hand("main"), Hand("main")]
    assert dispatcher.blame(some[0])
    hand, load = dispatcher.next(hands, starting=False) or (None, None)
    assert load is not None
    assert load.unit == some[0]
    assert hand is not None
    hand.give(load)
    other = hands[1 - hands.index(hand)]
    give_all(dispatcher, hands)
    assert set(hand.units) == {"00000"}
    assert sum(len(unit.frames) for unit in other.units.values()) == 6  # all others, in parts


def test_a_machine_that_is_lost_makes_no_suspect(ledger: Ledger) -> None:
    """Only a unit that is lost with several is looked at alone, and split in the end."""
    (unit,) = units(2)
    dispatcher, hand = Dispatcher(iter([]), ledger, 1), Hand("main")
    assert dispatcher.blame(unit, share=MACHINE_SHARE)
    assert give_all(dispatcher, [hand]) == [unit.id]
    hand.drop(unit.id)
    dispatcher.requeue(units(1, 1)[1:])
    assert give_all(dispatcher, [hand])  # beside others
    assert [dispatcher.blame(unit, share=MACHINE_SHARE) for _ in range(3)] == [True] * 3
    (first, _), lone = unit.halves(), Hand("main")
    assert len(give_all(dispatcher, [lone])) == 1  # a suspect goes out alone
    assert [dispatcher.blame(first, share=MACHINE_SHARE) for _ in range(4)] == [True, True, True, False]


def test_a_frame_that_kills_is_found(ledger: Ledger) -> None:
    (unit,) = units(2)
    dispatcher = Dispatcher(iter([]), ledger, 1)
    assert [dispatcher.blame(unit) for _ in range(2)] == [True, True]  # the second time it is split
    first, second = unit.halves()
    assert [dispatcher.blame(first) for _ in range(2)] == [True, False]
    hands = [Hand("main")]
    assert give_all(dispatcher, hands)[0] in (first.id, second.id)


def test_a_unit_that_is_committed_is_not_split(ledger: Ledger) -> None:
    """It goes out again: whoever renders it gets the receipt that is there."""
    (unit,) = units(2)
    dispatcher = Dispatcher(iter([]), ledger, 1)
    assert ledger.commit(Receipt(unit.id, None, 2, 0, "", 0.0, 4))
    assert [dispatcher.blame(unit) for _ in range(2)] == [True, True]
    assert give_all(dispatcher, [Hand("main")]) == [unit.id]


def test_the_last_units_are_shared_out(ledger: Ledger) -> None:
    """Two workers, one with work in hand: the other gets as much more, and large units are split."""
    busy, idle = Hand("main"), Hand("main")
    busy.give(Load(units(8)[0]))
    busy.take_report(Progress(units=1, capacity=4, unstarted=0, left=30))
    last = [Unit(f"0000{n}", 9, unit.frames, 4) for n, unit in enumerate(units(4, 3), 1)]
    dispatcher = Dispatcher(iter(last), ledger, 2)
    give_all(dispatcher, [busy, idle])
    assert dispatcher.is_empty
    assert (busy.left, idle.left) == (50, 50)  # a frame takes 10
    assert sum(len(unit.frames) for hand in (busy, idle) for unit in hand.units.values()) == 8 + 4 + 3


def test_units_that_end_together_stay_whole(ledger: Ledger) -> None:
    """Four units for two workers at the end of a job, which is all of it: more files would end it no sooner."""
    some = [replace(unit, batch_rows=16) for unit in units(8, 8, 8, 7)]
    dispatcher, hands = Dispatcher(iter(some), ledger, 2), [Hand("main"), Hand("main")]
    assert sorted(give_all(dispatcher, hands)) == ["00000", "00001", "00002", "00003"]
    assert [len(hand.units) for hand in hands] == [2, 2]


def test_one_worker_s_units_stay_whole(ledger: Ledger) -> None:
    dispatcher, hand = Dispatcher(iter(units(16, 16)), ledger, 1), Hand("main")
    assert give_all(dispatcher, [hand]) == ["00000"]
    hand.take_report(Progress(units=1, capacity=4, unstarted=0, left=10))
    assert give_all(dispatcher, [hand]) == ["00001"]


def test_a_worker_keeps_its_model_as_long_as_it_can(ledger: Ledger) -> None:
    some = [*units(3, 3), *[Unit(f"1000{n}", 9, unit.frames, 4, "xl") for n, unit in enumerate(units(3, 3))]]
    dispatcher, hands = Dispatcher(iter(some), ledger, 2), [Hand("xl"), Hand("main")]
    give_all(dispatcher, hands)
    assert [{unit.model for unit in hand.units.values()} for hand in hands] == [{"xl"}, {"main"}]


@pytest.mark.parametrize("reported", [0, 1])
def test_units_are_not_split_for_a_report_that_is_late(ledger: Ledger, reported: int) -> None:
    """A worker whose unit is committed has nothing left, whatever its last report says; none of its units is in it."""
    idle, busy = Hand("main"), Hand("main")
    given, *rest = units(*[16] * 12)
    idle.give(Load(given))
    idle.take_report(Progress(units=reported, capacity=4, left=5_000))
    busy.give(Load(rest[0]))
    del idle.units[given.id]
    assert idle.left == 0
    dispatcher = Dispatcher(iter(rest[1:]), ledger, 6)
    assert give_all(dispatcher, [idle, busy])[0] == rest[1].id


@settings(deadline=None, max_examples=60)
@given(sizes=st.lists(st.integers(1, 12), max_size=12), workers=st.integers(1, 5), done=st.randoms())
def test_every_frame_is_given_out_once(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], workers: int, done: object
) -> None:
    """Whatever the workers report: nothing is held back while one wants more, nothing is lost or twice."""
    from random import Random

    assert isinstance(done, Random)
    ledger = Ledger(tmp_path_factory.mktemp("out"))
    ledger.create()
    dispatcher, hands = Dispatcher(iter(units(*sizes)), ledger, workers), [Hand("main") for _ in range(workers)]
    rendered: list[int] = []

    def work() -> Iterator[None]:
        while True:
            give_all(dispatcher, hands)
            busy = [hand for hand in hands if hand.units]
            if not busy:
                return
            hand = done.choice(busy)
            unit = hand.units.pop(done.choice(list(hand.units)))
            rendered.append(len(unit.frames))
            left = sum(held.evaluations for held in hand.units.values())
            hand.take_report(Progress(units=hand.given, capacity=4, unstarted=done.randint(0, 12), left=left))
            yield

    for _ in work():
        pass
    assert dispatcher.is_empty
    assert sum(rendered) == sum(sizes)
