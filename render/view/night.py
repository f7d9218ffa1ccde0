"""The night of an output folder, as the overview shows it: what is done, what failed and why, speed and fill over time."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from render.core import StoreError, local_copy
from render.mending import Failed, NightReport, Pace, report_store
from render.store import OutputFolder, read_events

__all__ = ["Failure", "Night", "Stretch", "ask_elsewhere", "charts_of", "night_of"]

FAILURES_MAX = 50  # frames of one error that are named


@dataclass(frozen=True, slots=True)
class Stretch:
    """One stretch of the night."""

    since: datetime
    seconds: float
    frames_per_s: float
    fill: float | None  # share of the places in batches that held an input, 0 … 1; None where no unit ended


@dataclass(frozen=True, slots=True)
class Failure:
    """Frames in quarantine for one reason."""

    line: str  # of the traceback that names the error
    frames: tuple[Failed, ...]
    more: int  # that are not named


@dataclass(frozen=True, slots=True)
class Night:
    """The report of an output folder, ordered for a page."""

    report: NightReport
    failures: tuple[Failure, ...]  # the most frequent first
    stretches: tuple[Stretch, ...]


def night_of(out: Path) -> Night:
    """Return the report of an output folder; it takes seconds for a large one. Raises StoreError."""
    report = report_store(out)
    counts = Counter(one.line for one in report.failed)
    failures = []
    for line, count in counts.most_common():
        frames = [one for one in report.failed if one.line == line][:FAILURES_MAX]
        failures.append(Failure(line, tuple(frames), count - len(frames)))
    return Night(report, tuple(failures), tuple(_stretches(out, report.pace)))


def ask_elsewhere(out: Path) -> Night:
    """Return the report from a process of its own, whose memory goes with it. Raises StoreError."""
    context = get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(out, sending), daemon=True)
    process.start()
    sending.close()
    try:
        answer = receiving.recv()
    except EOFError:
        raise StoreError(f"{out}: the process that reads the records has ended without an answer") from None
    finally:
        process.join()
        receiving.close()
    if isinstance(answer, Exception):
        raise answer
    found: Night = answer
    return found


def _send(out: Path, sending: Connection) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a terminal's signals come to all of its processes
        signal.signal(number, lambda *_: os._exit(1))
    try:
        sending.send(night_of(out))
    except (StoreError, OSError) as error:
        sending.send(error if isinstance(error, StoreError) else OSError(str(error)))


def _stretches(out: Path, pace: Sequence[Pace]) -> Iterator[Stretch]:
    """Yield the stretches of the speed with the fill of the units that ended there."""
    rows, padding = Counter[int](), Counter[int]()
    if pace:
        with suppress(FileNotFoundError), local_copy(OutputFolder(out).log) as log:
            for event in read_events(log):
                place = int((event["at"] - pace[0].since).total_seconds() / pace[0].seconds)
                if event["event"] == "commit" and _is_count(event.get("rows")) and _is_count(event.get("padding")):
                    rows[min(place, len(pace) - 1)] += event["rows"]
                    padding[min(place, len(pace) - 1)] += event["padding"]
    for place, one in enumerate(pace):
        places = rows[place] + padding[place]
        yield Stretch(one.since, one.seconds, one.frames_per_s, rows[place] / places if places else None)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53  # anybody may have written to the log


def charts_of(night: Night) -> list[tuple[str, list[tuple[float, str]], str]]:
    """Return (title, (height 0 … 60, words) of each bar, the highest value in words) of the charts over time."""
    fastest = max((one.frames_per_s for one in night.stretches), default=0.0) or 1.0
    when = [f"{one.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC" for one in night.stretches]
    speeds = [
        (60 * one.frames_per_s / fastest, f"{time}: {one.frames_per_s:.2f} img/s")
        for one, time in zip(night.stretches, when, strict=True)
    ]
    charts = [("Images a second", speeds, f"{fastest:.2f} img/s")]
    fills = [one.fill for one in night.stretches]
    if any(fill is not None for fill in fills):
        bars = [
            (60 * (fill or 0.0), f"{time}: {'no unit ended' if fill is None else f'{100 * fill:.1f} % full'}")
            for fill, time in zip(fills, when, strict=True)
        ]
        charts.append(("Batches filled", bars, f"{100 * max(fill or 0.0 for fill in fills):.1f} %"))
    return charts
