"""A preview: a few frames of a job, rendered into a folder of their own, and what the whole job would take."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, islice, pairwise
from pathlib import Path

from render.core import (
    Frame,
    Group,
    JobError,
    Receipt,
    StoreError,
    Unit,
    Walk,
    counted,
    delete_folder,
    write_atomically,
)
from render.plan import count_alike, evaluations_of, frame_count, frames_of
from render.prepare import Prepared
from render.store import Ledger, OutputFolder

__all__ = ["Preview", "begin_preview", "choose_frames", "choose_places", "measure", "preview_ending", "preview_units"]

FRAMES_MAX = 1000
MARK = "preview"  # file below .run that marks a folder as a preview's, which the next preview may replace


@dataclass(frozen=True, slots=True)
class Preview:
    """The outcome of a preview."""

    out: Path  # its folder, beside the job's output
    frames: int  # rendered
    of: int  # frames that the job has
    quarantined: int  # that could not be rendered
    sheet: tuple[Path, ...]  # pages of their contact sheet
    frame_s: float  # seconds that a worker took for one of them
    frame_full_s: float  # about the seconds that a worker takes for a frame of the job, in full batches
    workers: int
    job_s: float  # about the seconds that the whole job would take them, without loading models


def begin_preview(whole: Prepared, units: Sequence[Unit]) -> Prepared:
    """Return the job as its preview: a folder beside the output, fewer frames, no more workers than units.

    An older preview in that folder is deleted. Raises StoreError for a folder with anything else in it.
    """
    folder, force = OutputFolder(preview_folder(whole)), whole.workforce
    mark = folder.run / MARK
    if folder.out.exists() and not mark.exists() and (not folder.out.is_dir() or any(folder.out.iterdir())):
        raise StoreError(f"{folder.out}: required a new or empty folder, or an older preview; got other files")
    if mark.exists():
        with Ledger(folder.out).lock():
            delete_folder(folder.out)
    folder.run.mkdir(parents=True)
    write_atomically(mark, b"")
    return replace(
        whole,
        job=replace(whole.job, output=folder.out),
        plan=replace(whole.plan, compile=False, has_splits=False),  # compiling takes longer than a preview
        counts=replace(whole.counts, frames=sum(len(unit.frames) for unit in units)),
        workforce=replace(force, count=None if force.count is None else min(force.count, len(units))),
    )


def preview_folder(whole: Prepared) -> Path:
    return whole.job.output.with_name(f"{whole.job.output.name}-preview")


def choose_frames(whole: Prepared, frames: int) -> Iterator[tuple[str, Frame]]:
    """Yield some frames of a job with the names of their models, in order. Raises JobError for a number out of range."""
    if not 1 <= frames <= FRAMES_MAX:
        raise JobError(f"preview: required 1 … {FRAMES_MAX} frames, got {frames}")
    sizes, groups, stills = [], [], []
    for walk in whole.manifest.walks():
        sizes.append(frame_count(walk))
        groups.append(_group(walk))
        stills.append(walk.still)
    ends = list(accumulate(sizes))
    wanted: dict[int, list[int]] = {}  # number of the walk → its frames
    for place in choose_places(ends, groups, stills, frames):
        number = bisect_right(ends, place)
        wanted.setdefault(number, []).append(place - ends[number] + sizes[number])
    for number, walk in enumerate(whole.manifest.walks()):
        for index in wanted.get(number, ()):
            yield walk.model, next(islice(frames_of(walk, whole.plan.targets[walk.model]), index, None))


def choose_places(ends: Sequence[int], groups: Sequence[Group], stills: Sequence[bool], count: int) -> list[int]:
    """Return `count` places, sorted, among all frames of a job; all of them if there are no more.

    Walk n has the places from the end of the walk before up to `ends[n]`, and belongs to `groups[n]`. First every group
    gets one, then every walk that is no still, then the middle of the widest gap, again and again. Of too many groups or
    walks, some that are evenly spread get one.

    >>> group = ("main", 64, 64)
    >>> choose_places([8, 9, 10, 11, 12], [group] * 5, [False, True, True, True, True], 3)
    [1, 4, 8]
    """
    total = ends[-1]
    if count >= total:
        return list(range(total))
    middles = [(end + before) // 2 for before, end in zip((0, *ends), ends, strict=False)]
    of_group: dict[Group, tuple[list[int], list[int]]] = {}  # numbers of its stills, and of its walks
    for number, (group, still) in enumerate(zip(groups, stills, strict=True)):
        of_group.setdefault(group, ([], []))[not still].append(number)
    first = [(walks or own)[len(walks or own) // 2] for own, walks in of_group.values()]
    chosen: set[int] = set()
    walks = [number for number, still in enumerate(stills) if not still]
    for numbers in (sorted(first), walks):
        others = [number for number in numbers if middles[number] not in chosen]
        room = min(count - len(chosen), len(others))
        chosen |= {middles[others[(2 * turn + 1) * len(others) // (2 * room)]] for turn in range(room)}
    while len(chosen) < count:
        edges = sorted({-1, total, *chosen})
        before, after = max(pairwise(edges), key=lambda gap: (gap[1] - gap[0], -gap[0]))
        chosen.add((before + after) // 2)
    return sorted(chosen)


def _group(walk: Walk) -> Group:
    return walk.model, walk.width, walk.height


def preview_units(frames: Sequence[tuple[str, Frame]], whole: Prepared) -> list[Unit]:
    """Return a unit for each group: its frames share batches, and its time is its own."""
    by_group: dict[Group, list[Frame]] = {}
    for model, frame in frames:
        by_group.setdefault((model, frame.recipe.width, frame.recipe.height), []).append(frame)
    groups = sorted(by_group, key=lambda group: list(whole.plan.batch_rows).index(group))
    return [
        Unit(f"{number:05d}", len(groups), tuple(by_group[group]), whole.plan.batch_rows[group], group[0])
        for number, group in enumerate(groups)
    ]


def measure(whole: Prepared, units: Sequence[Unit], receipts: Sequence[Receipt], sheet: tuple[Path, ...]) -> Preview:
    """Return the outcome of a preview: what its frames took, and what the job would by the time of a network call."""
    by_unit = {receipt.unit: receipt for receipt in receipts if receipt.frames}
    done = [(unit, by_unit[unit.id]) for unit in units if unit.id in by_unit]
    rendered = sum(receipt.frames for _, receipt in done)
    call_s = {unit.group: receipt.seconds / _calls(unit, receipt.batch_rows) for unit, receipt in done}
    batch_rows = {**whole.plan.batch_rows, **{unit.group: receipt.batch_rows for unit, receipt in done}}
    pixel_s = [s / (batch_rows[group] * group[1] * group[2]) for group, s in call_s.items()]
    work_s, evaluations = 0.0, 0
    for group, rows in batch_rows.items():
        walks = ((walk, times) for walk, times in whole.manifest.alike() if _group(walk) == group)
        own = count_alike(walks, whole.plan.targets).evaluations
        usual = sum(pixel_s) / max(1, len(pixel_s)) * rows * group[1] * group[2]  # of a group without a frame here
        work_s += call_s.get(group, usual) * own / rows
        evaluations += own
    work_s *= whole.counts.evaluations / max(1, evaluations)  # with the steps that units take again
    workers = whole.workforce.count or 1
    return Preview(
        out=preview_folder(whole),
        frames=rendered,
        of=whole.counts.frames,
        quarantined=sum(len(unit.frames) for unit in units) - rendered,
        sheet=sheet,
        frame_s=sum(receipt.seconds for _, receipt in done) / max(1, rendered),
        frame_full_s=work_s / whole.counts.frames,
        workers=workers,
        job_s=work_s / workers,
    )


def _calls(unit: Unit, batch_rows: int) -> int:
    """Return about the network calls that a unit takes, each of a whole batch of `batch_rows` inputs."""
    calls = []
    for frame in unit.frames:
        recipe = frame.recipe
        steps = recipe.stop or recipe.steps - recipe.skipped_steps
        calls.append(evaluations_of(frame.keyframe, steps) * (1 if recipe.towards is None else 2))
    rows = sum(count * (2 if f.recipe.guided else 1) for count, f in zip(calls, unit.frames, strict=True))
    return max(1, *calls, math.ceil(rows / batch_rows))


def preview_ending(preview: Preview, short: Callable[[Path], str]) -> str:
    """Return the lines that end a preview: where its frames are, and what the whole job would take; `short` shows a path."""
    workers = f"{counted(preview.workers, 'worker')}"
    lines = [f"sheet      {short(path)}" for path in preview.sheet]
    lines.append(f"preview    {short(preview.out)}  ({preview.frames:,} of {counted(preview.of, 'frame')})")
    if preview.frames:
        full_s, whole = f"{preview.frame_full_s:.3g} s", _duration(preview.job_s)
        lines += [
            f"time       {preview.frame_s:.3g} s a frame here; of the whole job about {full_s} a frame and worker",
            f"whole job  about {whole} for {counted(preview.of, 'frame')} on {workers}",
        ]
    if preview.quarantined:
        where = short(OutputFolder(preview.out).quarantine)
        lines.append(f"failed     {counted(preview.quarantined, 'frame')}; tracebacks are in {where}")
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
