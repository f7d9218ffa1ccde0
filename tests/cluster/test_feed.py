"""The frames in a worker's hands: which starts next, what is counted, and when a lane ends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from render.cluster.feed import DroppedError, Feed, UnitInFlight
from render.core.blend import Prompt, Seed
from render.core.recipe import Recipe
from render.core.unit import Frame, Receipt, Unit
from render.core.walk import Keyframe


def make_flight(number: int, *steps: int, rows: int = 8) -> UnitInFlight:
    """A unit of guided frames that take these steps."""
    key = Keyframe(1, "a", "", 0, 1, "linear", "slerp", 1, 7.5, "ddim")
    recipes = [Recipe(Prompt("a"), Prompt(""), Seed(0), 64, 64, count, 7.5, "ddim", "m") for count in steps]
    return UnitInFlight(Unit(f"{number:05d}", 9, tuple(Frame("w", n, one, key) for n, one in enumerate(recipes)), rows))


@pytest.fixture
def feed() -> Feed:
    return Feed(lambda _: None)


def test_what_is_not_started_is_counted(feed: Feed) -> None:
    first, second = make_flight(0, 10, 20), make_flight(1, 30)
    feed.put(first)
    feed.put(second)
    assert feed.unstarted() == (6, 120)
    feed.begin(first)
    assert feed.unstarted() == (6, 120)
    assert feed.take(first.lane) == (first, 0)
    assert feed.unstarted() == (4, 100)
    feed.forget_begun()
    assert feed.unstarted() == (2, 60)  # the unit that is not begun
    feed.begin(first)  # anew
    assert feed.unstarted() == (6, 120)


def test_the_longest_frames_go_first_when_no_more_come(feed: Feed) -> None:
    flight = make_flight(0, 10, 30, 20, 30)
    feed.put(flight)
    feed.begin(flight)
    assert feed.take(flight.lane) == (flight, 0)
    feed.expect_no_more()
    assert [feed.take(flight.lane) for _ in range(4)] == [(flight, 1), (flight, 3), (flight, 2), None]
    feed.put(make_flight(1, 10))  # a unit comes all the same: another worker has died
    assert not feed.is_ending(flight.lane)


def test_a_unit_whose_batch_size_is_not_chosen_yet_does_not_end_its_lane(feed: Feed) -> None:
    """A plan for a GPU has the largest batch size; the worker's lane has the one that was measured."""
    flight = make_flight(0, 10, rows=48)
    feed.put(make_flight(1, 10, rows=128))
    assert not feed.is_ending(flight.lane)
    feed.begin(feed.peek(wait=False) or flight)
    chosen = make_flight(2, 10, rows=24)
    chosen.has_sizes = True
    feed.put(chosen)
    assert feed.is_ending(flight.lane)


def test_a_unit_of_another_model_ends_the_lane(feed: Feed) -> None:
    flight, other = make_flight(0, 10), make_flight(1, 10)
    other.unit = replace(other.unit, model="xl")
    feed.put(other)
    assert feed.is_ending(flight.lane)


def test_what_is_not_begun_is_handed_back(feed: Feed) -> None:
    """Also a unit that is begun and none of whose frames has started; what comes later is refused."""
    started, begun, queued, late = (make_flight(number, 10, 20) for number in range(4))
    for flight in (started, begun, queued):
        feed.put(flight)
    feed.begin(started)
    feed.take(started.lane)
    feed.begin(begun)
    feed.hand_back()
    feed.put(late)
    for flight in (begun, queued, late):
        assert isinstance(flight.receipt.exception(0), DroppedError)
    assert not started.receipt.done()
    assert feed.unstarted() == (2, 40)
    assert feed.received == 4
    assert feed.take(started.lane) == (started, 1)
    assert feed.take(started.lane) is None
    assert feed.peek(wait=False) is None
    assert feed.is_ending(started.lane)
    feed.begin(queued)  # which was about to begin when it was dropped
    assert feed.take(started.lane) is None
    assert feed.unstarted() == (0, 0)


def test_a_unit_is_cancelled_while_it_begins(feed: Feed) -> None:
    """Its worker has not noted yet that it has begun it."""
    flight = make_flight(0, 10, 20)
    feed.put(flight)
    feed.begin(flight)
    feed.cancel("00000", [])
    assert flight.is_dropped
    assert feed.take(flight.lane) is None
    assert feed.unstarted() == (0, 0)


def test_a_unit_is_cancelled(feed: Feed) -> None:
    """Queued, begun, and before it comes; the others are not touched."""
    begun, queued, other, late = (make_flight(number, 10, 20) for number in range(4))
    for flight in (begun, queued, other):
        feed.put(flight)
    feed.begin(begun)
    feed.take(begun.lane)
    for unit in ("00000", "00001", "00003"):
        feed.cancel(unit, [begun])
    feed.put(late)
    for flight in (begun, queued, late):
        assert flight.is_dropped
        assert isinstance(flight.receipt.exception(0), DroppedError)
    assert feed.peek(wait=False) is other
    assert feed.unstarted() == (4, 60)
    begun.settle(Receipt("00000", None, 0, 0, "", 0.0, 8))  # too late
    assert isinstance(begun.receipt.exception(0), DroppedError)
