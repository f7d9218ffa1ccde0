"""Walks as files of every format, read back with Pillow and PyAV."""

from __future__ import annotations

import tracemalloc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from moving_pictures import ONCE, Source, decoded, error, flat, gif_frames, natural, numbered

from render.job.bounds import ANIMATION_FORMATS, ANIMATION_LOOPS
from render.output import animate
from render.output.animate import Animation, loop_order, write_animation
from render.output.pixels import Pixels


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
def test_settings_out_of_range(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Animation(**values)


@pytest.mark.parametrize("loop", ANIMATION_LOOPS)
@pytest.mark.parametrize("kind", ANIMATION_FORMATS)
def test_order_of_the_frames(tmp_path: Path, kind: str, loop: str) -> None:
    source = Source(24, numbered)
    path = tmp_path / f"walk.{kind}"
    write_animation(path, source, Animation(loop=loop))
    order = loop_order(24, loop)
    assert [round(f.mean() / 8) - 1 for f in decoded(path)] == order
    assert source.reads[-len(order) :] == order
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_one_frame(tmp_path: Path) -> None:
    for kind in ANIMATION_FORMATS:
        write_animation(tmp_path / f"a.{kind}", [natural(0)], Animation(fps=12))
        (frame,) = decoded(tmp_path / f"a.{kind}")
        assert error(frame, natural(0)) < 6
    assert [ms for _, ms in gif_frames(tmp_path / "a.gif")] == [80]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (33, 48), (48, 33), (51, 35)])
def test_odd_sizes(tmp_path: Path, height: int, width: int) -> None:
    frames = [natural(i)[:height, :width] for i in range(3)]
    for kind in ANIMATION_FORMATS:
        write_animation(tmp_path / f"a.{kind}", frames, ONCE)
    assert {f.shape for f in decoded(tmp_path / "a.gif")} == {(height, width, 3)}
    for got, source in zip(decoded(tmp_path / "a.mp4"), frames, strict=True):
        assert got.shape == (height + height % 2, width + width % 2, 3)
        assert error(got[:height, :width], source) < 4  # not scaled
        assert error(got[-1, :width], source[-1]) < 6  # the edge, repeated
        assert error(got[:height, -1], source[:, -1]) < 6


def test_arrays_with_other_strides(tmp_path: Path) -> None:
    frames = [natural(i)[::-1, ::2].transpose(1, 0, 2)[..., ::-1] for i in range(3)]
    for kind in ANIMATION_FORMATS:
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
@pytest.mark.parametrize("kind", ANIMATION_FORMATS)
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


@pytest.mark.slow
@pytest.mark.parametrize("fault", [OSError("store is gone"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
@pytest.mark.parametrize("after", [0, 1, 8, 40, 75])  # reads; a GIF's palette takes the first 33
@pytest.mark.parametrize("kind", ANIMATION_FORMATS)
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


@pytest.mark.parametrize("kind", ANIMATION_FORMATS)
def test_a_file_that_lacks_frames_is_not_published(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(b"old")
    read = animate._read
    monkeypatch.setattr(animate, "_read", lambda frames, order: read(frames, order[:-1]))
    with pytest.raises(RuntimeError, match="frame 4: required at" if kind == "gif" else "required 6 frames, decoded 5"):
        write_animation(path, Source(6, numbered), ONCE)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


@pytest.mark.parametrize("kind", ANIMATION_FORMATS)
def test_success_replaces_the_old_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(b"old")
    write_animation(path, Source(3, numbered), ONCE)
    assert len(decoded(path)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ANIMATION_FORMATS)
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


@pytest.mark.parametrize("kind", ANIMATION_FORMATS)
def test_the_same_input_gives_the_same_bytes(tmp_path: Path, kind: str) -> None:
    for name in ("a", "b"):
        write_animation(tmp_path / f"{name}.{kind}", Source(30, natural), ONCE, title="t", comment="c")
    assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
