"""The log of a run's events, `OUT/.run/log.jsonl`: a JSON object a line, for a person and a program."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TextIO
from uuid import uuid4

from render.core import ObjectPath, Receipt, why_unreadable, without_secrets
from render.store.folder import OutputFolder

__all__ = ["EventLog", "read_events"]

PUT_S = 60.0  # between two puts of a bucket's log


class Listener(Protocol):
    """Receiver of the workers' progress and losses."""

    def frames(self, count: int) -> None: ...
    def batches(self, rows: int, padding: int) -> None: ...
    def stage(self, text: str) -> None: ...
    def lost(self, reason: str) -> None: ...
    def waiting(self, text: str) -> None: ...
    def warn(self, text: str) -> None: ...


class EventLog:
    """Writer of the log, a context manager, and a listener that passes on what it hears.

    Every event has `time` (UTC) and `event`: `begin` (host, process), `commit` (unit, frames, quarantined, blank, seconds,
    host, process), `lost` (reason), `warning` (text), and `end` or `stopped` (reason). An event is one write: a kill leaves
    at most the last line torn. Of an output in a bucket, the log is continued in a local copy. That is put whole at the
    begin, every minute and in the end: a kill loses a minute of it. The log is no part of the truth: a run goes on where it
    can't be written.
    """

    def __init__(self, folder: OutputFolder, listener: Listener) -> None:
        self._log, self._listener = folder.log, listener
        self._path = self._log
        if isinstance(self._log, ObjectPath):
            self._path = folder.scratch / f"log-{uuid4().hex[:8]}.jsonl"
        self._file: TextIO | None = None
        self._put_s = time.monotonic()

    def __enter__(self) -> EventLog:
        try:
            if isinstance(self._log, ObjectPath):
                with suppress(FileNotFoundError):
                    self._log.download(self._path)
            self._file = self._path.open("a", encoding="utf-8", buffering=1)
        except OSError:
            return self
        self._add("begin", host=platform.node(), process=os.getpid())
        self._put()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is None:
            self._add("end")
        else:
            self._add("stopped", reason=without_secrets(f"{type(error).__name__}: {error}".splitlines()[0]))
        if self._file is not None:
            self._file.close()
        if not isinstance(error, OSError):  # a bucket that does not answer is not asked again
            self._put()
        if self._path != self._log:
            self._path.unlink(missing_ok=True)

    def committed(self, receipt: Receipt) -> None:
        """Note a unit that is committed now."""
        self._add(
            "commit",
            unit=receipt.unit,
            frames=receipt.frames,
            quarantined=len(receipt.quarantined),
            blank=len(receipt.blank),
            seconds=round(receipt.seconds, 3),
            host=receipt.host,
            process=receipt.process,
        )
        if time.monotonic() - self._put_s > PUT_S:
            self._put()

    def frames(self, count: int) -> None:
        self._listener.frames(count)

    def batches(self, rows: int, padding: int) -> None:
        self._listener.batches(rows, padding)

    def stage(self, text: str) -> None:
        self._listener.stage(text)

    def lost(self, reason: str) -> None:
        self._add("lost", reason=without_secrets(reason))
        self._listener.lost(reason)

    def waiting(self, text: str) -> None:
        self._listener.waiting(text)

    def warn(self, text: str) -> None:
        self._add("warning", text=text)
        self._listener.warn(text)

    def worker_up(self, name: str, host: str, card: str) -> None: ...
    def unit_given(self, unit: str, name: str) -> None: ...
    def worker_gone(self, name: str, reason: str) -> None: ...

    def _put(self) -> None:
        """Put the local copy into the bucket, if there is one."""
        if isinstance(self._log, ObjectPath) and self._file is not None:
            with suppress(OSError):
                self._log.upload(self._path)
            self._put_s = time.monotonic()

    def _add(self, event: str, **values: Any) -> None:
        if self._file is None:
            return
        line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **values})
        try:
            self._file.write(("" if event != "begin" else self._line_end()) + line + "\n")
        except OSError:  # the disk is full: the commits tell the same
            self._file = None

    def _line_end(self) -> str:
        """Return the line end that a killed run did not write; "" where none is missing."""
        with self._path.open("rb") as file:
            if file.seek(0, os.SEEK_END) == 0:
                return ""
            file.seek(-1, os.SEEK_END)
            return "" if file.read(1) == b"\n" else "\n"


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
            try:
                event = json.loads(line)
                event["at"] = datetime.fromisoformat(event["time"])
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
            if isinstance(event.get("event"), str) and event["at"].tzinfo is not None:
                yield event
