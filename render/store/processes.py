"""Processes of this machine, as other processes of it may know them. Standard library only."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["lives", "machine", "start_ticks"]


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
