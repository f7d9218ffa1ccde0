"""The lines that end a run or a preview on the command line: where everything is, and how to go on."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from render.store import OutputFolder

if TYPE_CHECKING:
    from render.preview import Preview
    from render.run import Summary

__all__ = ["preview_ending", "run_ending", "short"]


def run_ending(summary: Summary) -> str:
    """Return the lines that end a run: where everything is, and how to open it."""
    out = short(summary.out)
    lines = [f"animation  {short(path)}" for path in summary.animations]
    lines += [f"sheet      {short(path)}" for path in summary.sheets]
    lines += [
        f"dataset    {short(OutputFolder(summary.out).data)}  ({summary.frames} images)",
        f"open it    datasets.load_dataset({out!r}, split='train')   or   render.open_store({out!r})",
    ]
    if summary.blank:
        lines.append(f"blank      {summary.blank} images are of a single colour")
    if summary.quarantined:
        where = short(OutputFolder(summary.out).quarantine)
        lines.append(
            f"failed     {summary.quarantined} frames; tracebacks are in {where}. The same command tries them again"
        )
    return "\n".join(lines)


def preview_ending(preview: Preview) -> str:
    """Return the lines that end a preview: where its frames are, and what the whole job would take."""
    workers = f"{preview.workers} worker{'s' if preview.workers > 1 else ''}"
    lines = [f"sheet      {short(path)}" for path in preview.sheet]
    lines.append(f"preview    {short(preview.out)}  ({preview.frames:,} of {preview.of:,} frames)")
    if preview.frames:
        full_s, whole = f"{preview.frame_full_s:.3g} s", _duration(preview.job_s)
        lines += [
            f"time       {preview.frame_s:.3g} s a frame here; of the whole job about {full_s} a frame and worker",
            f"whole job  about {whole} for {preview.of:,} frames on {workers}",
        ]
    if preview.quarantined:
        where = short(OutputFolder(preview.out).quarantine)
        lines.append(f"failed     {preview.quarantined} frames; tracebacks are in {where}")
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    """Return seconds as text, with two units at most.

    >>> [_duration(seconds) for seconds in (0.2, 59, 61, 3 * 3600 + 120, 200 * 3600)]
    ['1 s', '59 s', '2 min', '3 h 2 min', '8 d 8 h']
    """
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = math.ceil(seconds / 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
