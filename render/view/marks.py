"""Marks of people: keep or reject, a rating, a note. They are in memory at once and in OUT/marks.parquet soon after."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

import pyarrow as pa

from render.catalog import MARKS, read_marks, write_marks
from render.store import OutputFolder

__all__ = ["NOTE_MAX", "Mark", "Marks"]

WRITE_S = 0.3  # after the first change that is not written
RETRY_S = 5.0  # after a write that failed
UNDO_MAX = 1000
NOTE_MAX = 2000  # characters
NAMES = ("mark", "rating", "note", "marked_at")


@dataclass(frozen=True, slots=True)
class Mark:
    """What people say of one frame."""

    mark: str | None = None  # keep or reject
    rating: int | None = None  # 1 … 5
    note: str | None = None
    marked_at: datetime | None = None

    def changed(self, values: Mapping[str, Any]) -> Mark:
        """Return the mark with some values changed; "" and null take a value away. Raises ValueError for a wrong one."""
        for name, value in values.items():
            if name not in NAMES[:3]:
                raise ValueError(f"required mark, rating or note, got {name!r}")
            if name == "mark" and value not in ("keep", "reject", "", None):
                raise ValueError(f"mark: required keep or reject, got {value!r}")
            if name == "rating" and not (value in ("", None) or (type(value) is int and 1 <= value <= 5)):
                raise ValueError(f"rating: required 1 to 5, got {value!r}")
            if name == "note" and not (value is None or (isinstance(value, str) and len(value) <= NOTE_MAX)):
                raise ValueError(f"note: required at most {NOTE_MAX} characters")
        if not _is_text(values.get("note")):
            raise ValueError("note: required text, got half of a surrogate pair")
        cleaned = {name: value or None for name, value in values.items()}
        return replace(self, marked_at=datetime.now(UTC), **cleaned)

    def as_json(self) -> dict[str, Any]:
        return {"mark": self.mark, "rating": self.rating, "note": self.note}


class Marks:
    """The marks of an output folder. Any thread may read and change them; one thread writes the file."""

    def __init__(self, out: Path, changed: Callable[[pa.Table], object]) -> None:
        """`changed` is called after each change, with the marks that it changed as a table."""
        self._out, self._changed = out, changed
        self._marks: dict[str, Mark] = {}
        self._undo: deque[dict[str, Mark]] = deque(maxlen=UNDO_MAX)
        self._lock = Lock()
        self._is_changed, self._is_closed = Event(), Event()
        self.problem = ""  # of the last write
        self._seen: object = None  # the file, as it was when it was read or written last
        self._take_file()
        self._writer = Thread(target=self._write_on, name="marks", daemon=True)
        self._writer.start()

    def of(self, key: str) -> Mark:
        """Return the mark of a frame's key."""
        return self._marks.get(key, Mark())

    def counts(self) -> dict[str, int]:
        """Return the numbers of keys that are kept, rejected, rated, and that have a note."""
        marks = [*self._marks.values()]
        found = {word: sum(one.mark == word for one in marks) for word in ("keep", "reject")}
        return found | {name: sum(getattr(one, name) is not None for one in marks) for name in ("rating", "note")}

    def change(self, keys: Sequence[str], values: Mapping[str, Any]) -> dict[str, Mark]:
        """Change the marks of some keys; returns them. Raises ValueError for values that are wrong."""
        with self._lock:
            before = {key: self.of(key) for key in keys}
            after = {key: one.changed(values) for key, one in before.items()}
            self._set(after)
            self._undo.append(before)
        return after

    def undo(self) -> dict[str, Mark]:
        """Take the last change back; returns the marks that it had changed, none when there was no change."""
        with self._lock:
            before = self._undo.pop() if self._undo else {}
            after = {key: replace(one, marked_at=datetime.now(UTC)) for key, one in before.items()}
            self._set(after)
        return after

    def _take_file(self) -> None:
        """Take in marks of the file that are newer than those in memory, unless it is as it was."""
        signature = _signature(self._out)
        if signature == self._seen:
            return
        newer = {}
        for row in read_marks(self._out).to_pylist():
            key, mark = row.pop("key"), Mark(**row)
            known = self._marks.get(key)
            if known is None or (mark.marked_at and (not known.marked_at or mark.marked_at > known.marked_at)):
                newer[key] = mark
        self._marks.update(newer)
        self._seen = signature

    def take_file(self, put: Callable[[pa.Table], object]) -> None:
        """Take in what another process has written, and put all marks into the catalog, which has those of the file."""
        with self._lock:
            self._take_file()
            if self._marks:
                put(_table(self._marks))

    def close(self) -> None:
        """Write what is not written yet, and end the thread."""
        self._is_closed.set()
        self._is_changed.set()
        self._writer.join()

    def _set(self, marks: Mapping[str, Mark]) -> None:
        table = _table(
            marks
        )  # before anything is changed: what no table takes would keep every later write from the file
        self._marks.update(marks)
        self._changed(table)
        self._is_changed.set()

    def _write_on(self) -> None:
        while not self._is_closed.is_set():
            self._is_changed.wait()
            self._is_closed.wait(RETRY_S if self.problem else WRITE_S)
            if self._is_changed.is_set():
                self._is_changed.clear()
                self._write()

    def _write(self) -> None:
        """Write the file, with what another process has put there meanwhile; tries again later when that fails."""
        try:
            with self._lock:
                if not self._marks:
                    return
                self._take_file()
                table = _table(self._marks)
            write_marks(self._out, table)
            self._seen = _signature(self._out)
            self.problem = ""
        except (OSError, ValueError) as error:
            self.problem = f"marks are not written: {error}"
            if not self._is_closed.is_set():
                self._is_changed.set()


def _table(marks: Mapping[str, Mark]) -> pa.Table:
    """Return marks by their keys as a table of the columns of MARKS."""
    rows = [(key, *astuple(one)) for key, one in marks.items()]
    columns = zip(*rows, strict=True) if rows else [[]] * len(MARKS)
    return pa.table([pa.array(column, of.type) for column, of in zip(columns, MARKS, strict=True)], schema=MARKS)


def _is_text(value: Any) -> bool:
    """Return False for a text that no file takes: JSON can say half of a surrogate pair."""
    return not isinstance(value, str) or not any("\ud800" <= sign <= "\udfff" for sign in value)


def _signature(out: Path) -> object:
    """Return what changes when the file is replaced; None where there is none."""
    try:
        found = OutputFolder(out).marks.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
