"""Ordered images → GIF and MP4 walks, streamed: memory does not grow with the length.

imageio opens the files and sets up the encoders, through its PyAV plugin for both formats: its Pillow plugin, and
Pillow's own `save_all`, hold every frame until the file is closed. A finished file is decoded before it takes its name.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, TypeAlias
from uuid import uuid4

import av
import imageio.v3 as iio
import numpy as np
import numpy.typing as npt
from imageio.plugins.pyav import PyAVPlugin
from PIL import Image

__all__ = ["FORMATS", "GIF_FPS_MAX", "LOOPS", "Animation", "Frames", "Pixels", "loop_order", "write_animation"]

LOOPS = ("none", "bounce", "cycle")
FORMATS = ("gif", "mp4")
GIF_FPS_MAX = 50  # a delay of 2 centiseconds; browsers play shorter ones as 10
FPS_RANGE = (0.1, 240.0)
CRF_RANGE = (0, 51)
THREADS = 2  # of the encoder and the decoder; x264's output depends on it, so it is not the machine's core count
PALETTE_FRAMES = 32  # frames a palette is drawn from, at most
PALETTE_PIXELS = 2**15  # pixels a palette is drawn from, about; four times as many cost 1.4 s more for 1 % less error
DITHER_RANGE = (4.0, 16.0)  # levels; see _dither

Pixels: TypeAlias = npt.NDArray[np.uint8]


class Frames(Protocol):
    """The images of a walk: uint8 `[H, W, 3]` of one size, read by index in neighbouring order, up or down."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Pixels: ...


@dataclass(frozen=True, slots=True)
class Animation:
    """How a walk is played and encoded. Raises ValueError for a value out of range."""

    fps: float = 12.0  # 0.1 … 240, for a GIF at most GIF_FPS_MAX
    loop: str = "bounce"  # one of LOOPS
    crf: int = 18  # quality of an MP4, 0 … 51, less is better; 0 is lossless, in a profile that few browsers play

    def __post_init__(self) -> None:
        if not FPS_RANGE[0] <= self.fps <= FPS_RANGE[1]:
            raise ValueError(f"fps: required {FPS_RANGE[0]:g} to {FPS_RANGE[1]:g}, got {self.fps!r}")
        if self.loop not in LOOPS:
            raise ValueError(f"loop: required one of {', '.join(LOOPS)}, got {self.loop!r}")
        if not CRF_RANGE[0] <= self.crf <= CRF_RANGE[1]:
            raise ValueError(f"crf: required {CRF_RANGE[0]} to {CRF_RANGE[1]}, got {self.crf!r}")

    @property
    def rate(self) -> Fraction:
        """The frames per second that are written: `fps` as a fraction with a denominator up to 1001.

        >>> Animation(fps=29.97).rate, Animation(fps=30000 / 1001).rate
        (Fraction(2997, 100), Fraction(30000, 1001))
        """
        return Fraction(self.fps).limit_denominator(1001)


def loop_order(count: int, loop: str) -> list[int]:
    """The indices of a file's frames. `bounce` goes there and back, without showing either end twice.

    >>> loop_order(4, "bounce"), loop_order(4, "cycle")
    ([0, 1, 2, 3, 2, 1], [0, 1, 2, 3])
    """
    back = range(count - 2, 0, -1) if loop == "bounce" else ()
    return [*range(count), *back]


def write_animation(path: Path, frames: Frames, settings: Animation) -> None:
    """Write `path`, a .gif or .mp4, from images uint8 [H, W, 3]; it appears whole and checked, or not at all.

    A GIF of `bounce` or `cycle` repeats for ever, one of `none` plays once; MP4 has no such flag. An odd side of an MP4
    grows by one pixel, a repeat of the edge. Raises ValueError for settings or frames that can't be written, and
    RuntimeError where the file does not decode to the frames and times that were asked for.
    """
    order = loop_order(len(frames), settings.loop)
    if not order:
        raise ValueError(f"{path}: required at least one frame, got none")
    encoding = _encoding(path, frames, settings, len(order))
    with _replacing(path) as temporary:
        _encode(temporary, map(encoding.picture, _read(frames, order)), encoding, settings.rate)
        _check(temporary, len(order), encoding)


@dataclass(frozen=True, slots=True)
class _Encoding:
    """What differs between the formats."""

    codec: str
    pixel_format: str
    codec_options: dict[str, str]
    container_options: dict[str, str]
    picture: Callable[[Pixels], av.VideoFrame]
    time: Callable[[int], Fraction]  # frame number → seconds at which it starts; the number of frames → duration


def _encoding(path: Path, frames: Frames, settings: Animation, count: int) -> _Encoding:
    kind = path.suffix.removeprefix(".")
    if kind not in FORMATS:
        raise ValueError(f"{path}: required a name that ends in .{' or .'.join(FORMATS)}, got {path.suffix!r}")
    if kind == "mp4":
        return _mp4(settings)
    if settings.rate > GIF_FPS_MAX:
        raise ValueError(f"{path}: required at most {GIF_FPS_MAX} fps for a GIF, got {settings.fps:g}")
    return _gif(frames, settings, count)


def _mp4(settings: Animation) -> _Encoding:
    tags = {"color_primaries": "bt709", "color_trc": "bt709", "colorspace": "bt709", "color_range": "tv"}
    return _Encoding(
        codec="libx264",
        pixel_format="yuv420p",
        codec_options={"crf": str(settings.crf), "preset": "medium", "threads": str(THREADS), **tags},
        container_options={"movflags": "+faststart"},
        picture=_yuv_picture,
        time=lambda number: number / settings.rate,
    )


def _yuv_picture(pixels: Pixels) -> av.VideoFrame:
    # Left to the encoder, the conversion would take BT.601's matrix, and players that trust the tags would show other
    # colours. yuv420p needs even sides.
    height, width, _ = pixels.shape
    even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return av.VideoFrame.from_ndarray(even, format="rgb24").reformat(
        format="yuv420p",
        src_colorspace="ITU709",
        dst_colorspace="ITU709",
        src_color_range="JPEG",
        dst_color_range="MPEG",
        threads=1,
    )


def _gif(frames: Frames, settings: Animation, count: int) -> _Encoding:
    def time(number: int) -> Fraction:
        # Delays are whole centiseconds. The muxer rounds each frame's start, not its delay, so that errors don't add up
        # (24 fps: 4, 4, 5, …); so does this.
        return Fraction(math.floor(100 * number / settings.rate + Fraction(1, 2)), 100)

    last_delay = 100 * (time(count) - time(count - 1))  # no later frame tells the muxer how long the last one stays
    return _Encoding(
        codec="gif",
        pixel_format="pal8",
        codec_options={},
        container_options={"loop": "-1" if settings.loop == "none" else "0", "final_delay": str(last_delay)},
        picture=_palette_picture(frames),
        time=time,
    )


def _palette_picture(frames: Frames) -> Callable[[Pixels], av.VideoFrame]:
    """The map from an image to a GIF's picture: one palette and one dither for the whole walk."""
    palette = _shared_palette(frames)
    colours = np.array(palette.getpalette(), np.uint8).reshape(-1, 3)
    argb = np.full((256, 4), 255, np.uint8)
    argb[: len(colours), 1:] = colours
    height, width, _ = frames[0].shape
    dither = _dither(colours, height, width)

    def picture(pixels: Pixels) -> av.VideoFrame:
        shifted = np.clip(pixels + dither, 0, 255).astype(np.uint8)
        indices = Image.fromarray(shifted).quantize(palette=palette, dither=Image.Dither.NONE)
        # Typed as one array, but for pal8 PyAV asks for a pair.
        return av.VideoFrame.from_ndarray((np.asarray(indices), argb), format="pal8")  # type: ignore[arg-type]

    return picture


def _shared_palette(frames: Frames) -> Image.Image:
    """A palette image of up to 256 colours, from pixels spread evenly over the frames and the time of the walk."""
    count = len(frames)
    shown = sorted({round(index) for index in np.linspace(0, count - 1, min(count, PALETTE_FRAMES)).tolist()})
    samples = []
    for pixels in _read(frames, shown):
        step = math.ceil(math.sqrt(pixels.shape[0] * pixels.shape[1] * len(shown) / PALETTE_PIXELS))
        samples.append(pixels[::step, ::step].reshape(1, -1, 3).copy())  # a view would keep the frame alive
    # k-means after the median cut takes a sixth off the error.
    return Image.fromarray(np.concatenate(samples, axis=1)).quantize(256, Image.Quantize.MEDIANCUT, kmeans=1)


def _dither(colours: Pixels, height: int, width: int) -> npt.NDArray[np.int16]:
    """Ordered dither [H, W, 1]: what is added to a pixel depends on its place alone, so a still pixel stays still.

    Error diffusion would crawl, and no dither draws contours into soft gradients. The amplitude is the palette's usual
    step between neighbours, at most 16 to stay fine, at least 4: Pillow looks a colour up as the lowest corner of its
    cell of 4 levels. Hence the 2 as well, without which a picture comes out 1.5 levels too dark.
    """
    squares = ((colours[:, None].astype(np.int32) - colours[None]) ** 2).sum(-1)
    nearest = np.sort(squares, axis=1)[:, min(1, len(colours) - 1)]
    amplitude = np.clip(math.sqrt(float(np.median(nearest)) / 3), *DITHER_RANGE)
    bayer = np.zeros((1, 1))
    for _ in range(3):
        bayer = np.block([[4 * bayer, 4 * bayer + 2], [4 * bayer + 3, 4 * bayer + 1]])
    tile = np.floor(((bayer + 0.5) / 64 - 0.5) * amplitude + 2).astype(np.int16)
    return np.tile(tile, (height // 8 + 1, width // 8 + 1))[:height, :width, None]


def _read(frames: Frames, order: list[int]) -> Iterator[Pixels]:
    """The frames of `order`, one at a time. Raises ValueError for one of another type or size."""
    size: tuple[int, ...] | None = None
    for index in order:
        pixels = frames[index]
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise ValueError(f"frame {index}: required uint8 [H, W, 3], got {pixels.dtype} {list(pixels.shape)}")
        size = size or pixels.shape
        if pixels.shape != size:
            raise ValueError(f"frame {index}: required the first one's size {list(size)}, got {list(pixels.shape)}")
        yield pixels


def _encode(path: Path, pictures: Iterator[av.VideoFrame], encoding: _Encoding, rate: Fraction) -> None:
    # Read before the file is opened: closing an encoder that never saw a picture fails, and would hide the first error.
    first = next(pictures)
    with iio.imopen(path, "w", plugin=PyAVPlugin, options=encoding.container_options) as video:
        video.init_video_stream(encoding.codec, fps=float(rate), pixel_format=encoding.pixel_format)
        # The plugin has no arguments for an encoder's options, for ready-made pictures (a palette, a conversion by
        # BT.709) or for rates of large terms (240000/1001), which it rounds; hence its own stream and container.
        stream: Any = video._video_stream
        container: Any = video._container
        stream.width, stream.height = first.width, first.height
        stream.time_base = 1 / rate
        stream.options = encoding.codec_options
        for number, picture in enumerate(chain([first], pictures)):
            picture.pts, picture.time_base = number, 1 / rate
            container.mux(stream.encode(picture))


def _check(path: Path, count: int, encoding: _Encoding) -> None:
    """Decode a finished file. Raises RuntimeError unless it holds `count` frames, each at its time."""
    number = 0
    with av.open(path) as container:  # imageio's reader converts every frame to RGB, and hides the times
        container.streams.video[0].thread_count = THREADS
        for number, picture in enumerate(container.decode(video=0), start=1):
            unit = picture.time_base or Fraction(0)
            start = (picture.pts or 0) * unit
            got = start, start + picture.duration * unit
            required = encoding.time(number - 1), encoding.time(number)
            if got != required:
                times = [f"{float(a):g} to {float(b):g} s" for a, b in (required, got)]
                raise RuntimeError(f"{path}: frame {number - 1}: required at {times[0]}, decoded at {times[1]}")
    if number != count:
        raise RuntimeError(f"{path}: required {count} frames, decoded {number}")


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A hidden name beside `path` to write to; what is there in the end becomes `path`, after an error nothing does."""
    temporary = path.with_name(f".animation-{uuid4().hex}{path.suffix}")
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
