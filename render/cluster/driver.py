"""Workers on Ray, and what happens when one dies. The only file that imports ray at run time.

Ray restarts and retries nothing (`max_restarts=0`, `max_task_retries=0`); the policy is this file's. A worker that dies
or falls silent is replaced and its units are issued again. A unit that was in the hands of two dead workers is split,
until the frame that kills is alone; that one goes to quarantine. Commits are exclusive, so a unit that is rendered twice
is stored once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns on machines without GPUs

import ray
from ray._private import ray_constants
from ray.exceptions import RayActorError, RayError, RayTaskError

from render.cluster.signals import sigterm_kept
from render.cluster.worker import Progress, Setup, Worker
from render.core import ModelError, Receipt, RunError, StoreError, Unit
from render.job import Workforce
from render.store import Failure, Ledger, write_quarantine

__all__ = ["Cluster", "Watch"]

UNITS_AHEAD = 2  # in the hands of a worker
DEATHS = 2  # of workers with a unit before it is split
FAILED_STARTS = 3  # in a row before the run is given up
POLL_S = 0.5
LOOPBACK_SWITCH = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


class Watch(Protocol):
    """What is told of the workers."""

    def frames(self, count: int) -> None:
        """So many more frames are finished."""

    def lost(self, reason: str) -> None:
        """A worker died or fell silent; what it had is rendered again."""


class _Actor:
    """A worker in a process of its own. Its methods only wait; threads of the worker do the work."""

    def __init__(self, setup: Setup, model: str) -> None:
        self._worker = Worker(setup, model)

    async def render(self, unit: Unit) -> Receipt:
        return await asyncio.wrap_future(self._worker.submit(unit))

    async def progress(self) -> Progress:
        return self._worker.progress()


@dataclass(eq=False)
class _Member:
    """The driver's view of one worker."""

    handle: Any  # of the actor
    model: str  # of the unit that it was given last
    units: dict[Any, Unit] = field(default_factory=dict)  # object ref → unit
    poll: Any = None
    polled_s: float = 0.0
    alive_s: float = field(default_factory=time.monotonic)  # when it last got something done, or was given something
    started: bool = False
    frames: int = 0  # finished


class Cluster:
    """A running Ray with workers. Use as a context manager: a local Ray ends with it."""

    def __init__(self, setup: Setup, workforce: Workforce, address: str | None, deadline_s: float) -> None:
        self._setup, self._workforce, self._address, self._deadline_s = setup, workforce, address, deadline_s
        self._ledger = Ledger(setup.out)
        self._members: list[_Member] = []
        self._again: deque[Unit] = deque()
        self._deaths: Counter[str] = Counter()
        self._failed_starts = 0
        self._crowded = False  # whether workers were let go that had found no room
        self.ready_s: float | None = None  # time.monotonic() when the first worker was ready
        self._folder: str | None = None
        self._ours = False

    def __enter__(self) -> Cluster:
        self._ours = not ray.is_initialized()
        with sigterm_kept():
            if self._ours and self._address is None:
                self._folder = tempfile.mkdtemp(prefix="render-")
                _start_local(self._workforce, self._folder)
            elif self._ours:
                ray.init(address=self._address, log_to_driver=False, logging_level=logging.ERROR)
        return self

    def __exit__(self, *_: object) -> None:
        for member in self._members:
            ray.kill(member.handle)
        self._members.clear()
        if self._ours:
            with sigterm_kept():
                ray.shutdown()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def render(self, units: Iterator[Unit], watch: Watch) -> Iterator[Receipt]:
        """Render units and yield their receipts as they are committed.

        Raises RunError where the run can't go on: workers that do not start, shards that can't be written.
        """
        count = self._count()
        while True:
            self._assign(units, count)
            if self._take_back():
                self._assign(units, count)
            refs = [ref for member in self._members for ref in member.units]
            if not refs:
                return
            done, _ = ray.wait(refs, timeout=POLL_S)
            self._poll(watch)  # first: a worker that died a moment after it was up has started
            for ref in done:
                yield from self._settle(ref, watch)
            yield from self._see_to_silent(watch)

    def _count(self) -> int:
        if self._workforce.count is not None:
            return self._workforce.count
        has: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        rooms = has.get("CPU", 0) / self._workforce.threads
        if self._workforce.gpus:
            rooms = min(rooms, has.get("GPU", 0) / self._workforce.gpus)
        if rooms < 1:
            raise RunError(
                f"workers: required {self._workforce.threads} CPUs and {self._workforce.gpus:g} GPUs, got {has}"
            )
        return int(rooms)

    def _assign(self, units: Iterator[Unit], count: int) -> None:
        """Give units to the workers that have least in hand, and hire workers while there is something for them.

        Units come model by model, so that a worker changes its model about once for each of the job's. Among workers
        with as much in hand one of the unit's model goes first; to wait for one would cost more than it saves.
        """
        while (self._may_hire(count) or any(len(m.units) < UNITS_AHEAD for m in self._members)) and (
            unit := self._again.popleft() if self._again else next(units, None)
        ):
            if self._may_hire(count) and all(member.units for member in self._members):
                self._members.append(self._hire(unit))
            loads = [(len(member.units), member.model != unit.group[0]) for member in self._members]
            member = self._members[loads.index(min(loads))]
            member.model = unit.group[0]
            if not member.units:
                member.alive_s = time.monotonic()
            member.units[member.handle.render.remote(unit)] = unit

    def _take_back(self) -> bool:
        """Take units from workers that are not up yet while another has nothing to do: with a lost node went their room."""
        late = [member for member in self._members if member.units and not member.started]
        if not late or all(member.units for member in self._members if member.started):
            return False
        self._let_go(late)
        return True

    def _see_to_silent(self, watch: Watch) -> Iterator[Receipt]:
        """Replace workers that have been silent for too long; where others are up, one that is not has found no room."""
        silent = [m for m in self._members if m.units and time.monotonic() - m.alive_s > self._deadline_s]
        waiting = [m for m in silent if not m.started] if any(m.started for m in self._members) else []
        self._crowded = self._crowded or bool(waiting)
        self._let_go(waiting)
        for member in silent:
            if member not in waiting:
                yield from self._replace(member, f"nothing done for {self._deadline_s:g} s", watch)

    def _let_go(self, late: list[_Member]) -> None:
        """Let workers go that are not up, which is no failure, and have their units given to others."""
        for member in late:
            self._members.remove(member)
            ray.kill(member.handle)
            self._again.extend(member.units.values())

    def _may_hire(self, count: int) -> bool:
        """Whether there are fewer workers than asked for; where there was no room, one at a time looks for some."""
        looking = self._crowded and not all(member.started for member in self._members)
        return len(self._members) < count and not looking

    def _hire(self, unit: Unit) -> _Member:
        """A new worker that begins with the model of a unit."""
        force = self._workforce
        actor = ray.remote(num_cpus=force.threads, num_gpus=force.gpus, max_restarts=0, max_task_retries=0)(_Actor)
        handle: Any = actor.remote(self._setup, unit.group[0])
        up = handle.progress.remote()  # its answer, before any unit's, says that the worker is up
        return _Member(handle, unit.group[0], poll=up)

    def _settle(self, ref: Any, watch: Watch) -> Iterator[Receipt]:
        """Take the outcome of a unit."""
        member = next((m for m in self._members if ref in m.units), None)
        if member is None:  # its worker was replaced a moment ago
            return
        try:
            receipt: Receipt = ray.get(ref)
        except RayActorError as error:
            yield from self._replace(member, str(error), watch)
        except RayTaskError as error:
            cause = error.as_instanceof_cause()  # type: ignore[no-untyped-call]
            member.started = not isinstance(cause, ModelError)  # without its next model it is as one that did not start
            if isinstance(cause, (OSError, StoreError, MemoryError)):
                raise RunError(f"unit {member.units[ref].id}: {_last_line(error)}") from error
            yield from self._replace(member, str(error), watch)
        else:
            del member.units[ref]
            self._failed_starts = 0
            yield receipt

    def _replace(self, member: _Member, reason: str, watch: Watch) -> Iterator[Receipt]:
        """Let a worker go, and see to the units it had: again, in halves, or in quarantine."""
        self._failed_starts = 0 if member.started else self._failed_starts + 1
        if self._failed_starts >= FAILED_STARTS:
            raise RunError(f"workers: {FAILED_STARTS} in a row did not start: {_last_line(reason)}")
        watch.lost(_last_line(reason))
        self._members.remove(member)
        ray.kill(member.handle)
        for unit in reversed(member.units.values()):
            self._deaths[unit.id] += member.started
            if self._deaths[unit.id] < DEATHS:
                self._again.appendleft(unit)
            elif len(unit.frames) > 1:
                if self._ledger.split(unit):
                    self._again.extendleft(reversed(unit.halves()))
            else:
                yield from self._quarantine(unit, reason)

    def _quarantine(self, unit: Unit, reason: str) -> Iterator[Receipt]:
        write_quarantine(self._ledger, unit, {0: Failure(f"{DEATHS} workers died of it: {reason}")})
        receipt = Receipt(unit.id, None, 0, 0, "", 0.0, unit.batch_rows, quarantined=(0,))
        if self._ledger.commit(receipt):
            yield receipt

    def _poll(self, watch: Watch) -> None:
        """Ask every worker how far it is; what it has not answered is not asked again."""
        now = time.monotonic()
        for member in self._members:
            if member.poll is None and now - member.polled_s >= POLL_S:
                member.poll, member.polled_s = member.handle.progress.remote(), now
            elif member.poll is not None and ray.wait([member.poll], timeout=0)[0]:
                poll, member.poll = member.poll, None
                try:
                    progress: Progress = ray.get(poll)
                except RayError:  # its units tell more
                    continue
                if not member.started:
                    member.started, self._failed_starts, member.alive_s = True, 0, now
                    self.ready_s = self.ready_s or now - progress.up_s
                member.alive_s = max(member.alive_s, now - progress.idle_s)
                watch.frames(progress.frames - member.frames)
                member.frames = progress.frames


def _start_local(force: Workforce, folder: str) -> None:
    """Start a Ray for this process alone, on loopback, its files in `folder`."""
    # Ray replaces 127.0.0.1 by the machine's address unless clusters are switched off: by this variable, which it has read
    # into the constant when it was imported, and which the processes that it starts read.
    enabled, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    os.environ[LOOPBACK_SWITCH] = "0"
    try:
        ray.init(
            address="local",
            num_cpus=(force.count or 1) * force.threads,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=128 * 2**20,
            _node_ip_address="127.0.0.1",
            _temp_dir=folder,
        )
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = enabled
        del os.environ[LOOPBACK_SWITCH]


def _last_line(error: object) -> str:
    """What an error says in the end, without Ray's story of how it came here and its guesses at why."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = next((line for line in reversed(lines) if "Error" in line), lines[-1] if lines else repr(error))
    return last.partition(" Some common causes include")[0]
