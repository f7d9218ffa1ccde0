"""The report of an output folder: what the night did, what failed and why, and what to do next."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import floor
from pathlib import Path
from typing import Any

import pyarrow as pa

from render.core import ManifestError, Receipt, file_sizes
from render.mending.inspect import Finding, Inspection, file_findings, manifest_finding
from render.mending.look import Looker
from render.mending.steps import next_steps
from render.plan import plan_units
from render.prepare import load_plan, planned_manifest
from render.store import Ledger, is_damage, open_parquet, reach_output, read_events

__all__ = ["Failed", "NightReport", "Pace", "report_store"]

SLOWEST = 5  # units that are named
BINS = 24  # stretches of time whose speed is given
SHORTEST = 1e-3  # of a stretch: what a unit takes at least
FREQUENT = {"commit", "given", "beat", "state"}  # events that a report does not list
ERROR_LINE = re.compile(r"([A-Za-z_][\w.]*)(?::|$)")
QUARANTINE = ("walk", "frame", "row", "prompt", "error", "tries", "host", "memory_bytes")


@dataclass(frozen=True, slots=True)
class Failed:
    """One frame in quarantine."""

    walk: str
    frame: int
    row: int  # of the manifest
    prompt: str
    error: str  # class of the error
    line: str  # of the traceback that names the error
    tries: int  # in all runs
    host: str
    memory_bytes: int  # largest memory of the worker's process until then


@dataclass(frozen=True, slots=True)
class Pace:
    """Speed of the runs in one stretch of time. The frames of a unit count evenly over the time that it took."""

    since: datetime
    seconds: float
    frames: float

    @property
    def frames_per_s(self) -> float:
        return self.frames / self.seconds


@dataclass(frozen=True, slots=True)
class NightReport:
    """What the records and the log of an output folder say."""

    out: Path
    frames: int  # committed
    missing: int  # planned frames that were never committed; 0 if the manifest can't be read
    blank: int  # committed frames of a single colour
    size_bytes: int
    seconds: float  # of workers, summed over the units
    fill: float  # share of the places in batches that held an input, 0 … 1
    waiting_s: float  # seconds in which a worker had no frame, summed over the workers
    hosts: tuple[tuple[str, int], ...]  # (host, frames), the most first
    slowest: tuple[Receipt, ...]  # by seconds a frame
    failed: tuple[Failed, ...]
    damage: tuple[Finding, ...]  # by a quick look: records, missing files and sizes
    pace: tuple[Pace, ...]
    events: tuple[
        dict[str, Any], ...
    ]  # of the log, but what comes all the time: begins, ends, workers' comings and losses

    @property
    def next_steps(self) -> tuple[str, ...]:
        """What to do next, the most urgent first; each with a command."""
        return next_steps(self.out, len(self.damage), self.missing, len(self.failed), self.blank)


def report_store(out: str | Path) -> NightReport:
    """Report on an output folder from its records, its quarantine and its log; no image is read.

    Raises StoreError when `out` is not an output folder.
    """
    out = reach_output(out)
    plan, ledger = load_plan(out), Ledger(out)
    records, _ = ledger.read_records()
    receipts = [receipt for receipt in records.values() if receipt is not None]
    waiting: set[tuple[str, int]] | None = None
    try:
        units = plan_units(planned_manifest(out).walks, plan)
        inspection = Inspection(ledger, units, Looker(file_sizes(ledger.folder.data)))
        findings = list(inspection)
        waiting, missing = inspection.in_quarantine, inspection.uncommitted - len(inspection.in_quarantine)
    except ManifestError as error:
        findings = [manifest_finding(error), *file_findings(ledger)]
        missing = 0
    rows = sum(receipt.rows for receipt in receipts)
    events = list(read_events(ledger.folder.log))
    return NightReport(
        out=out,
        frames=sum(receipt.frames for receipt in receipts),
        missing=missing,
        blank=sum(len({*receipt.blank} - {*receipt.quarantined}) for receipt in receipts),
        size_bytes=sum(receipt.size_bytes for receipt in receipts),
        seconds=sum(receipt.seconds for receipt in receipts),
        fill=rows / max(1, rows + sum(receipt.padding for receipt in receipts)),
        waiting_s=sum(receipt.waiting_s for receipt in receipts),
        hosts=_hosts(receipts),
        slowest=tuple(sorted(filter(_is_timed, receipts), key=_seconds_a_frame, reverse=True)[:SLOWEST]),
        failed=tuple(_failed(ledger.folder.quarantine, waiting)),
        damage=tuple(one for one in findings if one.kind in ("corrupt", "twice", "extra")),
        pace=tuple(_pace(events)),
        events=tuple(event for event in events if event["event"] not in FREQUENT),
    )


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**53  # anybody may have written to the log


def _is_timed(receipt: Receipt) -> bool:
    return receipt.frames > 0 and receipt.seconds > 0


def _seconds_a_frame(receipt: Receipt) -> float:
    return receipt.seconds / receipt.frames


def _hosts(receipts: Iterable[Receipt]) -> tuple[tuple[str, int], ...]:
    frames: Counter[str] = Counter()
    for receipt in receipts:
        frames[receipt.host or "unknown"] += receipt.frames
    return tuple(frames.most_common())


def _pace(events: Sequence[dict[str, Any]]) -> Iterator[Pace]:
    """Yield the speed in equal stretches from the first to the last event of the log, those without commits included."""
    commits = [event for event in events if event["event"] == "commit" and _is_count(event.get("frames"))]
    if not commits:
        return
    first = min(event["at"] for event in events)
    seconds = max((max(event["at"] for event in events) - first).total_seconds(), 1.0)
    width = seconds / BINS
    frames = [0.0] * BINS
    for event in commits:
        end = (event["at"] - first).total_seconds() / width
        begin = max(end - max(_seconds(event) / width, SHORTEST), min(0.0, end - SHORTEST))
        for place in range(floor(begin), floor(end) + 1):
            part = min(end, place + 1) - max(begin, place)
            frames[min(max(place, 0), BINS - 1)] += event["frames"] * part / (end - begin)
    for place, count in enumerate(frames):
        yield Pace(first + timedelta(seconds=place * width), width, count)


def _seconds(event: dict[str, Any]) -> float:
    """Return the seconds that a unit took; 0 where the log has no such number."""
    found: Any = event.get("seconds")
    return float(found) if isinstance(found, int | float) and 0 <= found < 2**53 else 0.0


def _failed(folder: Path, waiting: set[tuple[str, int]] | None) -> Iterator[Failed]:
    """Yield the frames in quarantine, by walk and frame, each with its last failure; None takes all that ever failed."""
    last: dict[tuple[str, int], dict[str, Any]] = {}
    tries: Counter[tuple[str, int]] = Counter()
    for path in sorted(folder.glob("*.parquet"), key=lambda path: path.stat().st_mtime_ns):
        try:
            rows = open_parquet(path).read(columns=list(QUARANTINE)).to_pylist()
        except (OSError, pa.ArrowException) as error:
            if not is_damage(path, error):
                raise
            continue  # it holds nothing that is needed for rendering
        for row in rows:
            place = row["walk"], row["frame"]
            tries[place] += row["tries"]
            last[place] = row
    for place, row in sorted(last.items()):
        if waiting is None or place in waiting:
            kind, line = error_of(row["error"])
            values = {name: row[name] for name in QUARANTINE if name not in ("error", "tries")}
            yield Failed(error=kind, line=line, tries=tries[place], **values)


def error_of(traceback: str) -> tuple[str, str]:
    r"""Return (class of the error, the line that names it) of a traceback: the last line that begins with a class.

    >>> error_of('Traceback (most recent call last):\n  File "a.py", line 1\nValueError: no\nsuch')
    ('ValueError', 'ValueError: no')
    """
    lines = [line for line in traceback.splitlines() if line.strip()]
    named = [match for line in lines if (match := ERROR_LINE.match(line)) and "Error" in match[1]]
    if named:
        return named[-1][1].rpartition(".")[2], named[-1].string
    return "", lines[-1].strip() if lines else ""
