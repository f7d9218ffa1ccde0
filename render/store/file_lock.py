"""The lock of an output in a local folder: `flock` on a file that names its holder. It goes with its process."""

from __future__ import annotations

import fcntl
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from render.core import StoreError, why_unreadable
from render.store.processes import machine, start_ticks

__all__ = ["file_lock"]


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
        file.write(json.dumps(_record()))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)  # also after an error: the process may live on


def _record() -> dict[str, object]:
    """Return what others read of this process; on the same machine they can tell whether it lives."""
    return {
        "host": platform.node(),
        "process": os.getpid(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "started": start_ticks(os.getpid()),
    }


def _holder(file: TextIO) -> str:
    """Return who holds the lock, by the file that the holder wrote."""
    file.seek(0)
    try:
        holder = json.loads(file.read())
        return f"process {holder['process']} on {holder['host']}, since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "a process that is just starting"
