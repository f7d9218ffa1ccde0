"""List the columns of a shard as data: name, Arrow type, meaning and value of each.

The shard's schema and rows, the dataset card's table and the list of names that a manifest's labels must avoid all
follow from STORE_TABLE. A new column is one more entry here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from render.core import Frame, Keyframe, Recipe, Seed, Unit
from render.store.encode import Rendered

__all__ = ["IMAGE", "STORE_COLUMNS", "STORE_TABLE", "Origin", "RowSource", "StoreColumn", "guidance_of", "seed_of"]

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])  # as `datasets` stores an Image feature


@dataclass(frozen=True, slots=True)
class Origin:
    """Values that all images of one model and worker have in common."""

    model: str
    revision: str
    device: str
    dtype: str
    suffix: str  # of image paths: png, webp or jpeg
    compiled: bool = False


@dataclass(frozen=True, slots=True)
class RowSource:
    """Values that one row of a shard is made of."""

    unit: Unit
    frame: Frame
    image: Rendered
    origin: Origin
    render_ms: float  # mean over the frames of the unit

    @property
    def recipe(self) -> Recipe:
        return self.frame.recipe

    @property
    def keyframe(self) -> Keyframe:
        return self.frame.keyframe


@dataclass(frozen=True, slots=True)
class StoreColumn:
    """One column of every shard."""

    name: str
    type: pa.DataType
    meaning: str  # for readers of the dataset card, as Markdown
    value: Callable[[RowSource], Any]


def _image(row: RowSource) -> dict[str, Any]:
    frame = row.frame
    return {"bytes": row.image.data, "path": f"{frame.walk}-{frame.index:05d}.{row.origin.suffix}"}


def seed_of(frame: Frame) -> int:
    """Return the seed that the frame's noise comes from, or its keyframe's when the noise is a blend of several."""
    noise = frame.recipe.noise
    return noise.value if isinstance(noise, Seed) else (frame.keyframe.seed + frame.seed_shift) % 2**64


def guidance_of(recipe: Recipe) -> float:
    """Return the guidance scale that a user gave: classifier-free, or the network's input."""
    return recipe.guidance if recipe.embedded_guidance is None else recipe.embedded_guidance


STORE_TABLE = (
    StoreColumn("image", IMAGE, "the encoded picture (`bytes`) and a file name for it (`path`)", _image),
    StoreColumn("prompt", pa.string(), "prompt of the frame's keyframe", lambda row: row.keyframe.prompt),
    StoreColumn(
        "negative_prompt",
        pa.string(),
        "negative prompt of the frame's keyframe",
        lambda row: row.keyframe.negative_prompt,
    ),
    StoreColumn(
        "seed",
        pa.uint64(),
        "seed of the frame's noise; of a blend of seeds, the keyframe's",
        lambda row: seed_of(row.frame),
    ),
    StoreColumn("step", pa.int32(), "number of sampling steps", lambda row: row.recipe.steps),
    StoreColumn("cfg", pa.float64(), "guidance scale", lambda row: guidance_of(row.recipe)),
    StoreColumn("sampler", pa.string(), "scheduler", lambda row: row.recipe.scheduler),
    StoreColumn("width", pa.int32(), "width in pixels", lambda row: row.recipe.width),
    StoreColumn("height", pa.int32(), "height in pixels", lambda row: row.recipe.height),
    StoreColumn(
        "timestamp",
        pa.timestamp("us", tz="UTC"),
        "time at which the picture was encoded",
        lambda row: int(row.image.timestamp_s * 1e6),
    ),
    StoreColumn("key", pa.string(), "first 32 hexadecimal digits of the recipe's SHA-256", lambda row: row.recipe.key),
    StoreColumn("walk", pa.string(), "name of the walk or still", lambda row: row.frame.walk),
    StoreColumn("frame", pa.int32(), "place of the frame in its walk, from 0", lambda row: row.frame.index),
    StoreColumn(
        "recipe",
        pa.string(),
        "JSON of everything that fixes the pixels, blends of prompts and seeds included",
        lambda row: row.recipe.json,
    ),
    StoreColumn(
        "sha256", pa.string(), "SHA-256 of the pixels, uint8 RGB before encoding", lambda row: row.image.sha256
    ),
    StoreColumn("model", pa.string(), "model id", lambda row: row.origin.model),
    StoreColumn("revision", pa.string(), "commit of a hub model, empty for a folder", lambda row: row.origin.revision),
    StoreColumn(
        "batch_rows",
        pa.int32(),
        "batch size in network inputs: a guided image takes two (last bits depend on it)",
        lambda row: row.unit.batch_rows,
    ),
    StoreColumn("device", pa.string(), "device of the worker (last bits depend on it)", lambda row: row.origin.device),
    StoreColumn(
        "dtype",
        pa.string(),
        "floating-point type of the network (last bits depend on it)",
        lambda row: row.origin.dtype,
    ),
    StoreColumn(
        "compiled",
        pa.bool_(),
        "network and decoder were compiled by `torch.compile` (last bits depend on it)",
        lambda row: row.origin.compiled,
    ),
    StoreColumn(
        "decode_rows",
        pa.int32(),
        "batch size of the decoder in images (last bits depend on it)",
        lambda row: row.unit.decode_rows,
    ),
    StoreColumn(
        "exact",
        pa.bool_(),
        "the bits do not depend on the frame's place in a batch; false on GPUs that have no such places",
        lambda row: row.unit.exact,
    ),
    StoreColumn(
        "render_ms",
        pa.float32(),
        "milliseconds that a frame of the same shard took on average",
        lambda row: row.render_ms,
    ),
    StoreColumn(
        "seed_shift",
        pa.int64(),
        "number that a retry added to the frame's seeds, which are those of its row otherwise; mostly 0",
        lambda row: row.frame.seed_shift,
    ),
    StoreColumn("blank", pa.bool_(), "the picture is of a single colour", lambda row: row.image.blank),
)
STORE_COLUMNS = tuple(column.name for column in STORE_TABLE)  # in their order
