"""Who holds the lock of an output folder, as anybody sees it who may read there. Takes no lock. Standard library only."""

from __future__ import annotations

import json
import os
import platform
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from render.core import ObjectPath, why_unreadable
from render.store.lease import is_stale
from render.store.processes import holder_text, lives, machine

__all__ = ["Holder", "find_holder"]

RECORD_BYTES = 2**16  # of a lock, at most; a longer file is none of ours


@dataclass(frozen=True, slots=True)
class Holder:
    """The driver that holds an output folder, or held it when it died."""

    host: str
    process: int
    since: datetime | None
    lives: bool | None  # None where that can't be seen from here: a process of another machine, in a folder
    renewed_s: float | None = field(default=None, compare=False)  # age of the lock's last renewal, by the store's clock

    def __str__(self) -> str:
        since = self.since.isoformat(timespec="seconds") if self.since else None
        return holder_text({"process": self.process, "host": self.host, "since": since or "an unknown time"})


def find_holder(path: Path) -> Holder | None:
    """Return who holds the lock at a path, dead or alive; None for a lock that nobody has, or that is just being taken.

    Raises OSError when a bucket does not answer.
    """
    try:
        if isinstance(path, ObjectPath):
            age_s = path.facts().age_s
            found = _fields(path.read_bytes())
            return _holder(found, not is_stale(found, age_s), age_s) if found else None
        if why_unreadable(path):
            return None
        with path.open("rb") as file:
            age_s = time.time() - os.fstat(file.fileno()).st_mtime
            found = _fields(file.read(RECORD_BYTES))
    except FileNotFoundError:
        return None
    return _holder(found, _lives(found), age_s) if found else None


def _fields(data: bytes) -> dict[str, Any]:
    with suppress(ValueError, RecursionError):
        found = json.loads(data)
        if isinstance(found, dict):
            return found
    return {}


def _lives(found: dict[str, Any]) -> bool | None:
    """Return whether the process of a local lock lives, None for one of another machine or container."""
    is_here = found.get("machine") == machine() if "machine" in found else found.get("host") == platform.node()
    return lives(found.get("process"), found.get("started")) if is_here else None


def _holder(found: dict[str, Any], alive: bool | None, renewed_s: float | None) -> Holder:
    since = None
    with suppress(KeyError, TypeError, ValueError):
        since = datetime.fromisoformat(found["since"])
    process = found.get("process")
    return Holder(
        host=str(found.get("host", "")),
        process=process if isinstance(process, int) else 0,
        since=since if since is not None and since.tzinfo is not None else None,
        lives=alive,
        renewed_s=renewed_s,
    )
