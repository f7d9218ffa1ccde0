"""Render units on a cluster of workers, and report what happens meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from render.core import Listener, RunError, Unit, plain_reason
from render.prepare.job_plan import Prepared
from render.store import EventLog, Ledger, LogTail, RunState, with_split

__all__ = ["Report", "Silent", "plain_end", "render_units"]


class Report(Listener, Protocol):
    """The events of a run. Subclass nothing: any object with these methods is a report."""

    def begin(self, prepared: Prepared, frames_done: int) -> None:
        """Note that the job is checked and planned, and that `frames_done` frames are in the store already."""

    def animating(self, total: int) -> None:
        """Note that all frames are done, and that `total` animations follow."""

    def animation(self, path: Path) -> None:
        """Note that one more animation is written."""


class Silent:
    """A report that shows nothing."""

    def begin(self, prepared: Prepared, frames_done: int) -> None: ...
    def frames(self, count: int) -> None: ...
    def batches(self, rows: int, padding: int) -> None: ...
    def stage(self, text: str) -> None: ...
    def lost(self, reason: str) -> None: ...
    def waiting(self, text: str) -> None: ...
    def warn(self, text: str) -> None: ...
    def animating(self, total: int) -> None: ...
    def animation(self, path: Path) -> None: ...


@contextmanager
def plain_end() -> Iterator[None]:
    """Raise RunError for an output that can't be read or written any more: a bucket that does not answer, a full disk."""
    try:
        yield
    except BrokenPipeError:  # of whoever reads what a report prints
        raise
    except OSError as error:
        raise RunError(plain_reason(error)) from error


def render_units(
    prepared: Prepared, ledger: Ledger, units: Iterator[Unit], report: Report, check_lock: Callable[[], None]
) -> float:
    """Render and commit units. Returns the seconds since the first worker was ready.

    `check_lock` is called after every commit; it raises RunError when another driver has the output by now.
    """
    first = next(units, None)
    if first is None:
        _note_the_end(prepared, ledger, report)
        return 0.0
    from render.cluster import Cluster, RayMetrics, Setup

    job, force, labels = prepared.job, prepared.workforce, prepared.manifest.label_schema
    setup = Setup(
        models=prepared.models,
        out=ledger.folder.out,
        labels=with_split(labels) if prepared.plan.has_splits else labels,
        format=job.store.format,
        picture_metadata=job.store.picture_metadata,
        device=force.device,
        dtype=job.workers.dtype,
        threads=prepared.plan.threads,
        media=job.media_root,
        compiles=prepared.plan.compile,
        measure_rows=prepared.plan.measure_rows,
        blank=job.store.blank,
    )
    with (
        EventLog(ledger.folder, report, _facts(prepared)) as log,
        Cluster(setup, force, job.workers.address, job.workers.deadline_s) as cluster,
    ):
        listener = RayMetrics(log, ledger.folder.out.name) if job.workers.metrics else log
        for receipt in cluster.render(chain([first], units), listener):
            check_lock()
            listener.committed(receipt)
        now = time.monotonic()
        return now - (cluster.ready_s or now)


def _note_the_end(prepared: Prepared, ledger: Ledger, report: Report) -> None:
    """Log a run that has nothing to render if the one before was killed, so that it does not count as dead for good."""
    state = RunState()
    for event in LogTail(ledger.folder.log).read():
        state = state.take(event)
    if state.is_open:
        with EventLog(ledger.folder, report, _facts(prepared)):
            pass


def _facts(prepared: Prepared) -> dict[str, Any]:
    """Return what the log says of a run when it begins."""
    facts: dict[str, Any] = {"planned": prepared.counts.frames}
    return facts | {"command": prepared.command} if prepared.command else facts
