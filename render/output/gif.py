"""Choose a GIF's palette, convert images to it with one dither for the whole walk, and add a comment."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from render.output.pixels import Pixels

__all__ = ["choose_palette", "copy_with_comment", "picture_maker"]

PALETTE_PIXELS = 2**15  # pixels that a palette is chosen from, about; four times as many take 1.4 s for 1 % less error
DITHER_RANGE = (4.0, 16.0)  # amplitude in levels of 0 … 255; see _dither


def picture_maker(palette: Image.Image, height: int, width: int) -> Callable[[Pixels], av.VideoFrame]:
    """Make the function that turns an image [height, width, 3] into a GIF's picture of 8-bit palette indices."""
    colours = np.array(palette.getpalette(), np.uint8).reshape(-1, 3)
    argb = np.full((256, 4), 255, np.uint8)
    argb[: len(colours), 1:] = colours
    dither = _dither(colours, height, width)

    def picture(pixels: Pixels) -> av.VideoFrame:
        shifted = np.clip(pixels + dither, 0, 255).astype(np.uint8)
        indices = Image.fromarray(shifted).quantize(palette=palette, dither=Image.Dither.NONE)
        # Typed as one array, but for pal8 PyAV asks for a pair.
        return av.VideoFrame.from_ndarray((np.asarray(indices), argb), format="pal8")  # type: ignore[arg-type]

    return picture


def choose_palette(images: Iterable[Pixels], count: int) -> Image.Image:
    """Choose up to 256 colours from pixels spread evenly over `count` images. Returns a palette image."""
    samples = []
    for pixels in images:
        step = math.ceil(math.sqrt(pixels.shape[0] * pixels.shape[1] * count / PALETTE_PIXELS))
        samples.append(pixels[::step, ::step].reshape(1, -1, 3).copy())  # a view would keep the frame alive
    # k-means after the median cut takes a sixth off the error.
    return Image.fromarray(np.concatenate(samples, axis=1)).quantize(256, Image.Quantize.MEDIANCUT, kmeans=1)


def _dither(colours: Pixels, height: int, width: int) -> npt.NDArray[np.int16]:
    """Make an ordered dither [H, W, 1], to be added to every image: a pixel that does not change stays as it is.

    Error diffusion would flicker, and without a dither soft gradients would show contours. The amplitude is the median
    distance between neighbouring colours of the palette: at most 16 to stay fine, at least 4 because Pillow looks up a
    colour as the lowest corner of its cell of 4 levels. For the same reason 2 is added: without it pictures come out
    1.5 levels too dark.
    """
    squares = ((colours[:, None].astype(np.int32) - colours[None]) ** 2).sum(-1)
    nearest = np.sort(squares, axis=1)[:, min(1, len(colours) - 1)]
    amplitude = np.clip(math.sqrt(float(np.median(nearest)) / 3), *DITHER_RANGE)
    bayer = np.zeros((1, 1))
    for _ in range(3):
        bayer = np.block([[4 * bayer, 4 * bayer + 2], [4 * bayer + 3, 4 * bayer + 1]])
    tile = np.floor(((bayer + 0.5) / 64 - 0.5) * amplitude + 2).astype(np.int16)
    return np.tile(tile, (height // 8 + 1, width // 8 + 1))[:height, :width, None]


def copy_with_comment(source: Path, target: Path, comment: str) -> None:
    """Copy a GIF and insert a comment (UTF-8) before its first image, where readers look; ffmpeg can't write one."""
    with source.open("rb") as read, target.open("wb") as write:
        header = read.read(13)
        colours = 2 << (header[10] & 7) if header[10] & 0x80 else 0  # of the global palette, which follows the header
        write.write(header + read.read(3 * colours))
        write.writelines(_comment_blocks(comment.encode()))
        shutil.copyfileobj(read, write)


def _comment_blocks(data: bytes) -> Iterator[bytes]:
    yield b"\x21\xfe"
    for first in range(0, len(data), 255):
        block = data[first : first + 255]
        yield bytes([len(block)]) + block
    yield b"\x00"
