"""Write ordered images as GIF, MP4, WebP or APNG, frame by frame: memory does not grow with the length.

imageio opens the files through its PyAV plugin: its Pillow plugin and Pillow's own `save_all` hold every frame until the
file is closed. For the same reason WebP has a writer of our own. A finished file is decoded before it takes its name.
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
from imageio.plugins.pyav import PyAVPlugin

from render.core import FPS_MAX, FPS_MIN, GIF_FPS_MAX, cpu_has, replacing
from render.job import ANIMATION_FORMATS, ANIMATION_LOOPS, CRF_MAX
from render.media import Sound, SoundTrack, sound_seconds
from render.output.gif import choose_palette, copy_with_comment, picture_maker
from render.output.pixels import Pixels, check_pixels
from render.output.webp import read_webp, write_webp

__all__ = ["UNWRITABLE", "Animation", "Frames", "loop_order", "write_animation"]

THREADS = 2  # of the encoder and the decoder; x264's output depends on it, so it is not the machine's core count
SOUND_SLACK_S = Fraction(1, 10)
UNWRITABLE = (OSError, RuntimeError, av.FFmpegError)  # errors of one file, after which the next may still succeed
PALETTE_FRAMES = 32  # frames that a palette is chosen from, at most
CENTISECOND, MILLISECOND = 100, 1000  # ticks a second: of a GIF, of a WebP

Span: TypeAlias = tuple[Fraction, Fraction]  # start and end of a frame in seconds


class Frames(Protocol):
    """Images of a walk, uint8 `[H, W, 3]` of one size; indices are asked for in order, up or down."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Pixels: ...


@dataclass(frozen=True, slots=True)
class Animation:
    """Settings of playing and encoding. Raises ValueError for a value out of range."""

    fps: float = 12.0  # 0.1 … 240, for a GIF at most GIF_FPS_MAX
    loop: str = "bounce"  # one of ANIMATION_LOOPS
    crf: int = 18  # quality of an MP4, 0 (lossless, but few browsers play it) … 51 (worst)

    def __post_init__(self) -> None:
        if not FPS_MIN <= self.fps <= FPS_MAX:
            raise ValueError(f"fps: required {FPS_MIN:g} to {FPS_MAX:g}, got {self.fps!r}")
        if self.loop not in ANIMATION_LOOPS:
            raise ValueError(f"loop: required one of {', '.join(ANIMATION_LOOPS)}, got {self.loop!r}")
        if not 0 <= self.crf <= CRF_MAX:
            raise ValueError(f"crf: required 0 to {CRF_MAX}, got {self.crf!r}")

    @property
    def rate(self) -> Fraction:
        """Frames per second in the file: `fps` as a fraction with a denominator up to 1001.

        >>> Animation(fps=29.97).rate, Animation(fps=30000 / 1001).rate
        (Fraction(2997, 100), Fraction(30000, 1001))
        """
        return Fraction(self.fps).limit_denominator(1001)


def loop_order(count: int, loop: str) -> list[int]:
    """List the frame indices that a file shows in order. `bounce` goes there and back, without showing either end twice.

    >>> loop_order(4, "bounce"), loop_order(4, "cycle")
    ([0, 1, 2, 3, 2, 1], [0, 1, 2, 3])
    """
    back = range(count - 2, 0, -1) if loop == "bounce" else ()
    return [*range(count), *back]


def write_animation(
    path: Path, frames: Frames, settings: Animation, title: str = "", comment: str = "", sound: Sound | None = None
) -> None:
    """Write images uint8 [H, W, 3] in the format of `path`'s suffix; the file appears whole and checked, or not at all.

    `bounce` and `cycle` repeat for ever, `none` plays once; MP4 has no such flag. WebP and APNG are lossless. An odd
    side of an MP4 grows by one pixel, a repeat of the edge. MP4 carries title, comment and sound, GIF the comment.
    Raises ValueError for settings or frames that can't be written, and RuntimeError when the file decodes to other
    frames or times.
    """
    order = loop_order(len(frames), settings.loop)
    kind = path.suffix.removeprefix(".")
    if kind not in ANIMATION_FORMATS:
        raise ValueError(
            f"{path}: required a name that ends in .{' or .'.join(ANIMATION_FORMATS)}, got {path.suffix!r}"
        )
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
        _check(_spans(temporary), encoding.start_s, len(order), temporary)
        if heard_s:
            _check_sound(temporary, heard_s)


def _write_webp(path: Path, images: Iterator[Pixels], settings: Animation, count: int) -> None:
    def start_s(number: int) -> Fraction:
        return _round(number / settings.rate, MILLISECOND)

    write_webp(path, images, start_s, forever=settings.loop != "none")
    _check(read_webp(path), start_s, count, path)


def _round(time_s: Fraction, ticks_per_s: int) -> Fraction:
    """Round a time, half up. Starts are rounded, not durations: errors don't add up (GIF at 24 fps: 4, 4, 5, … 1/100 s)."""
    return Fraction(math.floor(ticks_per_s * time_s + Fraction(1, 2)), ticks_per_s)


@dataclass(frozen=True, slots=True)
class _Encoding:
    """Differences between the formats that PyAV writes."""

    codec: str
    pixel_format: str
    codec_options: dict[str, str]
    container_options: dict[str, str]
    picture: Callable[[Pixels], av.VideoFrame]
    start_s: Callable[[int], Fraction]  # frame number → its start; number of frames → duration of the file


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
        start_s=lambda number: number / settings.rate,
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
    def start_s(number: int) -> Fraction:
        return _round(number / settings.rate, CENTISECOND)

    shown = sorted(
        {round(index) for index in np.linspace(0, len(frames) - 1, min(len(frames), PALETTE_FRAMES)).tolist()}
    )
    palette = choose_palette(_read(frames, shown), len(shown))
    height, width, _ = frames[0].shape
    last_delay = CENTISECOND * (start_s(count) - start_s(count - 1))  # the muxer can't take it from a next frame
    return _Encoding(
        codec="gif",
        pixel_format="pal8",
        codec_options={},
        container_options={"loop": "-1" if settings.loop == "none" else "0", "final_delay": str(last_delay)},
        picture=picture_maker(palette, height, width),
        start_s=start_s,
    )


def _apng(settings: Animation, count: int) -> _Encoding:
    # The file holds each delay exactly, as a fraction of two 16-bit numbers; ffmpeg's reader rounds it to 10 µs. A single
    # frame is written as a plain PNG, which the reader takes to last 1/25 s.
    delay = _round(1 / settings.rate, 100_000) if count > 1 else Fraction(1, 25)
    return _Encoding(
        codec="apng",
        pixel_format="rgb24",
        codec_options={"pred": "paeth"},
        container_options={"plays": "1" if settings.loop == "none" else "0", "final_delay": str(1 / settings.rate)},
        picture=lambda pixels: av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24"),
        start_s=lambda number: number * delay,
    )


def _read(frames: Frames, order: list[int]) -> Iterator[Pixels]:
    """Yield the frames of `order` one by one. Raises ValueError for a frame of another type or size."""
    size: tuple[int, ...] | None = None
    for index in order:
        pixels = frames[index]
        check_pixels(pixels, f"frame {index}")
        size = size or pixels.shape
        if pixels.shape != size:
            raise ValueError(f"frame {index}: required the first one's size {list(size)}, got {list(pixels.shape)}")
        yield pixels


@contextmanager
def _older_objects_apart() -> Iterator[None]:
    """Hide existing objects from the garbage collection that imageio starts with every file; with torch it takes 0.5 s."""
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
    """Encode and write the file. Returns the seconds of sound in it."""
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


def _spans(path: Path) -> Iterator[Span]:
    """Decode a finished file frame by frame. Yields start and end of each in seconds."""
    with av.open(path) as container:  # imageio's reader converts every frame to RGB, and hides the times
        container.streams.video[0].thread_count = THREADS
        for picture in container.decode(video=0):
            unit = picture.time_base or Fraction(0)
            start = (picture.pts or 0) * unit
            yield start, start + picture.duration * unit


def _check(spans: Iterator[Span], start_s: Callable[[int], Fraction], count: int, path: Path) -> None:
    """Raise RuntimeError unless a file has `count` frames, each at its time."""
    number = 0
    for number, got in enumerate(spans, start=1):
        if number > count:
            break
        required = start_s(number - 1), start_s(number)
        if got != required:
            times = [f"{float(a):g} to {float(b):g} s" for a, b in (required, got)]
            raise RuntimeError(f"{path}: frame {number - 1}: required at {times[0]}, decoded at {times[1]}")
    if number != count:
        raise RuntimeError(f"{path}: required {count} frames, decoded {'more' if number > count else number}")


def _check_sound(path: Path, required_s: Fraction) -> None:
    """Raise RuntimeError unless a file's sound has this length; encoders fill up their last frame, hence the slack."""
    got = sound_seconds(path)
    if abs(got - required_s) > SOUND_SLACK_S:
        raise RuntimeError(f"{path}: required {float(required_s):g} s of sound, decoded {float(got):g} s")
