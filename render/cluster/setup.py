"""The settings that all workers of a run share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from render.models import Model

__all__ = ["Setup"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Settings that all workers of a run share."""

    models: dict[str, Model]  # by their names in the job
    out: Path  # output folder
    labels: bytes  # Arrow schema of the manifest's label columns, serialized
    format: str  # of the images, one of ENCODINGS
    picture_metadata: bool = True  # images say how they were made
    device: str  # cpu or cuda
    dtype: str  # auto, float32 or bfloat16
    threads: int  # CPU threads of a worker
    media: Path = Path()  # folder of start images
    compiles: bool = False  # the networks are compiled
    measure_rows: bool = False  # batch sizes are chosen by measurement, at most those of the units
    blank: str = "keep"  # what becomes of images of a single colour, one of BLANK_POLICIES
