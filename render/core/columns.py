"""The columns of a manifest, one entry each.

Everything that is known of a column follows from its entry: its place in the stored manifest, the rule for its cells, the
table in docs/manifest.md, and that it is no label. A column of keyframes or walks is stored in the field of the same name,
whose default empty cells take. Exceptions: `walk` is `Walk.name`; `size`, `images`, `beat` and `audio_smooth` become
other columns when a manifest is read.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, MISSING, dataclass, fields
from typing import Any, Literal, TypeAlias

from render.core.blend import INTERPOLATIONS
from render.core.recipe import SEED_MAX
from render.core.vocabulary import DIRECTIONS, EASINGS, LOOPS, SHOWN
from render.core.walk import Keyframe, Walk

__all__ = ["COLUMNS", "CellType", "Choice", "Column", "Flag", "Integer", "Number", "Other", "column_names"]


@dataclass(frozen=True, slots=True)
class Integer:
    """Integers from `low` to `high`."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Number:
    """Finite numbers from `low` to `high`."""

    low: float
    high: float = math.inf


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some words."""

    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Flag:
    """Yes or no."""


@dataclass(frozen=True, slots=True)
class Other:
    """Cells whose rule needs more than the column: the model, the job, files, other rows."""


CellType: TypeAlias = Integer | Number | Choice | Flag | Other
FIELD_DEFAULTS = {
    field.name: field.default for of in (Keyframe, Walk) for field in fields(of) if field.default is not MISSING
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a manifest."""

    name: str
    cell: CellType  # content of its cells
    of: Literal["keyframe", "walk", "still"]  # whose value it is; a walk's stands in its first row
    meaning: str  # Markdown, for docs/manifest.md
    _: KW_ONLY
    default: Any = None  # value of empty cells, unless the job or the model has one; by default the field's
    default_of: Literal["column", "job", "model"] = "column"  # source of the default
    stored: bool = True  # False: the reader converts it into other columns (`beat` into `frames`)
    by_reader: bool = False  # the reader computes it; a table must not have it

    def __post_init__(self) -> None:
        if self.default is None:
            object.__setattr__(self, "default", FIELD_DEFAULTS.get(self.name))


COLUMNS = (
    Column(
        "walk",
        Other(),
        "walk",
        "name of the walk: a safe file name of at most 120 bytes, with the point of a sweep; its keyframes stand on "
        "consecutive rows. A row without one is a still",
    ),
    Column("prompt", Other(), "keyframe", "what to draw; moves along a walk. The only column that is required"),
    Column(
        "negative_prompt",
        Other(),
        "keyframe",
        "what not to draw; moves along a walk, too",
        default_of="job",
    ),
    Column(
        "seed",
        Integer(0, SEED_MAX),
        "keyframe",
        "0 … 2⁶⁴-1. In a walk an empty one holds the seed before it, the first one the job's; a still without one gets its "
        "own from the job's seed and its row",
        default_of="job",
    ),
    Column("images", Integer(1, 1_000_000), "still", "images of a still, with consecutive seeds", default=1),
    Column(
        "frames",
        Integer(1, 1_000_000),
        "keyframe",
        "frames from this keyframe up to, not including, the next. The last keyframe of a line gives one, or with "
        "`loop` `cycle` the frames back to the first. In a grid: cells a side; in a drift or circle: all frames",
        default_of="job",
    ),
    Column(
        "easing",
        Choice(EASINGS),
        "keyframe",
        "pace of the leg that starts here: `linear`, `smooth`, `ease-in`, `ease-out`, or `onsets` of the walk's sound",
        default_of="job",
    ),
    Column(
        "interpolation",
        Choice(INTERPOLATIONS),
        "keyframe",
        "of prompts, for the leg that starts here: `slerp` (one angle a token, the default), `slerp-global` (one angle) or "
        "`lerp`. Noise always slerps",
        default_of="job",
    ),
    Column(
        "width",
        Other(),
        "walk",
        "pixels, a multiple of what the model asks for; the same in all rows of a walk",
        default_of="model",
    ),
    Column("height", Other(), "walk", "pixels, likewise", default_of="model"),
    Column(
        "size",
        Other(),
        "walk",
        "width and height in one, as `512x768`; not beside `width` or `height`",
        stored=False,
    ),
    Column(
        "steps",
        Other(),
        "keyframe",
        "sampling steps, at most 998, 50 with `lcm`. A leg has those of the keyframe that it starts from",
        default_of="model",
    ),
    Column(
        "guidance",
        Other(),
        "keyframe",
        "guidance scale; moves along a walk. 1 and below is off, but for a model whose guidance is an input of its network",
        default_of="model",
    ),
    Column(
        "scheduler",
        Other(),
        "keyframe",
        "one of those below that fit the model. A leg has that of the keyframe that it starts from",
        default_of="model",
    ),
    Column(
        "true_guidance",
        Other(),
        "keyframe",
        "of a model whose `guidance` is an input of its network (FLUX.1-dev, LCM): classifier-free guidance beside it; it "
        "moves, too; 1, the default, is off",
    ),
    Column(
        "model", Other(), "walk", "`main`, the job's `model`, or a key of its `models`; the same in all rows of a walk"
    ),
    Column("motion", Other(), "walk", "course of the walk: one of the motions below"),
    Column(
        "loop",
        Choice(LOOPS),
        "walk",
        "`none`, or `cycle`, which adds the leg from the last keyframe back to the first",
    ),
    Column(
        "step_size",
        Number(0.0),
        "walk",
        "amount by which each frame moves each number of the embeddings",
    ),
    Column(
        "direction",
        Choice(DIRECTIONS),
        "walk",
        "direction of the drift: `ones`, or `random`: step_size times standard normal numbers of the walk's seed",
    ),
    Column("vary_noise", Flag(), "walk", "yes or no: each cell starts from its own noise"),
    Column(
        "anchor",
        Number(0.0, 1.0),
        "walk",
        "0 … 1, the part of the steps that is denoised once, half way between the keyframes, and shared by all frames of a "
        "leg; each frame then takes the other steps with its own prompt, seed and guidance. What should not move flickers "
        "less, and steps are saved: they are taken once in each unit that holds some of the frames, so a larger "
        "`store.unit_frames` saves more",
    ),
    Column(
        "tween",
        Integer(0, 1000),
        "walk",
        "number of frames between neighbours that are only decoded, from a slerp of both final latents",
    ),
    Column(
        "every",
        Integer(1, 1000),
        "walk",
        "steps from frame to frame",
    ),
    Column(
        "shown",
        Choice(SHOWN),
        "walk",
        "`latents` as they are, or the `clean` image x̂₀ that the step predicts",
    ),
    Column(
        "fps",
        Other(),
        "walk",
        "frames per second of the walk's animations; empty or 0 takes the job's",
    ),
    Column(
        "image",
        Other(),
        "keyframe",
        "a start image: a path inside the job's folder of `media`, or a URL below `media` or `media_urls`; all keyframes of "
        "a walk have one, or none. It is turned "
        "upright, what is transparent becomes white, and it takes the row's size",
    ),
    Column("image_sha256", Other(), "keyframe", "hash of that file; checked where it is given"),
    Column(
        "strength",
        Number(0.0, 1.0),
        "keyframe",
        "0 … 1, the part of the start image that is noised away, and of the steps that are taken; moves along, but not in "
        "an anchored walk",
    ),
    Column("audio", Other(), "walk", "a sound file, named like an image, which goes into the walk's MP4"),
    Column("audio_sha256", Other(), "walk", "hash of that file; checked where it is given"),
    Column(
        "time_s",
        Number(0.0),
        "keyframe",
        "the second at which the keyframe stands, in place of the `frames` before it; of the first one, where in the sound "
        "the walk begins",
    ),
    Column(
        "beat",
        Number(0.0),
        "keyframe",
        "the same, counted in beats of the walk's sound from 0",
        default=0.0,
        stored=False,
    ),
    Column(
        "audio_smooth",
        Number(0.0, 1.0),
        "walk",
        "0 … 1: the pace of `onsets` (0), an even pace (1), or between them",
        default=0.0,
        stored=False,
    ),
    Column(
        "split",
        Other(),
        "walk",
        "split of the data set, such as `train`, `validation` or `test`; each has shards of its own. Where the job has "
        "`splits`, an empty cell takes one by the hash of the walk's first prompt",
    ),
    Column("onset_pace", Other(), "keyframe", "position of each frame between its keyframes", by_reader=True),
    Column("source_row", Other(), "keyframe", "row of the table that it was read from", by_reader=True),
)


def column_names(of: str | None = None, stored: bool | None = None) -> tuple[str, ...]:
    """Return the names of the columns in order: all, or those of keyframes, walks or stills, or those that are stored."""
    return tuple(
        column.name
        for column in COLUMNS
        if (of is None or column.of == of) and (stored is None or column.stored == stored)
    )
