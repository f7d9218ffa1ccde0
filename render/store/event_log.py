"""The log of a run's events, `OUT/.run/log.jsonl`: a JSON object a line, for a person and a program."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from threading import Event, Lock, Thread
from types import MappingProxyType
from typing import Any, TextIO
from uuid import uuid4

from render.core import Listener, ObjectPath, Receipt, Relay, without_secrets
from render.store.folder import OutputFolder
from render.store.run_state import RunState

__all__ = ["EventLog"]

BEAT_S = 30.0  # between two signs of life
PUT_S = 60.0  # between two puts of a bucket's log
STATE_BYTES = 2**18  # of a log, after which the run's state is told again; with many workers after more
STATE_SHARE = 4  # times its own length
REASON_MAX = 500  # characters
NOTHING: Mapping[str, Any] = MappingProxyType({})


class EventLog(Relay[Listener]):
    """Writer of the log, a context manager, and a listener that passes on what it hears of frames, stages and losses.

    Every event has `time` (UTC) and `event`. A run is told from `begin` to `end` or `stopped`; in between come `worker`,
    `given` and `gone`, `commit`, `lost`, every BEAT_S a `beat`, a sign of life with what is done so far, and now and then
    `state`, all of that at once, so that the end of a long log is enough. docs/store.md has their values.

    An event is one write: a kill leaves at most the last line torn. Of an output in a bucket, the log is continued in a
    local copy. That is put whole at the begin, every minute and in the end: a kill loses a minute of it. The log is no part
    of the truth: a run goes on where it can't be written.
    """

    def __init__(self, folder: OutputFolder, listener: Listener, run: Mapping[str, Any] = NOTHING) -> None:
        """`run` is what is known of the run: the `planned` frames, and the `command` that goes on with it."""
        super().__init__(listener)
        self._log, self._run = folder.log, run
        self._path = self._log
        if isinstance(self._log, ObjectPath):
            self._path = folder.scratch / f"log-{uuid4().hex[:8]}.jsonl"
        self._file: TextIO | None = None
        self._state = RunState()
        self._told_bytes = self._state_bytes = 0  # written since the state was told; of the state
        self._lock, self._ended = Lock(), Event()
        self._beats = Thread(target=self._beat, name="log", daemon=True)

    def __enter__(self) -> EventLog:
        try:
            if isinstance(self._log, ObjectPath):
                with suppress(FileNotFoundError):
                    self._log.download(self._path)
            self._file = self._path.open("a", encoding="utf-8", buffering=1)
        except OSError:
            return self
        self._add("begin", host=platform.node(), process=os.getpid(), **self._run)
        self._put()
        self._beats.start()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._ended.set()
        is_reachable = not isinstance(error, OSError)  # a bucket that does not answer is not asked again
        if self._beats.is_alive() and is_reachable:
            self._beats.join()  # it may be putting the log
        if error is None:
            self._add("end", **self._done())
        else:
            reason = f"{type(error).__name__}: {without_secrets(str(error))}".splitlines()[0].removesuffix(": ")
            self._add("stopped", reason=reason[:REASON_MAX], **self._done())
        if is_reachable:
            self._put()
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None
        if self._path != self._log:
            self._path.unlink(missing_ok=True)

    # What the driver tells.

    def committed(self, receipt: Receipt) -> None:
        """Note a unit that is committed now."""
        self._add(
            "commit",
            unit=receipt.unit,
            frames=receipt.frames,
            quarantined=len(receipt.quarantined),
            blank=len(receipt.blank),
            seconds=round(receipt.seconds, 3),
            rows=receipt.rows,
            padding=receipt.padding,
            bytes=receipt.size_bytes,
            done=self._state.frames,
            host=receipt.host,
            process=receipt.process,
        )

    def frames(self, count: int) -> None:
        self._count(frames=count)
        super().frames(count)

    def batches(self, rows: int, padding: int) -> None:
        self._count(rows=rows, padding=padding)
        super().batches(rows, padding)

    def stage(self, text: str) -> None:
        with self._lock:
            self._state.stage = text
        super().stage(text)

    def lost(self, reason: str) -> None:
        self._add("lost", reason=without_secrets(reason))
        super().lost(reason)

    def warn(self, text: str) -> None:
        self._add("warning", text=without_secrets(text))
        super().warn(text)

    def worker_up(self, name: str, host: str, card: str) -> None:
        """Note that a worker is ready: its process runs and its model is loaded."""
        self._add("worker", worker=name, host=host, card=card)

    def unit_given(self, unit: str, name: str) -> None:
        """Note that a worker has a unit now. Another one may have it, too."""
        self._add("given", unit=unit, worker=name)

    def worker_gone(self, name: str, reason: str) -> None:
        """Note that a worker is there no more, and holds nothing; an empty reason: it was let go."""
        self._add("gone", worker=name, reason=without_secrets(reason)[:REASON_MAX])

    def _count(self, frames: int = 0, rows: int = 0, padding: int = 0) -> None:
        with self._lock:
            is_first = frames > 0 and not self._state.frames
            self._state.add(frames, rows, padding)
        if is_first:
            self._add("beat", **self._done())

    def _done(self) -> dict[str, Any]:
        state = self._state
        return {"frames": state.frames, "rows": state.rows, "padding": state.padding, "stage": state.stage}

    # Writing.

    def _beat(self) -> None:
        """Give a sign of life every BEAT_S, and put a bucket's log every PUT_S."""
        unput_s = 0.0
        while not self._ended.wait(BEAT_S):
            self._add("beat", **self._done())
            unput_s += BEAT_S
            if unput_s >= PUT_S:
                unput_s = 0.0
                self._put()

    def _put(self) -> None:
        """Put a copy of the log as it is now into the bucket, if it belongs into one."""
        if not isinstance(self._log, ObjectPath) or self._file is None:
            return
        whole = self._path.with_suffix(".put")  # a file that grows while it is sent would not have the length announced
        with suppress(OSError):
            with self._lock:
                shutil.copyfile(self._path, whole)
            self._log.upload(whole)
        whole.unlink(missing_ok=True)

    def _add(self, event: str, **values: Any) -> None:
        with self._lock:
            if self._file is None:
                return
            now = datetime.now(UTC)
            time = now.isoformat(timespec="milliseconds")
            self._state = self._state.take({"at": now, "event": event, **values})
            self._write({"time": time, "event": event, **values})
            if self._told_bytes > max(STATE_BYTES, STATE_SHARE * self._state_bytes):
                self._state_bytes = self._write({"time": time, "event": "state", **self._state.snapshot()})
                self._told_bytes = 0

    def _write(self, fields: Mapping[str, Any]) -> int:
        """Write a line. Returns its length; where it can't be written, no more is."""
        line = json.dumps(fields)
        if self._file is None:
            return 0
        try:
            self._file.write(("" if fields["event"] != "begin" else self._line_end()) + line + "\n")
        except OSError:  # the disk is full: the commits tell the same
            self._file = None
        self._told_bytes += len(line) + 1
        return len(line) + 1

    def _line_end(self) -> str:
        """Return the line end that a killed run did not write; "" where none is missing."""
        with self._path.open("rb") as file:
            if file.seek(0, os.SEEK_END) == 0:
                return ""
            file.seek(-1, os.SEEK_END)
            return "" if file.read(1) == b"\n" else "\n"
