"""The lock of an output in a local folder: `flock` on a file that names its holder. It goes with its process.

Its file's time is set anew every RENEW_S: other machines that share the folder see by it that the holder lives.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import TextIO

from render.core import StoreError, why_unreadable
from render.store.processes import holder_text, own_record

__all__ = ["file_lock"]

RENEW_S = 30.0


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold a lock. Raises StoreError when another process holds it, with its host, process and start.

    What a dead process left in the file holds nobody up.
    """
    if path.is_symlink() or (path.exists() and why_unreadable(path)):
        got = why_unreadable(path) or "a link to a file"
        raise StoreError(f"{path}: required a file of our own, got {got} (move it away)")
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            required = "required that no other run writes there, got one that does"
            raise StoreError(f"{path.parent.parent}: {required}: {_holder(file)}") from error
        file.truncate(0)
        file.write(json.dumps(own_record()))
        file.flush()
        ended = Event()
        renewal = Thread(target=_renew, args=(file.fileno(), ended), name="lock", daemon=True)
        renewal.start()
        try:
            yield
        finally:
            ended.set()
            renewal.join()  # before the file is closed: another file may get its number
            file.truncate(0)  # also after an error: the process may live on


def _renew(file: int, ended: Event) -> None:
    """Set the time of an open file anew, by the clock of its file system, until the lock is given back."""
    while not ended.wait(RENEW_S):
        with suppress(OSError):  # of a share that is away for a while
            os.utime(file)


def _holder(file: TextIO) -> str:
    """Return who holds the lock, by the file that the holder wrote."""
    file.seek(0)
    with suppress(ValueError, RecursionError):
        found = json.loads(file.read())
        if isinstance(found, dict) and found:
            return holder_text(found)
    return "a process that is just starting"
