"""Read the log of a run's events: whole, or its end as it grows. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from render.core import ObjectPath, why_unreadable

__all__ = ["TAIL_BYTES", "LogTail", "parse_event", "read_events"]

TAIL_BYTES = 2 * 2**20  # of a log that are read at first; the state of a run stands there at least once


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a log that have a time; torn and foreign lines are left out."""
    if not isinstance(path, ObjectPath) and why_unreadable(path):  # no run has written one; or it is none of ours
        return
    try:
        file = path.open(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    with file:
        for line in file:
            if (event := parse_event(line)) is not None:
                yield event


def parse_event(line: str | bytes) -> dict[str, Any] | None:
    """Return the event of a line, its time as `at`; None for a line that is none."""
    try:
        event = json.loads(line)
        event["at"] = datetime.fromisoformat(event["time"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return event if isinstance(event.get("event"), str) and event["at"].tzinfo is not None else None


class LogTail:
    """The end of a log, read on as the log grows. However long the log is, the first reading takes TAIL_BYTES of it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position: int | None = None  # up to which the log was read
        self._torn = b""  # a line whose end was not there yet

    def read(self) -> Iterator[dict[str, Any]]:
        """Yield the events since the last reading. Raises OSError when a bucket does not answer."""
        lines = (self._torn + self._new_bytes()).split(b"\n")
        self._torn = lines.pop()
        yield from filter(None, map(parse_event, lines))

    def _new_bytes(self) -> bytes:
        """Return what was added to the log; of a log that was put in the place of a longer one, its end."""
        if not isinstance(self._path, ObjectPath) and why_unreadable(self._path):
            return b""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return b""
        with file:
            size = file.seek(0, 2)
            if self._position is None or size < self._position:
                self._position, self._torn = max(0, size - TAIL_BYTES), b""
            start = max(self._position, size - TAIL_BYTES)  # who looks once a day need not read the day
            if start > self._position:
                self._torn = b""
            file.seek(start)
            data: bytes = file.read(size - start)
        self._position = start + len(data)
        return data
