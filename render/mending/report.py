"""The report of an output folder: what the night did, what failed and why, and what to do next."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from render.core import Keyframe, ManifestError, Receipt, file_sizes
from render.mending.inspect import Finding, Inspection, file_findings, manifest_finding
from render.mending.look import Looker
from render.mending.pace import Pace, log_events, pace_of
from render.mending.steps import Left, next_steps
from render.plan import plan_units
from render.prepare import load_plan, planned_manifest
from render.store import Ledger, is_damage, open_parquet, reach_output

__all__ = ["Failed", "NightReport", "report_store"]

SLOWEST = 5  # units that are named
TOLD = ("corrupt", "twice", "extra", "unrecorded")  # kinds of findings that the report has
EVENTS_MAX = 10_000
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
    ]  # the last 10,000 of the log, but what comes all the time: begins, ends, workers' comings and losses
    going_on: str = ""  # process, host and start of a run that goes on there
    unrecorded: int = 0  # shards in data/ without a commit record, whose frames have none either

    @property
    def next_steps(self) -> tuple[str, ...]:
        """What to do next, the most urgent first; each with a command."""
        left = Left(
            damaged=len(self.damage),
            unrecorded=self.unrecorded,
            missing=self.missing,
            failed=len(self.failed),
            blank=self.blank,
        )
        steps = next_steps(self.out, left)
        return (f"a run goes on there, {self.going_on}: let it end first", *steps) if self.going_on else steps


def report_store(out: str | Path) -> NightReport:
    """Report on an output folder from its records, its quarantine and its log; no image is read.

    Raises StoreError when `out` is not an output folder.
    """
    out = reach_output(out)
    plan, ledger = load_plan(out), Ledger(out)
    records, _ = ledger.read_records()
    receipts = [receipt for receipt in records.values() if receipt is not None]
    waiting: dict[tuple[str, int], Keyframe] | None = None
    try:
        units = plan_units(planned_manifest(out).walks, plan)
        inspection = Inspection(ledger, units, Looker(file_sizes(ledger.folder.data)))
        findings = [one for one in inspection if one.kind in TOLD]
        waiting, missing = inspection.in_quarantine, inspection.uncommitted - len(inspection.in_quarantine)
    except ManifestError as error:
        findings = [manifest_finding(error), *file_findings(ledger)]
        missing = 0
    rows = sum(receipt.rows for receipt in receipts)
    with log_events(ledger.folder.log) as events:
        pace = tuple(pace_of(events))
        last = deque((event for event in events() if event["event"] not in FREQUENT), maxlen=EVENTS_MAX)
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
        damage=tuple(one for one in findings if one.kind != "unrecorded"),
        unrecorded=sum(one.kind == "unrecorded" for one in findings),
        going_on=ledger.going_on(),
        pace=pace,
        events=tuple(last),
    )


def _is_timed(receipt: Receipt) -> bool:
    return receipt.frames > 0 and receipt.seconds > 0


def _seconds_a_frame(receipt: Receipt) -> float:
    return receipt.seconds / receipt.frames


def _hosts(receipts: Iterable[Receipt]) -> tuple[tuple[str, int], ...]:
    frames: Counter[str] = Counter()
    for receipt in receipts:
        frames[receipt.host or "unknown"] += receipt.frames
    return tuple(frames.most_common())


def _failed(folder: Path, waiting: Mapping[tuple[str, int], Keyframe] | None) -> Iterator[Failed]:
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
            if waiting is None or place in waiting:
                tries[place] += row["tries"]
                last[place] = row
    for place, keyframe in (waiting or {}).items():
        untold = {"row": keyframe.row, "prompt": keyframe.prompt, "error": "its traceback is lost", "host": ""}
        last.setdefault(place, {"walk": place[0], "frame": place[1], "memory_bytes": 0, **untold})
    for place, row in sorted(last.items()):
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
