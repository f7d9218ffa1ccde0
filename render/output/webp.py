"""Ordered images → an animated, lossless WebP, image by image.

libwebp's own animation encoder, which Pillow and ffmpeg use, holds the file until its end, and merges equal neighbours,
so that frames can't be counted. The container is simple enough to write:
https://developers.google.com/speed/webp/docs/riff_container
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = ["milliseconds", "read_webp", "write_webp"]

SIDE_MAX = 16383  # pixels, of a lossless image
SIZE_MAX = 2**32 - 2  # bytes that a RIFF header can tell
EFFORT = {"lossless": True, "method": 0, "quality": 0}
ANIMATED = 2  # flag of VP8X
OPAQUE = 2  # flag of ANMF: replaces what was there, no blending

Pixels: TypeAlias = npt.NDArray[np.uint8]


def milliseconds(seconds: Fraction) -> Fraction:
    """A frame's start in seconds, to the nearest millisecond: starts are rounded, so errors of durations don't add up."""
    return Fraction(math.floor(1000 * seconds + Fraction(1, 2)), 1000)


def write_webp(path: Path, images: Iterable[Pixels], time: Callable[[int], Fraction], forever: bool) -> None:
    """Write images uint8 [H, W, 3] of one size; `time` tells the second at which a frame starts, in milliseconds.

    It repeats for ever or plays once. Raises ValueError for sides over 16383 pixels and for files over 4 GiB.
    """
    with path.open("wb") as file:
        for number, pixels in enumerate(images):
            height, width, _ = pixels.shape
            if not number:
                if max(height, width) > SIDE_MAX:
                    raise ValueError(f"required at most {SIDE_MAX} pixels a side for WebP, got {width}×{height}")
                file.write(_head(height, width, forever))
            place = bytes(6) + _three(width - 1) + _three(height - 1)  # the first six bytes are x and y
            duration = int(1000 * (time(number + 1) - time(number)))
            file.write(_chunk(b"ANMF", place + _three(duration) + bytes([OPAQUE]) + _image(pixels)))
            if file.tell() > SIZE_MAX:
                raise ValueError(f"required less than 4 GiB for WebP, got more in {number + 1} frames")
        size = file.tell()
        file.seek(4)
        file.write((size - 8).to_bytes(4, "little"))


def read_webp(path: Path) -> Iterator[tuple[Fraction, Fraction]]:
    """Decode the frames of a WebP one by one. Yields when each starts and ends, in seconds; raises OSError if broken."""
    start = Fraction(0)
    with path.open("rb") as file:
        size = int.from_bytes(file.read(12)[4:8], "little") + 8
        if size != os.fstat(file.fileno()).st_size:
            raise OSError(f"{path}: required the size that its header tells, {size} bytes")
        for name, data in _chunks(file):
            if name == b"ANMF":
                with Image.open(io.BytesIO(_riff(data[16:]))) as image:
                    image.load()
                end = start + Fraction(int.from_bytes(data[12:15], "little"), 1000)
                yield start, end
                start = end


def _head(height: int, width: int, forever: bool) -> bytes:
    canvas = bytes([ANIMATED, 0, 0, 0]) + _three(width - 1) + _three(height - 1)
    loop = b"\xff\xff\xff\xff" + (0 if forever else 1).to_bytes(2, "little")  # the background's colour, then how often
    return _riff(_chunk(b"VP8X", canvas) + _chunk(b"ANIM", loop))  # the size is told at the end


def _image(pixels: Pixels) -> bytes:
    """An image as a chunk VP8L."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", **EFFORT)
    return buffer.getvalue()[12:]


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + len(data).to_bytes(4, "little") + data + bytes(len(data) % 2)


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    while head := file.read(8):
        size = int.from_bytes(head[4:], "little")
        yield head[:4], file.read(size + size % 2)[:size]


def _riff(data: bytes) -> bytes:
    return b"RIFF" + (4 + len(data)).to_bytes(4, "little") + b"WEBP" + data


def _three(number: int) -> bytes:
    return number.to_bytes(3, "little")
