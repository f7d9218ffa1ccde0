"""Type and check of the images that become animations and sheets."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Pixels", "check_pixels"]

Pixels: TypeAlias = npt.NDArray[np.uint8]  # RGB [H, W, 3]


def check_pixels(pixels: Pixels, where: str) -> None:
    """Raise ValueError unless an image is uint8 [H, W, 3] and not empty."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"{where}: required uint8 [H, W, 3], got {pixels.dtype} {list(pixels.shape)}")
