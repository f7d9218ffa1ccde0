"""Pixels as image files."""

from __future__ import annotations

import hashlib
import io
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from render.store.shard import Rendered

__all__ = ["ENCODINGS", "encode_image", "rendered"]

ENCODINGS: dict[str, dict[str, Any]] = {
    "png": {"format": "PNG", "compress_level": 1},
    "webp": {"format": "WEBP", "lossless": True, "method": 0, "quality": 0},
    "jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
}


def encode_image(pixels: NDArray[np.uint8], encoding: str) -> bytes:
    """RGB `[H, W, 3]` as a file of one of ENCODINGS; png and webp keep every bit."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, **ENCODINGS[encoding])
    return buffer.getvalue()


def rendered(pixels: NDArray[np.uint8], encoding: str) -> Rendered:
    """An image that was made just now, RGB `[H, W, 3]`, with what the store tells of it."""
    return Rendered(
        data=encode_image(pixels, encoding),
        sha256=hashlib.sha256(pixels.tobytes()).hexdigest(),
        timestamp_s=time.time(),
        blank=bool((pixels == pixels[:1, :1]).all()),
    )
