"""Walks as files, read back with Pillow and PyAV."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import tracemalloc
import weakref
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from render.output import animate, gif, webp
from render.output.animate import FORMATS, Animation, Pixels, loop_order, write_animation

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


def gif_frames(path: Path) -> list[tuple[Pixels, int]]:
    """(pixels, milliseconds) of every frame, by Pillow."""
    frames = []
    with Image.open(path) as image:
        for number in range(image.n_frames):
            image.seek(number)
            image.load()  # a WebP tells the duration only then
            frames.append((np.asarray(image.convert("RGB")), image.info["duration"]))
    return frames


def decoded(path: Path) -> list[Pixels]:
    """Every frame in RGB, by PyAV, which goes by the file's colour tags; of WebP, which it can't read, by Pillow."""
    if path.suffix == ".webp":
        return [frame for frame, _ in gif_frames(path)]
    with av.open(path) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def error(got: Pixels, required: Pixels) -> float:
    return float(np.abs(got.astype(int) - required).mean())


@pytest.mark.parametrize(
    ("count", "loop", "order"),
    [
        (1, "none", [0]),
        (3, "none", [0, 1, 2]),
        (3, "cycle", [0, 1, 2]),
        (1, "bounce", [0]),
        (2, "bounce", [0, 1]),  # the way back is the repeat itself
        (3, "bounce", [0, 1, 2, 1]),
        (5, "bounce", [0, 1, 2, 3, 4, 3, 2, 1]),
        (0, "bounce", []),
    ],
)
def test_loop_order(count: int, loop: str, order: list[int]) -> None:
    assert loop_order(count, loop) == order


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"fps": 0}, "fps: required 0.1 to 240, got 0"),
        ({"fps": float("nan")}, "fps: .* got nan"),
        ({"fps": 241}, "fps: .* got 241"),
        ({"loop": "boomerang"}, "loop: required one of none, bounce, cycle, got 'boomerang'"),
        ({"crf": 52}, "crf: required 0 to 51, got 52"),
        ({"crf": -1}, "crf: .* got -1"),
    ],
)
def test_settings_out_of_range(values: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Animation(**values)


@pytest.mark.parametrize("still", [False, True], ids=["moving", "still"])
@pytest.mark.parametrize(
    ("fps", "delays_cs"),
    [
        (10, [10, 10, 10, 10]),
        (12, [8, 9, 8, 8]),
        (24, [4, 4, 5, 4]),
        (25, [4, 4, 4, 4]),
        (29.97, [3, 4, 3, 3]),
        (30, [3, 4, 3, 3]),
        (40, [3, 2, 3, 2]),
        (50, [2, 2, 2, 2]),
    ],
)
def test_gif_duration_is_exact(tmp_path: Path, fps: float, delays_cs: list[int], still: bool) -> None:
    for count in (30, 31, 37):  # the last delay matters where the count is not a whole number of rounds
        path = tmp_path / f"{count}.gif"
        write_animation(
            path, Source(count, lambda i: numbered(0 if still else i % 30)), Animation(fps=fps, loop="none")
        )
        delays = [ms for _, ms in gif_frames(path)]
        assert delays[:4] == [10 * cs for cs in delays_cs]
        assert abs(sum(delays) - 1000 * count / fps) <= 5
        assert len(delays) == count


@pytest.mark.parametrize(
    ("fps", "rate"),
    [
        (12, Fraction(12)),
        (24, Fraction(24)),
        (29.97, Fraction(2997, 100)),
        (30000 / 1001, Fraction(30000, 1001)),
        (60, Fraction(60)),
        (240000 / 1001, Fraction(240000, 1001)),  # imageio rounds this one's time base
        (0.5, Fraction(1, 2)),
    ],
)
@pytest.mark.parametrize("count", [1, 2, 37])
def test_mp4_duration_is_exact(tmp_path: Path, fps: float, rate: Fraction, count: int) -> None:
    path = tmp_path / "a.mp4"
    write_animation(path, Source(count, lambda i: numbered(i % 30)), Animation(fps=fps, loop="none"))
    with av.open(path) as container:
        stream = container.streams.video[0]
        assert stream.duration * stream.time_base == count / rate
        assert stream.average_rate == rate
        assert stream.frames == count
        assert [f.pts * f.time_base for f in container.decode(stream)] == [i / rate for i in range(count)]


@pytest.mark.parametrize("loop", animate.LOOPS)
@pytest.mark.parametrize("kind", FORMATS)
def test_order_of_the_frames(tmp_path: Path, kind: str, loop: str) -> None:
    source = Source(24, numbered)
    path = tmp_path / f"walk.{kind}"
    write_animation(path, source, Animation(loop=loop))
    order = loop_order(24, loop)
    assert [round(f.mean() / 8) - 1 for f in decoded(path)] == order
    assert source.reads[-len(order) :] == order
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(("loop", "flag"), [("none", None), ("bounce", 0), ("cycle", 0)])  # 0: for ever
@pytest.mark.parametrize("count", [1, 4])
def test_gif_loop_flag(tmp_path: Path, loop: str, flag: int | None, count: int) -> None:
    write_animation(tmp_path / "a.gif", Source(count, numbered), Animation(loop=loop))
    with Image.open(tmp_path / "a.gif") as image:
        assert image.info.get("loop") == flag


def test_one_frame(tmp_path: Path) -> None:
    for kind in FORMATS:
        write_animation(tmp_path / f"a.{kind}", [natural(0)], Animation(fps=12))
        (frame,) = decoded(tmp_path / f"a.{kind}")
        assert error(frame, natural(0)) < 6
    assert [ms for _, ms in gif_frames(tmp_path / "a.gif")] == [80]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (33, 48), (48, 33), (51, 35)])
def test_odd_sizes(tmp_path: Path, height: int, width: int) -> None:
    frames = [natural(i)[:height, :width] for i in range(3)]
    for kind in FORMATS:
        write_animation(tmp_path / f"a.{kind}", frames, ONCE)
    assert {f.shape for f in decoded(tmp_path / "a.gif")} == {(height, width, 3)}
    for got, source in zip(decoded(tmp_path / "a.mp4"), frames, strict=True):
        assert got.shape == (height + height % 2, width + width % 2, 3)
        assert error(got[:height, :width], source) < 4  # not scaled
        assert error(got[-1, :width], source[-1]) < 6  # the edge, repeated
        assert error(got[:height, -1], source[:, -1]) < 6


def test_arrays_with_other_strides(tmp_path: Path) -> None:
    frames = [natural(i)[::-1, ::2].transpose(1, 0, 2)[..., ::-1] for i in range(3)]
    for kind in FORMATS:
        write_animation(tmp_path / f"a.{kind}", frames, ONCE)
        for got, source in zip(decoded(tmp_path / f"a.{kind}"), frames, strict=True):
            assert error(got, source) < 6


@pytest.mark.parametrize(("kind", "limit"), [("gif", 7.5), ("mp4", 2.5)])
def test_colours_are_close(tmp_path: Path, kind: str, limit: float) -> None:
    path = tmp_path / f"a.{kind}"
    write_animation(path, Source(40, natural), ONCE)
    for index, got in enumerate(decoded(path)):
        assert error(got, natural(index)) < limit
        bias = np.abs((got.astype(float) - natural(index)).mean(axis=(0, 1))).max()
        assert bias < (1 if kind == "gif" else 2)  # PyAV's own way back from YUV is about 1 too dark


def test_gif_gradients_have_no_contours(tmp_path: Path) -> None:
    """Over blocks of 8 × 8 the dither averages to the source: a soft grey ramp stays soft."""
    ramp = np.repeat(np.linspace(60, 100, 256).round().astype(np.uint8)[None, :, None], 64, axis=0).repeat(3, axis=2)
    write_animation(tmp_path / "a.gif", [ramp], ONCE)
    ((got, _),) = gif_frames(tmp_path / "a.gif")
    blocks = [a.astype(float).reshape(8, 8, 32, 8, 3).mean(axis=(1, 3)) for a in (got, ramp)]
    assert np.abs(blocks[0] - blocks[1]).max() < 1


def test_gif_palette_covers_the_whole_walk(tmp_path: Path) -> None:
    colours = [flat(250, 10, 10), flat(10, 250, 10), flat(10, 10, 250)]
    source = Source(90, lambda i: colours[i // 30])
    write_animation(tmp_path / "a.gif", source, ONCE)
    assert len(source.reads) <= 90 + animate.PALETTE_FRAMES + 1
    for index, (got, _) in enumerate(gif_frames(tmp_path / "a.gif")):
        np.testing.assert_array_equal(got, colours[index // 30])


def test_gif_does_not_flicker(tmp_path: Path) -> None:
    """A still background keeps its pixels, whatever moves in front of it."""
    background = natural(0)

    def frame(index: int) -> Pixels:
        pixels = background.copy()
        pixels[:16, 2 * index : 2 * index + 16] = natural(7 * index)[:16, :16]
        return pixels

    write_animation(tmp_path / "a.gif", Source(30, frame), ONCE)
    for frames in ([f for f, _ in gif_frames(tmp_path / "a.gif")], decoded(tmp_path / "a.gif")):
        assert len(frames) == 30
        for got in frames:
            np.testing.assert_array_equal(got[16:], frames[0][16:])


@pytest.mark.parametrize(
    ("rgb", "yuv"),  # by ITU-R BT.709, limited range; BT.601 would store red as (81, 90, 240), blue as (41, 240, 110)
    [
        ((255, 0, 0), (63, 102, 240)),
        ((0, 255, 0), (173, 42, 26)),
        ((0, 0, 255), (32, 240, 118)),
        ((255, 255, 255), (235, 128, 128)),
        ((0, 0, 0), (16, 128, 128)),
    ],
)
def test_mp4_saturated_colours(tmp_path: Path, rgb: tuple[int, int, int], yuv: tuple[int, int, int]) -> None:
    write_animation(tmp_path / "a.mp4", [flat(*rgb, size=(32, 32))] * 3, ONCE)
    with av.open(tmp_path / "a.mp4") as container:
        planes = [[bytes(p)[0] for p in frame.planes] for frame in container.decode(video=0)]
    assert np.abs(np.array(planes) - yuv).max() <= 1
    assert np.abs(decoded(tmp_path / "a.mp4")[0].astype(int) - rgb).max() <= 4


def test_mp4_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_animation(path, Source(40, natural), Animation())
    with av.open(path) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        tags = context.color_primaries, context.color_trc, context.colorspace, context.color_range
        assert tags == (1, 1, 1, 1)  # BT.709 three times, limited range
    data, boxes, place = path.read_bytes(), [], 0
    while place < len(data):
        size, name = struct.unpack_from(">I4s", data, place)
        boxes.append(name.decode())
        place += size
    assert boxes.index("moov") < boxes.index("mdat")  # plays before it is loaded
    assert b"colrnclx\x00\x01\x00\x01\x00\x01\x00" in data  # the container says so as well


def test_crf_sets_the_quality(tmp_path: Path) -> None:
    errors = []
    for crf in (8, 40):
        write_animation(tmp_path / "a.mp4", Source(5, natural), Animation(crf=crf))
        errors.append(error(decoded(tmp_path / "a.mp4")[0], natural(0)))
    assert errors[1] > errors[0] + 0.5


@pytest.mark.parametrize(
    ("name", "count", "fps", "told"),
    [
        ("a.gif", 2, 60, r"a\.gif: required at most 50 fps for a GIF, got 60"),
        ("a.gif", 2, 50.01, r"a\.gif: .* got 50.01"),
        ("a.gif", 0, 12, r"a\.gif: required at least one frame, got none"),
        ("a.mp4", 0, 12, r"a\.mp4: required at least one frame"),
        ("a.avi", 2, 12, r"a\.avi: required a name that ends in \.gif or \.mp4 or \.webp or \.apng, got '\.avi'"),
        ("a", 2, 12, r"got ''"),
    ],
)
def test_refused(tmp_path: Path, name: str, count: int, fps: float, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        write_animation(tmp_path / name, Source(count, numbered), Animation(fps=fps))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("odd", "told"),
    [
        (flat(1, 2, 3, size=(16, 17)), r"frame 5: required the first one's size \[16, 16, 3\], got \[16, 17, 3\]"),
        (flat(1, 2, 3)[..., 0], r"frame 5: required uint8 \[H, W, 3\], got uint8 \[16, 16\]"),
        (np.zeros((16, 16, 4), np.uint8), r"frame 5: .* got uint8 \[16, 16, 4\]"),
        (np.zeros((16, 16, 3), np.float32), r"frame 5: .* got float32 \[16, 16, 3\]"),
    ],
)
def test_frames_that_do_not_fit(tmp_path: Path, kind: str, odd: Pixels, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        write_animation(tmp_path / f"a.{kind}", Source(40, lambda i: odd if i == 5 else flat(9, 9, 9)), ONCE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fault", [OSError("store is gone"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
@pytest.mark.parametrize("after", [0, 1, 8, 40, 75])  # reads; a GIF's palette takes the first 33
@pytest.mark.parametrize("kind", FORMATS)
def test_failure_leaves_the_old_file(tmp_path: Path, kind: str, after: int, fault: BaseException) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(b"old")

    def make(index: int) -> Pixels:
        if len(source.reads) > after:
            raise fault
        return flat(index, 0, 0)

    source = Source(80, make)
    with pytest.raises(type(fault)) as caught:
        write_animation(path, source, ONCE)
    assert caught.value is fault
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_lacks_frames_is_not_published(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(b"old")
    read = animate._read
    monkeypatch.setattr(animate, "_read", lambda frames, order: read(frames, order[:-1]))
    with pytest.raises(RuntimeError, match="frame 4: required at" if kind == "gif" else "required 6 frames, decoded 5"):
        write_animation(path, Source(6, numbered), ONCE)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


@pytest.mark.parametrize("kind", FORMATS)
def test_success_replaces_the_old_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(b"old")
    write_animation(path, Source(3, numbered), ONCE)
    assert len(decoded(path)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_memory_does_not_grow_with_length(tmp_path: Path, kind: str) -> None:
    refs: list[weakref.ref[Pixels]] = []
    most = 0

    def make(index: int) -> Pixels:
        nonlocal most
        pixels = flat(index % 256, 0, 0, size=(64, 64))
        refs[:] = [r for r in refs if r() is not None] + [weakref.ref(pixels)]
        most = max(most, len(refs))
        return pixels

    def peak(count: int) -> int:
        tracemalloc.start()
        write_animation(tmp_path / f"a.{kind}", Source(count, make), ONCE)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    short, long = peak(150), peak(600)  # x264 looks ahead: its first hundred packets are the most
    assert most <= 3
    assert long - short < 450 * 64 * 64 * 3 / 20  # a twentieth of the frames' bytes; the order is a list of numbers


# Lossless formats, and what files carry beside pictures


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


@pytest.mark.parametrize("still", [False, True], ids=["moving", "still"])
@pytest.mark.parametrize(
    ("fps", "delays_ms"),
    [(12, [83, 84, 83, 83]), (24, [42, 41, 42, 42]), (25, [40] * 4), (30, [33, 34, 33, 33]), (60, [17, 16, 17, 17])],
)
def test_webp_duration_is_exact(tmp_path: Path, fps: float, delays_ms: list[int], still: bool) -> None:
    for count in (1, 30, 31):
        source = Source(count, lambda i: numbered(0 if still else i % 30))
        write_animation(tmp_path / "a.webp", source, Animation(fps=fps, loop="none"))
        with Image.open(tmp_path / "a.webp") as image:
            assert image.n_frames == count
        delays = [ms for _, ms in gif_frames(tmp_path / "a.webp")] if count > 1 else delays_ms[:1]
        assert delays[:4] == delays_ms[:count]
        assert abs(sum(delays) - 1000 * count / fps) <= 0.5


def chunks(path: Path, name: bytes) -> list[bytes]:
    """The contents of a PNG's chunks of one name."""
    data, place, found = path.read_bytes(), 8, []
    while place < len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        found += [data[place + 8 : place + 8 + size]] * (kind == name)
        place += size + 12
    return found


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


@pytest.mark.parametrize("size", [(1, 16384), (16384, 1)])
def test_webp_refuses_long_sides(tmp_path: Path, size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="required at most 16383 pixels a side for WebP"):
        write_animation(tmp_path / "a.webp", [flat(1, 2, 3, size=size)] * 2, ONCE)
    assert not list(tmp_path.iterdir())


def test_webp_refuses_what_its_header_cannot_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webp, "SIZE_MAX", 400)
    with pytest.raises(ValueError, match="required less than 4 GiB for WebP, got more in"):
        write_animation(tmp_path / "a.webp", Source(30, numbered), ONCE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("cut", [1, 30, 200])
def test_a_broken_webp_is_noticed(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.webp"
    write_animation(path, Source(6, natural), ONCE)
    assert len(list(webp.read_webp(path))) == 6
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(OSError, match="required the size that its header tells"):
        list(webp.read_webp(path))


COMMENTS = ["{}", '{"prompts":["3d dog’s face","日本の猫 \\"🐈\\""]}', "ü" * 200, "x" * 255, "x" * 510, "long " * 4000]


@pytest.mark.parametrize("comment", COMMENTS, ids=lambda comment: str(len(comment)))
def test_mp4_and_gif_carry_their_comment(tmp_path: Path, comment: str) -> None:
    for kind in ("mp4", "gif"):
        write_animation(tmp_path / f"plain.{kind}", Source(5, natural), ONCE)
        write_animation(tmp_path / f"a.{kind}", Source(5, natural), ONCE, title="dög to cat", comment=comment)
        for got, plain in zip(decoded(tmp_path / f"a.{kind}"), decoded(tmp_path / f"plain.{kind}"), strict=True):
            np.testing.assert_array_equal(got, plain)
    with av.open(tmp_path / "a.mp4") as container:
        assert (container.metadata["title"], container.metadata["comment"]) == ("dög to cat", comment)
    with Image.open(tmp_path / "a.gif") as image:
        assert image.info["comment"].decode() == comment
        assert image.n_frames == 5
    with Image.open(tmp_path / "plain.gif") as image:
        assert "comment" not in image.info
    assert len(list(tmp_path.iterdir())) == 4


def test_a_comment_keeps_a_gifs_loop_and_times(tmp_path: Path) -> None:
    for name, comment in (("a", ""), ("b", "hello")):
        write_animation(tmp_path / f"{name}.gif", Source(5, numbered), Animation(fps=24), comment=comment)
    assert [ms for _, ms in gif_frames(tmp_path / "a.gif")] == [ms for _, ms in gif_frames(tmp_path / "b.gif")]
    with Image.open(tmp_path / "b.gif") as image:
        assert image.info["loop"] == 0


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="no ffprobe")
def test_ffprobe_reads_title_and_comment(tmp_path: Path) -> None:
    write_animation(tmp_path / "a.mp4", Source(3, numbered), ONCE, title="dög", comment='{"a":1}')
    command = ["ffprobe", "-v", "error", "-of", "json", "-show_entries", "format_tags", str(tmp_path / "a.mp4")]
    tags = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)["format"]["tags"]
    assert (tags["title"], tags["comment"]) == ("dög", '{"a":1}')


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_input_gives_the_same_bytes(tmp_path: Path, kind: str) -> None:
    for name in ("a", "b"):
        write_animation(tmp_path / f"{name}.{kind}", Source(30, natural), ONCE, title="t", comment="c")
    assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


@pytest.mark.slow
def test_what_memory_held_before_is_nowhere_in_an_mp4(tmp_path: Path) -> None:
    """The C library fills new memory with one byte or another; with AVX-512 x264 would read some of it."""
    program = """if True:
        import sys
        from pathlib import Path
        import numpy as np
        from render.output.animate import Animation, write_animation
        frames = [np.random.default_rng(n).integers(0, 255, (32, 48, 3), np.uint8) for n in range(37)]
        write_animation(Path(sys.argv[1]), frames, Animation(loop="none"))
    """
    for byte in ("1", "255"):
        path = tmp_path / f"{byte}.mp4"
        env = {**os.environ, "MALLOC_PERTURB_": byte}
        subprocess.run([sys.executable, "-c", program, path], check=True, env=env, timeout=60)
    assert (tmp_path / "1.mp4").read_bytes() == (tmp_path / "255.mp4").read_bytes()


def test_a_comment_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk is full")

    (tmp_path / "a.gif").write_bytes(b"old")
    monkeypatch.setattr(gif.shutil, "copyfileobj", fail)
    with pytest.raises(OSError, match="disk is full"):
        write_animation(tmp_path / "a.gif", Source(3, numbered), ONCE, comment="c")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]
