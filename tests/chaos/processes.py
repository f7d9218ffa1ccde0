"""Processes of a run: what they are, and which of them live. Linux only.

A process that calls `adopt_orphans` gets the orphans among its descendants as children of its own. So nothing that a run
starts can hide by outliving its parent, whatever it calls itself.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Process", "adopt_orphans", "descendants", "kill", "reap"]

PR_SET_CHILD_SUBREAPER = 36
ROLES = {  # by words of the command line; the first that fits
    "gcs_server": ("gcs/gcs_server",),
    "raylet": ("raylet/raylet",),
    "worker": ("RenderWorker",),
    "starting worker": ("default_worker.py",),
    "driver": ("-m render run",),
    "agent": ("Agent", "dashboard", "monitor.py", "agent/main.py", "ray::IDLE"),
}


@dataclass(frozen=True)
class Process:
    """A living process."""

    pid: int
    parent: int
    line: str  # command line
    age_s: float

    @property
    def role(self) -> str:
        return next((role for role, words in ROLES.items() if any(word in self.line for word in words)), "other")


def adopt_orphans() -> None:
    """Make this process the parent of its descendants' orphans."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap(ours: Iterable[int]) -> None:
    """Bury adopted children that have died; those in `ours` are waited for elsewhere."""
    ours = set(ours)
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        if pid not in ours and (state := _stat(pid)) and state == ("Z", os.getpid()):
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def descendants(root: int) -> list[Process]:
    """Return the living descendants of a process, without itself."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        if (state := _stat(pid)) and state[0] != "Z":
            children.setdefault(state[1], []).append(pid)
    found, waiting = [], [root]
    while waiting:
        parent = waiting.pop()
        for pid in children.get(parent, ()):
            with suppress(OSError):
                line = (Path("/proc") / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found.append(Process(pid, parent, line.strip(), _age_s(pid)))
            waiting.append(pid)
    return found


def kill(processes: Iterable[Process], sent: int = signal.SIGKILL) -> int:
    """Send a signal. Returns the number of processes that were there to get it."""
    hit = 0
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process.pid, sent)
            hit += 1
    return hit


def _age_s(pid: int) -> float:
    """Return the seconds since a process began. Raises OSError for one that is gone."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> tuple[str, int] | None:
    """Return state and parent; None for a process that is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, parent = text[text.rindex(")") + 2 :].split()[:2]
    return state, int(parent)
