"""The progress of a run, on stderr."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from render.core import counted
from render.prepare import Prepared, Report, Silent

__all__ = ["make_report", "usual_report"]

LOST = "warning: a worker is replaced, what it had is rendered again: {}"


def make_report() -> _Bars | _Lines:
    """Return a report: bars on a terminal, plain lines elsewhere. Close it in the end."""
    return _Bars() if sys.stderr.isatty() else _Lines()


def usual_report() -> Report:
    """Return what a function of the Python API reports to unless it is told: a notebook shows lines, a program nothing."""
    return _Lines() if "ipykernel" in sys.modules else Silent()


class _Fill:
    """Share of the places in the network's batches that held an input, so far."""

    def __init__(self) -> None:
        self._rows = self._padding = 0

    def add(self, rows: int, padding: int) -> None:
        self._rows, self._padding = self._rows + rows, self._padding + padding

    def text(self) -> str:
        places = self._rows + self._padding
        return f", batches {self._rows / places:.0%} full" if places else ""


class _Lines:
    """Progress as plain lines, at most one in ten seconds."""

    def __init__(self) -> None:
        self._total = self._done = self._here = 0
        self._began_s = self._printed_s = 0.0
        self._fill = _Fill()

    def begin(self, prepared: Prepared, frames_done: int) -> None:
        for text in prepared.warnings:
            print(f"warning: {text}", file=sys.stderr)
        self._total, self._done = prepared.counts.frames, frames_done
        resumed = f", {frames_done:,} of them done before" if frames_done else ""
        print(f"{counted(self._total, 'frame')}{resumed}; starting workers", file=sys.stderr, flush=True)

    def frames(self, count: int) -> None:
        now = time.monotonic()
        if not self._began_s:
            self._began_s = self._printed_s = now  # a rate takes some time to be one
        self._done, self._here = min(self._total, self._done + count), self._here + count
        if count and (now - self._printed_s >= 10 or self._done == self._total):
            self._printed_s = now
            rate = self._here / (now - self._began_s) if now > self._began_s else 0.0
            left = f", {(self._total - self._done) / rate:,.0f} s left" if rate else ""
            line = f"{self._done:,}/{self._total:,} frames, {rate:.2f} img/s{self._fill.text()}{left}"
            print(line, file=sys.stderr, flush=True)

    def batches(self, rows: int, padding: int) -> None:
        self._fill.add(rows, padding)

    def stage(self, text: str) -> None:
        if text:
            print(text, file=sys.stderr, flush=True)

    def lost(self, reason: str) -> None:
        print(LOST.format(reason), file=sys.stderr, flush=True)

    def waiting(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        print(f"warning: {text}", file=sys.stderr, flush=True)

    def animating(self, total: int) -> None:
        following = f"; {counted(total, 'animation')} to write" if total else ""
        print(f"frames are done{following}", file=sys.stderr, flush=True)

    def animation(self, path: Path) -> None: ...
    def close(self) -> None: ...


class _Bars:
    """Progress as bars on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._fill = _Fill()
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )

    def begin(self, prepared: Prepared, frames_done: int) -> None:
        for text in prepared.warnings:
            self._bars.console.print(f"warning: {text}", markup=False)
        self._bars.start()
        self._frames = self._bars.add_task(
            "starting workers", total=prepared.counts.frames, completed=frames_done, rate=""
        )

    def frames(self, count: int) -> None:
        speed = self._bars.tasks[self._frames].speed
        rate = f"{speed:.2f} img/s{self._fill.text()}" if speed else ""
        self._bars.update(self._frames, advance=count, description="frames", rate=rate)

    def batches(self, rows: int, padding: int) -> None:
        self._fill.add(rows, padding)

    def stage(self, text: str) -> None:
        self._bars.update(self._frames, description=text or "frames")

    def lost(self, reason: str) -> None:
        self._bars.console.print(LOST.format(reason), markup=False)

    def waiting(self, text: str) -> None:
        self._bars.console.print(text, markup=False)

    def warn(self, text: str) -> None:
        self._bars.console.print(f"warning: {text}", markup=False)

    def animating(self, total: int) -> None:
        self._bars.update(self._frames, completed=self._bars.tasks[self._frames].total, description="frames")
        self._animations = self._bars.add_task("animations", total=total, rate="")

    def animation(self, path: Path) -> None:  # noqa: ARG002
        self._bars.advance(self._animations)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._bars.stop()
