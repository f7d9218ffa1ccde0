"""The driver's record of its workers. Standard library only."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from render.cluster.dispatch import Hand
from render.core import Unit, counted

__all__ = ["WorkerState", "occupation"]


@dataclass(eq=False)
class WorkerState:
    """The driver's record of one worker."""

    actor: Any  # Ray's handle
    hand: Hand  # the units that it holds
    refs: dict[Any, Unit] = field(default_factory=dict)  # Ray object reference of the receipt → unit
    poll: Any = None  # object reference of the report that it will give
    progress_s: float = field(default_factory=time.monotonic)  # when it last made progress, or was given its only unit
    started: bool = False  # it has answered, so its process and model are up


def occupation(workers: Sequence[WorkerState]) -> str:
    """Say what a run with these workers waits for."""
    starting = sum(not worker.started for worker in workers)
    if starting == len(workers):
        return f"{counted(starting, 'worker')} to start" if starting else "Ray to start"
    quiet = [time.monotonic() - worker.progress_s for worker in workers if worker.refs and worker.started]
    if not quiet:
        return "the last results"
    return f"{counted(len(quiet), 'worker')} at work, the last sign of life {max(0.0, min(quiet)):.0f} s ago"
