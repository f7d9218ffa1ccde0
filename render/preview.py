"""A preview: a few frames of a job, rendered into a folder of their own, and what the whole job would take."""

from __future__ import annotations

import math
import shutil
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, islice, pairwise
from pathlib import Path

from render.core import Frame, Group, JobError, Receipt, StoreError, Unit, Walk, write_atomically
from render.manifest import TableLike
from render.output import write_preview
from render.plan import count_alike, evaluations_of, frame_count, frames_of
from render.prepare import Prepared
from render.run import Report, Silent, prepare_target, render_units
from render.store import Ledger, OutputFolder, open_store

__all__ = ["Preview", "choose_places", "preview_job"]

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


def preview_job(
    target: str | Path | TableLike, *overrides: str, frames: int = 8, report: Report | None = None
) -> Preview:
    """Render some frames of a job, spread over its manifest, into OUTPUT-preview; the output itself is not touched.

    Every model, size and walk has one of the frames as far as their number allows. Their batch sizes are those of the whole
    job, so they have the pixels that a run gives them. An older preview is replaced. Raises InputError for bad input, and
    RunError when rendering can't go on.
    """
    if not 1 <= frames <= FRAMES_MAX:
        raise JobError(f"preview: required 1 … {FRAMES_MAX} frames, got {frames}")
    whole = prepare_target(target, overrides, weights=True)
    out = whole.job.output.with_name(f"{whole.job.output.name}-preview")
    chosen = list(_chosen(whole, frames))
    units = _units(chosen, whole)
    ledger, report, shown = Ledger(out), report or Silent(), _shown(whole, out, len(chosen), len(units))
    _make_room(ledger.folder)
    ledger.create()
    with ledger.lock():
        report.begin(shown, 0)
        render_units(shown, iter(units), report)
        ledger.delete_orphans()
        store = open_store(out)
        sheet = write_preview(store, chosen, whole.job.sheets.cell) if len(store) else ()
    receipts = {receipt.unit: receipt for receipt in ledger.receipts()}
    return _measured(whole, out, units, receipts, sheet)


def _shown(whole: Prepared, out: Path, frames: int, units: int) -> Prepared:
    """Return the job as its preview: another output, fewer frames, no more workers than units."""
    force = whole.workforce
    count = None if force.count is None else min(force.count, units)
    return replace(
        whole,
        job=replace(whole.job, output=out),
        counts=replace(whole.counts, frames=frames),
        workforce=replace(force, count=count),
    )


def _make_room(folder: OutputFolder) -> None:
    """Delete an older preview. Raises StoreError for a folder with anything else in it."""
    mark = folder.run / MARK
    if folder.out.exists() and not mark.exists() and (not folder.out.is_dir() or any(folder.out.iterdir())):
        raise StoreError(f"{folder.out}: required a new or empty folder, or an older preview; got other files")
    if mark.exists():
        with Ledger(folder.out).lock():
            shutil.rmtree(folder.out)
    folder.run.mkdir(parents=True)
    write_atomically(mark, b"")


def _chosen(whole: Prepared, frames: int) -> Iterator[Frame]:
    """Yield the frames of the preview, in the manifest's order."""
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
            yield next(islice(frames_of(walk, whole.plan.targets[walk.model]), index, None))


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


def _units(frames: Sequence[Frame], whole: Prepared) -> list[Unit]:
    """Return a unit for each group: its frames share batches, and its time is its own."""
    names = {target.fingerprint: name for name, target in whole.plan.targets.items()}
    by_group: dict[Group, list[Frame]] = {}
    for frame in frames:
        recipe = frame.recipe
        by_group.setdefault((names[recipe.model], recipe.width, recipe.height), []).append(frame)
    groups = sorted(by_group, key=lambda group: list(whole.plan.batch_rows).index(group))
    return [
        Unit(f"{number:05d}", len(groups), tuple(by_group[group]), whole.plan.batch_rows[group], group[0])
        for number, group in enumerate(groups)
    ]


def _measured(
    whole: Prepared, out: Path, units: Sequence[Unit], receipts: dict[str, Receipt], sheet: tuple[Path, ...]
) -> Preview:
    """Return the outcome: what the frames took, and from the time of a network call what the whole job would take."""
    done = [(unit, receipts[unit.id]) for unit in units if unit.id in receipts and receipts[unit.id].frames]
    rendered = sum(receipt.frames for _, receipt in done)
    call_s = {unit.group: receipt.seconds / _calls(unit) for unit, receipt in done}
    pixel_s = [s / (whole.plan.batch_rows[group] * group[1] * group[2]) for group, s in call_s.items()]
    work_s, evaluations = 0.0, 0
    for group, rows in whole.plan.batch_rows.items():
        walks = ((walk, times) for walk, times in whole.manifest.alike() if _group(walk) == group)
        own = count_alike(walks, whole.plan.targets).evaluations
        usual = sum(pixel_s) / max(1, len(pixel_s)) * rows * group[1] * group[2]  # of a group without a frame here
        work_s += call_s.get(group, usual) * own / rows
        evaluations += own
    work_s *= whole.counts.evaluations / max(1, evaluations)  # with the steps that units take again
    workers = whole.workforce.count or 1
    return Preview(
        out=out,
        frames=rendered,
        of=whole.counts.frames,
        quarantined=sum(len(unit.frames) for unit in units) - rendered,
        sheet=sheet,
        frame_s=sum(receipt.seconds for _, receipt in done) / max(1, rendered),
        frame_full_s=work_s / whole.counts.frames,
        workers=workers,
        job_s=work_s / workers,
    )


def _calls(unit: Unit) -> int:
    """Return about the network calls that a unit takes, each of a whole batch."""
    calls = []
    for frame in unit.frames:
        recipe = frame.recipe
        steps = recipe.stop or recipe.steps - recipe.skipped_steps
        calls.append(evaluations_of(frame.keyframe, steps) * (1 if recipe.towards is None else 2))
    rows = sum(count * (2 if f.recipe.guided else 1) for count, f in zip(calls, unit.frames, strict=True))
    return max(1, *calls, math.ceil(rows / unit.batch_rows))
