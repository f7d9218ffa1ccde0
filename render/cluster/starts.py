"""When a further worker may be started: not while starts fail, one at a time where Ray finds no room. No Ray, no clock."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["FAILED_STARTS_MAX", "Starts"]

FAILED_STARTS_MAX = (
    3  # workers in a row that do not start before the run ends, or others go on without them for a while
)
PAUSE_S = 60.0  # before the next start then; twice as long after each that fails, too
PAUSE_MAX_S = 3600.0


@dataclass
class Starts:
    """The starts of a run's workers so far."""

    failed: int = 0  # in a row
    is_full: bool = False  # some workers found no free CPUs or GPUs
    resume_s: float = -math.inf  # time.monotonic() before which no worker is to be started beside others

    def note_success(self) -> None:
        self.failed, self.resume_s = 0, -math.inf

    def note_failure(self, now_s: float) -> bool:
        """Note a worker that did not start. Returns True after too many in a row: then no other starts for a while."""
        self.failed += 1
        beyond = self.failed - FAILED_STARTS_MAX
        if beyond >= 0:
            self.resume_s = now_s + min(PAUSE_MAX_S, PAUSE_S * 2.0**beyond)
        return beyond >= 0

    def note_machines(self) -> None:
        """Note that machines have joined: there may be room, also for several at a time."""
        self.is_full, self.resume_s = False, -math.inf

    def may_start(self, workers: int, unplaced: int, most: int, now_s: float) -> bool:
        """Return whether to start one worker more beside `workers`, of which Ray has not placed some. `most` may be up."""
        if not workers:
            return True
        is_trying = self.is_full and unplaced > 0
        return workers < most and not is_trying and now_s >= self.resume_s
