"""Encode pixels as image files: PNG, lossless WebP or JPEG."""

from __future__ import annotations

import hashlib
import io
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["ENCODINGS", "Rendered", "encode_image", "rendered"]

ENCODINGS: dict[str, dict[str, Any]] = {
    "png": {"format": "PNG", "compress_level": 1},
    "webp": {"format": "WEBP", "lossless": True, "method": 0, "quality": 0},
    "jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
}


@dataclass(frozen=True, slots=True)
class Rendered:
    """A finished image, and the values that the store keeps beside its recipe."""

    data: bytes  # encoded
    sha256: str  # of the pixels, uint8 [H, W, 3] in C order
    timestamp_s: float  # seconds since 1970, UTC
    blank: bool  # of a single colour


def encode_image(pixels: NDArray[np.uint8], encoding: str) -> bytes:
    """Encode RGB pixels `[H, W, 3]` in one of ENCODINGS; `png` and `webp` keep every bit."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, **ENCODINGS[encoding])
    return buffer.getvalue()


def rendered(pixels: NDArray[np.uint8], encoding: str) -> Rendered:
    """Encode an image that was rendered just now, RGB `[H, W, 3]`, with its hash and the current time."""
    return Rendered(
        data=encode_image(pixels, encoding),
        sha256=hashlib.sha256(pixels.tobytes()).hexdigest(),
        timestamp_s=time.time(),
        blank=bool((pixels == pixels[:1, :1]).all()),
    )
