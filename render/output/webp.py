"""Write ordered images as an animated, lossless WebP, image by image.

libwebp's own animation encoder, which Pillow and ffmpeg use, holds the whole file in memory and merges equal neighbours,
so that frames could not be counted. The container is simple enough to write:
https://developers.google.com/speed/webp/docs/riff_container
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from render.output.pixels import Pixels

__all__ = ["read_webp", "write_webp"]

SIDE_MAX = 16383  # pixels, of a lossless image
SIZE_MAX = 2**32 - 2  # bytes, the largest size that fits into a RIFF header
EFFORT = {"lossless": True, "method": 0, "quality": 0}
ANIMATED = 2  # flag of VP8X
OPAQUE = 2  # flag of ANMF: the frame replaces the one before, without blending


def write_webp(path: Path, images: Iterable[Pixels], start_s: Callable[[int], Fraction], forever: bool) -> None:
    """Write images uint8 [H, W, 3] of one size.

    `start_s` maps a frame number to its start, a whole number of milliseconds. The file repeats `forever` or plays once.
    Raises ValueError for sides over 16383 pixels and for files over 4 GiB.
    """
    with path.open("wb") as file:
        for number, pixels in enumerate(images):
            height, width, _ = pixels.shape
            if not number:
                if max(height, width) > SIDE_MAX:
                    raise ValueError(f"required at most {SIDE_MAX} pixels a side for WebP, got {width}×{height}")
                file.write(_head(height, width, forever))
            place = bytes(6) + _uint24(width - 1) + _uint24(height - 1)  # the first six bytes are x and y
            duration_ms = int(1000 * (start_s(number + 1) - start_s(number)))
            file.write(_chunk(b"ANMF", place + _uint24(duration_ms) + bytes([OPAQUE]) + _image(pixels)))
            if file.tell() > SIZE_MAX:
                raise ValueError(f"required less than 4 GiB for WebP, got more in {number + 1} frames")
        size = file.tell()
        file.seek(4)
        file.write((size - 8).to_bytes(4, "little"))


def read_webp(path: Path) -> Iterator[tuple[Fraction, Fraction]]:
    """Decode a WebP frame by frame. Yields start and end of each in seconds. Raises OSError for a broken file."""
    start = Fraction(0)
    with path.open("rb") as file:
        size = int.from_bytes(file.read(12)[4:8], "little") + 8
        if size != (found := os.fstat(file.fileno()).st_size):
            raise OSError(f"{path}: required the size in its header, {size} bytes, got {found} bytes")
        for name, data in _chunks(file):
            if name == b"ANMF":
                with Image.open(io.BytesIO(_riff(data[16:]))) as image:
                    image.load()
                end = start + Fraction(int.from_bytes(data[12:15], "little"), 1000)
                yield start, end
                start = end


def _head(height: int, width: int, forever: bool) -> bytes:
    canvas = bytes([ANIMATED, 0, 0, 0]) + _uint24(width - 1) + _uint24(height - 1)
    loop = b"\xff\xff\xff\xff" + (0 if forever else 1).to_bytes(
        2, "little"
    )  # background colour, then number of repeats
    return _riff(_chunk(b"VP8X", canvas) + _chunk(b"ANIM", loop))  # the file's size is filled in at the end


def _image(pixels: Pixels) -> bytes:
    """Encode an image as a VP8L chunk."""
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


def _uint24(number: int) -> bytes:
    return number.to_bytes(3, "little")
