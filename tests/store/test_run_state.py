"""What the events of a log say of a run: its workers, units, counts and speeds, also by a log of which the end is left."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from render.store.run_state import RunState, SeenWorker

BEGUN = datetime(2026, 11, 26, 22, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return BEGUN + timedelta(seconds=seconds)


def event(seconds: float, name: str, **values: Any) -> dict[str, Any]:
    return {"at": at(seconds), "event": name, **values}


def state_after(events: Iterable[dict[str, Any]], state: RunState | None = None) -> RunState:
    state = state or RunState()
    for one in events:
        state = state.take(one)
    return state


BEGIN = event(0, "begin", host="head", process=7, planned=100, command="render run a.yaml")
UP = [event(60 + number, "worker", worker=f"w{number}", host="a", card="H100") for number in range(2)]
GIVEN = [event(62, "given", unit="00000", worker="w0"), event(63, "given", unit="00001", worker="w1")]


def test_a_run_begins_with_what_it_says_of_itself() -> None:
    state = state_after([BEGIN])
    assert (state.begun, state.host, state.process, state.planned) == (at(0), "head", 7, 100)
    assert state.command == "render run a.yaml"
    assert state.is_open
    assert state.speed(is_recent=True) is None


def test_workers_and_their_units() -> None:
    state = state_after([BEGIN, *UP, *GIVEN])
    assert state.workers["w1"] == SeenWorker("w1", "a", "H100", at(61))
    assert state.hand == {"00000": {"w0": at(62)}, "00001": {"w1": at(63)}}
    assert state.ready == at(60)
    twice = state_after([event(64, "given", unit="00001", worker="w0")], state)  # a straggler's unit, run twice
    assert twice.hand["00001"] == {"w1": at(63), "w0": at(64)}
    gone = state_after([event(65, "gone", worker="w0", reason="killed")], twice)
    assert gone.hand == {"00001": {"w1": at(63)}}
    assert list(gone.workers) == ["w1"]
    assert state_after([event(66, "commit", unit="00001", frames=8, done=8)], gone).hand == {}


@pytest.mark.parametrize("last", [event(90, "end"), event(90, "stopped", reason="RunError: full")])
def test_a_run_that_ends_has_no_workers(last: dict[str, Any]) -> None:
    state = state_after([BEGIN, *UP, *GIVEN, last])
    assert (state.workers, state.hand, state.is_open) == ({}, {}, False)
    assert state.reason == last.get("reason", "")
    again = state_after([{**BEGIN, "at": at(100)}], state)
    assert (again.begun, again.reason, again.is_open) == (at(100), "", True)


def beats(until_s: int, frames_per_s: float) -> Iterable[dict[str, Any]]:
    for second in range(90, until_s + 1, 30):
        frames = round((second - 60) * frames_per_s)
        yield event(second, "beat", frames=frames, rows=40 * frames, padding=10 * frames, stage="")


def test_speed_now_and_on_average() -> None:
    """At first one frame a second, from an hour on two."""
    state = state_after([BEGIN, *UP, *beats(3660, 1.0)])
    assert state.speed(is_recent=True) == pytest.approx(1.0)
    assert state.speed(is_recent=False) == pytest.approx(1.0)
    for second in range(3690, 4260 + 1, 30):
        frames = 3600 + (second - 3660) * 2
        state = state.take(event(second, "beat", frames=frames, rows=0, padding=0))
    assert state.speed(is_recent=True) == pytest.approx(2.0)
    assert state.speed(is_recent=False) == pytest.approx((3600 + 1200) / 4200)
    assert len(state.marks) <= 12  # of five minutes


def test_the_time_until_the_first_worker_is_up_counts_for_no_speed() -> None:
    waiting = [event(second, "beat", frames=0, rows=0, padding=0) for second in range(1, 60, 30)]
    state = state_after([BEGIN, *waiting])
    assert (state.speed(is_recent=True), state.speed(is_recent=False)) == (None, None)
    state = state_after([*UP, *beats(120, 1.0)], state)
    assert state.speed(is_recent=True) == state.speed(is_recent=False) == pytest.approx(1.0)


def test_fill_is_that_of_the_last_minutes() -> None:
    assert state_after([BEGIN, *UP, *beats(600, 1.0)]).fill() == pytest.approx(0.8)
    assert state_after([BEGIN, *UP]).fill() is None


def test_a_run_that_stands_still_has_no_speed_now() -> None:
    state = state_after([BEGIN, *UP, *beats(120, 1.0)])
    for second in range(150, 900, 30):
        state = state.take(event(second, "beat", frames=60, rows=0, padding=0))
    assert state.speed(is_recent=True) == 0
    assert state.speed(is_recent=False) == pytest.approx(60 / (870 - 60))


def test_commits_count_in_logs_without_beats() -> None:
    """As those of earlier versions are."""
    state = state_after([BEGIN, *(event(60 + 10 * number, "commit", unit="u", frames=5) for number in range(1, 7))])
    assert state.frames == 30
    assert state.speed(is_recent=True) == pytest.approx(0.5)
    assert state.speed(is_recent=False) == pytest.approx(30 / 120)


def test_a_state_that_is_told_is_the_state() -> None:
    """Whoever reads from there on knows what all before said, but for the speed of the last minutes."""
    whole = state_after([BEGIN, *UP, *GIVEN, event(64, "lost", reason="killed"), *beats(600, 1.0)])
    told = {"at": at(601), "event": "state", **whole.snapshot()}
    late = state_after([told])
    assert late.snapshot() == whole.snapshot()
    assert (late.begun, late.faults, late.fault) == (at(0), 1, "killed")
    assert late.speed(is_recent=False) == pytest.approx(540 / 541)
    assert state_after([told], whole).speed(is_recent=True) == pytest.approx(1.0, rel=0.01)  # marks are kept


@pytest.mark.parametrize(
    "foreign",
    [
        {"event": "worker", "worker": "w9"},
        {"event": "commit"},
        {"event": "commit", "unit": ["00000"], "frames": 3},
        {"event": "commit", "unit": "00000", "frames": -3},
        {"event": "beat", "frames": "many", "rows": 1, "padding": 1},
        {"event": "beat", "frames": 2**60, "rows": 1, "padding": 1},
        {"event": "beat", "frames": True, "rows": 1, "padding": 1},
        {"event": "state", "workers": [["w1"]], "hand": [], "begun": None, "ready": None},
        {"event": "state", "workers": [], "hand": [["u", "w", "2026-11-26T22:00:00"]], "begun": None, "ready": None},
        {"event": "state"},
        {"event": "begin", "planned": [1]},
        {"event": "song"},
    ],
)
def test_events_that_nobody_here_wrote_change_nothing(foreign: dict[str, Any]) -> None:
    state = state_after([BEGIN, *UP, *GIVEN, *beats(120, 1.0)])
    before = state.snapshot()
    assert state.take({"at": at(130), **foreign}).snapshot() == before


@pytest.mark.parametrize("odd", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_times_at_the_ends_of_the_calendar(odd: datetime) -> None:
    state = state_after([BEGIN, *UP, *beats(120, 1.0)])
    ends = [{"at": odd, "event": "beat", "frames": 61, "rows": 2400, "padding": 600} for _ in range(4)]
    assert state_after(ends, state).frames == 61
