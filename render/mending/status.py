"""The status of an output folder: what is done, how fast, by whom and until when, while a run goes on and afterwards.

All of it is read from the records and the log, so that it is the same from every machine that reads the output.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from render.core import ManifestError, ObjectPath, Receipt
from render.mending.steps import Left, next_steps
from render.plan import count_alike
from render.prepare import load_plan, planned_manifest
from render.store import Holder, Ledger, LogTail, RunState, SeenWorker, find_holder, reach_output

__all__ = ["Status", "UnitInHand", "Watch", "status_store"]

LATE_S = 90.0  # after which a driver that gives a sign of life every 30 s is not heard any more
LATE_IN_BUCKET_S = 180.0  # likewise where its log is put once a minute
SKEW_S = 5.0  # by which clocks may differ
GOING_ON = ("preparing", "starting", "rendering", "finishing")


@dataclass(frozen=True, slots=True)
class UnitInHand:
    """One unit that a worker has and that is not committed."""

    unit: str
    worker: str
    since: datetime
    is_starting: bool  # the worker is not up yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What an output folder says at one moment. Speeds are in frames a second."""

    out: Path
    at: datetime
    state: str  # preparing, starting, rendering or finishing; done, incomplete, stopped, died, or new
    planned: int | None  # frames; None where neither plan nor manifest tells it
    frames: int  # committed
    quarantined: int  # that wait for a retry
    blank: int  # committed frames of a single colour
    size_bytes: int
    damaged: int  # records that can't be used
    speed_now: float | None  # of the last minutes; None while no run goes on
    speed: float | None  # since the first worker of the last run was up
    left_s: float | None  # until the frames are done, at the present speed
    fill_now: float | None  # share of the places in batches that held an input in the last minutes, 0 … 1
    fill: float | None  # likewise, of all that is committed
    workers: tuple[SeenWorker, ...]  # those that are up
    in_hand: tuple[UnitInHand, ...]  # the oldest first
    stage: str  # what some worker does before it renders, such as compiling
    faults: int  # of the last run
    fault: str  # the last one
    holder: Holder | None  # of the lock: the driver of a run, or of one that died
    heard_s: float | None  # since the last event of the log
    reason: str  # why the last run stopped
    command: str  # to go on with the last run

    @property
    def is_going_on(self) -> bool:
        """True while a run goes on, as far as can be seen from here."""
        return self.state in GOING_ON

    @property
    def missing(self) -> int | None:
        """Planned frames that are neither committed nor in quarantine."""
        return None if self.planned is None else max(0, self.planned - self.frames - self.quarantined)

    @property
    def hosts(self) -> tuple[tuple[str, str, int], ...]:
        """The workers that are up, by host and card, with their number."""
        counts: dict[tuple[str, str], int] = {}
        for worker in self.workers:
            counts[worker.host, worker.card] = counts.get((worker.host, worker.card), 0) + 1
        return tuple((host, card, count) for (host, card), count in sorted(counts.items()))

    @property
    def next_steps(self) -> tuple[str, ...]:
        """What to do next, the most urgent first; nothing while a run goes on."""
        if self.is_going_on:
            return ()
        missing = self.missing if self.missing is not None else int(self.state in ("stopped", "died", "new"))
        is_cut_short = self.state in ("stopped", "died") or bool(self.reason)
        counts = {"missing": missing, "failed": self.quarantined, "blank": self.blank}
        left = Left(self.damaged, **counts, is_cut_short=is_cut_short)
        return next_steps(self.out, left, command=self.command)


def status_store(out: str | Path) -> Status:
    """Return the status of an output folder, from its records and its log; it may be in use. Changes nothing.

    Raises StoreError when `out` is not an output folder.
    """
    return Watch(out).look()


class Watch:
    """An output folder that is looked at again and again: what was read once is not read again."""

    def __init__(self, out: str | Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Raises StoreError when `out` is not an output folder."""
        self._out, self._now = reach_output(out), now
        self._ledger = Ledger(self._out)
        self._log = LogTail(self._ledger.folder.log)
        self._run = RunState()
        self._planned: tuple[str, int | None] = "", None  # fingerprint of the manifest, its frames
        load_plan(self._out)

    def look(self) -> Status:
        """Return the status now. Raises StoreError when the output is gone."""
        holder = find_holder(self._ledger.folder.lock)  # before the log: a run that has just ended has said so
        for event in self._log.read():
            self._run = self._run.take(event)
        records, faults = self._ledger.read_records()
        receipts = [receipt for receipt in records.values() if receipt is not None]
        frames = sum(receipt.frames for receipt in receipts)
        quarantined = sum(len(one.quarantined) for one in receipts if f"{one.unit}-r" not in records)
        planned, run, now = self._planned_frames(), self._run, self._now()
        left = None if planned is None else max(0, planned - frames - quarantined)
        heard_s = None if run.heard is None else (now - run.heard).total_seconds()
        state = self._state(holder, heard_s, left)
        is_own = state not in GOING_ON or holder is None or _is_of(run, holder)
        speed, is_open = run.speed(is_recent=False), state in GOING_ON and run.is_open and is_own
        speed_now = run.speed(is_recent=True) if is_open else None
        return Status(
            out=self._out,
            at=now,
            state=state,
            planned=planned,
            frames=frames,
            quarantined=quarantined,
            blank=sum(len({*one.blank} - {*one.quarantined}) for one in receipts),
            size_bytes=sum(one.size_bytes for one in receipts),
            damaged=len(faults),
            speed_now=speed_now,
            speed=speed,
            left_s=left / speed_now if is_open and left is not None and speed_now else None,
            fill_now=run.fill() if is_open else None,
            fill=_fill(receipts),
            workers=tuple(run.workers.values()) if is_open else (),
            in_hand=_in_hand(run) if is_open else (),
            stage=run.stage if is_open else "",
            faults=run.faults,
            fault=run.fault,
            holder=holder,
            heard_s=None if heard_s is None or not is_own else max(0.0, heard_s),
            reason=run.reason,
            command=run.command,
        )

    def _state(self, holder: Holder | None, heard_s: float | None, left: int | None) -> str:
        """Name what goes on, or how the last run ended."""
        run = self._run
        if holder is not None and self._is_alive(holder, heard_s):
            if not run.is_open or not _is_of(run, holder):  # the log may be that of an earlier run
                return "finishing" if run.ended and not left and _is_of(run, holder) else "preparing"
            return "rendering" if run.workers or run.frames else "starting"
        if left == 0 and not run.is_open:
            return "done"
        if run.is_open or holder is not None:
            return "died"
        if run.begun is None:
            return "new"
        return "stopped" if run.reason else "done" if left == 0 else "incomplete"

    def _is_alive(self, holder: Holder, heard_s: float | None) -> bool:
        """Return whether the driver lives. One on another machine tells it by its log and by the time of its lock.

        Times in the future are those of a clock that is off, and tell nothing.
        """
        if holder.lives is not None:
            return holder.lives
        late_s = LATE_IN_BUCKET_S if isinstance(self._out, ObjectPath) else LATE_S
        ages_s = [age_s for age_s in (heard_s, holder.renewed_s) if age_s is not None and age_s >= -SKEW_S]
        return min(ages_s, default=late_s) < late_s

    def _planned_frames(self) -> int | None:
        """Return the number of planned frames; of a plan that does not say, by counting those of its manifest once."""
        plan = load_plan(self._out)
        if plan.all_frames is not None:
            return plan.all_frames
        fingerprint = plan.fingerprint["manifest"]
        if self._planned[0] != fingerprint:
            try:
                count = count_alike(planned_manifest(self._out).alike(), plan.targets).frames
            except ManifestError:
                self._planned = fingerprint, None
            else:
                self._planned = fingerprint, count
        return self._planned[1]


def _is_of(run: RunState, holder: Holder) -> bool:
    """Return True for the run of the driver that holds the lock, False for an earlier one."""
    return not run.process or (run.host, run.process) == (holder.host, holder.process)


def _fill(receipts: list[Receipt]) -> float | None:
    rows = sum(receipt.rows for receipt in receipts)
    return rows / (rows + sum(receipt.padding for receipt in receipts)) if rows else None


def _in_hand(run: RunState) -> tuple[UnitInHand, ...]:
    """Return what the workers have, the oldest first."""
    found = [
        UnitInHand(unit, name, since, name not in run.workers)
        for unit, own in run.hand.items()
        for name, since in own.items()
    ]
    return tuple(sorted(found, key=lambda one: one.since))
