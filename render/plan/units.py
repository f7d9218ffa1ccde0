"""Units: how many, how large, of which frames. Pure and streaming; nothing here loads torch or Ray."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import dropwhile, islice, takewhile
from statistics import fmean

from render.core import Frame, Group, Keyframe, Target, Unit, Walk, scheduler_calls
from render.plan.frames import Leg, steps_of
from render.plan.motions import frames_of, legs
from render.plan.record import Extension, Plan

__all__ = [
    "Counts",
    "Extension",
    "Limits",
    "Plan",
    "Stretch",
    "count_alike",
    "count_walks",
    "evaluations_of",
    "evaluations_with_cuts",
    "make_plan",
    "plan_units",
    "show_group",
]

UNIT_BYTES = 128 * 2**20  # of encoded images at most
UNIT_FRAMES = 256  # at most: a few minutes of work
UNITS_WANTED = 64  # at least, so that many workers share a job and little is lost with one
UNITS_OF_WORKER = 4  # at least, so that those near the end can be spread
UNIT_FRAMES_MIN = 8  # where a worker's share is as many
GPU_PIXELS_LIKELY = 48 * 512**2  # of the batch that a worker will choose, by its images' size
GPU_ROWS_MAX = 128  # the largest batch size that a worker measures
BYTES_PER_PIXEL = {"png": 1.7, "webp": 1.4, "jpeg": 0.5}  # of photographs; flat pictures take less


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the plan that the job or the machine sets."""

    batch_rows: int | None  # batch size asked for, in network inputs; None chooses by device and size
    unit_frames: int | None
    gpu: bool
    format: str
    workers: int = 1  # that the run is expected to have


@dataclass(slots=True)
class Stretch:
    """Consecutive frames of one group: those of a leg that share work, or any number of others.

    An anchored leg of 24 frames whose guided stem takes 10 steps is `Stretch(24, True, 20)`: in two units it costs 20
    network evaluations more than in one.
    """

    frames: int
    shares_work: bool = False  # best kept in one unit
    redone_per_cut: int = 0  # network evaluations that a unit takes again when it begins inside


@dataclass(frozen=True, slots=True)
class Counts:
    """Totals of a manifest."""

    walks: int
    stills: int
    frames: int
    pixels: int
    evaluations: int  # inputs of the network over all steps; a guided image has two a step
    by_group: dict[Group, tuple[int, int]]  # frames, network inputs they ask for at once
    stretches: dict[tuple[Group, str], list[Stretch]]  # of a group and a split: its frames in order


def show_group(group: Group) -> str:
    """Return a group as text.

    >>> show_group(("main", 128, 64))
    'main 128x64'
    """
    model, width, height = group
    return f"{model} {width}x{height}"


def evaluations_of(keyframe: Keyframe, steps: int | None = None) -> int:
    """Return the network calls of one frame's scheduler in its last `steps` steps; None for all that are not skipped."""
    return scheduler_calls(keyframe.scheduler, steps_of(keyframe) if steps is None else steps, keyframe.steps)


def count_walks(walks: Iterable[Walk], targets: Mapping[str, Target]) -> Counts:
    """Count frames, pixels and network evaluations in one pass over the walks."""
    return count_alike(((walk, 1) for walk in walks), targets)


def count_alike(walks: Iterable[tuple[Walk, int]], targets: Mapping[str, Target]) -> Counts:
    """Count likewise, with walks that stand for a number of walks of equal cost; for 1 where frames share work."""
    named = stills = pixels = evaluations = 0
    by_group: dict[Group, list[int]] = defaultdict(lambda: [0, 0])
    stretches: dict[tuple[Group, str], list[Stretch]] = defaultdict(list)
    for walk, times in walks:
        stills += walk.still * times
        named += (not walk.still) * times
        for leg in legs(walk):
            group = walk.model, walk.width, walk.height
            rows, each, stem = _cost(leg, targets[walk.model])
            by_group[group][0] += leg.count * times
            by_group[group][1] += math.ceil(max(1, leg.full_renders) * rows) * times
            pixels += leg.count * times * walk.width * walk.height
            evaluations += round(leg.full_renders * each + stem) * times
            _add(stretches[group, walk.split], leg, times, round(leg.redone_per_cut * each + stem))
    frames = sum(count for count, _ in by_group.values())
    sizes = {group: (count, rows) for group, (count, rows) in by_group.items()}
    return Counts(named, stills, frames, pixels, evaluations, sizes, dict(stretches))


def _add(stretches: list[Stretch], leg: Leg, times: int, redone_per_cut: int) -> None:
    if leg.shares_work or not stretches or stretches[-1].shares_work:
        stretches.append(Stretch(leg.count * times, leg.shares_work, redone_per_cut))
    else:
        stretches[-1].frames += leg.count * times


def _cost(leg: Leg, target: Target) -> tuple[float, float, float]:
    """Return the means over a leg's frames: network inputs at once, evaluations of a render, and of the shared stem."""
    a = leg.start
    guided = {(k.true_guidance if target.guidance_embeds else k.guidance) > 1 for k in leg.corners}
    whole = own = evaluations_of(a)
    if leg.stem_steps:
        own = evaluations_of(a, steps_of(a) - leg.stem_steps)
    if len(guided) == 1 and not (a.image and len({k.strength for k in leg.corners}) > 1):
        rows: float = 1 + guided.pop()
        return rows, rows * own, rows * (whole - own)
    recipes = [leg.at(index, target) for index in range(leg.count)]
    rows = fmean(1 + recipe.guided for recipe in recipes)
    each = fmean((1 + r.guided) * evaluations_of(a, r.steps - r.skipped_steps) for r in recipes)
    return rows, each, (1 + recipes[0].stem.guided) * (whole - own) if recipes[0].stem else 0


def make_plan(counts: Counts, limits: Limits, fingerprint: dict[str, str], targets: dict[str, Target]) -> Plan:
    """Fix batch size and unit size for each group of the job."""
    rows = {group: _batch_rows(group, counts, limits) for group in counts.by_group}
    unit_frames = {group: limits.unit_frames or _unit_frames(group, counts, limits, rows[group]) for group in rows}
    units = sum(_cut(stretches, unit_frames[group])[0] for (group, _), stretches in counts.stretches.items())
    measures = limits.gpu and limits.batch_rows is None
    return Plan(fingerprint, targets, units, rows, unit_frames, measure_rows=measures, frames=counts.frames)


def evaluations_with_cuts(counts: Counts, plan: Plan) -> int:
    """Return about the network evaluations of a job: workers begin each unit afresh, so legs that a unit cuts share less."""
    again = (_cut(stretches, plan.unit_frames[group])[1] for (group, _), stretches in counts.stretches.items())
    return counts.evaluations + sum(again)


def _cut(stretches: list[Stretch], size: int) -> tuple[int, int]:
    """Return (units that `_batches` makes of the stretches, network evaluations that are taken again in them)."""
    units = held = again = 0
    for stretch in stretches:
        if stretch.shares_work and held + stretch.frames > size and held:
            units, held = units + 1, 0
        again += (-(-(held + stretch.frames) // size) - 1) * stretch.redone_per_cut
        units, held = units + (held + stretch.frames) // size, (held + stretch.frames) % size
    return units + (held > 0), again


def _batch_rows(group: Group, counts: Counts, limits: Limits) -> int:
    """Return the batch size of a group: at most the network inputs that its frames ask for at once.

    It is the job's, otherwise at most what a worker's share of the frames asks for. On a GPU that is the most that a worker
    may choose by measurement. A CPU gains little past 16 inputs of 128².
    """
    (_, width, height), (frames, asked) = group, counts.by_group[group]
    useful = GPU_ROWS_MAX if limits.gpu else max(2, min(16, 16 * 128**2 // (width * height)))
    rows = min(limits.batch_rows, asked) if limits.batch_rows else min(useful, -(-asked // min(limits.workers, frames)))
    return rows if limits.gpu else _power_of_two(rows)


def _power_of_two(count: int) -> int:
    """Return the largest up to a number: a CPU's threads share out a batch in equal parts, of whole rows."""
    return 1 << (count.bit_length() - 1)


def _unit_frames(group: Group, counts: Counts, limits: Limits, batch_rows: int) -> int:
    """Return how many frames a unit has: enough to fill a batch, unless a worker's share is less, and not too many.

    Few where many workers share the job, and never more than may be lost with a worker.
    """
    _, width, height = group
    frames, asked = counts.by_group[group]
    if limits.gpu and not limits.batch_rows:
        batch_rows = min(batch_rows, max(2, GPU_PIXELS_LIKELY // (width * height)))
    fills, share = -(-batch_rows * frames // asked), -(-frames // limits.workers)
    wanted = max(UNITS_WANTED, UNITS_OF_WORKER * limits.workers)
    by_size = int(UNIT_BYTES / (width * height * BYTES_PER_PIXEL[limits.format]))
    by_number = max(min(max(UNIT_FRAMES_MIN, fills), share), -(-counts.frames // wanted))
    own = [stretches for (of, _), stretches in counts.stretches.items() if of == group]
    longest = max((one.frames for stretches in own for one in stretches if one.shares_work), default=0)
    if longest > by_number:  # in equal parts, not with a small one at its end
        by_number = -(-longest // round(longest / by_number))
    return max(1, min(UNIT_FRAMES, by_size, by_number))


def plan_units(walks: Callable[[], Iterable[Walk]], plan: Plan) -> Iterator[Unit]:
    """Yield every unit of the plan, in order: model by model, so that workers change theirs rarely; frames as they come.

    `walks` gives the walks once for every model, and again for every extension, whose units follow: nothing but the units
    begun is held.
    """
    parts: tuple[Plan | Extension, ...] = plan, *plan.extensions
    number = total = 0
    ends = *(part.after_row for part in plan.extensions), None
    for part, end in zip(parts, ends, strict=True):
        begin = part.after_row if isinstance(part, Extension) else 0
        total += part.units
        for model, target in plan.targets.items():
            own = (walk for walk in _between(walks(), begin, end) if walk.model == model)
            for (group, split), frames in _batches(own, target, part.unit_frames):
                yield Unit(f"{number:05d}", total, tuple(frames), part.batch_rows[group], model, split=split)
                number += 1


def _between(walks: Iterable[Walk], begin: int, end: int | None) -> Iterator[Walk]:
    """Yield the walks of the rows after `begin`, up to `end`; walks come in the order of their rows."""
    later = dropwhile(lambda walk: walk.start.row <= begin, walks)
    return later if end is None else takewhile(lambda walk: walk.start.row <= end, later)


def _batches(
    walks: Iterable[Walk], target: Target, sizes: Mapping[Group, int]
) -> Iterator[tuple[tuple[Group, str], list[Frame]]]:
    """Yield the frames of one model's walks, gathered by group and split into lists of the unit's size.

    A leg whose frames share work begins a list of its own where it would not fit behind other frames.
    """
    gathered: dict[tuple[Group, str], list[Frame]] = defaultdict(list)
    for walk in walks:
        group = walk.model, walk.width, walk.height
        own, size = (group, walk.split), sizes[group]
        frames = frames_of(walk, target)
        for leg in legs(walk):
            if leg.shares_work and gathered[own] and len(gathered[own]) + leg.count > size:
                yield own, gathered.pop(own)
            for frame in islice(frames, leg.count):
                gathered[own].append(frame)
                if len(gathered[own]) == size:
                    yield own, gathered.pop(own)
    yield from ((own, frames) for own, frames in gathered.items() if frames)
