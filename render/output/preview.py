"""The contact sheet of a preview."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from render.core import Frame
from render.output.layout import Sheet
from render.output.sheet import write_sheet
from render.store import ImageStore, OutputFolder

__all__ = ["write_preview"]

WIDTH = 4  # columns


def write_preview(store: ImageStore, frames: Sequence[Frame], cell: int) -> tuple[Path, ...]:
    """Write OUT/sheets/preview.png with the frames that are in the store, each above its walk, its place and its prompt.

    Returns its pages.
    """
    stored = {name: set(store.frames(name).indices) for name in store.walks}
    shown = [frame for frame in frames if frame.index in stored.get(frame.walk, ())]
    captions = tuple(f"{frame.walk} {frame.index}: {frame.keyframe.prompt}" for frame in shown)
    path = OutputFolder(store.path).sheets / "preview.png"
    path.parent.mkdir(exist_ok=True)
    images = (np.asarray(store.frame(frame.walk, frame.index).image()) for frame in shown)
    return write_sheet(path, images, Sheet(min(WIDTH, len(shown)), captions=captions, title="preview", cell=cell))
