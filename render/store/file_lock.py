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

__all__ = ["file_lock", "holder_of"]


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
        since = datetime.now(UTC).isoformat(timespec="seconds")
        file.truncate(0)
        file.write(json.dumps({"host": platform.node(), "process": os.getpid(), "since": since}))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _holder(file: TextIO) -> str:
    """Return who holds the lock, by the file that the holder wrote."""
    file.seek(0)
    try:
        return _told(json.loads(file.read()))
    except (ValueError, KeyError, TypeError):
        return "a process that is just starting"


def _told(holder: dict[str, object]) -> str:
    return f"process {holder['process']} on {holder['host']}, since {holder['since']}"


def holder_of(path: Path) -> str:
    """Return who holds a lock, by what its file says; "" for nobody, as for a dead process of this host.

    The lock is not tried: a run that begins at that moment would find it taken.
    """
    try:
        holder = json.loads(path.read_bytes()) if not why_unreadable(path) else {}
        lives = holder["host"] != platform.node() or Path(f"/proc/{int(holder['process'])}").exists()
        return _told(holder) if lives else ""
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
