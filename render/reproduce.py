"""Render one stored frame again, alone, from its recipe, and compare the bits.

Where the bits of a frame depend on its place in a batch (column `exact`), the pictures are compared within a tolerance.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from render.core import Recipe, StoreError, counted
from render.job import uses_gpu
from render.prepare import load_plan, resolve_models, stored_job
from render.store import open_store, reach_output

if TYPE_CHECKING:
    from render.engine import Renderer

__all__ = ["Reproduction", "reproduce_frame"]

# A last bit that differs in an early step grows over the steps, in bfloat16 to visible details. Images of other seeds are
# 8 to 12 dB apart.
TOLERANCE_DB = 20.0


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
    exact: bool = True  # its bits do not depend on its place in a batch
    psnr_db: float = math.inf  # of the image now to the stored one, as it decodes; infinite where they are equal

    @property
    def same(self) -> bool:
        """True for equal bits."""
        return self.sha256 == self.sha256_now

    @property
    def agrees(self) -> bool:
        """True for equal bits, and for a frame that is not exact within a tolerance of 20 dB PSNR."""
        return self.same or (not self.exact and self.psnr_db >= TOLERANCE_DB)


def reproduce_frame(out: str | Path, key: str) -> Reproduction:
    """Render a stored frame again, at its recorded batch sizes, dtype, threads and compile setting.

    `key` may be its first digits.

    Raises StoreError when no frame or several have such a key, or when the job's models are not those of then.
    """
    out = reach_output(out)
    row = _row(out, key)
    recipe, job, plan = Recipe.from_json(row["recipe"]), stored_job(out), load_plan(out)
    names = [name for name, target in plan.targets.items() if target.fingerprint == recipe.model]
    models = resolve_models(job, names, weights=True).values()
    fitting = [model for model in models if model.fingerprint == recipe.model]
    if not fitting:
        found = ", ".join(f"{model.id} {model.fingerprint}" for model in models) or "none"
        raise StoreError(f"{out}: required the model of fingerprint {recipe.model}, got {found}")
    from render.engine import Renderer

    device = "cuda" if uses_gpu(job) else "cpu"
    renderer = Renderer(fitting[0], device, row["dtype"], plan.threads, job.media_root, row["compiled"])
    pixels = render_alone(renderer, recipe, row["batch_rows"], row["decode_rows"])
    found_now = hashlib.sha256(pixels.tobytes()).hexdigest()
    return Reproduction(
        walk=row["walk"],
        frame=row["frame"],
        sha256=row["sha256"],
        sha256_now=found_now,
        device=row["device"],
        device_now=renderer.device,
        pixels=pixels,
        exact=row["exact"],
        psnr_db=psnr_db(pixels, np.asarray(open_store(out).frame(row["walk"], row["frame"]).image())),
    )


def psnr_db(image: NDArray[np.uint8], reference: NDArray[np.uint8]) -> float:
    """Return the peak signal-to-noise ratio of two images of one shape in dB, infinite for equal ones."""
    error = float(np.mean((image.astype(np.float64) - reference) ** 2))
    return 10 * math.log10(255**2 / error) if error else math.inf


def render_alone(renderer: Renderer, recipe: Recipe, rows: int, decode_rows: int = 1) -> NDArray[np.uint8]:
    """Return the image `[height, width, 3]` of one recipe, rendered in batches of `rows` inputs and `decode_rows` images."""
    from render.engine import pack_rows

    frames = iter([(recipe, renderer.start(recipe))])
    batches = renderer.tuner.batches(recipe.width, recipe.height, rows, decode_rows)
    run = partial(renderer.run, batch=batches.network)
    ((_, latents),) = pack_rows(lambda _wait: next(frames, None), run, batches.network.capacity)
    if isinstance(latents, (OSError, ValueError)):  # a start image that is not there, or another one
        raise StoreError(f"required what frame {recipe.key} was made of, got {latents}") from latents
    if isinstance(latents, Exception):
        raise latents
    (pixels,) = renderer.decode([latents], recipe.tiled, batches.decoder)
    if isinstance(pixels, ValueError):
        raise pixels
    return pixels


def _row(out: Path, key: str) -> dict[str, Any]:
    """Return the stored columns of a frame, without its image."""
    store = open_store(out)
    columns = ["walk", "frame", "key", "recipe", "sha256", "batch_rows", "device", "dtype"]
    columns += ["compiled", "decode_rows", "exact"]
    found = store.dataset().to_table(columns=columns, filter=pc.starts_with(pc.field("key"), key)).to_pylist()
    if len({row["key"] for row in found}) != 1:
        got = f"{counted(len(found), 'frame')} that begin so" if found else "none of that key"
        raise StoreError(f"{out}: required the key of one stored frame, got {key!r}: {got}")
    row: dict[str, Any] = found[0]
    return row
