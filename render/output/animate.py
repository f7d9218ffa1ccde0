"""Ordered images → GIF, MP4, WebP and APNG walks, streamed: memory does not grow with the length.

imageio opens the files and sets up the encoders, through its PyAV plugin: its Pillow plugin, and Pillow's own
`save_all`, hold every frame until the file is closed. WebP has a writer of its own for the same reason. A finished file
is decoded before it takes its name.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import av
import imageio.v3 as iio
import numpy as np
import numpy.typing as npt
from imageio.plugins.pyav import PyAVPlugin

from render.core import FPS_MAX, FPS_MIN, GIF_FPS_MAX, cpu_has, replacing
from render.media import Sound, SoundTrack, sound_seconds
from render.output.gif import centiseconds, copy_with_comment, palette_picture, shared_palette
from render.output.webp import milliseconds, read_webp, write_webp

__all__ = ["FORMATS", "LOOPS", "UNWRITABLE", "Animation", "Frames", "Pixels", "loop_order", "write_animation"]

LOOPS = ("none", "bounce", "cycle")
FORMATS = ("gif", "mp4", "webp", "apng")
CRF_RANGE = (0, 51)
THREADS = 2  # of the encoder and the decoder; x264's output depends on it, so it is not the machine's core count
SOUND_SLACK_S = Fraction(1, 10)
UNWRITABLE = (OSError, RuntimeError, av.FFmpegError)  # what goes wrong with one file, and may go well with the next
PALETTE_FRAMES = 32  # frames a palette is drawn from, at most

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
        if not FPS_MIN <= self.fps <= FPS_MAX:
            raise ValueError(f"fps: required {FPS_MIN:g} to {FPS_MAX:g}, got {self.fps!r}")
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


def write_animation(
    path: Path, frames: Frames, settings: Animation, title: str = "", comment: str = "", sound: Sound | None = None
) -> None:
    """Write `path`, one of FORMATS by its suffix, from images uint8 [H, W, 3]; it appears whole and checked, or not at all.

    `bounce` and `cycle` repeat for ever, `none` plays once; MP4 has no such flag. WebP and APNG are lossless. An odd
    side of an MP4 grows by one pixel, a repeat of the edge. MP4 carries title, comment and sound, GIF the comment. Raises
    ValueError for settings or frames that can't be written, and RuntimeError where the file does not decode to the
    frames and times that were asked for.
    """
    order = loop_order(len(frames), settings.loop)
    kind = path.suffix.removeprefix(".")
    if kind not in FORMATS:
        raise ValueError(f"{path}: required a name that ends in .{' or .'.join(FORMATS)}, got {path.suffix!r}")
    if not order:
        raise ValueError(f"{path}: required at least one frame, got none")
    if kind == "gif" and settings.rate > GIF_FPS_MAX:
        raise ValueError(f"{path}: required at most {GIF_FPS_MAX} fps for a GIF, got {settings.fps:g}")
    with replacing(path) as temporary:
        if kind == "webp":
            _write_webp(temporary, _read(frames, order), settings, len(order))
            return
        encoding = _encoding(kind, frames, settings, len(order))
        tags = {"title": title, "comment": comment} if kind == "mp4" else {}
        pictures = map(encoding.picture, _read(frames, order))
        heard_s = _encode(temporary, pictures, encoding, settings.rate, tags, sound if kind == "mp4" else None)
        if kind == "gif" and comment:
            with replacing(temporary) as commented:
                copy_with_comment(temporary, commented, comment)
        _check(_spans(temporary), encoding.time, len(order), temporary)
        if heard_s:
            _check_sound(temporary, heard_s)


def _write_webp(path: Path, images: Iterator[Pixels], settings: Animation, count: int) -> None:
    def time(number: int) -> Fraction:
        return milliseconds(number / settings.rate)

    write_webp(path, images, time, forever=settings.loop != "none")
    _check(read_webp(path), time, count, path)


@dataclass(frozen=True, slots=True)
class _Encoding:
    """What differs between the formats that PyAV writes."""

    codec: str
    pixel_format: str
    codec_options: dict[str, str]
    container_options: dict[str, str]
    picture: Callable[[Pixels], av.VideoFrame]
    time: Callable[[int], Fraction]  # frame number → seconds at which it starts; the number of frames → duration


def _encoding(kind: str, frames: Frames, settings: Animation, count: int) -> _Encoding:
    if kind == "mp4":
        return _mp4(settings)
    return _apng(settings, count) if kind == "apng" else _gif(frames, settings, count)


def _mp4(settings: Animation) -> _Encoding:
    # With AVX-512, x264's lookahead reads memory that nobody wrote: the same pictures would give one file or another.
    own = {"x264-params": "asm=avx2"} if cpu_has("avx512f") else {}
    tags = {"color_primaries": "bt709", "color_trc": "bt709", "colorspace": "bt709", "color_range": "tv"}
    return _Encoding(
        codec="libx264",
        pixel_format="yuv420p",
        codec_options={"crf": str(settings.crf), "preset": "medium", "threads": str(THREADS), **tags, **own},
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
        return centiseconds(number / settings.rate)

    shown = sorted(
        {round(index) for index in np.linspace(0, len(frames) - 1, min(len(frames), PALETTE_FRAMES)).tolist()}
    )
    palette = shared_palette(_read(frames, shown), len(shown))
    height, width, _ = frames[0].shape
    last_delay = 100 * (time(count) - time(count - 1))  # no later frame tells the muxer how long the last one stays
    return _Encoding(
        codec="gif",
        pixel_format="pal8",
        codec_options={},
        container_options={"loop": "-1" if settings.loop == "none" else "0", "final_delay": str(last_delay)},
        picture=palette_picture(palette, height, width),
        time=time,
    )


def _apng(settings: Animation, count: int) -> _Encoding:
    # The file holds each delay as a fraction of two 16-bit numbers, so it is 1 / rate; ffmpeg's reader rounds each to
    # 10 µs. Of one frame the muxer makes a plain PNG, which its reader takes for a 25th of a second.
    delay = Fraction(math.floor(100_000 / settings.rate + Fraction(1, 2)), 100_000) if count > 1 else Fraction(1, 25)
    return _Encoding(
        codec="apng",
        pixel_format="rgb24",
        codec_options={"pred": "paeth"},
        container_options={"plays": "1" if settings.loop == "none" else "0", "final_delay": str(1 / settings.rate)},
        picture=lambda pixels: av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24"),
        time=lambda number: number * delay,
    )


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


@contextmanager
def _older_objects_apart() -> Iterator[None]:
    """Spare imageio, which collects garbage whenever it closes a file, all that is there now: with torch half a second."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@_older_objects_apart()
def _encode(
    path: Path,
    pictures: Iterator[av.VideoFrame],
    encoding: _Encoding,
    rate: Fraction,
    tags: dict[str, str],
    sound: Sound | None,
) -> Fraction:
    """Write the file. Returns the seconds of sound in it."""
    # Read before the file is opened: closing an encoder that never saw a picture fails, and would hide the first error.
    first = next(pictures)
    with iio.imopen(path, "w", plugin=PyAVPlugin, options=encoding.container_options) as video:
        video.init_video_stream(encoding.codec, fps=float(rate), pixel_format=encoding.pixel_format)
        # The plugin has no arguments for an encoder's options, for ready-made pictures (a palette, a conversion by
        # BT.709), for sound or for rates of large terms (240000/1001), which it rounds; hence its stream and container.
        stream: Any = video._video_stream
        container: Any = video._container
        stream.width, stream.height = first.width, first.height
        stream.time_base = 1 / rate
        stream.options = encoding.codec_options
        container.metadata.update({name: text for name, text in tags.items() if text})
        track = SoundTrack(container, sound) if sound else None
        for number, picture in enumerate(chain([first], pictures)):
            picture.pts, picture.time_base = number, 1 / rate
            container.mux(stream.encode(picture))
            if track:
                track.write_until((number + 1) / rate)
        if not track:
            return Fraction(0)
        track.close()
        return track.written_s


def _spans(path: Path) -> Iterator[tuple[Fraction, Fraction]]:
    """Decode a finished file frame by frame. Yields when each starts and ends, in seconds."""
    with av.open(path) as container:  # imageio's reader converts every frame to RGB, and hides the times
        container.streams.video[0].thread_count = THREADS
        for picture in container.decode(video=0):
            unit = picture.time_base or Fraction(0)
            start = (picture.pts or 0) * unit
            yield start, start + picture.duration * unit


def _check(spans: Iterator[tuple[Fraction, Fraction]], time: Callable[[int], Fraction], count: int, path: Path) -> None:
    """Raises RuntimeError unless a file's frames are `count`, each at its time."""
    number = 0
    for number, got in enumerate(spans, start=1):
        if number > count:
            break
        required = time(number - 1), time(number)
        if got != required:
            times = [f"{float(a):g} to {float(b):g} s" for a, b in (required, got)]
            raise RuntimeError(f"{path}: frame {number - 1}: required at {times[0]}, decoded at {times[1]}")
    if number != count:
        raise RuntimeError(f"{path}: required {count} frames, decoded {'more' if number > count else number}")


def _check_sound(path: Path, required_s: Fraction) -> None:
    """Raises RuntimeError unless a file's sound lasts so long, up to what an encoder adds to fill its last frame."""
    got = sound_seconds(path)
    if abs(got - required_s) > SOUND_SLACK_S:
        raise RuntimeError(f"{path}: required {float(required_s):g} s of sound, decoded {float(got):g} s")
