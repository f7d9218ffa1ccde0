"""The speed of an output's runs over time, by the log of their events, which is read and not held."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from math import floor
from pathlib import Path
from typing import Any

from render.core import local_copy
from render.store import read_events

__all__ = ["Pace", "log_events", "pace_of"]

Event = dict[str, Any]

BINS = 24  # stretches of time whose speed is given
SHORTEST = 1e-3  # of a stretch: what a unit takes at least


@dataclass(frozen=True, slots=True)
class Pace:
    """Speed of the runs in one stretch of time. The frames of a unit count evenly over the time that it took."""

    since: datetime
    seconds: float
    frames: float

    @property
    def frames_per_s(self) -> float:
        return self.frames / self.seconds


@contextmanager
def log_events(log: Path) -> Iterator[Callable[[], Iterator[Event]]]:
    """Give a function that reads the events of a log, again at each call; one in a bucket is fetched once."""
    with ExitStack() as held:
        file = log
        with suppress(FileNotFoundError):
            file = held.enter_context(local_copy(log))
        yield partial(read_events, file)


def pace_of(events: Callable[[], Iterable[Event]]) -> Iterator[Pace]:
    """Yield the speed in equal stretches from the first to the last event of the log, those without commits included."""
    first = last = None
    any_commit = False
    for event in events():
        first = min(first or event["at"], event["at"])
        last = max(last or event["at"], event["at"])
        any_commit |= _is_commit(event)
    if first is None or last is None or not any_commit:
        return
    width = max((last - first).total_seconds(), 1.0) / BINS
    frames = [0.0] * BINS
    for event in filter(_is_commit, events()):
        end = (event["at"] - first).total_seconds() / width
        begin = max(end - max(_seconds(event) / width, SHORTEST), min(0.0, end - SHORTEST))
        for place in range(floor(begin), floor(end) + 1):
            part = min(end, place + 1) - max(begin, place)
            frames[min(max(place, 0), BINS - 1)] += event["frames"] * part / (end - begin)
    for place, count in enumerate(frames):
        yield Pace(first + timedelta(seconds=place * width), width, count)


def _is_commit(event: Event) -> bool:
    frames: Any = event.get("frames")
    return event["event"] == "commit" and type(frames) is int and 0 <= frames < 2**53  # anybody may have written to it


def _seconds(event: Event) -> float:
    """Return the seconds that a unit took; 0 where the log has no such number."""
    found: Any = event.get("seconds")
    return float(found) if isinstance(found, int | float) and 0 <= found < 2**53 else 0.0
