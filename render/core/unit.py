"""Frames, the units that they are rendered in, and the receipts of those."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

from render.core.errors import StoreError
from render.core.recipe import Recipe, canonical_json
from render.core.splits import TRAIN
from render.core.walk import MAIN, Keyframe

__all__ = ["Frame", "Group", "Receipt", "Unit"]


@dataclass(frozen=True, slots=True)
class Frame:
    """A recipe with its place in a walk."""

    walk: str
    index: int  # from 0
    recipe: Recipe
    keyframe: Keyframe  # the start of the frame's leg: its prompt, seed and labels go into the store's columns
    seed_shift: int = 0  # number that a retry has added to the recipe's seeds


Group: TypeAlias = tuple[str, int, int]  # (model, width, height): frames of one group share units


@dataclass(frozen=True, slots=True)
class Unit:
    """A fixed list of frames of one model, size and split: the grain of scheduling, retry, file and commit.

    `id` is the unit's slot in the commit ledger: its number, then `-0`/`-1` for each bisection, `-r` for each retry of
    quarantined frames, and `-a` for frames that are rendered again since their shard was damaged.
    """

    id: str
    of: int  # number of units in the plan, for the file's name
    frames: tuple[Frame, ...]
    batch_rows: int  # batch size, counted in network inputs
    model: str = MAIN  # name of the model in the job
    decode_rows: int = 1  # batch size of the decoder, in images; a worker sets it
    exact: bool = True  # a frame's bits do not depend on its place in a batch; a worker sets it
    split: str = TRAIN  # of the data set, that all of its frames are in
    rows_are_fixed: bool = False  # `batch_rows` is a retry's or a record's choice: a worker that measures keeps to it

    @property
    def group(self) -> Group:
        """The model's name in the job, width and height in pixels, of every frame."""
        recipe = self.frames[0].recipe
        return self.model, recipe.width, recipe.height

    @property
    def evaluations(self) -> int:
        """Estimate of the network inputs that the unit takes in all."""
        recipes = [frame.recipe for frame in self.frames]
        stems = {recipe.stem for recipe in recipes if recipe.stem is not None}
        tweens = {recipe.towards for recipe in recipes if recipe.towards is not None}
        shared = sum(stem.rows * (stem.stop or stem.steps) for stem in stems)
        shared += sum(end.rows * (end.steps - end.skipped_steps) for end in tweens)
        return shared + sum(recipe.evaluations for recipe in recipes)

    @property
    def shares_work(self) -> bool:
        """True if frames of the unit share steps, so that parts of it take more network inputs than the whole."""
        return any(recipe.stem or recipe.towards or recipe.stop for recipe in (frame.recipe for frame in self.frames))

    def part(self, suffix: str, positions: Iterable[int]) -> Unit:
        """Return a unit of some of this one's frames, with a ledger slot below this one's."""
        return replace(self, id=f"{self.id}-{suffix}", frames=tuple(self.frames[p] for p in positions))

    @property
    def seed_shifts(self) -> tuple[int, ...]:
        """Numbers that a retry has added to the seeds of each frame; () for a unit as it was planned."""
        shifts = tuple(frame.seed_shift for frame in self.frames)
        return shifts if any(shifts) else ()

    def with_seeds(self, shifts: Sequence[int]) -> Unit:
        """Return the unit with a number added to the seeds of each frame; none leaves it as it is."""
        if not any(shifts):
            return self
        frames = [
            replace(frame, recipe=frame.recipe.with_seeds(shift), seed_shift=shift)
            for frame, shift in zip(self.frames, shifts, strict=True)
        ]
        return replace(self, frames=tuple(frames))

    def halves(self) -> tuple[Unit, Unit]:
        middle = len(self.frames) // 2
        return self.part("0", range(middle)), self.part("1", range(middle, len(self.frames)))


@dataclass(frozen=True, slots=True)
class Receipt:
    """The outcome of a unit; as JSON it is the unit's commit record."""

    unit: str
    file: str | None  # shard below data/, None where every frame is in quarantine
    frames: int  # in the shard
    size_bytes: int
    sha256: str  # of the shard file
    seconds: float
    batch_rows: int
    blank: tuple[
        int, ...
    ] = ()  # positions in the unit of frames of a single colour, or with values that are not finite
    quarantined: tuple[int, ...] = ()  # positions in the unit of frames that failed; the rest is in the shard
    rows: int = 0  # network inputs that the worker computed from its last receipt to this one
    padding: int = 0  # places of those batches that held copies, since no frame had an input for them
    waiting_s: float = 0.0  # seconds of that time in which the worker had no frame at all
    exact: bool = True  # the frames' bits do not depend on their places in a batch
    host: str = ""  # of the worker
    process: int = 0  # of the worker, its id on that host
    seed_shifts: tuple[int, ...] = ()  # of each frame of the unit, where a retry has changed seeds
    lost: tuple[int, ...] = ()  # positions of frames whose shard was damaged, while a retry's frames below are right
    decode_s: float = 0.0  # seconds in which the worker decoded latents, from its last receipt to this one
    write_s: float = 0.0  # seconds that writing and publishing the shard took

    @classmethod
    def of_quarantined(cls, unit: Unit) -> Receipt:
        """Return the receipt of a unit whose frames are all in quarantine, so that it has no shard."""
        return cls(
            unit=unit.id,
            file=None,
            frames=0,
            size_bytes=0,
            sha256="",
            seconds=0.0,
            batch_rows=unit.batch_rows,
            quarantined=tuple(range(len(unit.frames))),
            seed_shifts=unit.seed_shifts,
        )

    def to_json(self) -> str:
        return canonical_json(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Receipt:
        """Return the receipt of a commit record. Raises StoreError for one of another version."""
        fields = json.loads(text)
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        try:
            return cls(**values)
        except TypeError as error:
            raise StoreError(f"commit record: required one of this version of nightrender, got {error}") from error
