"""What a start image must be."""

from __future__ import annotations

import warnings
from pathlib import Path

import PIL.Image

__all__ = ["image_fault"]

PIXELS_MAX = 2**26  # of a start image: 8192²


def image_fault(file: Path) -> tuple[str, str] | None:
    """(what is required, what was got) of a file that is no whole image of a sane size."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)  # the size is looked at here
            with PIL.Image.open(file) as image:
                if image.width * image.height > PIXELS_MAX:
                    return f"at most {PIXELS_MAX:,} pixels", f"{image.width}×{image.height}"
                image.load()
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        return "an image file", f"{type(error).__name__}: {error}"
    return None
