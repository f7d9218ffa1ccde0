"""Render one stored frame again, alone, from its recipe, and compare the bits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from render.core import Recipe, StoreError
from render.job import uses_gpu
from render.prepare import resolve_models
from render.resume import load_plan, stored_job
from render.store import open_store

if TYPE_CHECKING:
    from render.engine import Renderer

__all__ = ["Reproduction", "reproduce_frame"]


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A frame as it is stored, and as it came out now."""

    walk: str
    frame: int
    sha256: str  # of the stored pixels
    sha256_now: str
    device: str  # it was made on
    device_now: str
    pixels: NDArray[np.uint8]  # of now, [H, W, 3]

    @property
    def same(self) -> bool:
        return self.sha256 == self.sha256_now


def reproduce_frame(out: str | Path, key: str) -> Reproduction:
    """Render a stored frame again, at its recorded batch size, dtype and threads. `key` may be its first digits.

    Raises StoreError when no frame or several have such a key, or when the job's models are not those of then.
    """
    out = Path(out)
    row = _row(out, key)
    recipe, job, plan = Recipe.from_json(row["recipe"]), stored_job(out), load_plan(out)
    names = [name for name, target in plan.targets.items() if target.fingerprint == recipe.model]
    models = resolve_models(job, names, weights=True).values()
    fitting = [model for model in models if model.fingerprint == recipe.model]
    if not fitting:
        found = ", ".join(f"{model.id} {model.fingerprint}" for model in models) or "none"
        raise StoreError(f"{out}: required the model of fingerprint {recipe.model}, got {found}")
    from render.engine import Renderer

    renderer = Renderer(fitting[0], "cuda" if uses_gpu(job) else "cpu", row["dtype"], plan.threads, job.media_root)
    pixels = render_alone(renderer, recipe, row["batch_rows"])
    found_now = hashlib.sha256(pixels.tobytes()).hexdigest()
    return Reproduction(
        walk=row["walk"],
        frame=row["frame"],
        sha256=row["sha256"],
        sha256_now=found_now,
        device=row["device"],
        device_now=renderer.device,
        pixels=pixels,
    )


def render_alone(renderer: Renderer, recipe: Recipe, rows: int) -> NDArray[np.uint8]:
    """Return the image `[height, width, 3]` of one recipe, rendered at a batch size of `rows` network inputs."""
    from render.engine import pack_rows

    frames = iter([(recipe, renderer.start(recipe))])
    batch = renderer.tuner.batches(recipe.width, recipe.height, rows, 1).network
    run = partial(renderer.run, batch=batch)
    ((_, latents),) = pack_rows(lambda _wait: next(frames, None), run, batch.capacity)
    if isinstance(latents, (OSError, ValueError)):  # a start image that is not there, or another one
        raise StoreError(f"required what frame {recipe.key} was made of, got {latents}") from latents
    if isinstance(latents, Exception):
        raise latents
    return renderer.decode(latents, recipe.tiled)


def _row(out: Path, key: str) -> dict[str, Any]:
    """Return the stored columns of a frame, without its image."""
    store = open_store(out)
    columns = ["walk", "frame", "key", "recipe", "sha256", "batch_rows", "device", "dtype"]
    found = store.dataset().to_table(columns=columns, filter=pc.starts_with(pc.field("key"), key)).to_pylist()
    if len({row["key"] for row in found}) != 1:
        got = f"{len(found)} frames that begin so" if found else "none of that key"
        raise StoreError(f"{out}: required the key of one stored frame, got {key!r}: {got}")
    row: dict[str, Any] = found[0]
    return row
