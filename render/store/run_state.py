"""The state of a run as its events tell it: who works on what, since when, and how fast. Standard library only.

The writer of the log keeps it, and puts it into the log as an event now and then, so that whoever reads the end of a long
log knows the state as well. The reader keeps it by the same code.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

__all__ = ["Mark", "RunState", "SeenWorker"]

WINDOW = timedelta(minutes=5)  # of the speed that counts as the present one
COUNT_MAX = 2**53  # of a number that is taken for one; anybody may have written to the log


@dataclass(frozen=True, slots=True)
class SeenWorker:
    """One worker that is up."""

    name: str
    host: str
    card: str  # its GPU or processor
    since: datetime


@dataclass(frozen=True, slots=True)
class Mark:
    """What a run had done by a time, since it began."""

    at: datetime
    frames: int  # finished
    rows: int  # network inputs computed
    padding: int  # places in batches that held copies


@dataclass(slots=True)
class RunState:
    """State of the last run of an output. Begin with an empty one, and give it the events in their order."""

    begun: datetime | None = None
    heard: datetime | None = None  # the last event
    ended: datetime | None = None
    reason: str = ""  # of a run that was stopped
    host: str = ""  # of the driver
    process: int = 0
    planned: int = 0  # frames of the whole output; 0 for unknown
    command: str = ""  # that goes on with the run
    ready: datetime | None = None  # when the first worker was up
    stage: str = ""  # what some worker does before it renders
    frames: int = 0  # finished in this run, whether or not they are committed by now
    rows: int = 0
    padding: int = 0
    faults: int = 0  # workers that were lost, and other things that the run went on after
    fault: str = ""  # the last one
    workers: dict[str, SeenWorker] = field(default_factory=dict)  # by name
    hand: dict[str, dict[str, datetime]] = field(
        default_factory=dict
    )  # unit → names of workers that have it, since when
    marks: deque[Mark] = field(default_factory=deque)  # of the last minutes, and the one before them

    @property
    def is_open(self) -> bool:
        """True for a run that has begun and not said that it ended."""
        return self.begun is not None and self.ended is None

    def take(self, event: Mapping[str, Any]) -> RunState:
        """Return the state after an event with its time as `at`. An event that is not as it should be changes nothing."""
        state = self
        try:
            if event["event"] == "begin":
                state = _begun(event)
            elif event["event"] == "state":
                state = _restored(event, self.marks)
            elif (handler := HANDLERS.get(event["event"])) is not None:
                handler(self, event)
            state.heard = event["at"]
        except (KeyError, TypeError, ValueError, AttributeError):
            return self
        return state

    def snapshot(self) -> dict[str, Any]:
        """Return the state as the values of an event `state`, as JSON has them."""
        return {
            **{name: getattr(self, name) for name in (*TEXTS, *COUNTS)},
            "begun": _text_of(self.begun),
            "ready": _text_of(self.ready),
            "workers": [[one.name, one.host, one.card, _text_of(one.since)] for one in self.workers.values()],
            "hand": [[unit, name, _text_of(at)] for unit, own in self.hand.items() for name, at in own.items()],
        }

    def speed(self, is_recent: bool) -> float | None:
        """Return frames a second, of the last minutes or since the first worker was up; None where nothing tells it.

        Where no worker's coming was told, the run's begin counts.
        """
        if not self.marks:
            return None
        last = self.marks[-1]
        first = self.marks[0] if is_recent else Mark(self.ready or self.begun or self.marks[0].at, 0, 0, 0)
        seconds = (last.at - first.at).total_seconds()
        return (last.frames - first.frames) / seconds if seconds > 0 else None

    def fill(self) -> float | None:
        """Return the share of places in batches that held an input in the last minutes, 0 … 1; None where none ran."""
        if not self.marks:
            return None
        rows, padding = (getattr(self.marks[-1], name) - getattr(self.marks[0], name) for name in ("rows", "padding"))
        return rows / (rows + padding) if rows + padding > 0 else None

    def add(self, frames: int, rows: int, padding: int) -> None:
        """Count what was done since the last event."""
        self.frames, self.rows, self.padding = self.frames + frames, self.rows + rows, self.padding + padding

    def _beat(self, event: Mapping[str, Any]) -> None:
        frames, rows, padding = (_count(event[name]) for name in ("frames", "rows", "padding"))
        self.frames, self.rows, self.padding = frames, rows, padding
        self.stage = str(event.get("stage", ""))
        self.mark(event["at"])

    def _worker(self, event: Mapping[str, Any]) -> None:
        name, at = str(event["worker"]), event["at"]
        self.workers[name] = SeenWorker(name, str(event["host"]), str(event["card"]), at)
        if self.ready is None:
            self.ready = at
            self.mark(at)

    def _given(self, event: Mapping[str, Any]) -> None:
        self.hand.setdefault(str(event["unit"]), {})[str(event["worker"])] = event["at"]

    def _gone(self, event: Mapping[str, Any]) -> None:
        name = str(event["worker"])
        self.workers.pop(name, None)
        for unit in [unit for unit, own in self.hand.items() if name in own]:
            del self.hand[unit][name]
            if not self.hand[unit]:
                del self.hand[unit]

    def _commit(self, event: Mapping[str, Any]) -> None:
        done = _count(event["done"]) if "done" in event else self.frames + _count(event["frames"])  # an older log's
        self.hand.pop(event["unit"], None)
        self.frames = max(self.frames, done)
        self.mark(event["at"])

    def _lost(self, event: Mapping[str, Any]) -> None:
        self.faults, self.fault = self.faults + 1, str(event.get("reason", ""))

    def _end(self, event: Mapping[str, Any]) -> None:
        if "frames" in event:
            self._beat(event)
        self.ended, self.reason = event["at"], str(event.get("reason", ""))
        self.workers.clear()
        self.hand.clear()

    def mark(self, at: datetime) -> None:
        """Keep what is done by a time, for the speed; the time until the first worker is up counts for none."""
        if self.ready is None and not self.frames:
            return
        self.marks.append(Mark(at, self.frames, self.rows, self.padding))
        while (
            len(self.marks) > 2 and at - self.marks[1].at >= WINDOW
        ):  # a time of a foreign log less WINDOW may be none
            self.marks.popleft()


TEXTS = ("host", "command", "stage", "fault")
COUNTS = ("process", "planned", "frames", "rows", "padding", "faults")
HANDLERS: dict[str, Callable[[RunState, Mapping[str, Any]], None]] = {
    "beat": RunState._beat,
    "worker": RunState._worker,
    "given": RunState._given,
    "gone": RunState._gone,
    "commit": RunState._commit,
    "lost": RunState._lost,
    "end": RunState._end,
    "stopped": RunState._end,
}


def _begun(event: Mapping[str, Any]) -> RunState:
    return _with_facts(RunState(begun=event["at"]), event)


def _restored(event: Mapping[str, Any], marks: deque[Mark]) -> RunState:
    """Return the state that an event has whole; it is said now and then in the middle of a run."""
    state = _with_facts(RunState(begun=_time_of(event["begun"]), ready=_time_of(event["ready"])), event)
    for name, host, card, since in event["workers"]:
        state.workers[str(name)] = SeenWorker(str(name), str(host), str(card), _time(since))
    for unit, name, at in event["hand"]:
        state.hand.setdefault(str(unit), {})[str(name)] = _time(at)
    state.marks = marks
    state.mark(event["at"])
    return state


def _with_facts(state: RunState, event: Mapping[str, Any]) -> RunState:
    for name in TEXTS:
        setattr(state, name, str(event.get(name, "")))
    for name in COUNTS:
        setattr(state, name, _count(event.get(name, 0)))
    return state


def _count(value: object) -> int:
    """Return a count. Raises ValueError for what can be none."""
    if type(value) is not int or not 0 <= value < COUNT_MAX:
        raise ValueError("required a count")
    return value


def _time(text: Any) -> datetime:
    """Return the time of a text. Raises TypeError or ValueError."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("required a time with its zone")
    return time


def _time_of(text: Any) -> datetime | None:
    return None if text is None else _time(text)


def _text_of(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat(timespec="milliseconds")
