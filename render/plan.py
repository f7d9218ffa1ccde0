"""Walks to units: how many, how large, in what shape. Pure and streaming; nothing here loads torch or Ray."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain

from render.motion import frames_of, legs, positions, recipe_at
from render.recipe import Frame, Keyframe, Unit, Walk

__all__ = ["Counts", "Limits", "Plan", "Shape", "count_walks", "make_plan", "plan_units"]

UNIT_BYTES = 128 * 2**20  # of encoded images at most
UNIT_FRAMES = 256  # at most: a few minutes of work
UNITS_WANTED = 64  # at least, so that many workers share a job and little is lost with one
BYTES_PER_PIXEL = {"png": 1.7, "webp": 1.4, "jpeg": 0.5}  # of photographs; flat pictures take less

Shape = tuple[int, int]  # (width, height) in pixels


@dataclass(frozen=True, slots=True)
class Limits:
    """What the job or the machine sets for the plan."""

    rows: int | None  # rows of the denoiser asked for; None chooses by device and size
    unit_frames: int | None
    gpu: bool
    format: str


@dataclass(frozen=True, slots=True)
class Counts:
    """What a manifest amounts to."""

    walks: int
    stills: int
    frames: int
    pixels: int
    evaluations: int  # rows through the network
    by_shape: dict[Shape, tuple[int, int]]  # frames, rows they ask for at once


@dataclass(frozen=True, slots=True)
class Plan:
    """What is fixed before the first frame: with the manifest it gives every unit. JSON-ready by `to_dict`."""

    fingerprint: dict[str, str]  # what the pixels and the store's content depend on
    units: int
    rows: dict[Shape, int]  # rows of the denoiser
    unit_frames: dict[Shape, int]
    threads: int = 1  # torch's CPU threads of a worker

    def to_dict(self) -> dict[str, object]:
        return {
            **asdict(self),
            "rows": {f"{w}x{h}": n for (w, h), n in self.rows.items()},
            "unit_frames": {f"{w}x{h}": n for (w, h), n in self.unit_frames.items()},
        }

    @classmethod
    def from_dict(cls, fields: dict[str, object]) -> Plan:
        def shapes(value: object) -> dict[Shape, int]:
            assert isinstance(value, dict)
            return {(int(text.split("x")[0]), int(text.split("x")[1])): n for text, n in value.items()}

        own = {**fields, "rows": shapes(fields["rows"]), "unit_frames": shapes(fields["unit_frames"])}
        return cls(**own)  # type: ignore[arg-type]


def evaluations_of(keyframe: Keyframe) -> int:
    """Network calls that one frame's scheduler makes: Heun takes two a step but the last, PNDM one more in all."""
    extra = {"heun": keyframe.steps - 1, "pndm": 1 if keyframe.steps > 1 else 0}
    return keyframe.steps + extra.get(keyframe.scheduler, 0)


def count_walks(walks: Iterable[Walk]) -> Counts:
    """Count frames, pixels and network evaluations in one pass over the walks."""
    named = stills = pixels = evaluations = 0
    by_shape: dict[Shape, list[int]] = defaultdict(lambda: [0, 0])
    for walk in walks:
        stills += walk.still
        named += not walk.still
        for a, b, count in legs(walk):
            rows = count + _guided(a, b, count)
            shape = by_shape[a.width, a.height]
            shape[0] += count
            shape[1] += rows
            pixels += count * a.width * a.height
            evaluations += rows * evaluations_of(a)
    frames = sum(count for count, _ in by_shape.values())
    return Counts(named, stills, frames, pixels, evaluations, {s: (n, r) for s, (n, r) in by_shape.items()})


def _guided(a: Keyframe, b: Keyframe, count: int) -> int:
    """How many of a leg's frames ask for two rows."""
    if (a.guidance > 1) == (b.guidance > 1):
        return count if a.guidance > 1 else 0
    return sum(recipe_at(a, b, t, "").guided for t in positions(a.easing, count))


def make_plan(counts: Counts, limits: Limits, fingerprint: dict[str, str]) -> Plan:
    """Fix rows and unit sizes for each shape of the job."""
    rows = {shape: min(limits.rows or _rows(shape, limits.gpu), asked) for shape, (_, asked) in counts.by_shape.items()}
    unit_frames = {shape: limits.unit_frames or _unit_frames(shape, counts, limits) for shape in counts.by_shape}
    units = sum(-(-frames // unit_frames[shape]) for shape, (frames, _) in counts.by_shape.items())
    return Plan(fingerprint, units, rows, unit_frames)


def _rows(shape: Shape, gpu: bool) -> int:
    """Rows that keep the device busy: on a CPU little is gained past sixteen 128² images, on a GPU past 32 512² ones."""
    most, area = (64, 32 * 512**2) if gpu else (16, 16 * 128**2)
    return max(2, min(most, area // (shape[0] * shape[1])))


def _unit_frames(shape: Shape, counts: Counts, limits: Limits) -> int:
    by_size = int(UNIT_BYTES / (shape[0] * shape[1] * BYTES_PER_PIXEL[limits.format]))
    by_number = max(8, -(-counts.frames // UNITS_WANTED))
    return max(1, min(UNIT_FRAMES, by_size, by_number))


def plan_units(walks: Iterable[Walk], model: str, plan: Plan) -> Iterator[Unit]:
    """Every unit of the plan, in order: frames as they come, gathered by shape."""
    gathered: dict[Shape, list[Frame]] = defaultdict(list)
    number = 0
    for frame in chain.from_iterable(frames_of(walk, model) for walk in walks):
        shape = frame.recipe.width, frame.recipe.height
        gathered[shape].append(frame)
        if len(gathered[shape]) == plan.unit_frames[shape]:
            yield _unit(number, gathered.pop(shape), plan)
            number += 1
    for rest in gathered.values():
        yield _unit(number, rest, plan)
        number += 1


def _unit(number: int, frames: list[Frame], plan: Plan) -> Unit:
    recipe = frames[0].recipe
    return Unit(f"{number:05d}", plan.units, tuple(frames), plan.rows[recipe.width, recipe.height])
