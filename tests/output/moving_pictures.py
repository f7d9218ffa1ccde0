"""Images made on demand for animations, and files read back with Pillow and PyAV."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from render.output.animate import Animation
from render.output.pixels import Pixels

ONCE = Animation(loop="none")


class Source:
    """Images made on demand; it knows a length and integer indices from 0, and nothing else of a list."""

    def __init__(self, count: int, make: Callable[[int], Pixels]) -> None:
        self.count, self.make = count, make
        self.reads: list[int] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Pixels:
        assert type(index) is int
        assert 0 <= index < self.count
        self.reads.append(index)
        return self.make(index)


def flat(*rgb: int, size: tuple[int, int] = (16, 16)) -> Pixels:
    return np.full((*size, 3), rgb, np.uint8)


def numbered(index: int) -> Pixels:
    """An image that tells its number by its grey level: 8, 16, 24, …"""
    return flat(*[8 * (index + 1)] * 3, size=(24, 32))


def natural(index: int, size: int = 96) -> Pixels:
    """Soft coloured waves that drift from frame to frame."""
    y, x = np.mgrid[:size, :size] / size
    waves = [np.sin(5 * x + 0.05 * index + k) * np.cos(4 * y - 0.03 * index * k) for k in range(3)]
    return np.rint(127.5 + 110 * np.stack(waves, axis=-1)).astype(np.uint8)


def picture_count(image: Image.Image) -> int:
    count: int = image.n_frames  # type: ignore[attr-defined]  # of the classes for files that may hold several
    return count


def seconds(ticks: int | None, time_base: Fraction | None) -> Fraction:
    """PyAV's time of a stream or a frame, which must have one."""
    assert ticks is not None
    assert time_base is not None
    return ticks * time_base


def gif_frames(path: Path) -> list[tuple[Pixels, int]]:
    """(pixels, milliseconds) of every frame, by Pillow."""
    frames = []
    with Image.open(path) as image:
        for number in range(picture_count(image)):
            image.seek(number)
            image.load()  # a WebP tells the duration only then
            frames.append((np.asarray(image.convert("RGB")), image.info["duration"]))
    return frames


def decoded(path: Path) -> list[Pixels]:
    """Every frame in RGB, by PyAV, which goes by the file's colour tags; of WebP, which it can't read, by Pillow."""
    if path.suffix == ".webp":
        return [frame for frame, _ in gif_frames(path)]
    with av.open(path) as container:
        return [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in container.decode(video=0)]


def error(got: Pixels, required: Pixels) -> float:
    return float(np.abs(got.astype(int) - required).mean())


def chunks(path: Path, name: bytes) -> list[bytes]:
    """The contents of a PNG's chunks of one name."""
    data, place, found = path.read_bytes(), 8, []
    while place < len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        found += [data[place + 8 : place + 8 + size]] * (kind == name)
        place += size + 12
    return found
