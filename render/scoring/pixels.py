"""Scores that follow from the pixels alone. Luma is that of ITU-R BT.601, as Pillow has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from render.scoring.batch import Batch, Scorer, Values

__all__ = ["MEASURES"]


def measure_sharpness(batch: Batch) -> Values:
    """Return the variance of the 4-neighbour Laplacian of the luma."""
    return _each(batch, lambda image: _laplacian(_luma(image)).var())


def measure_brightness(batch: Batch) -> Values:
    """Return the mean luma, 0 … 1."""
    return _each(batch, lambda image: _luma(image).mean() / 255)


def measure_contrast(batch: Batch) -> Values:
    """Return the standard deviation of the luma, 0 … 0.5."""
    return _each(batch, lambda image: _luma(image).std() / 255)


def measure_colourfulness(batch: Batch) -> Values:
    """Return the colourfulness of D. Hasler and S. Süsstrunk (Measuring colourfulness in natural images, 2003), eq. 8."""

    def measure(image: Image) -> Any:
        red, green, blue = np.moveaxis(np.asarray(image.convert("RGB"), np.float64), -1, 0)
        opponents = np.stack([red - green, (red + green) / 2 - blue])
        return np.hypot(*opponents.std((1, 2))) + 0.3 * np.hypot(*opponents.mean((1, 2)))

    return _each(batch, measure)


def measure_entropy(batch: Batch) -> Values:
    """Return the Shannon entropy of the 256 levels of the luma, 0 … 8 bits."""

    def measure(image: Image) -> Any:
        counts = np.asarray(image.convert("L").histogram(), np.float64)
        shares = counts[counts > 0] / counts.sum()
        return -(shares * np.log2(shares)).sum() + 0.0

    return _each(batch, measure)


def measure_phash(batch: Batch) -> Values:
    """Return ImageHash's perceptual hash of 64 bits, in hexadecimal digits."""
    from imagehash import phash

    return {"": [str(phash(image)) for image in batch.images]}


def _each(batch: Batch, measure: Callable[[Image], Any]) -> dict[str, Sequence[float]]:
    return {"": [float(measure(image)) for image in batch.images]}


def _luma(image: Image) -> NDArray[np.float64]:
    return np.asarray(image.convert("L"), np.float64)


def _laplacian(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Laplacian of an image `[H, W]` as `[H - 2, W - 2]`; of a smaller image a zero."""
    if min(levels.shape) < 3:
        return np.zeros((1, 1))
    inner = levels[1:-1, 1:-1]
    found: NDArray[np.float64] = levels[:-2, 1:-1] + levels[2:, 1:-1] + levels[1:-1, :-2] + levels[1:-1, 2:] - 4 * inner
    return found


MEASURES: dict[str, Scorer] = {
    "sharpness": measure_sharpness,
    "brightness": measure_brightness,
    "contrast": measure_contrast,
    "colourfulness": measure_colourfulness,
    "entropy": measure_entropy,
    "phash": measure_phash,
}
