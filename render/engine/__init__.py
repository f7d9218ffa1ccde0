"""The engine: render recipes to latents and pixels with one loaded pipeline, in batches of a fixed size.

A frame is a generator that yields the network inputs (`Row`) it needs next and is sent their outputs. `pack_rows` fills
batches with the rows of all frames in flight, whatever their steps, guidance or scheduler.

Promises: the network sees one batch size only, so a frame's pixels do not depend on the frames beside it. At guidance
above 1 a frame yields two rows a step. All of a frame's noise comes from its seeds, drawn on the CPU.

May be touched: the device, and the start images of a job. The engine knows nothing of Ray, units, shards or manifests.
Its doors are the names in `__all__`.
"""

from __future__ import annotations

from render.engine.batch import Batch, Batches
from render.engine.denoise import FrameGenerator, Row, pack_rows
from render.engine.renderer import Renderer
from render.engine.threads import start_pool, use_threads
from render.engine.tuner import BatchSizes

__all__ = [
    "Batch",
    "BatchSizes",
    "Batches",
    "FrameGenerator",
    "Renderer",
    "Row",
    "pack_rows",
    "start_pool",
    "use_threads",
]
