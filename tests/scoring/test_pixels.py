"""Measures of pixels against SciPy, Pillow and values that follow from their definitions."""

from __future__ import annotations

import imagehash
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from render.scoring.batch import Batch, Scorer
from render.scoring.pixels import MEASURES

draw = np.random.default_rng(5)
NOISE = Image.fromarray(draw.integers(0, 256, (48, 64, 3), dtype=np.uint8))
GREY = Image.new("RGB", (40, 30), (128, 128, 128))
HALVES = Image.fromarray(np.repeat(np.repeat([[[0] * 3, [255] * 3]], 32, 0), 16, 1).astype(np.uint8))
RED_GREEN = Image.fromarray(np.repeat(np.repeat([[[255, 0, 0], [0, 255, 0]]], 32, 0), 16, 1).astype(np.uint8))


def value(measure: Scorer, image: Image.Image) -> float:
    (found,) = measure(Batch([image], [""]))[""]
    return float(found)


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    luma = np.asarray(NOISE.convert("L"), np.float64)
    assert value(MEASURES["sharpness"], NOISE) == pytest.approx(ndimage.laplace(luma)[1:-1, 1:-1].var())
    assert value(MEASURES["sharpness"], GREY) == 0
    assert value(MEASURES["sharpness"], Image.new("RGB", (2, 2))) == 0
    blurred = NOISE.resize((24, 32)).resize(NOISE.size)
    assert value(MEASURES["sharpness"], blurred) < value(MEASURES["sharpness"], NOISE)


def test_brightness_and_contrast_of_two_halves() -> None:
    assert value(MEASURES["brightness"], HALVES) == pytest.approx(0.5)
    assert value(MEASURES["contrast"], HALVES) == pytest.approx(0.5)
    assert value(MEASURES["contrast"], GREY) == 0


def test_colourfulness_by_its_definition() -> None:
    assert value(MEASURES["colourfulness"], GREY) == 0
    # red - green is 255 or -255: deviation 255, mean 0; (red + green) / 2 - blue is 127.5 everywhere
    assert value(MEASURES["colourfulness"], RED_GREEN) == pytest.approx(255 + 0.3 * 127.5)


def test_entropy_is_that_of_pillow() -> None:
    assert value(MEASURES["entropy"], NOISE) == pytest.approx(NOISE.convert("L").entropy())
    assert value(MEASURES["entropy"], GREY) == 0
    assert value(MEASURES["entropy"], HALVES) == pytest.approx(1.0)


def test_the_hash_is_one_that_imagehash_reads() -> None:
    (found,) = MEASURES["phash"](Batch([NOISE], [""]))[""]
    assert imagehash.hex_to_hash(found) == imagehash.phash(NOISE)
