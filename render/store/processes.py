"""Processes of this machine, as other processes of it may know them. Standard library only."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["holder_text", "lives", "machine", "own_record", "start_ticks"]


def own_record() -> dict[str, Any]:
    """Return what the lock of an output says of this process; on the same machine others can tell whether it lives."""
    return {
        "host": platform.node(),
        "process": os.getpid(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "started": start_ticks(os.getpid()),
    }


def holder_text(record: Mapping[str, Any]) -> str:
    """Return the record of a lock's holder as messages name it."""
    return f"process {record.get('process')} on {record.get('host')}, since {record.get('since')}"


def machine() -> str:
    """Name this boot of this machine, and the space in which its process ids count: containers have their own."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot} {os.readlink('/proc/self/ns/pid')}"


def lives(process: object, started: object = None) -> bool:
    """Return True for the id of a living process of this machine; with `started`, of the one that began at these ticks."""
    if not isinstance(process, int):
        return False
    ticks = start_ticks(process)
    return ticks is not None and started in (None, ticks)


def start_ticks(process: int) -> int | None:
    """Return when a process began, in clock ticks since the machine's boot; None for one that is not there.

    Ids are given again, so an id alone does not name a process for ever. The number is the 22nd of `/proc/ID/stat`; the
    second is the program's name in brackets, which may hold blanks and brackets itself.
    """
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        return int(stat.rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None
