"""WebP and APNG, lossless to the bit, and an APNG's times."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from moving_pictures import ONCE, Source, chunks, decoded, gif_frames, natural, numbered
from PIL import Image

from render.output.animate import Animation, loop_order, write_animation
from render.output.pixels import Pixels


def speckled(index: int) -> Pixels:
    """Noise on a still background: what a lossy encoder can't keep, and where an encoder may store a part only."""
    pixels = natural(0, 64)
    pixels[9:30, index : index + 21] = np.random.default_rng(index // 2).integers(0, 256, (21, 21, 3), np.uint8)
    return pixels  # every second frame is a repeat, but for its place


@pytest.mark.parametrize("make", [speckled, natural, lambda index: natural(index // 3)], ids=["part", "all", "repeats"])
@pytest.mark.parametrize("kind", ["webp", "apng"])
def test_lossless_to_the_bit(tmp_path: Path, kind: str, make: Callable[[int], Pixels]) -> None:
    write_animation(tmp_path / f"a.{kind}", Source(12, make), ONCE)
    for read in (decoded, lambda path: [pixels for pixels, _ in gif_frames(path)]):  # PyAV and Pillow
        frames = read(tmp_path / f"a.{kind}")
        assert len(frames) == 12
        for index, got in enumerate(frames):
            np.testing.assert_array_equal(got, make(index))


@pytest.mark.parametrize(
    ("fps", "delay"),
    [(12, (1, 12)), (60, (1, 60)), (29.97, (100, 2997)), (30000 / 1001, (1001, 30000)), (0.5, (2, 1))],
)
def test_apng_duration_is_exact(tmp_path: Path, fps: float, delay: tuple[int, int]) -> None:
    write_animation(tmp_path / "a.apng", Source(31, lambda i: numbered(i % 30)), Animation(fps=fps, loop="none"))
    assert [struct.unpack(">HH", chunk[20:24]) for chunk in chunks(tmp_path / "a.apng", b"fcTL")] == [delay] * 31


def test_apng_rates_of_large_terms_are_close(tmp_path: Path) -> None:
    """A delay has two 16-bit numbers; 1001/240000 does not fit."""
    write_animation(tmp_path / "a.apng", Source(3, numbered), Animation(fps=240000 / 1001, loop="none"))
    for chunk in chunks(tmp_path / "a.apng", b"fcTL"):
        assert Fraction(*struct.unpack(">HH", chunk[20:24])) * 240000 / 1001 == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize(("loop", "times"), [("none", 1), ("bounce", 0), ("cycle", 0)])  # 0: for ever
def test_lossless_loop_flag(tmp_path: Path, loop: str, times: int) -> None:
    for kind in ("webp", "apng"):
        write_animation(tmp_path / f"a.{kind}", Source(4, numbered), Animation(loop=loop))
        with Image.open(tmp_path / f"a.{kind}") as image:
            assert image.info["loop"] == times
    assert chunks(tmp_path / "a.apng", b"acTL") == [struct.pack(">II", len(loop_order(4, loop)), times)]
