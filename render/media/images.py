"""Start images: check files and read their pixels."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL.Image
from PIL.ImageOps import exif_transpose

__all__ = ["image_fault", "read_image"]

PIXELS_MAX = 2**26  # width × height of a start image: 8192²
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "I;16", "I;16B", "I;16L")  # 8 or 16 bits
WHITE = (255, 255, 255, 255)


def image_fault(file: Path) -> tuple[str, str] | None:
    """Return (required, got) for a file that is not a complete image of an accepted size and mode, else None."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)  # the next lines check the size
            with PIL.Image.open(file) as image:
                if image.width * image.height > PIXELS_MAX:
                    return f"at most {PIXELS_MAX:,} pixels", f"{image.width}×{image.height}"
                if image.mode not in MODES:
                    return "an image of 8 or 16 bits a channel", f"mode {image.mode}"
            with file.open("rb") as content:
                read_image(content)
    except Exception as error:  # Pillow's decoders raise errors of many classes
        return "an image file", f"{type(error).__name__}: {error}"
    return None


def read_image(content: BinaryIO) -> PIL.Image.Image:
    """Return an image as RGB of 8 bits: turned upright by its EXIF data, transparency on white, the first of its frames."""
    with PIL.Image.open(content) as image:
        upright = exif_transpose(image)
        if upright.mode.startswith("I;16"):
            levels = np.asarray(upright).astype(np.float64) / 257
            upright = PIL.Image.fromarray(levels.round().astype(np.uint8))
        if not upright.has_transparency_data:
            return upright.convert("RGB")
        clear = upright.convert("RGBA")
        return PIL.Image.alpha_composite(PIL.Image.new("RGBA", clear.size, WHITE), clear).convert("RGB")
